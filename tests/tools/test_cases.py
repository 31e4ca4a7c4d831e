"""What users meet, see ``make cases``: each row, and that what is wrong is found."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from cases import rows
from cases.__main__ import main
from cases.build import build
from cases.place import Done, Place
from cases.rows import ROWS, run
from support.command import ctc

_BUSY = 5
"""Times the seconds that a row allows: other tests run beside it."""


@pytest.fixture(scope="module")
def case_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    build(folder)
    return folder


def _in_process(arguments: list[str], folder: Path) -> Done:
    start = time.perf_counter()
    with contextlib.chdir(folder):
        result = ctc(*arguments)
    return Done(result.code, result.out.decode(errors="replace"), result.err, time.perf_counter() - start)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_row(case_files: Path, name: str) -> None:
    assert not run(name, case_files, patience=_BUSY, ctc=_in_process)


def _untrue(here: Place) -> None:
    icon = here.picture("icon.png")
    here.colour(icon, (1, 2, 3), "the icon")
    here.at_least(30, icon, here.picture("scene.png"), "the icon")
    here.at_least(30, icon, icon.rotate(180), "turned")
    here.picture("none.png")
    here.works("echo no way; exit 3")
    here.fails("echo other words >&2; exit 1", 1, "these words")
    here.soon(0, here.works("true"), "at once")
    here.shell("echo 'Traceback (most recent call last):' >&2; exit 1")
    (here / "icon.png").unlink()
    raise ValueError("nothing like JSON")


def test_what_is_wrong_is_told(case_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROWS, "untrue", _untrue)
    wrong = run("untrue", case_files)
    for expected, found in zip(
        (
            "the icon: RGB",
            "the icon: (16, 16), not (288, 192)",
            "turned: ",
            "none.png: ",
            "exit 3: echo no way; exit 3: no way",
            "echo other words >&2; exit 1: no 'these words' in 'other words'",
            "at once: ",
            "echo 'Traceback",
            "ValueError: nothing like JSON",
        ),
        wrong,
        strict=True,
    ):
        assert found.startswith(expected)
    assert (case_files / "icon.png").exists()


def test_a_command_that_hangs_is_ended(case_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cases.place._LIMIT_SECONDS", 0.3)
    here = Place(case_files)
    assert here.shell("sleep 60 & wait").seconds < 20
    assert here.wrong == ["no end after 0.3 s: sleep 60 & wait"]


def test_rows_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = {"untrue": _untrue, "true": lambda here: here.works("test -e linked/link/x.jpg")}
    for module in (rows, main.__globals__):
        monkeypatch.setitem(module if isinstance(module, dict) else module.__dict__, "ROWS", chosen)
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:5] for line in lines if line[:5].strip()] == ["WRONG", "right", "1 rig"]
    assert lines[-1] == "1 right, 1 wrong"
    assert main([str(tmp_path), "--only", "true"]) == 0
