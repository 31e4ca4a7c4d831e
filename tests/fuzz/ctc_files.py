"""Files of the .ctc format as their parts, taken from any bytes, and put together with right check sums.

So that mutations reach what lies behind the check sums. FORMAT.md is followed without the package's own
reader; only the polynomial is the standard library's.
"""

from __future__ import annotations

import binascii
import lzma
import random
import zlib
from dataclasses import dataclass

from .surface import DATA, Mutate

MAGIC = b"\xc7CTC\x04"
FINGERPRINT = (DATA / "odd.ctc").read_bytes()[10:14]
"""Of the weights that the golden files are made with."""

_BLOCK, _PIECE = 4094, 256
_SIDES = (1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 65, 129)
_SIZES = (0, 1, 3, 4, 5, 255, 256, 257, 512, 513, 4093, 4094, 4095, 8188, 1 << 16, 1 << 32, (1 << 63) - 1)
_LZMA = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20, "lc": 3, "lp": 0, "pb": 0}]


def crc(data: bytes, start: int = 0xFFFF) -> bytes:
    return binascii.crc_hqx(data, start).to_bytes(2, "big")


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def framed(stream: bytes) -> bytes:
    """With check sums."""
    out, check = b"", b"\xff\xff"
    for at in range(0, len(stream), _BLOCK):
        block = stream[at : at + _BLOCK]
        check = crc(block, int.from_bytes(check, "big"))
        out += block + check
    return out


def lzma_raw(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_LZMA)


class _Lenient:
    """Reads what is there; zeros follow."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at].ljust(count, b"\0")

    def varint(self) -> int:
        value = shift = 0
        while shift < 63:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        return value


@dataclass
class Parts:
    """A file. ``stream``: without check sums, as far as it is there; more or less than the header says."""

    flags: int
    width: int
    height: int
    planes: int
    slices: int
    fingerprint: bytes
    code_bytes: int
    extras_bytes: int
    stream: bytes

    @classmethod
    def of(cls, data: bytes) -> Parts:
        """Of any bytes."""
        read = _Lenient(data)
        read.take(len(MAGIC))
        flags = read.take(1)[0]
        width, height = read.varint(), read.varint()
        planes, slices = read.take(1)[0], read.varint()
        fingerprint = read.take(4)
        code_bytes = read.varint()
        extras_bytes = read.varint() if flags & 4 else 0
        body = data[read.at + 2 :]
        stream = b"".join(body[at : at + _BLOCK] for at in range(0, len(body), _BLOCK + 2))
        whole = code_bytes + extras_bytes
        if len(stream) in (whole + 1, whole + 2):
            stream = stream[:whole]  # the last check sum
        return cls(flags, width, height, planes, slices, fingerprint, code_bytes, extras_bytes, stream)

    def to_bytes(self) -> bytes:
        """A file whose check sums are right, and cut if the stream is."""
        head = MAGIC + bytes([self.flags]) + varint(self.width) + varint(self.height)
        head += bytes([self.planes]) + varint(self.slices) + self.fingerprint + varint(self.code_bytes)
        if self.flags & 4:
            head += varint(self.extras_bytes)
        whole = self.code_bytes + self.extras_bytes
        body = framed(self.stream[:whole])
        if len(self.stream) < whole and len(self.stream) % _BLOCK:
            body = body[:-2]  # a cut block has no check sum
        return head + crc(head) + body + self.stream[whole:]

    @property
    def lead(self) -> int:
        return min(self.code_bytes, 256 + self.width * self.height // 256)

    def unmixed(self) -> tuple[bytes, bytes]:
        """Code word and extras."""
        code, extras, rest = self.stream[: self.lead], b"", self.stream[self.lead :]
        while rest and len(code) < self.code_bytes and len(extras) < self.extras_bytes:
            size = min(_PIECE, self.extras_bytes - len(extras))
            extras, rest = extras + rest[:size], rest[size:]
            size = min(_PIECE, self.code_bytes - len(code))
            code, rest = code + rest[:size], rest[size:]
        missing = self.extras_bytes - len(extras)
        return code + rest[missing:], extras + rest[:missing]

    def mix(self, code: bytes, extras: bytes) -> None:
        """Make the whole file of a code word and extras."""
        self.code_bytes, self.extras_bytes = len(code), len(extras)
        self.flags = self.flags & ~4 | 4 * bool(extras)
        self.stream, code = code[: self.lead], code[self.lead :]
        while code and extras:
            self.stream += extras[:_PIECE] + code[:_PIECE]
            extras, code = extras[_PIECE:], code[_PIECE:]
        self.stream += extras + code

    def tame(self) -> None:
        """Only what a reader knows: flags, planes, slices, the right weights, small sides."""
        self.flags &= 7
        self.planes %= 11
        self.slices = max(self.slices % 161, 1) if self.planes else 0
        self.fingerprint = FINGERPRINT
        self.width, self.height = (max(side % 200, 1) if side > 200 else max(side, 1) for side in self.sides)
        if self.flags & 4:
            self.extras_bytes = max(self.extras_bytes, 1)
        else:
            self.extras_bytes = 0

    @property
    def sides(self) -> tuple[int, int]:
        return self.width, self.height


def small_file(rng: random.Random, code_bytes: int, extras: bytes = b"", **changes: int) -> bytes:
    """A whole file with a code word of random bytes."""
    parts = Parts(0, 16, 16, 3, 5, FINGERPRINT, 0, 0, b"")
    for name, value in changes.items():
        setattr(parts, name, value)
    parts.mix(rng.randbytes(code_bytes), extras)
    return parts.to_bytes()


def section(kind: int, data: bytes, length: int | None = None) -> bytes:
    return varint(kind) + varint(len(data) if length is None else length) + data


def random_section(rng: random.Random, width: int, height: int, mutated: Mutate) -> bytes:
    """A section of any kind: right, nearly right, or a bomb."""
    kind = rng.randrange(7)
    if kind == 6:
        data = rng.randbytes(2) + bytes(rng.randrange(256) if rng.random() < 0.7 else 0 for _ in range(12))
    elif kind == 2:
        data = lzma_raw(bytes(rng.randrange(18) for _ in range(-(-width // 8) * -(-height // 8))))
    elif kind == 3:
        samples = (bytes(64) + rng.randbytes(200)) * (width * height // 264 + 1)
        samples = rng.choice((bytes(width * height), samples[: width * height]))
        count = rng.choice((len(samples), rng.randrange(1, 99)))
        data = bytes([rng.randrange(3)]) + lzma_raw(samples[:count])
    elif kind in (4, 5):
        texts = (b"MM\0*\0\0\0\x08\0\0\0\0\0\0", rng.randbytes(40))
        data = zlib.compress(bytes(1 << 17) if rng.random() < 0.05 else rng.choice(texts))
    else:
        data = rng.randbytes(rng.randrange(20))
    if rng.random() < 0.3:
        data = mutated(data)
    return section(kind, data, None if rng.random() < 0.8 else rng.choice(_SIZES))


def mutate_file(data: bytes, rng: random.Random, plain: Mutate) -> bytes:
    """A new file from one: bytes changed blindly, and in most cases the check sums put right; or one of its
    parts changed, the rest fitting."""
    way = rng.random()
    if way < 0.25:
        return plain(data)
    parts = Parts.of(plain(data) if way < 0.5 else data)
    if way < 0.4:
        return parts.to_bytes()
    parts.tame()
    if way > 0.5:
        _change(parts, rng, plain)
    out = parts.to_bytes()
    if rng.random() < 0.15:
        out = out[: rng.randrange(len(out) + 1)]
    return out


def _with_end(code: bytes, rng: random.Random) -> bytes:
    """Another end of a code word: its last words decide what an encoder may have written."""
    way = rng.randrange(4)
    if way == 0:
        return code[: -rng.randrange(1, 9)]
    if way == 1:
        return code + rng.choice((bytes(4), b"\xff" * 4, b"\0", rng.randbytes(rng.randrange(1, 9))))
    size = min(4 * rng.randrange(1, 3), len(code))
    last = int.from_bytes(code[len(code) - size :], "big")
    last = 0 if way == 2 else (last + rng.choice((-1, 1, 256))) % (1 << 8 * size)
    return code[: len(code) - size] + last.to_bytes(size, "big")


def _change(parts: Parts, rng: random.Random, plain: Mutate) -> None:
    code, extras = parts.unmixed()
    what = rng.randrange(11)
    if what == 0:
        parts.width, parts.height = rng.choice(_SIDES), rng.choice(_SIDES)
    elif what == 1:
        parts.planes = rng.randrange(1, 11)
        parts.slices = rng.choice((1, parts.planes, 160, rng.randrange(1, 40)))
        parts.flags = parts.flags & 4 | rng.randrange(4)
    elif what == 2:
        parts.code_bytes = rng.choice(_SIZES)
    elif what == 3 and parts.flags & 4:
        parts.extras_bytes = rng.choice(_SIZES[1:])
    elif what == 4:
        parts.mix(plain(code), extras)
    elif what == 5:
        parts.mix(code, plain(extras) or b"\0")
    elif what == 6:
        count = rng.randrange(1, 4)
        parts.flags |= rng.randrange(4)
        parts.mix(code, b"".join(random_section(rng, *parts.sides, plain) for _ in range(count)))
    elif what == 7:
        parts.mix(code[: 4 * rng.randrange(len(code) // 4 + 1)], extras)
    elif what == 8:
        parts.mix(_with_end(code, rng), extras)
    elif what == 9:  # what is decoded before the change stays as it is
        at = rng.randrange(len(code) + 1)
        parts.mix(code[:at] + plain(code[at:]), extras)
    else:
        parts.stream = plain(parts.stream)
