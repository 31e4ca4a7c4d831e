"""The range coder of FORMAT.md section 3, and its encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_WORD = 32
_STATE = 64
_PRECISION = 24
_MASK = (1 << _STATE) - 1


class InvalidCode(Exception):
    """No symbol belongs to the code: not a valid stream."""


class CodeEnds(Exception):
    """The bytes at hand leave the next symbol open."""


def scaled(frequencies: Sequence[int]) -> list[int]:
    """16-bit frequencies to widths of 24-bit precision: 256 f each."""
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
    """Reads the symbols of a code word that goes on with bytes ``fill`` for ever."""

    def __init__(self, data: bytes, fill: int = 0) -> None:
        self._data = data
        self._at = 0
        self._fill = fill
        self._width = _MASK
        self._offset = self._next() << _WORD | self._next()  # code value minus low

    def _next(self) -> int:
        word = self._data[self._at : self._at + 4]
        self._at += 4
        return int.from_bytes(word + bytes([self._fill]) * (4 - len(word)), "big")

    def decode(self, row: Sequence[int]) -> int:
        """The next symbol, whose frequencies are ``row``. Raises InvalidCode."""
        widths = scaled(row)
        scale = self._width >> _PRECISION
        quantile, left = self._offset // scale, 0
        if quantile >= 1 << _PRECISION:
            raise InvalidCode
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


class PrefixDecoder:
    """Reads the symbols that all continuations of a code word, or of the beginning of one, have in common."""

    def __init__(self, data: bytes) -> None:
        self._low, self._high = Decoder(data, 0x00), Decoder(data, 0xFF)

    def decode(self, row: Sequence[int]) -> int:
        """The next symbol. Raises CodeEnds if the data does not determine it; then no call may follow."""
        try:
            low, high = self._low.decode(row), self._high.decode(row)
        except InvalidCode:
            raise CodeEnds from None
        if low != high:
            raise CodeEnds
        return low
