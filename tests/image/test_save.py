"""Pixels out: modes, formats, and the alpha that they hold or give up."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from ctc_codec.errors import OutputError
from ctc_codec.image.formats import check_quality, check_size, saving_format
from ctc_codec.image.open import open_image
from ctc_codec.image.save import flattens, image_bytes, image_from_pixels
from ctc_codec.image.source import psnr, source_image
from support.image_samples import composed, disc, grey3, la, picture, rgba, shades, with_metadata


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_images_from_pixels(grey: bool, alpha: bool) -> None:
    pixels = grey3(shades()) if grey else picture()
    image = image_from_pixels(pixels[..., :1] if grey else pixels, disc() if alpha else None)
    assert image.mode == ("L" if grey else "RGB") + "A" * alpha
    source = source_image(image)
    seen = disc() > 0 if alpha else slice(None)
    assert np.array_equal(source.pixels[seen], pixels[seen])
    assert source.alpha is None or np.array_equal(source.alpha, disc())


_OUT = {  # format: (holds alpha, PSNR that it writes with)
    "PNG": (True, np.inf),
    "TIFF": (True, np.inf),
    "WEBP": (True, np.inf),
    "AVIF": (True, 40),
    "JPEG2000": (True, np.inf),
    "TGA": (True, np.inf),
    "ICO": (True, np.inf),
    "DDS": (True, np.inf),
    "SGI": (True, np.inf),
    "QOI": (True, np.inf),
    "JPEG": (False, 40),
    "BMP": (False, np.inf),
    "DIB": (False, np.inf),
    "PCX": (False, np.inf),
    "PPM": (False, np.inf),
}


@pytest.mark.parametrize("kind", _OUT)
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_every_mode_in_every_format(kind: str, mode: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow is without {kind}")
    holds_alpha, floor = _OUT[kind]
    image = with_metadata(mode)
    before = (image.tobytes(), dict(image.info))
    background = "#203040" if mode == "RGBA" else "#555"
    data = image_bytes(image, kind, background=background)
    assert (image.tobytes(), dict(image.info)) == before
    back = source_image(open_image(data))
    assert back.notes == []
    colours = picture() if mode.startswith("RGB") else grey3(shades())
    clear = mode.endswith("A")
    assert flattens(image, kind) == (clear and not holds_alpha)
    assert (back.alpha is not None) == (clear and holds_alpha)
    seen = np.ones(disc().shape, bool)
    if back.alpha is not None:
        assert psnr(back.alpha, disc()) >= floor
        seen = disc() > 8
    elif clear:
        colours = composed(colours, disc(), ImageColor.getrgb(background))
    assert psnr(back.pixels[seen], colours[seen]) >= floor
    if kind in ("PNG", "TIFF", "JPEG", "JPEG2000", "BMP", "PPM", "TGA"):
        assert back.grey == mode.startswith("L")


def test_flattening_is_onto_white_unless_told_otherwise() -> None:
    back = source_image(open_image(image_bytes(Image.fromarray(rgba()), "BMP")))
    assert np.array_equal(back.pixels, composed(picture(), disc(), (255, 255, 255)))
    back = source_image(open_image(image_bytes(Image.fromarray(la()), "BMP", background="red")))
    assert np.array_equal(back.pixels, composed(grey3(shades()), disc(), (255, 0, 0)))


def test_opaque_alpha_is_nothing_to_flatten() -> None:
    image = Image.fromarray(picture()).convert("RGBA")
    assert not flattens(image, "JPEG")
    assert np.array_equal(source_image(open_image(image_bytes(image, "BMP"))).pixels, picture())
    assert not flattens(Image.fromarray(picture()), "JPEG")


def test_gif_holds_alpha_of_nothing_or_all() -> None:
    soft, hard = Image.fromarray(rgba()), Image.fromarray(rgba(soft=False))
    assert flattens(soft, "GIF")
    assert not flattens(hard, "GIF")
    assert source_image(open_image(image_bytes(soft, "GIF"))).alpha is None
    back = source_image(open_image(image_bytes(hard, "GIF")))
    assert back.alpha is not None
    assert np.array_equal(back.alpha, disc(soft=False))
    assert psnr(back.pixels[back.alpha > 0], picture()[back.alpha > 0]) > 25


def test_what_pillow_cannot_write_is_one_error() -> None:
    with pytest.raises(OutputError, match="cannot write XBM") as caught:
        image_bytes(Image.fromarray(picture()), "XBM")
    assert "\n" not in str(caught.value)


def test_formats_by_suffix() -> None:
    assert saving_format(".JPG") == "JPEG"
    assert saving_format(".tif") == "TIFF"
    for suffix in ("", ".txt", ".psd"):
        with pytest.raises(ValueError, match="cannot choose an image format"):
            saving_format(suffix)


_LONGEST = {
    "JPEG": 65500,
    "MPO": 65500,
    "WEBP": 16383,
    "GIF": 65535,
    "TGA": 65535,
    "SGI": 65535,
    "PCX": 65534,
}


@pytest.mark.parametrize("kind", _LONGEST)
def test_the_longest_side_is_written_and_one_more_is_refused(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow is without {kind}")
    longest = _LONGEST[kind]
    for size in ((longest, 2), (2, longest)):
        check_size(kind, *size)
        assert open_image(image_bytes(Image.new("RGB", size), kind)).size == size
    for width, height in ((longest + 1, 2), (2, longest + 1)):
        message = f"{kind} holds at most {longest} pixels a side, not {width}x{height}"
        with pytest.raises(OutputError, match=message):
            check_size(kind, width, height)
        with pytest.raises(OutputError, match=message):
            image_bytes(Image.new("RGB", (width, height)), kind)
    assert capfd.readouterr() == ("", "")


def test_other_limits_of_formats() -> None:
    for kind, longest in (("ICO", 256), ("AVIF", 32768), ("ICNS", 1024), ("PDF", 65500)):
        check_size(kind, longest, longest)
        with pytest.raises(OutputError, match=rf"{kind} holds at most .*\b{longest}\b"):
            check_size(kind, 1, longest + 1)
    with pytest.raises(
        OutputError, match="AVIF holds at most 65536 pixels a side, readers take 32768, not 70000x2"
    ):
        check_size("AVIF", 70_000, 2)
    with pytest.raises(OutputError, match="ICNS holds squares alone, not 48x32"):
        image_bytes(Image.fromarray(picture()), "ICNS")
    for kind in ("PNG", "TIFF", "BMP", "PPM", "QOI", "JPEG2000", "DDS"):
        check_size(kind, 70_000, 2)
        if kind in Image.SAVE:
            assert open_image(image_bytes(Image.new("RGB", (70_000, 2)), kind)).size == (70_000, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "MPO", "PDF", "JXL", "HEIF"])
def test_quality_makes_files_smaller(kind: str) -> None:
    Image.init()
    if kind == "JXL":
        pytest.importorskip("pillow_jxl")
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow is without {kind}")
    image = Image.fromarray(picture(256, 192))
    sizes = [len(image_bytes(image, kind, quality=quality)) for quality in (10, 60, 95)]
    assert sizes == sorted(set(sizes))
    assert len(image_bytes(image, kind)) >= sizes[1]
    if kind not in ("PDF", "MPO"):
        assert (
            psnr(source_image(open_image(image_bytes(image, kind, quality=95))).pixels, picture(256, 192))
            > 38
        )


def test_a_quality_that_is_none_is_refused() -> None:
    image = Image.fromarray(picture())
    for quality in (0, 101, "80", 80.0):
        with pytest.raises(ValueError, match="from 1 to 100"):
            check_quality("JPEG", quality)
    with pytest.raises(ValueError, match="PNG has no quality"):
        image_bytes(image, "PNG", quality=80)
    check_quality("PNG", None)


def test_no_resolution_is_made_up() -> None:
    """Pillow writes 96 into BMP, and 100 into PCX."""
    for kind in ("BMP", "DIB", "PCX", "PNG", "JPEG", "TIFF"):
        info = open_image(image_bytes(Image.fromarray(picture()), kind)).info
        assert info.get("dpi", (0, 0)) == (0, 0)


def test_png_is_packed_fast() -> None:
    """Its zlib stream says that a fast method packed it, not the default one, of three times the time."""
    data = image_bytes(Image.effect_noise((40, 30), 20), "PNG")
    level = data[data.index(b"IDAT") + 5] >> 6
    assert level == 1
