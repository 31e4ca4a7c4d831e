"""Files behind URLs: what is fetched, what is written, and what is said when something goes wrong."""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctc_codec.container import storage
from support.servers import BUCKET, HOST, Site, WebSite, forget_connections
from support.streams import noise

fsspec = pytest.importorskip("fsspec")
MemoryFileSystem = fsspec.get_filesystem_class("memory")

DATA = noise(300_000)


def read(url: str, *counts: int) -> bytes:
    """The first bytes, with these reads; then all others."""
    with storage.opened(url) as file:
        pieces = [file.read(count) for count in counts]
        while piece := file.read(1 << 20):
            pieces.append(piece)
    return b"".join(pieces)


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "true"),
    [
        ("https://example.org/a.ctc", True),
        ("s3://bucket/a.ctc", True),
        ("tar://a.ctc::shard.tar", True),
        ("memory://a", True),
        ("simplecache::s3://bucket/a.ctc", True),
        ("file:///a.ctc", False),
        ("std::vector.ctc", False),
        ("local:///a.ctc", False),
        ("a.ctc", False),
        ("/a:b/c.ctc", False),
        ("C:\\pictures\\a.ctc", False),
        ("c://a.ctc", False),
        ("-", False),
    ],
)
def test_a_url_is_known_by_its_protocol(name: str, true: bool) -> None:
    assert storage.is_url(name) is true


def test_a_file_url_is_a_path() -> None:
    assert storage.local_name("file:///tmp/a b.ctc") == "/tmp/a b.ctc"
    assert storage.local_name("a.ctc") == "a.ctc"
    assert storage.local_name("https://a/b") == "https://a/b"


@pytest.mark.parametrize("folder", ["s3://bucket/in", "s3://bucket/in/"])
def test_names_below_a_folder(folder: str) -> None:
    assert storage.joined(folder, "a/b.ctc") == "s3://bucket/in/a/b.ctc"


# --- reading ----------------------------------------------------------------------------------------


def test_a_first_look_fetches_a_kilobyte_and_then_what_is_asked_for(site: WebSite) -> None:
    (site.folder / "a.ctc").write_bytes(DATA)
    with storage.opened(f"{site.url}/a.ctc") as file:
        assert file.size == len(DATA)
        assert site.asked == ["HEAD /a.ctc"]
        assert file.read(64) == DATA[:64]
        assert file.read(100) == DATA[64:164]
        assert file.read(5000) == DATA[164:1024]
        assert site.asked == ["HEAD /a.ctc", "GET /a.ctc 0-1023"]
        assert file.read(2000) == DATA[1024:3024]
    assert site.asked[2:] == ["GET /a.ctc 1024-3023"]
    assert sum(site.sent) == 3024


def test_a_long_first_read_is_one_request(site: WebSite) -> None:
    (site.folder / "a.ctc").write_bytes(DATA)
    with storage.opened(f"{site.url}/a.ctc") as file:
        assert file.read(1 << 20) == DATA
        assert file.read(1) == b""
    assert site.asked == ["HEAD /a.ctc", f"GET /a.ctc 0-{len(DATA) - 1}"]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 1023, 1024, 1025])
@pytest.mark.parametrize("protocol", ["memory", "http", "stream"])
def test_short_files_are_read_to_their_end(memory: Any, site: WebSite, size: int, protocol: str) -> None:
    site.ranges = protocol == "http"
    (site.folder / "a").write_bytes(DATA[:size])
    memory.pipe_file("/a", DATA[:size])
    url = "memory://a" if protocol == "memory" else f"{site.url}/a"
    assert read(url, 64, 64) == DATA[:size]


@pytest.mark.parametrize("start", [0, 1, 5000, len(DATA) - 10])
def test_a_part_of_a_file_is_read_like_a_file(site: WebSite, start: int) -> None:
    (site.folder / "a.tar").write_bytes(DATA)
    size = min(7000, len(DATA) - start)
    with storage.opened(f"{site.url}/a.tar", (start, size)) as file:
        assert file.size == size
        assert file.read(10) == DATA[start : start + 10]
        rest = b"".join(iter(lambda: file.read(1 << 20), b""))
    assert rest == DATA[start + 10 : start + size]
    assert sum(site.sent) == size


@pytest.mark.parametrize("zipped", [False, True])
def test_a_server_that_knows_no_parts_is_read_from_the_beginning_on(site: WebSite, zipped: bool) -> None:
    """Python's own, and one that compresses what it sends."""
    site.ranges, site.zipped = False, zipped
    (site.folder / "a.ctc").write_bytes(DATA)
    assert read(f"{site.url}/a.ctc", 64, 5000, 5000, 100_000) == DATA
    with storage.opened(f"{site.url}/a.ctc") as file:
        assert file.size == len(DATA)
        pieces = file.read(1024), file.read(1024)
    assert b"".join(pieces) == DATA[: len(b"".join(pieces))]
    assert [*map(bool, pieces)] == [True, True]


def test_a_long_file_of_such_a_server_is_not_fetched_whole(site: WebSite) -> None:
    site.ranges = False
    (site.folder / "a.ctc").write_bytes(bytes(64 << 20))
    with storage.opened(f"{site.url}/a.ctc") as file:
        file.read(64)
        file.read(4000)
        file.read(4000)
    assert len(site.asked) == 4
    assert sum(site.sent) < 32 << 20


def test_s3_is_asked_for_parts(bucket: Site) -> None:
    storage.write(f"s3://{BUCKET}/parts/a b.ctc", DATA)
    bucket.forget()
    with storage.opened(f"s3://{BUCKET}/parts/a b.ctc") as file:
        assert file.size == len(DATA)
        assert file.read(64) + file.read(1 << 20) == DATA[:1024]
        assert file.read(2000) == DATA[1024:3024]
    gets = [line for line in bucket.asked if line.startswith("GET")]
    assert gets == [f"GET /{BUCKET}/parts/a b.ctc {span}" for span in ("0-1023", "1024-3023")]


# --- what goes wrong --------------------------------------------------------------------------------


def _words(work: Callable[[], object]) -> tuple[int | None, str | None]:
    """Number and words of the OSError that is raised."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  its fields are compared
        work()
    assert caught.value.__cause__ is None
    return caught.value.errno, caught.value.strerror


@pytest.mark.parametrize(
    ("status", "number", "words"),
    [
        (404, errno.ENOENT, "No such file or directory"),
        (410, errno.ENOENT, "No such file or directory"),
        (403, errno.EIO, "the server says 403"),
        (401, errno.EIO, "the server says 401"),
        (500, errno.EIO, "the server says 500"),
        (503, errno.EIO, "the server says 503"),
    ],
)
def test_what_a_server_says(site: WebSite, status: int, number: int, words: str) -> None:
    site.statuses["/a.ctc"] = status
    assert _words(lambda: read(f"{site.url}/a.ctc")) == (number, words)


def test_a_server_that_says_no_later_is_told(site: WebSite) -> None:
    (site.folder / "a.ctc").write_bytes(DATA)
    with storage.opened(f"{site.url}/a.ctc") as file:
        assert file.read(64) == DATA[:64]
        assert len(file.read(1 << 20)) == 960
        site.statuses["/a.ctc"] = 503
        assert _words(lambda: file.read(100)) == (errno.EIO, "the server says 503")


def test_a_server_that_is_not_there_is_told() -> None:
    pytest.importorskip("aiohttp")
    number, words = _words(lambda: read(f"http://{HOST}:1/a.ctc"))
    assert number == errno.EIO
    assert f"Cannot connect to host {HOST}:1" in (words or "")
    forget_connections()


def test_a_silent_server_is_given_up(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_SILENCE", 0.2)
    for protocol in ("http", "https"):  # made anew with that
        monkeypatch.delitem(fsspec.config.conf, protocol, raising=False)
    forget_connections()
    site.silent.add("/a.ctc")
    number, words = _words(lambda: read(f"{site.url}/a.ctc"))
    assert number == errno.EIO
    assert "imeout" in (words or "")
    assert site.asked == ["HEAD /a.ctc", "GET /a.ctc"]
    for protocol in ("http", "https"):
        monkeypatch.delitem(fsspec.config.conf, protocol)


def test_s3_says_what_is_missing(bucket: Site) -> None:
    missing = errno.ENOENT, "No such file or directory"
    assert _words(lambda: read(f"s3://{BUCKET}/nothing.ctc")) == missing
    assert _words(lambda: read("s3://no-such-bucket/a.ctc")) == missing


def test_what_is_not_in_memory_is_missing(memory: Any) -> None:
    for work in (read, storage.remove):
        missing = errno.ENOENT, "No such file or directory"
        assert _words(functools.partial(work, "memory://none.ctc")) == missing


def test_unknown_protocols_are_told() -> None:
    assert _words(lambda: read("bogus://a.ctc")) == (errno.EIO, "Protocol not known: bogus")


def test_a_missing_package_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    number, words = _words(lambda: read("https://example.org/a.ctc"))
    assert number == errno.ENOPKG
    assert (words or "").startswith("URLs need pip install 'ctc-codec[urls]' (")


def test_a_web_server_takes_no_files_and_removes_none(site: WebSite) -> None:
    (site.folder / "a.ctc").write_bytes(DATA)
    assert _words(lambda: storage.write(f"{site.url}/b.ctc", DATA)) == (errno.EIO, "the server says 501")
    assert _words(lambda: storage.remove(f"{site.url}/a.ctc")) == (errno.ENOTSUP, "Operation not supported")
    assert (site.folder / "a.ctc").exists()


# --- writing ----------------------------------------------------------------------------------------


class Disk(MemoryFileSystem):
    """A disk behind a protocol, whose folders have to be made; it may be full.

    calls: what was done to it.
    """

    protocol = "sftp"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    calls: list[tuple[str, str]] = []  # noqa: RUF012
    full = False
    replaces = True
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        below = path.partition("://")[2].partition("/")[2] if "://" in path else path.strip("/")
        return f"/{below}".rstrip("/")

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        assert path.rpartition("/")[0] in self.pseudo_dirs, "no such folder"
        self.calls.append(("write", path))
        super().pipe_file(path, value[: len(value) // 2] if self.full else value)
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def mv(self, old: str, new: str, **_: Any) -> None:
        self.calls.append(("rename", new))
        if not self.replaces and self.exists(new):
            raise FileExistsError(errno.EEXIST, "File exists")
        self.store[new] = self.store.pop(old)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> type[Disk]:
    """An empty disk behind ``sftp://host/`` and ``smb://host/``."""
    for protocol in ("sftp", "smb"):
        monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, protocol, Disk)
    for name, value in {"store": {}, "pseudo_dirs": [""], "calls": []}.items():
        monkeypatch.setattr(Disk, name, value)
    return Disk


def test_files_on_a_disk_elsewhere_get_their_name_once_they_are_whole(disk: type[Disk]) -> None:
    for data in (DATA, DATA[:100]):
        disk.calls.clear()
        storage.write("sftp://host/new/folder/a.ctc", data)
        (write, partial), rename = disk.calls
        assert write == "write"
        assert partial.startswith("/new/folder/.ctc-")
        assert partial.endswith(".partial")
        assert rename == ("rename", "/new/folder/a.ctc")
        assert list(disk.store) == ["/new/folder/a.ctc"]
        assert read("sftp://host/new/folder/a.ctc") == data


def test_a_full_disk_elsewhere_keeps_what_it_had(disk: type[Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write("sftp://host/a.ctc", b"before")
    monkeypatch.setattr(disk, "full", True)
    wanted = errno.ENOSPC, "No space left on device"
    assert _words(lambda: storage.write("sftp://host/a.ctc", DATA)) == wanted
    assert list(disk.store) == ["/a.ctc"]
    assert read("sftp://host/a.ctc") == b"before"


def test_a_disk_that_does_not_rename_over_a_file_is_helped(
    disk: type[Disk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "protocol", "smb")
    monkeypatch.setattr(disk, "replaces", False)
    for data in (DATA, DATA[:100]):
        storage.write("smb://host/share/a.ctc", data)
        assert list(disk.store) == ["/share/a.ctc"]
        assert read("smb://host/share/a.ctc") == data


def test_objects_of_a_store_are_written_at_once(memory: Any, bucket: Site) -> None:
    storage.write("memory://new/a.ctc", DATA)
    assert memory.find("/") == ["/new/a.ctc"]
    bucket.forget()
    storage.write(f"s3://{BUCKET}/new/a.ctc", DATA)
    assert bucket.asked == [f"PUT /{BUCKET}/new/a.ctc"]
    assert read("memory://new/a.ctc") == read(f"s3://{BUCKET}/new/a.ctc") == DATA


@pytest.mark.parametrize("url", ["memory://new/b.tar", "sftp://host/new/b.tar"])
def test_local_files_are_uploaded(memory: Any, disk: type[Disk], tmp_path: Path, url: str) -> None:
    (tmp_path / "b.tar").write_bytes(DATA)
    storage.upload(url, str(tmp_path / "b.tar"))
    assert read(url) == DATA


def test_uploads_get_their_name_once_they_are_whole(
    disk: type[Disk], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "b.tar").write_bytes(DATA)
    storage.write("sftp://host/b.tar", b"before")
    put = disk.put_file

    def broken(self: Disk, name: str, path: str, **how: Any) -> None:
        put(self, name, path, **how)
        raise OSError(errno.ECONNRESET, "Connection reset by peer")

    monkeypatch.setattr(disk, "put_file", broken)
    with pytest.raises(OSError, match="reset"):
        storage.upload("sftp://host/b.tar", str(tmp_path / "b.tar"))
    assert list(disk.store) == ["/b.tar"]
    assert read("sftp://host/b.tar") == b"before"


# --- what there is ----------------------------------------------------------------------------------


def _stored(protocol: str) -> str:
    """A folder with files, at a store."""
    folder = "memory://in" if protocol == "memory" else f"s3://{BUCKET}/in"
    for name in ("b.ctc", "a b.ctc", "sub/é?#%41.ctc"):
        storage.write(storage.joined(folder, name), DATA[: len(name)])
    return folder


@pytest.mark.parametrize("protocol", ["memory", "s3"])
def test_a_folder_of_a_store(memory: Any, bucket: Site, protocol: str) -> None:
    folder = _stored(protocol)
    names = ["a b.ctc", "b.ctc", "sub/é?#%41.ctc"]
    for spelled in (folder, f"{folder}/"):
        assert storage.is_folder(spelled)
        assert list(storage.sizes(spelled).items()) == [(name, len(name)) for name in names]
    assert not storage.is_folder(f"{folder}/b.ctc")
    assert not storage.is_folder(f"{folder}/none")
    for name in names:
        url = storage.joined(folder, name)
        assert storage.exists(url)
        assert read(url) == DATA[: len(name)]
        storage.remove(url)
        assert not storage.exists(url)


def test_a_folder_of_a_web_server_is_its_list_of_files(site: WebSite) -> None:
    (site.folder / "in" / "sub").mkdir(parents=True)
    for name in ("in/a.ctc", "in/sub/b.ctc"):
        (site.folder / name).write_bytes(DATA)
    assert storage.is_folder(f"{site.url}/in/")
    assert list(storage.sizes(f"{site.url}/in/")) == ["a.ctc", "sub/b.ctc"]
    site.forget()
    assert not storage.is_folder(f"{site.url}/in/a.ctc")
    assert site.asked == []
    assert storage.exists(f"{site.url}/in/a.ctc")
    assert not storage.exists(f"{site.url}/in/b.ctc")
