"""The range coder: the format's words, and what a cut leaves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ctc_codec import DamageError
from ctc_codec.container.coder import RangeDecoder, RangeEncoder, coder_frequencies, self_check
from reference import coder


def _random_message(
    rng: np.random.Generator, count: int, symbols: int, peak: float
) -> tuple[np.ndarray, np.ndarray]:
    """(symbols int32 [count], frequencies uint16 [count, symbols]); small ``peak``: near-certain rows."""
    p = rng.dirichlet(np.full(symbols, peak), count)
    frequencies = 1 + np.floor(p * (65536 - symbols)).astype(np.int64)
    frequencies[np.arange(count), frequencies.argmax(axis=1)] += 65536 - frequencies.sum(axis=1)
    u = rng.random(count)[:, None]
    message = (frequencies.cumsum(axis=1) / 65536 < u).sum(axis=1)
    return message.astype(np.int32), frequencies.astype(np.uint16)


def _encode(message: np.ndarray, frequencies: np.ndarray) -> bytes:
    encoder = RangeEncoder()
    encoder.encode(message, coder_frequencies(frequencies))
    return encoder.finish()


@pytest.mark.parametrize("symbols", [2, 3, 64, 256])
@pytest.mark.parametrize("peak", [0.01, 0.3, 5.0])
def test_words_are_those_of_a_coder_in_plain_integers(symbols: int, peak: float) -> None:
    rng = np.random.default_rng(symbols)
    for count in (0, 1, 2, 30, 400):
        message, frequencies = _random_message(rng, count, symbols, peak)
        data = _encode(message, frequencies)
        assert data == coder.encode(message.tolist(), frequencies.tolist())
        decoder = coder.Decoder(data)
        assert [decoder.decode(row) for row in frequencies.tolist()] == message.tolist()


def test_words_are_the_literal_ones_of_the_format() -> None:
    rows = np.array([[1, 65534, 1], [20000, 30000, 15536], [65000, 500, 36]], dtype=np.uint16)
    message = np.array([2, 0, 2, 1, 1, 1, 0, 2, 0, 1, 1, 0], dtype=np.int32)
    assert _encode(message, rows[np.arange(12) % 3]).hex() == "ffff4e1d56dff931"
    self_check()


def test_several_calls_equal_one_and_rows_may_lie_in_any_memory_order() -> None:
    message, frequencies = _random_message(np.random.default_rng(5), 1000, 3, 0.5)
    rows = np.asfortranarray(coder_frequencies(frequencies))
    encoder = RangeEncoder()
    for start in range(0, 1000, 77):
        encoder.encode(message[start : start + 77], rows[start : start + 77])
    data = encoder.finish()
    assert data == _encode(message, frequencies)
    decoder = RangeDecoder(data, complete=True)
    parts = [decoder.decode(rows[s : s + 130]) for s in range(0, 1000, 130)]
    assert np.array_equal(np.concatenate(parts), message)
    assert not decoder.exhausted
    assert np.array_equal(RangeDecoder(data, complete=True).decode(rows), message)


@pytest.mark.parametrize("peak", [0.01, 0.5])
def test_every_cut_gives_a_true_and_nearly_full_prefix(peak: float) -> None:
    message, frequencies = _random_message(np.random.default_rng(11), 3000, 3, peak)
    data = _encode(message, frequencies)
    bits = -np.log2(frequencies[np.arange(3000), message] / 65536)
    position = np.cumsum(bits) / 8
    for cut in range(len(data)):
        decoder = RangeDecoder(data[:cut], complete=False)
        known = decoder.decode(coder_frequencies(frequencies))
        assert np.array_equal(known, message[: len(known)])
        assert len(known) == 3000 or decoder.exhausted
        assert len(known) == 3000 or len(decoder.decode(coder_frequencies(frequencies))) == 0
        # All but at most 8 bytes' worth of what the bytes determine.
        assert len(known) >= np.searchsorted(position, cut - 8)


def test_cut_words_give_the_symbols_of_a_decoder_in_plain_integers() -> None:
    rng = np.random.default_rng(4)
    for symbols, peak in ((2, 0.3), (3, 0.05), (3, 5.0), (256, 0.3)):
        message, frequencies = _random_message(rng, 100, symbols, peak)
        word = coder.encode(message.tolist(), frequencies.tolist())
        for cut in range(len(word) + 1):
            decoder, known = coder.PrefixDecoder(word[:cut]), []
            try:
                known.extend(decoder.decode(row) for row in frequencies.tolist())
            except coder.CodeEnds:
                assert cut < len(word)
            assert known == message[: len(known)].tolist()
            assert (
                known
                == RangeDecoder(word[:cut], complete=False).decode(coder_frequencies(frequencies)).tolist()
            )


def test_impossible_code_is_reported_as_damage() -> None:
    rows = coder_frequencies(np.full((400, 3), [21845, 21846, 21845], dtype=np.uint16))
    with pytest.raises(DamageError):
        RangeDecoder(b"\xff" * 100, complete=True).decode(rows)
    assert len(RangeDecoder(b"\xff" * 100, complete=False).decode(rows)) < 400


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 3, 64, 1000])
def test_data_that_grows_gives_at_every_size_what_a_cut_there_gives(step: int) -> None:
    message, frequencies = _random_message(np.random.default_rng(7), 20_000, 3, 0.5)
    rows = coder_frequencies(frequencies)
    data = _encode(message, frequencies)
    decoder, known = RangeDecoder(), 0
    for size in range(0, len(data) if step > 3 else 400, step):
        decoder.extend(data[:size], complete=False)
        symbols = decoder.decode(rows[known:])
        assert np.array_equal(symbols, message[known : known + len(symbols)])
        known += len(symbols)
        assert known == len(RangeDecoder(data[:size], complete=False).decode(rows))
    decoder.extend(data, complete=True)
    assert np.array_equal(decoder.decode(rows[known:]), message[known:])
    assert not decoder.exhausted


# --- complete words ---------------------------------------------------------------------------------


def _streams(seed: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray, bytes]]:
    """Random (symbols, frequencies, code word): short and long, near-certain and near-uniform rows."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        length = int(rng.choice([0, 1, 2, 3, 5, 8, 20, 50, 200]))
        symbols, peak = int(rng.choice([2, 3, 64, 256])), float(rng.choice([0.003, 0.1, 1.0, 20.0]))
        message, frequencies = _random_message(rng, length, symbols, peak)
        if length and rng.random() < 0.3:  # intervals as small as they become
            at = rng.integers(length)
            message[at] = frequencies[at].argmin()
        yield message, frequencies, _encode(message, frequencies)


def test_complete_words_give_all_symbols() -> None:
    words, zero_ended = set(), 0
    for message, frequencies, data in _streams(1, 3000):
        words.add(len(data) // 4)
        zero_ended += len(data) > 4 and data.endswith(bytes(4))
        decoder = RangeDecoder(data, complete=True)
        half = len(message) // 2
        rows = coder_frequencies(frequencies)
        assert np.array_equal(decoder.decode(rows[:half]), message[:half])
        assert np.array_equal(decoder.decode(rows[half:]), message[half:])
        assert not decoder.exhausted
    assert {0, 1, 2, 3, 4, 5} <= words
    assert zero_ended >= 10  # words whose end the encoder had to mark with a zero word


def test_long_near_certain_words_give_all_symbols() -> None:
    frequencies = np.tile(np.array([[1, 65534, 1]], dtype=np.uint16), (300_000, 1))
    message = np.ones(300_000, np.int32)
    data = _encode(message, frequencies)
    assert len(data) == 4
    assert np.array_equal(RangeDecoder(data, complete=True).decode(coder_frequencies(frequencies)), message)


def _bits_until_damage(decoder: RangeDecoder, frequencies: np.ndarray) -> float:
    """Information of the symbols, all of the same row, that come before the decoder finds damage."""
    bits = 0.0
    for _ in range(1000):
        try:
            symbol = decoder.decode(coder_frequencies(frequencies[None]))
        except DamageError:
            return bits
        bits -= float(np.log2(frequencies[symbol[0]] / 65536))
    raise AssertionError("symbols without end")


def test_a_complete_word_holds_no_more_symbols_than_its_bits_do() -> None:
    frequencies = np.array([13107, 19661, 32768], dtype=np.uint16)
    for message, rows, data in _streams(2, 300):
        decoder = RangeDecoder(data, complete=True)
        decoder.decode(coder_frequencies(rows))
        used = -np.log2(rows[np.arange(len(message)), message] / 65536).sum()
        assert used + _bits_until_damage(decoder, frequencies) < 8 * len(data) + 1e-3


@pytest.mark.parametrize(
    "data", [b"", b"\0", bytes(4), bytes(8), bytes(92), b"\xff" * 4, b"\x80" + bytes(7)], ids=bytes.hex
)
def test_few_bytes_do_not_stand_for_millions_of_symbols(data: bytes) -> None:
    rows = coder_frequencies(np.full((8192, 3), [21845, 21846, 21845], dtype=np.uint16))
    decoder = RangeDecoder(data, complete=True)
    with pytest.raises(DamageError):
        decoder.decode(rows)


def test_a_word_that_lacks_its_end_is_damaged_or_right() -> None:
    damaged = 0
    for message, frequencies, data in _streams(3, 300):
        for cut in range(max(len(data) - 9, 0), len(data)):
            try:
                symbols = RangeDecoder(data[:cut], complete=True).decode(coder_frequencies(frequencies))
            except DamageError:
                damaged += 1
            else:
                assert np.array_equal(symbols, message)
    assert damaged > 1000


def test_growing_data_may_become_complete_at_any_size() -> None:
    message, frequencies = _random_message(np.random.default_rng(9), 600, 3, 0.5)
    rows, data = coder_frequencies(frequencies), _encode(message, frequencies)
    for size in range(0, len(data) + 1, 5):
        decoder = RangeDecoder()
        decoder.extend(data[:size], complete=False)
        first = decoder.decode(rows)
        decoder.extend(data, complete=True)
        rest = decoder.decode(rows[len(first) :])
        assert np.array_equal(np.concatenate([first, rest]), message)
        with pytest.raises(DamageError):
            decoder.decode(np.concatenate([rows] * 3))
