"""The file around the stream: header, frames, cuts and damage. Needs no weights."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from fractions import Fraction

import pytest

from ctc_codec import CtcError, DamageError, FormatError, Header, LimitError, TargetError, info, truncate
from ctc_codec.container.blocks import BLOCK_DATA, frame, framed_bytes
from ctc_codec.container.file import unframe
from ctc_codec.container.header import MAX_HEADER_BYTES, MAX_PLANES, MAX_SIDE, MAX_SLICES, check_pixels
from ctc_codec.container.varint import get_varint, put_varint

FINGERPRINT = bytes.fromhex("deadbeef")
FRAME = 4096  # 4094 bytes and their check sum
SIZES = [0, 1, 2, 4092, 4093, 4094, 4095, 4096, 8187, 8188, 8189, 12282, 20000]


def crc16(data: bytes, crc: int = 0xFFFF) -> int:
    """CRC-16/CCITT-FALSE, bit by bit."""
    for byte in data:
        for bit in range(7, -1, -1):
            top = crc >> 15 ^ byte >> bit & 1
            crc = crc << 1 & 0xFFFF ^ (0x1021 if top else 0)
    return crc


def sealed(head: bytes) -> bytes:
    """A header's bytes with their check sum."""
    return head + crc16(head).to_bytes(2, "big")


def noise(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(count)


def make_file(payload: bytes, width: int = 768, height: int = 512) -> bytes:
    return Header(width, height, FINGERPRINT, len(payload)).to_bytes() + frame(payload)


def header_bytes(data: bytes) -> int:
    return Header.parse(data)[1]


PAYLOAD = noise(2 * BLOCK_DATA + 100)
WHOLE = make_file(PAYLOAD)
START = header_bytes(WHOLE)


def payload_bytes_before(cut: int) -> int:
    """How many bytes of PAYLOAD stand in WHOLE[:cut]; each frame is 4094 of them and 2 others."""
    frames, rest = divmod(cut - START, FRAME)
    return min(frames * BLOCK_DATA + min(rest, BLOCK_DATA), len(PAYLOAD))


# --- header -----------------------------------------------------------------------------------------


def test_crc_of_this_test_is_the_catalogued_one() -> None:
    assert crc16(b"123456789") == 0x29B1


@pytest.mark.parametrize(
    ("header", "golden"),
    [
        (
            Header(768, 512, FINGERPRINT, 100_000, planes=7, slices=13),
            "c7435443 04 00 8006 8004 07 0d deadbeef a08d06 5b3b",
        ),
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


def test_header_check_sum_is_the_catalogued_crc() -> None:
    data = Header(33, 44, FINGERPRINT, 5).to_bytes()
    assert data == sealed(data[:-2])


@pytest.mark.parametrize("width", [1, 127, 128, 16383, 16384, MAX_SIDE])
@pytest.mark.parametrize("payload_bytes", [0, 1, 255, 1 << 40, (1 << 63) - 1])
@pytest.mark.parametrize(("planes", "slices"), [(0, 0), (1, 1), (MAX_PLANES, MAX_SLICES)])
@pytest.mark.parametrize("grey", [False, True])
def test_header_round_trip(width: int, payload_bytes: int, planes: int, slices: int, grey: bool) -> None:
    height = MAX_SIDE + 1 - width
    header = Header(
        width, height, FINGERPRINT, payload_bytes, grey, not grey, payload_bytes // 3, planes, slices
    )
    data = header.to_bytes()
    assert len(data) <= MAX_HEADER_BYTES
    assert Header.parse(data) == (header, len(data))
    assert Header.parse(data + b"whatever follows") == (header, len(data))


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


@pytest.mark.parametrize(
    ("width", "message"),
    [("8000", "shortest form"), ("808000", "shortest form"), ("ff" * 10 + "01", "too long")],
)
def test_varint_has_one_spelling_only(width: str, message: str) -> None:
    head = bytes.fromhex("c74354430400" + width + "01 00 00 deadbeef 00")
    with pytest.raises(FormatError, match=message):
        Header.parse(sealed(head))


def test_every_prefix_that_ends_inside_the_header_is_refused() -> None:
    for cut in range(START):
        with pytest.raises(FormatError, match="empty" if cut == 0 else "cut inside the header"):
            Header.parse(WHOLE[:cut])


def test_every_prefix_that_holds_the_header_is_a_file() -> None:
    header = Header(768, 512, FINGERPRINT, len(PAYLOAD))
    for cut in range(START, len(WHOLE) + 1, 7):
        assert Header.parse(WHOLE[:cut]) == (header, START)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"C", b"\xc7CTX\x01\x00", b"ctc", bytes(100)])
def test_other_files_are_named_as_such(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"not a \.ctc file"):
        Header.parse(data)


@pytest.mark.parametrize("version", [0, 5, 255])
def test_unknown_version_is_refused_by_its_number(version: int) -> None:
    head = WHOLE[:4] + bytes([version]) + WHOLE[5 : START - 2]
    with pytest.raises(FormatError, match=rf"version {version}\b"):
        Header.parse(sealed(head))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_versions_that_are_gone_are_refused_whatever_follows(version: int) -> None:
    for rest in (b"", noise(30)):
        with pytest.raises(FormatError, match=f"format {version} is not read any more"):
            Header.parse(WHOLE[:4] + bytes([version]) + rest)


def test_unknown_version_is_refused_whatever_follows_it() -> None:
    with pytest.raises(FormatError, match="version 5"):
        Header.parse(WHOLE[:4] + b"\x05" + noise(30))


@pytest.mark.parametrize("flags", [0x08, 0x09, 0x80, 0xFF])
def test_unknown_flags_are_refused_by_their_value(flags: int) -> None:
    head = WHOLE[:5] + bytes([flags]) + WHOLE[6 : START - 2]
    with pytest.raises(FormatError, match=f"0x{flags:02x}"):
        Header.parse(sealed(head))


@pytest.mark.parametrize(("planes", "slices"), [(0, 1), (1, 0), (MAX_PLANES + 1, 20), (7, MAX_SLICES + 1)])
def test_impossible_planes_and_slices_are_refused(planes: int, slices: int) -> None:
    with pytest.raises(FormatError, match=f"impossible trit planes: {planes} in {slices} slices"):
        Header.parse(Header(64, 48, FINGERPRINT, 10, planes=planes, slices=slices).to_bytes())


def test_extras_of_no_length_are_refused() -> None:
    head = WHOLE[:5] + b"\x04" + WHOLE[6 : START - 2] + b"\x00"
    with pytest.raises(FormatError, match="extras of no length"):
        Header.parse(sealed(head))


def test_too_many_pixels_are_refused() -> None:
    check_pixels(MAX_SIDE, MAX_SIDE, None)
    check_pixels(20, 30, 600)
    with pytest.raises(LimitError, match="20x30 is more than the limit of 599 pixels"):
        check_pixels(20, 30, 599)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (0, 0), (MAX_SIDE + 1, 1), (1, 1 << 40)])
def test_impossible_dimensions_are_refused(width: int, height: int) -> None:
    with pytest.raises(FormatError, match="impossible dimensions"):
        Header.parse(Header(width, height, FINGERPRINT, 10).to_bytes())


def test_every_changed_byte_of_the_header_is_noticed() -> None:
    for position in range(START):
        for change in range(1, 256):
            data = bytearray(WHOLE)
            data[position] ^= change
            with pytest.raises(FormatError):
                Header.parse(bytes(data))


def test_changed_dimensions_and_fingerprint_are_damage() -> None:
    for position in range(6, START):
        data = bytearray(WHOLE)
        data[position] ^= 0x01
        with pytest.raises(DamageError, match="damaged header"):
            Header.parse(bytes(data))


# --- frames -----------------------------------------------------------------------------------------


def test_frames_have_exactly_these_bytes() -> None:
    first, second = noise(BLOCK_DATA), b"end"
    check = crc16(first)
    expected = first + check.to_bytes(2, "big") + second + crc16(second, check).to_bytes(2, "big")
    assert frame(first + second) == expected


def test_empty_payload_has_no_frame() -> None:
    assert frame(b"") == b""


@pytest.mark.parametrize("size", SIZES)
def test_frame_and_unframe_round_trip(size: int) -> None:
    payload = noise(size, seed=size)
    data = make_file(payload)
    header, start = Header.parse(data)
    got = unframe(data, header, start)
    assert (got.data, got.complete, got.damage) == (payload, True, None)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_known_before_framing(size: int) -> None:
    payload = noise(size)
    assert framed_bytes(size) == len(frame(payload)) == size + 2 * -(-size // BLOCK_DATA)
    assert Header(3, 4, FINGERPRINT, size).file_bytes == len(make_file(payload, 3, 4))


def test_every_cut_gives_all_payload_bytes_that_are_there() -> None:
    header = Header.parse(WHOLE)[0]
    for cut in range(START, len(WHOLE)):
        got = unframe(WHOLE[:cut], header, START)
        assert got.data == PAYLOAD[: payload_bytes_before(cut)], cut
        assert not got.complete, cut
        assert got.damage is None, cut


def test_every_changed_byte_is_damage_of_its_block_and_nothing_of_it_is_used() -> None:
    header = Header.parse(WHOLE)[0]
    for position in range(START, len(WHOLE)):
        data = bytearray(WHOLE)
        data[position] ^= 1 << position % 8
        got = unframe(bytes(data), header, START)
        assert not got.complete, position
        assert got.damage is not None, position
        found = re.search(r"between bytes (\d+) and (\d+)", got.damage)
        assert found is not None, got.damage
        assert int(found[1]) <= position < int(found[2]), got.damage
        assert got.data == PAYLOAD[: (position - START) // FRAME * BLOCK_DATA], position


@pytest.mark.parametrize("check_byte", [0, 1])
def test_half_a_check_sum_is_checked_too(check_byte: int) -> None:
    position = START + BLOCK_DATA + check_byte
    data = bytearray(WHOLE[: position + 1])
    data[position] ^= 0x10
    assert info(bytes(data)).damage is not None


def test_damage_behind_a_cut_does_not_matter() -> None:
    data = bytearray(WHOLE)
    data[-1] ^= 0xFF
    assert info(bytes(data[:-2])).damage is None


@pytest.mark.parametrize("tail", [b"\0", b"\n", noise(5000), WHOLE])
def test_trailing_bytes_are_reported_with_their_place(tail: bytes) -> None:
    found = info(WHOLE + tail)
    assert not found.complete
    assert found.damage is not None
    assert str(len(tail)) in found.damage
    assert str(len(WHOLE)) in found.damage


def _swap(blocks: list[bytes]) -> list[bytes]:
    return [blocks[1], blocks[0], *blocks[2:]]


def _swap_later(blocks: list[bytes]) -> list[bytes]:
    return [blocks[0], blocks[2], blocks[1], *blocks[3:]]


def _drop(blocks: list[bytes]) -> list[bytes]:
    return [blocks[0], *blocks[2:]]


def _repeat(blocks: list[bytes]) -> list[bytes]:
    return [blocks[0], blocks[0], *blocks[1:]]


@pytest.mark.parametrize("change", [_swap, _swap_later, _drop, _repeat])
def test_moved_blocks_are_damage(change: Callable[[list[bytes]], list[bytes]]) -> None:
    data = make_file(noise(4 * BLOCK_DATA))
    start = header_bytes(data)
    blocks = [data[at : at + FRAME] for at in range(start, len(data), FRAME)]
    found = info(data[:start] + b"".join(change(blocks)))
    assert not found.complete
    assert found.damage is not None


def test_blocks_of_another_file_are_damage() -> None:
    other = make_file(noise(len(PAYLOAD), seed=2))
    found = info(WHOLE[: START + FRAME] + other[START + FRAME :])
    assert found.damage is not None


# --- truncation -------------------------------------------------------------------------------------


def test_truncation_by_bytes_is_slicing() -> None:
    for count in [*range(START, START + 40), 1000, START + FRAME - 1, START + FRAME, len(WHOLE)]:
        assert truncate(WHOLE, nbytes=count) == WHOLE[:count]


@pytest.mark.parametrize("more", [0, 1, 10**6, 1 << 61])
def test_small_enough_files_come_back_whole(more: int) -> None:
    assert truncate(WHOLE, nbytes=len(WHOLE) + more) == WHOLE


def test_truncation_of_a_truncated_file_is_truncation() -> None:
    assert truncate(truncate(WHOLE, nbytes=5000), nbytes=300) == WHOLE[:300]
    assert truncate(WHOLE[:300], nbytes=5000) == WHOLE[:300]


@pytest.mark.parametrize(("width", "height"), [(768, 512), (120, 88), (97, 31), (1, 1), (4001, 2999)])
def test_truncation_by_bpp_uses_its_budget_and_never_more(width: int, height: int) -> None:
    data = make_file(PAYLOAD, width, height)
    rng = random.Random(3)
    tried = 0
    for bpp in [*(i / 100 for i in range(1, 300)), *(rng.uniform(0, 12) for _ in range(300)), 1e3, 1e300]:
        allowed = Fraction(repr(bpp)) * width * height / 8  # what the user wrote, in decimals
        if allowed < 40:  # the header may not fit
            continue
        small = truncate(data, bpp=bpp)
        assert small == data[: len(small)]
        assert len(small) <= allowed
        assert len(small) == len(data) or len(small) >= allowed - 1
        assert info(small).bpp <= bpp
        tried += 1
    assert tried >= 2


@pytest.mark.parametrize("count", [-1, 0, 1, START - 1])
def test_a_target_below_the_header_is_refused(count: int) -> None:
    with pytest.raises(TargetError, match=f"header alone takes {START}"):
        truncate(WHOLE, nbytes=count)


def test_a_bpp_below_the_header_is_refused() -> None:
    with pytest.raises(TargetError, match="header"):
        truncate(WHOLE, bpp=8 * (START - 1) / (768 * 512))
    assert truncate(WHOLE, bpp=8 * (START + 0.5) / (768 * 512)) == WHOLE[:START]


@pytest.mark.parametrize("bpp", [0.0, -1.0, float("nan"), float("inf"), float("-inf")])
def test_a_bpp_that_is_no_positive_number_is_refused(bpp: float) -> None:
    with pytest.raises(TargetError, match="bpp"):
        truncate(WHOLE, bpp=bpp)


def test_exactly_one_target_is_asked_for() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        truncate(WHOLE)
    with pytest.raises(ValueError, match="exactly one"):
        truncate(WHOLE, bpp=1.0, nbytes=100)


def test_only_ctc_files_are_truncated() -> None:
    with pytest.raises(FormatError, match=r"not a \.ctc file"):
        truncate(b"\x89PNG", nbytes=2)


# --- info -------------------------------------------------------------------------------------------


def test_info_of_a_complete_file() -> None:
    found = info(WHOLE)
    assert found.header == Header(768, 512, FINGERPRINT, len(PAYLOAD))
    assert (found.header_bytes, found.nbytes) == (START, len(WHOLE))
    assert found.bpp == 8 * len(WHOLE) / (768 * 512)
    assert found.complete
    assert found.damage is None


def test_info_of_a_cut_file() -> None:
    found = info(WHOLE[:1000])
    assert found.nbytes == 1000
    assert found.header.file_bytes == len(WHOLE)
    assert found.bpp == 8000 / (768 * 512)
    assert not found.complete
    assert found.damage is None


def test_random_bytes_raise_nothing_but_our_errors() -> None:
    rng = random.Random(7)
    messages = []
    for _ in range(20_000):
        shape = rng.randrange(4)
        data = bytearray(rng.randbytes(rng.randrange(80)))
        if shape == 1:
            data[:0] = WHOLE[: rng.randrange(START)]
        elif shape == 2:
            data[:0] = sealed(WHOLE[:6] + bytes(data[: rng.randrange(1, 30)]))
        elif shape == 3:
            data = bytearray(WHOLE[: rng.randrange(len(WHOLE))])
            for _ in range(rng.randrange(1, 4)):
                if data:
                    data[rng.randrange(len(data))] = rng.randrange(256)
        for read in (info, lambda data: truncate(data, nbytes=50), lambda data: truncate(data, bpp=0.5)):
            try:
                read(bytes(data))
            except CtcError as error:
                messages.append(str(error))
    assert len(messages) > 10_000
    assert all(message and "\n" not in message for message in messages)
