"""Transparency: backgrounds, unseen colours, and alpha as sections of the file, whole or cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageColor

from ctc_codec.errors import CtcError
from ctc_codec.image.save import image_bytes
from ctc_codec.image.source import source_image
from ctc_codec.image.transparency import fill_unseen, pack, pack_rough, unpack, unpack_rough
from support.image_samples import composed, disc, grey3, la, picture, rgba, shades


@pytest.mark.parametrize(
    "background", ["white", "#f80", "rgb(1, 2, 3)", "hsl(120, 50%, 50%)", (7, 8, 9), (7, 8, 9, 255)]
)
def test_a_background_on_demand(background: str | tuple[int, ...]) -> None:
    colour = ImageColor.getrgb(background) if isinstance(background, str) else background[:3]
    source = source_image(Image.fromarray(rgba()), background=background)
    assert source.alpha is None
    assert source.notes == []
    assert np.array_equal(source.pixels, composed(picture(), disc(), colour))


def test_grey_on_grey_stays_grey() -> None:
    grey = source_image(Image.fromarray(la()), background="#777")
    assert grey.grey
    assert np.array_equal(grey.pixels, composed(grey3(shades()), disc(), (0x77,) * 3))
    colour = source_image(Image.fromarray(la()), background="#778")
    assert not colour.grey
    assert np.array_equal(colour.pixels, composed(grey3(shades()), disc(), (0x77, 0x77, 0x88)))
    assert source_image(Image.fromarray(shades()), background="red").grey


@pytest.mark.parametrize("bad", ["", "no colour", "#12345", "#ffffff80", (1, 2), (1, 2, 300), (1, 2, 3, 4)])
def test_what_is_no_background(bad: str | tuple[int, ...]) -> None:
    for call in (
        lambda: source_image(Image.new("RGB", (3, 3)), background=bad),
        lambda: image_bytes(Image.new("RGB", (3, 3)), "PNG", background=bad),
    ):
        with pytest.raises(ValueError, match=r".") as caught:
            call()
        assert not isinstance(caught.value, CtcError)
        assert "\n" not in str(caught.value)


def test_colours_that_nobody_sees_continue_those_around() -> None:
    alpha = disc(soft=False)
    hidden = rgba(soft=False)
    hidden[alpha == 0, :3] = np.random.default_rng(1).integers(0, 256, (int((alpha == 0).sum()), 3))
    source = source_image(Image.fromarray(hidden))
    assert np.array_equal(source.pixels[alpha > 0], picture()[alpha > 0])
    steps = [np.abs(np.diff(source.pixels.astype(int), axis=axis)) for axis in (0, 1)]
    assert max(step.max() for step in steps) <= 30  # noise has 255
    around = source.pixels[alpha == 0].astype(int)
    shown = picture()[alpha > 0].astype(int)
    assert (around.min(axis=0) >= shown.min(axis=0)).all()
    assert (around.max(axis=0) <= shown.max(axis=0)).all()


def test_one_colour_is_continued_as_itself() -> None:
    alpha = disc()
    hidden = np.where(alpha[..., None] > 0, np.uint8([10, 200, 30]), np.uint8([255, 0, 255]))
    assert (fill_unseen(hidden, alpha) == (10, 200, 30)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 333), (333, 1), (17, 33), (64, 64), (65, 63)])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_filling_any_size(size: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    alpha = (rng.random(size) < share).astype(np.uint8) * 9
    before = pixels.copy()
    filled = fill_unseen(pixels, alpha)
    assert filled.shape == pixels.shape
    assert filled.dtype == np.uint8
    assert np.array_equal(filled[alpha > 0], before[alpha > 0])
    assert np.array_equal(pixels, before)
    if not alpha.any():
        assert len(np.unique(filled)) == 1


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
