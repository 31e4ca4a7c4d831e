"""The range coder of constriction, as far as ``container/coder.py`` uses it, in plain Python integers.

For processors that constriction has no wheels for. The words are the same: ``self_check`` of the package
compares some, and every golden file many. See FORMAT.md, section 3.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

_WORD, _STATE, _PRECISION = 32, 64, 24
_MASK = (1 << _STATE) - 1

State = tuple[int, tuple[int, int]]


def _widths(frequencies: npt.NDArray[np.float32]) -> list[list[int]]:
    return [[int(each) + 1 for each in row] for row in frequencies]


class RangeEncoder:
    """Appends symbols to one code word."""

    def __init__(self) -> None:
        # The lower end of the interval is one integer over all words: so there are no carries.
        self._low, self._width, self._emitted = 0, _MASK, 0

    def clone(self) -> RangeEncoder:
        """A copy that goes on by itself."""
        copy = RangeEncoder()
        copy._low, copy._width, copy._emitted = self._low, self._width, self._emitted
        return copy

    def encode(self, symbols: npt.NDArray[np.int32], _: Any, frequencies: npt.NDArray[np.float32]) -> None:
        """Append symbols [n] with frequencies [n, K], each less 1."""
        for symbol, widths in zip(symbols.tolist(), _widths(frequencies), strict=True):
            scale = self._width >> _PRECISION
            self._low += scale * sum(widths[:symbol])
            self._width = scale * widths[symbol]
            while self._width < 1 << (_STATE - _WORD):
                self._width <<= _WORD
                self._low <<= _WORD
                self._emitted += 1

    def pos(self) -> State:
        """Words that are behind, and the interval in the next two."""
        return self._emitted, (self._low & _MASK, self._width)

    def num_words(self) -> int:
        """Words of the code word if it ended here."""
        return len(self.get_compressed())

    def get_compressed(self) -> npt.NDArray[np.uint32]:
        """The code word, uint32."""
        if self._width == _MASK and not self._emitted:
            return np.zeros(0, np.uint32)
        # One more word names a point in the interval; a zero word follows if other points share that word.
        shift = _STATE - _WORD
        point = (self._low + (1 << shift) - 1) >> shift
        more = bytes(4) if (self._low + self._width) >> shift == point else b""
        data = point.to_bytes((self._emitted + 1) * 4, "big") + more
        return np.frombuffer(data, ">u4").astype(np.uint32)


class RangeDecoder:
    """Reads symbols from a code word."""

    def __init__(self, words: npt.NDArray[np.uint32]) -> None:
        self._words = words.tolist()
        self.seek(0, (0, _MASK))

    def _next(self) -> int:
        self._at += 1
        return self._words[self._at - 1] if self._at <= len(self._words) else 0

    def seek(self, at: int, state: tuple[int, int]) -> None:
        """Go on where an encoder was."""
        self._at = at
        low, self._width = state
        self._offset = (self._next() << _WORD | self._next()) - low & _MASK

    def clone(self) -> RangeDecoder:
        """A copy that goes on by itself."""
        copy = RangeDecoder(np.zeros(0, np.uint32))
        copy.__dict__ |= self.__dict__
        return copy

    def decode(self, _: Any, frequencies: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
        """The next symbols with frequencies [n, K], each less 1. Raises AssertionError if there are none."""
        return np.array([self._symbol(widths) for widths in _widths(frequencies)], np.int32)

    def _symbol(self, widths: list[int]) -> int:
        scale = self._width >> _PRECISION
        quantile, left = self._offset // scale, 0
        if quantile >= 1 << _PRECISION:
            raise AssertionError("no symbol belongs to the code")
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


def _family(lazy: bool) -> None:
    """Categorical distributions need nothing here."""


stream = SimpleNamespace(
    model=SimpleNamespace(Categorical=_family),
    queue=SimpleNamespace(RangeEncoder=RangeEncoder, RangeDecoder=RangeDecoder),
)
