"""Blocks and their check sums: what a cut leaves, and which damage is found."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ctc_codec import info
from ctc_codec.container.blocks import BLOCK_BYTES, BLOCK_DATA, crc, frame, framed_bytes
from ctc_codec.container.file import parse
from support.streams import changed, noise, plain

PAYLOAD = noise(2 * BLOCK_DATA + 100)
WHOLE = plain(len(PAYLOAD))
START = info(WHOLE).header_bytes


# --- check sums -------------------------------------------------------------------------------------


def test_check_sum_is_the_catalogued_one() -> None:
    """CRC-16/CCITT-FALSE; it runs on."""
    assert crc(b"123456789") == crc(b"6789", crc(b"12345")) == 0x29B1


def test_polynomial_is_long_enough_for_a_block() -> None:
    """All errors of one bit, of an odd number of bits, of two bits but for one pair (the order is
    32767, and a block has 32768 bits), and all bursts of 16 bits are found."""
    remainders = [1]  # of an error of one bit, last bit first; of two errors it is the exclusive or
    for _ in range(8 * BLOCK_BYTES - 1):
        remainders.append((remainders[-1] << 1) ^ (0x11021 if remainders[-1] & 0x8000 else 0))
    for bit in (0, 7, 100, 319):
        error = (1 << bit).to_bytes(40, "big")
        assert crc(error) ^ crc(bytes(40)) == remainders[16 + bit]
    values, counts = np.unique(remainders, return_counts=True)
    assert values[0] > 0
    assert counts.max() == 2
    (twice,) = np.flatnonzero(counts == 2)
    assert np.flatnonzero(np.array(remainders) == values[twice]).tolist() == [0, len(remainders) - 1]
    assert 0x11021.bit_count() % 2 == 0  # divisible by x + 1
    for at in range(0, len(remainders) - 16, 151):
        basis: dict[int, int] = {}  # 16 in a row are linearly independent
        for value in remainders[at : at + 16]:
            while value and (top := value.bit_length()) in basis:
                value ^= basis[top]
            assert value
            basis[value.bit_length()] = value


# --- blocks -----------------------------------------------------------------------------------------


def test_blocks_have_exactly_these_bytes() -> None:
    first, second = noise(BLOCK_DATA), b"end"
    check = crc(first)
    expected = first + check.to_bytes(2, "big") + second + crc(second, check).to_bytes(2, "big")
    assert frame(first + second) == expected
    assert frame(b"") == b""


@pytest.mark.parametrize("size", [0, 1, 2, 4092, 4093, 4094, 4095, 4096, 8187, 8188, 8189, 12282, 20000])
def test_payloads_of_any_size_come_back(size: int) -> None:
    assert framed_bytes(size) == len(frame(noise(size))) == size + 2 * -(-size // BLOCK_DATA)
    found = parse(plain(size))
    assert (found.code, found.complete, found.damage) == (noise(size), True, None)


def test_every_cut_gives_all_payload_bytes_that_are_there() -> None:
    for cut in range(START, len(WHOLE)):
        blocks, rest = divmod(cut - START, BLOCK_BYTES)
        found = parse(WHOLE[:cut])
        assert found.code == PAYLOAD[: blocks * BLOCK_DATA + min(rest, BLOCK_DATA)], cut
        assert (found.complete, found.damage) == (False, None), cut


# --- damage -----------------------------------------------------------------------------------------


def test_every_changed_byte_is_damage_of_its_block_and_nothing_of_it_is_used() -> None:
    for position in range(START, len(WHOLE)):
        found = parse(changed(WHOLE, position, 1 << position % 8))
        assert not found.complete, position
        assert found.damage is not None, position
        between = re.search(r"between bytes (\d+) and (\d+)", found.damage)
        assert between is not None, found.damage
        assert int(between[1]) <= position < int(between[2]), found.damage
        assert found.code == PAYLOAD[: (position - START) // BLOCK_BYTES * BLOCK_DATA], position


@pytest.mark.parametrize("check_byte", [0, 1])
def test_half_a_check_sum_is_checked_too(check_byte: int) -> None:
    cut = WHOLE[: START + BLOCK_DATA + check_byte + 1]
    assert info(cut).damage is None
    assert info(changed(cut, -1, 0x10)).damage is not None


def test_damage_behind_a_cut_does_not_matter() -> None:
    assert info(changed(WHOLE, -1, 0xFF)[:-2]).damage is None


@pytest.mark.parametrize("tail", [b"\0", b"\n", noise(5000), WHOLE])
def test_trailing_bytes_are_reported_with_their_place(tail: bytes) -> None:
    found = info(WHOLE + tail)
    assert not found.complete
    assert found.damage == f"{len(tail)} bytes follow the end of the stream at byte {len(WHOLE)}"


@pytest.mark.parametrize(
    "order", [(1, 0, 2, 3), (0, 2, 1, 3), (0, 2, 3), (0, 0, 1, 2, 3), (0, 0, 2, 3), (1, 1, 2, 3)]
)
def test_moved_blocks_are_damage(order: tuple[int, ...]) -> None:
    """The check sum runs on from block to block."""
    data = plain(4 * BLOCK_DATA)
    start = info(data).header_bytes
    blocks = [data[at : at + BLOCK_BYTES] for at in range(start, len(data), BLOCK_BYTES)]
    assert info(data[:start] + b"".join(blocks[at] for at in order)).damage is not None
    other = plain(4 * BLOCK_DATA, seed=2)[start + BLOCK_BYTES :]
    assert info(data[: start + BLOCK_BYTES] + other).damage is not None


def test_zeros_in_place_of_the_end_are_damage() -> None:
    """File systems leave such files after a crash."""
    for kept in (START, START + 10, 5000, len(WHOLE) - 3):
        found = parse(WHOLE[:kept] + bytes(len(WHOLE) - kept))
        assert found.damage is not None
        assert found.used_bytes <= kept
