"""The .ctc file: a small header, then one stream framed with check sums. FORMAT.md is its description.

Every prefix that holds the header is a valid file, so truncation is plain slicing. This module needs
the standard library only: `ctc truncate` never loads torch, numpy or the entropy coder.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from ._errors import DamageError, FormatError, TargetError

MAGIC = b"\xc7CTC"
VERSION = 3
FLAG_GREY = 0x01
_KNOWN_FLAGS = FLAG_GREY
FINGERPRINT_BYTES = 4
MAX_SIDE = (1 << 24) - 1

MAX_PIXELS = 178_956_970
"""Default limit of width times height, the same as Pillow's."""

BLOCK_DATA = 4094
"""Payload bytes per check sum."""
_CRC_BYTES = 2
_CRC_START = 0xFFFF

MAX_HEADER_BYTES = 64
"""No header of this version is longer."""


def _crc(data: bytes, start: int = _CRC_START) -> int:
    """CRC-16/CCITT (polynomial 0x1021, most significant bit first, no final xor)."""
    return binascii.crc_hqx(data, start)


def _put_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Cut(Exception):
    """The data ends inside the header."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        if self.position + count > len(self._data):
            raise _Cut
        self.position += count
        return self._data[self.position - count : self.position]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 63, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise FormatError("damaged header: a number is not in its shortest form")
                return value
        raise FormatError("damaged header: a number is too long")


ORDERS = ("priority", "sigma", "raster")
MAX_SLICES = 15


@dataclass(frozen=True)
class Coding:
    """How trits were coded: one byte of the header.

    slices: parts of every plane before each of which context is refreshed, 1 to 15; 0: no context model, the
        tables' probabilities alone. order: of the trits in a plane, one of ORDERS.
    """

    slices: int = 0
    order: str = ORDERS[0]

    def __post_init__(self) -> None:
        if not 0 <= self.slices <= MAX_SLICES or self.order not in ORDERS:
            raise ValueError(f"no such way of coding: {self}")

    def to_byte(self) -> int:
        return self.slices | ORDERS.index(self.order) << 4

    @classmethod
    def from_byte(cls, byte: int) -> Coding:
        """Raises FormatError for what is not known here."""
        if byte >> 4 >= len(ORDERS):
            raise FormatError(f"uses a coding order not known here (0x{byte:02x})")
        return cls(byte & 0x0F, ORDERS[byte >> 4])


@dataclass(frozen=True)
class Header:
    """What a file says before its stream.

    width, height: pixels, 1 to 2^24 - 1.
    fingerprint: 4 bytes naming the entropy model that the stream was made with.
    payload_bytes: length of the whole stream as encoded, without check sums.
    grey: the image has one channel.
    coding: of the trits.
    """

    width: int
    height: int
    fingerprint: bytes
    payload_bytes: int
    grey: bool = False
    coding: Coding = Coding()

    def to_bytes(self) -> bytes:
        head = MAGIC + bytes([VERSION, FLAG_GREY if self.grey else 0, self.coding.to_byte()])
        head += _put_varint(self.width) + _put_varint(self.height)
        head += self.fingerprint + _put_varint(self.payload_bytes)
        return head + _crc(head).to_bytes(_CRC_BYTES, "big")

    @property
    def file_bytes(self) -> int:
        """Size of the complete file."""
        return len(self.to_bytes()) + framed_bytes(self.payload_bytes)

    @classmethod
    def parse(cls, data: bytes) -> tuple[Header, int]:
        """Read a header; return it and its length in bytes.

        Raises FormatError if the data is no .ctc, ends inside the header, is of an unknown version or
        uses unknown features; DamageError if the header's check sum is wrong.
        """
        head = data[:MAX_HEADER_BYTES]
        if not head:
            raise FormatError("empty, not a .ctc file")
        if not MAGIC.startswith(head[: len(MAGIC)]):
            raise FormatError("not a .ctc file")
        reader = _Reader(head)
        try:
            reader.take(len(MAGIC))
            version = reader.take(1)[0]
            if version != VERSION:
                raise FormatError(f"format version {version} is not known here (this reads {VERSION})")
            flags = reader.take(1)[0]
            if flags & ~_KNOWN_FLAGS:
                raise FormatError(f"uses features not known here (flags 0x{flags:02x})")
            coding = reader.take(1)[0]
            width, height = reader.varint(), reader.varint()
            fingerprint = reader.take(FINGERPRINT_BYTES)
            payload_bytes = reader.varint()
            end = reader.position
            check = int.from_bytes(reader.take(_CRC_BYTES), "big")
        except _Cut:
            raise FormatError(f"cut inside the header ({len(data)} bytes are left)") from None
        if check != _crc(head[:end]):
            raise DamageError("damaged header: wrong check sum")
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise FormatError(f"impossible dimensions {width}x{height}")
        grey, way = bool(flags & FLAG_GREY), Coding.from_byte(coding)
        return cls(width, height, fingerprint, payload_bytes, grey, way), reader.position


def framed_bytes(payload_bytes: int) -> int:
    """Size of a whole payload with its check sums."""
    return payload_bytes + _CRC_BYTES * -(-payload_bytes // BLOCK_DATA)


def frame(payload: bytes) -> bytes:
    """Payload with a running CRC after every ``BLOCK_DATA`` bytes and after the last one."""
    out, crc = bytearray(), _CRC_START
    for start in range(0, len(payload), BLOCK_DATA):
        block = payload[start : start + BLOCK_DATA]
        crc = _crc(block, crc)
        out += block + crc.to_bytes(_CRC_BYTES, "big")
    return bytes(out)


@dataclass(frozen=True)
class Payload:
    """What is left of a stream.

    data: its bytes up to the cut, or up to the first damaged block.
    complete: nothing is missing and every check sum fits.
    damage: what is wrong and at which byte of the file, or None.
    """

    data: bytes
    complete: bool
    damage: str | None = None


def unframe(data: bytes, header: Header, header_bytes: int) -> Payload:
    """Check and strip the frames of a file that may be cut anywhere after its header."""
    out, crc, at = bytearray(), _CRC_START, header_bytes
    left = header.payload_bytes
    while left and at < len(data):
        size = min(BLOCK_DATA, left)
        block = data[at : at + size]
        crc = _crc(block, crc)
        check = data[at + size : at + size + _CRC_BYTES]
        if check and check != crc.to_bytes(_CRC_BYTES, "big")[: len(check)]:
            message = f"damaged between bytes {at} and {at + size + len(check)} (wrong check sum)"
            return Payload(bytes(out), False, message)
        out += block
        left -= len(block)
        at += size + _CRC_BYTES
        if len(check) < _CRC_BYTES:
            return Payload(bytes(out), False)
    if left:
        return Payload(bytes(out), False)
    if at < len(data):
        return Payload(bytes(out), False, f"{len(data) - at} bytes follow the end of the stream at byte {at}")
    return Payload(bytes(out), True)


def budget_bytes(header: Header, *, bpp: float | None = None, nbytes: int | None = None) -> int:
    """File size that a target allows: ``bpp`` bits per pixel, or ``nbytes``, whichever is given.

    Raises TargetError when not even the header fits, ValueError unless exactly one target is given.
    """
    if (bpp is None) == (nbytes is None):
        raise ValueError("give exactly one of bpp and nbytes")
    if bpp is not None:
        if not 0 < bpp < float("inf"):
            raise TargetError(f"bpp must be positive, not {bpp}")
        # The tiny addend keeps 2.05 bpp of 10560 pixels, 2706 bytes, from becoming 2705.
        nbytes = int(min(bpp * header.width * header.height / 8 + 1e-6, header.file_bytes))
    assert nbytes is not None
    least = len(header.to_bytes())
    if nbytes < least:
        raise TargetError(f"{nbytes} bytes are too few: the header alone takes {least}")
    return nbytes


def truncate(data: bytes, *, bpp: float | None = None, nbytes: int | None = None) -> bytes:
    """The first bytes of a .ctc file, as many as ``bpp`` (bits per pixel) or ``nbytes`` allow.

    A file that is small enough already comes back whole. The result equals ``head -c``: any prefix
    is a file. Raises FormatError if ``data`` is no .ctc file, TargetError if the header does not fit.
    """
    header, _ = Header.parse(data)
    return data[: budget_bytes(header, bpp=bpp, nbytes=nbytes)]


@dataclass(frozen=True)
class Info:
    """What a file tells without its weights.

    header: see :class:`Header`; header_bytes: its length; nbytes: bytes present; bpp: bits per pixel
    present; complete: nothing is missing; damage: what is wrong and where, or None.
    """

    header: Header
    header_bytes: int
    nbytes: int
    bpp: float
    complete: bool
    damage: str | None


def info(data: bytes) -> Info:
    """Describe a .ctc file or a prefix of one, check sums verified. Raises FormatError."""
    header, start = Header.parse(data)
    payload = unframe(data, header, start)
    bpp = 8 * len(data) / (header.width * header.height)
    return Info(header, start, len(data), bpp, payload.complete, payload.damage)
