"""The live picture as a page for a browser: Motion JPEG, on this machine alone unless told otherwise."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from unmask_video.errors import BadOption
from unmask_video.source import Shot

QUALITY = 85
"""Of the JPEGs, of 100."""
WAIT = 1.0
"""Seconds after which a viewer gets the last picture again, so that one who has left is noticed."""
LOCAL = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine that nobody else answers to."""
HTML = (
    b"<!doctype html><title>unmask-video</title><body style='margin:0;background:#111;color:#ccc;font:14px sans-serif'>"
    b"<img src='/stream' alt='the live picture' style='display:block;max-width:100%'><p id='s' style='margin:8px'></p><script>"
    b"setInterval(async () => s.textContent = await (await fetch('/status')).text(), 1000)</script>"
)


class Page:
    """An `Outlet` of `live`. Pictures are compressed only while somebody looks."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        """Raises BadOption if the port cannot be had."""
        self._ready, self._jpeg, self._number, self._status = threading.Condition(), b"", 0, ""
        self._viewers, self._closed, self.local = 0, False, host in LOCAL
        try:
            self._server = ThreadingHTTPServer((host, port), self._handler())
        except OSError as error:
            why = error.strerror
            raise BadOption(f"the page cannot be served on {host}:{port} ({why}); give --serve another port") from None
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="unmask-page", daemon=True).start()

    def show(self, before: np.ndarray, after: np.ndarray, shot: Shot, status: str) -> None:
        self._status = status
        if self._viewers:
            jpeg = cv2.imencode(".jpg", after, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
            with self._ready:
                self._jpeg, self._number = jpeg, self._number + 1
                self._ready.notify_all()

    def keys(self) -> str:
        return ""

    def close(self) -> None:
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def _handler(page) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                # A page of another site, led here by a name of its own, is not to look through the camera.
                if page.local and self.headers.get("Host", "").rsplit(":", 1)[0] not in LOCAL:
                    self.send_error(403)
                elif self.path == "/stream":
                    self._stream()
                elif self.path in ("/", "/status"):
                    self._answer(HTML if self.path == "/" else page._status.encode())
                else:
                    self.send_error(404)

            def _answer(self, content: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", f"text/{'html' if content is HTML else 'plain'}; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _stream(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                page._viewers += 1
                try:
                    for jpeg in page._pictures():
                        head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                except OSError:  # the viewer has left
                    pass
                finally:
                    page._viewers -= 1

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _pictures(self) -> Iterator[bytes]:
        seen = 0
        while not self._closed:
            with self._ready:
                self._ready.wait_for(lambda: self._number != seen or self._closed, WAIT)  # noqa: B023
                seen, jpeg = self._number, self._jpeg
            if jpeg:
                yield jpeg
