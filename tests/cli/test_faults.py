"""What goes wrong around the command: full disks, bad reads, signals, odd names, others at the same file.

Whatever it is, no half of a file has the name of a whole one, no input is lost, one line says what it was,
and the exit code is not 0. More of it is in test_cli.py (/dev/full, closed pipes and streams, bad input,
signals while a file is written) and test_batch.py (workers that are killed, signals to groups, folders that
cannot be read).

Disks that are full or read-only are real where this process may mount one.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from ctc_codec.cli import files as _files
from support import batch_works
from support.command import Result, assert_refused, ctc, names, run, spawn
from support.streams import plain

MakePhoto = Callable[..., Image.Image]

BIG = plain(300_000)
"""More than the small disk holds."""
SMALL_DISK = 64 << 10
TRUNCATE = ("truncate", "big.ctc", "--bytes", "200000")

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def files(files: Path) -> Path:
    """A working directory with photo.png, whole.ctc (its stream) and big.ctc."""
    (files / "big.ctc").write_bytes(BIG)
    return files


def partials(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.endswith(".partial")]


def python(script: str, *args: object, **kwargs: object) -> subprocess.Popen[bytes]:
    """Run a script in another process."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.Popen(command, **{**pipes, **kwargs})  # type: ignore[call-overload]


# --- full and read-only disks -----------------------------------------------------------------------


@pytest.fixture
def disk(here: Path) -> Iterator[Path]:
    """A file system of 64 KiB, ``disk``."""
    folder = here / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "args", [(*TRUNCATE, "-o", "disk/x"), ("decode", "whole.ctc", "--format", "bmp", "-o", "disk/x")]
)
def test_a_full_disk_takes_nothing(files: Path, disk: Path, args: tuple[str, ...]) -> None:
    (disk / "old").write_bytes(b"precious" * 5000)  # leaves less than the output takes
    free = os.statvfs(disk).f_bfree
    assert_refused(ctc(*args), "disk/x", "No space left on device")
    assert_refused(ctc(*args[:-1], "disk/old", "-f"), "disk/old", "No space left on device")
    assert names(disk) == ["old"]
    assert (disk / "old").read_bytes() == b"precious" * 5000
    assert os.statvfs(disk).f_bfree == free


def test_what_still_fits_on_a_full_disk_is_written(files: Path, disk: Path) -> None:
    (files / "small.ctc").write_bytes(BIG[:9000])
    result = ctc("truncate", "big.ctc", "small.ctc", "--bytes", "200k", "-o", "disk", "--quiet")
    assert_refused(result, "disk/big.ctc: No space left", lines=2)
    assert result.lines[-1] == "ctc: 1 of 2 inputs failed: big.ctc"
    assert names(disk) == ["small.ctc"]
    assert (disk / "small.ctc").read_bytes() == BIG[:9000]


def test_a_read_only_disk_is_refused(files: Path, disk: Path) -> None:
    (disk / "old").write_bytes(b"precious")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for more in (["disk/x"], ["disk/old", "-f"]):
        assert_refused(ctc(*TRUNCATE, "-o", *more), more[0], "Read-only file system")
    assert names(disk) == ["old"]
    assert (disk / "old").read_bytes() == b"precious"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("target", [["new"], ["old", "-f"]])
def test_a_write_that_fails_half_way_leaves_nothing(
    files: Path, monkeypatch: pytest.MonkeyPatch, number: int, target: list[str]
) -> None:
    def fail(descriptor: int) -> None:
        os.ftruncate(descriptor, 100_000)
        raise OSError(number, os.strerror(number))

    (files / "old").write_bytes(b"precious")
    before = names(files)
    monkeypatch.setattr("ctc_codec.container.atomic.os.fsync", fail)
    assert_refused(ctc(*TRUNCATE, "-o", *target), target[0], os.strerror(number))
    assert names(files) == before
    assert (files / "old").read_bytes() == b"precious"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_file_that_cannot_be_made_is_refused(
    files: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Root, as whom tests may run, is refused nothing: so this is played."""

    def refuse(path: Path, mode: str) -> None:
        raise OSError(number, os.strerror(number))

    before = names(files)
    monkeypatch.setattr("ctc_codec.container.atomic.open", refuse, raising=False)
    assert_refused(ctc(*TRUNCATE, "-o", "x"), "x: " + os.strerror(number))
    assert names(files) == before


@contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    """A limit of this process."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@pytest.mark.parametrize(
    "args",
    [(*TRUNCATE, "-o"), ("encode", "photo.png", "-o"), ("decode", "whole.ctc", "--format", "bmp", "-o")],
)
def test_a_file_larger_than_is_allowed_leaves_nothing(files: Path, args: tuple[str, ...]) -> None:
    before = names(files)
    with limited(resource.RLIMIT_FSIZE, 500):
        result = ctc(*args, "x")
    assert_refused(result, "x: File too large")
    assert names(files) == before


# --- reading ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that gives errors")
@pytest.mark.parametrize("command", [["encode"], ["decode", "--format", "png"], ["check"]])
def test_a_read_error_is_told_and_the_others_are_done(files: Path, command: list[str]) -> None:
    good = "photo.png" if command == ["encode"] else "whole.ctc"
    output = [] if command == ["check"] else ["-o", "out/"]
    result = ctc(*command, "/proc/self/mem", good, *output, "--quiet")
    assert_refused(result, "ctc: /proc/self/mem: Input/output error", lines=2)
    assert command == ["check"] or len(names(files / "out")) == 1


def test_a_read_error_on_standard_input_is_told(files: Path) -> None:
    with (
        open("/proc/self/mem", "rb") as memory,
        spawn("truncate", "-", "--bytes", 99, "-o", "x", stdin=memory) as process,
    ):
        out, err = process.communicate(timeout=60)
    assert_refused(Result(process.returncode, out, err.decode()), "standard input", "Input/output error")
    assert not (files / "x").exists()


def _when_first_read(monkeypatch: pytest.MonkeyPatch, what: Callable[[], None]) -> None:
    """Something happens after the plan is made, as the first input is read."""
    real, todo = _files.read_input, [what]

    def read(name: str) -> bytes:
        if todo:
            todo.pop()()
        return real(name)

    monkeypatch.setattr("ctc_codec.cli.work.read_input", read)


def test_inputs_that_change_after_the_plan_is_made_fail_alone(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcd":
        shutil.copy("whole.ctc", f"{name}.ctc")

    def change() -> None:
        os.remove("b.ctc")
        os.remove("c.ctc")
        os.mkdir("c.ctc")

    _when_first_read(monkeypatch, change)
    result = ctc("truncate", *(f"{name}.ctc" for name in "abcd"), "--bytes", 300, "-o", "out/", "--quiet")
    assert_refused(result, lines=3)
    assert result.lines == [
        "ctc: b.ctc: No such file or directory",
        "ctc: c.ctc: Is a directory",
        "ctc: 2 of 4 inputs failed: b.ctc, c.ctc",
    ]
    assert names(files / "out") == ["a.ctc", "d.ctc"]


def test_an_output_folder_that_goes_meanwhile_is_missed(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "out").mkdir()
    _when_first_read(monkeypatch, lambda: os.rmdir("out"))
    assert_refused(ctc(*TRUNCATE, "-o", "out/x"), "out/x", "no such directory")


def test_an_output_folder_of_many_that_goes_meanwhile_is_made_again(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _when_first_read(monkeypatch, lambda: os.rmdir("out"))
    assert ctc(*TRUNCATE, "-o", "out/").code == 0
    assert names(files / "out") == ["big.ctc"]


def test_a_file_that_is_still_being_written_is_a_file(files: Path) -> None:
    """Whoever reads it gets some prefix, and a prefix is never damage."""
    script = (
        "import sys, time\ndata = open('big.ctc', 'rb').read()\nout = open('growing.ctc', 'wb', 0)\n"
        "for at in range(0, len(data), 997):\n    out.write(data[at : at + 997]); time.sleep(0.002)\n"
    )
    (files / "growing.ctc").write_bytes(b"")
    seen = []
    with python(script) as writer:
        while writer.poll() is None:
            result = ctc("check", "--json", "--quiet", "growing.ctc")
            facts = json.loads(result.out)
            if "state" in facts:
                assert (result.code, facts["state"]) in [(0, "cut"), (0, "complete")]
                seen.append(facts["bytes"])
            else:
                assert "header" in facts["error"] or "empty" in facts["error"]
        assert writer.returncode == 0
    assert len(set(seen)) > 3
    assert seen == sorted(seen)


def test_a_file_that_is_cut_while_it_is_read_is_a_file(files: Path) -> None:
    """Less comes than was announced."""
    reader, writer = os.pipe()
    os.write(writer, BIG[:5000])
    os.close(writer)
    try:
        assert ctc("truncate", f"/dev/fd/{reader}", "--bytes", 9000, "-o", "x").code == 0
    finally:
        os.close(reader)
    assert (files / "x").read_bytes() == BIG[:5000]


# --- links, and the input itself --------------------------------------------------------------------


def test_a_link_to_a_file_is_an_existing_file(files: Path) -> None:
    (files / "link").symlink_to("photo.png")
    before = (files / "photo.png").read_bytes()
    assert_refused(ctc(*TRUNCATE, "-o", "link"), "link", "exists already")
    assert (files / "photo.png").read_bytes() == before


def test_a_link_to_nothing_becomes_one_to_the_output(files: Path) -> None:
    (files / "link").symlink_to("new")
    assert ctc(*TRUNCATE, "-o", "link").code == 0
    assert (files / "link").is_symlink()
    assert (files / "new").read_bytes() == BIG[:200_000]


def test_a_link_into_a_folder_that_is_not_there_is_refused(files: Path) -> None:
    (files / "link").symlink_to("nowhere/new")
    assert_refused(ctc(*TRUNCATE, "-o", "link"), "link", "No such file or directory")
    assert (files / "link").is_symlink()


@pytest.mark.parametrize("force", [[], ["-f"]])
def test_a_link_to_itself_is_refused(files: Path, force: list[str]) -> None:
    (files / "link").symlink_to("link")
    assert_refused(ctc(*TRUNCATE, "-o", "link", *force), "link", "symbolic links")
    assert_refused(ctc("truncate", "link", "--bytes", 99, "-o", "x"), "link", "symbolic links")
    assert (files / "link").is_symlink()


@pytest.mark.parametrize("target", ["itself", "./itself", "symbolic", "hard"])
@pytest.mark.parametrize(("command", "source"), [("encode", "photo.png"), ("decode", "whole.ctc")])
def test_an_input_is_not_replaced_by_what_becomes_of_it(
    files: Path, command: str, source: str, target: str
) -> None:
    before = (files / source).read_bytes()
    target = target.replace("itself", source)
    if target == "symbolic":
        Path(target).symlink_to(source)
    elif target == "hard":
        os.link(source, target)
    more = ["--format", "png"] if command == "decode" else []
    assert_refused(ctc(command, source, "-o", target, *more), target, "exists already")
    assert_refused(ctc(command, source, "-o", target, "-f", *more), target, "is the input itself")
    assert (files / source).read_bytes() == before


def test_a_file_is_cut_in_its_place_by_force_alone(files: Path) -> None:
    assert_refused(ctc(*TRUNCATE, "-o", "big.ctc"), "exists already")
    assert ctc(*TRUNCATE, "-o", "big.ctc", "-f").code == 0
    assert (files / "big.ctc").read_bytes() == BIG[:200_000]
    assert partials(files) == []


# --- names ------------------------------------------------------------------------------------------

NAMES = {
    "a newline": b"two\nlines",
    "a carriage return and colours": b"\x1b[31mred\r",
    "quotes": b"'it' \"is\" `quoted` $HOME \\",
    "bytes that are no UTF-8": b"\xff\xfe\x80",
    "a dash in front": b"-f",
    "spaces and a dot": b" . ",
    "letters of others": "Ω漢字é".encode(),
    "direction marks": "\u202egnp".encode(),
    "as long as can be": b"n" * 251,
    "a percent sign": b"100%d%s%n",
}


@pytest.mark.parametrize("case", NAMES)
def test_odd_names(files: Path, case: str) -> None:
    """As input and output, in a folder, in a message, and in JSON."""
    name = os.fsdecode(NAMES[case])
    (files / "in").mkdir()
    (files / "in" / f"{name}.ctc").write_bytes(BIG)
    assert ctc("truncate", "--bytes", 9000, "-o", "out", "-r", "in").code == 0
    assert os.listdir(b"out") == [NAMES[case] + b".ctc"]
    assert ctc("truncate", "--bytes", 9000, "-o", "out2/", "--", Path("in") / f"{name}.ctc").code == 0
    assert (files / "out2" / f"{name}.ctc").read_bytes() == BIG[:9000]
    os.chdir("out")
    assert ctc("check", "--", f"{name}.ctc").code == 0
    (files / "out" / f"{name}.ctc").write_bytes(b"no stream")
    result = ctc("check", "--json", "--", f"{name}.ctc")
    assert_refused(result, "not a .ctc file")
    assert result.err.isprintable() or result.err[:-1].isprintable()
    assert os.fsencode(json.loads(result.out)["file"]) == NAMES[case] + b".ctc"


def test_partial_names_are_short(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that of the target is."""
    seen = []
    real = os.link

    def link(source: str, target: str) -> None:
        seen.append(Path(source).name)
        real(source, target)

    monkeypatch.setattr("ctc_codec.container.atomic.os.link", link)
    assert ctc(*TRUNCATE, "-o", "n" * 255).code == 0
    assert [len(name) <= 64 for name in seen] == [True]


# --- others at the same file ------------------------------------------------------------------------

_WRITER = """
import sys
from ctc_codec.errors import OutputError
from ctc_codec.cli.files import write_output
data, force = sys.argv[1].encode() * 200_000, sys.argv[2] == "force"
print("ready", flush=True)
for name in sys.stdin:
    try:
        write_output(name.strip(), data, force)
        print("won", flush=True)
    except OutputError as error:
        print(error, flush=True)
"""


@pytest.mark.parametrize("force", ["force", "careful"])
def test_two_that_write_one_file_leave_a_whole_one(here: Path, force: str) -> None:
    rounds = 40
    writers = [python(_WRITER, letter, force) for letter in "ab"]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for number in range(rounds):
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write(f"{number}\n".encode())
            writer.stdin.flush()
        said = sorted(writer.stdout.readline().decode() for writer in writers if writer.stdout)
        if force == "force":
            assert said == ["won\n"] * 2
        else:
            assert said == [f"{number}: exists already (use -f to overwrite)\n", "won\n"]
        assert Path(str(number)).read_bytes() in (b"a" * 200_000, b"b" * 200_000)
    for writer in writers:
        assert writer.communicate(timeout=60) == (b"", b"")
    assert len(names(here)) == rounds


def test_two_commands_with_one_output(files: Path) -> None:
    both = [spawn("truncate", "big.ctc", "--bytes", size, "-o", "x") for size in (100_000, 200_000)]
    ends = [(process.communicate(timeout=60)[1].decode(), process.returncode) for process in both]
    assert sorted(code for _, code in ends) == [0, 1]
    assert "exists already" in next(err for err, code in ends if code == 1)
    winner = next(size for size, (_, code) in zip((100_000, 200_000), ends, strict=True) if code == 0)
    assert (files / "x").read_bytes() == BIG[:winner]
    assert partials(files) == []


# --- signals ----------------------------------------------------------------------------------------

_ENDLESS = """
import itertools, sys
from ctc_codec.cli.files import write_output
print("ready", flush=True)
for number in itertools.count():
    write_output(str(number % 20), bytes([number % 251]) * 500_000, True)
"""


def kill_while_writing(folder: Path, kills: int, rng: random.Random) -> int:
    """Kill what writes files, over and over: the names hold whole files. Returns how many partial ones were
    left, one at a time at most."""
    left = 0
    for _ in range(kills):
        with python(_ENDLESS, cwd=folder) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.random() * 0.03)
            process.kill()
            process.wait(timeout=60)
        for path in folder.iterdir():
            data = path.read_bytes()
            if path.name.endswith(".partial"):
                left += 1
            else:
                assert data == data[:1] * 500_000, path
            path.unlink()
    return left


def test_a_killed_writer_leaves_whole_files(here: Path) -> None:
    assert kill_while_writing(here, 8, random.Random(1)) <= 8


def test_files_work_without_hard_links(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("ctc_codec.container.atomic.os.link", refuse)
    assert ctc(*TRUNCATE, "-o", "x").code == 0
    assert (files / "x").read_bytes() == BIG[:200_000]
    assert_refused(ctc(*TRUNCATE, "-o", "x"), "x: exists already")
    assert partials(files) == []


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_the_usual_ones(files: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert ctc(*TRUNCATE, "-o", "x").code == 0
        (files / "y").write_bytes(b"")
        (files / "y").chmod(0o604)
        assert ctc(*TRUNCATE, "-o", "y", "-f").code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((files / "x").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((files / "y").stat().st_mode) == 0o604


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_any_moment_leave_whole_files(here: Path, number: signal.Signals) -> None:
    rng = random.Random(int(number))
    (here / "in").mkdir()
    for i in range(300):
        (here / f"in/{i:03}.ctc").write_bytes(BIG[:40_000])
    interrupted = 0
    for _ in range(6):
        with spawn("truncate", "-r", "in", "--bytes", "30k", "-o", "out") as process:
            assert process.stderr is not None
            first = process.stderr.readline().decode()
            time.sleep(rng.random() * 0.05)
            process.send_signal(number)
            lines = [first, *process.stderr.read().decode().splitlines(keepends=True)]
            code = process.wait(timeout=60)
        done = sum(" -> " in line for line in lines)
        written = list((here / "out").iterdir())
        if code != 0:
            assert code == 128 + number
            told = re.fullmatch(r"ctc: interrupted: (\d+) of 300 done\n", lines[-1])
            assert told
            assert done <= int(told[1]) <= len(written) <= done + 1
            assert len(lines) == done + 1
            interrupted += 1
        assert all(path.suffix == ".ctc" and path.read_bytes() == BIG[:30_000] for path in written)
        shutil.rmtree("out")
    assert interrupted


# --- too little of everything -----------------------------------------------------------------------


def test_too_many_open_files(files: Path) -> None:
    for args in (
        (*TRUNCATE, "-o", "x"),
        ("encode", "photo.png", "-o", "x"),
        ("decode", "whole.ctc", "-o", "x.png"),
        ("check", "whole.ctc"),
        ("info", "whole.ctc"),
    ):
        assert ctc(*args).code == 0  # all that is imported once is imported
        for path in files.glob("x*"):
            path.unlink()
        before = names(files)
        with limited(resource.RLIMIT_NOFILE, 0):
            result = ctc(*args)
        assert_refused(result, args[1], "Too many open files")
        assert names(files) == before


def test_too_many_open_files_when_it_is_time_to_write(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = names(files)
    real = _files.read_input
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def read(name: str) -> bytes:
        data = real(name)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        return data

    monkeypatch.setattr("ctc_codec.cli.work.read_input", read)
    try:
        result = ctc(*TRUNCATE, "-o", "x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert_refused(result, "x: Too many open files")
    assert names(files) == before


@pytest.mark.parametrize("limit", [8, 13, 40])
def test_workers_need_open_files(here: Path, limit: int) -> None:
    fake = [sys.executable, batch_works.__file__, "fake"]
    done = subprocess.run(
        [*fake, *(f"{i}.in" for i in range(4)), "-o", "out/", "--jobs", "3"],
        capture_output=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )
    result = Result(done.returncode, done.stdout, done.stderr.decode())
    if limit < 40:
        assert_refused(result, "Too many open files")
        assert not (here / "out").exists()
    else:
        assert result.code == 0, result
        assert len(names(here / "out")) == 4


_LITTLE_MEMORY = """
import resource, sys
from ctc_codec.cli import main
if sys.argv[1] == "loaded":
    import ctc_codec.codec.encoder, ctc_codec.codec.decoder
    ctc_codec.load_model()
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[2]) * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
main(sys.argv[3:])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs to know its own size")
@pytest.mark.parametrize(
    ("when", "megabytes", "args"),
    [
        ("light", 50, ("truncate", "huge.ctc", "--bytes", "9000", "-o", "x")),
        ("light", 50, ("check", "huge.ctc")),
        ("light", 100, ("decode", "whole.ctc", "-o", "x.png")),
        ("loaded", 60, ("encode", "large.png", "-o", "x")),
    ],
)
def test_too_little_memory(files: Path, when: str, megabytes: int, args: tuple[str, ...]) -> None:
    with open("huge.ctc", "wb") as file:
        file.truncate(400_000_000)
    Image.effect_noise((1600, 1200), 50).convert("RGB").save("large.png", compress_level=0)
    before = names(files)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with python(_LITTLE_MEMORY, when, megabytes, *args, env=environment) as process:
        out, err = process.communicate(timeout=120)
    result = Result(process.returncode, out, err.decode())
    assert_refused(result, "not enough memory")
    assert names(files) == before


def test_nothing_is_left_in_the_home_folder(files: Path) -> None:
    """Libraries like to keep something there."""
    home = files / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    for args in (("encode", "photo.png"), ("decode", "photo.ctc", "-o", "x.png")):
        assert run(*args, env={**environment, "HOME": str(home)}).code == 0
    assert names(home) == []


def test_neither_home_nor_locale(files: Path) -> None:
    poor = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "OMP_NUM_THREADS": "1"}
    name = os.fsdecode(b"\xc3\xa9\xff.ctc")
    shutil.move("whole.ctc", name)
    done = run("decode", name, env=poor)
    assert done.code == 0, done
    assert "120x88" in done.err
    assert os.fsencode(name)[:-4] + b".png" in os.listdir(b".")
    again = ("truncate", name, "--bytes", "99", "-o", name)
    assert_refused(run(*again, env=poor), "exists already")
    assert run(*again, "-f", env=poor).code == 0
    assert Path(name).stat().st_size == 99
