"""The command as a whole: help, wrong usage, what is loaded, weights and limits, too little memory."""

from __future__ import annotations

import itertools
import os
import pty
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

import ctc_codec
from ctc_codec.cli import files as _files
from ctc_codec.cli.main import main
from ctc_codec.container.sections import EXIF, QUALITY, join_sections, pack_text
from support.command import (
    TRUNCATE,
    assert_misused,
    assert_refused,
    ctc,
    ended,
    files_below,
    names,
    python,
    run,
    spawn,
    touch,
)
from support.streams import with_extras

# --- help and usage ---------------------------------------------------------------------------------


def test_installed_command_has_a_version_and_exit_codes(here: Path) -> None:
    result = run("--version")
    assert (result.code, result.err) == (0, "")
    assert ctc_codec.__version__ in result.out.decode()
    assert_misused(run("frobnicate"), "frobnicate")


@pytest.mark.parametrize(
    "name", ["", *(name for name, command in main.commands.items() if not command.hidden)]
)
def test_every_help_ends_with_examples(name: str) -> None:
    result = ctc(*name.split(), "-h")
    assert (result.code, result.err) == (0, "")
    text = result.out.decode()
    assert text == ctc(*name.split(), "--help").out.decode()
    assert text.startswith(f"Usage: ctc {name}")
    examples = text.partition("\n  Examples:\n")[2].splitlines()
    assert sum(line.startswith("    ") for line in examples) >= 3
    assert all("ctc " in line for line in examples if line.startswith("    "))
    if name not in ("evaluate", "train", "completion"):
        assert "Exit codes: 0" in " ".join(text.split())


def test_first_words_of_a_newcomer(here: Path) -> None:
    assert ctc() == ctc("help") == ctc("--help")
    assert ctc("help", "encode") == ctc("encode", "--help")
    assert ctc("version") == ctc("-V") == ctc("--version")


@pytest.mark.parametrize("command", ["encode", "decode", "truncate --bytes 9", "info", "check", "preview"])
def test_without_an_input_standard_input_is_read_unless_that_is_a_terminal(files: Path, command: str) -> None:
    source = Path("photo.png" if command == "encode" else "whole.ctc").read_bytes()
    if command[0] != "t":
        assert ctc(*command.split(), stdin=source) == ctc(*command.split(), "-", stdin=source)
    master, slave = pty.openpty()
    try:
        result = ended(spawn(*command.split(), stdin=slave))
    finally:
        os.close(slave)
        os.close(master)
    assert_misused(result, "Missing argument", "INPUT", "- is standard input")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("frobnicate", ["No such command", "frobnicate"]),
        ("encode --no-such-option photo.png", ["--no-such-option"]),
        ("check whole.ctc -o x", ["-o"]),
        ("completion tcsh", ["tcsh"]),
        # values
        *((f"encode photo.png -q {q}", ["--quality", "1 to 100"]) for q in ("0", "101")),
        *((f"encode photo.png -q {q}", ["--quality", f"'{q}'"]) for q in ("nan", "high")),
        *((f"encode photo.png -e {effort}", ["--effort", "from 1 to 9"]) for effort in ("0", "10")),
        *((f"encode photo.png -o x --psnr {db}", ["--psnr"]) for db in ("nan", "0")),
        ("encode photo.png -o x --bpp nan", ["--bpp"]),
        *((f"truncate plain.ctc -o x --bpp {bpp}", ["--bpp"]) for bpp in ("0", "-1", "nan")),
        *((f"truncate a -o x --bytes {n}", ["--bytes", n]) for n in ("0", "-5", "nan", "inf", "10q", "k")),
        ("encode photo.png -o x --threads 0", ["--threads"]),
        ("encode photo.png -o x --device cpu", ["--device"]),
        ("encode a.png --jobs -1", ["--jobs"]),
        ("encode a.png --jobs many", ["--jobs", "many"]),
        ("encode nowhere.png --background nocolour", ["--background", "nocolour"]),
        ("encode nowhere.png --background #12345678", ["--background", "#12345678"]),
        ("decode nowhere.ctc --background 1,2,3", ["--background"]),
        ("decode whole.ctc -o x.unheard", ["unheard"]),
        ("decode whole.ctc -o x", ["x"]),
        ("decode whole.ctc -o - --format unheard", ["unheard"]),
        ("decode whole.ctc --format unheard", ["unheard"]),
        ("decode whole.ctc --format a/b", ["a/b"]),
        ("preview whole.ctc --frames 0", ["--frames"]),
        # options that exclude or need each other
        *(
            (f"encode photo.png --{a} 9 --{b} 9", [f"--{a}", f"--{b}"])
            for a, b in itertools.combinations(("quality", "bpp", "bytes", "psnr"), 2)
        ),
        ("encode a.png --skip-existing -f", ["--skip-existing", "--force"]),
        ("decode whole.ctc --bpp 1 --bytes 100", ["--bpp", "--bytes"]),
        ("truncate plain.ctc -o x --bpp 1 --bytes 100", ["--bpp", "--bytes"]),
        ("truncate plain.ctc -o x --psnr 30 --bpp 1", ["--psnr", "--bpp"]),
        ("truncate plain.ctc -o x", ["--bpp", "--bytes"]),
        ("truncate plain.ctc --bpp 1", ["-o"]),
        ("truncate plain.ctc --bytes 99 -o ", ["-o"]),
        ("truncate plain.ctc --bytes 99 -o photo.png/", ["photo.png"]),
        ("encode a.png --json -o -", ["--json", "-o"]),
        ("encode - --json", ["--json", "-o"]),
        ("preview - --original -", ["only once"]),
        ("preview whole.ctc plain.ctc --original photo.png", ["--original", "one input"]),
        ("preview -r u --original photo.png", ["--original", "-r"]),
        # numbered images
        ("decode nowhere.ctc --progressive-every 10", ["frame-%03d.png"]),
        ("decode nowhere.ctc --progressive-every 10 -o frame.png", ["frame.png", "frame-%03d.png"]),
        ("decode nowhere.ctc --progressive-every 10 -o f%d-%d.png", ["%d-%d"]),
        ("decode nowhere.ctc --progressive-every 10 -o f%s.png", ["%s"]),
        ("decode nowhere.ctc --progressive-every 10 -o f%03d", ["suffix"]),
        ("decode nowhere.ctc --progressive-every 0 -o f%d.png", ["--progressive-every"]),
        ("decode nowhere.ctc n.ctc --progressive-every 10 -o f%d.png", ["one input"]),
        ("decode nowhere.ctc --progressive-every 10 -o f%d.png --bpp 1", ["--bpp", "--progressive-every"]),
        ("decode nowhere.ctc --progressive-every 10 -o f%d.png --thumbnail", ["--thumbnail"]),
        # several inputs, folders, standard input
        ("encode photo.png plain.ctc -o x", ["several inputs"]),
        ("encode photo.png plain.ctc -o -", ["several inputs"]),
        ("encode - -", ["standard input"]),
        ("check - -", ["standard input"]),
        ("encode - -o out/", ["standard input"]),
        ("encode -r u - -o out", ["standard input"]),
        ("encode -r u - --json", ["standard input"]),
        *((f"{command} u a.png", ["u: is a folder", "-r"]) for command in ("encode", "check", "preview")),
        ("truncate a.ctc u v -o out --bytes 9", ["u: is a folder", "-r"]),
        ("encode -r u -o -", ["folder"]),
        ("encode -r u --json -o /dev/stdout", ["folder"]),
        ("truncate -r u --bytes 9 -o plain.ctc", ["folder"]),
        # two inputs that would be written to one file
        ("encode a.png a.jpg", ["a.png", "a.jpg", "a.ctc"]),
        ("encode a.png a.jpg -o out/", ["a.png", "a.jpg", "out/a.ctc"]),
        ("encode -r u v -o out", ["u/b.png", "v/b.png", "out/b.ctc"]),
        ("encode linked/a.png u/../a.jpg", ["a.png", "a.jpg", "a.ctc"]),
        ("encode a.png a.jpg", ["--keep-suffix"]),
        # habits from other programs
        ("encode a.png out.ctc", ["out.ctc", "-o"]),
        ("encode a.png plain.ctc", ["plain.ctc", "-o"]),
        ("decode plain.ctc out.png", ["out.png", "-o"]),
        ("decode plain.ctc photo.png", ["photo.png", "-o"]),
        ("truncate plain.ctc out.ctc --bytes 99", ["-o"]),
        ("preview plain.ctc out.html", ["out.html", "-o"]),
        ("encode a.png --device cuda", ["--device", "CPU"]),
        ("encode a.png --lossless", ["--lossless", "-q 100"]),
        ("-d plain.ctc", ["-d", "ctc decode"]),
        ("photo.png", ["ctc encode photo.png"]),
        ("plain.ctc", ["ctc decode plain.ctc"]),
        ("help frobnicate", ["frobnicate"]),
        ("encode -c a.png -o b.ctc", ["--stdout", "--output"]),
        ("encode --rm -c a.png", ["--rm"]),
        ("encode --files-from nowhere", ["nowhere"]),
        ("encode - --files-from -", ["only once"]),
        ("encode --files-from list -o out", ["several inputs", "-o out/ makes it"]),
        ("decode plain.ctc -f png", ["png is no file", "--format"]),
        ("decode plain.ctc -q 80", ["80 is no file", "--quality"]),
        ("encode a.png jpg", ["jpg is no file"]),
        ("encode a.png -o b.jpg", ["b.jpg is the name of an image"]),
        ("truncate plain.ctc --bytes 99 -o b.png", ["b.png is the name of an image"]),
        ("decode plain.ctc --format png -o b.ctc", ["b.ctc is no name of an image"]),
        ("decode plain.ctc -o b.h5", ["h5"]),
        ("encode --rm -k a.png", ["--rm", "--keep"]),
        ("preview --rm plain.ctc", ["--rm"]),
        ("encode a.png -o b.heic", ["b.heic is the name of an image"]),
        ("encode --rm a.png -o /dev/null", ["--rm", "devices"]),
        ("encode --rm /dev/stdin -o b.ctc", ["--rm"]),
        ("encode /dev/stdin -o out/", ["standard input"]),
        ("encode pipe", ["pipe is a pipe", "-o"]),
        ("encode a.png -e fast", ["'fast' is not a whole number from 1 to 9"]),
        ("verify plain.ctc", ["ctc check"]),
        ("encode w/b.png u/b.png -o out/", ["w/b.png", "u/b.png", "--files-from"]),
        ("encode a.png --strip", ["--strip", "--keep-metadata"]),
        ("encode -q a.png", ["a.png", "1 to 100"]),
        ("preview plain.ctc -o x.png", ["x.png", ".html"]),
        # names and formats
        ("decode plain.ctc --format webp -o z.png", ["z.png", "WEBP"]),
        ("decode plain.ctc --quality 0", ["--quality"]),
        ("decode plain.ctc --quality 101", ["--quality"]),
    ],
)
def test_wrong_usage_exits_2_and_writes_nothing(files: Path, args: str, words: list[str]) -> None:
    touch("a.png", "a.jpg", "u/b.png", "v/b.png")
    Path("list").write_text("a.png\n")
    Path("linked").symlink_to(".")
    os.mkfifo("pipe")
    touch("w/b.png")
    before = files_below(files)
    assert_misused(ctc(*(args.split(" ") if args else [])), *words)
    assert files_below(files) == before


@pytest.mark.parametrize(
    ("args", "code"), [(("--version",), 0), (("info", "nowhere"), 1), (("frobnicate",), 2)]
)
def test_the_process_ends_with_all_said_and_what_was_registered_done(
    here: Path, args: tuple[str, ...], code: int
) -> None:
    script = (
        "import atexit, os, sys\nfrom ctc_codec.cli import command\n"
        "atexit.register(os.write, 2, b'done')\n"
        "sys.stdout.write('first ')\n"
        "command()"
    )
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    found, usual = ended(python(script, *args, env=buffered)), ctc(*args)
    assert (found.code, usual.code) == (code, code)
    assert (found.out, found.err) == (b"first " + usual.out, f"{usual.err}done")


# --- what is loaded and left ------------------------------------------------------------------------


def _loaded_by(*args: str, fails: bool = False, **environment: str) -> set[str]:
    """Which of the packages that take their time a command loads, and which commands."""
    script = (
        "import sys\nfrom ctc_codec.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"except SystemExit as end: assert bool(end.code) == {fails}\n"
        "heavy = {'torch', 'onnxruntime', 'numpy', 'constriction', 'PIL', 'safetensors', 'multiprocessing'}\n"
        "heavy |= {'ctc_codec.cli.' + name for name in ('decode', 'encode', 'info', 'preview', 'train')}\n"
        "print('heavy', *heavy & set(sys.modules), file=sys.stderr)"
    )
    done = ended(python(script, *args, env={**os.environ, **environment}))
    assert done.code == 0, done.err
    return set(done.lines[-1].split()[1:])


@pytest.mark.parametrize(
    "args",
    [
        (*TRUNCATE, "-o", "x.ctc"),
        ("truncate", "whole.ctc", "--psnr", "30", "-o", "x.ctc"),
        ("info", "plain.ctc"),
        ("info", "whole.ctc"),
        ("check", "whole.ctc", "sections.ctc", "--weights", "nowhere"),
        ("--version",),
        ("--help",),
        *((name, "--help") for name in ("encode", "train", "evaluate", "preview")),
    ],
)
def test_light_commands_load_nothing_heavy(files: Path, args: tuple[str, ...]) -> None:
    sections = join_sections([(QUALITY, bytes([10, 0, *[9] * 12])), (EXIF, pack_text(b"EXIF" * 100))])
    (files / "sections.ctc").write_bytes(with_extras(sections))
    assert _loaded_by(*args) <= {f"ctc_codec.cli.{args[0]}"}


@pytest.mark.parametrize(
    "line",
    [
        "encode photo.png -q 300",
        "encode photo.png -o out.png",
        "encode nowhere.png",
        "encode whole.ctc -o x.ctc",
        "encode empty.png",
        "encode archive.jpg",
        "encode photo.png",
        "encode photo.png -o nowhere/x.ctc",
        "decode whole.ctc --quality 0",
        "decode whole.ctc --quality 9",
        "decode whole.ctc -o x",
        "decode nowhere.ctc -o x.png",
        "decode photo.png -o x.png",
        "decode whole.ctc -o photo.png",
        "decode whole.ctc -o photo.png --thumbnail",
        "decode whole.ctc -o x.png --bytes 3",
        "decode whole.ctc -o x.png --max-pixels 9",
        "decode whole.ctc -o x.png --weights nowhere",
    ],
)
def test_errors_are_told_before_anything_heavy_is_loaded(files: Path, line: str) -> None:
    Path("photo.ctc").touch()
    Path("empty.png").touch()
    Path("archive.jpg").write_bytes(b"PK\3\4" + bytes(9999))
    assert _loaded_by(*line.split(), fails=True) == {f"ctc_codec.cli.{line.split()[0]}"}


@pytest.mark.parametrize("given", [None, "3"])
def test_numpy_starts_no_threads_unless_they_are_asked_for(files: Path, given: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    if given is not None:
        environment["OPENBLAS_NUM_THREADS"] = given
    script = (
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy': print(os.environ.get('OPENBLAS_NUM_THREADS'), file=sys.stderr)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from ctc_codec.cli import main\n"
        "main(['encode', 'photo.png', '--quiet'])"
    )
    assert ended(python(script, env=environment)).lines == [given or "1"]


@pytest.mark.parametrize("words", ["ctc encode a", "ctc info --weights a"])
def test_completion_loads_nothing_heavy(words: str) -> None:
    environment = {"_CTC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "2"}
    assert _loaded_by(**environment) == {f"ctc_codec.cli.{words.split()[1]}"}


@pytest.mark.parametrize(
    "args",
    [
        ("encode", "photo.png", "--json", "--keep-metadata"),
        ("decode", "whole.ctc"),
        ("decode", "whole.ctc", "--thumbnail"),
        ("info", "--planes", "whole.ctc"),
        ("check", "--quiet", "--decode", "whole.ctc"),
        ("preview", "--quiet", "--frames", "2", "whole.ctc"),
    ],
)
def test_nothing_but_training_loads_torch(files: Path, args: tuple[str, ...]) -> None:
    found = _loaded_by(*args)
    assert "onnxruntime" in found
    assert "torch" not in found


@pytest.mark.slow
def test_nothing_is_left_in_the_home_folder(files: Path) -> None:
    """Libraries like to keep something there."""
    home = files / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    for args in (("encode", "photo.png"), ("decode", "photo.ctc", "-o", "x.png")):
        assert run(*args, env={**environment, "HOME": str(home)}).code == 0
    assert names(home) == []


# --- weights, threads, limits -----------------------------------------------------------------------


def test_threads_are_those_of_the_networks_and_change_no_byte(
    files: Path, photo_ctc: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, asked = ctc_codec.load_model, []

    def watched(path: str | None, threads: int | None) -> ctc_codec.CodecModel:
        asked.append(threads)
        return load(path, threads)

    monkeypatch.setattr("ctc_codec.codec.model.load_model", watched)
    assert ctc("encode", "photo.png", "--threads", 3).code == 0
    assert ctc("info", "--planes", "photo.ctc").code == 0
    assert (files / "photo.ctc").read_bytes() == photo_ctc
    assert asked == [3, None]


@pytest.mark.parametrize("args", [("encode", "photo.png"), ("decode", "whole.ctc")])
def test_more_pixels_than_allowed_are_refused(files: Path, args: tuple[str, str]) -> None:
    before = names(files)
    output = ("-o", "x.png" if args[0] == "decode" else "x")
    assert_refused(ctc(*args, "--max-pixels", 120 * 88 - 1, *output), args[1], "120x88", str(120 * 88 - 1))
    assert names(files) == before
    assert ctc(*args, "--max-pixels", 120 * 88, *output).code == 0
    assert ctc(*args, "--max-pixels", 0, *output, "-f").code == 0


@pytest.mark.parametrize("weights", [save({"conv.weight": np.zeros((2, 2), np.float32)}), b"weights", None])
@pytest.mark.parametrize(
    "args", [("encode", "photo.png"), ("decode", "whole.ctc"), ("check", "--decode", "whole.ctc")]
)
def test_wrong_weights_fail_once_before_any_input(
    files: Path, monkeypatch: pytest.MonkeyPatch, weights: bytes | None, args: tuple[str, ...]
) -> None:
    if weights is not None:
        (files / "w.safetensors").write_bytes(weights)
    before = names(files)
    output = [] if args[0] == "check" else ["-o", "."]
    assert_refused(ctc(*args, "missing", "--weights", "w.safetensors", *output), "w.safetensors")
    monkeypatch.setenv("CTC_WEIGHTS", "w.safetensors")
    assert_refused(ctc(*args, "missing", *output), "w.safetensors")
    assert names(files) == before


# --- too little of everything -----------------------------------------------------------------------


@contextmanager
def _no_more_files() -> Iterator[None]:
    """This process may open none."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_too_many_open_files(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        with _no_more_files():
            result = ctc(*args)
        assert_refused(result, args[1], "Too many open files")
        assert names(files) == before

    write = _files.write_output

    def write_late(*arguments: object) -> None:
        with _no_more_files():
            write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("ctc_codec.cli.work.write_output", write_late)
    assert_refused(ctc(*TRUNCATE, "-o", "x"), "x: Too many open files")
    assert names(files) == before


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
        ("light", 160, ("decode", "whole.ctc", "-o", "x.png")),
        # One thread: side by side numpy does not always tell of memory that it did not get.
        ("loaded", 60, ("encode", "large.png", "-o", "x", "--threads", "1")),
    ],
)
def test_too_little_memory(files: Path, when: str, megabytes: int, args: tuple[str, ...]) -> None:
    Image.effect_noise((1600, 1200), 50).convert("RGB").save("large.png", compress_level=0)
    before = names(files)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = ended(python(_LITTLE_MEMORY, when, megabytes, *args, env=environment))
    if result.err.startswith("OpenBLAS error"):  # which ends the process with words of its own
        assert result.code == 1
        assert len(result.lines) == 1
    else:
        assert_refused(result, "not enough memory")
    assert names(files) == before
