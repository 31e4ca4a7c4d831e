"""A few of the trials of ``python -m reliability.faults``, and that what is lost or half is found."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from reliability import faults, kills
from reliability.record import record
from reliability.trial import Row, contents
from reliability.works import Bench, Work

_IN_PLACE = (
    "import os, sys, time\n"
    "again = os.path.exists(sys.argv[1]) and open(sys.argv[1], 'rb').read() == b'half'\n"
    "with open(sys.argv[1], 'wb', 0) as file:\n"
    "    file.write(b'half')\n"
    "    time.sleep(0 if again else 60)\n"
    "    file.write(b'whole')\n"
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.make(tmp_path_factory.mktemp("faults"), ("encode", "decode"), 1)


def _tried(bench: Bench, fault: str, work: str, trials: int) -> Row:
    row = faults.FAULTS[fault][0](bench, work, trials)
    if row.not_here:
        pytest.skip(row.not_here)
    assert row.defects == []
    assert row.trials == trials
    return row


@pytest.mark.parametrize("fault", ["storm", "clock", "closed pipe"])
def test_a_fault_does_no_harm(bench: Bench, fault: str) -> None:
    assert _tried(bench, fault, "encode", 1).struck == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "kill at call", "quota", "pauses", "full disk", "file limit"])
def test_what_a_fault_breaks_off_is_done_again(bench: Bench, fault: str) -> None:
    _tried(bench, fault, "encode", 1)


def test_half_of_a_file_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the trials of a program that writes in place."""
    place = bench.folder / "trial/out"

    def at_half() -> None:
        limit = time.monotonic() + 30
        while contents(place).get("x") != b"half" and time.monotonic() < limit:
            time.sleep(0.01)

    monkeypatch.setattr(kills, "_moment", lambda *_: at_half)
    work = Work("in place", [sys.executable, "-c", _IN_PLACE], "x", (), 1.0, {"x": b"halfwhole"})
    row = kills.KINDS["encode"](bench, work, 4)  # over an older file, and without one
    assert row.defects == [f"trial {n}: neither the old file nor the whole new one" for n in range(1, 5)]
    assert row.struck == 4


def test_a_record_is_told(tmp_path: Path) -> None:
    rows = [
        Row("SIGKILL", "encode", 7, 5, figures={"unfinished files left": 1234}),
        Row("SIGKILL", "decode", 1, 1, figures={"unfinished files left": 1, "kills of a worker": 0}),
        Row("disk full", "decode", 3, 2, ["trial 1: half"]),
        Row("clock", "train", not_here="there is no libfaketime"),
    ]
    assert faults._outcome(vars(rows[3])) == "not here: there is no libfaketime"
    broken = Row("disk full", "decode", 2, 2, ["trial 1: half"], not_here="no more")
    assert faults._outcome(vars(broken)) == "**1 defects**"
    told = faults.lines(record(faults.summary(rows), [vars(row) for row in rows]))
    assert told[0].startswith("11 trials (")
    assert told[0].endswith("of which 8 met the work before its end; 1 defects:")
    assert told[4:] == [
        "| SIGKILL | encode 5 of 7; decode 1 of 1 | no defect; 1,235 unfinished files left |",
        "| disk full | decode 2 of 3 | **1 defects** |",
        "| clock | train not here | there is no libfaketime |",
    ]
