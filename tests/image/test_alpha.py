"""Transparency: exact when whole, and at every cut no worse than what was known before."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ctc_codec.image.transparency import pack, pack_rough, unpack, unpack_rough


def _disc(width: int, height: int, soft: float = 1.0) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot(x - width / 2, y - height / 2) - min(width, height) / 3
    return np.clip(127.5 - 255 * distance / soft, 0, 255).astype(np.uint8)


SIZES = [(1, 1), (1, 40), (40, 1), (8, 8), (9, 7), (64, 48), (233, 131)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("kind", ["disc", "soft", "noise"])
def test_comes_back_exactly(width: int, height: int, kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (height, width), dtype=np.uint8)
    alpha = {"disc": _disc(width, height), "soft": _disc(width, height, 90.0), "noise": noise}[kind]
    rough = unpack_rough(pack_rough(alpha), width, height)
    assert rough is not None
    assert rough.shape == alpha.shape
    assert np.array_equal(unpack(pack(alpha), rough), alpha)


def test_both_predictions_are_used_where_they_pay() -> None:
    flat, slope = _disc(200, 150), np.tile(np.arange(150, dtype=np.uint8), (200, 1)).T
    ramp = (np.add.outer(7 * np.arange(150), 3 * np.arange(200)) % 256).astype(np.uint8)
    assert pack(flat)[0] == 0
    assert pack(ramp)[0] == 1
    assert len(pack(slope)) < 400


def test_rough_alpha_is_near_and_small() -> None:
    alpha = _disc(768, 512, 30.0)
    data = pack_rough(alpha)
    assert len(data) < 400
    rough = unpack_rough(data, 768, 512)
    assert rough is not None
    assert np.abs(rough.astype(int) - alpha).mean() < 3
    assert rough[0, 0] == 0
    assert rough[256, 384] == 255
    assert unpack_rough(data[: len(data) // 2], 768, 512) is None


@pytest.mark.parametrize("soft", [1.0, 200.0])
def test_every_cut_is_no_worse_than_a_shorter_one(soft: float) -> None:
    alpha = _disc(120, 90, soft)
    rough = unpack_rough(pack_rough(alpha), 120, 90)
    assert rough is not None
    data = pack(alpha)
    errors = [
        int(np.square(unpack(data[:cut], rough).astype(int) - alpha).sum()) for cut in range(len(data) + 1)
    ]
    assert errors[0] == np.square(rough.astype(int) - alpha).sum()
    assert errors[-1] == 0
    assert all(later <= earlier for earlier, later in pairwise(errors))
    assert 0 < errors[len(errors) // 2] < errors[0]


def test_damaged_bytes_do_no_harm() -> None:
    rough = np.full((90, 120), 9, np.uint8)
    rng = np.random.default_rng(3)
    for length in (0, 1, 5, 60, 4000):
        assert unpack(rng.bytes(length), rough).shape == (90, 120)
        assert unpack(b"\0" + rng.bytes(length), rough).shape == (90, 120)
    assert np.array_equal(unpack(b"\7" + pack(rough)[1:], rough), rough)
