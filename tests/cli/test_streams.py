"""Pipes that do not end: no more is read than a command needs, and wrong bytes are refused at once."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ctc_codec
from ctc_codec.codec.options import thumbnail_bytes
from support.command import COMMAND, PLAIN, Result, assert_refused, names, run

COMMANDS = (
    ("truncate", "-", "--bytes", "200", "-o", "out.ctc"),
    ("truncate", "-", "--bpp", "0.5", "-o", "out.ctc"),
    ("truncate", "-", "--bytes", "20k", "-o", "out.ctc"),
    ("decode", "-", "--bytes", "20k", "-o", "out.png"),
    ("truncate", "-", "--psnr", "30", "-o", "out.ctc"),
    ("decode", "-", "-o", "out.png"),
    ("decode", "-", "--bytes", "600", "-o", "out.png"),
    ("decode", "-", "--thumbnail", "-o", "out.png"),
    ("decode", "-", "--progressive-every", "3000", "-o", "out-%d.png"),
    ("info", "-"),
    ("check", "-"),
    ("check", "--decode", "-"),
    ("preview", "-", "--frames", "2", "-o", "out.html"),
)


def _told_while_open(args: tuple[str, ...], data: bytes) -> Result:
    """The result of a command whose standard input has these bytes and stays open."""
    reader, writer = os.pipe()
    with subprocess.Popen(
        [*COMMAND, *args], stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.close(reader)
        try:
            os.write(writer, data)
            out, err = process.communicate(timeout=60)
        finally:
            os.close(writer)
            process.kill()
    return Result(process.returncode, out, err.decode())


@contextmanager
def _endless(first: bytes, more: bytes) -> Iterator[int]:
    """A pipe with some bytes, and then others without end."""
    Path("first").write_bytes(first)
    source = subprocess.Popen(["bash", "-c", 'cat first; yes "$0"', more], stdout=subprocess.PIPE)
    assert source.stdout is not None
    try:
        yield source.stdout.fileno()
    finally:
        source.stdout.close()
        source.kill()
        source.wait()


@pytest.mark.slow
@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_command_ends_where_the_file_does(files: Path, photo_ctc: bytes, args: tuple[str, ...]) -> None:
    open_end = _told_while_open(args, photo_ctc)
    assert open_end.code == 0, open_end
    outputs = {name: Path(name).read_bytes() for name in names(files) if name.startswith("out")}
    with _endless(photo_ctc, b"and so on") as endless:
        process = subprocess.run(
            [*COMMAND, *args, *["-f"] * bool(outputs)], stdin=endless, capture_output=True
        )
    assert (process.returncode, process.stdout) == (0, open_end.out), process
    for name, data in outputs.items():
        assert name.endswith(".html") or Path(name).read_bytes() == data


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_wrong_bytes_are_refused_before_more_come(files: Path, args: tuple[str, ...]) -> None:
    before = names(files)
    assert_refused(_told_while_open(args, b"\xc7CTX"), "standard input: not a .ctc file")
    assert names(files) == before


@pytest.mark.slow
def test_damage_is_told_before_more_come(files: Path) -> None:
    data = bytearray(PLAIN[:9000])
    data[100] ^= 1
    for command in ("check", "info"):
        assert_refused(_told_while_open((command, "-"), bytes(data)), "damaged between bytes")


def test_what_is_no_image_is_refused_before_more_come(files: Path) -> None:
    assert_refused(_told_while_open(("encode", "-", "-o", "x"), b"y\n" * 2048), "not an image")
    assert_refused(_told_while_open(("encode", "-", "-o", "x"), PLAIN[:4096]), "a .ctc file already")
    assert not Path("x").exists()


def test_an_image_without_an_end_is_refused(files: Path) -> None:
    """Of 120x88 pixels no image file has more than 84,480 bytes of samples, and 64 MiB of all else."""
    image = Path("photo.png").read_bytes()
    with _endless(image, b"and so on") as endless:
        args = ("encode", "-", "--max-pixels", str(120 * 88), "-o", "x")
        process = subprocess.run([*COMMAND, *args], stdin=endless, capture_output=True)
    assert_refused(Result(process.returncode, process.stdout, process.stderr.decode()), "longer than")
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("args", "count"),
    [
        (("truncate", "-", "--bytes", "200000", "-o", "out.ctc"), 200_000),
        (("truncate", "-", "--bpp", "0.5", "-o", "out.ctc"), 64 * 48 // 16),
    ],
)
def test_no_more_is_taken_from_a_pipe_than_is_needed(files: Path, args: tuple[str, ...], count: int) -> None:
    """The next program on the pipe finds the rest."""
    with open("plain.ctc", "rb", buffering=0) as file:
        result = subprocess.run([*COMMAND, *args, "--quiet"], stdin=file, capture_output=True)
        assert (result.returncode, result.stderr) == (0, b"")
        assert file.tell() == count
    assert Path("out.ctc").read_bytes() == PLAIN[:count]


def test_a_thumbnail_needs_the_first_bytes_alone(files: Path, three_blocks: bytes) -> None:
    header = ctc_codec.info(three_blocks).header
    first = three_blocks[: thumbnail_bytes(header)]
    assert len(first) < len(three_blocks) // 2
    assert _told_while_open(("decode", "-", "--thumbnail", "-o", "out.png"), first).code == 0


def test_what_follows_an_image_in_a_file_is_no_reason_to_refuse_it(files: Path) -> None:
    """A video for example. A pipe might have no end."""
    data = Path("photo.png").read_bytes()
    with open("motion.png", "wb") as file:
        file.write(data)
        file.truncate(len(data) + (1 << 26) + 100_000)
    assert subprocess.run([*COMMAND, "encode", "motion.png"], capture_output=True).returncode == 0
    with (
        open("motion.png", "rb") as file,
        subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as pipe,
    ):
        done = subprocess.run([*COMMAND, "encode", "-", "-o", "x"], stdin=pipe.stdout, capture_output=True)
    assert_refused(Result(done.returncode, done.stdout, done.stderr.decode()), "longer than")


def test_damage_that_is_accepted_ends_the_frames(files: Path, photo_ctc: bytes) -> None:
    data = bytearray(photo_ctc)
    data[5000] ^= 1  # in the second block
    with _endless(bytes(data), b"and so on") as endless:
        args = ("decode", "-", "--accept-damage", "--progressive-every", "3000", "-o", "f%d.png", "--rm")
        process = subprocess.run([*COMMAND, *args[:-1]], stdin=endless, capture_output=True)
    assert process.returncode == 0
    assert sorted(name for name in names(files) if name.startswith("f") and name != "first") == [
        "f1.png",
        "f2.png",
        "f3.png",
    ]
    Path("bad.ctc").write_bytes(data)
    result = run("decode", "bad.ctc", *args[2:], "-f", "--quiet")
    assert result.lines[-1].endswith("the input is not removed: it holds more than was decoded")
    assert Path("bad.ctc").exists()


def test_a_pipe_that_does_not_block_is_waited_for(files: Path, photo_ctc: bytes) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with subprocess.Popen(
        [*COMMAND, "check", "-"], stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.close(reader)
        time.sleep(1)  # it finds nothing at first
        for start in range(0, len(photo_ctc), 3000):
            os.write(writer, photo_ctc[start : start + 3000])
            time.sleep(0.02)
        os.close(writer)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.decode()) == (0, f"standard input: complete, {len(photo_ctc)} bytes\n")
