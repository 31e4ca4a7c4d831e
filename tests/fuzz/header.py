"""The header: what is read is what was written, and sizes fit each other."""

from __future__ import annotations

import math
import random
import struct

from ctc_codec import FormatError, TargetError
from ctc_codec.container.file import budget_bytes
from ctc_codec.container.header import (
    MAX_HEADER_BYTES,
    MAX_PLANES,
    MAX_SIDE,
    MAX_SLICES,
    Header,
    HeaderCutError,
)

from .ctc_files import FINGERPRINT, Parts, mutate_file, small_file
from .surface import DATA, Surface, chance_of, require, word_of

_BLOCK, _PIECE = 4094, 256


def _seeds() -> list[bytes]:
    rng = random.Random(1)
    golden = [path.read_bytes()[:64] for path in sorted(DATA.glob("*.ctc"))]
    huge = [
        Parts(7, MAX_SIDE, MAX_SIDE, MAX_PLANES, MAX_SLICES, FINGERPRINT, (1 << 63) - 1, (1 << 63) - 1, b""),
        Parts(5, 1, 1, 0, 0, FINGERPRINT, 0, 1, b""),
        Parts(0, 4000, 3000, 7, 12, FINGERPRINT, 1_500_000, 0, b"\0"),
    ]
    return golden + [parts.to_bytes() for parts in huge] + [small_file(rng, 0), small_file(rng, 5, b"\0\0")]


def _code_bytes_in(file_bytes: int, header: Header, start: int) -> int:
    """Bytes of the code word in the first bytes of a file, by FORMAT.md's words alone."""
    blocks, rest = divmod(file_bytes - start, _BLOCK + 2)
    stream = min(blocks * _BLOCK + min(rest, _BLOCK), header.code_bytes + header.extras_bytes)
    lead = min(header.code_bytes, 256 + header.width * header.height // 256)
    if stream <= lead:
        return stream
    rounds, rest = divmod(stream - lead, 2 * _PIECE)
    extras = min(header.extras_bytes, rounds * _PIECE + min(rest, _PIECE))
    return min(header.code_bytes, stream - extras)


def _check_positions(header: Header, start: int, rng: random.Random) -> None:
    """Two positions in the code word, often beside each other or at an end of a piece."""
    code, last, whole, lead = header.code_bytes, start, header.file_bytes, header.lead_bytes
    one = rng.choice((1, lead, lead + 1, lead + 257, code // 2, code - 1, rng.randrange(code + 1)))
    for position in sorted({p for p in (one, rng.choice((one + 1, code))) if 0 < p <= code}):
        at = header.file_position(position)
        require(last <= at <= whole, "file positions ascend, up to the size of the file")
        require(_code_bytes_in(at, header, start) >= position, "a file position holds its bytes")
        if at < whole:  # the whole file has a last check sum
            require(_code_bytes_in(at - 3, header, start) < position, "a file position is the first one")
        last = at


def _check_budget(header: Header, start: int, data: bytes, rng: random.Random) -> None:
    pixels = header.width * header.height
    (odd,) = struct.unpack("<d", data[-8:].rjust(8, b"\x40"))
    bpp = rng.choice((odd, 0.0, -1.0, math.nan, math.inf, 1e-300, 1e300, rng.expovariate(1)))
    try:
        count = budget_bytes(header, bpp=bpp)
    except TargetError:
        require(not 8 * start / pixels <= bpp < math.inf, "a header that fits is a target that is met")
    else:
        require(start <= count <= header.file_bytes, "a budget is between the header and the whole file")
        require(8 * count / pixels <= bpp * (1 + 1e-9) + 1e-5 / pixels, "a budget keeps to its rate")
    count = rng.choice((start - 1, start, rng.randrange(1 << 40), -1))
    try:
        require(budget_bytes(header, nbytes=count) == count >= start, "a budget in bytes is that")
    except TargetError:
        require(count < start, "bytes that hold the header are a target that is met")


def check(data: bytes) -> str:
    rng = chance_of(data)
    try:
        header, start = Header.parse(data)
    except HeaderCutError as error:
        require(len(data) < MAX_HEADER_BYTES, "no header is that long")
        return word_of(error)
    except FormatError as error:
        try:
            Header.parse(data + rng.randbytes(8))
        except HeaderCutError:
            raise AssertionError("more bytes make no bad header a cut one") from None
        except FormatError:
            return word_of(error)
        raise AssertionError("more bytes make no header of what is none") from None
    require(header.to_bytes() == data[:start], "a header has one way to be written")
    require(Header.parse(data[:start] + rng.randbytes(3)) == (header, start), "what follows does not matter")
    try:
        Header.parse(data[: rng.choice((0, start - 1, rng.randrange(start)))])
    except HeaderCutError:
        pass
    else:
        require(False, "a header that is cut is told as such")
    require(bool(header.planes) == bool(header.slices), "planes have slices")
    require(header.mode in ("L", "LA", "RGB", "RGBA"), "a mode that Pillow knows")
    whole = header.payload_bytes
    require(header.file_bytes == start + whole + 2 * -(-whole // _BLOCK), "the size of the file")
    _check_positions(header, start, rng)
    _check_budget(header, start, data, rng)
    return "read"


SURFACE = Surface("header", _seeds, check, mutate_file, executions=6000, max_bytes=96)
