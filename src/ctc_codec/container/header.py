"""The header of a .ctc file. FORMAT.md is its description. Standard library only."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..errors import DamageError, FormatError, LimitError
from . import sections
from .blocks import BLOCK_DATA, CRC_BYTES, crc, framed_bytes
from .varint import get_varint, put_varint

MAGIC = b"\xc7CTC"
VERSION = 4
_RETIRED = (1, 2, 3)
FLAG_GREY = 0x01
FLAG_ALPHA = 0x02
FLAG_EXTRAS = 0x04
_KNOWN_FLAGS = FLAG_GREY | FLAG_ALPHA | FLAG_EXTRAS
FINGERPRINT_BYTES = 4
MAX_SIDE = (1 << 24) - 1
MAX_PLANES = 10
MAX_SLICES_OF_PLANE = 16
MAX_SLICES = MAX_SLICES_OF_PLANE * MAX_PLANES

MAX_PIXELS = 178_956_970
"""Default limit of width times height, the same as Pillow's."""

MAX_HEADER_BYTES = 64
"""No header of this version is longer."""


def check_pixels(width: int, height: int, max_pixels: int | None) -> None:
    """Raise LimitError for more than ``max_pixels`` pixels (None: no limit)."""
    if max_pixels is not None and width * height > max_pixels:
        raise LimitError(f"{width}x{height} is more than the limit of {max_pixels} pixels")


def as_bytes(data: bytes | bytearray | memoryview) -> bytes:
    """The bytes of any bytes-like object. Raises TypeError for what is none."""
    if isinstance(data, bytes):
        return data
    try:
        return memoryview(data).tobytes()
    except TypeError:
        hint = (
            ": read the file first" if isinstance(data, (str, os.PathLike)) or hasattr(data, "read") else ""
        )
        raise TypeError(f"data must be the bytes of a .ctc file, not {type(data).__name__}{hint}") from None


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


@dataclass(frozen=True)
class Header:
    """Header of a file: all that is told before its stream.

    width, height: pixels, 1 to 2^24 - 1.
    fingerprint: 4 bytes naming the entropy model that the stream was made with.
    code_bytes: length of the whole code word as encoded.
    grey: the image has one channel of colour.
    alpha: the image has transparency.
    planes: of trits, 0 to 10: at the plane above the first all details are zero.
    slices: of all planes together, after which the file ends.
    extras_bytes: length of what is mixed into the code word, see :mod:`ctc_codec.container.sections`.
    """

    width: int
    height: int
    fingerprint: bytes
    code_bytes: int = 0
    grey: bool = False
    alpha: bool = False
    extras_bytes: int = 0
    planes: int = 0
    slices: int = 0

    def to_bytes(self) -> bytes:
        """The header as it is written, with its check sum."""
        flags = FLAG_GREY * self.grey | FLAG_ALPHA * self.alpha | FLAG_EXTRAS * (self.extras_bytes > 0)
        head = MAGIC + bytes([VERSION, flags])
        head += put_varint(self.width) + put_varint(self.height)
        head += bytes([self.planes]) + put_varint(self.slices)
        head += self.fingerprint + put_varint(self.code_bytes)
        if self.extras_bytes:
            head += put_varint(self.extras_bytes)
        return head + crc(head).to_bytes(CRC_BYTES, "big")

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
        return sections.lead_bytes(self.code_bytes, self.width, self.height)

    @property
    def first_bytes(self) -> int:
        """Size of the beginning of the file before its extras, which is longer than the smallest picture."""
        return len(self.to_bytes()) + self.lead_bytes

    @property
    def file_bytes(self) -> int:
        """Size of the complete file."""
        return len(self.to_bytes()) + framed_bytes(self.payload_bytes)

    def file_position(self, code_position: int) -> int:
        """Bytes of the file up to and with the first ``code_position`` bytes of the code word."""
        at = sections.stream_position(code_position, self.extras_bytes, self.lead_bytes)
        if at == self.payload_bytes:
            return self.file_bytes  # with the last check sum
        return len(self.to_bytes()) + at + CRC_BYTES * (at // BLOCK_DATA)

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
            if version in _RETIRED:
                raise FormatError(f"format {version} is not read any more: encode the original again")
            if version != VERSION:
                raise FormatError(f"format version {version} is not known here (this reads {VERSION})")
            flags = reader.take(1)[0]
            if flags & ~_KNOWN_FLAGS:
                raise FormatError(f"uses features not known here (flags 0x{flags:02x})")
            width, height = reader.varint(), reader.varint()
            planes, slices = reader.take(1)[0], reader.varint()
            fingerprint = reader.take(FINGERPRINT_BYTES)
            code_bytes = reader.varint()
            extras_bytes = reader.varint() if flags & FLAG_EXTRAS else 0
            end = reader.position
            check = int.from_bytes(reader.take(CRC_BYTES), "big")
        except _Cut:
            raise HeaderCutError(f"cut inside the header ({len(data)} bytes are left)") from None
        if check != crc(head[:end]):
            raise DamageError("damaged header: wrong check sum")
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise FormatError(f"impossible dimensions {width}x{height}")
        if flags & FLAG_EXTRAS and not extras_bytes:
            raise FormatError("extras of no length")
        if planes > MAX_PLANES or slices > MAX_SLICES or bool(planes) != bool(slices):
            raise FormatError(f"impossible trit planes: {planes} in {slices} slices")
        grey, alpha = bool(flags & FLAG_GREY), bool(flags & FLAG_ALPHA)
        header = cls(width, height, fingerprint, code_bytes, grey, alpha, extras_bytes, planes, slices)
        return header, reader.position
