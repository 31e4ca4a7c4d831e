"""Range coding of symbols with integer frequencies. The only module that knows constriction.

Frequencies ``f`` (16 bits, sum 2^16) are handed over as float32 ``256 f - 1``. Their K entries
add up to exactly 2^24 - K, which makes constriction's float-to-fixed conversion the identity, so the
code words depend on integers alone (a pure-Python coder in the tests reproduces them bit for bit).

Words are written big-endian: then a prefix of the bytes is a prefix of the code value.
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from ..errors import DamageError, WeightsError

Frequencies = npt.NDArray[np.float32]
Symbols = npt.NDArray[np.int32]

CHUNK = 8192
"""Symbols per call: large enough that calls cost nothing, small enough to stop soon after a cut."""

_WORDS_AHEAD = 2
"""Words from its position on that a decoder has looked at: its state is 64 bits."""

_KNOWN_WORDS = "0000c3448a027d83"
"""Result of :func:`self_check`."""

_FAMILY = constriction.stream.model.Categorical(lazy=True)


def coder_frequencies(frequencies: npt.NDArray[np.unsignedinteger[Any]]) -> Frequencies:
    """Frequencies [n, K], sum 2^16, as the coder takes them: C-ordered float32 [n, K]."""
    return np.ascontiguousarray(256 * frequencies.astype(np.float32) - 1, dtype=np.float32)


class RangeEncoder:
    """Appends symbols to one code word."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: Symbols, frequencies: Frequencies) -> None:
        """Encode symbols int32 [n] with frequencies float32 [n, K], see :func:`coder_frequencies`."""
        if len(symbols):
            self._encoder.encode(symbols, _FAMILY, np.ascontiguousarray(frequencies))

    @property
    def nbytes(self) -> int:
        """Bytes written so far, to within a word."""
        return 4 * self._encoder.num_words()

    def finish(self) -> bytes:
        """The code word. The encoder cannot be used afterwards."""
        words: npt.NDArray[np.uint32] = self._encoder.get_compressed()
        return words.astype(">u4").tobytes()


def _decode_up_to(decoder: constriction.stream.queue.RangeDecoder, frequencies: Frequencies) -> Symbols:
    """As many symbols as the decoder gives before it meets invalid data."""
    saved = decoder.clone()
    try:
        return decoder.decode(_FAMILY, frequencies)
    except AssertionError:
        pass
    low, high = 0, len(frequencies)  # low symbols decode, high do not
    while high - low > 1:
        middle = (low + high) // 2
        try:
            saved.clone().decode(_FAMILY, frequencies[:middle])
            low = middle
        except AssertionError:
            high = middle
    return saved.decode(_FAMILY, frequencies[:low]) if low else np.zeros(0, np.int32)


class RangeDecoder:
    """Reads symbols from a code word or from any prefix of it, which may grow while it is read.

    A symbol is known when every continuation of the data gives the same: certainly, if the decoder has not
    looked beyond the data yet; near the end, by decoding twice, continued with 0x00 and with 0xFF (the
    coder's intervals are monotone in the code value). So no symbol is wrong, and all but the last 8 bytes
    at most are made use of.

    An encoder ends a word such that it determines all of its symbols. So a complete word is read in the same
    way, and one that leaves a symbol open is damaged: otherwise a few bytes could stand for any number of
    symbols, and a file of 40 bytes for minutes of work.

    How far a decoder has looked is told by encoding again what it gave, which is cheaper than a second
    decoding, and gives the state from which a decoder of more data goes on.
    """

    def __init__(self, data: bytes = b"", complete: bool = False) -> None:
        self._known = constriction.stream.queue.RangeEncoder()
        self.extend(data, complete)

    def extend(self, data: bytes, complete: bool) -> None:
        """Go on with more data.

        data: begins with all that was given before.
        complete: nothing follows.
        """
        self._data, self._complete = data, complete
        self._words = len(data) // 4
        self._low = self._decoder(0)
        self.exhausted = False
        """True as soon as fewer symbols were returned than asked for."""

    def _decoder(self, fill: int) -> constriction.stream.queue.RangeDecoder:
        padded = self._data + bytes([fill]) * (-len(self._data) % 4 + 8)
        decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
        decoder.seek(*self._known.pos())
        return decoder

    def decode(self, frequencies: Frequencies) -> Symbols:
        """The next symbols with frequencies float32 [n, K]: int32 [n], or fewer where the data ends.

        Raises DamageError if a complete word is not one that an encoder writes with these frequencies.
        """
        parts = []
        for start in range(0, len(frequencies), CHUNK):
            if self.exhausted:
                break
            parts.append(self._decode_chunk(np.ascontiguousarray(frequencies[start : start + CHUNK])))
        if self.exhausted and self._complete:
            raise DamageError("damaged: the stream holds no valid code")
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def _decode_chunk(self, frequencies: Frequencies) -> Symbols:
        low = _decode_up_to(self._low, frequencies)
        if len(low) == len(frequencies):
            encoder = self._known.clone()
            encoder.encode(low, _FAMILY, frequencies)
            if encoder.pos()[0] + _WORDS_AHEAD <= self._words:
                self._known = encoder
                return low
        high = _decode_up_to(self._decoder(0xFF), frequencies)
        agreed = min(len(low), len(high))
        different = np.flatnonzero(low[:agreed] != high[:agreed])
        count = int(different[0]) if len(different) else agreed
        self.exhausted = count < len(frequencies)
        if count:
            self._known.encode(low[:count], _FAMILY, np.ascontiguousarray(frequencies[:count]))
        return low[:count]


def self_check() -> None:
    """Raise WeightsError unless this constriction writes the words that the format fixes."""
    frequencies = np.array([[1, 65534, 1], [20000, 30000, 15536], [65000, 500, 36]], dtype=np.uint16)
    symbols = np.array([0, 1, 2, 1, 0, 2, 2, 1, 0], dtype=np.int32)
    encoder = RangeEncoder()
    encoder.encode(symbols, coder_frequencies(frequencies[np.arange(9) % 3]))
    if encoder.finish().hex() != _KNOWN_WORDS:
        raise WeightsError("the installed constriction package codes differently from the format")
