"""The .ctc file: a small header, then one stream framed with check sums. FORMAT.md is its description.

Every prefix that holds the header is a valid file, so truncation is plain slicing. This module needs
the standard library only: `ctc truncate` never loads torch, numpy or the entropy coder.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from . import _extras
from ._errors import DamageError, FormatError, TargetError
from ._quality import QualityTable, lengths
from ._varint import get_varint, put_varint

MAGIC = b"\xc7CTC"
VERSION = 3
FLAG_GREY = 0x01
FLAG_ALPHA = 0x02
FLAG_EXTRAS = 0x04
_KNOWN_FLAGS = FLAG_GREY | FLAG_ALPHA | FLAG_EXTRAS
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


class HeaderCutError(FormatError):
    """The data ends inside the header."""


class _Cut(Exception):
    pass


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
        value, self.position = get_varint(self._data, self.position)
        if value is None:
            raise _Cut
        return value


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
    code_bytes: length of the whole code word as encoded.
    grey: the image has one channel of colour.
    coding: of the trits.
    alpha: the image has transparency.
    extras_bytes: length of what is mixed into the code word, see :mod:`ctc_codec._extras`.
    """

    width: int
    height: int
    fingerprint: bytes
    code_bytes: int
    grey: bool = False
    coding: Coding = Coding()
    alpha: bool = False
    extras_bytes: int = 0

    def to_bytes(self) -> bytes:
        flags = FLAG_GREY * self.grey | FLAG_ALPHA * self.alpha | FLAG_EXTRAS * (self.extras_bytes > 0)
        head = MAGIC + bytes([VERSION, flags, self.coding.to_byte()])
        head += put_varint(self.width) + put_varint(self.height)
        head += self.fingerprint + put_varint(self.code_bytes)
        if self.extras_bytes:
            head += put_varint(self.extras_bytes)
        return head + _crc(head).to_bytes(_CRC_BYTES, "big")

    @property
    def mode(self) -> str:
        """Pillow's name of the decoded image's mode: L, LA, RGB or RGBA."""
        return ("L" if self.grey else "RGB") + ("A" if self.alpha else "")

    @property
    def payload_bytes(self) -> int:
        """Length of the whole stream, without check sums."""
        return self.code_bytes + self.extras_bytes

    @property
    def lead_bytes(self) -> int:
        """Bytes of the code word before the first extras."""
        return _extras.lead_bytes(self.code_bytes, self.width, self.height)

    @property
    def file_bytes(self) -> int:
        """Size of the complete file."""
        return len(self.to_bytes()) + framed_bytes(self.payload_bytes)

    def file_position(self, code_position: int) -> int:
        """Bytes of the file up to and with the first ``code_position`` bytes of the code word."""
        at = _extras.stream_position(code_position, self.extras_bytes, self.lead_bytes)
        return len(self.to_bytes()) + at + _CRC_BYTES * (at // BLOCK_DATA)

    @classmethod
    def parse(cls, data: bytes) -> tuple[Header, int]:
        """Read a header; return it and its length in bytes.

        Raises FormatError if the data is no .ctc, ends inside the header, is of an unknown version or
        uses unknown features; DamageError if the header's check sum is wrong.
        """
        head = data[:MAX_HEADER_BYTES]
        if not head:
            raise HeaderCutError("empty, not a .ctc file")
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
            code_bytes = reader.varint()
            extras_bytes = reader.varint() if flags & FLAG_EXTRAS else 0
            end = reader.position
            check = int.from_bytes(reader.take(_CRC_BYTES), "big")
        except _Cut:
            raise HeaderCutError(f"cut inside the header ({len(data)} bytes are left)") from None
        if check != _crc(head[:end]):
            raise DamageError("damaged header: wrong check sum")
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise FormatError(f"impossible dimensions {width}x{height}")
        if flags & FLAG_EXTRAS and not extras_bytes:
            raise FormatError("extras of no length")
        grey, alpha = bool(flags & FLAG_GREY), bool(flags & FLAG_ALPHA)
        header = cls(
            width, height, fingerprint, code_bytes, grey, Coding.from_byte(coding), alpha, extras_bytes
        )
        return header, reader.position


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


class Unframer:
    """Checks and strips the frames of a stream that arrives in pieces and may end anywhere.

    data: bytes of the stream up to the end of the pieces, or up to the first damaged block; complete: nothing
    is missing and every check sum fits; damage: what is wrong and at which byte of the file, or None.
    """

    def __init__(self, header: Header) -> None:
        self._left = header.payload_bytes
        self._at = len(header.to_bytes())
        self._crc = _CRC_START
        self._checked = bytearray()
        self._block = bytearray()
        self.complete = self._left == 0
        self.damage: str | None = None

    @property
    def data(self) -> bytes:
        return bytes(self._checked + self._block[: min(BLOCK_DATA, self._left)])

    @property
    def length(self) -> int:
        """Of ``data``."""
        return len(self._checked) + min(len(self._block), BLOCK_DATA, self._left)

    @property
    def used(self) -> int:
        """Bytes of the file that ``data`` and the check sums around it take."""
        return self._at + len(self._block)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes after the header. What follows damage is not looked at."""
        if self.damage is not None:
            return
        self._block += piece
        while self._left:
            size = min(BLOCK_DATA, self._left)
            check = self._block[size : size + _CRC_BYTES]
            if not check:
                return
            crc = _crc(bytes(self._block[:size]), self._crc)
            if check != crc.to_bytes(_CRC_BYTES, "big")[: len(check)]:
                end = self._at + size + len(check)
                self.damage = f"damaged between bytes {self._at} and {end} (wrong check sum)"
                self._block.clear()
                return
            if len(check) < _CRC_BYTES:
                return
            self._checked += self._block[:size]
            del self._block[: size + _CRC_BYTES]
            self._crc, self._left, self._at = crc, self._left - size, self._at + size + _CRC_BYTES
        self.complete = not self._block
        if self._block:
            self.damage = f"{len(self._block)} bytes follow the end of the stream at byte {self._at}"
            self._block.clear()


def unframe(data: bytes, header: Header, header_bytes: int) -> Unframer:
    """Check and strip the frames of a file that may be cut anywhere after its header."""
    unframer = Unframer(header)
    unframer.feed(data[header_bytes:])
    return unframer


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


def truncate(
    data: bytes, *, bpp: float | None = None, nbytes: int | None = None, psnr: float | None = None
) -> bytes:
    """The first bytes of a .ctc file, as many as ``bpp`` (bits per pixel) or ``nbytes`` allow, or as few as
    have a PSNR of ``psnr`` dB by the file's quality table.

    A file that is small enough already comes back whole. The result equals ``head -c``: any prefix
    is a file. Raises FormatError if ``data`` is no .ctc file, TargetError if the header does not fit, if the
    PSNR is out of reach or the file has no quality table; ValueError unless exactly one target is given.
    """
    if sum(target is not None for target in (bpp, nbytes, psnr)) != 1:
        raise ValueError("give exactly one of bpp, nbytes and psnr")
    header, start = Header.parse(data)
    if psnr is None:
        return data[: budget_bytes(header, bpp=bpp, nbytes=nbytes)]
    table = _quality_table(unframe(data, header, start).data, header)
    if table is None:
        raise TargetError("no quality table in the file, or in what is left of it: give bpp or bytes")
    code_bytes = table.code_bytes_for(psnr, header.code_bytes)
    if code_bytes is None:
        raise TargetError(f"{psnr:g} dB is out of reach: the whole stream gives {table.psnr[0]:.2f} dB")
    count = header.file_position(code_bytes)
    if count > len(data):
        raise TargetError(f"{psnr:g} dB would take {count} bytes, and {len(data)} are left")
    return data[:count]


def split_stream(stream: bytes, header: Header) -> tuple[bytes, bytes]:
    """Code word and extras, as far as a prefix of the stream holds them."""
    if not header.extras_bytes:
        return stream, b""
    return _extras.unmix(stream, header.code_bytes, header.extras_bytes, header.lead_bytes)


def _quality_table(stream: bytes, header: Header) -> QualityTable | None:
    for section in _extras.split_sections(split_stream(stream, header)[1]):
        if section.kind == _extras.QUALITY and section.complete:
            return QualityTable.parse(section.data)
    return None


@dataclass(frozen=True)
class Info:
    """What a file tells without its weights.

    header: see :class:`Header`; header_bytes: its length; nbytes: bytes present; bpp: bits per pixel
    present; complete: nothing is missing; damage: what is wrong and where, or None.
    quality: the quality table as (bytes of the file, PSNR in dB), ascending, for the bytes present; empty
    without one. psnr: by it, of what is present. sections: names of the extras that are complete.
    """

    header: Header
    header_bytes: int
    nbytes: int
    bpp: float
    complete: bool
    damage: str | None
    quality: tuple[tuple[int, float], ...] = ()
    psnr: float | None = None
    sections: tuple[str, ...] = ()


def info(data: bytes) -> Info:
    """Describe a .ctc file or a prefix of one, check sums verified. Raises FormatError."""
    header, start = Header.parse(data)
    stream = unframe(data, header, start)
    bpp = 8 * len(data) / (header.width * header.height)
    code, extras = split_stream(stream.data, header)
    held = tuple(
        _extras.NAMES[section.kind]
        for section in _extras.split_sections(extras)
        if section.complete and section.kind in _extras.NAMES
    )
    table = _quality_table(stream.data, header)
    quality: tuple[tuple[int, float], ...] = ()
    psnr = None
    if table is not None:
        points = zip(lengths(header.code_bytes), table.psnr, strict=True)
        steps = {header.file_position(length): round(db, 2) for length, db in points if length}
        quality = tuple((count, db) for count, db in sorted(steps.items()) if count <= len(data))
        psnr = table.at(len(code), header.code_bytes)
    return Info(header, start, len(data), bpp, stream.complete, stream.damage, quality, psnr, held)
