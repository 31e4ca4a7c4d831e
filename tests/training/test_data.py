"""Photographs, crops of them, and synthetic pictures."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ctc_codec.training.crops import Crops
from ctc_codec.training.data import Source
from ctc_codec.training.synthetic import synthetic_pictures
from support.pictures import photograph


@pytest.mark.slow
def test_folders_and_shards_are_read_alike(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=f"somewhere/{path.name}")
    loose, packed = Source.read([folder]), Source.read([tmp_path / "shard.tar"])
    assert [len(loose.photographs), len(loose.held_out)] == [2, 1]
    for one, other in ((loose.photographs, packed.photographs), (loose.held_out, packed.held_out)):
        assert all(map(np.array_equal, one, other))
        assert len(one) == len(other)
    assert len(Source.read([folder], ("fir", "held")).photographs) == 1
    Image.fromarray(photograph(2000, 40)).save(tmp_path / "wide.png")
    assert Source.read([tmp_path / "wide.png"]).photographs[0].shape == (19, 928, 3)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png"):
        Source.read([tmp_path])
    with pytest.raises(ValueError, match="no photographs"):
        Source.read([folder], ("first", "second"))


def _crops(picture: np.ndarray, count: int) -> torch.Tensor:
    """uint8 [count, 3, 64, 64]."""
    batch = torch.zeros(count, 3, 64, 64, dtype=torch.uint8)
    Crops([picture], [], 64, torch.device("cpu")).fill(batch, np.random.default_rng(0))
    return batch


def test_some_crops_are_scaled_down() -> None:
    """Of stripes of a pixel's width nothing but grey is left at half the size."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[::2] = 200
    batch = _crops(stripes, 100)
    scaled = [crop for crop in batch if len(crop.unique()) > 2]
    assert 15 < len(scaled) < 45
    assert min(float(crop.float().std()) for crop in scaled) < 50
    assert all(60 < crop.float().mean() < 140 for crop in batch)


def test_crops_are_parts_of_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctc_codec.training.crops._SMALLER_SHARE", 0)
    rows, columns = np.mgrid[0:200, 0:180].astype(np.uint8)
    ramp = np.stack([rows, columns, rows // 2 + columns // 2], axis=2)
    seen = set()
    for crop in _crops(ramp, 40).numpy():
        turned = crop[0, 0, 0] == crop[0, -1, 0]
        upright = crop.transpose(0, 2, 1) if turned else crop
        steps = int(upright[0, 1, 0]) - int(upright[0, 0, 0]), int(upright[1, 0, 1]) - int(upright[1, 0, 0])
        top, left = int(upright[0].min()), int(upright[1].min())
        expected = ramp[top : top + 64, left : left + 64][:: steps[0], :: steps[1]]
        assert np.array_equal(upright.transpose(1, 2, 0), expected)
        seen.add((top, left, turned, *steps))
    assert len(seen) > 30
    assert len({places[2:] for places in seen}) == 8


def test_detailed_places_are_drawn_more_often() -> None:
    half = np.full((128, 512, 3), 90, np.uint8)
    half[:, 256:] = np.random.default_rng(0).integers(0, 256, (128, 256, 3))
    flat = (_crops(half, 200) == 90).flatten(1).all(1).float().mean()
    assert 0.15 < flat < 0.35  # 0.43 of all places


@pytest.mark.slow
def test_synthetic_pictures_are_drawn() -> None:
    pictures = list(synthetic_pictures([photograph(300, 200)], seed=3))
    assert len(pictures) == 27
    assert all(p.dtype == np.uint8 and p.shape[2] == 3 and p.std() > 1 for p in pictures)
