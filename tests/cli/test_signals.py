"""Signals at any moment: only whole files are left, one line is said, no process outlives the command."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from reliability.trial import in_session
from support.command import (
    FAKE,
    PLAIN,
    TRUNCATE,
    begin,
    ctc,
    ended,
    first_line,
    names,
    python,
    rest,
    spawn,
    wait_until,
)

MakePhoto = Callable[..., Image.Image]
either = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])

# --- one process ------------------------------------------------------------------------------------


@pytest.mark.slow
@either
def test_a_signal_during_the_work_leaves_only_whole_files(
    files: Path, make_photo: MakePhoto, photo_ctc: bytes, number: signal.Signals
) -> None:
    make_photo(1600, 1200).save("big.png", compress_level=0)
    with spawn("encode", "photo.png", "big.png", "-o", "out/") as process:
        assert "photo.ctc" in first_line(process)
        time.sleep(0.1)
        process.send_signal(number)
        result = rest(process)
    assert (result.code, result.lines) == (128 + number, ["ctc: interrupted: 1 of 2 done"])
    assert names(files / "out") == ["photo.ctc"]
    assert (files / "out/photo.ctc").read_bytes() == photo_ctc


@either
def test_a_signal_while_waiting_for_input_leaves_nothing(files: Path, number: signal.Signals) -> None:
    before = names(files)
    with spawn("decode", "-", "-o", "x.png") as process:
        assert process.stdin is not None
        process.stdin.write(PLAIN[:200_000])  # more than a pipe holds: it is being read
        process.stdin.flush()
        process.send_signal(number)
        result = ended(process)
    assert (result.code, result.lines) == (128 + number, ["ctc: interrupted"])
    assert names(files) == before


@pytest.mark.parametrize("step", ["link", "replace"])
def test_an_interrupt_while_writing_leaves_nothing(
    files: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    (files / "old.ctc").write_bytes(b"precious")
    before = names(files)
    monkeypatch.setattr(f"ctc_codec.container.atomic.os.{step}", interrupt)
    target = ["new.ctc"] if step == "link" else ["old.ctc", "-f"]
    result = ctc(*TRUNCATE, "-o", *target)
    assert (result.code, result.lines[-1]) == (130, "ctc: interrupted")
    assert names(files) == before
    assert (files / "old.ctc").read_bytes() == b"precious"


@either
def test_a_signal_while_writing_waits_until_the_file_is_whole(
    files: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    link, before = os.link, names(files)

    def interrupted(source: str, target: str) -> None:
        os.kill(os.getpid(), number)
        link(source, target)
        os.kill(os.getpid(), number)

    monkeypatch.setattr("ctc_codec.container.atomic.os.link", interrupted)
    result = ctc(*TRUNCATE, "-o", "new.ctc")
    assert (result.code, result.lines) == (128 + number, ["ctc: interrupted"])
    assert (files / "new.ctc").read_bytes() == PLAIN[:200_000]
    assert names(files) == sorted([*before, "new.ctc"])


_ENDLESS = """
import itertools, sys
from ctc_codec.cli.files import write_output
print("ready", flush=True)
for number in itertools.count():
    write_output(str(number % 20), bytes([number % 251]) * 500_000, True)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_files(here: Path) -> None:
    """And a partial one at a time at most."""
    rng, kills, left = random.Random(1), 8, 0
    for _ in range(kills):
        with python(_ENDLESS) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.random() * 0.03)
            process.kill()
        for path in here.iterdir():
            data = path.read_bytes()
            if path.name.endswith(".partial"):
                left += 1
            else:
                assert data == data[:1] * 500_000, path
            path.unlink()
    assert left <= kills


@pytest.mark.slow
@either
def test_signals_at_any_moment_leave_whole_files(here: Path, number: signal.Signals) -> None:
    rng = random.Random(int(number))
    (here / "in").mkdir()
    for i in range(300):
        (here / f"in/{i:03}.ctc").write_bytes(PLAIN[:40_000])
    interrupted = 0
    for _ in range(6):
        with spawn("truncate", "-r", "in", "--bytes", "30k", "-o", "out") as process:
            first = first_line(process).rstrip("\n")
            time.sleep(rng.random() * 0.05)
            process.send_signal(number)
            result = rest(process)
        lines = [first, *result.lines]
        done = sum(" -> " in line for line in lines)
        written = list((here / "out").iterdir())
        if result.code != 0:
            assert result.code == 128 + number
            told = re.fullmatch(r"ctc: interrupted: (\d+) of 300 done", lines[-1])
            assert told
            assert done <= int(told[1]) <= len(written) <= done + 1
            assert len(lines) == done + 1
            interrupted += 1
        assert all(path.suffix == ".ctc" and path.read_bytes() == PLAIN[:30_000] for path in written)
        shutil.rmtree("out")
    assert interrupted


def test_an_ignored_interrupt_stays_ignored(here: Path) -> None:
    """As in `nohup ctc ... &` of a script."""
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *FAKE]
    with begin(command, "1.in", "2.slow.in", "3.in", "-o", "out/") as process:
        assert "1.in -> " in first_line(process)
        process.send_signal(signal.SIGINT)
        assert rest(process).code == 0
    assert names(here / "out") == ["1.out", "2.slow.out", "3.out"]


# --- worker processes -------------------------------------------------------------------------------


def _begun(*args: object, **environment: str) -> subprocess.Popen[bytes]:
    return begin(FAKE, *args, "-o", "out/", start_new_session=True, env={**os.environ, **environment})


def _end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit code and words of a process that ends at once, with all that it has begun."""
    code = process.wait(timeout=10)
    wait_until(lambda: in_session(process.pid) == [], 5)
    return code, rest(process).err.replace("loading\n", "")


@pytest.mark.parametrize(
    ("jobs", "number", "word"),
    [
        (1, signal.SIGINT, "endless"),
        (1, signal.SIGTERM, "load"),
        (2, signal.SIGINT, "endless"),
        (2, signal.SIGTERM, "load"),
        pytest.param(2, signal.SIGINT, "load", marks=pytest.mark.slow),
        pytest.param(2, signal.SIGTERM, "endless", marks=pytest.mark.slow),
        pytest.param(2, signal.SIGHUP, "endless", marks=pytest.mark.slow),
        pytest.param(2, signal.SIGKILL, "endless", marks=pytest.mark.slow),
        pytest.param(2, signal.SIGKILL, "load", marks=pytest.mark.slow),
    ],
)
def test_workers_end_with_the_command(here: Path, jobs: int, number: signal.Signals, word: str) -> None:
    """The signal goes to the command alone."""
    slow = "slow" if word == "load" else ""
    with _begun("1.in", "2.endless.in", "3.endless.in", "4.in", "-j", jobs, FAKE_FAILS=slow) as process:
        assert ("loading" if slow else "1.in -> ") in first_line(process)
        wait_until(lambda: len(in_session(process.pid)) >= (1 if jobs == 1 else 3))
        time.sleep(0.1)
        process.send_signal(number)
        code, err = _end(process)
    if number == signal.SIGKILL:
        assert code == -9
        assert "Traceback" not in err  # multiprocessing tells of semaphores that it tidies up
    else:
        assert (code, err) == (128 + number, f"ctc: interrupted: {int(word == 'endless')} of 4 done\n")


@pytest.mark.slow
@either
@pytest.mark.parametrize("jobs", [1, 2])
def test_many_signals_do_not_disturb_the_end(here: Path, jobs: int, number: signal.Signals) -> None:
    """They go to the whole group."""
    with _begun("1.in", "2.endless.in", "3.endless.in", "-j", jobs) as process:
        assert "1.in -> " in first_line(process)
        for _ in range(50):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            time.sleep(0.002)
        assert _end(process) == (128 + number, "ctc: interrupted: 1 of 3 done\n")


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0, 0.1, 0.2, 0.3])
def test_an_interrupt_while_workers_are_starting_is_no_traceback(here: Path, delay: float) -> None:
    """Python itself comes up in them, with its own ideas of what ^C means."""
    with _begun("1.in", "2.in", "-j", 2, FAKE_FAILS="slow") as process:
        wait_until(lambda: len(in_session(process.pid)) >= 3)  # the command, multiprocessing's own, a worker
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        assert _end(process) == (130, "ctc: interrupted: 0 of 2 done\n")
