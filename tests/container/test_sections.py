"""Sections: mixed into the code word in turns, read as far as they are there."""

from __future__ import annotations

import pytest

from ctc_codec import FormatError
from ctc_codec.container.sections import (
    MAX_METADATA,
    PIECE,
    Section,
    join_sections,
    mix,
    names_of,
    pack_text,
    split_sections,
    stream_position,
    unmix,
    unpack_text,
)
from support.streams import noise


@pytest.mark.parametrize("lead", [0, 1, 300, 5000])
@pytest.mark.parametrize("extras_bytes", [1, PIECE - 1, PIECE, PIECE + 1, 3000, 9000])
def test_every_prefix_holds_prefixes_of_both(lead: int, extras_bytes: int) -> None:
    code, extras = noise(5000, 1), noise(extras_bytes, 2)
    stream = mix(code, extras, lead)
    assert sorted(stream) == sorted(code + extras)
    held = (0, 0)
    assert mix(b"", extras, 0) == extras
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


def test_sections_come_back_and_the_last_one_may_be_cut() -> None:
    sections = [(1, b"table"), (300, noise(200, 3)), (5, b"")]
    extras = join_sections(sections)
    assert list(split_sections(extras)) == [Section(kind, data, True) for kind, data in sections]
    for cut in range(len(extras)):
        for section, (kind, data) in zip(split_sections(extras[:cut]), sections, strict=False):
            assert section.kind == kind
            assert data.startswith(section.data)
            assert section.complete == (section.data == data)


def test_a_kind_is_named_once_and_only_if_it_is_whole_and_known() -> None:
    given = [(5, True), (4, True), (4, True), (99, True), (2, False), (5, True)]
    assert names_of(Section(kind, b"", whole) for kind, whole in given) == ("XMP", "EXIF")


def test_a_length_that_is_no_number_is_an_error() -> None:
    with pytest.raises(FormatError):
        list(split_sections(b"\1" + b"\xff" * 20))


def test_packed_text_comes_back_and_bombs_do_not() -> None:
    assert unpack_text(pack_text(b"<x:xmpmeta/>" * 50)) == b"<x:xmpmeta/>" * 50
    assert unpack_text(pack_text(b"\0" * MAX_METADATA)) == b"\0" * MAX_METADATA
    assert unpack_text(pack_text(b"\0" * (MAX_METADATA + 1))) is None
    assert unpack_text(b"no zlib") is None
    assert unpack_text(pack_text(b"abc")[:-1]) is None
