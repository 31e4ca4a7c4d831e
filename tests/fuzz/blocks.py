"""Blocks and their check sums, without a header: a length, and a stream of so many bytes in its frames."""

from __future__ import annotations

import random

from ctc_codec.container.blocks import BLOCK_BYTES, BLOCK_DATA, Unframer, frame, framed_bytes

from .ctc_files import framed
from .surface import Mutate, Surface, chance_of, cut_up, require

_MOST = 3 * BLOCK_DATA
_NEAR_ENDS = tuple(blocks * BLOCK_DATA + more for blocks in (0, 1, 2) for more in (-2, -1, 0, 1, 2, 99))
"""Lengths around the ends of blocks."""


def _input(size: int, body: bytes) -> bytes:
    """The length that is declared, and what comes."""
    return (size % (1 << 16)).to_bytes(2, "big") + body


def _seeds() -> list[bytes]:
    rng = random.Random(11)
    sizes = (0, 1, 2, 300, BLOCK_DATA - 1, BLOCK_DATA, BLOCK_DATA + 1, 2 * BLOCK_DATA, 2 * BLOCK_DATA + 40)
    whole = [_input(size, framed(rng.randbytes(size))) for size in sizes]
    return [*whole, whole[3][:-1], whole[3][:200], whole[6][:-3], whole[3] + b"more", b""]


def _read(pieces: list[bytes], size: int, at: int) -> Unframer:
    reader = Unframer(size, at)
    for piece in pieces:
        reader.feed(piece)
    return reader


def _check_damage(body: bytes, size: int, at: int, rng: random.Random) -> None:
    """One changed byte of what has a check sum is told."""
    # What is checked: whole blocks, and the last one of a whole stream.
    last = len(body) if len(body) == framed_bytes(size) else len(body) // BLOCK_BYTES * BLOCK_BYTES
    if not last:
        return
    place = rng.randrange(last)
    changed = body[:place] + bytes([body[place] ^ rng.randrange(1, 256)]) + body[place + 1 :]
    found = _read([changed], size, at)
    require(found.damage is not None, "a changed byte is told")
    require(found.length == place // BLOCK_BYTES * BLOCK_DATA, "all before the damaged block is used")
    require(
        found.damage.startswith(f"damaged between bytes {at + place // BLOCK_BYTES * BLOCK_BYTES} and "),
        "damage is told with its place",
    )


def check(data: bytes) -> str:
    rng = chance_of(data)
    size, body = int.from_bytes(data[:2], "big"), data[2:]
    at = 7
    whole, pieces = _read([body], size, at), _read(list(cut_up(body, rng)), size, at)
    stream = whole.data
    require(stream == pieces.data and whole.complete == pieces.complete, "in pieces as at once")
    require((whole.damage is None) == (pieces.damage is None), "in pieces as at once: damage")
    require(len(stream) == whole.length <= size, "no more than was declared")
    require(at <= whole.used <= at + len(body), "no more bytes used than there are")
    blocks = -(-len(stream) // BLOCK_DATA)
    if whole.damage is not None:
        require(not whole.complete, "what is damaged is not complete")
        require(framed(stream) == body[: whole.used - at], "what is used was in order")
        return f"damaged after {blocks}" if len(stream) < size else f"too long, {blocks} blocks"
    again = frame(stream)
    require(again == framed(stream), "frames are those of FORMAT.md")
    require(again[: len(body)] == body, "undamaged data are framed as they are")
    require(whole.complete == (len(body) == framed_bytes(size)), "complete is as long as it was declared")
    cut = rng.randrange(len(body) + 1)
    part = _read([body[:cut]], size, at)
    require(part.damage is None and stream.startswith(part.data), "a cut is no damage")
    _check_damage(body, size, at, rng)
    return f"{'complete' if whole.complete else 'cut'}, {blocks} blocks"


def _mutate(data: bytes, rng: random.Random, plain: Mutate) -> bytes:
    """A stream with right check sums, whole or cut, or of another length; or bytes changed blindly."""
    size, body = int.from_bytes(data[:2], "big"), data[2:]
    way = rng.randrange(8)
    if way < 2:
        return plain(data)
    if way == 2:
        return _input(rng.choice((len(body), len(body) - 2, *_NEAR_ENDS)) + rng.randrange(-1, 2), body)
    if way == 3:
        return _input(size, body[: rng.randrange(len(body) + 1)])
    if way == 4:
        return _input(size, body + rng.randbytes(rng.randrange(1, 5)))
    stream = b"".join(body[start : start + BLOCK_DATA] for start in range(0, len(body), BLOCK_BYTES))[:size]
    if way == 5:
        stream = plain(stream)
    elif rng.random() < 0.1:  # long ones take their time
        stream = (stream or b"\1") * (1 + _MOST // max(len(stream), 1))
        stream = stream[: max(rng.choice(_NEAR_ENDS), 0)]
    else:
        stream = rng.randbytes(rng.randrange(99))
    body = framed(stream)
    if rng.random() < 0.3:
        body = body[: rng.randrange(len(body) + 1)]
    return _input(len(stream), body)


SURFACE = Surface("blocks", _seeds, check, _mutate, executions=4000, max_bytes=_MOST)
