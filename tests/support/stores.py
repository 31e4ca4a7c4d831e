"""Stores that are counted: a folder behind HTTP, with parts of files or without."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Store:
    """url: of the folder, without a slash at its end; served: (method, path, bytes) of each answer."""

    url: str = ""
    served: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """For contents, not for sizes."""
        return sum(method == "GET" for method, _, _ in self.served)

    @property
    def bytes(self) -> int:
        """Of contents."""
        return sum(count for _, _, count in self.served)


@contextlib.contextmanager
def http_store(folder: Path, parts: bool = True) -> Iterator[Store]:
    """A folder that a thread of this process serves; parts: it knows ranges of bytes."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 20  # an answer in one piece, which the other side does not wait for

        def do_HEAD(self) -> None:
            self._answer(False)

        def do_GET(self) -> None:
            self._answer(True)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, with_body: bool) -> None:
            try:
                data, status, place = (folder / self.path[1:].partition("?")[0]).read_bytes(), 200, None
            except OSError:
                data, status, place = b"", 404, None
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if parts else None
            if asked and status == 200:
                start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
                status, place = (
                    (416, f"*/{len(data)}") if start > end else (206, f"{start}-{end}/{len(data)}")
                )
                data = data[start : end + 1]
            self.send_response(status)
            if parts:
                self.send_header("Accept-Ranges", "bytes")
            if place is not None:
                self.send_header("Content-Range", f"bytes {place}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if with_body:
                self.wfile.write(data)
            store.served.append((self.command, self.path, len(data) if with_body else 0))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        store.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield store
        server.shutdown()
