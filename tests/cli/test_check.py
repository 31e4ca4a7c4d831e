"""``ctc check``, and how far damage is found: every byte of a file, what a cut file can tell, and how good 16
bits of check sum are."""

from __future__ import annotations

import json
import lzma
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec.container import alpha as _alpha_format
from ctc_codec.container import sections as _extras
from ctc_codec.container.blocks import BLOCK_DATA, CRC_BYTES, crc, frame
from ctc_codec.container.file import split_stream, unframe
from ctc_codec.container.header import Header
from ctc_codec.container.verify import COMPLETE, CUT, DAMAGED, verify
from ctc_codec.errors import CtcError, DamageError, FormatError
from ctc_codec.image import transparency as _alpha
from support.command import Result, assert_misused, assert_refused, ctc, run
from support.streams import changed, plain, with_extras

MakePhoto = Callable[..., Image.Image]

PLAIN = plain(10_000)
HEADER = Header.parse(PLAIN)[1]
BLOCK = BLOCK_DATA + CRC_BYTES
FLIPS = [1 << bit for bit in range(8)]

pytestmark = pytest.mark.usefixtures("process_state")


@pytest.fixture
def files(here: Path) -> Path:
    """A working directory with whole.ctc, cut.ctc, bad.ctc (damaged in its second block) and none.ctc."""
    (here / "whole.ctc").write_bytes(PLAIN)
    (here / "cut.ctc").write_bytes(PLAIN[:9000])
    (here / "bad.ctc").write_bytes(changed(PLAIN, 5000, 4))
    (here / "none.ctc").write_bytes(b"no stream")
    return here


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
    assert [line.partition(": ")[0] for line in result.lines[:-3]] == [
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
    assert ctc("check", "-v", "whole.ctc").lines[1] == "  64x48 RGB, weights 01020304"


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


# --- extras -----------------------------------------------------------------------------------------


def _raw(samples: bytes) -> bytes:
    return lzma.compress(samples, lzma.FORMAT_RAW, filters=_alpha_format.FILTERS)


ALPHA = np.random.default_rng(1).integers(0, 256, (48, 64), np.uint8)
SECTIONS = [
    (_extras.QUALITY, bytes([10, 0, *[9] * 12])),
    (_extras.ALPHA_ROUGH, _alpha.pack_rough(ALPHA)),
    (_extras.ALPHA, _alpha.pack(ALPHA)),
    (_extras.EXIF, _extras.pack_text(b"EXIF" * 100)),
    (_extras.XMP, _extras.pack_text(b"<xmp/>")),
    (77, b"of a later version"),
]


def _good_file() -> bytes:
    return with_extras(_extras.join_sections(SECTIONS), alpha=True)


def test_extras_are_verified_and_named(here: Path) -> None:
    found = verify(_good_file())
    assert (found.state, found.damage) == (COMPLETE, None)
    assert found.sections == ("quality table", "alpha", "EXIF", "XMP")
    (here / "a.ctc").write_bytes(_good_file())
    assert ctc("check", "-v", "a.ctc").lines[1].endswith(", quality table, alpha, EXIF, XMP")


def test_a_cut_is_no_damage_wherever_it_is() -> None:
    data = _good_file()
    for count in range(Header.parse(data)[1], len(data)):
        found = verify(data[:count])
        assert (found.state, found.damage) == (CUT, None), count


BAD_EXTRAS = {
    "a table that is none": ([(_extras.QUALITY, bytes(13))], "damaged quality table"),
    "an unknown prediction": ([(_extras.ALPHA, b"\7" + _raw(bytes(3072)))], "an unknown prediction"),
    "no prediction": ([(_extras.ALPHA, b"")], "an unknown prediction"),
    "no LZMA": ([(_extras.ALPHA, b"\0" + b"\xff" * 99)], "damaged transparency: not LZMA"),
    "too few samples": ([(_extras.ALPHA, b"\0" + _raw(bytes(3071)))], "1 of 3072 samples are missing"),
    "too many samples": (
        [(_extras.ALPHA, b"\1" + _raw(bytes(3073)))],
        "damaged transparency: it is too long",
    ),
    "far too many samples": ([(_extras.ALPHA, b"\1" + _raw(bytes(1 << 24)))], "it is too long"),
    "bytes behind the samples": ([(_extras.ALPHA, b"\0" + _raw(bytes(3072)) + b"\0")], "it is too long"),
    "samples that end early": ([(_extras.ALPHA, b"\0" + _raw(ALPHA.tobytes())[:-9])], "samples are missing"),
    "a level that is none": ([(_extras.ALPHA_ROUGH, _raw(b"\x10" * 48))], "no encoder writes"),
    "too few cells": ([(_extras.ALPHA_ROUGH, _raw(bytes(47)))], "rough transparency: 1 of 48 samples"),
    "EXIF that is no zlib": ([(_extras.EXIF, b"Exif\0\0MM")], "damaged EXIF: not zlib"),
    "EXIF that is nothing": ([(_extras.EXIF, b"")], "damaged EXIF: its end is missing"),
    "EXIF that ends early": ([(_extras.EXIF, zlib.compress(b"abc")[:-1])], "damaged EXIF: its end"),
    "EXIF with another check sum": ([(_extras.EXIF, zlib.compress(b"abc")[:-1] + b"\0")], "not zlib"),
    "XMP and more": ([(_extras.XMP, zlib.compress(b"abc") + b"\0")], "damaged XMP: it is too long"),
    "XMP of 17 MB": ([(_extras.XMP, zlib.compress(bytes(17 << 20)))], "damaged XMP: it is too long"),
}


@pytest.mark.parametrize("case", BAD_EXTRAS)
def test_extras_that_no_encoder_writes_are_found(case: str) -> None:
    """Their check sums fit: nobody but who wrote the file did this. All but the last byte says so already, or
    is a cut file as any other."""
    sections, message = BAD_EXTRAS[case]
    data = with_extras(_extras.join_sections(sections), alpha=True)
    found = verify(data)
    assert found.state == DAMAGED
    assert message in str(found.damage)
    assert_refused(ctc("check", "-", stdin=data), message)
    assert verify(data[:-1]).state in (CUT, DAMAGED)


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        (b"\1\x0e" + bytes(10), "a section is longer than all of them"),
        (b"\4", "end inside a section"),
        (b"\x80", "end inside a section"),
        (_extras.join_sections(SECTIONS) + b"\5", "end inside a section"),
        (_extras.join_sections(SECTIONS) + b"\5\x80", "end inside a section"),
        (b"\4\x80\0", "shortest form"),
        (b"\4" + b"\xff" * 9, "too long"),
    ],
)
def test_lengths_of_sections_add_up(extras: bytes, message: str) -> None:
    found = verify(with_extras(extras))
    assert found.state == DAMAGED
    assert message in str(found.damage)


def test_memory_does_not_grow_with_the_image() -> None:
    samples = bytes(4000 * 4000)
    extras = _extras.join_sections([(_extras.ALPHA, b"\0" + _raw(samples))])
    data = with_extras(extras, width=4000, height=4000, alpha=True)
    tracemalloc.start()
    try:
        assert verify(data).state == COMPLETE
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


def test_transparency_of_more_pixels_than_allowed_is_not_unpacked(here: Path) -> None:
    """A few bytes of LZMA would keep the command busy for days."""
    extras = _extras.join_sections([(_extras.ALPHA, b"\0" + _raw(bytes(1 << 20)))])
    (here / "a.ctc").write_bytes(with_extras(extras, width=1 << 23, height=1 << 23, alpha=True))
    assert_refused(ctc("check", "a.ctc"), "a.ctc: 8388608x8388608 is more than the limit")
    (here / "b.ctc").write_bytes(with_extras(_extras.join_sections(SECTIONS), alpha=True))
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


def _code_word(data: bytes) -> bytes:
    header, start = Header.parse(data)
    return split_stream(unframe(data, header, start).data, header)[0]


def _with_stream(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """With another stream and right check sums."""
    header, start = Header.parse(data)
    stream = bytearray(unframe(data, header, start).data)
    change(stream)
    return data[:start] + frame(bytes(stream))


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

    good = _code_word(three_blocks)
    for number, change in enumerate([*[flip] * 20, flip_last, swap]):
        bad = _with_stream(three_blocks, change)
        assert verify(bad).state == COMPLETE
        if _code_word(bad) != good:  # any bytes are a quality table
            (here / f"{number}.ctc").write_bytes(bad)
    result = ctc("check", "--decode", "--quiet", "-r", ".")
    bad_files = len(list(here.iterdir()))
    assert bad_files > 15
    assert_refused(result, lines=bad_files + 1)
    assert Counter(": damaged: " in line for line in result.lines) == {True: bad_files, False: 1}


def test_decoding_needs_the_weights(files: Path) -> None:
    assert_refused(ctc("check", "--decode", "whole.ctc"), "whole.ctc: made with other weights (file 01020304")
    assert_refused(ctc("check", "--decode", "whole.ctc", "--weights", "nowhere"), "ctc: nowhere: no such")


# --- damage -----------------------------------------------------------------------------------------


def is_found(data: bytes, model: ctc_codec.CodecModel) -> bool:
    """Whether checking, describing and decoding all find that a file is not whole and sound."""
    try:
        checked = verify(data).state != COMPLETE
    except FormatError:
        checked = True
    try:
        described = not ctc_codec.info(data).complete
    except FormatError:
        described = True
    try:
        ctc_codec.decode(data, weights=model)
        decoded = False
    except CtcError:
        decoded = True
    assert checked == described == decoded
    return checked


@pytest.mark.parametrize("kind", ["RGB", "L", "RGBA"])
def test_every_change_of_one_byte_is_found(make_photo: MakePhoto, weights: str | None, kind: str) -> None:
    """In the header, the stream and the check sums, whatever the byte becomes."""
    image = make_photo(24, 16).convert(kind)
    if kind == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((24, 16)))
    model = ctc_codec.load_model(weights)
    data = ctc_codec.encode(image, weights=model)
    assert not is_found(data, model)
    rng = random.Random(1)
    for position in range(len(data)):
        for flip in {*FLIPS, 0xFF, *rng.sample(range(1, 256), 4)}:
            assert is_found(changed(data, position, flip), model), (position, flip)


def test_every_change_of_one_byte_in_many_blocks_is_found_where_it_is() -> None:
    for position in range(HEADER, len(PLAIN)):
        for flip in (1 << position % 8, 1 + position * 37 % 255):
            found = verify(changed(PLAIN, position, flip))
            assert found.state == DAMAGED
            assert found.checked_bytes == HEADER + (position - HEADER) // BLOCK * BLOCK


def test_a_cut_file_vouches_for_all_but_its_last_block() -> None:
    for cut in (HEADER + 1, HEADER + 4000, HEADER + BLOCK, 9000, len(PLAIN) - 2, len(PLAIN) - 3):
        data = PLAIN[:cut]
        checked = verify(data).checked_bytes
        assert cut - BLOCK < checked <= cut
        for position in range(HEADER, cut, 7):
            bad = verify(changed(data, position, 1 + position % 255))
            assert (bad.state == DAMAGED) == (position < checked), (cut, position)
    half = verify(changed(PLAIN[:-1], len(PLAIN) - 3, 1))  # one byte of the last check sum is there
    assert half.state == DAMAGED


def test_zeros_in_place_of_the_end_are_damage() -> None:
    """What file systems leave after a crash."""
    for kept in (HEADER, HEADER + 10, 5000, len(PLAIN) - 3):
        found = verify(PLAIN[:kept] + bytes(len(PLAIN) - kept))
        assert found.state == DAMAGED
        assert found.checked_bytes <= kept


def test_moved_and_doubled_blocks_are_damage() -> None:
    """The check sum runs on from block to block."""
    first, second = PLAIN[HEADER : HEADER + BLOCK], PLAIN[HEADER + BLOCK : HEADER + 2 * BLOCK]
    for stream in (second + first, first + first, second + second, first + PLAIN[HEADER + 2 * BLOCK :]):
        found = verify(PLAIN[:HEADER] + stream + PLAIN[HEADER + len(stream) :])
        assert found.state == DAMAGED


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


# --- how good 16 bits are ---------------------------------------------------------------------------


def syndromes(nbytes: int) -> np.ndarray:
    """What an error of one bit does to the check of a block of ``nbytes`` with its check sum, int64, first
    bit first: two errors together do the exclusive or of both."""
    out = [1]
    for _ in range(8 * nbytes - 1):
        out.append((out[-1] << 1) ^ (0x11021 if out[-1] & 0x8000 else 0))
    return np.array(out[::-1], np.int64)


def test_syndromes_are_those_of_the_check_sum() -> None:
    of_bit = syndromes(40 + CRC_BYTES)
    for bit in (0, 7, 100, 319):
        error = (1 << 8 * 40 - 1 - bit).to_bytes(40, "big")
        assert crc(error) ^ crc(bytes(40)) == of_bit[bit]
    assert of_bit[-16:].tolist() == [1 << i for i in reversed(range(16))]  # a bit of the check sum itself


def test_all_bursts_of_16_bits_are_found() -> None:
    """In one block of any length, its check sum included: every error that lies within 16 bits in a row."""
    of_bit = syndromes(BLOCK)
    assert (of_bit != 0).all()
    # 16 syndromes in a row are linearly independent: no exclusive or of some of them is 0.
    rng = np.random.default_rng(1)
    for at in [0, len(of_bit) - 16, *rng.integers(0, len(of_bit) - 16, 200)]:
        basis: dict[int, int] = {}
        for value in of_bit[at : at + 16].tolist():
            while value and (top := value.bit_length()) in basis:
                value ^= basis[top]
            assert value
            basis[value.bit_length()] = value


def test_two_bits_are_found_but_for_one_pair() -> None:
    """The polynomial has the order 32767, and a block has 32768 bits: its first and its last one together are
    not found. Odd numbers of bits always are."""
    of_bit = syndromes(BLOCK)
    values, first, counts = np.unique(of_bit, return_index=True, return_counts=True)
    assert counts.max() == 2
    (twice,) = np.flatnonzero(counts == 2)
    assert np.flatnonzero(of_bit == values[twice]).tolist() == [0, len(of_bit) - 1]
    assert len(first) == len(of_bit) - 1
    both = changed(changed(PLAIN, HEADER, 0x80), HEADER + BLOCK - 1, 1)
    assert verify(both).damage is None or verify(both).checked_bytes >= HEADER + BLOCK
    assert all(value.bit_count() % 2 == 1 for value in of_bit[-16:].tolist())


def test_the_share_of_two_bytes_that_is_not_found() -> None:
    """Exact, over all pairs of changed bytes in a block: about 1 in 65,536."""
    of_bit = syndromes(BLOCK).reshape(-1, 8)
    flips = np.arange(1, 256)
    of_byte = np.zeros((len(of_bit), 255), np.int64)
    for bit in range(8):
        of_byte ^= np.where(flips >> (7 - bit) & 1, of_bit[:, bit : bit + 1], 0)
    assert all(len(np.unique(row)) == 255 for row in of_byte[::97])  # no pair is in one byte
    counts = np.bincount(of_byte.reshape(-1), minlength=65536).astype(object)
    assert counts[0] == 0
    missed = sum(count * (count - 1) // 2 for count in counts)
    pairs = len(of_bit) * (len(of_bit) - 1) // 2 * 255**2
    assert missed / pairs == pytest.approx(1 / 65536, rel=0.03)


def test_garbage_in_place_of_a_block_is_found() -> None:
    """Of 65,536 in the mean one is not; of these none."""
    rng = random.Random(1)
    data = plain(100)
    start = Header.parse(data)[1]
    assert all(verify(data[:start] + rng.randbytes(len(data) - start)).state == DAMAGED for _ in range(5000))
    with pytest.raises(DamageError):
        ctc_codec.decode(changed(data, 7, 1))
