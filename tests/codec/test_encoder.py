"""Encoding: any picture as good as asked, any target, the efforts, and what is refused."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctc_codec import CodecModel, InputError, LimitError, TargetError, decode, encode, info, truncate
from ctc_codec.codec.options import psnr_of_quality
from ctc_codec.image.source import psnr_against, source_image
from support.coding import latent_of
from support.pictures import KINDS, Samples, photograph, psnr

SIZES = ((130, 97), (64, 64), (17, 30))


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """130x97 pixels."""
    return Image.fromarray(photograph(130, 97))


def decoded_psnr(samples: Samples, model: CodecModel, **options: Any) -> tuple[float, int]:
    """PSNR and bytes of a file."""
    data = encode(Image.fromarray(samples), weights=model, **options)
    image = decode(data, weights=model)
    assert image.size == (samples.shape[1], samples.shape[0])
    grey = samples.ndim == 2 or (samples == samples[..., :1]).all()
    assert image.mode == ("L" if grey else "RGB")
    if samples.ndim == 3 and grey:
        samples = samples[..., 0]
    return psnr(samples, image), len(data)


# --- pictures ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_any_picture_comes_back_as_good_as_asked(kind: str, model: CodecModel) -> None:
    """All planes give 49 dB at least: units of 8/3 leave 49.8 dB of white errors, borders a little less."""
    for width, height in SIZES:
        samples = KINDS[kind](width, height)
        assert decoded_psnr(samples, model)[0] > 39.99, (width, height)
        assert decoded_psnr(samples, model, quality=100)[0] > 49.0, (width, height)


@pytest.mark.slow
def test_any_size_comes_back_as_good_as_asked(model: CodecModel) -> None:
    rng = np.random.default_rng(5)
    sizes = [*itertools.product(range(1, 6), range(1, 6)), (1, 130), (97, 1), (3, 65), (9, 64), (33, 8)]
    for height, width in sizes:
        colour = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        grey = (rng.integers(0, 2, (height, width)) * 255).astype(np.uint8)
        for samples in (colour, grey):
            assert decoded_psnr(samples, model)[0] > 39.99, (height, width)
            assert decoded_psnr(samples, model, quality=100)[0] > 46.0, (height, width)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["photograph", "text", "noise"])
def test_more_quality_is_more_bytes_and_more_db(kind: str, model: CodecModel) -> None:
    qualities = (1, 20, 40, 60, 75, 85, 92, 97, 100)
    found = [decoded_psnr(KINDS[kind](120, 90), model, quality=quality) for quality in qualities]
    assert all(db >= psnr_of_quality(q) for (db, _), q in zip(found[:-1], qualities, strict=False))
    for (worse, less), (better, more) in itertools.pairwise(found):
        assert better > worse
        assert more > less


def test_a_grey_picture_costs_less_than_its_colour_version(photo: Image.Image, model: CodecModel) -> None:
    assert len(encode(photo.convert("L"), weights=model)) < 0.8 * len(encode(photo, weights=model))


@pytest.mark.parametrize(
    ("mode", "decoded"), [("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("RGBA", "RGBA"), ("LA", "LA")]
)
def test_other_modes_are_converted(mode: str, decoded: str, model: CodecModel) -> None:
    image = Image.fromarray(photograph(32, 32)).convert("L" if mode in ("1", "LA") else "RGB").convert(mode)
    if mode.endswith("A"):
        assert decode(encode(image, weights=model), weights=model).mode == decoded[:-1]  # opaque
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    assert decode(encode(image, weights=model), weights=model).mode == decoded


# --- targets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [pytest.param(slow, marks=pytest.mark.slow) for slow in ("photograph", "noise")]
    + ["ramp", "checks-1px", "red"]
)  # fmt: skip
def test_targets_are_kept(kind: str, model: CodecModel) -> None:
    samples = KINDS[kind](130, 97)
    image = Image.fromarray(samples)
    whole = encode(image, weights=model, quality=100)
    for nbytes in (21, 40, 61, 300, 1001, 1_000_000):
        data = encode(image, weights=model, nbytes=nbytes)
        assert len(data) <= nbytes
        assert decode(data, weights=model).size == image.size
        if nbytes < len(whole):
            assert len(data) == nbytes or info(data).complete
    for bpp in (0.03, 0.5, 2.0, 1000.0):
        assert 8 * len(encode(image, weights=model, bpp=bpp)) / (130 * 97) <= bpp
    for target in (21.0, 30.0, 37.7, 45.0):
        assert decoded_psnr(samples, model, psnr=target)[0] >= target


def test_a_psnr_takes_no_more_bytes_than_the_cut_that_has_it(photo: Image.Image, model: CodecModel) -> None:
    whole = encode(photo, weights=model, quality=100, effort=1)
    for target in (30.0, 40.0):
        data = encode(photo, weights=model, psnr=target, effort=1)
        small = encode(photo, weights=model, nbytes=int(0.95 * len(data)), effort=1)
        assert psnr(photo, decode(small, weights=model)) < target
        assert len(data) < len(whole)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"psnr": 80}, TargetError, "out of reach"),
        ({"psnr": 5e4}, TargetError, "out of reach"),
        ({"psnr": -5e4}, TargetError, "psnr must be positive"),
        ({"psnr": math.nan}, TargetError, "psnr must be positive"),
        ({"nbytes": 5}, TargetError, "header"),
        *(({"bpp": bpp}, TargetError, "bpp must be positive") for bpp in (0, -1, math.inf, math.nan)),
        ({"nbytes": 500, "bpp": 1}, ValueError, "at most one"),
        *(({"quality": q}, ValueError, "quality is 1 to 100") for q in (0, 100.5, math.nan)),
        *(({"effort": effort}, ValueError, "effort is 1 to 9") for effort in (0, 10)),
        ({"effort": 2.5}, TypeError, "effort must be a whole number, not float"),
        ({"nbytes": 100.7}, TypeError, "nbytes must be a whole number, not float"),
        ({"bpp": "0.5"}, TypeError, "bpp must be a number, not str"),
        ({"psnr": True}, TypeError, "psnr must be a number, not bool"),
        ({"warn": "print"}, TypeError, "warn must be a function, not str"),
        ({"options": 50}, TypeError, "options must be EncodeOptions, not int"),
        ({"qality": 90}, TypeError, "encode.. got an unexpected keyword argument 'qality'"),
        ({"max_pixels": 1999}, LimitError, "50x40"),
    ],
)
def test_what_cannot_be_met_is_refused(
    options: dict[str, Any], error: type[Exception], message: str, model: CodecModel
) -> None:
    image = Image.fromarray(photograph(50, 40))
    with pytest.raises(error, match=message):
        encode(image, weights=model, **options)
    assert encode(image, weights=model, max_pixels=2000)


def test_floating_point_images_are_refused(model: CodecModel) -> None:
    with pytest.raises(InputError, match="floating-point"):
        encode(Image.fromarray(np.zeros((4, 4), np.float32)), weights=model)


# --- efforts and switches ---------------------------------------------------------------------------


@pytest.mark.slow
def test_more_effort_makes_more_slices_and_smaller_files(model: CodecModel) -> None:
    image = Image.fromarray(photograph(260, 200))
    sizes, slices = [], []
    for effort in range(1, 10):
        data = encode(image, weights=model, effort=effort, quality=97)
        sizes.append(len(data))
        slices.append(info(data).header.slices)
        assert psnr(image, decode(data, weights=model)) > psnr_of_quality(97) - 1e-9
    assert slices == sorted(slices)
    assert slices[-1] > 2 * slices[0]
    assert sizes[-1] < sizes[0]


def test_without_context_files_are_larger_and_decode(photo: Image.Image, model: CodecModel) -> None:
    plain = encode(photo, weights=model, context=False, quality=95)
    assert psnr(photo, decode(plain, weights=model)) > psnr_of_quality(95)
    assert len(plain) > 1.1 * len(encode(photo, weights=model, quality=95))


# --- quality tables ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_table_says_what_a_cut_really_gives(model: CodecModel) -> None:
    """Loose bounds: how near it is on photographs is in README."""
    image = Image.fromarray(photograph(300, 220))
    data = encode(image, weights=model)
    table = [step for step in info(data).quality if step[1] > 22]
    assert len(table) >= 6
    for count, db in table:
        assert psnr(image, decode(data[:count], weights=model)) == pytest.approx(db, abs=1.0)
    cut = truncate(data, psnr=28.0)
    assert psnr(image, decode(cut, weights=model)) == pytest.approx(28.0, abs=1.0)
    with pytest.raises(TargetError, match="out of reach"):
        truncate(data, psnr=70.0)


@pytest.mark.parametrize("kind", ["photograph", "text", "checks-2px", "red"])
def test_tables_do_not_fall(kind: str, model: CodecModel) -> None:
    told = info(encode(Image.fromarray(KINDS[kind](130, 97)), weights=model, quality=95))
    assert told.psnr is not None
    assert told.psnr > 44
    for (less, worse), (more, better) in itertools.pairwise(told.quality):
        assert less < more
        assert worse <= better


def test_files_without_a_table_are_20_bytes_smaller_and_else_the_same(
    photo: Image.Image, model: CodecModel
) -> None:
    data, bare = encode(photo, weights=model), encode(photo, weights=model, quality_table=False)
    assert len(data) - len(bare) in (17, 18, 19, 20)
    assert info(bare).quality == ()
    assert latent_of(data, model).sha256() == latent_of(bare, model).sha256()
    with pytest.raises(TargetError, match="no quality table"):
        truncate(bare, psnr=25.0)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.7])
def test_a_target_is_that_of_the_pixels_that_are_seen(share: float, model: CodecModel) -> None:
    picture = photograph(160, 120)
    alpha = (np.random.default_rng(3).random((120, 160)) < share).astype(np.uint8) * 255
    source = source_image(Image.fromarray(np.dstack([picture, alpha])))
    decoded = decode(encode(source, weights=model, quality=60), weights=model)
    assert 35 - 0.05 <= psnr_against(source, decoded) < 36
