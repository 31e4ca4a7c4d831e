"""`make fuzz` without atheris: what is made of libFuzzer's words, records of runs, seeds as files."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from fuzz import __main__ as command
from fuzz import figures, rounds, seeds
from fuzz.explore import SURFACES, surface_of
from fuzz.rounds import Result
from reliability.fuzzing import lines

LOG = b"""\
INFO: Loaded 1 modules
#2\tINITED cov: 80 ft: 81 corp: 1/1b exec/s: 0 rss: 49Mb
#53110\tDONE   cov: 91 ft: 199 corp: 41/585b lim: 96 exec/s: 4085 rss: 49Mb
Done 53110 runs in 13 second(s)
stat::number_of_executed_units: 53110
stat::peak_rss_mb:              52
"""
FAILED = b"""\
#9\tNEW    cov: 91 ft: 199 corp: 3/585b lim: 96 exec/s: 0 rss: 49Mb

 === Uncaught Python exception: ===
KeyError: 'what'
Traceback (most recent call last):
==12== ERROR: libFuzzer: fuzz target exited
"""


def _pretend(monkeypatch: pytest.MonkeyPatch, log: bytes, code: int, left: bytes | None = None) -> None:
    """Instead of atheris."""

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        Path(command[4]).write_text(json.dumps({"read": 53000, "cut": 100}))
        if left is not None:
            (Path(command[4]).parent / "crash-1").write_bytes(left)
        return subprocess.CompletedProcess(command, code, log)

    monkeypatch.setattr(subprocess, "run", run)


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "LOGS", tmp_path / "logs")


def test_figures_are_those_that_libfuzzer_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, LOG, 0)
    found = rounds.run("header", 13, 1)
    assert (found.executions, found.seconds, found.edges, found.inputs, found.peak_mb) == (
        53110,
        13,
        91,
        41,
        52,
    )
    assert found.finding is None
    assert found.outcomes == {"read": 53000, "cut": 100}
    twice = rounds.run("header", 601, 1)
    assert (twice.executions, twice.edges, twice.outcomes["cut"]) == (2 * 53110, 91, 200)


def test_a_failure_leaves_its_input_and_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, FAILED, 77, b"input")
    found = rounds.run("header", 13, 1)
    assert found.finding == b"input"
    assert rounds.reason(found.log) == "KeyError: 'what'"
    _pretend(monkeypatch, b"#9\tNEW    cov: 91\nSegmentation fault", 139)
    found = rounds.run("header", 13, 1)
    assert found.finding == b""
    assert "code 139" in rounds.reason(found.log)
    _pretend(monkeypatch, LOG, 72)
    found = rounds.run("header", 13, 1)
    assert found.finding is None
    assert found.stopped


# --- the command ------------------------------------------------------------------------------------


def test_records_add_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _pretend(monkeypatch, LOG, 0)
    path = tmp_path / "fuzz.json"
    assert command.main(["header", "blocks", "--minutes", "1", "-o", str(path)]) == 0
    assert command.main(["header", "--minutes", "1", "-o", str(path), "--add"]) == 0
    record = json.loads(path.read_text())
    assert record["summary"] == {
        "executions": 3 * 53110,
        "seconds": 39,
        "findings": 0,
        "surfaces": 2,
        "runs": 2,
    }
    header, blocks = record["rows"]
    assert (header["executions"], blocks["executions"]) == (2 * 53110, 53110)
    assert header["outcomes"] == {"read": 106000, "cut": 200}
    assert (header["edges"], header["peak_mb"]) == (91, 52)
    assert "| header | 106,220 | 4,085 | 91 | 41 | 52 | 0 |" in lines(record)
    assert "159,330 executions" in lines(record)[-1]
    path.write_text(json.dumps(record | {"weights": "00000000"}))
    with pytest.raises(SystemExit, match="of other weights"):
        command.main(["header", "-o", str(path), "--add"])


def test_a_finding_is_kept_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _pretend(monkeypatch, FAILED, 77, b"input")
    monkeypatch.setattr("fuzz.explore.REGRESSIONS", tmp_path / "regressions")
    assert command.main(["header", "--minutes", "1", "-o", str(tmp_path / "fuzz.json")]) == 1
    assert [path.read_bytes() for path in (tmp_path / "regressions/header").iterdir()] == [b"input"]
    assert "KeyError: 'what'" in capsys.readouterr().out
    assert json.loads((tmp_path / "fuzz.json").read_text())["summary"]["findings"] == 1


def test_time_is_shared_among_the_surfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, int] = {}

    def run(name: str, seconds: int, seed: int) -> Result:
        given[name] = seconds
        return Result(1, 1.0, 1, 1, 1, None, "")

    monkeypatch.setattr(command, "run", run)
    assert command.main(["--minutes", "35"]) == 0
    assert list(given) == list(SURFACES) == list(command.SHARES)
    assert sum(given.values()) == 2100
    given.clear()
    assert command.main(["--minutes", "1", "plugin"]) == 0
    assert given == {"plugin": 60}


def test_words_of_depth_are_counted() -> None:
    outcomes = Counter({"complete, all planes": 5, "cut, into a plane": 3, "DamageError: damaged: a look": 2})
    result = Result(10, 2.0, 1, 1, 1, None, "", outcomes)
    text = lines(figures.record_of([figures.row_of("decoder", result)]))[-1]
    assert "80 % came to trits and 50 % to the last plane; 20 %" in text
    many = Result(100, 1.0, 1, 1, 1, None, "", Counter({f"word {number}": 1 for number in range(100)}))
    row = figures.row_of("header", many)
    assert row["outcomes"]["others"] == 40
    assert sum(row["outcomes"].values()) == 100


@pytest.mark.parametrize("name", ["header", "sections"])
def test_seeds_are_the_same_every_time(name: str, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        seeds.main([str(tmp_path / folder), name])
    written = {path.name: path.read_bytes() for path in (tmp_path / "a" / name).iterdir()}
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "b" / name).iterdir()}
    assert sorted(written.values()) == sorted(surface_of(name).seeds())
    with pytest.raises(SystemExit):
        seeds.main([str(tmp_path), "nothing"])
