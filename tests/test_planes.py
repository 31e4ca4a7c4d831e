"""Trees, tables and the order of trits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ctc_codec._model import load_model
from ctc_codec._planes import (
    LEVELS,
    MEAN_SCALE,
    Planes,
    TreeTables,
    build_tables,
    clip_residual,
    sigma_of_level,
)


@pytest.fixture(scope="module")
def tables() -> TreeTables:
    return load_model().tables


def test_shipped_tables_are_those_of_the_mixture(tables: TreeTables) -> None:
    built = build_tables()
    assert np.array_equal(built.trits, tables.trits)
    # erfc differs in the last bit between C libraries: hence the tolerance, and hence shipped tables.
    for name in ("frequencies", "means", "priorities"):
        difference = np.abs(getattr(built, name).astype(int) - getattr(tables, name).astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


def test_intervals_reach_six_sigmas_and_no_trit_is_wasted(tables: TreeTables) -> None:
    for level in range(1, LEVELS):
        half, sigma = 3 ** int(tables.trits[level]) / 2, float(sigma_of_level(level))
        assert half >= 6.1 * sigma
        assert tables.trits[level] == 1 or half / 3 < 6.1 * sigma
    assert tables.trits[0] == 0


def test_root_of_a_level_codes_its_mixture_at_the_entropy(tables: TreeTables) -> None:
    """Path frequencies against the mixture integrated over unit intervals: loss under 0.01 %."""
    for level in (5, 20, 40):
        sigma, count = float(sigma_of_level(level)), int(tables.trits[level])
        half = (3**count - 1) // 2
        s = np.arange(-half, half + 1)
        cdf = sum(
            share * np.array([math.erfc(-(v - 0.5) / scale) for v in range(-half, half + 2)]) / 2
            for share, scale in ((0.78, 0.844 * sigma * math.sqrt(2)), (0.22, 1.415 * sigma * math.sqrt(2)))
        )
        p = np.diff(cdf)
        node = np.full(len(s), tables.bases[level])
        bits = np.zeros(len(s))
        for plane in range(count - 1, -1, -1):
            trit = (s + half) // 3**plane % 3
            bits -= np.log2(tables.frequencies[node, trit] / 65536)
            node = tables.children[node] + trit
        assert np.array_equal(tables.means[node], s * MEAN_SCALE)
        entropy = -(p * np.log2(np.maximum(p, 1e-300))).sum()
        assert (p * bits).sum() == pytest.approx(entropy, rel=1e-4, abs=2e-4)


def _random_planes(tables: TreeTables, seed: int) -> tuple[Planes, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    level = rng.integers(0, 50, 4000).astype(np.int32)
    s = np.rint(rng.normal(size=4000) * sigma_of_level(level)).astype(np.int32)
    weight = rng.integers(-200, 200, 4000).astype(np.int16)
    return Planes(level, weight, tables), clip_residual(s, level, tables), level


def test_all_planes_lead_to_the_residual(tables: TreeTables) -> None:
    planes, s, level = _random_planes(tables, 1)
    for plane, elements, _ in planes:
        planes.advance(elements, planes.digits(s, plane, elements))
    expected = np.where(tables.trits[level] > 0, s * MEAN_SCALE, 0)
    assert np.array_equal(tables.means[planes.node], expected)


def test_every_plane_lowers_the_error(tables: TreeTables) -> None:
    planes, s, _ = _random_planes(tables, 2)
    errors = [np.square(tables.means[planes.node] / MEAN_SCALE - s).mean()]
    for plane, elements, _ in planes:
        planes.advance(elements, planes.digits(s, plane, elements))
        errors.append(np.square(tables.means[planes.node] / MEAN_SCALE - s).mean())
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))


def test_planes_are_aligned_at_the_last_trit_and_ordered_by_priority(tables: TreeTables) -> None:
    planes, s, level = _random_planes(tables, 3)
    weight = planes._weight.astype(int)
    seen = []
    for plane, elements, _ in planes:
        assert sorted(elements.tolist()) == np.flatnonzero(tables.trits[level] > plane).tolist()
        key = tables.priorities[planes.node[elements]].astype(int) + weight[elements]
        expected = sorted(zip((-key).tolist(), elements.tolist(), strict=True))
        assert [e for _, e in expected] == elements.tolist()
        planes.advance(elements, planes.digits(s, plane, elements))
        seen.append(plane)
    assert seen == list(range(int(tables.trits[level].max()) - 1, -1, -1))


def test_an_image_whose_elements_are_all_certain_has_no_planes(tables: TreeTables) -> None:
    planes = Planes(np.zeros(10, np.int32), np.zeros(10, np.int16), tables)
    assert list(planes) == []
    assert not tables.means[planes.node].any()


def test_residuals_beyond_an_interval_are_brought_to_its_edge(tables: TreeTables) -> None:
    level = np.array([0, 10, LEVELS - 1], dtype=np.int32)
    clipped = clip_residual(np.array([5, -(10**6), 10**6], dtype=np.int32), level, tables)
    half = (3 ** tables.trits[level] - 1) // 2
    assert clipped.tolist() == [0, -half[1], half[2]]


def test_broken_tables_are_refused(tables: TreeTables) -> None:
    inner = tables.inner
    parts = [tables.trits, tables.frequencies[inner], tables.means[inner], tables.priorities[inner]]
    TreeTables.from_inner(*parts)
    for index, change in ((1, np.uint16(1)), (3, np.int16(32000))):
        broken = [part.copy() for part in parts]
        broken[index].flat[0] = change
        with pytest.raises(ValueError, match=r"add up|range"):
            TreeTables.from_inner(*broken)
    with pytest.raises(ValueError, match="fit"):
        TreeTables.from_inner(parts[0], parts[1][1:], parts[2], parts[3])
