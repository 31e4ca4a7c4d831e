"""A range coder in plain Python integers, written from FORMAT.md: the proof of what the stream is.

Slow and simple on purpose; it shares no code with the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_WORD = 32
_STATE = 64
_PRECISION = 24
_MASK = (1 << _STATE) - 1


def scaled(frequencies: Sequence[int]) -> list[int]:
    """16-bit frequencies to widths of 24-bit precision: 256 f each (FORMAT.md, Range coder)."""
    assert sum(frequencies) == 1 << 16
    return [256 * f for f in frequencies]


def encode(symbols: Iterable[int], rows: Iterable[Sequence[int]]) -> bytes:
    """The code word of symbols with their rows of 16-bit frequencies."""
    low, width, emitted = 0, _MASK, 0  # low is one big integer over all words so far: no carries
    for symbol, row in zip(symbols, rows, strict=True):
        widths = scaled(row)
        scale = width >> _PRECISION
        low += scale * sum(widths[:symbol])
        width = scale * widths[symbol]
        while width < 1 << (_STATE - _WORD):
            width <<= _WORD
            low <<= _WORD
            emitted += 1
    if width == _MASK and not emitted:
        return b""
    # One more word names a point in the interval; a zero word follows if other points share that word.
    shift = _STATE - _WORD
    point = (low + (1 << shift) - 1) >> shift
    data = point.to_bytes((emitted + 1) * 4, "big")
    return data + bytes(4) if (low + width) >> shift == point else data


class Decoder:
    """Reads symbols; beyond the end of the data it sees zeros."""

    def __init__(self, data: bytes) -> None:
        self._words = [int.from_bytes(data[i : i + 4].ljust(4, b"\0"), "big") for i in range(0, len(data), 4)]
        self._width = _MASK
        self._offset = self._next() << _WORD | self._next()  # code value minus low

    def _next(self) -> int:
        return self._words.pop(0) if self._words else 0

    def decode(self, row: Sequence[int]) -> int:
        widths = scaled(row)
        scale = self._width >> _PRECISION
        quantile, left = self._offset // scale, 0
        if quantile >= sum(widths):
            raise ValueError("no symbol: not a valid stream")
        symbol = 0
        while quantile >= left + widths[symbol]:
            left += widths[symbol]
            symbol += 1
        self._offset -= scale * left
        self._width = scale * widths[symbol]
        while self._width < 1 << (_STATE - _WORD):
            self._width <<= _WORD
            self._offset = self._offset << _WORD | self._next()
        return symbol
