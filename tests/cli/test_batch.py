"""Batches: folders, several processes, progress, JSON, and every way in which they can be cut short.

Those of the codec run the installed command; what processes do is shown with stand-ins that need no model,
see batch_works.py.
"""

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
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec.image.source import psnr
from support import batch_works
from support.command import COMMAND, Result, assert_misused, assert_refused, ctc, names, run, spawn

MakePhoto = Callable[..., Image.Image]

GOOD, BAD = 190, 10
FAKE = [sys.executable, batch_works.__file__, "fake"]
"""The command with works that need no model."""
SUMMARY = re.compile(
    r"ctc: (\d+) done, (\d+) failed, (\d+) skipped, [\d.]+ (bytes|kB|MB), [\d.]+ s"
    r"(, [\d.]+ files/s, [\d.]+ Mpixel/s)?"
)


pytestmark = pytest.mark.usefixtures("process_state")


def fake(*args: object, **kwargs: object) -> Result:
    done = subprocess.run(
        [*FAKE, *map(str, args)],
        capture_output=True,
        timeout=60,
        check=False,
        **kwargs,  # type: ignore[call-overload]
    )
    return Result(done.returncode, done.stdout, done.stderr.decode())


def touch(*paths: str | Path) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def files_below(folder: Path) -> list[str]:
    """Paths of all files, hidden ones too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def objects(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.out.splitlines()]


def counts(result: Result) -> tuple[int, ...]:
    """done, failed and skipped of the line that sums up."""
    (line,) = [line for line in result.lines if SUMMARY.fullmatch(line)]
    found = SUMMARY.fullmatch(line)
    assert found is not None
    return tuple(map(int, found.groups()[:3]))


def in_session(leader: int) -> list[int]:
    """Processes of the session that ``leader`` began, zombies left out."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            number, rest = status.read_text().split(" (", 1)
            state, _, _, session = rest.rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(number))
    return found


def wait_until(true: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


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


def test_a_batch_does_all_that_can_be_done_and_names_the_rest(
    tree: Path, encoded: tuple[Result, Path]
) -> None:
    result, out = encoded
    assert result.code == 1
    assert files_below(out) == outputs_of(tree)
    assert len(outputs_of(tree)) == GOOD
    bad = [str(p) for p in sorted(tree.rglob("bad*"))]
    told = [line for line in result.lines if ": not an image" in line]
    assert sorted(told) == sorted(f"ctc: {name}: not an image that Pillow can open" for name in bad)
    assert sum(" -> " in line for line in result.lines) == GOOD
    assert counts(result) == (GOOD, BAD, 0)
    last = result.lines[-1].removeprefix(f"ctc: {BAD} of {GOOD + BAD} inputs failed: ")
    assert sorted(last.split(", ")) == bad
    assert len(result.lines) == GOOD + BAD + 2


def test_several_processes_write_the_same_bytes_as_one(
    tree: Path, encoded: tuple[Result, Path], weights: str | None
) -> None:
    for name in ("p000", "a/b/p106", "c d/p187"):
        with Image.open(tree / f"{name}.png") as image:
            assert (encoded[1] / f"{name}.ctc").read_bytes() == ctc_codec.encode(image, weights=weights)


def test_a_batch_that_is_interrupted_leaves_whole_files_and_goes_on_later(
    tree: Path, encoded: tuple[Result, Path], tmp_path: Path
) -> None:
    """The signal goes to the whole group, as ^C in a terminal does."""
    out = tmp_path / "out"
    command = ["encode", "-r", tree, "-o", out, "--jobs", 2]
    with spawn(*command, start_new_session=True) as process:
        assert process.stderr is not None
        seen = [process.stderr.readline() for _ in range(25)]
        assert b" -> " in b"".join(seen)
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        err = process.stderr.read()
        assert process.wait(timeout=10) == 130
        assert time.monotonic() - started < 5
        wait_until(lambda: in_session(process.pid) == [], 5)
    lines = (b"".join(seen) + err).decode().splitlines()
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
    found = objects(result)
    assert [o["output"] for o in found if "skipped" in o] == [
        o["output"] for o in sorted(found, key=_walked) if "skipped" in o
    ]
    assert {o["output"] for o in found if "skipped" in o} == {str(out / name) for name in halfway}
    assert sum("error" in o for o in found) == BAD
    psnrs = [o["psnr"] for o in found if "psnr" in o]
    assert len(psnrs) == GOOD - len(halfway)
    assert all(isinstance(value, float) and 20 < value < 60 for value in psnrs)
    assert files_below(out) == outputs_of(tree)
    assert all((out / name).stat().st_mtime_ns == when for name, when in written.items())
    for name in outputs_of(tree):
        assert (out / name).read_bytes() == (encoded[1] / name).read_bytes()


def _walked(found: dict[str, object]) -> tuple[str, str]:
    """Sorts files as folders are read: a folder's own before those of its folders."""
    path = Path(str(found["file"]))
    return str(path.parent), path.name


def _loads_a_model(number: int) -> bool:
    with contextlib.suppress(OSError):
        return "onnxruntime" in Path(f"/proc/{number}/maps").read_text()
    return False


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_while_models_are_loaded_is_no_traceback(tree: Path, here: Path, jobs: int) -> None:
    with spawn("encode", "-r", tree, "-o", "out", "--jobs", jobs, start_new_session=True) as process:
        wait_until(lambda: any(map(_loads_a_model, in_session(process.pid))))
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        err = process.stderr.read().decode()
        assert process.wait(timeout=10) == 130
        assert re.fullmatch(r"(.* -> .*\n)*ctc: interrupted: \d+ of 200 done\n", err)
        wait_until(lambda: in_session(process.pid) == [], 5)


# --- processes --------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_fails_its_file_alone(here: Path) -> None:
    inputs = ["1.in", "2.killed.in", "3.in", "4.torn.in", "5.in", "6.killed.in", "7.in"]
    result = fake(*inputs, "-o", "out/", "--jobs", 2)
    assert result.code == 1
    for name in ("2.killed.in", "4.torn.in", "6.killed.in"):
        assert f"ctc: {name}: its worker process was killed by signal 9 (out of memory?)" in result.lines
    assert counts(result) == (4, 3, 0)
    assert result.lines[-1] == "ctc: 3 of 7 inputs failed: 2.killed.in, 4.torn.in, 6.killed.in"
    assert files_below(here / "out") == ["1.out", "3.out", "5.out", "7.out"]


def test_workers_are_told_how_many_threads_to_use(here: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    inputs = [f"{i}.slow.in" for i in range(4)]
    assert fake(*inputs, "-o", "out/", "--jobs", 2).code == 0
    told = [path.read_text().split() for path in (here / "out").iterdir()]
    assert {int(count) for _, count in told} == {max(1, cores // 2)}
    assert len({number for number, _ in told}) == 2


@pytest.mark.parametrize("jobs", ["0", "auto", "64"])
def test_jobs_may_be_as_many_as_there_are_cores_or_files(here: Path, jobs: str) -> None:
    assert fake("1.in", "2.in", "3.in", "-o", "out/", "--jobs", jobs).code == 0
    assert files_below(here / "out") == ["1.out", "2.out", "3.out"]


def test_pipes_are_read_in_spite_of_jobs(here: Path, make_photo: MakePhoto) -> None:
    """They come to the command itself, and to none of its workers."""
    make_photo(20, 20).save("a.png")
    reader, writer = os.pipe()
    os.write(writer, Path("a.png").read_bytes())
    os.close(writer)
    assert ctc("encode", f"/dev/fd/{reader}", "a.png", "-o", "out/", "--jobs", 2).code == 0
    os.close(reader)
    assert Path(f"out/{reader}.ctc").read_bytes() == Path("out/a.ctc").read_bytes()


@pytest.mark.parametrize(
    ("fails", "message"),
    [("error", "ctc: nothing can be loaded"), ("killed", "ctc: a worker process was killed by signal 9")],
)
def test_workers_that_cannot_load_end_the_batch_before_it_begins(
    here: Path, fails: str, message: str
) -> None:
    result = fake("1.in", "2.in", "-o", "out/", "--jobs", 2, env={**os.environ, "FAKE_FAILS": fails})
    assert_refused(result, message)
    assert names(here) == ["1.in", "2.in"]


def _begun(*args: object, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*FAKE, *map(str, args)],
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("jobs", "number", "word"),
    [
        (2, signal.SIGINT, "endless"),
        (2, signal.SIGINT, "load"),
        (2, signal.SIGTERM, "endless"),
        (2, signal.SIGTERM, "load"),
        (2, signal.SIGHUP, "endless"),
        (2, signal.SIGKILL, "endless"),
        (2, signal.SIGKILL, "load"),
        (1, signal.SIGINT, "endless"),
        (1, signal.SIGTERM, "load"),
    ],
)
def test_workers_end_with_the_command(here: Path, jobs: int, number: signal.Signals, word: str) -> None:
    """The signal goes to the command alone."""
    inputs = ["1.in", "2.endless.in", "3.endless.in", "4.in"]
    slow = "slow" if word == "load" else ""
    with _begun(*inputs, "-o", "out/", "-j", jobs, FAKE_FAILS=slow) as process:
        assert process.stderr is not None
        assert (b"loading" if slow else b"1.in -> ") in process.stderr.readline()
        wait_until(lambda: len(in_session(process.pid)) >= (1 if jobs == 1 else 3))
        time.sleep(0.1)
        process.send_signal(number)
        code = process.wait(timeout=10)
        wait_until(lambda: in_session(process.pid) == [], 5)
        err = process.stderr.read().decode().replace("loading\n", "")
    if number == signal.SIGKILL:
        assert code == -9
        assert "Traceback" not in err  # multiprocessing tells of semaphores that it tidies up
    else:
        assert code == 128 + number
        assert err == f"ctc: interrupted: {int(word == 'endless')} of 4 done\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", [1, 2])
def test_many_signals_to_the_group_do_not_disturb_the_end(
    here: Path, jobs: int, number: signal.Signals
) -> None:
    with _begun("1.in", "2.endless.in", "3.endless.in", "-o", "out/", "-j", jobs) as process:
        assert process.stderr is not None
        assert b"1.in -> " in process.stderr.readline()
        for _ in range(50):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            time.sleep(0.002)
        assert process.wait(timeout=10) == 128 + number
        assert process.stderr.read() == b"ctc: interrupted: 1 of 3 done\n"
        wait_until(lambda: in_session(process.pid) == [], 5)


@pytest.mark.parametrize("delay", [0, 0.1, 0.2, 0.3])
def test_an_interrupt_while_workers_are_starting_is_no_traceback(here: Path, delay: float) -> None:
    """Python itself comes up in them, with its own ideas of what ^C means."""
    with _begun("1.in", "2.in", "-o", "out/", "-j", 2, FAKE_FAILS="slow") as process:
        assert process.stderr is not None
        wait_until(lambda: len(in_session(process.pid)) >= 3)  # the command, multiprocessing's own, a worker
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert process.stderr.read().replace(b"loading\n", b"") == b"ctc: interrupted: 0 of 2 done\n"
        wait_until(lambda: in_session(process.pid) == [], 5)


def test_an_ignored_interrupt_stays_ignored(here: Path) -> None:
    """As in `nohup ctc ... &` of a script."""
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    command = [*ignoring, *FAKE, "1.in", "2.slow.in", "3.in", "-o", "out/"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"1.in -> " in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    assert names(here / "out") == ["1.out", "2.slow.out", "3.out"]


# --- folders ----------------------------------------------------------------------------------------


@pytest.fixture
def shelf(here: Path, photo_ctc: bytes) -> Path:
    """Folders of .ctc files, and of what is none."""
    for name in ("in/z.ctc", "in/b/y.CTC", "in/b/c/x.ctc", "in/a/w.ctc", "in/.hidden.ctc", "in/.git/v.ctc"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(photo_ctc)
    touch("in/notes.txt", "in/b/ctc", "in/empty/none.png")
    return here


TRUNCATE = ("truncate", "--bytes", "300")


def test_folders_are_mirrored(shelf: Path) -> None:
    result = ctc(*TRUNCATE, "-r", "in", "-o", "new/out")
    assert result.code == 0, result.err
    assert files_below(shelf / "new/out") == ["a/w.ctc", "b/c/x.ctc", "b/y.ctc", "z.ctc"]
    assert [line.split(" -> ")[0] for line in result.lines[:-1]] == [
        "in/z.ctc",
        "in/a/w.ctc",
        "in/b/y.CTC",
        "in/b/c/x.ctc",
    ]
    assert result.lines[-1].startswith("ctc: 4 done, 0 failed, 0 skipped, 1.20 kB, ")


def test_folders_and_files_go_together(shelf: Path, photo_ctc: bytes) -> None:
    Path("single.ctc").write_bytes(photo_ctc)
    assert ctc(*TRUNCATE, "-r", "in/b/", "single.ctc", "in/a", "-o", "out").code == 0
    assert files_below(shelf / "out") == ["c/x.ctc", "single.ctc", "w.ctc", "y.ctc"]


def test_without_an_output_folder_results_go_beside_the_inputs(shelf: Path) -> None:
    before = files_below(shelf)
    assert ctc("decode", "-r", "in", "--quiet").code == 0
    new = ["in/a/w.png", "in/b/c/x.png", "in/b/y.png", "in/z.png"]
    assert sorted(set(files_below(shelf)) - set(before)) == new


def test_a_folder_without_recursion_is_one_error(shelf: Path) -> None:
    assert_misused(ctc(*TRUNCATE, "in/z.ctc", "in", "in/b", "-o", "out"), "in", "is a folder", "-r")
    assert not Path("out").exists()


def test_an_output_folder_inside_an_input_folder_is_not_read(shelf: Path) -> None:
    for _ in range(2):
        assert ctc(*TRUNCATE, "-r", "in", "-o", "in/out", "-f").code == 0
    assert files_below(shelf / "in/out") == ["a/w.ctc", "b/c/x.ctc", "b/y.ctc", "z.ctc"]


def test_links_to_folders_are_not_followed(shelf: Path) -> None:
    Path("in/b/loop").symlink_to("..")
    Path("in/b/self").symlink_to("self")
    Path("in/b/linked.ctc").symlink_to("../z.ctc")
    Path("in/b/lost.ctc").symlink_to("nowhere")
    os.mkfifo("in/b/pipe.ctc")
    Path("in/b/folder.ctc").mkdir()
    result = ctc(*TRUNCATE, "-r", "in/b", "-o", "out")
    assert_refused(
        Result(result.code, b"", "\n".join(result.lines[-1:])), "1 of 4 inputs failed: in/b/lost.ctc"
    )
    assert "ctc: in/b/lost.ctc: No such file or directory" in result.lines
    assert files_below(shelf / "out") == ["c/x.ctc", "linked.ctc", "y.ctc"]
    assert not Path("out/linked.ctc").is_symlink()


def test_a_link_that_is_named_is_followed(shelf: Path) -> None:
    Path("link").symlink_to("in/a")
    assert ctc(*TRUNCATE, "-r", "link", "-o", "out").code == 0
    assert files_below(shelf / "out") == ["w.ctc"]


def test_images_are_told_by_their_suffix(here: Path, make_photo: MakePhoto) -> None:
    for name in ("a.png", "b.JPG", "c.Webp", "d.tiff", "g.ppm"):
        make_photo(20, 18).save(name)
    touch("e.txt", "f.ctc", "f.mpg", "f.pdf", ".h.png")
    result = ctc("encode", "-r", ".", "-o", "out", "--quiet")
    assert (result.code, result.err) == (0, "")
    assert files_below(here / "out") == ["a.ctc", "b.ctc", "c.ctc", "d.ctc", "g.ctc"]


def test_an_image_that_needs_a_plugin_is_not_left_out_silently(here: Path) -> None:
    touch("phone.HEIC")
    assert_refused(ctc("encode", "-r", "."), "phone.HEIC")


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_folder_with_nothing_to_do_fails_and_the_others_are_done(shelf: Path, command: str) -> None:
    touch("nothing/text.txt")
    assert_refused(ctc(command, "-r", "nothing", "-o", "out"), "nothing", "in this folder")
    assert not Path("out").exists()
    if command == "decode":
        result = ctc(command, "-r", "nothing", "in/a", "-o", "out", "--quiet")
        assert_refused(result, "ctc: nothing: there is no *.ctc", "1 of 2 inputs failed: nothing", lines=2)
        assert files_below(shelf / "out") == ["w.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_read_fails_and_the_others_are_done(shelf: Path) -> None:
    Path("in/b").chmod(0)
    try:
        result = ctc(*TRUNCATE, "-r", "in", "-o", "out", "--quiet")
    finally:
        Path("in/b").chmod(0o755)
    assert_refused(result, "ctc: in/b: Permission denied", "1 of 3 inputs failed: in/b", lines=2)
    assert files_below(shelf / "out") == ["a/w.ctc", "z.ctc"]


def test_a_file_in_the_way_of_a_folder_fails_what_would_go_there(shelf: Path) -> None:
    touch("out/b")
    result = ctc(*TRUNCATE, "-r", "in", "-o", "out", "--quiet")
    assert result.code == 1
    assert result.lines[-1] == "ctc: 2 of 4 inputs failed: in/b/y.CTC, in/b/c/x.ctc"
    assert all(line.startswith("ctc: in/b/") and "internal" not in line for line in result.lines[:-1])
    assert files_below(shelf / "out") == ["a/w.ctc", "b", "z.ctc"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("encode a.png a.jpg", ["a.png", "a.jpg", "a.ctc"]),
        ("encode a.png a.jpg -o out/", ["a.png", "a.jpg", "out/a.ctc"]),
        ("encode -r . -o out", ["./a.jpg", "./a.png", "out/a.ctc"]),
        ("encode -r x y -o out", ["x/b.png", "y/b.png", "out/b.ctc"]),
        ("encode -r x x/b.png", ["x/b.png", "x/b.ctc"]),
        ("encode a.png ./a.png", ["a.png", "./a.png", "a.ctc"]),
        ("encode -r x -o -", ["folder"]),
        ("encode -r x --json -o /dev/stdout", ["folder"]),
        ("encode -r x -o a.png", ["folder"]),
        ("encode -r x - -o out", ["standard input"]),
        ("encode -r x - --json", ["standard input"]),
        ("encode a.png --json -o -", ["--json", "-o"]),
        ("encode - --json", ["--json", "-o"]),
        ("encode a.png --skip-existing -f", ["--skip-existing", "--force"]),
        ("encode a.png --jobs -1", ["--jobs"]),
        ("encode a.png --jobs many", ["--jobs", "many"]),
        ("encode nowhere.png --background nocolour", ["--background", "nocolour"]),
        ("encode nowhere.png --background #12345678", ["--background", "#12345678"]),
        ("decode nowhere.ctc --background 1,2,3", ["--background"]),
        ("decode nowhere.ctc --progressive-every 10", ["frame-%03d.png"]),
        ("decode nowhere.ctc --progressive-every 10 -o frame.png", ["frame.png", "frame-%03d.png"]),
        ("decode nowhere.ctc --progressive-every 10 -o f%d-%d.png", ["%d-%d"]),
        ("decode nowhere.ctc --progressive-every 10 -o f%s.png", ["%s"]),
        ("decode nowhere.ctc --progressive-every 10 -o f%03d", ["suffix"]),
        ("decode nowhere.ctc --progressive-every 0 -o f%d.png", ["--progressive-every"]),
        ("decode nowhere.ctc n.ctc --progressive-every 10 -o f%d.png", ["one input"]),
        ("decode nowhere.ctc --progressive-every 10 -o f%d.png --bpp 1", ["--bpp", "--progressive-every"]),
        ("decode nowhere.ctc --progressive-every 10 -o f%d.png --thumbnail", ["--thumbnail"]),
        ("truncate nowhere.ctc -o x --psnr 30 --bpp 1", ["--psnr", "--bpp"]),
    ],
)
def test_wrong_usage_of_batches(here: Path, args: str, words: list[str]) -> None:
    touch("a.png", "a.jpg", "x/b.png", "y/b.png")
    before = files_below(here)
    assert_misused(ctc(*args.split()), *words)
    assert files_below(here) == before


# --- what is left out -------------------------------------------------------------------------------


def test_what_exists_is_skipped_and_counted(shelf: Path) -> None:
    touch("out/a/w.ctc", "out/z.ctc")
    result = ctc(*TRUNCATE, "-r", "in", "-o", "out", "--skip-existing")
    assert (result.code, counts(result)) == (0, (2, 0, 2))
    assert len(result.lines) == 3
    assert Path("out/z.ctc").read_bytes() == b""
    assert Path("out/b/y.ctc").stat().st_size == 300
    result = ctc(*TRUNCATE, "-r", "in", "-o", "out", "--skip-existing")
    assert (result.code, counts(result)) == (0, (0, 0, 4))
    assert len(result.lines) == 1


def test_one_file_that_exists_is_skipped_without_a_word(here: Path) -> None:
    touch("a.png", "a.ctc")
    assert ctc("encode", "a.png", "--skip-existing", "--weights", "nowhere") == Result(0, b"", "")


def test_what_appears_meanwhile_is_skipped_too(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def somebody_was_faster(source: str, target: Path) -> None:
        target.write_bytes(b"precious")
        link(source, target)

    monkeypatch.setattr("ctc_codec.container.atomic.os.link", somebody_was_faster)
    result = ctc(*TRUNCATE, "-r", "in/b", "-o", "out", "--skip-existing")
    assert (result.code, counts(result)) == (0, (0, 0, 2))
    assert Path("out/y.ctc").read_bytes() == b"precious"


# --- words ------------------------------------------------------------------------------------------


def test_json_of_encoding_tells_what_was_written(
    here: Path, make_photo: MakePhoto, weights: str | None
) -> None:
    make_photo(40, 30).save("a.png")
    touch("b.png", "c.png", "c.ctc")
    result = ctc(
        "encode", "a.png", "b.png", "c.png", "missing\n.png", "--json", "--bpp", 2, "--skip-existing"
    )
    assert result.code == 1
    skipped, good, empty, missing = objects(result)
    assert skipped == {"file": "c.png", "output": "c.ctc", "skipped": True}
    assert empty == {"file": "b.png", "error": "empty, not an image"}
    assert missing == {"file": "missing\n.png", "error": "No such file or directory"}
    data = Path("a.ctc").read_bytes()
    decoded = np.asarray(ctc_codec.decode(data, weights=weights))
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
    assert counts(result) == (1, 2, 1)


@pytest.mark.parametrize("args", [("decode",), TRUNCATE])
def test_json_of_other_commands_has_the_psnr_of_the_quality_table(
    shelf: Path, photo_ctc: bytes, args: tuple[str, ...]
) -> None:
    result = ctc(*args, "-r", "in/a", "in/b/c", "-o", "out", "--json", "--quiet")
    assert (result.code, result.err) == (0, "")
    size = 300 if args == TRUNCATE else len(photo_ctc)
    assert [found["file"] for found in objects(result)] == ["in/a/w.ctc", "in/b/c/x.ctc"]
    for found in objects(result):
        assert (found["bytes"], found["width"], found["height"]) == (size, 120, 88)
        assert found["psnr"] == pytest.approx(ctc_codec.info(photo_ctc[:size]).psnr, abs=1e-3)
        assert Path(str(found["output"])).exists()


def test_json_for_nobody_ends_the_batch(shelf: Path) -> None:
    with spawn(*TRUNCATE, "-r", "in", "-o", "out", "--json") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read().decode()
        assert process.wait(timeout=60) == 1
    assert err.splitlines()[-1].startswith("ctc: broken pipe")
    assert "Traceback" not in err


def test_notes_are_hushed_and_errors_are_not(here: Path) -> None:
    inputs = ["1.told.in", "2.bad.in", "3.bug.in"]
    result = fake(*inputs, "-o", "out/")
    assert "ctc: 1.told.in: note: a note" in result.lines
    assert counts(result) == (1, 2, 0)
    quiet = fake(*inputs, "-o", "out/", "--quiet", "-f")
    assert quiet.lines == [
        "ctc: 2.bad.in: is bad",
        "ctc: 3.bug.in: internal error, please report it: ZeroDivisionError: a bug",
        "ctc: 2 of 3 inputs failed: 2.bad.in, 3.bug.in",
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_verbose_shows_details_and_where_a_bug_is(here: Path, jobs: int) -> None:
    result = fake("1.in", "2.bug.in", "-o", "out/", "-v", "-j", jobs)
    assert any(re.fullmatch(r"  \d+\.\d\d s, a detail", line) for line in result.lines)
    assert "Traceback (most recent call last):" in result.lines
    assert any("batch_works.py" in line for line in result.lines)


def test_one_input_is_not_summed_up(here: Path) -> None:
    assert fake("1.in").lines == ["1.in -> 1.out: 40x20, 100 bytes, 1.5000 bpp"]


# --- on a terminal ----------------------------------------------------------------------------------


def _on_terminal(command: list[str], **environment: str) -> tuple[int, str]:
    """Exit code, and all that was written to the terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm", **environment}
    )
    os.close(slave)
    written = b""
    end = time.monotonic() + 60
    with contextlib.suppress(OSError):  # that is how a terminal ends
        while time.monotonic() < end:
            if select.select([master], [], [], 0.5)[0]:
                written += os.read(master, 65536)
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


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bar_shows_how_far_it_is_and_keeps_lines_whole(here: Path, jobs: int) -> None:
    # The last one takes long enough for the state before it to be drawn, however busy the machine is.
    inputs = ["1.in", "2.bad.in", "3.slow.in", "4.told.in", "5.slow.in", "6.slow.slow.slow.in"]
    touch("out/1.out")
    code, written = _on_terminal([*FAKE, *inputs, "-o", "out/", "--skip-existing", "-j", str(jobs)])
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
    code, written = _on_terminal([*FAKE, "1.in", "2.slow.in", "-o", "out/", *more], **environment)
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


def test_one_input_has_no_bar(here: Path) -> None:
    code, written = _on_terminal([*FAKE, "1.in"])
    assert (code, written) == (0, "1.in -> 1.out: 40x20, 100 bytes, 1.5000 bpp\r\n")


def test_interrupting_a_bar_leaves_a_clean_line(here: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*FAKE, "1.in", "2.endless.in", "3.in", "-o", "out/", "-j", "2"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    written = b""
    while b"2/3" not in written:
        written += os.read(master, 65536)
    os.write(master, b"\x03")
    with contextlib.suppress(OSError):
        while more := os.read(master, 65536):
            written += more
    os.close(master)
    assert process.wait(timeout=10) == 130
    assert _screen(written.decode()) == ["ctc: interrupted: 2 of 3 done", ""]


# --- help and completion ----------------------------------------------------------------------------


def test_every_help_ends_with_examples() -> None:
    from ctc_codec.cli.main import main

    for args in ([], *([name] for name in main.commands if name != "fake")):
        text = ctc(*args, "--help").out.decode()
        examples = text.partition("\n  Examples:\n")[2].splitlines()
        assert sum(line.startswith("    ") for line in examples) >= 3, args
        assert all("ctc " in line for line in examples if line.startswith("    ")), args
        if args in ([], ["encode"], ["decode"], ["truncate"], ["info"]):
            assert "Exit codes: 0" in " ".join(text.split())


@pytest.mark.parametrize(
    ("shell", "word"),
    [("bash", "complete -o nosort"), ("zsh", "#compdef ctc"), ("fish", "complete --no-files --command ctc")],
)
def test_completion_scripts(shell: str, word: str) -> None:
    result = ctc("completion", shell)
    assert result.code == 0
    assert word in result.out.decode()
    assert "_CTC_COMPLETE" in result.out.decode()


def test_completion_of_an_unknown_shell_is_refused() -> None:
    assert_misused(ctc("completion", "tcsh"), "tcsh")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("ctc enc", ["encode"]),
        ("ctc decode --thumb", ["--thumbnail"]),
        ("ctc encode a.png --eff", ["--effort"]),
        ("ctc completion z", ["zsh"]),
    ],
)
def test_bash_completes(words: str, wanted: list[str]) -> None:
    script = (
        'compopt() { :; }; source <("$0" completion bash); read -ra COMP_WORDS <<< "$1"; '
        'COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); _ctc_completion "$0"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    if len(COMMAND) > 1:
        pytest.skip("ctc is not installed")
    done = subprocess.run(
        ["bash", "-c", script, *COMMAND, words], capture_output=True, check=True, timeout=60
    )
    assert done.stdout.decode().split() == wanted


@pytest.mark.parametrize(
    "words", ["ctc encode a", "ctc encode -o a", "ctc decode b a", "ctc info --weights a"]
)
def test_file_names_are_completed_and_nothing_heavy_is_loaded(words: str) -> None:
    script = (
        "import sys\nfrom ctc_codec.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'onnxruntime', 'numpy', 'constriction', 'PIL', 'multiprocessing'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    environment = {"_CTC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.stdout.decode().splitlines() == ["file,a", "0 []"]
