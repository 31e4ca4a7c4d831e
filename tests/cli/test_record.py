"""The record of a job: a row for every file, and what a second run does."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ctc_codec.cli.inputs import Task
from ctc_codec.cli.record import Record, RecordError, Row
from support.command import (
    FAKE,
    assert_misused,
    assert_refused,
    begin,
    ctc,
    ended,
    fake,
    names,
    touch,
    wait_until,
)

TRUNCATE = ("truncate", "-r", "in", "--bytes", 600, "-o", "out", "--record", "job.sqlite")
FILES = ["in/a/w.ctc", "in/b/c/x.ctc", "in/b/y.CTC", "in/z.ctc"]


def rows(path: str = "job.sqlite", columns: str = "*") -> list[dict[str, Any]]:
    """Of a record, by their sources."""
    database = sqlite3.connect(path)
    database.row_factory = sqlite3.Row
    found = [dict(row) for row in database.execute(f"SELECT {columns} FROM files ORDER BY source")]
    database.close()
    return found


def noted(path: str = "job.sqlite") -> int:
    """How many files are done, as another process notes it."""
    with contextlib.suppress(sqlite3.Error):
        return sum(row["status"] == "done" for row in rows(path, "source, status"))
    return 0


def tries(path: str = "job.sqlite") -> dict[str, int]:
    return {row["source"]: row["tries"] for row in rows(path)}


def test_every_file_has_a_row(shelf: Path) -> None:
    Path("in/b/bad.ctc").write_bytes(b"CTC is not all that is wrong")
    assert ctc(*TRUNCATE).code == 1
    found = {row.pop("source"): row for row in rows()}
    bad = found.pop("in/b/bad.ctc")
    assert bad["status"] == "failed"
    assert "not a .ctc file" in bad["error"]
    assert bad["bytes"] is None
    assert list(found) == FILES
    for name, row in found.items():
        output = Path(row["target"]).read_bytes()
        assert row["target"] == f"out/{Path(name).relative_to('in').with_suffix('.ctc')}"
        assert (row["status"], row["bytes"], row["error"], row["tries"]) == ("done", len(output), None, 1)
        assert 0 < row["bpp"] < 20
        assert 10 < row["psnr"] < 60
        assert 0 <= row["seconds"] < 60
        assert (row["sha256"], row["read_bytes"]) == (
            sha256(output).hexdigest(),
            len(output),
        )  # the part it read


def test_checksum_is_of_the_whole_source(files: Path) -> None:
    assert ctc("encode", "photo.png", "-o", "a.ctc", "--record", "job.sqlite", "-e", 1).code == 0
    (row,) = rows()
    source = Path("photo.png").read_bytes()
    assert (row["sha256"], row["read_bytes"]) == (sha256(source).hexdigest(), len(source))
    Path("bad.png").write_bytes(source[:500])
    assert ctc("encode", "bad.png", "-o", "b.ctc", "--record", "job.sqlite", "-e", 1).code == 1
    assert [row["sha256"] for row in rows()] == [sha256(source[:500]).hexdigest(), sha256(source).hexdigest()]


def test_second_run_does_what_is_missing_or_failed(shelf: Path, photo_ctc: bytes) -> None:
    Path("in/bad.ctc").write_bytes(b"nothing")
    assert ctc(*TRUNCATE).code == 1
    again = ctc(*TRUNCATE)
    assert again.code == 1
    assert again.counts == (0, 1, 4)
    os.unlink("out/z.ctc")
    Path("out/b/y.ctc").write_bytes(b"changed")
    Path("in/bad.ctc").write_bytes(photo_ctc)
    again = ctc(*TRUNCATE)
    assert again.code == 0, again
    assert again.counts == (3, 0, 2)
    assert {Path(name).name: count for name, count in tries().items()} == {
        "w.ctc": 1, "x.ctc": 1, "y.CTC": 2, "z.ctc": 2, "bad.ctc": 3,
    }  # fmt: skip
    assert len({path.read_bytes() for path in Path("out").rglob("*.ctc")}) == 1
    assert names(Path()) == ["in", "job.sqlite", "out"]  # neither a lock nor a journal


def test_what_was_there_before_is_kept(shelf: Path) -> None:
    touch("out/z.ctc")
    for _ in range(2):  # a record does not make it ours
        result = ctc(*TRUNCATE)
        assert result.code == 1
        assert any("out/z.ctc: exists already" in line for line in result.lines)
        assert Path("out/z.ctc").read_bytes() == b""
        assert [row["status"] for row in rows()] == ["done", "done", "done", "refused"]
    result = ctc(*TRUNCATE, "--force")
    assert result.counts == (1, 0, 3)
    assert Path("out/z.ctc").stat().st_size == 600


def test_skipped_files_have_no_row(shelf: Path) -> None:
    touch("out/z.ctc")
    assert ctc(*TRUNCATE, "--skip-existing").counts == (3, 0, 1)
    assert [row["source"] for row in rows()] == FILES[:3]


def test_other_options_are_another_job(shelf: Path) -> None:
    assert ctc(*TRUNCATE).code == 0
    other = [400 if word == 600 else word for word in TRUNCATE]
    assert_refused(ctc(*other), "job.sqlite: the record of another job", "'nbytes': 600", "--record")
    assert ctc(*TRUNCATE).counts == (0, 0, 4)


@pytest.mark.slow
def test_jobs_and_engine_are_no_part_of_the_job(shelf: Path) -> None:
    assert ctc(*TRUNCATE).code == 0
    assert ctc(*TRUNCATE, "--jobs", 2).counts == (0, 0, 4)


@pytest.mark.slow
def test_record_of_worker_processes(shelf: Path) -> None:
    Path("in/bad.ctc").write_bytes(b"nothing")
    assert ctc(*TRUNCATE, "--jobs", 2).code == 1
    assert [row["status"] for row in rows()] == ["done", "done", "done", "failed", "done"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_job_loses_nothing_that_is_done(here: Path, jobs: int) -> None:
    inputs = [f"{i:02}.slow.in" for i in range(12)]
    command = [*inputs, "-o", "out/", "--record", "job.sqlite", "--jobs", jobs]
    process = begin(FAKE, *command)
    wait_until(lambda: len(list(Path("out").glob("*.out"))) >= 4)
    process.send_signal(signal.SIGKILL)
    ended(process)
    written = {path.name: path.read_bytes() for path in Path("out").glob("*.out")}
    result = fake(*command)
    assert result.code == 0, result
    done, failed, skipped = result.counts
    assert (done + skipped, failed) == (12, 0)
    assert len(written) - jobs <= skipped <= len(written)  # what was just being noted is done again
    counts = tries()
    assert set(counts.values()) == {1}
    kept = [name for name in written if (Path("out") / name).read_bytes() == written[name]]
    assert len(kept) >= skipped  # they have the number of the process that wrote them


def test_interrupted_job_goes_on(here: Path) -> None:
    inputs = [f"{i:02}.slow.in" for i in range(4)]
    process = begin(FAKE, *inputs, "-o", "out/", "--record", "job.sqlite")
    wait_until(lambda: len(list(Path("out").glob("*.out"))) >= 2)
    process.send_signal(signal.SIGINT)
    assert ended(process).code == 130
    assert not Path("job.sqlite-lock").exists()
    result = fake(*inputs, "-o", "out/", "--record", "job.sqlite")
    assert result.code == 0
    done, failed, skipped = result.counts
    assert (done + skipped, failed) == (4, 0)
    assert skipped >= 1  # the other may have been written and not noted yet


def test_rows_are_of_a_source_and_its_output(shelf: Path) -> None:
    command = ("truncate", "--bytes", 600, "-o", "out/", "--record", "job.sqlite")
    Path("other").mkdir()
    Path("other/z.ctc").write_bytes(Path("in/z.ctc").read_bytes())
    assert ctc(*command, "in/z.ctc").code == 0
    before = rows()
    assert_refused(ctc(*command, "other/z.ctc"), "other/z.ctc: out/z.ctc: exists already")
    assert rows() == before
    for same in ("in/z.ctc", "./in/../in/z.ctc", shelf / "in/z.ctc"):
        result = ctc(*command, same, "--json")
        assert [facts.get("skipped") for facts in result.objects] == [True], same
    assert ctc(*command, "other/z.ctc", "--force", "--json").objects[0]["bytes"] == 600
    assert [(row["source"], row["status"], row["tries"]) for row in rows()] == [("other/z.ctc", "done", 2)]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_need_not_be_utf_8(here: Path, photo_ctc: bytes) -> None:
    Path("in").mkdir()
    name = os.fsdecode(b"\xff\xfe.ctc")
    for each in (name, "ü.ctc"):
        (Path("in") / each).write_bytes(photo_ctc)
    command = ("truncate", "-r", "in", "--bytes", 600, "-o", "out", "--record", "job.sqlite")
    assert ctc(*command).counts == (2, 0, 0)
    assert ctc(*command).counts == (0, 0, 2)
    assert sorted(os.fsdecode(row["source"]) for row in rows()) == sorted(["in/ü.ctc", f"in/{name}"])
    assert ctc(*command[:-3], "packed", "--pack", "webdataset").counts == (2, 0, 0)
    assert ctc(*command[:-3], "packed", "--pack", "webdataset").counts == (0, 0, 2)


def test_inputs_are_removed_once_their_rows_say_so(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctc_codec.cli.work import Outcome

    finish, missing = Record.finish, []

    def noted(self: Record, outcome: Outcome, *place: int) -> None:
        missing.append(not Path(outcome.task.source).exists())
        finish(self, outcome, *place)

    monkeypatch.setattr(Record, "finish", noted)
    command = ("truncate", "whole.ctc", "--bytes", "1M", "-o", "out/", "--record", "job.sqlite", "--rm")
    assert ctc(*command).code == 0
    assert missing == [False]
    assert not Path("whole.ctc").exists()
    assert ctc(*command).code == 0


# --- what cannot be a record ------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda path: path.write_bytes(b"no database" * 100), Path.mkdir])
def test_what_is_no_record_is_refused(shelf: Path, make: Callable[[Path], object]) -> None:
    make(Path("job.sqlite"))
    assert_refused(ctc(*TRUNCATE), "job.sqlite")
    assert not Path("job.sqlite-lock").exists()


def test_database_of_another_program_is_left_as_it_is(shelf: Path) -> None:
    database = sqlite3.connect("job.sqlite")
    database.execute("CREATE TABLE files (name TEXT)")
    database.close()
    before = Path("job.sqlite").read_bytes()
    assert_refused(ctc(*TRUNCATE), "job.sqlite: a database of another program")
    assert Path("job.sqlite").read_bytes() == before


def test_record_is_a_local_file(shelf: Path) -> None:
    assert_misused(ctc(*TRUNCATE[:-1], "s3://bucket/job.sqlite"), "on a disk of this machine")
    assert_refused(ctc(*TRUNCATE[:-1], "nowhere/job.sqlite"), "nowhere/job.sqlite", "No such file")


def test_streams_have_no_record(files: Path) -> None:
    result = ctc("truncate", "-", "--bytes", 99, "-o", "out.ctc", "--record", "job.sqlite")
    assert_misused(result, "go with files, not with pipes")


def test_one_process_at_a_time_has_a_record(here: Path) -> None:
    pytest.importorskip("fcntl")
    with Record("job.sqlite", "a job") as record:
        with pytest.raises(RecordError, match=r"job\.sqlite: another process works on this job"):
            Record("job.sqlite", "a job")
        assert record.last_shard() is None
    Record("job.sqlite", "a job").close()


def test_rows_are_there_before_work_or_not_at_all(here: Path) -> None:
    tasks = [Task(f"{i}.png", f"{i}.ctc") for i in range(9)]

    def interrupted(task: Task) -> bool:
        if task.source == "5.png":
            raise KeyboardInterrupt
        return False

    with Record("job.sqlite", "a job") as record:
        with pytest.raises(KeyboardInterrupt):
            record.sort(tasks, lambda row: True, interrupted)
        assert rows() == []
        assert record.sort(tasks, lambda row: True, lambda task: False).waiting == tasks
        assert {row["status"] for row in rows()} == {"waiting"}
        later = record.sort(tasks, lambda row: True, lambda task: pytest.fail("it is ours by now"))
        assert later.waiting == tasks


def test_row_tells_where_an_output_is(here: Path) -> None:
    from ctc_codec.cli.work import Outcome, Result

    with Record("job.sqlite", "a job") as record:
        record.sort([Task("a.png", "a.ctc")], lambda row: True, lambda task: False)
        record.finish(Outcome(Task("a.png", "a.ctc"), Result("", {"bytes": 7})), 3, 512)
        assert list(record.rows(3)) == [Row("a.ctc", 7, 3, 512)]
        assert list(record.rows(2)) == []
        assert record.last_shard() == 3
