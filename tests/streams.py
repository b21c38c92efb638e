"""A camera on loopback: Motion JPEG over HTTP, which can stall, die, come back, change its size and send rubbish."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
