"""``ctc check``: what it tells of files that are whole, cut, damaged, or by no encoder."""

from __future__ import annotations

import json
import lzma
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec.container.alpha import FILTERS
from ctc_codec.container.blocks import BLOCK_BYTES as BLOCK
from ctc_codec.container.file import pack, parse
from ctc_codec.container.header import Header
from ctc_codec.container.sections import ALPHA, ALPHA_ROUGH, EXIF, QUALITY, join_sections, pack_text
from ctc_codec.container.verify import verify
from ctc_codec.image.transparency import pack_rough
from support.command import Result, assert_misused, assert_refused, ctc, run
from support.streams import changed, plain, with_extras

MakePhoto = Callable[..., Image.Image]

PLAIN = plain(10_000)
HEADER = Header.parse(PLAIN)[1]

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def files(here: Path) -> Path:
    """A working directory with whole.ctc, cut.ctc, bad.ctc (damaged in its second block) and none.ctc."""
    (here / "whole.ctc").write_bytes(PLAIN)
    (here / "cut.ctc").write_bytes(PLAIN[:9000])
    (here / "bad.ctc").write_bytes(changed(PLAIN, 5000, 4))
    (here / "none.ctc").write_bytes(b"no stream")
    return here


def _good_file() -> bytes:
    return with_extras(
        join_sections([(QUALITY, bytes([10, 0, *[9] * 12])), (EXIF, pack_text(b"EXIF" * 100))])
    )


DAMAGE = f"damaged between bytes {HEADER + BLOCK} and {HEADER + 2 * BLOCK} (wrong check sum)"
UNCHECKED = 9000 - HEADER - 2 * BLOCK


# --- the command ------------------------------------------------------------------------------------


def test_a_file_is_whole_cut_or_damaged(files: Path) -> None:
    size = len(PLAIN)
    assert ctc("check", "whole.ctc") == Result(0, b"", f"whole.ctc: complete, {size} bytes\n")
    assert ctc("check", "cut.ctc") == Result(
        0, b"", f"cut.ctc: cut, 9000 of {size} bytes, the last {UNCHECKED} without a check sum\n"
    )
    assert ctc("check", "bad.ctc") == Result(1, b"", f"ctc: bad.ctc: {DAMAGE}\n")
    assert_refused(ctc("check", "none.ctc"), "none.ctc: not a .ctc file")
    assert_refused(ctc("check", "nowhere.ctc"), "nowhere.ctc: No such file")


def test_a_cut_between_three_blocks_leaves_nothing_unchecked(files: Path) -> None:
    result = ctc("check", "-", stdin=PLAIN[: HEADER + BLOCK])
    assert result.err == f"standard input: cut, {HEADER + BLOCK} of {len(PLAIN)} bytes\n"


def test_cut_files_can_be_refused(files: Path) -> None:
    assert ctc("check", "--complete", "whole.ctc").code == 0
    assert_refused(ctc("check", "--complete", "cut.ctc"), f"cut.ctc: cut: 9000 of {len(PLAIN)} bytes")


def test_standard_input_is_checked() -> None:
    for more in ([], ["--quiet"]):
        result = run("check", "-", *more, stdin=PLAIN)
        assert (result.code, result.out) == (0, b"")
    assert_refused(run("check", "-", stdin=PLAIN + b"\n"), "standard input", "1 bytes follow")


def test_many_files_are_summed_up(files: Path) -> None:
    result = ctc("check", "whole.ctc", "none.ctc", "cut.ctc", "nowhere.ctc", "bad.ctc")
    assert result.code == 1
    assert result.lines[0].startswith("whole.ctc: complete")
    assert result.lines[1] == "ctc: none.ctc: not a .ctc file"
    assert result.lines[-2].startswith("ctc: 2 done, 3 failed, 0 skipped, ")
    assert result.lines[-1] == "ctc: 3 of 5 inputs failed: none.ctc, nowhere.ctc, bad.ctc"
    quiet = ctc("check", "--quiet", "whole.ctc", "none.ctc", "cut.ctc", "nowhere.ctc", "bad.ctc")
    assert quiet.lines == [line for line in result.lines if line.startswith("ctc: ") and " done" not in line]
    assert ctc("check", "--quiet", "whole.ctc", "cut.ctc") == Result(0, b"", "")


def test_folders_are_searched_for_streams(files: Path) -> None:
    (files / "a/b").mkdir(parents=True)
    (files / "a/same.ctc").write_bytes(PLAIN)
    (files / "a/same.CTC").write_bytes(PLAIN)
    (files / "a/b/cut.ctc").write_bytes(PLAIN[:99])
    (files / "a/picture.png").write_bytes(b"no stream")
    (files / "empty").mkdir()
    assert_misused(ctc("check", "a"), "a: is a folder")
    result = ctc("check", "-r", "a", "whole.ctc", "empty")
    assert_refused(
        ctc("check", "-r", "--quiet", "a", "whole.ctc", "empty"), "empty: there is no *.ctc", lines=2
    )
    assert [line.partition(": ")[0] for line in result.lines[:-2]] == [
        "ctc",  # the folder with nothing in it
        "a/same.CTC",
        "a/same.ctc",
        "a/b/cut.ctc",
        "whole.ctc",
    ]
    assert result.lines[-2].startswith("ctc: 4 done, 1 failed")


def test_objects_tell_the_same(files: Path) -> None:
    result = ctc("check", "--json", "--quiet", "whole.ctc", "cut.ctc", "bad.ctc", "none.ctc")
    assert result.code == 1
    whole, cut, bad, none = (json.loads(line) for line in result.out.splitlines())
    common = {"complete_bytes": len(PLAIN), "width": 64, "height": 48, "sections": []}
    assert whole == {
        "file": "whole.ctc",
        "state": "complete",
        "bytes": len(PLAIN),
        "checked_bytes": len(PLAIN),
        **common,
    }
    assert cut == {
        "file": "cut.ctc",
        "state": "cut",
        "bytes": 9000,
        "checked_bytes": 9000 - UNCHECKED,
        **common,
    }
    assert bad == {
        "file": "bad.ctc",
        "state": "damaged",
        "bytes": len(PLAIN),
        "checked_bytes": HEADER + BLOCK,
        **common,
        "error": DAMAGE,
    }
    assert none == {"file": "none.ctc", "error": "not a .ctc file"}
    refused = json.loads(ctc("check", "--json", "--quiet", "--complete", "cut.ctc").out)
    assert (refused["state"], refused["error"]) == ("cut", f"cut: 9000 of {len(PLAIN)} bytes")


def test_more_is_said_if_asked(files: Path) -> None:
    assert ctc("check", "-v", "whole.ctc").lines[1].endswith(" s, 64x48 RGB, weights 01020304")


@pytest.mark.parametrize("args", ["check", "check - -", "check --complete", "check whole.ctc -o x"])
def test_wrong_usage(files: Path, args: str) -> None:
    assert_misused(ctc(*args.split()))


def test_nobody_listens(files: Path) -> None:
    script = '"$0" -m ctc_codec.cli check --json --quiet "$@" | true'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script, sys.executable, *["whole.ctc"] * 2000],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == b"ctc: broken pipe: the reader of standard output is gone\n"


def test_nothing_heavy_is_loaded(files: Path) -> None:
    script = (
        "import sys\nfrom ctc_codec.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'onnxruntime', 'numpy', 'constriction', 'PIL', 'safetensors'}\n"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    (files / "alpha.ctc").write_bytes(_good_file())
    done = subprocess.run(
        [sys.executable, "-c", script, "check", "whole.ctc", "alpha.ctc", "--weights", "nowhere"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == b"0 []\n"


# --- sections -----------------------------------------------------------------------------------------


def test_sections_are_named_and_those_that_no_encoder_writes_are_damage(here: Path) -> None:
    (here / "a.ctc").write_bytes(_good_file())
    assert ctc("check", "-v", "a.ctc").lines[1].endswith(", quality table, EXIF")
    bad = with_extras(join_sections([(QUALITY, bytes(13))]))
    assert_refused(ctc("check", "-", stdin=bad), "standard input: damaged quality table")
    (here / "b.ctc").write_bytes(bad)
    facts = json.loads(ctc("check", "--json", "--quiet", "b.ctc").out)
    assert (facts["state"], facts["error"]) == ("damaged", "damaged quality table")
    assert_refused(ctc("check", "-", stdin=with_extras(b"\4\x80\0")), "shortest form")


def test_transparency_of_more_pixels_than_allowed_is_not_unpacked(here: Path) -> None:
    """A few bytes of LZMA would keep the command busy for days."""
    samples = lzma.compress(bytes(1 << 20), lzma.FORMAT_RAW, filters=FILTERS)
    extras = join_sections([(ALPHA, b"\0" + samples)])
    (here / "a.ctc").write_bytes(with_extras(extras, width=1 << 23, height=1 << 23, alpha=True))
    assert_refused(ctc("check", "a.ctc"), "a.ctc: 8388608x8388608 is more than the limit")
    rough = join_sections([(ALPHA_ROUGH, pack_rough(np.zeros((48, 64), np.uint8)))])
    (here / "b.ctc").write_bytes(with_extras(rough, alpha=True))
    assert_refused(ctc("check", "b.ctc", "--max-pixels", 3071), "64x48 is more than the limit")
    assert ctc("check", "b.ctc", "--max-pixels", 0).code == 0


# --- the code word ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three_blocks(weights: str | None) -> bytes:
    """The stream of a noisy image, in three blocks."""
    noise = np.random.default_rng(1).normal(128, 40, (128, 160)).clip(0, 255).astype(np.uint8)
    data = ctc_codec.encode(Image.fromarray(noise).convert("RGB"), quality=60, weights=weights)
    assert 2 * BLOCK + 200 < len(data) < 3 * BLOCK
    return data


def _with_code(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """The same file with another code word and right check sums."""
    file = parse(data)
    code = bytearray(file.code)
    change(code)
    return pack(file.header, bytes(code), [(section.kind, section.data) for section in file.sections()])


def test_code_words_of_encoders_are_accepted(here: Path, three_blocks: bytes) -> None:
    (here / "whole.ctc").write_bytes(three_blocks)
    (here / "cut.ctc").write_bytes(three_blocks[:5000])
    (here / "head.ctc").write_bytes(three_blocks[: Header.parse(three_blocks)[1]])
    result = ctc("check", "--decode", "whole.ctc", "cut.ctc", "head.ctc")
    assert (result.code, len(result.lines)) == (0, 4), result


def test_code_words_that_no_encoder_writes_are_found(here: Path, three_blocks: bytes) -> None:
    """Every one: whatever is read from it, encoding that gives another word."""
    rng = random.Random(1)

    def flip(stream: bytearray) -> None:
        stream[rng.randrange(len(stream))] ^= 1 << rng.randrange(8)

    def flip_last(stream: bytearray) -> None:
        stream[-1] ^= 1

    def swap(stream: bytearray) -> None:
        stream[400:404], stream[404:408] = stream[404:408], stream[400:404]

    for number, change in enumerate([*[flip] * 20, flip_last, swap]):
        bad = _with_code(three_blocks, change)
        assert verify(parse(bad))
        (here / f"{number}.ctc").write_bytes(bad)
    result = ctc("check", "--decode", "--quiet", "-r", ".")
    bad_files = 22
    assert_refused(result, lines=bad_files + 1)
    assert Counter(": damaged: " in line for line in result.lines) == {True: bad_files, False: 1}


def test_decoding_needs_the_weights(files: Path) -> None:
    assert_refused(ctc("check", "--decode", "whole.ctc"), "whole.ctc: made with other weights (file 01020304")
    assert_refused(ctc("check", "--decode", "whole.ctc", "--weights", "nowhere"), "ctc: nowhere: no such")


# --- damage -----------------------------------------------------------------------------------------


def test_damage_can_be_accepted_for_what_stands_before_it(
    here: Path, three_blocks: bytes, weights: str | None
) -> None:
    start = Header.parse(three_blocks)[1]
    for block, position in enumerate((start + 5, start + BLOCK + 9, len(three_blocks) - 1)):
        (here / "bad.ctc").write_bytes(changed(three_blocks, position, 16))
        assert_refused(ctc("decode", "bad.ctc", "-o", "x.png"), "damaged between bytes")
        assert not (here / "x.png").exists()
        result = ctc("decode", "bad.ctc", "-o", "x.png", "--quiet", "--accept-damage")
        at = start + block * BLOCK
        end = min(at + BLOCK, len(three_blocks))
        damage = f"damaged between bytes {at} and {end} (wrong check sum)"
        assert result == Result(0, b"", f"ctc: bad.ctc: warning: {damage}\n")
        pixels = np.asarray(Image.open("x.png"))
        assert (pixels == np.asarray(ctc_codec.decode(three_blocks[:at], weights=weights))).all()
        (here / "x.png").unlink()


def test_damage_at_the_start_of_a_batch_does_not_spoil_the_rest(here: Path, three_blocks: bytes) -> None:
    (here / "a.ctc").write_bytes(changed(three_blocks, 5000, 1))
    (here / "b.ctc").write_bytes(three_blocks)
    result = ctc("decode", "a.ctc", "b.ctc", "--quiet")
    assert_refused(result, "a.ctc: damaged between bytes", lines=2)
    assert not (here / "a.png").exists()
    assert (here / "b.png").exists()
