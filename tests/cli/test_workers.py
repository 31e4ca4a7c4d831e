"""Worker processes: how many, with how many threads, those that die, cannot load or cannot start. Most do the
works of batch_works.py, which need no model."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ctc_codec.cli import memory
from ctc_codec.cli.encode import EncodeWork
from ctc_codec.cli.inputs import Task
from ctc_codec.cli.memory import jobs_that_fit, pixels_of
from ctc_codec.cli.options import BatchOptions
from ctc_codec.cli.truncate import TruncateWork
from ctc_codec.codec.options import EncodeOptions
from ctc_codec.codec.processes import ENCODE_BYTES, MODEL_BYTES, cores
from support.command import assert_refused, ctc, fake, files_below, names

MakePhoto = Callable[..., Image.Image]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["0", "auto", "64"])
def test_jobs_may_be_as_many_as_there_are_cores_or_files(here: Path, jobs: str) -> None:
    assert fake("1.in", "2.in", "3.in", "-o", "out/", "--jobs", jobs).code == 0
    assert files_below(here / "out") == ["1.out", "2.out", "3.out"]


@pytest.mark.slow
def test_workers_are_told_how_many_threads_to_use(here: Path) -> None:
    inputs = [f"{i}.slow.in" for i in range(4)]
    assert fake(*inputs, "-o", "out/", "--jobs", 2).code == 0
    told = [path.read_text().split() for path in (here / "out").iterdir()]
    assert {int(count) for _, count in told} == {max(1, cores() // 2)}
    assert len({number for number, _ in told}) == 2


@pytest.mark.slow
def test_workers_make_no_threads_for_linear_algebra(here: Path) -> None:
    """Which are one for every core of the machine in each, if numpy's library is not told."""
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    inputs = [f"{i}.told_threads.in" for i in range(2)]
    result = fake(*inputs, "-o", "out/", "--jobs", 2, env=free)
    assert sum("note: 1 of linear algebra" in line for line in result.lines) == 2, result
    result = fake(*inputs, "-o", "out/", "--force", "--jobs", 2, env=free | {"OPENBLAS_NUM_THREADS": "3"})
    assert sum("note: 3 of linear algebra" in line for line in result.lines) == 2, result


# --- memory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "expected"),
    [(None, 3), (0, 1), (1, 1), (2, 1), (2.2, 2), (2.4, 3), (9, 3)],
)
def test_jobs_are_as_many_as_there_is_memory_for(
    here: Path, monkeypatch: pytest.MonkeyPatch, free: float | None, expected: int
) -> None:
    """Of what the largest pictures take at once: one of 10 and some of 1 megapixel, models not counted."""
    for name, size in {"a": (100, 100), "b": (5000, 2000), "c": (1000, 1000), "d": (1000, 1000)}.items():
        Image.new("L", size).save(f"{name}.png")
    monkeypatch.setattr(memory, "MODEL_BYTES", 0)
    nbytes = None if free is None else int(free * 5_000_000 * ENCODE_BYTES) + 1
    monkeypatch.setattr(memory, "free_memory", lambda: nbytes)
    tasks = [Task(f"{name}.png", f"{name}.ctc") for name in "abcd"]
    assert jobs_that_fit(tasks, EncodeWork(EncodeOptions(), BatchOptions()), 3) == expected
    assert jobs_that_fit(tasks, TruncateWork(nbytes=9), 3) == 3  # no picture is decoded


def test_pixels_are_told_by_first_bytes(files: Path) -> None:
    with Image.open("photo.png") as photo:
        assert pixels_of("photo.png") == pixels_of("whole.ctc") == photo.width * photo.height > 0
    cut = Path("whole.ctc").read_bytes()
    for name, content in {"a.ctc": cut[:9], "b.png": b"no image", "c.ctc": cut[:500]}.items():
        Path(name).write_bytes(content)
    assert pixels_of("a.ctc") == pixels_of("b.png") == pixels_of("missing.png") == 0
    Image.new("L", (16, 16)).save("c.ico")
    assert pixels_of("c.ico") == 0  # Pillow would load it
    assert pixels_of("c.ctc") == pixels_of("whole.ctc")


def test_fewer_jobs_for_want_of_memory_are_told(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: MODEL_BYTES)
    Path("again.ctc").write_bytes(Path("whole.ctc").read_bytes())
    several = ("decode", "whole.ctc", "again.ctc", "-o", "out/", "--jobs", 2)
    result = ctc(*several)
    assert result.code == 0
    assert result.lines[0] == ("ctc: note: 1 of 2 jobs: there is no memory for more pictures at a time")
    assert names(files / "out") == ["again.png", "whole.png"]
    assert ctc(*several, "--force", "--quiet").lines == []
    one = ("decode", "whole.ctc", "-o", "b.png", "--jobs", 2)
    assert not any("memory" in line for line in ctc(*one).lines)


# --- pipes, and workers that die --------------------------------------------------------------------


def test_pipes_are_read_in_spite_of_jobs(here: Path, make_photo: MakePhoto) -> None:
    """They come to the command itself, and to none of its workers."""
    make_photo(20, 20).save("a.png")
    reader, writer = os.pipe()
    os.write(writer, Path("a.png").read_bytes())
    os.close(writer)
    assert ctc("encode", f"/dev/fd/{reader}", "a.png", "-o", "out/", "--jobs", 2).code == 0
    os.close(reader)
    assert Path(f"out/{reader}.ctc").read_bytes() == Path("out/a.ctc").read_bytes()


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_file_alone(here: Path) -> None:
    inputs = ["1.in", "2.killed.in", "3.in", "4.torn.in", "5.in", "6.killed.in", "7.in"]
    result = fake(*inputs, "-o", "out/", "--jobs", 2)
    assert result.code == 1
    for name in ("2.killed.in", "4.torn.in", "6.killed.in"):
        assert f"ctc: {name}: its worker process was killed by signal 9 (out of memory?)" in result.lines
    assert result.counts == (4, 3, 0)
    assert result.lines[-1] == "ctc: 3 of 7 inputs failed: 2.killed.in, 4.torn.in, 6.killed.in"
    assert files_below(here / "out") == ["1.out", "3.out", "5.out", "7.out"]


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("error", "ctc: nothing can be loaded"),
        pytest.param("killed", "ctc: a worker process was killed by signal 9", marks=pytest.mark.slow),
    ],
)
def test_workers_that_cannot_load_end_the_batch_before_it_begins(
    here: Path, fails: str, message: str
) -> None:
    result = fake("1.in", "2.in", "-o", "out/", "--jobs", 2, env={**os.environ, "FAKE_FAILS": fails})
    assert_refused(result, message)
    assert names(here) == ["1.in", "2.in"]


@pytest.mark.parametrize("limit", [8, 13, 40])
def test_workers_need_open_files(here: Path, limit: int) -> None:
    result = fake(
        *(f"{i}.in" for i in range(4)), "-o", "out/", "--jobs", 3,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )  # fmt: skip
    if limit < 40:
        assert_refused(result, "Too many open files")
        assert not (here / "out").exists()
    else:
        assert result.code == 0, result
        assert len(names(here / "out")) == 4
