"""Worker processes: how many, with how many threads, those that die, cannot load or cannot start. Most do the
works of batch_works.py, which need no model."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from support.command import assert_refused, ctc, fake, files_below, names

MakePhoto = Callable[..., Image.Image]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["0", "auto", "64"])
def test_jobs_may_be_as_many_as_there_are_cores_or_files(here: Path, jobs: str) -> None:
    assert fake("1.in", "2.in", "3.in", "-o", "out/", "--jobs", jobs).code == 0
    assert files_below(here / "out") == ["1.out", "2.out", "3.out"]


@pytest.mark.slow
def test_workers_are_told_how_many_threads_to_use(here: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    inputs = [f"{i}.slow.in" for i in range(4)]
    assert fake(*inputs, "-o", "out/", "--jobs", 2).code == 0
    told = [path.read_text().split() for path in (here / "out").iterdir()]
    assert {int(count) for _, count in told} == {max(1, cores // 2)}
    assert len({number for number, _ in told}) == 2


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
