"""What is mixed into the code word: pieces in turn, sections, quality table, cuts by PSNR."""

from __future__ import annotations

import binascii
import math
import random
from itertools import pairwise

import pytest

from ctc_codec.container.blocks import frame
from ctc_codec.container.file import info, split_stream, truncate, unframe
from ctc_codec.container.header import Header
from ctc_codec.container.quality_table import POINTS, QualityTable, lengths, table_of
from ctc_codec.container.sections import (
    MAX_METADATA,
    PIECE,
    QUALITY,
    Section,
    join_sections,
    mix,
    pack_text,
    split_sections,
    stream_position,
    unmix,
    unpack_text,
)
from ctc_codec.errors import FormatError, TargetError

CURVE = QualityTable(tuple(38.0 - 1.3 * k for k in range(POINTS)))


def noise(count: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(count)


def make_file(code_bytes: int, sections: bytes, side: int = 128) -> bytes:
    header = Header(side, side, b"\1\2\3\4", code_bytes, extras_bytes=len(sections))
    return header.to_bytes() + frame(mix(noise(code_bytes, 1), sections, header.lead_bytes))


@pytest.mark.parametrize("lead", [0, 1, 300, 5000])
@pytest.mark.parametrize("extras_bytes", [1, PIECE - 1, PIECE, PIECE + 1, 3000, 9000])
def test_every_prefix_holds_prefixes_of_both(lead: int, extras_bytes: int) -> None:
    code, extras = noise(5000, 1), noise(extras_bytes, 2)
    stream = mix(code, extras, lead)
    assert sorted(stream) == sorted(code + extras)
    held = (0, 0)
    for cut in range(len(stream) + 1):
        some_code, some_extras = unmix(stream[:cut], len(code), len(extras), lead)
        assert code.startswith(some_code)
        assert extras.startswith(some_extras)
        assert len(some_code) + len(some_extras) == cut
        if len(some_code) > held[0]:
            assert stream_position(len(some_code), len(extras), lead) == cut
        held = len(some_code), len(some_extras)
    assert held == (len(code), len(extras))


def test_extras_come_after_the_first_useful_bytes_and_take_half_from_there() -> None:
    code, extras = noise(20_000, 1), noise(5000, 2)
    stream = mix(code, extras, 1000)
    assert stream[:1000] == code[:1000]
    for cut in range(1000 + 2 * PIECE, 10_000, 2 * PIECE):
        shares = unmix(stream[:cut], len(code), len(extras), 1000)
        assert abs((len(shares[0]) - 1000) - len(shares[1])) <= PIECE


def test_an_empty_code_word_leaves_the_extras() -> None:
    assert mix(b"", b"abc", 0) == b"abc"
    assert unmix(b"ab", 0, 3, 0) == (b"", b"ab")


def test_sections_come_back_and_the_last_one_may_be_cut() -> None:
    sections = [(1, b"table"), (300, noise(200, 3)), (5, b"")]
    extras = join_sections(sections)
    assert list(split_sections(extras)) == [Section(kind, data, True) for kind, data in sections]
    for cut in range(len(extras)):
        for section, (kind, data) in zip(split_sections(extras[:cut]), sections, strict=False):
            assert section.kind == kind
            assert data.startswith(section.data)
            assert section.complete == (section.data == data)


def test_a_length_that_is_no_number_is_an_error() -> None:
    with pytest.raises(FormatError):
        list(split_sections(b"\1" + b"\xff" * 20))


def test_packed_text_comes_back_and_bombs_do_not() -> None:
    assert unpack_text(pack_text(b"<x:xmpmeta/>" * 50)) == b"<x:xmpmeta/>" * 50
    assert unpack_text(pack_text(b"\0" * MAX_METADATA)) == b"\0" * MAX_METADATA
    assert unpack_text(pack_text(b"\0" * (MAX_METADATA + 1))) is None
    assert unpack_text(b"no zlib") is None
    assert unpack_text(pack_text(b"abc")[:-1]) is None


def test_table_is_14_bytes_and_keeps_values_to_a_hundredth() -> None:
    assert len(CURVE.to_bytes()) == 14
    back = QualityTable.parse(CURVE.to_bytes())
    assert back is not None
    assert max(abs(a - b) for a, b in zip(back.psnr, CURVE.psnr, strict=True)) <= 0.0101
    assert QualityTable.parse(CURVE.to_bytes()[:-1]) is None


def test_steep_or_rising_values_become_the_nearest_that_can_be_written() -> None:
    steep = QualityTable((60.0, 50.0, 51.0, *[40.0] * (POINTS - 3)))
    back = QualityTable.parse(steep.to_bytes())
    assert back is not None
    assert back.psnr[1] == pytest.approx(54.9)
    assert all(a >= b for a, b in pairwise(back.psnr))
    assert back.psnr[3:] == pytest.approx([45.9, *[40.8] * 1, *[40.0] * (POINTS - 5)], abs=0.02)


@pytest.mark.parametrize("code_bytes", [0, 1, 5, 63, 64, 1000, 54_321])
def test_bytes_for_a_psnr_are_the_fewest_by_the_table(code_bytes: int) -> None:
    known = lengths(code_bytes)
    assert known == sorted(known, reverse=True)
    assert known[0] == code_bytes
    for target in (20.0, 25.0, 31.7, 37.99, 38.0):
        count = CURVE.code_bytes_for(target, code_bytes)
        assert count is not None
        assert count <= max(code_bytes, 1)
        if code_bytes >= 1000 and target > CURVE.psnr[-1]:
            reached, less = CURVE.at(count, code_bytes), CURVE.at(count - 1, code_bytes)
            assert reached is not None
            assert less is not None
            assert less < target + 1e-9 <= reached + 2e-9
    assert CURVE.code_bytes_for(38.01, code_bytes) is None


def test_table_from_measurements_is_linear_in_log_bytes_and_never_rises() -> None:
    points = [(10_000 >> i, 40.0 - 2 * i) for i in range(8)]
    table = table_of(10_000, points)
    assert table.psnr == pytest.approx([40 - k for k in range(POINTS)], abs=0.02)
    bumpy = table_of(10_000, [(10_000, 35.0), (5000, 36.0), (200, 20.0)])
    assert all(a >= b for a, b in pairwise(bumpy.psnr))
    assert table_of(10_000, [(10_000, 35.0)]).psnr[0] == 35.0
    assert table_of(0, [(0, 35.0)]).psnr[0] == 35.0


def test_cut_by_psnr_follows_the_table() -> None:
    data = make_file(40_000, join_sections([(QUALITY, CURVE.to_bytes()), (9, noise(3000, 4))]))
    header, start = Header.parse(data)
    sizes = []
    for target in (25.0, 30.0, 34.0, 38.0):
        small = truncate(data, psnr=target)
        assert data.startswith(small)
        code = split_stream(unframe(small, header, start).data, header)[0]
        assert len(code) == CURVE.code_bytes_for(target, 40_000)
        found = info(small).psnr
        assert found == pytest.approx(target, abs=0.01)
        sizes.append(len(small))
    assert sizes == sorted(set(sizes))
    assert len(data) - 2 - 3000 <= sizes[-1] <= len(data)


def test_cut_by_psnr_needs_the_table_and_the_bytes() -> None:
    data = make_file(40_000, join_sections([(QUALITY, CURVE.to_bytes())]))
    with pytest.raises(TargetError, match=r"38\.50 dB is out of reach|38\.5 dB is out of reach"):
        truncate(data, psnr=38.5)
    with pytest.raises(TargetError, match="are left"):
        truncate(data[:2000], psnr=36.0)
    assert truncate(data[:20_000], psnr=30.0) == truncate(data, psnr=30.0)
    with pytest.raises(TargetError, match="no quality table"):
        truncate(data[:200], psnr=30.0)
    with pytest.raises(TargetError, match="no quality table"):
        truncate(make_file(4000, b""), psnr=30.0)
    with pytest.raises(ValueError, match="exactly one"):
        truncate(data, psnr=30.0, nbytes=100)


def test_info_lists_the_table_for_the_bytes_that_are_there() -> None:
    data = make_file(40_000, join_sections([(QUALITY, CURVE.to_bytes()), (4, pack_text(b"exif"))]))
    found = info(data)
    assert found.sections == ("quality table", "EXIF")
    assert found.psnr == 38.0
    assert len(found.quality) == POINTS
    assert found.quality[-1][1] == 38.0
    assert [count for count, _ in found.quality] == sorted({count for count, _ in found.quality})
    for count, db in found.quality:
        assert info(data[:count]).psnr in (None, pytest.approx(db, abs=0.02))
    cut = info(data[:10_000])
    assert cut.quality == tuple(step for step in found.quality if step[0] <= 10_000)
    assert cut.psnr == pytest.approx(38 - 2.6 * math.log2(40_000 / 9950), abs=0.1)
    assert info(data[:300]).quality == ()
    assert info(data[:300]).psnr is None


def test_header_tells_of_alpha_and_extras() -> None:
    for grey, alpha, mode in (
        (False, False, "RGB"),
        (True, False, "L"),
        (False, True, "RGBA"),
        (True, True, "LA"),
    ):
        header = Header(30, 20, b"abcd", 100, grey, alpha=alpha, extras_bytes=17)
        assert header.mode == mode
        assert Header.parse(header.to_bytes()) == (header, len(header.to_bytes()))
    plain = Header(30, 20, b"abcd", 100)
    assert len(plain.to_bytes()) == len(header.to_bytes()) - 1
    assert header.file_bytes == plain.file_bytes + 17 + 1


def test_extras_of_no_length_are_refused() -> None:
    data = Header(30, 20, b"abcd", 100, extras_bytes=1).to_bytes()
    head = data[:-3] + b"\0"
    with pytest.raises(FormatError, match="no length"):
        Header.parse(head + binascii.crc_hqx(head, 0xFFFF).to_bytes(2, "big"))
