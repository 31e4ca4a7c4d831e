"""Images of every mode, from files or not, frame by frame and in threads, to 8-bit sRGB."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, features

from ctc_codec.errors import InputError
from ctc_codec.image.open import open_image
from ctc_codec.image.source import psnr, source_image
from support.image_samples import (
    animated_gif,
    few_expected,
    frames,
    grey3,
    hsv_expected,
    hsv_samples,
    image_of,
    la,
    lab_expected,
    lab_samples,
    palette_image,
    picture,
    premultiplied,
    rgba,
    saved,
    shades,
    to_eight,
    wide_grey,
    ycc_samples,
)

_MODES = {  # mode: (image, what is expected, grey, alpha, PSNR)
    "La": (lambda: image_of("La", la()), None, True, True, 0),
    "RGBa": (lambda: image_of("RGBa", premultiplied()), picture(), False, True, 41),
    "RGBX": (lambda: image_of("RGBX", rgba()), picture(), False, False, np.inf),
    "HSV": (lambda: image_of("HSV", hsv_samples()), hsv_expected(), False, False, 45),
    "YCbCr": (lambda: image_of("YCbCr", ycc_samples()), picture(), False, False, 49),
    "LAB": (
        lambda: image_of("LAB", lab_samples() ^ np.uint8([0, 128, 128])),
        lab_expected(),
        False,
        False,
        55,
    ),
    "PA": (lambda: palette_image().convert("PA"), few_expected(), False, False, np.inf),
    "I;16B": (lambda: Image.fromarray(wide_grey().astype(">u2")), to_eight(wide_grey()), True, False, np.inf),
    "I": (lambda: Image.fromarray(wide_grey().astype(np.int32)), to_eight(wide_grey()), True, False, np.inf),
    "1": (lambda: Image.fromarray(shades() > 99), (shades() > 99) * 255, True, False, np.inf),
}


@pytest.mark.parametrize(("make", "expected", "grey", "alpha", "floor"), _MODES.values(), ids=_MODES)
def test_modes(
    make: Callable[[], Image.Image], expected: np.ndarray | None, grey: bool, alpha: bool, floor: float
) -> None:
    image = make()
    assert image.mode in (*_MODES, "I;16")
    before = (image.mode, image.tobytes(), dict(image.info))
    source = source_image(image)
    assert (image.mode, image.tobytes(), dict(image.info)) == before
    assert source.grey == grey
    assert (source.alpha is not None) == alpha
    if expected is not None:
        expected = (grey3(expected) if expected.ndim == 2 else expected).astype(np.uint8)
        seen = source.alpha > 0 if source.alpha is not None else slice(None)
        assert psnr(source.pixels[seen], expected[seen]) >= floor


def test_sixteen_bits_are_rounded_to_the_nearest() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    got = source_image(Image.fromarray(every)).pixels[..., 0]
    assert np.abs(got - every / 257).max() <= 0.5
    assert np.array_equal(np.unique(got), np.arange(256))
    eight_bits = source_image(Image.fromarray(np.arange(256, dtype=np.uint16)[None] * 257))
    assert np.array_equal(eight_bits.pixels[0, :, 0], np.arange(256))


def test_floating_point_and_emptiness_are_refused() -> None:
    with pytest.raises(InputError, match="floating-point"):
        source_image(Image.fromarray(np.zeros((4, 4), np.float32)))
    with pytest.raises(InputError, match="no pixels"):
        source_image(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("value", [b"\0\1", "red", (1, 2), (1, 2, 3, 4), None, 1.5, [[1]], -1, 1 << 70])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "I;16", "RGBA"])
def test_a_transparency_that_is_none_does_no_harm(mode: str, value: object) -> None:
    image = Image.new(mode, (5, 4))
    image.info["transparency"] = value
    assert source_image(image).pixels.shape == (4, 5, 3)


@pytest.mark.parametrize("profile", [b"", b"x", "text", None, 5, b"\0" * 200])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "LAB", "RGBA", "P"])
def test_a_profile_that_is_none_does_no_harm(mode: str, profile: object) -> None:
    image = Image.new(mode, (5, 4))
    image.info["icc_profile"] = profile
    assert source_image(image).pixels.shape == (4, 5, 3)


_ANIMATIONS = {
    "GIF": animated_gif,
    "PNG": frames("PNG"),
    "WEBP": frames("WEBP", lossless=True),
    "TIFF": frames("TIFF"),
}


@pytest.mark.parametrize("kind", _ANIMATIONS)
def test_a_frame_that_was_sought_is_the_one_that_is_coded(kind: str) -> None:
    if kind == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow is without WebP")
    with Image.open(io.BytesIO(_ANIMATIONS[kind]())) as image:
        first = source_image(image)
        image.seek(2)
        expected = np.asarray(image.convert("RGB"))
        third = source_image(image)
        assert image.tell() == 2
        assert np.array_equal(third.pixels, expected)
        assert not np.array_equal(third.pixels, first.pixels)
        assert "first" in first.notes[0]
        assert ("page 3" if kind == "TIFF" else "current") in third.notes[0]
        image.seek(0)
        assert np.array_equal(source_image(image).pixels, first.pixels)


def test_a_palette_stays_as_it_is() -> None:
    image = Image.open(io.BytesIO(saved(palette_image(), "PNG", transparency=2)))
    image.load()
    before = image.getpalette(None)
    assert source_image(image).alpha is not None
    assert image.getpalette(None) == before
    assert image.info["transparency"] == 2


def test_threads_may_share_an_image() -> None:
    gif = animated_gif()
    alone = source_image(open_image(gif)).pixels
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            shared = Image.open(io.BytesIO(gif))
            for source in pool.map(lambda image: source_image(image), [shared] * 8):
                assert np.array_equal(source.pixels, alone)
                assert len(source.notes) == 1
