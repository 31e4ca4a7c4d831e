"""Many inputs: those that fail alone, several jobs, JSON, what is said, the bar, the summary."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec.image.source import psnr
from reliability.trial import in_session
from support.command import (
    FAKE,
    SUMMARY,
    Result,
    assert_refused,
    ctc,
    fake,
    files_below,
    first_line,
    names,
    rest,
    run,
    run_shell,
    spawn,
    touch,
    wait_until,
)
from support.streams import changed

MakePhoto = Callable[..., Image.Image]
GOOD, BAD = 190, 10
CUT = ("truncate", "--bytes", "300")

# --- inputs that fail -------------------------------------------------------------------------------

COMMANDS = {
    "encode": ("-o", "out/"),
    "decode": ("-o", "out/"),
    "truncate": ("--bytes", "300", "-o", "out/"),
    "preview": ("--frames", "1", "-o", "out/"),
    "check": (),
    "info": (),
}
SUFFIX = {"encode": "ctc", "decode": "png", "truncate": "ctc", "preview": "html"}


def _six(command: str, files: Path) -> tuple[list[str], list[str]]:
    """Names of inputs for a command, and those of them that fail."""
    kind, good = ("png", "photo.png") if command == "encode" else ("ctc", "whole.ctc")
    data = (files / good).read_bytes()
    made = {"a": data, "b": b"neither picture nor stream", "d": changed(data, 100, 1), "e": data, "f": data}
    for name, content in made.items():
        (files / f"{name}.{kind}").write_bytes(content)
    fail = ["b", "c"] if command == "truncate" else ["b", "c", "d"]  # c is not there
    if command in SUFFIX:
        (files / "out").mkdir()
        (files / f"out/e.{SUFFIX[command]}").write_bytes(b"precious")
        fail.append("e")
    return [f"{name}.{kind}" for name in "abcdef"], [f"{name}.{kind}" for name in fail]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_batch_goes_on_after_inputs_that_fail(files: Path, command: str) -> None:
    inputs, fail = _six(command, files)
    result = ctc(command, *COMMANDS[command], *["--quiet"] * (command != "info"), *inputs)
    assert_refused(result, lines=len(fail) + 1)
    assert [line.split(": ")[1] for line in result.lines[:-1]] == fail
    assert result.lines[-1] == f"ctc: {len(fail)} of 6 inputs failed: {', '.join(fail)}"
    if suffix := SUFFIX.get(command):
        done = "adef" if command == "truncate" else "aef"
        assert names(files / "out") == [f"{name}.{suffix}" for name in done]
        assert (files / f"out/e.{suffix}").read_bytes() == b"precious"
        assert (files / f"out/a.{suffix}").stat().st_size == (files / f"out/f.{suffix}").stat().st_size > 99


def _told(result: Result) -> tuple[list[str], list[bytes]]:
    """All that is said, but how long it took."""
    lines = [re.sub(r"[\d.]+ s(, .*)?$", "", line) for line in result.lines]
    return sorted(lines), sorted(result.out.splitlines())


@pytest.mark.parametrize(
    "command",
    [c if c in ("truncate", "check") else pytest.param(c, marks=pytest.mark.slow) for c in COMMANDS],
)
def test_several_jobs_say_and_do_the_same_as_one(files: Path, command: str) -> None:
    """In any order."""
    inputs, _ = _six(command, files)
    shutil.copytree(files, files / "again")
    one = run(command, *COMMANDS[command], *inputs)
    two = run(command, *COMMANDS[command], *inputs, "--jobs", 2, cwd=files / "again")
    assert one.code == two.code == 1
    assert _told(one) == _told(two)
    left = [path for path in files_below(files) if not path.startswith("again/")]
    assert files_below(files / "again") == left
    assert all((files / "again" / path).read_bytes() == (files / path).read_bytes() for path in left)


@pytest.mark.parametrize("command", [*SUFFIX, "check"])
def test_quiet_says_nothing_on_success(files: Path, command: str) -> None:
    source = "photo.png" if command == "encode" else "whole.ctc"
    assert ctc(command, source, *COMMANDS[command], "--quiet") == Result(0, b"", "")


# --- 200 files --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, make_photo: MakePhoto) -> Path:
    """A tree of 190 tiny images and 10 that are none. Tests do not write to it."""
    folder = tmp_path_factory.mktemp("tree")
    places = [folder, folder / "a", folder / "a/b", folder / "c d"]
    for place in places:
        place.mkdir(exist_ok=True)
    for i in range(GOOD):
        size = (16 + i % 33, 16 + i % 17)
        make_photo(*size, seed=i).save(places[i % 4] / f"p{i:03}.png", compress_level=1)
    for i in range(BAD):
        (places[i % 4] / f"bad{i}.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="session")
def encoded(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """``tree`` encoded with two jobs, and what was said."""
    out = tmp_path_factory.mktemp("encoded") / "out"
    return run("encode", "-r", tree, "-o", out, "--jobs", 2), out


def outputs_of(tree: Path) -> list[str]:
    return sorted(str(p.relative_to(tree).with_suffix(".ctc")) for p in tree.rglob("p*.png"))


@pytest.mark.slow
def test_a_batch_does_all_that_can_be_done_and_names_the_rest(
    tree: Path, encoded: tuple[Result, Path]
) -> None:
    result, out = encoded
    assert result.code == 1
    assert files_below(out) == outputs_of(tree)
    assert len(outputs_of(tree)) == GOOD
    with Image.open(tree / "a/b/p106.png") as image:
        assert (out / "a/b/p106.ctc").read_bytes() == ctc_codec.encode(image)
    bad = [str(p) for p in sorted(tree.rglob("bad*"))]
    told = [line for line in result.lines if ": not an image" in line]
    assert sorted(told) == sorted(f"ctc: {name}: not an image that Pillow can open" for name in bad)
    assert sum(" -> " in line for line in result.lines) == GOOD
    assert result.counts == (GOOD, BAD, 0)
    last = result.lines[-1].removeprefix(f"ctc: {BAD} of {GOOD + BAD} inputs failed: ")
    assert sorted(last.split(", ")) == bad
    assert len(result.lines) == GOOD + BAD + 2


@pytest.mark.slow
def test_a_batch_that_is_interrupted_leaves_whole_files_and_goes_on_later(
    tree: Path, encoded: tuple[Result, Path], tmp_path: Path
) -> None:
    """The signal goes to the whole group, as ^C in a terminal does."""
    out = tmp_path / "out"
    command = ["encode", "-r", tree, "-o", out, "--jobs", 2]
    with spawn(*command, start_new_session=True) as process:
        seen = [first_line(process).rstrip("\n") for _ in range(25)]
        assert " -> " in "".join(seen)
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        result = rest(process)
        assert time.monotonic() - started < 5
        wait_until(lambda: in_session(process.pid) == [], 5)
    assert result.code == 130
    lines = [*seen, *result.lines]
    done = sum(" -> " in line for line in lines)
    assert lines[-1] == f"ctc: interrupted: {done} of {GOOD + BAD} done"
    assert [line for line in lines[:-1] if " -> " not in line and ": not an image" not in line] == []
    halfway = files_below(out)
    assert done <= len(halfway) <= done + 2
    assert set(halfway) < set(outputs_of(tree))

    written = {name: (out / name).stat().st_mtime_ns for name in halfway}
    result = run(*command, "--skip-existing", "--json", "--quiet")
    assert result.code == 1
    assert len(result.lines) == BAD + 1
    found = result.objects
    assert {o["output"] for o in found if "skipped" in o} == {str(out / name) for name in halfway}
    assert sum("error" in o for o in found) == BAD
    psnrs = [o["psnr"] for o in found if "psnr" in o]
    assert len(psnrs) == GOOD - len(halfway)
    assert all(isinstance(value, float) and 20 < value < 60 for value in psnrs)
    assert files_below(out) == outputs_of(tree)
    assert all((out / name).stat().st_mtime_ns == when for name, when in written.items())
    for name in outputs_of(tree):
        assert (out / name).read_bytes() == (encoded[1] / name).read_bytes()


def _loads_a_model(number: int) -> bool:
    with contextlib.suppress(OSError):
        return "onnxruntime" in Path(f"/proc/{number}/maps").read_text()
    return False


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_while_models_are_loaded_is_no_traceback(tree: Path, here: Path, jobs: int) -> None:
    with spawn("encode", "-r", tree, "-o", "out", "--jobs", jobs, start_new_session=True) as process:
        wait_until(lambda: any(map(_loads_a_model, in_session(process.pid))))
        os.killpg(process.pid, signal.SIGINT)
        result = rest(process)
        wait_until(lambda: in_session(process.pid) == [], 5)
    assert result.code == 130
    assert re.fullmatch(r"(.* -> .*\n|.*bad\d\.jpg: .*\n)*ctc: interrupted: \d+ of 200 done\n", result.err)


# --- words ------------------------------------------------------------------------------------------


def test_json_of_encoding_tells_what_was_written(here: Path, make_photo: MakePhoto) -> None:
    make_photo(40, 30).save("a.png")
    touch("b.png", "c.png", "c.ctc")
    result = ctc(
        "encode", "a.png", "b.png", "c.png", "missing\n.png", "--json", "--bpp", 2, "--skip-existing"
    )
    assert result.code == 1
    skipped, good, empty, missing = result.objects
    assert skipped == {"file": "c.png", "output": "c.ctc", "skipped": True}
    assert empty == {"file": "b.png", "error": "empty, not an image"}
    assert missing == {"file": "missing\n.png", "error": "No such file or directory"}
    data = Path("a.ctc").read_bytes()
    decoded = np.asarray(ctc_codec.decode(data))
    assert good.pop("seconds") > 0
    assert good.pop("psnr") == pytest.approx(psnr(np.asarray(make_photo(40, 30)), decoded), abs=1e-3)
    assert good == {
        "file": "a.png",
        "output": "a.ctc",
        "bytes": len(data),
        "bpp": pytest.approx(8 * len(data) / 1200, abs=1e-5),
        "width": 40,
        "height": 30,
    }
    assert result.counts == (1, 2, 1)


@pytest.mark.parametrize("args", [("decode",), CUT])
def test_json_of_other_commands_has_the_psnr_of_the_quality_table(
    shelf: Path, photo_ctc: bytes, args: tuple[str, ...]
) -> None:
    result = ctc(*args, "-r", "in/a", "in/b/c", "-o", "out", "--json", "--quiet")
    assert (result.code, result.err) == (0, "")
    size = 300 if args == CUT else len(photo_ctc)
    assert [found["file"] for found in result.objects] == ["in/a/w.ctc", "in/b/c/x.ctc"]
    for found in result.objects:
        assert (found["width"], found["height"]) == (120, 88)
        assert found["bytes"] == Path(found["output"]).stat().st_size
        assert found.get("from_bytes", found["bytes"]) == size
        assert found["psnr"] == pytest.approx(ctc_codec.info(photo_ctc[:size]).psnr, abs=1e-3)
        assert Path(str(found["output"])).exists()


def test_notes_are_hushed_and_errors_are_not(here: Path) -> None:
    inputs = ["1.told.in", "2.bad.in", "3.bug.in"]
    result = fake(*inputs, "-o", "out/")
    assert "ctc: 1.told.in: note: a note" in result.lines
    assert result.counts == (1, 2, 0)
    quiet = fake(*inputs, "-o", "out/", "--quiet", "-f")
    assert quiet.lines == [
        "ctc: 2.bad.in: is bad",
        "ctc: 3.bug.in: internal error, please report it: ZeroDivisionError: a bug",
        "ctc: 2 of 3 inputs failed: 2.bad.in, 3.bug.in",
    ]


def test_notes_come_before_the_error_that_follows_them(here: Path) -> None:
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save("wide.png")
    result = ctc("encode", "wide.png", "--psnr", 99)
    assert_refused(
        result, "ctc: wide.png: note: 16-bit samples are reduced to 8 bits", "out of reach", lines=2
    )


@pytest.mark.parametrize("command", [("check",), ("info",)])
def test_standard_input_is_read_in_spite_of_jobs(files: Path, command: tuple[str, ...]) -> None:
    stdin = (files / "plain.ctc").read_bytes()
    result = run(*command, "-", "plain.ctc", "-j", 2, stdin=stdin)
    assert result.code == 0, result
    assert "standard input: " in result.err + result.out.decode()


def test_jobs_work_with_closed_streams(files: Path) -> None:
    result = run_shell('"$@" <&- >&-', "check", "plain.ctc", "plain.ctc", "-j", 2)
    assert (result.code, len(result.lines)) == (0, 3), result


@pytest.mark.parametrize("jobs", [1, 2])
def test_verbose_shows_details_and_where_a_bug_is(here: Path, jobs: int) -> None:
    result = fake("1.in", "2.bug.in", "-o", "out/", "-v", "-j", jobs)
    assert any(re.fullmatch(r"  \d+\.\d\d s, a detail", line) for line in result.lines)
    assert "Traceback (most recent call last):" in result.lines
    assert any("batch_works.py" in line for line in result.lines)


# --- on a terminal ----------------------------------------------------------------------------------


def _on_terminal(*args: str, until: str = "", **environment: str) -> tuple[int, str]:
    """Exit code, and all that was written to the terminal. until: when ^C is pressed."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*FAKE, *args],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm", **environment},
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    written = b""
    end = time.monotonic() + 60
    with contextlib.suppress(OSError):  # that is how a terminal ends
        while time.monotonic() < end:
            if select.select([master], [], [], 0.5)[0]:
                written += os.read(master, 65536)
            if until and until.encode() in written:
                os.write(master, b"\x03")
                until = ""
    os.close(master)
    return process.wait(timeout=10), written.decode()


def _screen(written: str) -> list[str]:
    """What a terminal shows of it in the end."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            erased = part.startswith("\x1b[K")
            part = part.removeprefix("\x1b[K")
            shown = part if erased else part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bar_shows_how_far_it_is_and_keeps_lines_whole(here: Path, jobs: int) -> None:
    # The last one takes long enough for the state before it to be drawn, however busy the machine is.
    inputs = ["1.in", "2.bad.in", "3.slow.in", "4.told.in", "5.slow.in", "6.slow.slow.slow.in"]
    touch("out/1.out")
    code, written = _on_terminal(*inputs, "-o", "out/", "--skip-existing", "-j", str(jobs))
    assert code == 1
    *lines, summary, failed, rest = _screen(written)
    assert sorted(lines) == ["ctc: 2.bad.in: is bad", "ctc: 4.told.in: note: a note"]
    assert SUMMARY.fullmatch(summary)
    assert (failed, rest) == ("ctc: 1 of 6 inputs failed: 2.bad.in", "")
    drawn = [part.strip() for part in re.split(r"[\r\n]+", written)]
    assert any(re.match(r"loading the model: +\d+ % \|.*\| \d/6", d) for d in drawn), drawn
    bars = [re.fullmatch(r"\d+ % \|.*\| (\d)/6, .*, [\d.]+ Mpixel/s, 1 failed, .* left", d) for d in drawn]
    drawn_at = [int(bar[1]) for bar in bars if bar]
    assert sorted(drawn_at) == drawn_at
    assert len({*drawn_at}) >= (3 if jobs == 1 else 2)  # two that end at once are one state
    assert 5 in drawn_at
    assert "->" not in written


@pytest.mark.parametrize(
    ("more", "environment"), [(("--quiet",), {}), ((), {"TERM": "dumb"}), (("-v",), {}), (("--json",), {})]
)
def test_who_wants_no_bar_gets_lines(here: Path, more: tuple[str, ...], environment: dict[str, str]) -> None:
    code, written = _on_terminal("1.in", "2.slow.in", "-o", "out/", *more, **environment)
    assert code == 0
    lines = _screen(written)
    if more == ("--quiet",):
        assert written == ""
    elif more == ("--json",):
        assert [json.loads(line)["file"] for line in lines[:2]] == ["1.in", "2.slow.in"]
    else:
        assert [line for line in lines if "->" in line] == [
            "1.in -> out/1.out: 40x20, 100 bytes, 1.5000 bpp",
            "2.slow.in -> out/2.slow.out: 40x20, 100 bytes, 1.5000 bpp",
        ]
    assert ("/2, " in written) == (more in (("-v",), ("--json",)))


def test_one_input_has_no_bar_and_is_not_summed_up(here: Path) -> None:
    line = "1.in -> 1.out: 40x20, 100 bytes, 1.5000 bpp"
    assert fake("1.in").lines == [line]
    assert _on_terminal("1.in", "-f") == (0, f"{line}\r\n")


def test_interrupting_a_bar_leaves_a_clean_line(here: Path) -> None:
    inputs = ("1.in", "2.endless.in", "3.in")
    code, written = _on_terminal(*inputs, "-o", "out/", "-j", "2", until="2/3")
    assert code == 130
    assert _screen(written) == ["ctc: interrupted: 2 of 3 done", ""]
