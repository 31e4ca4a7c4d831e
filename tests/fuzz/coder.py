"""The range decoder: words of chance, cut anywhere, with any frequencies."""

from __future__ import annotations

import functools
import random

import numpy as np

from ctc_codec import DamageError
from ctc_codec.container.coder import (
    Frequencies,
    RangeDecoder,
    RangeEncoder,
    Symbols,
    coder_frequencies,
)
from reference import coder as plain_coder

from .surface import Mutate, Surface, chance_of, require

_ALPHABETS = (2, 3, 3, 4, 64, 128, 256)
"""Of the format: groups, trits, skips, masks, places, thresholds."""
_ROWS = 24
_MOST_SYMBOLS = 63
_PLAIN_ROWS = 40
"""Numbers of frequencies that the coder in plain integers is given at most: it is slow."""


@functools.cache
def _table(kind: int) -> tuple[np.ndarray, Frequencies]:
    """_ROWS rows of frequencies, uint16 and as the coder takes them: equal, uneven, or near certain."""
    rng = np.random.default_rng(kind)
    symbols = _ALPHABETS[kind % len(_ALPHABETS)]
    peak = (0.01, 0.3, 5.0, 1e6)[kind // len(_ALPHABETS)]
    rows = 1 + np.floor(rng.dirichlet(np.full(symbols, peak), _ROWS) * (65536 - symbols)).astype(np.int64)
    rows[np.arange(_ROWS), rows.argmax(axis=1)] += 65536 - rows.sum(axis=1)
    return rows.astype(np.uint16), coder_frequencies(rows.astype(np.uint16))


_KINDS = 4 * len(_ALPHABETS)


def _parts(data: bytes) -> tuple[int, np.ndarray, bytes]:
    """Kind of frequencies, rows int64 [n], and the word."""
    kind, count, first = (*data[:3], 0, 0, 0)[:3]
    return kind % _KINDS, (np.arange(count % (_MOST_SYMBOLS + 1)) * 7 + first) % _ROWS, data[3:]


def _encoded(symbols: Symbols, rows: Frequencies) -> bytes:
    encoder = RangeEncoder()
    encoder.encode(symbols, rows)
    return encoder.finish()


def _seeds() -> list[bytes]:
    rng = random.Random(14)
    out = [b"", bytes(11), b"\1\x20\0" + b"\xff" * 12]
    for kind in range(0, _KINDS, 3):
        count = rng.randrange(1, _MOST_SYMBOLS + 1)
        head = bytes([kind, count, rng.randrange(_ROWS)])
        out.append(head + _valid(head, rng))
    return out


def _valid(head: bytes, rng: random.Random) -> bytes:
    """A word that an encoder writes: of symbols as they come, or of all the rarest."""
    kind, rows, _ = _parts(head)
    frequencies, wanted = _table(kind)
    if rng.random() < 0.3:
        symbols = frequencies[rows].argmin(axis=1)
    else:
        chosen = np.random.default_rng(rng.randrange(1 << 32)).integers(65536, size=len(rows))
        symbols = (frequencies[rows].cumsum(axis=1) <= chosen[:, None]).sum(axis=1)
    return _encoded(symbols.astype(np.int32), wanted[rows])


def _in_plain_integers(word: bytes, rows: list[list[int]]) -> list[int]:
    decoder, out = plain_coder.PrefixDecoder(word), []
    try:
        for row in rows:
            out.append(decoder.decode(row))
    except plain_coder.CodeEnds:
        pass
    return out


def _check_growing(word: bytes, rows: Frequencies, known: Symbols, rng: random.Random) -> None:
    """A cut, and the same decoder with the rest of the word."""
    cut = rng.randrange(len(word) + 1)
    decoder = RangeDecoder(word[:cut])
    first = decoder.decode(rows)
    require(np.array_equal(first, known[: len(first)]), "a cut's symbols are those of the whole")
    decoder.extend(word, complete=False)
    more = decoder.decode(rows[len(first) :])
    require(np.array_equal(more, known[len(first) :]), "a word that grows is read as at once")


def check(data: bytes) -> str:
    rng = chance_of(data)
    kind, chosen, word = _parts(data)
    frequencies, table = _table(kind)
    rows, count = table[chosen], len(chosen)
    decoder = RangeDecoder(word)
    known = decoder.decode(rows)
    symbols = frequencies.shape[1]
    require(len(known) <= count and decoder.exhausted == (len(known) < count), "no more than asked for")
    if len(known):
        require(known.min() >= 0 and known.max() < symbols, "symbols of the alphabet")
        paid = 16 * len(known) - np.log2(frequencies[chosen[: len(known)], known]).sum()
        require(paid <= 8 * len(word) + 0.01, "bytes stand for no more symbols than their bits do")
    way = rng.randrange(3)
    if way == 0:
        _check_growing(word, rows, known, rng)
    elif way == 1 and symbols < _PLAIN_ROWS:
        least = min(count, _PLAIN_ROWS // symbols)
        plain = _in_plain_integers(word, frequencies[chosen[:least]].tolist())
        require(plain == known[:least].tolist(), "the symbols of a coder in plain integers")
    try:
        whole = RangeDecoder(word, complete=True).decode(rows)
    except DamageError:
        require(len(known) < count, "a whole word that gives all symbols is in order")
        return f"open after {'none' if not len(known) else 'some'} of {symbols}"
    require(np.array_equal(whole, known) and len(whole) == count, "whole as cut")
    again = _encoded(known, rows)
    require(np.array_equal(RangeDecoder(again, complete=True).decode(rows), known), "encoded again, the same")
    return f"{'as an encoder writes it' if again == word else 'whole'}, of {symbols}"


def _mutate(data: bytes, rng: random.Random, plain: Mutate) -> bytes:
    """Another word that an encoder writes, its end changed, other frequencies; or bytes changed blindly."""
    head, word, way = data[:3].ljust(3, b"\1"), data[3:], rng.randrange(8)
    if way < 2:
        return plain(data)
    if way == 2:
        return head + plain(word)
    if way == 3:
        return bytes([head[0], rng.randrange(64), head[2]]) + word
    if way == 4:
        return bytes([rng.randrange(_KINDS)]) + head[1:] + word
    if way == 5:
        end = rng.choice((word[:-1], word[:-4], word + bytes(4), word + b"\xff" * 4, word + rng.randbytes(1)))
        return head + end
    if way == 6 and word:
        at = len(word) - 1 - min(int(rng.expovariate(0.5)), len(word) - 1)
        return head + word[:at] + bytes([(word[at] + rng.choice((-1, 1, 128))) % 256]) + word[at + 1 :]
    head = bytes([rng.randrange(_KINDS), rng.randrange(64), rng.randrange(_ROWS)])
    return head + _valid(head, rng)


SURFACE = Surface("coder", _seeds, check, _mutate, executions=1500, max_bytes=256)
