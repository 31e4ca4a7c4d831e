"""Every way in which a file says what its colours are, and which of them counts."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from ctc_codec.image.declaration import DECLARED, declared, remember
from ctc_codec.image.open import open_image
from ctc_codec.image.profile import from_h273, from_points, rgb_profile
from ctc_codec.image.source import SourceImage, source_image
from support.image_samples import (
    ADOBE_RGB,
    DISPLAY_P3,
    SIZE,
    SRGB,
    Array,
    chunk,
    cmyk_profile,
    grey_profile,
    image_of,
    inks,
    matrix_to_d50,
    picture,
    png,
    psd,
    saved,
    shades,
    srgb_of_xyz,
    tiff,
)
from support.image_samples import rgb_profile as icc_profile

_D65 = (0.3127, 0.3290)
_D50 = (0.3457, 0.3585)
_ROMM = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
_BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
_WHITES = {4: (0.310, 0.316), 8: (0.310, 0.316), 10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}
_PRIMARIES = {  # of H.273, Table 2
    1: SRGB,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: _BT2020,
    10: ((1, 0), (0, 1), (0, 0)),
    11: DISPLAY_P3,
    12: DISPLAY_P3,
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}


def _pq(light: Array) -> Array:
    power = (light * 203 / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def _hlg(light: Array) -> Array:
    scene = (light * 203 / 1000) ** (1 / 1.2)
    high = 0.17883277 * np.log((12 * scene - 0.28466892).clip(1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def _bt709(light: Array) -> Array:
    return np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)


_TRANSFERS: dict[int, Callable[[Array], Array]] = {  # of H.273, Table 3, from light to samples
    **dict.fromkeys((1, 6, 11, 12, 14, 15), _bt709),
    4: lambda light: light ** (1 / 2.2),
    5: lambda light: light ** (1 / 2.8),
    7: lambda light: np.where(light < 0.0228, 4 * light, 1.1115 * light**0.45 - 0.1115),
    8: lambda light: light,
    9: lambda light: 1 + np.log10(light.clip(0.01)) / 2,
    10: lambda light: 1 + np.log10(light.clip(10**-2.5)) / 2.5,
    13: lambda light: np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055),
    16: _pq,
    17: lambda light: (48 * light / 52.37) ** (1 / 2.6),
    18: _hlg,
}


def _expected(primaries: int, transfer: int, samples: Array | None = None, narrow: bool = False) -> Array:
    """The picture, or other samples, in sRGB, through the inverse of the formula for its samples."""
    samples = (picture() if samples is None else samples).astype(np.float64)
    samples = ((samples - 16) / 219).clip(0, 1) if narrow else samples / 255
    light = np.geomspace(1e-7, 100, 100_001)
    coded = _TRANSFERS[transfer](light)
    linear = np.interp(samples, coded, light, left=0).clip(0, 1)
    return srgb_of_xyz(linear @ matrix_to_d50(_PRIMARIES[primaries], _WHITES.get(primaries, _D65)).T)


def _source(data: bytes) -> SourceImage:
    """The same by the command's way and for an image that Pillow has not loaded yet."""
    source = source_image(open_image(data))
    lazy = source_image(Image.open(io.BytesIO(data)))
    assert np.array_equal(source.pixels, lazy.pixels)
    assert source.notes == lazy.notes
    return source


def _check(data: bytes, expected: Array, *notes: str, off: int = 2) -> None:
    source = _source(data)
    assert [words in note for words, note in zip(notes, source.notes, strict=False)] == [True] * len(notes)
    assert len(source.notes) == len(notes), source.notes
    assert np.abs(source.pixels.astype(int) - expected).max() <= off


# --- PNG --------------------------------------------------------------------------------------------


def _cicp(primaries: int, transfer: int, matrix: int = 0, full: int = 1) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, matrix, full]))


def _gama(value: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", value))


def _chrm(primaries: tuple[tuple[float, float], ...], white: tuple[float, float] = _D65) -> bytes:
    values = [round(100_000 * v) for point in (white, *primaries) for v in point]
    return chunk(b"cHRM", struct.pack(">8I", *values))


def _iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile))


def _png(*chunks: bytes) -> bytes:
    return png(picture(), 8, 2, *chunks)


def _gamma(
    exponent: float, primaries: tuple[tuple[float, float], ...] = SRGB, white: tuple[float, float] = _D65
) -> Array:
    return srgb_of_xyz((picture() / 255) ** exponent @ matrix_to_d50(primaries, white).T)


@pytest.mark.parametrize("primaries", sorted(_PRIMARIES))
def test_primaries_of_h273(primaries: int) -> None:
    notes = () if primaries == 1 else ("colours are converted from",)
    _check(_png(_cicp(primaries, 13)), _expected(primaries, 13), *notes)


@pytest.mark.parametrize("transfer", sorted(set(_TRANSFERS) - {13, 16, 18}))
def test_curves_of_h273(transfer: int) -> None:
    # The lowest of the logarithms is 0 by definition, and a hundredth of white as a limit.
    off = 3 if transfer in (9, 10) else 2
    _check(_png(_cicp(12, transfer)), _expected(12, transfer), "from Display P3 with", off=off)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_warned_of_and_brought_to_sdr(transfer: int, name: str) -> None:
    """Samples of 203 cd/m2 (58 % of PQ, 75 % of HLG) are white, as ITU-R BT.2408 has it."""
    notes = (
        f"warning: its colours are of high dynamic range ({name})",
        f"from BT.2020 primaries with {name}",
    )
    _check(_png(_cicp(9, transfer)), _expected(9, transfer), *notes)
    white = {16: 148, 18: 191}[transfer]
    flat = np.full((4, 4, 3), white, np.uint8)
    assert source_image(open_image(png(flat, 8, 2, _cicp(9, transfer)))).pixels.min() >= 253
    flat //= 2
    assert 40 < source_image(open_image(png(flat, 8, 2, _cicp(9, transfer)))).pixels.mean() < 140


def test_narrow_range_is_expanded() -> None:
    _check(_png(_cicp(1, 13, full=0)), _expected(1, 13, narrow=True), "from sRGB from 16 to 235 to sRGB")
    grey = source_image(open_image(png(shades(), 8, 0, _cicp(1, 13, full=0))))
    assert grey.grey
    assert np.abs(grey.pixels[..., 0] - ((shades() - 16.0) / 219 * 255).clip(0, 255)).max() <= 1


_P3_PROFILE = icc_profile(DISPLAY_P3, 2.2, "Test P3")
_PNGS = {
    "gAMA, linear": ([_gama(100_000)], _gamma(1), "from linear light to sRGB"),
    "gAMA, 1.8": ([_gama(55_556)], _gamma(1.8), "from gamma 1.8 to sRGB"),
    "gAMA, as sRGB has it": ([_gama(45_455)], picture()),
    "gAMA, 1/2.2 of two digits": ([_gama(45_000)], picture()),
    "gAMA, zero": ([_gama(0)], picture()),
    "gAMA, one": ([_gama(1)], picture()),
    "gAMA, all ones": ([_gama(2**32 - 1)], picture()),
    "cHRM": ([_chrm(DISPLAY_P3)], _expected(12, 13), "from Display P3 to sRGB"),
    "cHRM and gAMA": (
        [_chrm(ADOBE_RGB), _gama(45_455)],
        _gamma(2.2, ADOBE_RGB),
        "from Adobe RGB primaries with gamma 2.2",
    ),
    "cHRM, of no name": (
        [_chrm(_ROMM, _D50), _gama(55_556)],
        _gamma(1.8, _ROMM, _D50),
        "from primaries of its own with gamma 1.8",
    ),
    "cHRM of sRGB": ([_chrm(SRGB), _gama(45_455)], picture()),
    "cHRM, zero": ([_chrm(((0, 0), (0, 0), (0, 0)), (0, 0))], picture()),
    "cHRM, a line": (
        [_chrm(((0.2, 0.2), (0.3, 0.3), (0.4, 0.4))), _gama(100_000)],
        _gamma(1),
        "linear light",
    ),
    "cHRM, the white outside": ([_chrm(SRGB, (0.7, 0.2))], picture()),
    "sRGB over gAMA and cHRM": ([chunk(b"sRGB", b"\0"), _gama(100_000), _chrm(DISPLAY_P3)], picture()),
    "iCCP over sRGB": (
        [_iccp(_P3_PROFILE), chunk(b"sRGB", b"\0")],
        _gamma(2.2, DISPLAY_P3),
        "from Test P3 to",
    ),
    "iCCP over gAMA": ([_gama(100_000), _iccp(_P3_PROFILE)], _gamma(2.2, DISPLAY_P3), "from Test P3 to sRGB"),
    "iCCP, no profile, and gAMA": (
        [_iccp(b"none" * 99), _gama(100_000)],
        _gamma(1),
        "profile is broken: ignored",
        "linear light",
    ),
    "iCCP for grey, and gAMA": (
        [_iccp(grey_profile(1.0)), _gama(55_556)],
        _gamma(1.8),
        "is for GRAY: ignored",
        "gamma 1.8",
    ),
    "iCCP, not compressed": ([chunk(b"iCCP", b"profile\0\0none")], picture(), "profile is broken: ignored"),
    "cICP over all": (
        [_cicp(12, 13), _iccp(cmyk_profile()), chunk(b"sRGB", b"\0"), _gama(100_000)],
        _expected(12, 13),
        "from Display P3 to sRGB",
    ),
    "cICP of sRGB over iCCP": ([_cicp(1, 13), _iccp(_P3_PROFILE)], picture()),
    "cICP, unspecified": ([_cicp(2, 2), _gama(100_000)], _gamma(1), "linear light"),
    "cICP, primaries unspecified": ([_cicp(2, 13), _gama(100_000)], picture()),
    "cICP, unknown": ([_cicp(3, 13), _gama(100_000)], _gamma(1), "unknown numbers (3, 13)", "linear light"),
    "cICP, unknown curve": ([_cicp(1, 77)], picture(), "unknown numbers (1, 77)"),
    "cICP for YCbCr": ([_cicp(9, 16, matrix=1)], picture(), "cICP chunk is broken: ignored"),
    "cICP, short": ([chunk(b"cICP", b"\x0c\x0d\0")], picture(), "cICP chunk is broken: ignored"),
}


@pytest.mark.parametrize("name", _PNGS)
def test_chunks_of_png(name: str) -> None:
    chunks, expected, *notes = _PNGS[name]
    _check(_png(*chunks), expected, *notes)


_DAMAGED = [
    chunk(b"sRGB", b""),
    chunk(b"cICP", b""),
    chunk(b"gAMA", b"\0")[:-4] + b"none",
    struct.pack(">I", 2**31) + b"iCCPname\0\0",
]


@pytest.mark.parametrize("bad", _DAMAGED)
def test_damaged_chunks_do_not_take_others_with_them(bad: bytes) -> None:
    cut = bad[4:8] == b"iCCP"
    data = _png(_gama(55_556), bad) if cut else _png(bad, _gama(55_556))
    source = source_image(open_image(data))  # Pillow alone opens none of them
    assert np.abs(source.pixels.astype(int) - _gamma(1.8)).max() <= 2


def test_a_png_that_pillow_has_loaded_already() -> None:
    for chunks, expected in (
        ([_gama(100_000)], _gamma(1)),
        ([_chrm(DISPLAY_P3), _gama(45_455)], _gamma(2.2, DISPLAY_P3)),
        ([chunk(b"sRGB", b"\0"), _gama(100_000)], picture()),
        ([_iccp(_P3_PROFILE), _gama(100_000)], _gamma(2.2, DISPLAY_P3)),
    ):
        image = Image.open(io.BytesIO(_png(*chunks)))
        image.load()
        assert np.abs(source_image(image).pixels.astype(int) - expected).max() <= 2
        assert DECLARED not in image.info


def test_the_plugin_reads_a_file_again_that_pillow_has_loaded(tmp_path: Path) -> None:
    """Pillow's ``save`` loads pixels before it calls a plugin, and forgets the file."""
    path = tmp_path / "p3.png"
    path.write_bytes(_png(_cicp(12, 13)))
    with Image.open(path) as image:
        image.load()
        assert np.abs(source_image(image).pixels.astype(int) - _expected(12, 13)).max() <= 2
    with Image.open(path) as gone:
        gone.load()
    path.unlink()
    assert source_image(gone).notes == []
    with Image.open(io.BytesIO(_png(_cicp(12, 13)))) as other:
        other.load()
        assert source_image(other).notes == []


def test_what_a_file_says_outlives_copies_but_not_a_conversion() -> None:
    image = open_image(_png(_cicp(12, 13)))
    assert source_image(image.copy()).notes == ["colours are converted from Display P3 to sRGB"]
    image.info["icc_profile"] = icc_profile(SRGB, 1.0, "Linear")
    assert source_image(image).notes == ["colours are converted from Linear to sRGB"]


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P"])
def test_modes_stay(mode: str) -> None:
    image = Image.new("RGBA", (16, 16), (64, 64, 64, 200)).convert(mode)
    data = saved(image, "PNG")
    source = _source(data[:33] + _gama(100_000) + data[33:])
    assert (source.pixels == 137).all()
    assert source.grey or mode == "RGBA"
    if mode.endswith("A"):
        assert (source.alpha == 200).all()


def test_a_long_profile_is_bounded() -> None:
    assert declared(open_image(_png(_iccp(_P3_PROFILE))))[0].profile == _P3_PROFILE
    padded = _P3_PROFILE + bytes(2_000_000)
    bomb = bytes(20_000_000)
    source = source_image(open_image(_png(_iccp(struct.pack(">I", len(padded)) + padded[4:]))))
    assert source.notes == ["colours are converted from Test P3 to sRGB"]
    assert source_image(open_image(_png(_iccp(bomb)))).notes == [
        "the embedded colour profile is broken: ignored"
    ]


# --- EXIF -------------------------------------------------------------------------------------------


def _exif(order: str, space: int | None, index: bytes = b"", **fields: list[tuple[int, int]]) -> bytes:
    """A TIFF structure: rationals by tag as t318=[(3127, 10000), ...], those from 0x8000 on in EXIF's IFD."""
    tags = {int(name[1:]): pairs for name, pairs in fields.items()}
    first: list[tuple[int, int, int, bytes]] = []
    own: list[tuple[int, int, int, bytes]] = []
    for tag, pairs in sorted(tags.items()):
        packed = b"".join(struct.pack(order + "II", *pair) for pair in pairs)
        (own if tag >= 0x8000 else first).append((tag, 5, len(pairs), packed))
    if space is not None:
        own.append((0xA001, 3, 1, struct.pack(order + "HH", space, 0)))
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8))

    def add(entries: list[tuple[int, int, int, bytes]]) -> None:
        at, extra = len(out), b""
        behind = at + 2 + 12 * len(entries) + 4
        out.extend(struct.pack(order + "H", len(entries)))
        for tag, kind, count, value in sorted(entries):
            word = value if len(value) <= 4 else struct.pack(order + "I", behind + len(extra))
            extra += value if len(value) > 4 else b""
            out.extend(struct.pack(order + "HHI", tag, kind, count) + word.ljust(4, b"\0"))
        out.extend(bytes(4) + extra)

    def size(entries: list[tuple[int, int, int, bytes]]) -> int:
        return 2 + 12 * len(entries) + 4 + sum(len(v) for *_, v in entries if len(v) > 4)

    first.append((0x8769, 4, 1, bytes(4)))
    if index:
        own.append((0xA005, 4, 1, bytes(4)))
    start = 8 + size(first)
    first[-1] = (0x8769, 4, 1, struct.pack(order + "I", start))
    if index:
        own[-1] = (0xA005, 4, 1, struct.pack(order + "I", start + size(own)))
    add(first)
    add(own)
    if index:
        add([(1, 2, 4, index)])
    return bytes(out)


_P3_FIELDS = {
    "t318": [(3127, 10_000), (3290, 10_000)],
    "t319": [(680, 1000), (320, 1000), (265, 1000), (690, 1000), (150, 1000), (60, 1000)],
}
_ADOBE = _gamma(563 / 256, ADOBE_RGB)
_EXIF = {
    "sRGB": ((1,), {}, picture()),
    "sRGB, whatever else": ((1, b"R98\0"), {"t42240": [(22, 10)], **_P3_FIELDS}, picture()),
    "Adobe RGB": ((2,), {}, _ADOBE, "from Adobe RGB (1998) to sRGB"),
    "Adobe RGB by DCF": ((65535, b"R03\0"), {"t42240": [(22, 10)]}, _ADOBE, "from Adobe RGB (1998) to sRGB"),
    "uncalibrated": ((65535,), {}, picture(), "uncalibrated: they are taken as sRGB"),
    "of a maker": ((0xFFFD,), {}, picture(), "calls its colours number 65533"),
    "nothing": ((None,), {}, picture()),
    "gamma": ((65535,), {"t42240": [(18, 10)]}, _gamma(1.8), "from gamma 1.8 to sRGB"),
    "primaries": ((None,), _P3_FIELDS, _expected(12, 13), "from Display P3 to sRGB"),
    "primaries and gamma": (
        (65535,),
        {"t42240": [(22, 10)], **_P3_FIELDS},
        _gamma(2.2, DISPLAY_P3),
        "from Display P3 with gamma 2.2 to sRGB",
    ),
    "divided by zero": ((65535,), {"t42240": [(1, 0)]}, picture(), "uncalibrated"),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", _EXIF)
def test_exif(name: str, order: str) -> None:
    (space, *index), fields, expected, *notes = _EXIF[name]
    exif = _exif(order, space, *index, **fields)
    _check(_png(chunk(b"eXIf", exif)), expected, *notes)
    webp = saved(Image.fromarray(picture()), "WEBP", lossless=True, exif=exif)
    _check(webp, expected, *notes)
    jpeg = saved(Image.fromarray(picture()), "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + exif)
    source = _source(jpeg)
    assert len(source.notes) == len(notes)
    assert np.abs(source.pixels.astype(int) - expected).mean() < 2


def test_exif_gives_way() -> None:
    adobe = chunk(b"eXIf", _exif("<", 2))
    _check(_png(adobe, chunk(b"sRGB", b"\0")), picture())
    profile = saved(
        Image.fromarray(picture()), "WEBP", lossless=True, exif=_exif("<", 2), icc_profile=_P3_PROFILE
    )
    _check(profile, _gamma(2.2, DISPLAY_P3), "from Test P3")
    broken = saved(
        Image.fromarray(picture()), "WEBP", lossless=True, exif=_exif("<", 2), icc_profile=b"none" * 50
    )
    _check(broken, _ADOBE, "profile is broken: ignored", "from Adobe RGB (1998)")
    cmyk = saved(image_of("CMYK", inks()), "JPEG", exif=b"Exif\0\0" + _exif("<", 2))
    assert _source(cmyk).notes == ["CMYK without a colour profile: colours are approximate"]


@pytest.mark.parametrize("cut", range(8, 150, 7))
def test_cut_exif_says_nothing_or_the_same(cut: int) -> None:
    exif = _exif("<", 65535, b"R03\0", **_P3_FIELDS)[:cut]
    webp = saved(Image.fromarray(picture()), "WEBP", lossless=True, exif=exif)
    assert len(_source(webp).notes) <= 1


def test_a_jpeg_without_all_parts_of_its_profile() -> None:
    data = saved(Image.fromarray(picture()), "JPEG", quality=100, icc_profile=_P3_PROFILE * 200)
    at = data.index(b"ICC_PROFILE\0")
    one_less = data.replace(data[at - 4 : at - 2 + int.from_bytes(data[at - 2 : at], "big")], b"", 1)
    assert _source(one_less).notes == ["the embedded colour profile is broken: ignored"]


# --- TIFF -------------------------------------------------------------------------------------------


def _tiff(image: Image.Image, **tags: tuple[float, ...]) -> bytes:
    directory = ImageFileDirectory_v2()
    for name, values in tags.items():
        number = int(name[1:])
        directory.tagtype[number] = 3 if number == 301 else 5
        directory[number] = (
            values if number == 301 else tuple(IFDRational(round(v * 10_000), 10_000) for v in values)
        )
    return saved(image, "TIFF", tiffinfo=directory)


_RAMP = tuple(257 * i for i in range(256))
_P3_TAGS = {"t318": _D65, "t319": tuple(v for point in DISPLAY_P3 for v in point)}
_TIFFS = {
    "primaries": (_P3_TAGS, _expected(12, 13), "from Display P3 to sRGB"),
    "tables": ({"t301": _RAMP * 3}, _gamma(1), "from a curve of its own to sRGB"),
    "a table": ({"t301": _RAMP}, _gamma(1), "from a curve of its own to sRGB"),
    "primaries and a table": (
        {**_P3_TAGS, "t301": _RAMP},
        _gamma(1, DISPLAY_P3),
        "from Display P3 with a curve of its own to sRGB",
    ),
    "a table too short": ({"t301": _RAMP[:99]}, picture()),
    "no primaries": ({"t318": _D65}, picture()),
}


@pytest.mark.parametrize("name", _TIFFS)
def test_tags_of_tiff(name: str) -> None:
    tags, expected, *notes = _TIFFS[name]
    data = _tiff(Image.fromarray(picture()), **tags)
    _check(data, expected, *notes)
    loaded = Image.open(io.BytesIO(data))
    loaded.load()
    assert np.abs(source_image(loaded).pixels.astype(int) - expected).max() <= 2


def test_tables_of_tiff_for_grey() -> None:
    linear = _expected(1, 8, np.repeat(shades()[..., None], 3, axis=2))
    _check(_tiff(Image.fromarray(shades()), t301=_RAMP), linear, "a curve of its own")
    wide = Image.fromarray(shades().astype(np.uint16) * 257)
    _check(_tiff(wide, t301=tuple(range(65536))), linear, "16-bit", "a curve of its own")


def test_exif_of_tiff() -> None:
    at = len(tiff([picture().tobytes()], SIZE, [8] * 3, 2, t34665=[0]))
    plain = tiff([picture().tobytes()], SIZE, [8] * 3, 2, t34665=[at])
    adobe = struct.pack("<HHHIII", 1, 0xA001, 3, 1, 2, 0)
    _check(plain + adobe, _ADOBE, "from Adobe RGB (1998)")
    dcf = struct.pack("<HHHIIHHIII", 2, 0xA001, 3, 1, 65535, 0xA005, 4, 1, at + 30, 0)
    index = struct.pack("<HHHI4sI", 1, 1, 2, 4, b"R03\0", 0)
    _check(plain + dcf + index, _ADOBE, "from Adobe RGB (1998)")


# --- other formats ----------------------------------------------------------------------------------


def _nclx(data: bytes, primaries: int, transfer: int) -> bytes:
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


@pytest.mark.skipif("avif" not in features.get_supported(), reason="this Pillow is without AVIF")
def test_avif() -> None:
    plain = saved(Image.fromarray(picture()), "AVIF", quality=100, subsampling="4:4:4")
    decoded = np.asarray(Image.open(io.BytesIO(plain)))
    _check(_nclx(plain, 1, 13), decoded)
    _check(_nclx(plain, 2, 2), decoded)
    _check(_nclx(plain, 12, 13), _expected(12, 13, decoded), "from Display P3 to sRGB")
    _check(
        _nclx(plain, 9, 16), _expected(9, 16, decoded), "warning: its colours are of high", "with PQ", off=3
    )
    _check(_nclx(plain, 3, 13), decoded, "unknown numbers (3, 13)")
    both = saved(
        Image.fromarray(picture()), "AVIF", quality=100, subsampling="4:4:4", icc_profile=_P3_PROFILE
    )
    assert _source(_nclx(both, 9, 16)).notes == ["colours are converted from Test P3 to sRGB"]
    frames = [Image.fromarray(np.roll(picture(), 9 * i, axis=1)) for i in range(2)]
    moving = saved(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    assert _source(_nclx(moving, 12, 13)).notes[1:] == ["colours are converted from Display P3 to sRGB"]


def test_heif() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    for loaded in (False, True):
        data = _nclx(saved(Image.fromarray(picture()), "HEIF", quality=95), 12, 13)
        image = Image.open(io.BytesIO(data))
        if loaded:
            image.load()
        assert source_image(image).notes == ["colours are converted from Display P3 to sRGB"]
    assert (
        _source(_nclx(data, 9, 18))
        .notes[0]
        .startswith("warning: its colours are of high dynamic range (HLG)")
    )


def _jpeg_xl_of(transfer: int) -> bytes:
    """A lossless file whose header calls its colours BT.2020 with this curve instead of sRGB."""
    data = saved(Image.new("RGB", (64, 64), (100, 120, 90)), "JXL", lossless=True)
    assert data[:2] == b"\xff\x0a"
    bits = "".join(f"{byte:08b}"[::-1] for byte in data[2:12])
    # Size 1 + 5 + 3 bits; not all default, no further fields, integers, 8 bits, 16 are enough, no more
    # channels, not XYB; then the colours: all default.
    at = 9 + 1 + 1 + 1 + 2 + 1 + 2 + 1
    assert (bits[0], bits[9:at], bits[at]) == ("1", "000" + "00" + bits[14] + "00" + "0", "1")

    def number(value: int) -> str:  # least significant bit first, a selector and the rest
        if value < 2:
            return "00" if value == 0 else "10"
        return "01" + f"{value - 2:04b}"[::-1] if value < 18 else "11" + f"{value - 18:06b}"[::-1]

    # Not default, no profile, RGB, D65, primaries 9, no gamma, the curve, relative intent.
    colours = "00" + number(0) + number(1) + number(9) + "0" + number(transfer) + number(1)
    end = at + 1 + 2 + 1  # no extensions, the default matrix; then zeros up to a whole byte
    padded = end + -end % 8
    header = bits[:at] + colours + bits[at + 1 : end]
    header += "0" * (-len(header) % 8)
    whole = bytes(int(header[i : i + 8][::-1], 2) for i in range(0, len(header), 8))
    return data[:2] + whole + data[2 + padded // 8 :]


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_jpeg_xl(transfer: int, name: str) -> None:
    pytest.importorskip("pillow_jxl")
    notes = _source(_jpeg_xl_of(transfer)).notes
    assert notes[0].startswith(f"warning: its colours are of high dynamic range ({name})")


def test_profiles_for_high_dynamic_range_are_warned_of() -> None:
    pq = icc_profile(DISPLAY_P3, 2.2, "Rec. ITU-R BT.2100 PQ")
    assert _source(_png(_iccp(pq))).notes[0].startswith("warning: its colours are of high dynamic range (PQ)")
    other = icc_profile(DISPLAY_P3, 2.2, "PQR Monitor")
    assert _source(_png(_iccp(other))).notes == ["colours are converted from PQR Monitor to sRGB"]


def _jp2(method: int, rest: bytes, array: Array | None = None) -> bytes:
    data = saved(Image.fromarray(picture() if array is None else array), "JPEG2000", irreversible=False)
    at, outer = data.index(b"colr") - 4, data.index(b"jp2h") - 4
    old, whole = (int.from_bytes(data[i : i + 4], "big") for i in (at, outer))
    box = struct.pack(">I4s3B", 11 + len(rest), b"colr", method, 0, 0) + rest
    head = data[:outer] + struct.pack(">I", whole - old + len(box)) + data[outer + 4 : at]
    return head + box + data[at + old :]


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow is without JPEG 2000")
def test_jpeg_2000() -> None:
    _check(_jp2(1, struct.pack(">I", 16)), picture())
    linear = np.where(picture() / 255 < 16 / 512, picture() / 255 / 16, (picture() / 255) ** 1.8)
    romm = srgb_of_xyz(linear @ matrix_to_d50(_ROMM, _D50).T)
    _check(_jp2(1, struct.pack(">I", 21)), romm, "from ROMM RGB (ProPhoto) to sRGB")
    _check(_jp2(2, _P3_PROFILE), _gamma(2.2, DISPLAY_P3), "from Test P3 to sRGB")
    _check(_jp2(3, _P3_PROFILE), _gamma(2.2, DISPLAY_P3), "from Test P3 to sRGB")
    _check(_jp2(2, _P3_PROFILE[:200]), picture(), "profile is broken: ignored")
    _check(_jp2(5, struct.pack(">HHHB", 12, 13, 0, 128)), _expected(12, 13), "from Display P3 to sRGB")
    for number, name in ((14, "CIELab"), (99, "of the unknown number 99")):
        note = f"warning: its colours are {name}: they are taken as sRGB"
        _check(_jp2(1, struct.pack(">I", number)), picture(), note)
    grey = np.repeat(shades()[..., None], 3, axis=2)
    _check(_jp2(1, struct.pack(">I", 17), shades()), grey)
    _check(_jp2(2, grey_profile(1.0), shades()), _expected(1, 8, grey), "from Test grey to sRGB")


def _bmp(
    kind: bytes, xyz: Array | None = None, gamma: float = 0, profile: bytes = b"", v4: bool = False
) -> bytes:
    """A 24-bit BMP of version 4 or 5."""
    width, height = SIZE
    pixels = picture()[::-1, :, ::-1].tobytes()
    head = struct.pack("<IiiHHIIiiII", 108 if v4 else 124, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    corners = np.zeros(9) if xyz is None else xyz.T.ravel()
    head += bytes(16) + kind[::-1] + np.rint(corners * 2**30).astype("<i4").tobytes()
    head += struct.pack("<I", round(gamma * 65536)) * 3
    if not v4:
        head += struct.pack("<4I", 4, len(head) + 16 + len(pixels), len(profile), 0)
    start = 14 + len(head)
    return (
        struct.pack("<2sIHHI", b"BM", start + len(pixels) + len(profile), 0, 0, start)
        + head
        + pixels
        + profile
    )


def _xyz_of(primaries: tuple[tuple[float, float], ...]) -> Array:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*primaries, _D65)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


_CALIBRATED = bytes(4)
_BMPS = {
    "nothing": ((_CALIBRATED,), picture()),
    "version 4": (
        (_CALIBRATED, _xyz_of(DISPLAY_P3), 2.2, b"", True),
        _gamma(2.2, DISPLAY_P3),
        "Display P3 with gamma 2.2",
    ),
    "gamma alone": ((_CALIBRATED, None, 1.8), _gamma(1.8), "from gamma 1.8 to sRGB"),
    "of sRGB": ((_CALIBRATED, _xyz_of(SRGB), 2.2), picture()),
    "sRGB": ((b"sRGB", _xyz_of(DISPLAY_P3), 1), picture()),
    "Windows": ((b"Win ",), picture()),
    "embedded": ((b"MBED", None, 0, _P3_PROFILE), _gamma(2.2, DISPLAY_P3), "from Test P3 to sRGB"),
    "embedded, cut": ((b"MBED", None, 0, _P3_PROFILE[:99]), picture(), "profile is broken: ignored"),
    "linked": ((b"LINK", None, 0, b"c:\\monitor.icm\0"), picture(), "profile is another file: ignored"),
}


@pytest.mark.parametrize("name", _BMPS)
def test_bmp(name: str) -> None:
    arguments, expected, *notes = _BMPS[name]
    _check(_bmp(*arguments), expected, *notes)


@pytest.mark.parametrize(
    ("gamma", "exponent"), [((0, 0), 0), ((1, 1), 1), ((18, 10), 1.8), ((22, 10), 0), ((9, 1), 0)]
)
def test_tga(gamma: tuple[int, int], exponent: float) -> None:
    data = saved(Image.fromarray(picture()), "TGA").removesuffix(bytes(8) + b"TRUEVISION-XFILE.\0")
    area = struct.pack("<H476xHH12xB", 495, *gamma, 0)
    data += area + struct.pack("<II", len(data), 0) + b"TRUEVISION-XFILE.\0"
    if exponent:
        _check(data, _gamma(exponent), "colours are converted from")
    else:
        _check(data, picture())


def test_gif() -> None:
    data = saved(Image.fromarray(shades()).convert("P"), "GIF")
    at = 13 + (6 << (data[10] & 7))
    for profile, note in (
        (_P3_PROFILE, ""),
        (icc_profile(SRGB, 1.0), "from Test RGB"),
        (b"none", "is broken"),
    ):
        blocks = b"".join(bytes([len(part)]) + part for part in (profile[:255], profile[255:]) if part)
        comment = b"\x21\xfe\x04text\0"
        extended = data[:at] + comment + b"\x21\xff\x0bICCRGBG1012" + blocks + b"\0" + data[at:]
        notes = _source(extended).notes
        # Greys have no primaries, and gamma 2.2 is not sRGB's curve.
        assert [note in line for line in notes] == [True]


def test_psd_and_icons() -> None:
    data = psd(picture(), 3)
    block = (
        struct.pack(">4sHHI", b"8BIM", 1039, 0, len(_P3_PROFILE)) + _P3_PROFILE + bytes(len(_P3_PROFILE) % 2)
    )
    with_profile = data[:30] + struct.pack(">I", len(block)) + block + data[34:]
    _check(with_profile, _gamma(2.2, DISPLAY_P3), "from Test P3 to sRGB")
    flat = np.full((64, 64, 3), (180, 90, 70), np.uint8)
    inside = png(flat, 8, 2, _cicp(12, 13))
    expected = _expected(12, 13, flat)
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 64, 64, 0, 0, 1, 32, len(inside), 22) + inside
    _check(icon, expected, "from Display P3 to sRGB")
    mac = struct.pack(">4sI4sI", b"icns", 16 + len(inside), b"icp6", 8 + len(inside)) + inside
    _check(mac, expected, "from Display P3 to sRGB")


def test_qoi_is_not_believed() -> None:
    """Pillow calls any picture linear, and the format's description calls that byte purely informative."""
    if "QOI" not in Image.SAVE:
        pytest.skip("this Pillow does not write QOI")
    data = saved(Image.fromarray(picture()), "QOI", colorspace="sRGB")
    _check(data, picture())
    _check(data[:13] + b"\1" + data[14:], picture(), "calls its colours linear")


# --- profiles ---------------------------------------------------------------------------------------


def test_profiles_that_cannot_be_made() -> None:
    for primaries, transfer in ((3, 13), (1, 3), (0, 0), (23, 13), (1, 19)):
        with pytest.raises(ValueError, match="unknown"):
            from_h273(primaries, transfer)
    for gamma in (0.0, -1.0, 1e-9, 1e9, float("nan")):
        with pytest.raises(ValueError, match="exponent"):
            from_points(None, gamma)
    for points in ((0.0,) * 8, (float("nan"),) * 8, (1e9,) * 8, (0.3, 0.3)):
        with pytest.raises(ValueError):  # noqa: PT011  (their shape, for the last)
            rgb_profile("", points, np.linspace(0, 1, 256))


@pytest.mark.parametrize("seed", range(8))
def test_damage_in_declarations_does_no_harm(seed: int) -> None:
    """Random bytes in all that is read: some note perhaps, the same size, and no error."""
    generator = np.random.default_rng(seed)
    files = [
        _jp2(2, _P3_PROFILE),
        _bmp(b"MBED", None, 0, _P3_PROFILE),
        _png(_cicp(12, 13), _iccp(_P3_PROFILE)),
    ]
    if "avif" in features.get_supported():
        files.append(_nclx(saved(Image.fromarray(picture()), "AVIF"), 12, 13))
    for data in files:
        image = Image.open(io.BytesIO(data))
        for _ in range(40):
            damaged = bytearray(data)
            for place in generator.integers(8, min(len(data), 600), 6):
                damaged[place] = generator.integers(256)
            image.info.pop(DECLARED, None)
            remember(image, io.BytesIO(bytes(damaged)))
            assert isinstance(declared(image), list)
