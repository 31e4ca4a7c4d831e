"""Outputs in tar shards: what is in them, long jobs, interrupted ones, and unpacking."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
from pathlib import Path

import pytest

from ctc_codec.cli.files import OutputError
from ctc_codec.cli.inputs import Task
from ctc_codec.cli.pack import Packer
from ctc_codec.cli.record import Record
from ctc_codec.cli.work import Outcome, Result
from ctc_codec.container import shards, storage
from support.command import assert_misused, ctc, files_below, names

PACK = ("--pack", "webdataset")


def contents(folder: str = "out") -> dict[str, dict[str, bytes]]:
    """Of the shards in a folder."""
    found = {}
    for path in sorted(Path(folder).glob("*.tar")):
        with tarfile.open(path) as tar:
            found[path.name] = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    return found


@pytest.fixture
def many(here: Path, photo_ctc: bytes) -> Path:
    """Folders with ten .ctc files."""
    for i in range(10):
        path = Path(f"in/{i % 3}/p.{i}.ctc")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo_ctc)
    return here


def truncate(*options: object) -> tuple[int, ...]:
    result = ctc("truncate", "-r", "in", "--bytes", 700, "-o", "out", *PACK, *options)
    assert result.code == 0, result
    return result.counts


def test_shards_hold_what_files_would(many: Path, photo_ctc: bytes) -> None:
    truncate()
    (members,) = contents().values()
    assert sorted(members) == sorted(f"{i % 3}/p%2E{i}.ctc" for i in range(10))
    assert set(members.values()) == {photo_ctc[:700]}
    assert names(Path("out")) == [".ctc-job.sqlite", "ctc-000000.tar", "ctc-000000.tar.index"]
    index = json.loads(Path("out/ctc-000000.tar.index").read_bytes())
    assert index["bytes"] == Path("out/ctc-000000.tar").stat().st_size
    assert [shards.Member(*each) for each in index["members"]] == list(shards.members("out/ctc-000000.tar"))


@pytest.mark.slow
def test_encoded_shards_hold_what_files_would(files: Path) -> None:
    assert ctc("encode", "photo.png", "-e", 1, "-o", "one.ctc").code == 0
    assert ctc("encode", "photo.png", "-e", 1, "-o", "out", *PACK).code == 0
    assert contents() == {"ctc-000000.tar": {"photo.ctc": Path("one.ctc").read_bytes()}}


def test_shards_are_read_back(many: Path, photo_ctc: bytes) -> None:
    truncate("--shard-bytes", 5000)
    for inputs in (["-r", "out"], sorted(Path("out").glob("*.tar"))):
        assert ctc("truncate", *inputs, "--bytes", 300, "-o", "back").code == 0
        assert files_below(Path("back")) == sorted(f"{i % 3}/p.{i}.ctc" for i in range(10))
        for name in files_below(Path("back")):
            path = Path("back") / name
            assert path.read_bytes() == photo_ctc[:300]
            path.unlink()


def test_long_jobs_have_several_shards(many: Path) -> None:
    truncate("--shard-bytes", 4000)
    counts = [len(members) for members in contents().values()]
    assert counts == [3, 3, 3, 1]  # a member takes 1,536 bytes
    assert truncate("--shard-bytes", 4000) == (0, 0, 10)
    assert len(contents()) == 4


def test_more_files_come_into_more_shards(many: Path, photo_ctc: bytes) -> None:
    truncate()
    Path("in/late.ctc").write_bytes(photo_ctc)
    assert truncate() == (1, 0, 10)
    assert {name: len(members) for name, members in contents().items()} == {
        "ctc-000000.tar": 10, "ctc-000001.tar": 1,
    }  # fmt: skip


def test_a_shard_that_is_gone_is_made_again(many: Path) -> None:
    truncate("--shard-bytes", 4000)
    Path("out/ctc-000001.tar").unlink()
    assert truncate("--shard-bytes", 4000) == (3, 0, 7)
    assert sum(len(members) for members in contents().values()) == 10


def test_shards_of_another_job_are_kept(many: Path) -> None:
    truncate()
    before = Path("out/ctc-000000.tar").read_bytes()
    truncate("--record", "other.sqlite")
    assert Path("out/ctc-000000.tar").read_bytes() == before
    assert len(contents()["ctc-000001.tar"]) == 10


def _packed(record: Record, names: list[str], data: bytes) -> Packer:
    """A shard with these outputs, which has no name yet."""
    tasks = [Task(name, name) for name in names]
    record.sort(tasks, lambda row: True, lambda task: False)
    packer = Packer("out", record, 10**9)
    for task in tasks:
        record.finish(Outcome(task, Result("", {"bytes": len(data)})), *packer.add(task.target or "", data))
    return packer


def test_jobs_at_the_same_time_do_not_replace_shards_of_each_other(here: Path, photo_ctc: bytes) -> None:
    with Record("a.sqlite", "job") as a, Record("b.sqlite", "job") as b:
        first, second = (_packed(each, [f"{each.path}.ctc"], photo_ctc) for each in (a, b))
        second.publish()
        first.publish()
    assert [list(members) for members in contents().values()] == [["b%2Esqlite.ctc"], ["a%2Esqlite.ctc"]]
    for path, number in (("a.sqlite", 1), ("b.sqlite", 0)):
        index = json.loads(Path(f"out/ctc-{number:06}.tar.index").read_bytes())
        assert index["bytes"] == Path(f"out/ctc-{number:06}.tar").stat().st_size
        with Record(path, "job") as record:
            packer = Packer("out", record, 10**9)
            assert [packer.is_whole(row) for row in record.rows(number)] == [True]


def test_a_job_that_was_killed_while_it_named_a_shard_has_it_once(here: Path, photo_ctc: bytes) -> None:
    names_ = [f"{i}.ctc" for i in range(3)]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for named in (False, True):
        with Record("job.sqlite", "job") as record, pytest.MonkeyPatch.context() as patch:
            packer = _packed(record, names_, photo_ctc)
            patch.setattr(packer, "_put_index" if named else "_give_name", killed)
            with pytest.raises(KeyboardInterrupt):
                packer.publish()
            packer.close()
        with Record("job.sqlite", "job") as record:
            packer = Packer("out", record, 10**9)
            assert not record.sort([Task(n, n) for n in names_], packer.is_whole, lambda task: False).waiting
            packer.publish()
        assert {name: list(members) for name, members in contents().items()} == {"ctc-000000.tar": names_}
        assert Path("out/ctc-000000.tar.index").exists()
        assert not list(Path().glob("*-shard-*"))
        for path in Path("out").iterdir():
            path.unlink()
        Path("job.sqlite").unlink()


def test_a_shard_that_was_changed_is_made_again(many: Path) -> None:
    truncate()
    shard = Path("out/ctc-000000.tar")
    shard.write_bytes(shard.read_bytes()[:5000])
    assert truncate() == (10, 0, 0)
    assert len(contents()["ctc-000001.tar"]) == 10


def test_a_name_in_a_shard_is_of_one_source(many: Path) -> None:
    truncate()
    before = contents()
    Path("in").rename("new")
    result = ctc("truncate", "-r", "new", "--bytes", 700, "-o", "out", *PACK)
    assert result.code == 1
    assert result.counts == (0, 10, 0)
    assert "exists already" in result.lines[0]
    assert contents() == before


@pytest.mark.parametrize("cut", [0, 1, 700, 1536, 1537, 2000, 3000])
def test_interrupted_shard_is_gone_on_with(here: Path, photo_ctc: bytes, cut: int) -> None:
    """Killed when so many bytes of the last two members were written, and both, one or none were noted."""
    tasks = [Task(f"{i}.png", f"{i}.ctc") for i in range(5)]
    data = photo_ctc[:700]
    for noted in (3, 4, 5):
        path = f"job-{noted}-{cut}.sqlite"
        with Record(path, "job") as record:
            record.sort(tasks, lambda row: True, lambda task: False)
            packer = Packer(f"out-{noted}", record, 10**9)
            for number, task in enumerate(tasks):
                place = packer.add(task.target or "", data)
                if number < noted:
                    record.finish(Outcome(task, Result("", {"bytes": len(data)})), *place)
            packer.close()
        spool = Path(f"{path}-shard-000000")
        spool.write_bytes(spool.read_bytes()[: 3 * 1536 + cut])
        with Record(path, "job") as record:
            packer = Packer(f"out-{noted}", record, 10**9)
            waiting = record.sort(tasks, packer.is_whole, lambda task: False).waiting
            whole = min(noted, 3 + (cut >= 512 + 700) + (cut >= 1536 + 512 + 700))
            assert waiting == tasks[whole:]
            for task in waiting:
                record.finish(
                    Outcome(task, Result("", {"bytes": len(data)})), *packer.add(task.target or "", data)
                )
            packer.publish()
    for noted in (3, 4, 5):
        (members,) = contents(f"out-{noted}").values()
        assert list(members.items()) == [(task.target, data) for task in tasks]
    assert not list(Path().glob("*-shard-*"))


def test_shard_that_cannot_be_published_is_kept(
    many: Path, monkeypatch: pytest.MonkeyPatch, photo_ctc: bytes
) -> None:
    def full(url: str, name: str) -> None:
        raise OSError(28, "No space left on device")

    command = (
        "truncate",
        "-r",
        "in",
        "--bytes",
        700,
        "-o",
        "memory://packed/",
        *PACK,
        "--record",
        "job.sqlite",
    )
    with monkeypatch.context() as patch:
        patch.setattr(storage, "upload", full)
        result = ctc(*command)
    assert result.code == 1
    assert result.lines[-1] == "ctc: memory://packed/ctc-000000.tar: No space left on device"
    result = ctc(*command)
    assert result.code == 0, result
    assert result.counts == (0, 0, 10)
    with storage.opened("memory://packed/ctc-000000.tar") as file:
        packed = io.BytesIO(file.read(1 << 20))
    with tarfile.open(fileobj=packed) as tar:
        assert len(tar.getmembers()) == 10
        assert [member.name for member in shards.members("memory://packed/ctc-000000.tar")] == tar.getnames()


def test_bad_input_fails_alone(many: Path) -> None:
    Path("in/bad.ctc").write_bytes(b"nothing")
    result = ctc("truncate", "-r", "in", "--bytes", 700, "-o", "out", *PACK)
    assert result.code == 1
    assert result.counts == (10, 1, 0)
    (members,) = contents().values()
    assert len(members) == 10
    database = sqlite3.connect("out/.ctc-job.sqlite")
    status = database.execute("SELECT status, shard FROM files WHERE target = 'bad.ctc'").fetchall()
    database.close()
    assert status == [("failed", None)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "out", "--rm"), "--rm and --preserve do not go with it"),
        (("-o", "out", "--preserve"), "--rm and --preserve do not go with it"),
        ((), "needs -o"),
    ],
)
def test_what_does_not_go_with_shards(files: Path, options: tuple[str, ...], words: str) -> None:
    assert_misused(ctc("encode", "photo.png", *PACK, *options), words)


def test_a_shard_needs_a_place_that_can_be_written(many: Path) -> None:
    Path("file").write_bytes(b"")
    with Record("job.sqlite", "job") as record:
        packer = Packer("file/below", record, 10**9)
        packer.add("a.ctc", b"1")
        with pytest.raises(OutputError, match="ctc-000000"):
            packer.publish()
        packer.close()
        assert Path("job.sqlite-shard-000000").stat().st_size == 1024
