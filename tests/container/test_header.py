"""The header: its bytes, and what is refused and by which words."""

from __future__ import annotations

import pytest

from ctc_codec import DamageError, FormatError, Header, LimitError, info
from ctc_codec.container.blocks import crc
from ctc_codec.container.header import MAX_HEADER_BYTES, MAX_PLANES, MAX_SIDE, MAX_SLICES, check_pixels
from ctc_codec.container.varint import get_varint, put_varint
from support.streams import changed, noise, plain

FINGERPRINT = bytes.fromhex("deadbeef")
HEAD = Header(768, 512, FINGERPRINT, 100_000, planes=7, slices=13).to_bytes()


def sealed(head: bytes) -> bytes:
    """A header's bytes with their check sum."""
    return head + crc(head).to_bytes(2, "big")


@pytest.mark.parametrize(
    ("header", "golden"),
    [
        (Header.parse(HEAD)[0], "c7435443 04 00 8006 8004 07 0d deadbeef a08d06 5b3b"),
        (
            Header(1, 127, bytes.fromhex("00010203"), 0, grey=True),
            "c7435443 04 01 01 7f 00 00 00010203 00 8e2d",
        ),
        (
            Header(MAX_SIDE, 128, bytes(4), 1 << 35, alpha=True, extras_bytes=300, planes=10, slices=200),
            "c7435443 04 06 ffffff07 8001 0a c801 00000000 808080808001 ac02 1eab",
        ),
    ],
)
def test_header_has_exactly_these_bytes(header: Header, golden: str) -> None:
    assert header.to_bytes().hex() == golden.replace(" ", "")


@pytest.mark.parametrize("width", [1, 127, 128, 16383, 16384, MAX_SIDE])
@pytest.mark.parametrize("code_bytes", [0, 1, 255, 1 << 40, (1 << 63) - 1])
@pytest.mark.parametrize(("planes", "slices"), [(0, 0), (1, 1), (MAX_PLANES, MAX_SLICES)])
@pytest.mark.parametrize(("grey", "alpha"), [(False, True), (True, False)])
def test_header_round_trip(
    width: int, code_bytes: int, planes: int, slices: int, grey: bool, alpha: bool
) -> None:
    height = MAX_SIDE + 1 - width
    header = Header(width, height, FINGERPRINT, code_bytes, grey, alpha, code_bytes // 3, planes, slices)
    data = header.to_bytes()
    assert len(data) <= MAX_HEADER_BYTES
    assert Header.parse(data) == (header, len(data))
    assert Header.parse(data + b"whatever follows") == (header, len(data))
    for cut in range(len(data)):
        with pytest.raises(FormatError, match="empty" if cut == 0 else "cut inside the header"):
            Header.parse(data[:cut])


def test_mode_and_size_of_the_file() -> None:
    for mode in ("RGB", "L", "RGBA", "LA"):
        header = Header(30, 20, b"abcd", 100, grey=mode[0] == "L", alpha=mode[-1] == "A", extras_bytes=17)
        assert header.mode == mode
        assert header.file_bytes == Header(30, 20, b"abcd", 100).file_bytes + 17 + 1
    for nbytes in (0, 1, 4093, 4094, 4095, 8188, 20_000):
        assert info(plain(nbytes)).header.file_bytes == len(plain(nbytes))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (16383, "ff7f"), (16384, "808001")],
)
def test_varint_is_little_endian_base_128(value: int, encoded: str) -> None:
    assert put_varint(value).hex() == encoded
    assert get_varint(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


def test_varint_round_trip() -> None:
    for bits in range(63):
        for value in ((1 << bits) - 1, 1 << bits, (1 << bits) + 1):
            data = put_varint(value)
            assert get_varint(b"?" + data + b"\xff", 1) == (value, 1 + len(data))
            assert get_varint(data[:-1], 0)[0] is None


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"C", b"\xc7CTX\x01\x00", b"ctc", bytes(100)])
def test_other_files_are_named_as_such(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"not a \.ctc file"):
        Header.parse(data)


@pytest.mark.parametrize(
    ("version", "message"),
    [(gone, f"^format {gone} is not read any more: encode the original again$") for gone in (1, 2, 3)]
    + [(unknown, rf"version {unknown}\b") for unknown in (0, 5, 255)],
)
def test_other_versions_are_refused_by_their_number_whatever_follows(version: int, message: str) -> None:
    start = HEAD[:4] + bytes([version])
    for data in (start, start + noise(30), sealed(start + HEAD[5:-2])):
        with pytest.raises(FormatError, match=message):
            Header.parse(data)


@pytest.mark.parametrize(
    ("flags", "rest", "message"),
    [
        *((flags, HEAD[6:-2].hex(), f"0x{flags:02x}") for flags in (0x08, 0x09, 0x80, 0xFF)),
        (0x00, "8000 01 00 00 deadbeef 00", "shortest form"),
        (0x00, "808000 01 00 00 deadbeef 00", "shortest form"),
        (0x00, "ff" * 10 + "01 01 00 00 deadbeef 00", "too long"),
        (0x04, "01 01 00 00 deadbeef 05 00", "extras of no length"),
    ],
)
def test_what_no_encoder_writes_is_refused(flags: int, rest: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Header.parse(sealed(HEAD[:5] + bytes([flags]) + bytes.fromhex(rest)))


@pytest.mark.parametrize(("planes", "slices"), [(0, 1), (1, 0), (MAX_PLANES + 1, 20), (7, MAX_SLICES + 1)])
def test_impossible_planes_and_slices_are_refused(planes: int, slices: int) -> None:
    with pytest.raises(FormatError, match=f"impossible trit planes: {planes} in {slices} slices"):
        Header.parse(Header(64, 48, FINGERPRINT, 10, planes=planes, slices=slices).to_bytes())


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (0, 0), (MAX_SIDE + 1, 1), (1, 1 << 40)])
def test_impossible_dimensions_are_refused(width: int, height: int) -> None:
    with pytest.raises(FormatError, match="impossible dimensions"):
        Header.parse(Header(width, height, FINGERPRINT, 10).to_bytes())


def test_too_many_pixels_are_refused() -> None:
    check_pixels(MAX_SIDE, MAX_SIDE, None)
    check_pixels(20, 30, 600)
    with pytest.raises(LimitError, match="20x30 is more than the limit of 599 pixels"):
        check_pixels(20, 30, 599)


def test_every_changed_byte_is_noticed() -> None:
    for position in range(len(HEAD)):
        for flip in range(1, 256):
            with pytest.raises(FormatError):
                Header.parse(changed(HEAD, position, flip))
        if position > 5:  # behind magic, version and flags, which are named first
            with pytest.raises(DamageError, match="damaged header"):
                Header.parse(changed(HEAD, position, 1))
