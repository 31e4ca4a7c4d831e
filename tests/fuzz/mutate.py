"""Changes to bytes that know nothing of their meaning: the plain half of every mutation."""

from __future__ import annotations

import random
from collections.abc import Sequence

INTERESTING = (
    b"\0",
    b"\1",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\0\0",
    b"\xff\xff",
    b"\x80\0",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\0\0\1\0",
    b"\0\1\0\0",
)
"""Ends of ranges, in the orders of bytes and as varints."""


def _place(data: bytearray, rng: random.Random) -> int:
    """Anywhere; often near the beginning, where formats say what follows."""
    size = len(data)
    return rng.randrange(min(size, 64) if rng.random() < 0.4 else size) if size else 0


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] = rng.randrange(256)


def _add(data: bytearray, rng: random.Random) -> None:
    if data:
        at = _place(data, rng)
        data[at] = (data[at] + rng.choice((-16, -2, -1, 1, 2, 16))) % 256


def _known(data: bytearray, rng: random.Random) -> None:
    at, value = _place(data, rng), rng.choice(INTERESTING)
    data[at : at + (len(value) if rng.random() < 0.8 else 0)] = value


def _remove(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + 1 + int(rng.expovariate(1 / 8))]


def _insert(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    data[at:at] = rng.randbytes(1 + int(rng.expovariate(1 / 8)))


def _repeat(data: bytearray, rng: random.Random) -> None:
    at, to = _place(data, rng), _place(data, rng)
    data[to:to] = data[at : at + 1 + int(rng.expovariate(1 / 16))]


def _copy(data: bytearray, rng: random.Random) -> None:
    at, to = _place(data, rng), _place(data, rng)
    part = data[at : at + 1 + int(rng.expovariate(1 / 16))]
    data[to : to + len(part)] = part


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _grow(data: bytearray, rng: random.Random) -> None:
    data += rng.randbytes(1 + int(rng.expovariate(1 / 32)))


_WAYS = (_flip, _flip, _set, _add, _known, _known, _remove, _insert, _repeat, _copy, _cut, _grow)


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes] = (), max_bytes: int = 1 << 14) -> bytes:
    """One to five changes, or the beginning of an input with the end of another one."""
    out = bytearray(data)
    if others and rng.random() < 0.08:
        end = rng.choice(others)
        out[rng.randrange(len(out) + 1) :] = end[rng.randrange(len(end) + 1) :]
    for _ in range(1 + int(rng.expovariate(0.8))):
        rng.choice(_WAYS)(out, rng)
    return bytes(out[:max_bytes])
