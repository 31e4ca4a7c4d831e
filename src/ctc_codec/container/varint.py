"""Numbers of any size in few bytes: unsigned LEB128, in the shortest form only."""

from __future__ import annotations

from ..errors import FormatError

_MAX_BYTES = 9


def put_varint(value: int) -> bytes:
    """7 bits a byte, least significant first; the top bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def get_varint(data: bytes, at: int) -> tuple[int | None, int]:
    """The number at a position and the position after it; None where the data ends inside it.

    Raises FormatError for a number of more than 9 bytes or not in its shortest form.
    """
    value = 0
    for shift in range(0, 7 * _MAX_BYTES, 7):
        if at >= len(data):
            return None, at
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise FormatError("damaged: a number is not in its shortest form")
            return value, at
    raise FormatError("damaged: a number is too long")
