"""Servers on this machine, which note what they are asked for: HTTP with ranges or without them, and S3."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import io
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

HOST = "127.0.0.1"
BUCKET = "photos"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_PIECE = 1 << 16
_PATIENCE = 30
"""Seconds after which a silent server gives up, if its test does not end before."""


@dataclass
class Site:
    """A server, and what it was asked for.

    url: of its root, without a slash at the end; of S3 its endpoint.
    asked: requests in order, as ``GET /a.ctc 0-1023``; those without a range have two words.
    sent: bytes that were sent, in pieces, without headers; of S3 they are not counted.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    @property
    def gets(self) -> int:
        """Requests for contents, not for sizes."""
        return sum(each.startswith("GET ") for each in self.asked)

    def note(self, method: str, path: str, wanted: str | None) -> None:
        self.asked.append(" ".join([method, path, *filter(None, [(wanted or "").removeprefix("bytes=")])]))

    def forget(self) -> None:
        """Begin to count anew."""
        self.asked.clear()
        self.sent.clear()


@dataclass
class WebSite(Site):
    """A server of a folder's files; its fields may be changed while it runs.

    ranges: parts of files are sent to who asks for them; else it is Python's own ``http.server``.
    zipped: files are compressed for clients that take that, as some servers do with all they send.
    sized: it is said how long answers are.
    most: bytes of an answer after which the connection breaks.
    statuses: answers without a file, by the path that is asked for, or by method and path.
    silent: paths of which nothing is heard.
    only: a file that is sent for every path.
    """

    folder: Path = Path()
    ranges: bool = True
    zipped: bool = False
    sized: bool = True
    most: int | None = None
    statuses: dict[str, int] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    only: Path | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files, parts of them, and lists of folders."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".ctc": "image/x-ctc"}  # noqa: RUF012

    def __init__(self, site: WebSite, *args: Any) -> None:
        self._site = site
        super().__init__(*args, directory=str(site.folder))

    def do_GET(self) -> None:
        site = self._site
        site.note(self.command, self.path, self.headers["Range"])
        if self.path in site.silent:
            site.ended.wait(_PATIENCE)
        elif status := site.statuses.get(self.path) or site.statuses.get(f"{self.command} {self.path}"):
            self.send_error(status)
        elif (file := self.send_head()) is not None:
            with file:
                if self.command == "GET":
                    self.copyfile(file, self.wfile)

    do_HEAD = do_GET

    def send_head(self) -> io.BytesIO | Any:
        path = self._site.only or Path(self.translate_path(self.path))
        if not path.is_file() or not (self._site.ranges or self._site.zipped):
            return super().send_head()
        data = path.read_bytes()
        tag = f'"{path.stat().st_mtime_ns:x}"'
        headers = {"Content-Type": self.guess_type(str(path)), "ETag": tag}
        status = 200
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if self._site.zipped:
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                data = gzip.compress(data)
                headers["Content-Encoding"] = "gzip"
        elif self.headers.get("If-Match", tag) != tag:
            status, data = 412, b""
        elif wanted:
            first, last = _span(wanted, len(data))
            status, span = (206, f"{first}-{last}") if first <= last else (416, "*")
            headers |= {"Accept-Ranges": "bytes", "Content-Range": f"bytes {span}/{len(data)}"}
            data = data[first : last + 1] if first <= last else b""
        if self._site.sized:
            headers["Content-Length"] = str(len(data))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        return io.BytesIO(data[: self._site.most])

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with contextlib.suppress(ConnectionError):  # a client that has enough
            while piece := source.read(_PIECE):
                self._site.sent.append(len(piece))  # before the client may look
                outputfile.write(piece)

    def log_message(self, *_: object) -> None:
        pass


def _span(wanted: re.Match[str], size: int) -> tuple[int, int]:
    """The first and the last byte of a range."""
    first, last = wanted.groups()
    if not first:
        return max(size - int(last), 0), size - 1
    return int(first), min(int(last or size), size - 1)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    """They are waited for, so that no socket is left behind."""


@contextmanager
def served(folder: Path) -> Iterator[WebSite]:
    """A server of a folder's files, while the context lasts."""
    site = WebSite(folder=folder)
    direct = mock.patch.dict("os.environ", {"no_proxy": HOST, "NO_PROXY": HOST})
    with direct, _Server((HOST, 0), functools.partial(_Handler, site)) as server, _running(server):
        site.url = f"http://{HOST}:{server.server_address[1]}"
        try:
            yield site
        finally:
            site.ended.set()
            forget_connections()


@contextmanager
def _running(server: Any) -> Iterator[None]:
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def s3() -> Iterator[Site]:
    """A store of S3 with an empty bucket, which the environment names."""
    import fsspec
    from moto.backends import get_backend
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: object) -> None:
            pass

    site = Site()
    store = DomainDispatcherApplication(create_backend_app)

    def noting(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        site.note(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE"))
        return store(environ, start)

    server = make_server(HOST, 0, noting, threaded=True, request_handler=Quiet)
    site.url = f"http://{HOST}:{server.server_port}"
    environment = mock.patch.dict(
        "os.environ",
        {
            "AWS_ENDPOINT_URL": site.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "no_proxy": HOST,
            "NO_PROXY": HOST,
        },
    )
    with environment, _running(server):
        forget_connections()
        get_backend("s3").reset()  # what an earlier one in this process has left
        fsspec.filesystem("s3").mkdir(BUCKET)
        site.forget()
        try:
            yield site
        finally:
            forget_connections()
    server.server_close()


def forget_connections() -> None:
    """Drop what fsspec keeps of servers: settings, lists, open connections."""
    for module, name in (("fsspec.implementations.http", "HTTPFileSystem"), ("s3fs.core", "S3FileSystem")):
        if module in sys.modules:
            getattr(sys.modules[module], name).clear_instance_cache()
