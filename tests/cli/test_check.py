"""``ctc check``: what it tells of files that are whole, cut, damaged, or by no encoder."""

from __future__ import annotations

import json
import lzma
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ctc_codec.container.alpha import FILTERS
from ctc_codec.container.blocks import BLOCK_BYTES as BLOCK
from ctc_codec.container.file import pack, parse
from ctc_codec.container.header import Header
from ctc_codec.container.sections import ALPHA, ALPHA_ROUGH, EXIF, QUALITY, join_sections, pack_text
from ctc_codec.container.verify import verify
from ctc_codec.image.transparency import pack_rough
from support.command import Result, assert_refused, ctc
from support.streams import changed, plain, with_extras

PLAIN = plain(10_000)
HEADER = Header.parse(PLAIN)[1]
DAMAGE = f"damaged between bytes {HEADER + BLOCK} and {HEADER + 2 * BLOCK} (wrong check sum)"
UNCHECKED = 9000 - HEADER - 2 * BLOCK


@pytest.fixture
def files(here: Path) -> Path:
    """A working directory with whole.ctc, cut.ctc, bad.ctc (damaged in its second block) and none.ctc."""
    (here / "whole.ctc").write_bytes(PLAIN)
    (here / "cut.ctc").write_bytes(PLAIN[:9000])
    (here / "bad.ctc").write_bytes(changed(PLAIN, 5000, 4))
    (here / "none.ctc").write_bytes(b"no stream")
    return here


def test_a_file_is_whole_cut_or_damaged(files: Path) -> None:
    size = len(PLAIN)
    assert ctc("check", "whole.ctc") == Result(0, b"", f"whole.ctc: complete, {size} bytes\n")
    assert ctc("check", "cut.ctc") == Result(
        0, b"", f"cut.ctc: cut, 9000 of {size} bytes, the last {UNCHECKED} without a check sum\n"
    )
    between = ctc("check", "-", stdin=PLAIN[: HEADER + BLOCK])  # nothing is left without a check sum
    assert between == Result(0, b"", f"standard input: cut, {HEADER + BLOCK} of {size} bytes\n")
    (files / "long.ctc").write_bytes(PLAIN + b"\n")
    assert_refused(ctc("check", "long.ctc"), "long.ctc", "1 bytes follow")
    assert ctc("check", "-", stdin=PLAIN + b"\n").code == 0  # a pipe is not read to its end
    assert ctc("check", "bad.ctc") == Result(1, b"", f"ctc: bad.ctc: {DAMAGE}\n")
    assert_refused(ctc("check", "none.ctc"), "none.ctc: not a .ctc file")
    assert_refused(ctc("check", "nowhere.ctc"), "nowhere.ctc: No such file")


def test_cut_files_can_be_refused(files: Path) -> None:
    assert ctc("check", "--complete", "whole.ctc").code == 0
    assert_refused(ctc("check", "--complete", "cut.ctc"), f"cut.ctc: cut: 9000 of {len(PLAIN)} bytes")


def _facts(name: str, state: str, nbytes: int, checked: int, **more: str) -> dict[str, object]:
    known = {"file": name, "state": state, "bytes": nbytes, "complete_bytes": len(PLAIN)}
    return {**known, "checked_bytes": checked, "width": 64, "height": 48, "sections": [], **more}


def test_objects_tell_the_same(files: Path) -> None:
    result = ctc("check", "--json", "--quiet", "whole.ctc", "cut.ctc", "bad.ctc", "none.ctc")
    assert result.code == 1
    assert result.objects == [
        _facts("whole.ctc", "complete", len(PLAIN), len(PLAIN)),
        _facts("cut.ctc", "cut", 9000, 9000 - UNCHECKED),
        _facts("bad.ctc", "damaged", len(PLAIN), HEADER + BLOCK, error=DAMAGE),
        {"file": "none.ctc", "error": "not a .ctc file"},
    ]
    (refused,) = ctc("check", "--json", "--quiet", "--complete", "cut.ctc").objects
    assert (refused["state"], refused["error"]) == ("cut", f"cut: 9000 of {len(PLAIN)} bytes")


def test_more_is_said_if_asked(files: Path) -> None:
    assert ctc("check", "-v", "whole.ctc").lines[1].endswith(" s, 64x48 RGB, weights 01020304")


# --- sections and the code word -----------------------------------------------------------------------


def test_sections_are_named_and_those_that_no_encoder_writes_are_damage(here: Path) -> None:
    sections = join_sections([(QUALITY, bytes([10, 0, *[9] * 12])), (EXIF, pack_text(b"EXIF" * 100))])
    (here / "a.ctc").write_bytes(with_extras(sections))
    assert ctc("check", "-v", "a.ctc").lines[1].endswith(", quality table, EXIF")
    bad = with_extras(join_sections([(QUALITY, bytes(13))]))
    assert_refused(ctc("check", "-", stdin=bad), "standard input: damaged quality table")
    (facts,) = ctc("check", "--json", "--quiet", "-", stdin=bad).objects
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


def test_a_bad_code_word_is_told_as_damage_is(here: Path, three_blocks: bytes) -> None:
    (here / "a.ctc").write_bytes(_with_code(three_blocks, lambda code: code.reverse()))
    facts = json.loads(ctc("check", "--decode", "--json", "--quiet", "a.ctc").out)
    assert facts["state"] == "damaged"
    assert facts["bytes"] == len((here / "a.ctc").read_bytes())
    (here / "cut.ctc").write_bytes(three_blocks[:5000])
    assert_refused(
        ctc("check", "--complete", "--decode", "--max-pixels", 9, "cut.ctc"), "cut.ctc: cut: 5000 of"
    )
