"""URLs as inputs and outputs: what commands fetch of a file, and what they call what becomes of it."""

from __future__ import annotations

import itertools
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctc_codec.codec.options import thumbnail_bytes
from ctc_codec.container import file, shards, storage
from ctc_codec.container.header import Header
from support.command import (
    PLAIN,
    Result,
    assert_misused,
    assert_refused,
    ctc,
    files_below,
    names,
    pixels,
    run,
)
from support.servers import BUCKET, Site, WebSite
from support.streams import plain

pytest.importorskip("fsspec")

CUT = ("truncate", "--bytes", "300", "--quiet")
DONE = Result(0, b"", "")
S3 = f"s3://{BUCKET}"


@pytest.fixture
def web(files: Path, site: WebSite) -> WebSite:
    """A web server of the files of the working directory, which is another folder than theirs."""
    for name in ("photo.png", "whole.ctc", "plain.ctc"):
        shutil.move(name, site.folder / name)
    return site


def _spans(site: Site) -> list[str]:
    """What was asked for, without the names of files."""
    return [" ".join([method, *span]) for method, _, *span in map(str.split, site.asked)]


# --- what is fetched --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "end"),
    [
        (["--bytes", "300"], 1024),
        (["--bytes", "1024"], 1024),
        (["--bytes", "1025"], 1025),
        (["--bytes", "1500"], 1500),
        (["--bpp", "1.2"], 1584),
        (["--bpp", "99"], None),
        ([], None),
    ],
)
def test_decode_fetches_the_bytes_that_it_decodes(
    web: WebSite, photo_ctc: bytes, args: list[str], end: int | None
) -> None:
    assert ctc("decode", f"{web.url}/whole.ctc", *args, "--quiet") == DONE
    end = end or len(photo_ctc)
    rest = [f"GET 1024-{end - 1}"] if end > 1024 else []
    assert _spans(web) == ["HEAD", "GET 0-1023", *rest]
    assert sum(web.sent) == end
    assert ctc("decode", web.folder / "whole.ctc", *args, "-o", "local.png", "--quiet") == DONE
    assert np.array_equal(pixels("whole.png"), pixels("local.png"))


def test_a_thumbnail_fetches_the_beginning(web: WebSite, photo_ctc: bytes) -> None:
    data = photo_ctc + bytes(9000)  # longer than the whole blocks that it takes
    (web.folder / "long.ctc").write_bytes(data)
    end = thumbnail_bytes(Header.parse(photo_ctc)[0])
    assert ctc("decode", f"{web.url}/long.ctc", "--thumbnail", "--quiet") == DONE
    assert sum(web.sent) == end < len(data)
    assert pixels("long.png").shape == (11, 15, 3)


def test_info_fetches_header_and_quality_table(web: WebSite, photo_ctc: bytes) -> None:
    count = file.table_bytes(Header.parse(photo_ctc)[0])
    result = ctc("info", "--json", f"{web.url}/whole.ctc")
    assert count < 1024
    assert _spans(web) == ["HEAD", "GET 0-1023"]
    (remote,) = result.objects
    (local,) = ctc("info", "--json", web.folder / "whole.ctc").objects
    assert remote.pop("read_bytes") == count
    assert {**remote, "file": ""} == {**local, "file": ""}
    assert len(local["quality"]) > 3


def test_info_of_a_large_picture_fetches_its_table_in_a_second_request(web: WebSite) -> None:
    header, start = Header.parse(plain(200_000, size=(1536, 1024)))
    (web.folder / "large.ctc").write_bytes(plain(200_000, size=(1536, 1024)))
    count = file.table_bytes(header)
    assert count > 1024 + start
    (facts,) = ctc("info", "--json", f"{web.url}/large.ctc").objects
    assert facts["read_bytes"] == count
    assert _spans(web) == ["HEAD", "GET 0-1023", f"GET 1024-{count - 1}"]


def test_info_of_planes_and_check_fetch_all(web: WebSite, photo_ctc: bytes) -> None:
    for args in (["info", "--planes"], ["check"]):
        web.forget()
        result = ctc(*args, f"{web.url}/whole.ctc")
        assert result.code == 0
        assert "complete" in result.out.decode() + result.err
        assert _spans(web) == ["HEAD", "GET 0-1023", f"GET 1024-{len(photo_ctc) - 1}"]


def test_truncate_to_a_psnr_fetches_the_table_and_then_the_cut(web: WebSite, photo_ctc: bytes) -> None:
    (facts,) = ctc("info", "--json", web.folder / "whole.ctc").objects
    target = facts["quality"][-2][1]
    assert ctc("truncate", f"{web.url}/whole.ctc", "--psnr", target, "-o", "a.ctc", "--quiet") == DONE
    data = Path("a.ctc").read_bytes()
    assert photo_ctc.startswith(data)
    assert 1024 < len(data) < len(photo_ctc)
    assert _spans(web) == ["HEAD", "GET 0-1023", f"GET 1024-{len(data) - 1}"]


def test_images_are_made_as_pieces_arrive(web: WebSite, photo_ctc: bytes) -> None:
    args = ("--progressive-every", 2000, "-o", "f%d.png", "--quiet")
    assert ctc("decode", f"{web.url}/whole.ctc", *args) == DONE
    end = len(photo_ctc)
    marks = [1024, *range(2000, end, 2000), end]
    pieces = [f"GET {first}-{last - 1}" for first, last in itertools.pairwise(marks)]
    # Its size is looked at first, in a file that is opened twice.
    assert _spans(web) == ["HEAD", "GET 0-1023", "HEAD", "GET 0-1023", *pieces]
    assert names(Path()) == sorted(["www", *(f"f{number}.png" for number in range(1, len(marks)))])


@pytest.mark.parametrize(
    "fields", [{"ranges": False}, {"zipped": True}, {"sized": False}, {"statuses": {"HEAD /whole.ctc": 403}}]
)
def test_other_servers_give_the_same(web: WebSite, photo_ctc: bytes, fields: dict[str, Any]) -> None:
    """Python's own, without ranges; one that compresses what it sends, one that does not say how long it is,
    and one that refuses HEAD, as URLs do that are signed for GET."""
    for name, value in fields.items():
        setattr(web, name, value)
    for count in (300, 1500, len(photo_ctc)):
        args = ("truncate", f"{web.url}/whole.ctc", "--bytes", count, "-o", "a.ctc", "-f", "--quiet")
        assert ctc(*args) == DONE
        assert Path("a.ctc").read_bytes() == photo_ctc[:count]
    assert ctc("decode", f"{web.url}/whole.ctc", "--quiet") == DONE
    assert ctc("encode", f"{web.url}/photo.png", "--quiet", "-o", "b.ctc") == DONE
    assert Path("b.ctc").read_bytes() == photo_ctc


def test_a_web_image_is_encoded(web: WebSite, photo_ctc: bytes) -> None:
    assert ctc("encode", f"{web.url}/photo.png", "--quiet") == DONE
    assert Path("photo.ctc").read_bytes() == photo_ctc


def test_the_command_itself_leaves_no_connection_open(web: WebSite) -> None:
    result = run(*CUT, f"{web.url}/plain.ctc", "-o", "a.ctc", env={**os.environ, "PYTHONWARNINGS": "error"})
    assert result == DONE
    assert Path("a.ctc").read_bytes() == PLAIN[:300]


# --- names of outputs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "asked", "written"),
    [
        ("plain.ctc", "plain.ctc?version=3&a=b/c.tar", "plain.png"),
        ("plain.ctc", "plain.ctc#top", "plain.png"),
        ("sub/a.b.ctc", "sub/a.b.ctc", "a.b.png"),
        ("sub/a b.ctc", "sub/a b.ctc", "a b.png"),
        ("a b.ctc", "a%20b.ctc", "a b.png"),
        ("Größe.ctc", "Größe.ctc", "Größe.png"),
        ("Größe.ctc", "Gr%C3%B6%C3%9Fe.ctc", "Größe.png"),
        ("100%.ctc", "100%25.ctc", "100%.png"),
        ("bare", "bare", "bare.png"),
    ],
)
def test_of_a_web_file_the_output_is_in_this_folder(
    web: WebSite, photo_ctc: bytes, stored: str, asked: str, written: str
) -> None:
    (web.folder / stored).parent.mkdir(exist_ok=True)
    (web.folder / stored).write_bytes(photo_ctc)
    assert ctc("decode", f"{web.url}/{asked}", "--bytes", 300, "--quiet") == DONE
    assert names(Path()) == sorted([written, "www"])


@pytest.mark.parametrize("asked", ["..%2F..%2Fa.ctc", "%2e%2e%2Fa.ctc", "b/%2Fetc%2Fa.ctc", "a.ctc%00"])
def test_a_web_name_does_not_lead_out_of_the_output_folder(web: WebSite, asked: str) -> None:
    """Whatever a server takes as a name."""
    web.only = web.folder / "plain.ctc"
    assert ctc(*CUT, f"{web.url}/{asked}", "-o", "new/out/") == DONE
    assert files_below(Path("new")) == ["out/a.ctc"]
    Path("list").write_text(f"{web.url}/{asked}\n")
    assert ctc(*CUT, "--files-from", "list", "-o", "listed/out/") == DONE
    assert len(files_below(Path("listed/out"))) == len(files_below(Path("listed"))) == 1
    assert names(Path()) == ["list", "listed", "new", "www"]


def test_a_list_of_urls_keeps_their_folders(web: WebSite) -> None:
    (web.folder / "sub").mkdir()
    shutil.copy(web.folder / "plain.ctc", web.folder / "sub" / "b.ctc")
    Path("list").write_text(f"{web.url}/plain.ctc\n{web.url}/sub/b.ctc?x=../../c\n")
    assert ctc(*CUT, "--files-from", "list", "-o", "out/") == DONE
    assert files_below(Path("out")) == ["plain.ctc", "sub/b.ctc"]


def test_a_folder_of_a_web_server_is_its_list(web: WebSite) -> None:
    """Less what leads out of it."""
    (web.folder / "in" / "sub").mkdir(parents=True)
    for name in ("in/plain.ctc", "in/sub/b c.ctc", "other.ctc"):
        shutil.copy(web.folder / "plain.ctc", web.folder / name)
    links = ("../../other.ctc", "plain.ctc", "/whole.ctc", "?C=N;O=D", "../", ".hidden.ctc", "sub/")
    (web.folder / "in" / "index.html").write_text("".join(f'<a href="{link}">x</a>' for link in links))
    assert ctc(*CUT, "-r", f"{web.url}/in/", "-o", "a/b/out") == DONE
    assert files_below(Path("a")) == ["b/out/plain.ctc", "b/out/sub/b%20c.ctc"]
    assert_misused(ctc(*CUT, f"{web.url}/in/", "-o", "c"), "is a folder (-r takes the files in it")


def test_recursive_does_not_look_into_a_web_file(web: WebSite) -> None:
    assert ctc(*CUT, "-r", f"{web.url}/plain.ctc", "-o", "out/") == DONE
    assert _spans(web) == ["HEAD", "GET 0-1023"]


@pytest.mark.parametrize("prefix", ["file://", "local://"])
def test_a_file_url_is_a_local_name(files: Path, prefix: str) -> None:
    shutil.copy("plain.ctc", "a b.ctc")
    assert ctc(*CUT, f"{prefix}{files}/a b.ctc", "-o", f"{prefix}{files}/new/") == DONE
    assert Path("new/a b.ctc").read_bytes() == PLAIN[:300]
    args = ("truncate", "--bytes", 99, f"{prefix}{files}/a b.ctc", "-o", f"{prefix}{files}/a b.ctc", "-f")
    assert ctc(*args).lines[0].startswith(f"{files}/a b.ctc -> {files}/a b.ctc: ")
    assert Path("a b.ctc").read_bytes() == PLAIN[:99]


# --- stores -----------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest, memory: Any, files: Path, tmp_path: Path) -> str:
    """The URL of a folder with a.ctc, and sub/b c.ctc, which is é too, at a store."""
    folder = "memory://in"
    if request.param == "s3":
        request.getfixturevalue("bucket").forget()
        folder = f"{S3}/{tmp_path.name}"
    for name in ("a.ctc", "sub/b c é.ctc", ".hidden.ctc", "notes.txt"):
        storage.write(f"{folder}/{name}", (files / "whole.ctc").read_bytes())
    return folder


def _read(url: str) -> bytes:
    with storage.opened(url) as stream:
        return b"".join(iter(lambda: stream.read(1 << 20), b""))


def test_outputs_of_a_store_are_beside_their_inputs(store: str, photo_ctc: bytes) -> None:
    storage.write(f"{store}/photo.png", Path("photo.png").read_bytes())
    assert ctc("encode", f"{store}/photo.png", "--quiet") == DONE
    assert _read(f"{store}/photo.ctc") == photo_ctc
    assert ctc("decode", f"{store}/sub/b c é.ctc", "--quiet") == DONE
    assert ctc("decode", "whole.ctc", "--quiet") == DONE
    assert _read(f"{store}/sub/b c é.png") == Path("whole.png").read_bytes()
    assert ctc("preview", f"{store}/photo.ctc", "--frames", 2, "--quiet") == DONE
    assert b"<html" in _read(f"{store}/photo.html")


def test_what_is_said_of_a_file_at_a_store(store: str, photo_ctc: bytes) -> None:
    result = ctc("info", f"{store}/a.ctc")
    assert result.out.decode().startswith(f"{store}/a.ctc: 120x88 RGB, complete\n")
    assert f"{len(photo_ctc)} of {len(photo_ctc)} bytes" in result.out.decode()
    assert ctc("check", f"{store}/a.ctc").err == f"{store}/a.ctc: complete, {len(photo_ctc)} bytes\n"
    assert_refused(ctc("check", f"{store}/none.ctc"), f"ctc: {store}/none.ctc: No such file or directory")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_of_a_store_is_mirrored(store: str, photo_ctc: bytes, slash: str) -> None:
    assert ctc(*CUT, "-r", store + slash, "-o", f"{store}/out{slash}") == DONE
    assert ctc(*CUT, "-r", store + slash, "-o", f"local{slash}") == Result(0, b"", "")
    assert files_below(Path("local")) == ["a.ctc", "out/a.ctc", "out/sub/b c é.ctc", "sub/b c é.ctc"]
    assert list(storage.sizes(f"{store}/out")) == ["a.ctc", "sub/b c é.ctc"]
    assert _read(f"{store}/out/a.ctc") == Path("local/a.ctc").read_bytes() == photo_ctc[:300]
    assert ctc(*CUT, "-r", "local", "-o", f"{store}/back") == DONE
    assert list(storage.sizes(f"{store}/back")) == files_below(Path("local"))


def test_existing_outputs_at_a_store_are_replaced_by_force_alone(store: str, photo_ctc: bytes) -> None:
    args = ("truncate", f"{store}/a.ctc", "--quiet", "-o", f"{store}/b.ctc", "--bytes")
    assert ctc(*args, 300) == DONE
    assert_refused(
        ctc(*args, 200), f"{store}/b.ctc: exists already (-o gives another name, -f overwrites it)"
    )
    assert ctc(*args, 200, "--skip-existing") == DONE
    assert _read(f"{store}/b.ctc") == photo_ctc[:300]
    assert ctc(*args, 200, "-f") == DONE
    assert _read(f"{store}/b.ctc") == photo_ctc[:200]
    assert ctc("truncate", f"{store}/a.ctc", "--bytes", 99, "-o", f"{store}/a.ctc", "-f", "--quiet") == DONE
    assert _read(f"{store}/a.ctc") == photo_ctc[:99]


def test_a_batch_at_a_store_goes_on_where_it_was(store: str) -> None:
    args = ("truncate", "--bytes", 300, "-r", store, "-o", f"{store}/out")
    storage.write(f"{store}/out/a.ctc", b"here")
    assert ctc(*args, "--skip-existing").counts == (1, 0, 1)
    assert ctc(*args, "--skip-existing").counts == (0, 0, 2)
    assert _read(f"{store}/out/a.ctc") == b"here"


def test_inputs_at_a_store_are_removed_on_demand_if_nothing_is_lost(store: str, photo_ctc: bytes) -> None:
    result = ctc(*CUT, f"{store}/a.ctc", "-o", f"{store}/b.ctc", "--rm")
    assert "the input is not removed: it holds more than its output" in result.err
    assert ctc("decode", f"{store}/a.ctc", "-o", f"{store}/new/", "--rm", "--quiet") == DONE
    assert not storage.exists(f"{store}/a.ctc")
    assert storage.exists(f"{store}/new/a.png")
    assert_refused(ctc("decode", f"{store}/a.ctc", "--rm", "-f"), "No such file or directory")


def test_s3_gives_parts(bucket: Site, files: Path, photo_ctc: bytes) -> None:
    storage.write(f"{S3}/p/a.ctc", photo_ctc)
    bucket.forget()
    assert ctc("decode", f"{S3}/p/a.ctc", "--bytes", 1500, "-o", "a.png", "--quiet") == DONE
    assert ctc("info", f"{S3}/p/a.ctc").code == 0
    gets = [line for line in _spans(bucket) if line.startswith("GET")]
    assert gets == ["GET 0-1023", "GET 1024-1499", "GET 0-1023"]


def test_memory_is_of_one_process(memory: Any, files: Path) -> None:
    memory.pipe_file("/a.ctc", PLAIN)
    memory.pipe_file("/b.ctc", PLAIN)
    args = ("memory://a.ctc", "memory://b.ctc", "-o", "memory://out/")
    assert_misused(ctc(*CUT, *args, "--jobs", 2), "memory:// is of this process alone")
    assert ctc(*CUT, *args) == DONE


# --- what goes wrong --------------------------------------------------------------------------------


def test_files_that_a_server_does_not_give_fail_alone(web: WebSite) -> None:
    web.statuses |= {"/closed.ctc": 403, "/broken.ctc": 500}
    inputs = [f"{web.url}/{name}.ctc" for name in ("closed", "plain", "none", "broken")]
    result = ctc(*CUT, *inputs, "-o", "out/")
    assert_refused(result, lines=4)
    assert result.lines == [
        f"ctc: {inputs[0]}: the server says 403",
        f"ctc: {inputs[2]}: No such file or directory",
        f"ctc: {inputs[3]}: the server says 500",
        f"ctc: 3 of 4 inputs failed: {inputs[0]}, {inputs[2]}, {inputs[3]}",
    ]
    assert names(Path("out")) == ["plain.ctc"]


def test_a_connection_that_breaks_is_told(web: WebSite) -> None:
    web.most = 5000
    assert_refused(ctc("check", f"{web.url}/plain.ctc"), f"ctc: {web.url}/plain.ctc: Response payload")
    assert ctc(*CUT, f"{web.url}/plain.ctc", "-o", "a.ctc") == DONE


def test_a_server_that_takes_nothing_is_told(web: WebSite) -> None:
    args = ("truncate", "--bytes", 300, "-f", f"{web.url}/plain.ctc", "-o", f"{web.url}/x.ctc")
    assert_refused(ctc(*args), f"{web.url}/x.ctc: the server says 501")
    args = ("encode", f"{web.url}/photo.png", "--rm", "--quiet")
    assert_refused(ctc(*args), "its output is written, but it cannot be removed: Operation not supported")
    assert Path("photo.ctc").exists()
    assert (web.folder / "photo.png").exists()


def test_what_is_no_ctc_file_is_told_by_its_first_bytes(web: WebSite) -> None:
    (web.folder / "a.ctc").write_bytes(b"<html>" + bytes(1 << 20))
    assert_refused(ctc("decode", f"{web.url}/a.ctc"), "a.ctc: not a .ctc file")
    assert sum(web.sent) == 1024


# --- shards -----------------------------------------------------------------------------------------

MEMBERS = {"a%2Eb.ctc": plain(200_000, 1), "sub/c.ctc": plain(200_000, 2), "sub/d é.ctc": plain(200_000, 3)}


@pytest.fixture
def shard(web: WebSite) -> str:
    """The URL of shard.tar, which is in the working directory too."""
    with open("shard.tar", "wb") as tar:
        for name, data in MEMBERS.items():
            shards.append(tar, name, data)
        shards.finish(tar)
    shutil.copy("shard.tar", web.folder)
    return f"{web.url}/shard.tar"


@pytest.mark.parametrize("where", ["local", "web", "query"])
def test_files_of_a_shard_are_inputs(web: WebSite, shard: str, where: str) -> None:
    source = {"local": "shard.tar", "web": shard, "query": f"{shard}?key=1"}[where]
    assert ctc(*CUT, source, "-o", "out/") == DONE
    assert files_below(Path("out")) == ["a.b.ctc", "sub/c.ctc", "sub/d é.ctc"]
    assert Path("out/sub/c.ctc").read_bytes() == MEMBERS["sub/c.ctc"][:300]
    assert sum(web.sent) < 20_000
    result = ctc("check", source)
    assert result.counts == (3, 0, 0)
    assert "sub/c.ctc::" in result.err


def test_a_shard_of_whole_pictures_is_decoded(files: Path, photo_ctc: bytes) -> None:
    with open("shard.tar", "wb") as tar:
        shards.append(tar, "sub/x.ctc", photo_ctc)
        shards.finish(tar)
    assert ctc("decode", "shard.tar", "-o", "out/", "--quiet") == DONE
    assert ctc("decode", "whole.ctc", "--quiet") == DONE
    assert Path("out/sub/x.png").read_bytes() == Path("whole.png").read_bytes()


def test_of_a_shard_the_headers_and_what_is_needed_are_fetched(web: WebSite, shard: str) -> None:
    assert ctc(*CUT, shard, "-o", "out/") == DONE
    assert sum(web.sent) < 20_000 < len(MEMBERS["sub/c.ctc"])
    looks = ["HEAD", *["GET"] * (len(MEMBERS) + 2)]  # for an index, too; by the plan, and by the work
    assert [line.split()[0] for line in web.asked] == [*looks, *looks, *["HEAD", "GET"] * len(MEMBERS)]


def test_a_shard_with_an_index_is_looked_up_in_it(web: WebSite, shard: str) -> None:
    data = (web.folder / "shard.tar").read_bytes()
    (web.folder / "shard.tar.index").write_bytes(shards.index_bytes(shards.members("shard.tar"), len(data)))
    assert ctc(*CUT, shard, "-o", "out/") == DONE
    assert files_below(Path("out")) == ["a.b.ctc", "sub/c.ctc", "sub/d é.ctc"]
    looks = ["HEAD /shard.tar", "GET /shard.tar.index"]
    assert [" ".join(line.split()[:2]) for line in web.asked] == [
        *looks * 2,
        *["HEAD /shard.tar", "GET /shard.tar"] * len(MEMBERS),
    ]


@pytest.mark.parametrize("where", ["local", "web"])
def test_one_file_of_a_shard_is_an_input(shard: str, where: str) -> None:
    source = os.path.abspath("shard.tar") if where == "local" else shard
    assert ctc(*CUT, f"tar://sub/d é.ctc::{source}", "-o", "cut/") == DONE
    assert Path("cut/d é.ctc").read_bytes() == MEMBERS["sub/d é.ctc"][:300]
    result = ctc(*CUT, f"tar://none.ctc::{source}", "-o", "cut/")
    assert_refused(result, f"ctc: tar://none.ctc::{source}: No such file or directory")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_image_in_a_tar_is_encoded(files: Path, photo_ctc: bytes, mode: str) -> None:
    with tarfile.open("a.tar", mode) as tar:
        tar.add("photo.png", "sub/photo.png")
        tar.add("whole.ctc", "whole.ctc")
    os.rename("a.tar", name := "a.tar" if mode == "w" else "a.tar.gz")
    assert ctc("encode", f"tar://sub/photo.png::{name}", "--quiet") == DONE
    assert Path("photo.ctc").read_bytes() == photo_ctc
    assert ctc(*CUT, f"tar://whole.ctc::{name}", "-o", "cut.ctc") == DONE
    assert Path("cut.ctc").read_bytes() == photo_ctc[:300]


def test_what_is_no_shard_is_told(web: WebSite) -> None:
    (web.folder / "a.tar").write_bytes(bytes(range(256)) * 8)
    assert_refused(ctc(*CUT, f"{web.url}/a.tar", "-o", "out/"), "a.tar: not a tar file")
    assert_refused(ctc(*CUT, f"{web.url}/b.tar", "-o", "out/"), "b.tar: No such file or directory")
