"""Cameras on loopback: Motion JPEG over HTTP, which can stall, die, come back, change its size and send rubbish; and programs
of their own, which can be killed, that send MPEG-TS by UDP or RTSP."""

from __future__ import annotations

import contextlib
import io
import itertools
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import av
import cv2
import numpy as np


class Camera:
    """Serves `picture(number)` RGB at `fps`. What it does is told by `mood`: plays, stalls, rubbish, or dies."""

    def __init__(self, picture: Callable[[int], np.ndarray], fps: float = 25.0, port: int = 0) -> None:
        self.picture, self.fps, self.mood, self.sent = picture, fps, "plays", 0
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
                self.end_headers()
                began, number = time.monotonic(), 0
                try:
                    while camera.mood != "dies":
                        if camera.mood == "stalls":
                            time.sleep(0.02)
                            continue
                        self.wfile.write(camera.part())
                        number += 1
                        time.sleep(max(0.0, began + number / camera.fps - time.monotonic()))
                except OSError:
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def part(self) -> bytes:
        if self.mood == "rubbish":
            content = np.random.default_rng(self.sent).bytes(4000)
        else:
            content = cv2.imencode(".jpg", self.picture(self.sent)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
            self.sent += 1
        return f"--x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content + b"\r\n"

    def close(self) -> None:
        self.mood = "dies"
        self.server.shutdown()
        self.server.server_close()


class Packets(io.RawIOBase):
    """What MPEG-TS's muxer writes, handed on in datagrams of seven packets."""

    def __init__(self, send: Callable[[bytes], Any]) -> None:
        self.send = send

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        for start in range(0, len(data), 7 * 188):
            self.send(bytes(data[start : start + 7 * 188]))
        return len(data)


def transport(send: Callable[[bytes], Any], fps: int = 25) -> None:
    """Endless grey pictures in MPEG-TS, at their pace, each a key frame."""
    with av.open(Packets(send), "w", format="mpegts", options={"flush_packets": "1"}) as out:
        stream = out.add_stream("mpeg2video", fps, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        began = time.monotonic()
        for number in itertools.count():
            picture = av.VideoFrame.from_ndarray(np.full((96, 128, 3), 40 + number % 100, np.uint8), "rgb24")
            picture.pts = number
            out.mux(stream.encode(picture))
            time.sleep(max(0.0, began + number / fps - time.monotonic()))


def udp(port: int) -> None:
    """To whoever listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        transport(lambda data: sender.sendto(data, ("127.0.0.1", port)))


def rtsp(port: int) -> None:
    """A server (RFC 2326) that plays MPEG-TS in RTP, between its answers on the same connection, to whoever asks."""

    class Asked(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline().decode():
                method = line.split()[0]
                heads = {}
                while head := self.rfile.readline().decode().strip():
                    name, _, value = head.partition(":")
                    heads[name.lower()] = value.strip()
                body = "v=0\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
                more = {
                    "OPTIONS": "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n",
                    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
                }.get(method, "Session: 1\r\n")
                said = f"RTSP/1.0 200 OK\r\nCSeq: {heads['cseq']}\r\n{more}\r\n" + (body if method == "DESCRIBE" else "")
                self.wfile.write(said.encode())
                if method == "PLAY":
                    numbers, began = itertools.count(), time.monotonic()

                    def send(data: bytes) -> None:
                        stamp = int((time.monotonic() - began) * 90_000)  # noqa: B023
                        rtp = struct.pack("!BBHII", 0x80, 33, next(numbers) % 2**16, stamp, 1) + data  # noqa: B023
                        self.wfile.write(struct.pack("!cBH", b"$", 0, len(rtp)) + rtp)

                    with contextlib.suppress(OSError, av.FFmpegError):
                        transport(send)
                    return

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    Server(("127.0.0.1", port), Asked).serve_forever()


if __name__ == "__main__":
    {"udp": udp, "rtsp": rtsp}[sys.argv[1]](int(sys.argv[2]))
