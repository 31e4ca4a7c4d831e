"""Images in and out: every kind of file in image_kinds, transparency, metadata, and what formats can hold."""

from __future__ import annotations

import io
import sys
import types
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageColor, features

from ctc_codec.errors import CtcError, InputError, LimitError, OutputError
from ctc_codec.image.open import open_image
from ctc_codec.image.save import flattens, image_bytes, image_from_pixels, saving_format
from ctc_codec.image.source import psnr, source_image
from ctc_codec.image.transparency import fill_unseen
from support.image_kinds import KINDS, Kind
from support.image_samples import (
    SIZE,
    animated_gif,
    disc,
    exif_with,
    few_expected,
    file_of,
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
    png,
    premultiplied,
    rgba,
    saved,
    shades,
    stored_for,
    tiff,
    to_eight,
    turned,
    wide_grey,
    xmp_with,
    ycc_samples,
)

MAKER = b"Maker of things\0"
DATE = b"2024:05:06 07:08:09\0"


# --- every kind -------------------------------------------------------------------------------------


def test_the_table_has_its_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) > 200
    assert sum(kind.available for kind in KINDS) > 180


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_comes_of_each_kind(kind: Kind) -> None:
    if not kind.available:
        pytest.skip(f"this Pillow is without {kind.codec or kind.name}")
    data = kind.make()
    if kind.error is not None:
        with pytest.raises(InputError, match=kind.error) as caught:
            source_image(open_image(data))
        assert "\n" not in str(caught.value)
        return
    source = source_image(open_image(data))
    width, height = kind.size
    assert source.pixels.shape == (height, width, 3)
    assert source.pixels.dtype == np.uint8
    assert source.pixels.flags["C_CONTIGUOUS"]
    assert source.grey == kind.grey
    assert (source.alpha is not None) == kind.alpha
    assert (source.exif, source.xmp) == (b"", b"")
    assert len(source.notes) == len(kind.notes), source.notes
    for note, words in zip(source.notes, kind.notes, strict=True):
        assert words in note
    if kind.grey:
        assert np.array_equal(source.pixels, grey3(source.pixels[..., 0]))
    seen = np.ones((height, width), bool)
    if source.alpha is not None:
        assert source.alpha.shape == (height, width)
        assert source.alpha.dtype == np.uint8
        assert kind.seen is not None
        assert psnr(source.alpha, kind.seen().astype(np.uint8)) >= kind.floor
        seen = source.alpha > 0
    assert kind.expected is not None
    if seen.any():
        assert psnr(source.pixels[seen], kind.expected()[seen]) >= kind.floor


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.error is None], ids=str)
def test_an_image_that_nobody_has_loaded_gives_the_same(kind: Kind) -> None:
    if not kind.available:
        pytest.skip(f"this Pillow is without {kind.codec or kind.name}")
    data = kind.make()
    opened = open_image(data)
    lazy = Image.open(io.BytesIO(data))
    a, b, again = source_image(opened), source_image(lazy), source_image(lazy)
    assert np.array_equal(a.pixels, b.pixels)
    assert a.notes == b.notes
    assert a.grey == b.grey
    assert (a.alpha is None) == (b.alpha is None)
    if a.alpha is not None and b.alpha is not None:
        assert np.array_equal(a.alpha, b.alpha)
    assert np.array_equal(again.pixels, b.pixels)


def test_damage_raises_our_errors_only() -> None:
    rng = np.random.default_rng(5)
    read, messages = 0, []
    for kind in KINDS:
        if not kind.available or kind.size != SIZE:
            continue
        good = kind.make()
        for _ in range(4):
            data = bytearray(good)
            for at in rng.integers(0, max(len(data), 1), 3).tolist() if data else ():
                data[at] = rng.integers(0, 256)
            if rng.random() < 0.2:
                del data[rng.integers(0, len(data) + 1) :]
            try:
                source = source_image(open_image(bytes(data), 100_000), metadata=True)
                assert source.pixels.dtype == np.uint8
                read += 1
            except CtcError as error:
                messages.append(str(error))
            except Exception as error:
                raise AssertionError(f"{kind.name}: {type(error).__name__}: {error}") from error
    assert min(read, len(messages)) > 100, (read, len(messages))
    assert all(message and "\n" not in message for message in messages)


def test_more_bits_of_jpeg_2000_and_avif_are_told() -> None:
    """Files of 8 bits that say they have more: Pillow cannot write others."""
    if features.check("jpg_2000"):
        data = bytearray(file_of("JPEG2000", picture, no_jp2=True, irreversible=False)())
        at = data.index(b"\xff\x4f\xff\x51") + 42
        data[at : at + 9 : 3] = b"\x0b" * 3
        assert source_image(open_image(bytes(data))).notes == ["12-bit samples are reduced to 8 bits"]
    if "avif" in features.get_supported():
        data = bytearray(file_of("AVIF", picture, quality=98, subsampling="4:4:4")())
        at = data.index(b"pixi") + 9
        data[at : at + 3] = b"\x0a" * 3
        data[data.index(b"av1C") + 6] |= 0x40
        assert source_image(open_image(bytes(data))).notes == ["10-bit samples are reduced to 8 bits"]


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    data = file_of("PNG", picture)()
    assert open_image(data, SIZE[0] * SIZE[1]).size == SIZE
    with pytest.raises(LimitError, match="48x32"):
        open_image(data[:100], SIZE[0] * SIZE[1] - 1)


def test_a_cut_image_that_the_caller_has_opened() -> None:
    with pytest.raises(InputError, match="damaged image"):
        source_image(Image.open(io.BytesIO(file_of("PNG", picture)()[:700])))


# --- images that come from no file ------------------------------------------------------------------


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


# --- frames -----------------------------------------------------------------------------------------

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
        assert "current" in third.notes[0]
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


def test_threads_leave_the_filters_of_warnings_as_they_were() -> None:
    broken = png(picture(), 8, 2)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        for source in pool.map(lambda _: source_image(open_image(broken)), range(100)):
            assert source.pixels.shape == (32, 48, 3)
    assert list(warnings.filters) == before


# --- transparency -----------------------------------------------------------------------------------


def _composed(colours: np.ndarray, alpha: np.ndarray, background: tuple[int, ...]) -> np.ndarray:
    weight = alpha[..., None].astype(np.float64) / 255
    return (colours * weight + (1 - weight) * np.array(background)).round().astype(np.uint8)


@pytest.mark.parametrize(
    "background", ["white", "#f80", "rgb(1, 2, 3)", "hsl(120, 50%, 50%)", (7, 8, 9), (7, 8, 9, 255)]
)
def test_a_background_on_demand(background: str | tuple[int, ...]) -> None:
    colour = ImageColor.getrgb(background) if isinstance(background, str) else background[:3]
    source = source_image(Image.fromarray(rgba()), background=background)
    assert source.alpha is None
    assert source.notes == []
    assert np.array_equal(source.pixels, _composed(picture(), disc(), colour))


def test_grey_on_grey_stays_grey() -> None:
    grey = source_image(Image.fromarray(la()), background="#777")
    assert grey.grey
    assert np.array_equal(grey.pixels, _composed(grey3(shades()), disc(), (0x77,) * 3))
    colour = source_image(Image.fromarray(la()), background="#778")
    assert not colour.grey
    assert np.array_equal(colour.pixels, _composed(grey3(shades()), disc(), (0x77, 0x77, 0x88)))
    assert source_image(Image.fromarray(shades()), background="red").grey


def test_a_background_behind_each_kind_of_transparency() -> None:
    for kind in KINDS:
        if kind.alpha and kind.available and kind.floor == np.inf and kind.seen and kind.expected:
            source = source_image(open_image(kind.make()), background="#102030")
            assert source.alpha is None, kind.name
            expected = _composed(kind.expected(), kind.seen(), (0x10, 0x20, 0x30))
            assert np.abs(source.pixels.astype(int) - expected).max() <= 1, kind.name
            assert len(source.notes) == len(kind.notes)


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


# --- metadata ---------------------------------------------------------------------------------------

_CARRIERS = ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"]


def _supported(kind: str) -> None:
    if kind in ("WEBP", "AVIF") and kind.lower() not in features.get_supported():
        pytest.skip(f"this Pillow is without {kind}")


def _with_metadata(mode: str = "RGB", orientation: int = 1) -> Image.Image:
    arrays = {"RGB": picture(), "L": shades(), "RGBA": rgba(), "LA": la()}
    image = Image.fromarray(arrays[mode])
    image.info["exif"], image.info["xmp"] = exif_with(orientation), xmp_with(orientation)
    return image


def _orientation_of(exif: bytes) -> int:
    tags = Image.Exif()
    tags.load(exif)
    return int(tags.get(0x0112, 1))


@pytest.mark.parametrize("kind", _CARRIERS)
@pytest.mark.parametrize("orientation", [1, 6])
def test_metadata_are_kept_if_asked_for(kind: str, orientation: int) -> None:
    _supported(kind)
    data = turned(kind, orientation)()
    assert source_image(open_image(data)).exif == b""
    source = source_image(open_image(data), metadata=True)
    assert source.notes == []
    assert source.exif[:4] in (b"II*\0", b"MM\0*")
    assert MAKER in source.exif
    assert DATE in source.exif
    assert _orientation_of(source.exif) == 1
    if kind in ("JPEG", "PNG", "WEBP") and orientation == 1:
        assert source.exif == exif_with(1)[6:]  # makers' notes hold offsets: not a byte may move


def test_exif_is_changed_in_the_orientation_alone() -> None:
    for order in "<>":
        tags = Image.Exif()
        tags.endian = order
        tags[0x0112], tags[0x010F], tags[0x8769] = 8, "Maker of things", {0x927C: b"makers' notes"}
        before = tags.tobytes()
        out = io.BytesIO()
        Image.fromarray(picture()).save(out, "JPEG", exif=before)
        after = source_image(open_image(out.getvalue()), metadata=True).exif
        changed = [i for i, (a, b) in enumerate(zip(before[6:], after, strict=True)) if a != b]
        assert len(changed) == 1
        assert _orientation_of(after) == 1


def test_a_tiff_does_not_hand_on_what_it_says_about_its_pixels() -> None:
    data = file_of("TIFF", picture, exif=exif_with(1))()
    tags = Image.Exif()
    tags.load(source_image(open_image(data), metadata=True).exif)
    assert tags[0x010F] == "Maker of things"
    assert tags.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    assert not {256, 257, 258, 259, 262, 273, 277, 278, 279} & set(tags)


def test_a_tiff_that_says_nothing_has_no_exif() -> None:
    data = tiff([picture().tobytes()], SIZE, [8, 8, 8], 2)
    assert source_image(open_image(data), metadata=True).exif == b""


@pytest.mark.parametrize(
    "xmp",
    [
        xmp_with(6),
        xmp_with(6).replace(b'tiff:Orientation="6"', b"tiff:Orientation = '6'"),
        xmp_with(6).replace(b' tiff:Orientation="6"', b"").replace(
            b"</rdf:RDF>", b"<r><tiff:Orientation> 6</tiff:Orientation></r></rdf:RDF>"
        ),
    ],
)  # fmt: skip
def test_xmp_is_kept_upright(xmp: bytes) -> None:
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, "JPEG", xmp=xmp, quality=98, subsampling=0)
    source = source_image(open_image(out.getvalue()), metadata=True)
    assert source.xmp == xmp.replace(b"6", b"1")


@pytest.mark.parametrize("exif", [b"Exif\0\0XX*\0\x08\0\0\0", b"Exif\0\0", b"Exif\0\0II*\0\x99\0\0\0\x02\0"])
def test_broken_metadata_are_dropped(exif: bytes) -> None:
    data = file_of("JPEG", picture, exif=exif)()
    assert source_image(open_image(data)).notes == []
    source = source_image(open_image(data), metadata=True)
    assert source.exif == b""
    assert source.notes in (["EXIF data are broken: dropped"], [])
    assert bool(source.notes) == (len(exif) > 6)


@pytest.mark.parametrize(
    "info", [{"exif": 5}, {"exif": "text"}, {"xmp": 5}, {"Raw profile type exif": "\n\n\nzz"}]
)
def test_metadata_that_are_none_do_no_harm(info: dict[str, object]) -> None:
    image = Image.fromarray(picture())
    image.info.update(info)
    source = source_image(image, metadata=True)
    assert (source.exif, source.xmp) == (b"", b"")


def test_an_orientation_counts_even_where_the_rest_is_broken() -> None:
    exif = bytearray(exif_with(6))
    at = exif.index(b"\x87\x69")
    exif[at + 8 : at + 12] = b"\xff\xff\xff\xf0"  # where EXIF's own directory should be
    image = Image.fromarray(stored_for(picture(), 6))
    data = saved(image, "PNG", exif=bytes(exif))
    assert np.array_equal(source_image(open_image(data), metadata=True).pixels, picture())


# --- out --------------------------------------------------------------------------------------------


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
    image = _with_metadata(mode)
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
        colours = _composed(colours, disc(), ImageColor.getrgb(background))
    assert psnr(back.pixels[seen], colours[seen]) >= floor
    if kind in ("PNG", "TIFF", "JPEG", "JPEG2000", "BMP", "PPM", "TGA"):
        assert back.grey == mode.startswith("L")


def test_flattening_is_onto_white_unless_told_otherwise() -> None:
    back = source_image(open_image(image_bytes(Image.fromarray(rgba()), "BMP")))
    assert np.array_equal(back.pixels, _composed(picture(), disc(), (255, 255, 255)))
    back = source_image(open_image(image_bytes(Image.fromarray(la()), "BMP", background="red")))
    assert np.array_equal(back.pixels, _composed(grey3(shades()), disc(), (255, 0, 0)))


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


@pytest.mark.parametrize("kind", _CARRIERS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_metadata_are_written(kind: str, mode: str, prefix: bytes) -> None:
    _supported(kind)
    image = _with_metadata(mode)
    image.info["exif"] = prefix + exif_with(1)[6:]
    image.info["icc_profile"] = b"is not handed on"
    image.info["dpi"] = (1, 1)
    opened = open_image(image_bytes(image, kind))
    assert "icc_profile" not in opened.info
    source = source_image(opened, metadata=True)
    assert source.notes == []
    assert MAKER in source.exif
    assert DATE in source.exif
    assert _orientation_of(source.exif) == 1
    assert source.xmp == xmp_with(1)
    assert source.pixels.shape == (32, 48, 3)
    plain = image_from_pixels(picture())
    nothing = source_image(open_image(image_bytes(plain, kind)), metadata=True)
    assert (nothing.exif, nothing.xmp) == (b"", b"")


@pytest.mark.parametrize("kind", [*_CARRIERS, "BMP", "PPM", "GIF", "TGA"])
@pytest.mark.parametrize(
    "info",
    [
        {"exif": b"no exif"},
        {"exif": b"MM\0*\0\0\0\x08\xff\xff"},
        {"exif": exif_with(1) + bytes(70_000)},
        {"xmp": b"\xff\xfe no text"},
        {"xmp": b"<x>" + bytes(70_000)},
        {"exif": "text", "xmp": 5},
    ],
    ids=["no TIFF", "no tags", "long EXIF", "XMP of bytes", "long XMP", "other types"],
)
def test_what_cannot_be_written_is_left_out(kind: str, info: dict[str, object]) -> None:
    _supported(kind)
    image = Image.fromarray(picture())
    image.info.update(info)
    source = source_image(open_image(image_bytes(image, kind)))
    assert psnr(source.pixels, picture()) > (25 if kind == "GIF" else 40)


def test_long_exif_does_not_take_xmp_with_it() -> None:
    image = _with_metadata()
    image.info["exif"] = exif_with(1) + bytes(70_000)
    source = source_image(open_image(image_bytes(image, "JPEG")), metadata=True)
    assert (source.exif, source.xmp) == (b"", xmp_with(1))


def test_what_pillow_cannot_write_is_one_error() -> None:
    with pytest.raises(OutputError, match="cannot write XBM") as caught:
        image_bytes(Image.fromarray(picture()), "XBM")
    assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="JPEG"):
        image_bytes(Image.new("L", (1, 65536)), "JPEG")


def test_formats_by_suffix() -> None:
    assert saving_format(".JPG") == "JPEG"
    assert saving_format(".tif") == "TIFF"
    for suffix in ("", ".txt", ".psd"):
        with pytest.raises(ValueError, match="cannot choose an image format"):
            saving_format(suffix)


# --- plugins ----------------------------------------------------------------------------------------

_HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def test_heic_without_its_plugin_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"HEIC needs a plugin .*pillow-heif"):
        open_image(_HEIC)


def test_heic_is_tried_again_with_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class FakeImage(Image.Image):
        format = "HEIF"

    def register() -> None:
        calls.append("registered")
        monkeypatch.setattr(Image, "open", lambda file: fake)

    fake = FakeImage()
    fake.im = Image.new("RGB", (5, 4), "red").im
    fake._mode, fake._size = "RGB", (5, 4)
    plugin = types.ModuleType("pillow_heif")
    plugin.register_heif_opener = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    source = source_image(open_image(_HEIC))
    assert calls == ["registered"]
    assert (source.pixels == (255, 0, 0)).all()


def test_heic() -> None:
    heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    heif.from_pillow(Image.fromarray(stored_for(rgba(), 6))).save(
        out, quality=-1, chroma=444, exif=exif_with(6)
    )
    source = source_image(open_image(out.getvalue()), metadata=True)
    assert source.notes == []
    assert source.alpha is not None
    assert np.array_equal(source.alpha, disc())
    assert psnr(source.pixels[disc() > 0], picture()[disc() > 0]) > 40
    assert _orientation_of(source.exif) == 1
    assert MAKER in source.exif


def test_a_damaged_heic_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = types.ModuleType("pillow_heif")
    plugin.register_heif_opener = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    with pytest.raises(InputError, match="HEIC file that Pillow cannot open"):
        open_image(_HEIC)
