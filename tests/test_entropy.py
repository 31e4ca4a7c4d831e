"""The range coder: the format's words, and what a cut leaves."""

from __future__ import annotations

import numpy as np
import pytest

import reference_coder
from ctc_codec import DamageError
from ctc_codec._entropy import RangeDecoder, RangeEncoder, rows_of, self_check
from ctc_codec._planes import quantise_frequencies


def _random_message(
    rng: np.random.Generator, count: int, symbols: int, peak: float
) -> tuple[np.ndarray, np.ndarray]:
    """(symbols int32 [count], frequencies uint16 [count, symbols]); small ``peak``: near-certain rows."""
    p = rng.dirichlet(np.full(symbols, peak), count) + 1e-9
    frequencies = quantise_frequencies(p)
    u = rng.random(count)[:, None]
    message = (frequencies.cumsum(axis=1) / 65536 < u).sum(axis=1)
    return message.astype(np.int32), frequencies


def _encode(message: np.ndarray, frequencies: np.ndarray) -> bytes:
    encoder = RangeEncoder()
    encoder.encode(message, rows_of(frequencies))
    return encoder.finish()


@pytest.mark.parametrize("symbols", [3, 127])
@pytest.mark.parametrize("peak", [0.01, 0.3, 5.0])
def test_words_are_those_of_a_coder_in_plain_integers(symbols: int, peak: float) -> None:
    rng = np.random.default_rng(symbols)
    for count in (0, 1, 2, 30, 400):
        message, frequencies = _random_message(rng, count, symbols, peak)
        data = _encode(message, frequencies)
        assert data == reference_coder.encode(message.tolist(), frequencies.tolist())
        decoder = reference_coder.Decoder(data)
        assert [decoder.decode(row) for row in frequencies.tolist()] == message.tolist()


def test_words_are_the_literal_ones_of_the_format() -> None:
    rows = np.array([[1, 65534, 1], [20000, 30000, 15536], [65000, 500, 36]], dtype=np.uint16)
    message = np.array([2, 0, 2, 1, 1, 1, 0, 2, 0, 1, 1, 0], dtype=np.int32)
    assert _encode(message, rows[np.arange(12) % 3]).hex() == "ffff4e1d56dff931"
    self_check()


def test_several_calls_equal_one() -> None:
    message, frequencies = _random_message(np.random.default_rng(5), 1000, 3, 0.5)
    encoder = RangeEncoder()
    for start in range(0, 1000, 77):
        encoder.encode(message[start : start + 77], rows_of(frequencies[start : start + 77]))
    data = encoder.finish()
    assert data == _encode(message, frequencies)
    decoder = RangeDecoder(data, complete=True)
    parts = [decoder.decode(rows_of(frequencies[s : s + 130])) for s in range(0, 1000, 130)]
    assert np.array_equal(np.concatenate(parts), message)
    assert not decoder.exhausted


@pytest.mark.parametrize("peak", [0.01, 0.5])
def test_every_cut_gives_a_true_and_nearly_full_prefix(peak: float) -> None:
    message, frequencies = _random_message(np.random.default_rng(11), 3000, 3, peak)
    data = _encode(message, frequencies)
    bits = -np.log2(frequencies[np.arange(3000), message] / 65536)
    position = np.cumsum(bits) / 8
    for cut in range(len(data)):
        decoder = RangeDecoder(data[:cut], complete=False)
        known = decoder.decode(rows_of(frequencies))
        assert np.array_equal(known, message[: len(known)])
        assert len(known) == 3000 or decoder.exhausted
        # All but at most 8 bytes' worth of what the bytes determine.
        assert len(known) >= np.searchsorted(position, cut - 8)


def test_after_the_end_nothing_more_comes() -> None:
    message, frequencies = _random_message(np.random.default_rng(2), 500, 3, 0.5)
    data = _encode(message, frequencies)
    decoder = RangeDecoder(data[: len(data) // 2], complete=False)
    decoder.decode(rows_of(frequencies))
    assert decoder.exhausted
    assert len(decoder.decode(rows_of(frequencies))) == 0


def test_rows_in_any_memory_order_mean_the_same() -> None:
    message, frequencies = _random_message(np.random.default_rng(3), 200, 3, 0.5)
    rows = np.asfortranarray(rows_of(frequencies))
    encoder = RangeEncoder()
    encoder.encode(message, rows)
    data = encoder.finish()
    assert data == _encode(message, frequencies)
    assert np.array_equal(RangeDecoder(data, complete=True).decode(rows), message)


def test_impossible_code_is_reported_as_damage() -> None:
    rows = rows_of(np.full((400, 3), [21845, 21846, 21845], dtype=np.uint16))
    with pytest.raises(DamageError):
        RangeDecoder(b"\xff" * 100, complete=True).decode(rows)
    assert len(RangeDecoder(b"\xff" * 100, complete=False).decode(rows)) < 400


@pytest.mark.parametrize("step", [1, 3, 64, 1000])
def test_data_that_grows_gives_at_every_size_what_a_cut_there_gives(step: int) -> None:
    message, frequencies = _random_message(np.random.default_rng(7), 20_000, 3, 0.5)
    rows = rows_of(frequencies)
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
