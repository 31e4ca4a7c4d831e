"""The soak, see ``make soak``: its works give the known results, and growth and failures are found."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ctc_codec import CodecModel
from reliability import soak
from reliability.record import record
from reliability.soak_commands import Commands, _while_starting
from reliability.soak_samples import BOUNDS, Samples, grown, growth
from reliability.soak_works import Works, Wrong
from reliability.trial import Done


@pytest.fixture(scope="module")
def works(model: CodecModel) -> Works:
    return Works(model, rounds=3)


def _rows(**slopes: float) -> list[dict[str, float]]:
    """Of an hour, with growth from its first minute to its last, and noise."""
    rng = random.Random(1)
    rows = []
    for n in range(60):
        row = {"minute": n, "operations": 9 * n, "most_memory_mb": 200.0}
        for name, bound in BOUNDS.items():
            row[name] = 100 + slopes.get(name, 0) * n / 60 + rng.randint(0, 1) * bound / 4
        rows.append(row)
    return rows


def test_growth_is_found() -> None:
    assert grown(growth(_rows())) == []
    for name, bound in BOUNDS.items():
        (line,) = grown(growth(_rows(**{name: 2 * bound})))
        assert line.startswith(f"{name} has grown by ")
    warm = _rows()
    for row in warm[:10]:
        row["memory_mb"] = 0.0  # all that grows at first
    assert grown(growth(warm)) == []


def test_threads_get_the_known_results(works: Works, tmp_path: Path) -> None:
    soaked = soak.Soak(60, 1)
    samples = Samples(10, tmp_path, soaked.counts.total)
    threads = [threading.Thread(target=soaked.run, args=(name, works.all)) for name in "ab"]
    for thread in (*threads, samples):
        thread.start()
    while soaked.going_on and not (soaked.counts.total() > 4 and samples.rows):
        time.sleep(0.05)
    samples.end()
    soaked._until = 0
    for thread in threads:
        thread.join()
    assert soaked.failures == []
    assert soaked.counts.total() > 4
    assert samples.error is None
    assert samples.rows
    assert samples.rows[-1]["threads"] >= 3
    assert samples.rows[-1]["files"] == 0


def test_a_sampler_that_dies_and_too_few_samples_are_told(tmp_path: Path) -> None:
    samples = Samples(60, tmp_path, lambda: 1 // 0)
    samples._interval = 0
    samples.start()
    samples.join(60)
    assert isinstance(samples.error, ZeroDivisionError)
    assert growth(_rows()[:2]) == {}


def _once(soaked: soak.Soak, work: Callable[[], object]) -> Callable[[random.Random], None]:
    """A work that is the last one."""

    def works(rng: random.Random) -> None:
        soaked._until = 0
        work()

    return works


def test_failures_and_hanging_are_told(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in works.files.items():
        monkeypatch.setitem(works.files, name, data[:-20])
    with pytest.raises(Wrong, match="another result than at first"):
        works.thumbnail(random.Random(1))
    soaked = soak.Soak(60, 1)
    soaked.run("thread", {"division": _once(soaked, lambda: 1 // 0)})
    assert "division: ZeroDivisionError" in soaked.failures[0]
    soaked = soak.Soak(60, 1)
    monkeypatch.setattr(soak, "_PATIENCE", -1)
    seen: list[list[str]] = []
    soaked.run("thread", {"long": _once(soaked, lambda: seen.append(soaked.hanging()))})
    assert seen == [["long"]]
    assert soaked.hanging() == []


def test_python_may_be_interrupted_before_the_command() -> None:
    words = "Fatal Python error: init_import_site: Failed to import the site module"
    assert _while_starting(Done(1, b"", words, 0.1))
    assert not _while_starting(Done(2, b"", words, 0.1))
    assert not _while_starting(Done(1, b"", "ctc: it failed", 0.1))


@pytest.mark.slow
def test_commands_are_compared_too(works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(tmp_path, works.files)
    commands.interrupted(random.Random(1))
    monkeypatch.setattr(commands, "_encoded", dict.fromkeys(commands._encoded, b""))
    with pytest.raises(Wrong, match="encode: other files"):
        commands.encode(random.Random(1))


def test_a_record_is_told() -> None:
    rows = _rows()
    summary = {
        "minutes": 60,
        "operations": {"decode": 4321},
        "failures": [],
        "growth": growth(rows),
        "most_memory_mb": 200.0,
    }
    told = soak.lines(record(summary, rows))
    assert told[0].startswith("60 minutes on one core (")
    assert "4,321 works, no failures, at most 200 MB: 4,321 decode." in told[0]
    assert told[4].startswith("| memory, MB | ")
    assert told[4].endswith(" | 32 |")
    none = {"failed": 21, "failures": ["too few samples"] * 20, "growth": {}}
    told = soak.lines(record(summary | none, []))
    assert "4,321 works, 21 failures" in told[0]
    assert told[4] == "| memory, MB | nan | nan | +nan | 32 |"
