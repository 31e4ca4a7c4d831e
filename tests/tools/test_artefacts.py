"""Figures for what the eye sees and PSNR does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from artefacts import artefacts, main
from montage import montage, panel
from support.pictures import photograph


@pytest.fixture(scope="module")
def original() -> np.ndarray:
    return photograph(193, 161).clip(40, 215)


def _with(original: np.ndarray, error: np.ndarray) -> np.ndarray:
    return (original + np.rint(error)).astype(np.uint8)


def _blocks(shape: tuple[int, ...], side: int, rng: np.random.Generator) -> np.ndarray:
    coarse = rng.normal(0, 6, (shape[0] // side + 1, shape[1] // side + 1, 1))
    return np.kron(coarse, np.ones((side, side, 3)))[: shape[0], : shape[1]]


def test_a_grid_of_the_synthesis_network_is_found_and_no_other(original: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 4, original.shape)
    assert artefacts(original, _with(original, noise)).grid == pytest.approx(1, abs=0.02)
    assert artefacts(original, _with(original, noise + _blocks(original.shape, 4, rng))).grid > 1.4
    assert artefacts(original, _with(original, noise + _blocks(original.shape, 5, rng))).grid < 1.05


def test_colour_and_border_are_measured(original: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(0, 4, original.shape)
    shifted = artefacts(original, _with(original, noise + np.array([3, 0, -1])))
    assert shifted.colour == pytest.approx(3, abs=0.1)
    assert abs(artefacts(original, _with(original, noise)).border) < 0.3
    noise[:8] *= 3
    noise[:, -8:] *= 3
    assert artefacts(original, _with(original, noise)).border < -2


@pytest.mark.slow
def test_command_measures_and_draws(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in "ab":
        Image.fromarray(photograph(420, 300)).save(images / f"{name}.png")
    picture = tmp_path / "picture.png"
    result = CliRunner().invoke(main, [str(images), "--picture", str(picture)])
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.output.splitlines()[:4]] == ["bpp", "0.1", "0.2", "0.5"]
    with Image.open(picture) as drawn:
        assert drawn.size == (6 * 384, 256 + 22)  # of every tenth image, here the first


def test_panels_fill_rows() -> None:
    panels = [panel(Image.new("RGB", (30, 20), colour), colour) for colour in ("red", "green", "blue")]
    sheet = montage(panels, 2)
    assert sheet.size == (60, 84)
    assert [sheet.getpixel(at) for at in ((15, 40), (45, 40), (15, 82), (45, 82))] == [
        (255, 0, 0),
        (0, 128, 0),
        (0, 0, 255),
        (255, 255, 255),
    ]
