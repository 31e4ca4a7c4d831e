"""Header, check sums and extras: FORMAT.md sections 1, 2 and 11."""

from __future__ import annotations

import lzma
from dataclasses import dataclass

_BLOCK = 4094
_PIECE = 256


@dataclass(frozen=True)
class File:
    """A file or a prefix of one.

    flags, planes, slices: as in the header; fingerprint: 4 bytes. code, extras: what is there of the code
    word and of the extras; code_bytes, extras_bytes: their lengths before any truncation. damaged: a check
    sum is wrong, or bytes follow the end; nothing from there on is in ``code`` and ``extras``.
    """

    flags: int
    width: int
    height: int
    planes: int
    slices: int
    fingerprint: bytes
    code_bytes: int
    extras_bytes: int
    code: bytes
    extras: bytes
    damaged: bool


def crc(data: bytes, start: int = 0xFFFF) -> int:
    """CRC-16/CCITT, bit by bit."""
    value = start
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x1021 if value & 0x8000 else value << 1) & 0xFFFF
    return value


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a position, and the position after it. Raises IndexError if the data ends in it."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def read(data: bytes) -> File:
    """A file, whole or cut anywhere after its header. Raises ValueError or IndexError without a header."""
    if data[:5] != b"\xc7CTC\x04":
        raise ValueError("not a .ctc file of version 4")
    flags = data[5]
    if flags >= 8:
        raise ValueError("a feature that is not in FORMAT.md")
    width, at = varint(data, 6)
    height, at = varint(data, at)
    planes, at = data[at], at + 1
    slices, at = varint(data, at)
    fingerprint, at = data[at : at + 4], at + 4
    code_bytes, at = varint(data, at)
    extras_bytes, at = varint(data, at) if flags & 4 else (0, at)
    if data[at : at + 2] != crc(data[:at]).to_bytes(2, "big"):
        raise ValueError("the header's check sum is wrong, or cut")
    if planes > 10 or (planes > 0) != (slices > 0):
        raise ValueError("planes and slices that no encoder writes")
    stream, damaged = unframed(data[at + 2 :], code_bytes + extras_bytes)
    code, extras = unmixed(stream, code_bytes, extras_bytes, width * height)
    return File(
        flags, width, height, planes, slices, fingerprint, code_bytes, extras_bytes, code, extras, damaged
    )


def unframed(framed: bytes, size: int) -> tuple[bytes, bool]:
    """The stream, of ``size`` bytes if it is whole, as far as it is there and good; and whether there is
    damage."""
    stream, check, at = b"", 0xFFFF, 0
    while len(stream) < size:
        block = framed[at : at + min(_BLOCK, size - len(stream))]
        check, at = crc(block, check), at + len(block)
        found = framed[at : at + 2]  # fewer bytes at a cut: as many are compared
        if found != check.to_bytes(2, "big")[: len(found)]:
            return stream, True
        stream, at = stream + block, at + 2
        if len(found) < 2:
            return stream, False
    return stream, at < len(framed)


def unmixed(stream: bytes, code_bytes: int, extras_bytes: int, pixels: int) -> tuple[bytes, bytes]:
    """Code word and extras in a stream, or in the beginning of one: whose is each byte?"""
    if not extras_bytes:
        return stream, b""
    lead = min(code_bytes, 256 + pixels // 256)
    code, extras = bytearray(stream[:lead]), bytearray()
    for i, byte in enumerate(stream[lead:]):
        if len(extras) == extras_bytes:
            code.append(byte)
        elif len(code) == code_bytes or i // _PIECE % 2 == 0:
            extras.append(byte)
        else:
            code.append(byte)
    return bytes(code), bytes(extras)


def sections(extras: bytes) -> dict[int, bytes]:
    """Sections of complete extras by kind; the first of each."""
    at = 0
    out: dict[int, bytes] = {}
    while at < len(extras):
        kind, at = varint(extras, at)
        size, at = varint(extras, at)
        out.setdefault(kind, extras[at : at + size])
        at += size
    assert at == len(extras)
    return out


def alpha(section: bytes, width: int) -> bytes:
    """Alpha of a whole section 3, row by row."""
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20, "lc": 3, "lp": 0, "pb": 0}]
    samples = bytearray(lzma.decompress(section[1:], lzma.FORMAT_RAW, filters=filters))
    for i in range(len(samples)):
        if section[0] == 1 and i % width:
            samples[i] = (samples[i] + samples[i - 1]) % 256
    return bytes(samples)
