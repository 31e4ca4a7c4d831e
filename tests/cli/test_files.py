"""Inputs and outputs: streams, links, permissions, names, disks that are full, others at the same file.

Whatever goes wrong, no half of a file has the name of a whole one, no input is lost, and one line says what
it was. Disks that are full or read-only are real where this process may mount one.
"""

from __future__ import annotations

import errno
import os
import pty
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ctc_codec.cli import files as _files
from support.command import (
    PLAIN,
    TRUNCATE,
    Result,
    assert_refused,
    ctc,
    ended,
    names,
    python,
    run,
    run_shell,
    spawn,
    touch,
)

LINK = "ctc_codec.container.atomic.os.link"
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full and /proc")


# --- standard streams, pipes, devices ---------------------------------------------------------------


def test_streams_give_the_same_bytes_as_files(files: Path, photo_ctc: bytes) -> None:
    encoded = run("encode", "-", "-o", "-", stdin=(files / "photo.png").read_bytes())
    assert encoded.code == 0, encoded.err
    assert encoded.out == photo_ctc
    decoded = run("decode", "-", "-o", "-", stdin=encoded.out)
    assert decoded.code == 0, decoded.err
    assert ctc("decode", "whole.ctc").code == 0
    assert decoded.out == (files / "whole.png").read_bytes()


@pytest.mark.parametrize(
    "args", [("-",), ("/dev/stdin", "-o", "-"), ("plain.ctc", "-o", "-"), ("plain.ctc", "-o", "/dev/stdout")]
)
def test_standard_streams_are_files(files: Path, args: tuple[str, ...]) -> None:
    result = run("truncate", *args, "--bytes", 99, stdin=PLAIN if args[0] != "plain.ctc" else b"")
    assert (result.code, result.out) == (0, PLAIN[:99])


def test_output_may_be_a_named_pipe(files: Path) -> None:
    os.mkfifo("pipe")
    with spawn("truncate", "plain.ctc", "--bytes", 99, "-o", "pipe") as process:
        assert Path("pipe").read_bytes() == PLAIN[:99]
        result = ended(process)
    assert (result.code, result.out) == (0, b"")
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_data_is_not_written_to_a_terminal(files: Path) -> None:
    master, slave = pty.openpty()
    try:
        result = run("truncate", "plain.ctc", "--bytes", 99, "-o", "-", stdout=slave)
    finally:
        os.close(slave)
        os.close(master)
    assert_refused(result, "terminal")


@linux
@pytest.mark.parametrize(
    "args",
    [
        (*TRUNCATE, "-o", "-"),
        ("truncate", "plain.ctc", "--bytes", "20", "-o", "-"),
        ("decode", "whole.ctc", "-o", "-"),
        ("info", "plain.ctc"),
        ("--version",),
        ("info", "-h"),
    ],
)
def test_what_a_full_standard_output_does_not_take_is_lost_with_exit_1(
    files: Path, args: tuple[str, ...]
) -> None:
    with open("/dev/full", "wb") as full:
        assert_refused(run(*args, stdout=full), "standard output: No space left")


@linux
def test_words_that_cannot_be_said_do_not_spoil_the_work(files: Path) -> None:
    with open("/dev/full", "wb") as full:
        result = run(*TRUNCATE, "-o", "x.ctc", stderr=full)
    assert (files / "x.ctc").read_bytes() == PLAIN[:200_000]
    assert result.code == 0


@pytest.mark.parametrize(
    "args",
    [
        (*TRUNCATE, "-o", "-"),
        ("decode", "whole.ctc", "-o", "-"),
        ("info", "plain.ctc", "plain.ctc"),
        ("info", "--json", "plain.ctc"),
        ("check", "--json", "--quiet", *["plain.ctc"] * 300),
        ("truncate", "--bytes", "300", "plain.ctc", "whole.ctc", "-o", "out/", "--json"),
    ],
)
def test_a_reader_that_is_gone_ends_the_command_quietly(files: Path, args: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = run(*args, stdout=writer)
    finally:
        os.close(writer)
    assert result.code == 1
    assert result.lines[-1] == "ctc: broken pipe: the reader of standard output is gone"
    assert [line for line in result.lines if " -> " not in line] == result.lines[-1:]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_takes_one_byte_gets_it(
    files: Path, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    result = run_shell('"$@" | head -c 1', *TRUNCATE, "-o", "-")
    assert result.out == PLAIN[:1]
    assert_refused(result, "broken pipe")


def test_closed_standard_streams_are_no_internal_error(files: Path) -> None:
    assert_refused(run_shell('"$@" <&-', "truncate", "-", "--bytes", "99", "-o", "x.ctc"), "standard input")
    assert_refused(run_shell('"$@" >&-', *TRUNCATE, "-o", "-"), "standard output")
    assert not (files / "x.ctc").exists()


# --- reading ----------------------------------------------------------------------------------------


@linux
def test_a_read_error_is_told_and_the_others_are_done(files: Path) -> None:
    for command, good, output in (
        ("encode", "photo.png", ("-o", "out/")),
        ("decode", "whole.ctc", ("-o", "out/")),
        ("check", "whole.ctc", ()),
    ):
        result = ctc(command, "/proc/self/mem", good, *output, "--quiet")
        assert_refused(result, "ctc: /proc/self/mem: Input/output error", lines=2)
    assert names(files / "out") == ["photo.ctc", "whole.png"]
    with open("/proc/self/mem", "rb") as memory:
        result = ended(spawn("truncate", "-", "--bytes", 99, "-o", "x", stdin=memory))
    assert_refused(result, "standard input: Input/output error")
    assert not (files / "x").exists()


def _when_first_read(monkeypatch: pytest.MonkeyPatch, what: Callable[[], None]) -> None:
    """Something happens after the plan is made, as the first input is read."""
    real, todo = _files.read_ctc, [what]

    def read(*arguments: Any) -> bytes:
        if todo:
            todo.pop()()
        return real(*arguments)

    monkeypatch.setattr("ctc_codec.cli.truncate.read_ctc", read)


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


def test_an_output_folder_that_goes_meanwhile_is_missed_or_made_again(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of one file, or of many."""
    (files / "out").mkdir()
    _when_first_read(monkeypatch, lambda: os.rmdir("out"))
    assert_refused(ctc(*TRUNCATE, "-o", "out/x"), "out/x", "no such directory")
    (files / "out").mkdir()
    _when_first_read(monkeypatch, lambda: os.rmdir("out"))
    assert ctc(*TRUNCATE, "-o", "out/").code == 0
    assert names(files / "out") == ["plain.ctc"]


def test_a_file_that_is_still_being_written_is_a_file(files: Path) -> None:
    """Some prefix is read, and a prefix is never damage."""
    script = (
        "import sys, time\ndata = open('plain.ctc', 'rb').read()\nout = open('growing.ctc', 'wb', 0)\n"
        "for at in range(0, len(data), 997):\n    out.write(data[at : at + 997]); time.sleep(0.002)\n"
    )
    (files / "growing.ctc").write_bytes(b"")
    seen = []
    with python(script) as writer:
        while writer.poll() is None:
            result = ctc("check", "--json", "--quiet", "growing.ctc")
            (facts,) = result.objects
            if "state" in facts:
                assert (result.code, facts["state"]) in [(0, "cut"), (0, "complete")]
                seen.append(facts["bytes"])
            else:
                assert "header" in facts["error"] or "empty" in facts["error"]
        assert writer.returncode == 0
    assert len(set(seen)) > 3
    assert seen == sorted(seen)


# --- existing files, links, permissions -------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ("encode", "photo.png", "-o", "old"),
        ("decode", "whole.ctc", "--format", "png", "-o", "old"),
        ("preview", "whole.ctc", "--frames", "1", "-o", "old"),
        (*TRUNCATE, "-o", "old"),
        (*TRUNCATE, "-o", "link"),
    ],
)
def test_existing_files_are_replaced_only_by_force(files: Path, args: tuple[str, ...]) -> None:
    (files / "old").write_bytes(b"precious")
    (files / "link").symlink_to("old")
    (files / "new link").symlink_to("new")
    before = names(files)
    assert_refused(ctc(*args), f"{args[-1]}: exists already (-o gives another name, -f overwrites it)")
    assert (files / "old").read_bytes() == b"precious"
    assert ctc(*args, "-f").code == 0
    assert (files / "old").read_bytes() != b"precious"
    assert (files / "link").is_symlink()
    assert names(files) == before
    assert ctc(*args[:-1], "new link").code == 0
    assert (files / "new link").is_symlink()
    assert (files / "new").read_bytes() == (files / "old").read_bytes()


@pytest.mark.parametrize("link", [False, True])
def test_a_file_is_cut_in_its_place_by_force_alone(files: Path, link: bool) -> None:
    (files / "link").symlink_to("plain.ctc")
    before, name = names(files), "link" if link else "plain.ctc"
    args = ("truncate", name, "--bytes", 99, "-o", name)
    assert_refused(ctc(*args), "exists already")
    assert ctc(*args, "-f").code == 0
    assert (files / "link").is_symlink()
    assert (files / "plain.ctc").read_bytes() == PLAIN[:99]
    assert names(files) == before


@pytest.mark.parametrize("target", ["itself", "./itself", "symbolic", "hard"])
@pytest.mark.parametrize(("command", "source"), [("encode", "photo.png"), ("decode", "whole.ctc")])
def test_an_input_is_not_replaced_by_what_becomes_of_it(
    files: Path, command: str, source: str, target: str
) -> None:
    before = (files / source).read_bytes()
    source = shutil.copy(source, "without a suffix")
    target = target.replace("itself", source)
    if target == "symbolic":
        Path(target).symlink_to(source)
    elif target == "hard":
        os.link(source, target)
    more = ["--format", "png"] if command == "decode" else []
    assert_refused(ctc(command, source, "-o", target, *more), target, "exists already")
    assert_refused(ctc(command, source, "-o", target, "-f", *more), target, "is the input itself")
    assert (files / source).read_bytes() == before


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_permissions_are_the_usual_ones(files: Path, umask: int) -> None:
    for name, mode in (("y", 0o604), ("z", 0o600)):
        (files / name).write_bytes(b"")
        (files / name).chmod(mode)
    before = os.umask(umask)
    try:
        for name in "xyz":
            assert ctc(*TRUNCATE, "-o", name, "-f").code == 0
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((files / name).stat().st_mode) for name in "xyz"]
    assert modes == [0o666 & ~umask, 0o604, 0o600]


@pytest.mark.parametrize(
    "args", [TRUNCATE, ("encode", "plain.ctc"), ("decode", "plain.ctc", "--format", "png")]
)
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400, 0o755])
def test_who_may_not_read_an_input_may_not_read_its_output(
    files: Path, photo_ctc: bytes, args: tuple[str, ...], mode: int
) -> None:
    shutil.copy("photo.png" if args[0] == "encode" else "whole.ctc", "plain.ctc")
    Path("plain.ctc").chmod(mode)
    Path("old").write_bytes(b"")
    Path("old").chmod(0o664)
    args = tuple("500" if arg == "200000" else arg for arg in args)
    for name, allowed in (("new", 0o666 & ~0o022), ("old", 0o664)):
        before = os.umask(0o022)
        try:
            assert ctc(*args, "-o", name, "-f").code == 0
        finally:
            os.umask(before)
        assert stat.S_IMODE(Path(name).stat().st_mode) == allowed & (mode | stat.S_IWUSR)


def test_folders_that_are_made_are_no_more_open_than_those_of_the_inputs(files: Path) -> None:
    for folder, mode in (("in", 0o755), ("in/private", 0o700), ("in/group", 0o750)):
        Path(folder).mkdir()
        shutil.copy("plain.ctc", folder)
        Path(folder).chmod(mode)
    assert ctc("truncate", "--bytes", 99, "-r", "in", "-o", "out/deep").code == 0
    modes = {name: stat.S_IMODE(os.stat(f"out/deep{name}").st_mode) for name in ("", "/private", "/group")}
    assert modes == {"": 0o755, "/private": 0o700, "/group": 0o750}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other groups")
@pytest.mark.parametrize(
    ("mode", "expected"), [(0o640, 0o600), (0o644, 0o644), (0o660, 0o600), (0o664, 0o644)]
)
def test_another_group_may_no_more_than_all_others(files: Path, mode: int, expected: int) -> None:
    Path("out").mkdir()
    os.chown("out", -1, 12)
    Path("out").chmod(0o2775)  # what is made in it is of its group
    Path("plain.ctc").chmod(mode)
    assert ctc(*TRUNCATE, "-o", "out/x").code == 0
    found = os.stat("out/x")
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (expected, 12)


@pytest.mark.skipif(os.geteuid() != 0, reason="root is refused nothing and has to become somebody else")
@pytest.mark.parametrize("args", [("encode", "photo.png"), ("decode", "whole.ctc"), TRUNCATE])
def test_a_folder_that_takes_no_files_is_told_before_the_work(
    files: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    Path("closed").mkdir(0o555)
    monkeypatch.setattr("os.access", lambda path, how: not str(path).endswith("closed"))
    monkeypatch.setattr("ctc_codec.cli.options.ComputeOptions.load", None)  # not called
    name = "closed/x.png" if args[0] == "decode" else "closed/x"
    assert_refused(ctc(*args, "-o", name), f"{name}: Permission denied")


@pytest.mark.parametrize("call", ["os.chmod", "os.utime"])
def test_a_file_system_without_permissions_or_times_takes_outputs(
    files: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """exFAT, SMB."""

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    (files / "old").write_bytes(b"")
    before = names(files)
    monkeypatch.setattr(call, refuse)
    for name in ("new", "old"):
        assert ctc(*TRUNCATE, "-o", name, "-f", "--preserve").code == 0
        assert (files / name).stat().st_size == 200_000
    assert names(files) == sorted([*before, "new"])


def test_a_file_system_that_cannot_flush_takes_outputs(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr("os.fsync", refuse)
    assert ctc(*TRUNCATE, "-o", "x").code == 0


@pytest.mark.parametrize("preserve", [False, True])
def test_times_are_kept_if_asked_for(files: Path, preserve: bool) -> None:
    os.utime("plain.ctc", ns=(0, 978_307_200_123_456_789))
    assert ctc(*TRUNCATE, "-o", "x", *["--preserve"] * preserve).code == 0
    assert (os.stat("x").st_mtime_ns == 978_307_200_123_456_789) == preserve


@pytest.mark.parametrize("jobs", [1, 2])
def test_inputs_are_removed_once_their_output_is_there(files: Path, jobs: int) -> None:
    for name in ("a.ctc", "b.ctc", "exists.ctc"):
        shutil.copy("plain.ctc", name)
    touch("bad.ctc", "out/exists.ctc")
    inputs = ("a.ctc", "b.ctc", "bad.ctc", "exists.ctc")
    result = ctc("truncate", "--bytes", "1M", *inputs, "-o", "out/", "--rm", "--quiet", "-j", jobs)
    assert result.lines[-1] == "ctc: 2 of 4 inputs failed: bad.ctc, exists.ctc"
    assert not {"a.ctc", "b.ctc"} & set(names(files))
    assert {"bad.ctc", "exists.ctc"} <= set(names(files))
    words = "ctc: plain.ctc: warning: the input is not removed: it holds more than its output"
    assert ctc("truncate", "--bytes", 99, "plain.ctc", "-o", "x", "--rm", "--quiet").lines == [words]
    own = ("truncate", "--bytes", 99, "plain.ctc", "-o", "plain.ctc", "-f", "--rm", "--quiet")
    assert ctc(*own) == Result(0, b"", "")
    assert Path("plain.ctc").stat().st_size == 99
    assert ctc("decode", "whole.ctc", "-o", "x.png", "-k").code == 0
    assert Path("whole.ctc").exists()


def test_an_input_that_cannot_be_removed_is_told(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("os.unlink", refuse)
    result = ctc("truncate", "plain.ctc", "--bytes", "1M", "-o", "x", "--rm")
    assert_refused(result, "plain.ctc: its output is written", "Permission denied")
    assert Path("x").read_bytes() == PLAIN


# --- outputs that cannot be written -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("nowhere/x", "nowhere/x: no such directory"),
        ("folder/", "folder/plain.ctc: is a directory"),
        ("link", "link: No such file or directory"),
        ("loop", "loop: Too many levels of symbolic links"),
        ("n" * 256, ": File name too long"),
        pytest.param("/dev/full", "/dev/full: No space left on device", marks=linux),
        pytest.param("/proc/x", "/proc/x: ", marks=linux),
        pytest.param("/proc/self/x", "/proc/self/x: ", marks=linux),
        pytest.param("read-only/x", "ermission", marks=pytest.mark.skipif(os.geteuid() == 0, reason="root")),
    ],
)
@pytest.mark.parametrize("force", [[], ["-f"]])
def test_outputs_that_cannot_be_written_are_refused(
    files: Path, output: str, words: str, force: list[str]
) -> None:
    (files / "folder/plain.ctc").mkdir(parents=True)
    (files / "read-only").mkdir(mode=0o555)
    (files / "link").symlink_to("nowhere/new")
    (files / "loop").symlink_to("loop")
    before = sorted(files.rglob("*"))
    assert_refused(ctc(*TRUNCATE, "-o", output, *force), words)
    assert_refused(ctc("truncate", "loop", "--bytes", 99, "-o", "x"), "loop: Too many levels")
    assert sorted(files.rglob("*")) == before
    assert (files / "link").is_symlink()
    assert (files / "loop").is_symlink()
    assert output != "/dev/full" or stat.S_ISCHR(os.stat(output).st_mode)


@pytest.fixture
def disk(here: Path) -> Iterator[Path]:
    """A file system of 64 KiB, ``disk``."""
    folder = here / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
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
    assert ctc("truncate", "plain.ctc", "--bytes", 9000, "-o", "disk/small").code == 0  # which still fits


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", ["os.open", "os.fsync"])
@pytest.mark.parametrize("target", [["new"], ["old", "-f"]])
def test_a_write_that_fails_leaves_nothing(
    files: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: str, target: list[str]
) -> None:
    """Played, since root is refused nothing."""

    def fail(*arguments: object) -> None:
        if step == "os.fsync":
            os.ftruncate(arguments[0], 100_000)  # type: ignore[arg-type]
        raise OSError(number, os.strerror(number))

    (files / "old").write_bytes(b"precious")
    before = names(files)
    monkeypatch.setattr(f"ctc_codec.container.atomic.{step}", fail, raising=False)
    assert_refused(ctc(*TRUNCATE, "-o", *target), f"{target[0]}: {os.strerror(number)}")
    assert names(files) == before
    assert (files / "old").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "args",
    [(*TRUNCATE, "-o"), ("encode", "photo.png", "-o"), ("decode", "whole.ctc", "--format", "bmp", "-o")],
)
def test_a_file_larger_than_is_allowed_leaves_nothing(files: Path, args: tuple[str, ...]) -> None:
    before, limits = names(files), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        result = ctc(*args, "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_refused(result, "x: File too large")
    assert names(files) == before


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EPERM])
def test_files_work_without_hard_links(files: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    before = names(files)
    monkeypatch.setattr(LINK, refuse)
    assert ctc(*TRUNCATE, "-o", "x").code == 0
    assert (files / "x").read_bytes() == PLAIN[:200_000]
    assert_refused(ctc(*TRUNCATE, "-o", "x"), "x: exists already")
    assert names(files) == sorted([*before, "x"])


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
    "as long as can be, in letters of others": "é".encode() * 125,
    "a percent sign": b"100%d%s%n",
}


@pytest.mark.parametrize("case", NAMES)
def test_odd_names(files: Path, case: str) -> None:
    """As input and output, in a folder, in a message, and in JSON."""
    name = os.fsdecode(NAMES[case])
    (files / "in").mkdir()
    (files / "in" / f"{name}.ctc").write_bytes(PLAIN)
    assert ctc("truncate", "--bytes", 9000, "-o", "out", "-r", "in").code == 0
    assert os.listdir(b"out") == [NAMES[case] + b".ctc"]
    assert ctc("truncate", "--bytes", 9000, "-o", "out2/", "--", Path("in") / f"{name}.ctc").code == 0
    assert (files / "out2" / f"{name}.ctc").read_bytes() == PLAIN[:9000]
    os.chdir("out")
    assert ctc("check", "--", f"{name}.ctc").code == 0
    (files / "out" / f"{name}.ctc").write_bytes(b"no stream")
    result = ctc("check", "--json", "--", f"{name}.ctc")
    assert_refused(result, "not a .ctc file")
    assert result.err.isprintable() or result.err[:-1].isprintable()
    assert os.fsencode(result.objects[0]["file"]) == NAMES[case] + b".ctc"


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


# --- others at the same file ------------------------------------------------------------------------


def test_a_file_that_appears_meanwhile_is_not_replaced(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And partial names are short, however long that of the target is."""
    link = os.link

    def somebody_was_faster(source: str, target: str) -> None:
        assert len(Path(source).name) <= 64
        Path(target).write_bytes(b"precious")
        link(source, target)

    name, before = "n" * 255, names(files)
    monkeypatch.setattr(LINK, somebody_was_faster)
    assert_refused(ctc(*TRUNCATE, "-o", name), "exists already")
    assert (files / name).read_bytes() == b"precious"
    assert ctc(*TRUNCATE, "-o", "x", "--skip-existing") == Result(0, b"", "")
    assert (files / "x").read_bytes() == b"precious"
    assert names(files) == sorted([*before, name, "x"])


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
            assert said == [f"{number}: exists already (-o gives another name, -f overwrites it)\n", "won\n"]
        assert Path(str(number)).read_bytes() in (b"a" * 200_000, b"b" * 200_000)
    for writer in writers:
        assert writer.communicate(timeout=60) == (b"", b"")
    assert len(names(here)) == rounds
