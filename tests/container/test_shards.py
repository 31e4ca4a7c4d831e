"""Tar shards: names, members as other programs see them, cut ones, and going on with unfinished ones."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import webdataset
from fsspec.spec import AbstractBufferedFile

from ctc_codec.container.shards import Member, append, finish, member_name, members, relative_name, sound_end
from ctc_codec.container.storage import read_part
from support.servers import served
from support.streams import changed, noise, plain

NAMES = [
    "plain.ctc",
    "photos/a.b.ctc",
    "photos/a%2Eb.ctc",
    "photos.2024/v1.0/100%.ctc",
    "dots..ctc",
    ".hidden.ctc",
    "with space/ünïcode 日本.ctc",
    "very-long-" + "folder" * 20 + "/" + "name" * 40 + ".jpg.ctc",
    "\udcff-not-utf-8.ctc",
]
FILES = {name: plain(300 + 700 * at, seed=at) for at, name in enumerate(NAMES)}
BLOCK = 512


def shard_of(files: dict[str, bytes], ended: bool = True) -> bytes:
    file = io.BytesIO()
    for name, data in files.items():
        at = append(file, member_name(name), data)
        assert file.getvalue()[at : at + len(data)] == data
        assert file.tell() % BLOCK == 0
    if ended:
        finish(file)
    return file.getvalue()


WHOLE = shard_of(FILES)


def read(data: bytes, found: Member) -> bytes:
    return data[found.offset : found.offset + found.size]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "0000.tar"
    path.write_bytes(WHOLE)
    return path


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_names_have_one_dot_and_come_back(name: str) -> None:
    written = member_name(name)
    assert written.rpartition("/")[2].count(".") == 1
    assert written.rpartition("/")[0] == name.rpartition("/")[0]
    assert relative_name(written) == name


def test_names_are_those_of_the_description() -> None:
    assert member_name("photos/a.b.ctc") == "photos/a%2Eb.ctc"
    assert member_name("a%2Eb.ctc") == "a%252Eb.ctc"
    assert len({member_name(name) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize(
    ("foreign", "expected"),
    [
        ("a.b.ctc", "a.b.ctc"),
        ("./photos/a.ctc", "photos/a.ctc"),
        ("/etc/a.ctc", "etc/a.ctc"),
        ("../../a/../b.ctc", "a/b.ctc"),
        ("100%.ctc", "100%.ctc"),
        ("a//b.CTC", "a/b.CTC"),
        ("%2E%2E/%2E%2E.ctc", "%2E%2E/...ctc"),
    ],
)
def test_names_of_other_programs_stay_below_the_folder(foreign: str, expected: str) -> None:
    assert relative_name(foreign) == expected


# --- our shards -------------------------------------------------------------------------------------


def test_members_are_what_was_written(shard: Path) -> None:
    found = list(members(str(shard)))
    assert [relative_name(each.name) for each in found] == NAMES
    assert [read(WHOLE, each) for each in found] == list(FILES.values())
    assert list(members(f"file://{shard}")) == found


def test_tarfile_reads_them_and_finds_no_time_or_owner(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        for member, (name, data) in zip(tar, FILES.items(), strict=True):
            assert member.name == member_name(name)
            file = tar.extractfile(member)
            assert file is not None
            assert file.read() == data
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
            assert (member.uname, member.gname, member.isreg()) == ("", "", True)
    assert shard_of(FILES) == WHOLE


def test_a_member_is_written_by_one_call() -> None:
    class Counting(io.BytesIO):
        calls = 0

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.calls += 1
            return super().write(data)

    file = Counting()
    append(file, member_name(NAMES[-2]), noise(1000))
    assert file.calls == 1


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves it open
def test_webdataset_reads_them(shard: Path) -> None:
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] + ".ctc" for sample in samples] == [member_name(name) for name in NAMES]
    assert [sample["ctc"] for sample in samples] == list(FILES.values())


def test_gnu_tar_reads_them(shard: Path, tmp_path: Path) -> None:
    tar = shutil.which("tar")
    if tar is None:
        pytest.skip("no tar")
    subprocess.run([tar, "xf", str(shard), "-C", str(tmp_path)], check=True)
    for name, data in FILES.items():
        assert (tmp_path / member_name(name)).read_bytes() == data


# --- shards of others -------------------------------------------------------------------------------


def test_webdataset_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "other.tar"
    with webdataset.TarWriter(str(path)) as writer:
        for name, data in FILES.items():
            if name.isascii():
                key = member_name(name).removesuffix(".ctc")
                writer.write({"__key__": key, "ctc": data, "txt": "a caption"})
    found = {relative_name(each.name): read(path.read_bytes(), each) for each in members(str(path))}
    assert found == {name: data for name, data in FILES.items() if name.isascii()}


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar"])
def test_gnu_tar_writes_them(tmp_path: Path, form: str) -> None:
    tar = shutil.which("tar")
    if tar is None:
        pytest.skip("no tar")
    files = {name: data for name, data in FILES.items() if len(name) < 100 and name != ".hidden.ctc"}
    for name, data in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / "._plain.ctc").write_bytes(b"metadata of another system")
    (tmp_path / "in" / "link.ctc").symlink_to("plain.ctc")
    path = tmp_path / "other.tar"
    subprocess.run([tar, "cf", str(path), f"--format={form}", "-C", str(tmp_path / "in"), "."], check=True)
    found = {each.name.removeprefix("./"): read(path.read_bytes(), each) for each in members(str(path))}
    assert found == files


# --- cut and damaged --------------------------------------------------------------------------------


def test_a_cut_shard_gives_what_is_whole(tmp_path: Path) -> None:
    ends = [each.offset + each.size for each in members_of(tmp_path, WHOLE)]
    cuts = {*range(BLOCK, len(WHOLE), BLOCK), *range(BLOCK + 200, len(WHOLE), BLOCK)}
    cuts |= {end + by for end in ends for by in (-1, 0, 1)}
    for cut in sorted(cuts):
        found = members_of(tmp_path, WHOLE[:cut])
        assert [each.offset + each.size for each in found] == [end for end in ends if end <= cut], cut


def members_of(folder: Path, data: bytes) -> list[Member]:
    path = folder / "some.tar"
    path.write_bytes(data)
    return list(members(str(path)))


@pytest.mark.parametrize(
    "data", [b"", WHOLE[:300], plain(2000), noise(4096), b"\x1f\x8b" + noise(2000), b"x" * 512]
)
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(OSError, match="not a tar file") as caught:
        members_of(tmp_path, data)
    assert caught.value.strerror == "not a tar file"


def test_a_tar_without_files_has_no_members(tmp_path: Path) -> None:
    assert members_of(tmp_path, bytes(1024)) == []


def test_damage_is_told_after_the_members_before_it(tmp_path: Path) -> None:
    first, second, third = members_of(tmp_path, WHOLE)[:3]
    path = tmp_path / "some.tar"
    path.write_bytes(changed(WHOLE, third.offset - 400, 0x20))
    found = []
    with pytest.raises(OSError, match="damaged tar file at byte"):
        found.extend(members(str(path)))  # extend keeps what came
    assert found == [first, second]


@pytest.mark.parametrize("size", [-100, -512, -1024, -10_000])
def test_no_member_leads_backward(tmp_path: Path, size: int) -> None:
    """tarfile would read it for ever."""
    member = tarfile.TarInfo("back.ctc")
    member.size = size
    at = len(shard_of({"first.ctc": FILES["plain.ctc"]}, ended=False))
    data = WHOLE[:at] + member.tobuf(tarfile.GNU_FORMAT) + WHOLE[at:]
    (tmp_path / "some.tar").write_bytes(data)
    with pytest.raises(OSError, match=f"damaged tar file at byte {at}"):
        list(members(str(tmp_path / "some.tar")))
    assert sound_end(str(tmp_path / "some.tar"))[1] == at


def test_files_with_holes_are_left_out(tmp_path: Path) -> None:
    """Their bytes are not in the tar as they are."""
    member = tarfile.TarInfo("sparse.ctc")
    member.type = tarfile.GNUTYPE_SPARSE
    found = members_of(tmp_path, member.tobuf(tarfile.GNU_FORMAT) + WHOLE)
    assert [relative_name(each.name) for each in found] == NAMES


@pytest.mark.parametrize("seed", range(300))
def test_nothing_but_oserror_is_raised(tmp_path: Path, seed: int) -> None:
    data = WHOLE
    for at in range(6):
        where = noise(4, 1000 * seed + at)
        block = int.from_bytes(where[:3], "big") % (len(WHOLE) // BLOCK) * BLOCK if at % 2 else 0
        data = changed(data, block + where[3] * 2, 1 + where[2] % 255)
    path = tmp_path / "some.tar"
    path.write_bytes(data)
    for look in (lambda: list(members(str(path))), lambda: sound_end(str(path))):
        assert _words(look) != ""


def _words(look: Callable[[], object]) -> str | None:
    try:
        look()
    except OSError as error:
        return error.strerror or ""
    return None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none.tar"), "memory://none.tar"):
        with pytest.raises(FileNotFoundError) as caught:
            list(members(name))
        assert caught.value.strerror == "No such file or directory"


# --- going on ---------------------------------------------------------------------------------------


def test_an_unfinished_shard_is_gone_on_with_wherever_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    files = {name: FILES[name] for name in [*NAMES[:3], NAMES[-2]]}
    whole = shard_of(files)
    starts = {0, *range(0, len(whole), BLOCK), *range(100, len(whole), BLOCK)}
    for cut in sorted(starts):
        path.write_bytes(whole[:cut])
        found, end = sound_end(str(path))
        assert [read(whole, each) for each in found] == list(files.values())[: len(found)]
        assert end <= -(-cut // BLOCK) * BLOCK
        with open(path, "r+b") as file:
            file.truncate(end)
            file.seek(end)
            for name, data in list(files.items())[len(found) :]:
                append(file, member_name(name), data)
            finish(file)
        assert path.read_bytes() == whole, cut


def test_a_finished_shard_is_gone_on_with(shard: Path) -> None:
    found, end = sound_end(str(shard))
    assert len(found) == len(NAMES)
    assert end == len(WHOLE) - 2 * BLOCK


def test_an_incomplete_file_and_all_after_it_are_not_sound(shard: Path) -> None:
    found = list(members(str(shard)))
    for bad in (changed(WHOLE, found[3].offset + 90, 1), WHOLE[: found[3].offset] + bytes(9000)):
        shard.write_bytes(bad)
        kept, end = sound_end(str(shard))
        assert kept == found[:3]
        assert end < found[3].offset
        assert tarfile.TarInfo.frombuf(WHOLE[end : end + BLOCK], "utf-8", "strict").size > 0


def test_nothing_is_sound_in_an_empty_file_and_no_other_is_taken_for_a_shard(tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    for begun in (b"", WHOLE[:300], WHOLE[:512]):
        path.write_bytes(begun)
        assert sound_end(str(path)) == ([], 0)
    path.write_bytes(noise(5000))
    with pytest.raises(OSError, match="not a tar file"):
        sound_end(str(path))


# --- elsewhere --------------------------------------------------------------------------------------


def test_members_of_a_url(shard: Path) -> None:
    expected = list(members(str(shard)))
    fsspec.filesystem("memory").pipe_file("/shards/0.tar", WHOLE)
    assert list(members("memory://shards/0.tar")) == expected
    with served(shard.parent) as site:
        assert list(members(f"{site.url}/{shard.name}")) == expected


def test_what_is_wrong_with_a_url_is_said_in_words(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    third = list(members(str(shard)))[2]
    (shard.parent / "bad.tar").write_bytes(changed(WHOLE, third.offset - 400, 0x20))
    (shard.parent / "none.tar").write_bytes(plain(2000))
    with served(shard.parent) as site:
        for name, words in (
            ("bad", "damaged tar file at byte "),
            ("none", "not a tar file"),
            ("gone", "No such"),
        ):
            with pytest.raises(OSError, match=words) as caught:
                list(members(f"{site.url}/{name}.tar"))
            assert caught.value.strerror.startswith(words)
        monkeypatch.setitem(sys.modules, "fsspec", None)
        for look in (
            lambda: read_part(f"{site.url}/bad.tar", 0, 9),
            lambda: next(members(f"{site.url}/bad.tar")),
        ):
            with pytest.raises(OSError, match="URLs need pip install") as caught:
                look()
            assert caught.value.strerror.startswith("URLs need")


def test_members_cost_a_small_request_each(tmp_path: Path) -> None:
    data = {f"{at}.ctc": plain(50_000, seed=at) for at in range(20)}
    (tmp_path / "big.tar").write_bytes(shard_of(data))
    with served(tmp_path) as site:
        assert len(list(members(f"{site.url}/big.tar"))) == 20
    assert site.gets <= 22
    assert sum(site.sent) <= 22 * 2048


def test_a_server_that_knows_no_parts_gives_beginnings_but_no_shards(shard: Path) -> None:
    with served(shard.parent) as site:
        site.ranges = False
        url = f"{site.url}/{shard.name}"
        assert read_part(url, 0, 100) == WHOLE
        with pytest.raises(OSError, match="whole files only") as caught:
            read_part(url, 512, 100)
        assert caught.value.strerror == "the server gives whole files only"
        with pytest.raises(OSError, match="range requests"):
            list(members(url))


class Buffered(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """One file, in a store like ftp's or sftp's, whose files read ahead by themselves."""

    protocol = "buffered"
    cachable = False
    fetched: ClassVar[list[tuple[int, int]]] = []

    def info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "size": len(WHOLE), "type": "file"}

    def _open(self, path: str, mode: str = "rb", **options: Any) -> AbstractBufferedFile:
        class File(AbstractBufferedFile):  # type: ignore[misc]
            def _fetch_range(self, start: int, end: int) -> bytes:
                Buffered.fetched.append((start, end))
                return WHOLE[start:end]

        return File(self, path, mode, **options)


def test_nothing_is_read_ahead(shard: Path) -> None:
    fsspec.register_implementation("buffered", Buffered, clobber=True)
    assert read_part("buffered://0.tar", 700, 300) == WHOLE[700:1000]
    assert Buffered.fetched == [(700, 1000)]
    assert list(members("buffered://0.tar")) == list(members(str(shard)))


@pytest.mark.parametrize("place", ["local", "memory", "http"])
def test_parts_are_what_was_asked_for_and_end_with_the_file(shard: Path, place: str) -> None:
    fsspec.filesystem("memory").pipe_file("/shards/0.tar", WHOLE)
    size = len(WHOLE)
    with served(shard.parent) as site:
        names = {"local": str(shard), "memory": "memory://shards/0.tar", "http": f"{site.url}/{shard.name}"}
        for start, count in ((0, 1), (0, 700), (1000, 3000), (size - 5, 100), (size, 10), (size + 9, 10)):
            assert read_part(names[place], start, count) == WHOLE[start : start + count]
    assert site.gets == 6 * (place == "http")
