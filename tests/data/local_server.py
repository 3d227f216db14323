"""A web server of our own that downloads are tested against."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files`; breaks off after `cut` bytes as often as `cuts` says; may not know ranges."""

    files: ClassVar[dict[str, bytes]] = {}
    ranges: ClassVar[bool] = True
    cut: ClassVar[int] = 0
    cuts: ClassVar[int] = 0
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        kind = type(self)
        wanted = self.headers["Range"]
        kind.asked.append(wanted)
        content = kind.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and kind.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if kind.cuts:
            kind.cuts -= 1
            body = body[: kind.cut]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    """Serve nothing yet, without faults, on a free port; yield the address."""
    Server.files, Server.ranges, Server.cuts, Server.asked = {}, True, 0, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()
