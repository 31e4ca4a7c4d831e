"""Density tables: rows, mirrors, and what follows from the frequencies."""

from __future__ import annotations

import numpy as np
import pytest

from ctc_codec import CodecModel
from ctc_codec.crr import density
from ctc_codec.crr.inputs import reconstruction
from ctc_codec.planes.trits import VALUE_LIMIT


def test_reconstruction_is_drawn_to_zero() -> None:
    values = np.array([0, 1, -1, 2, -2, 3, -3, 6, 9, VALUE_LIMIT], np.int16)
    known = reconstruction(values, np.ones(10, bool))
    assert known.tolist() == [0, 14, -14, 31, -31, 48, -48, 96, 144, 16 * VALUE_LIMIT]
    thirds = reconstruction(values[[0, 5, 6, 7, 8]], np.zeros(5, bool))
    assert thirds.tolist() == [0, 48 - 5, -(48 - 5), 96 - 2, 144 - 1]


def test_rows_are_distance_scale_and_side() -> None:
    rng = np.random.default_rng(1)
    value = np.concatenate([rng.integers(-30, 31, 4000), [VALUE_LIMIT, -VALUE_LIMIT, 0, 0]]).astype(np.int16)
    centre = rng.integers(-128, 128, len(value)).astype(np.int8)
    scale = rng.integers(0, 64, len(value)).astype(np.uint8)
    rows = density.rows_of(value, centre, scale)
    for v, c, s, row in zip(*(a.tolist() for a in (value, centre, scale, rows)), strict=True):
        distance = 16 * v - c
        assert row == (distance < 0) * density.SIDE + min(abs(distance), 127) * 64 + s


def test_frequencies_and_means_mirror_those_of_the_other_side(model: CodecModel) -> None:
    tables = model.densities
    one, other = np.split(np.arange(2 * density.ROWS), 2)
    assert np.array_equal(tables.frequencies[one], tables.frequencies[other][:, ::-1])
    for case, mirrored in enumerate((0, 3, 2, 1)):
        assert np.array_equal(tables.means[case][one], -tables.means[mirrored][other])
    for table in (tables.classes, tables.zero_cost, tables.quiet):
        assert np.array_equal(table[one], table[other])


def test_tables_are_what_their_frequencies_say(model: CodecModel) -> None:
    """Least frequencies, costs of zeros, groups that are all zero, bits; means inside their intervals."""
    tables = model.densities
    p = tables.frequencies / 65536
    assert tables.frequencies.min() >= 16
    assert tables.bits == pytest.approx(-(p * np.log2(p)).sum(axis=1), abs=1e-4)
    zero_cost = tables.zero_cost
    quiet = zero_cost > 0
    assert np.array_equal(quiet, p[:, 0] + p[:, 2] < density.QUIET / 65536)
    assert quiet.any()
    # Groups have no least frequencies: a zero costs what its trit would, or less where that has one.
    ideal = -65536 * np.log2(p[quiet, 1])
    free = tables.frequencies[quiet][:, (0, 2)].min(axis=1) > 16
    assert np.abs(zero_cost[quiet] - ideal)[free].max() <= 3
    assert (zero_cost[quiet] <= ideal + 3).all()
    assert zero_cost[quiet].min() >= 1
    assert not zero_cost[~quiet].any()
    steps = np.arange(len(tables.group)) << density.GROUP_STEP_BITS
    ideal = np.clip(65536 * 2 ** (-steps / 65536), 64, 65536 - 64)
    assert np.abs(tables.group - ideal).max() <= 0.5001
    assert np.abs(tables.means[0]).max() <= 1.5
    assert np.abs(tables.means[1:]).max() <= 0.5
