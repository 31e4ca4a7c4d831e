"""Which picture of a file is coded, whether its alpha is meant, and whether it is grey."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, features

from ctc_codec.errors import InputError, LimitError
from ctc_codec.image.open import open_image
from ctc_codec.image.source import SourceImage, source_image
from support.image_kinds import Kind
from support.image_samples import (
    SIZE,
    SRGB,
    Array,
    chunk,
    disc,
    few_colours,
    few_expected,
    grey3,
    inks,
    la,
    picture,
    png,
    premultiplied,
    psd,
    rgb_profile,
    rgba,
    saved,
    shades,
    srgb_of_grey,
    tiff,
)


def _coded(data: bytes) -> SourceImage:
    return source_image(open_image(data))


# --- pages of TIFF ----------------------------------------------------------------------------------

_SMALL = picture(24, 16)
_MIRRORED = np.ascontiguousarray(picture()[:, ::-1])


def _pages(*pages: tuple[Array, dict[int, int]], inner: Sequence[tuple[Array, dict[int, int]]] = ()) -> bytes:
    """A TIFF of pages of RGB with these tags, the first with a reference to inner directories."""
    out = bytearray(b"II*\0\0\0\0\0")
    link, references = 4, []
    for index, (array, tags) in enumerate([*inner, *pages]):
        height, width = array.shape[:2]
        pixels = len(out)
        out += array.tobytes()
        bits = len(out)
        out += struct.pack("<3H", 8, 8, 8)
        fields = {
            256: width,
            257: height,
            259: 1,
            262: 2,
            273: pixels,
            277: 3,
            278: height,
            279: array.nbytes,
        }
        entries = [(tag, 4, 1, value) for tag, value in (fields | tags).items()] + [(258, 3, 3, bits)]
        if index == len(inner) and references:
            at = len(out)
            out += struct.pack(f"<{len(references)}I", *references)
            entries.append((330, 4, len(references), references[0] if len(references) == 1 else at))
        start = len(out)
        out += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in sorted(entries))
        if index < len(inner):
            references.append(start)
        else:
            struct.pack_into("<I", out, link, start)
            link = len(out)
        out += bytes(4)
    return bytes(out)


_PREVIEW, _MASK, _FULL = {254: 1}, {254: 4}, {254: 0}
_OTHERS = "of several pages is coded; the others are previews or masks"


@pytest.mark.parametrize(
    ("data", "expected", "notes"),
    [
        (_pages((picture(), {})), picture(), []),
        (_pages((_SMALL, _PREVIEW), (picture(), _FULL)), picture(), [f"only page 2 {_OTHERS}"]),
        (_pages((_SMALL, {255: 2}), (picture(), {255: 1})), picture(), [f"only page 2 {_OTHERS}"]),
        (_pages((_SMALL, _MASK), (_SMALL, _PREVIEW), (picture(), {})), picture(), [f"only page 3 {_OTHERS}"]),
        (_pages((picture(), _FULL), (_SMALL, _PREVIEW)), picture(), [f"only the first {_OTHERS}"]),
        (_pages((picture(), {}), (picture(), {262: 4})), picture(), [f"only the first {_OTHERS}"]),
        (
            _pages((picture(), {254: 2}), (_MIRRORED, {254: 2})),
            picture(),
            ["only the first of several pages is coded"],
        ),
        (
            _pages((_SMALL, _PREVIEW), (picture(), _FULL), (_MIRRORED, _FULL)),
            picture(),
            ["only page 2 of several pages is coded"],
        ),
        (_pages((_SMALL, _PREVIEW)), _SMALL, ["the picture of 24x16 is a reduced version of another one"]),
        (_pages((_SMALL, _MASK)), _SMALL, ["the picture of 24x16 is the mask of another one"]),
        (_pages((picture(), {}), inner=[(_SMALL, _PREVIEW)] * 3), picture(), []),
        (_pages((_SMALL, _PREVIEW), inner=[(picture(), _FULL)]), picture(), [f"only an inner one {_OTHERS}"]),
    ],
)
def test_the_page_that_is_a_picture_of_its_own(data: bytes, expected: Array, notes: list[str]) -> None:
    source = _coded(data)
    assert np.array_equal(source.pixels, expected)
    assert source.notes == notes


def test_a_page_of_a_big_tiff() -> None:
    small, large = Image.fromarray(_SMALL), Image.fromarray(picture())
    out = io.BytesIO()
    small.save(out, "TIFF", save_all=True, append_images=[large], big_tiff=True, tiffinfo={254: 1})
    data = bytearray(out.getvalue())
    if data[2] != 43:
        pytest.skip("this Pillow writes no several pages of BigTIFF")
    second = data.rindex(struct.pack("<HHQ", 254, 4, 1))  # both have the tag: the second page is none
    data[second + 12] = 0
    source = _coded(bytes(data))
    assert np.array_equal(source.pixels, picture())
    assert source.notes == [f"only page 2 {_OTHERS}"]


def test_an_image_that_the_caller_opened_is_what_he_sees() -> None:
    data = _pages((_SMALL, _PREVIEW), (picture(), _FULL))
    image = Image.open(io.BytesIO(data))
    for _ in range(2):
        source = source_image(image)
        assert source.pixels.shape == _SMALL.shape
        assert source.notes == [
            "only the first of several pages is coded",
            "the picture of 24x16 is a reduced version of another one",
        ]
    alone = Image.open(io.BytesIO(_pages((_SMALL, _PREVIEW))))
    alone.load()  # which closes the file
    assert source_image(alone).notes == ["the picture of 24x16 is a reduced version of another one"]


@pytest.mark.parametrize(
    "data",
    [
        _pages((_SMALL, _PREVIEW | {50706: 1}), inner=[(picture(), {262: 32803})]),
        _pages((_SMALL, _PREVIEW | {50706: 1}), inner=[(picture(), {262: 34892}), (_SMALL, _PREVIEW)]),
        _pages((_SMALL, {}), inner=[(picture(), {262: 32803})]),
        _pages((picture(), {262: 32803}), (_SMALL, {})),
    ],
)
def test_raw_files_are_not_their_previews(data: bytes) -> None:
    with pytest.raises(InputError, match="raw file of 48x32 pixels: develop it first, not its preview of "):
        open_image(data)
    with Image.open(io.BytesIO(_pages((_SMALL, _PREVIEW), inner=[(picture(), {262: 32803})]))) as image:
        (note,) = source_image(image).notes
    assert note == "only a preview of a camera's raw file is coded, 24x16 of 48x32"


def test_a_raw_file_with_a_developed_picture() -> None:
    data = _pages((picture(), _FULL), inner=[(picture(), {262: 32803})])
    assert np.array_equal(_coded(data).pixels, picture())


def test_directories_without_end() -> None:
    data = bytearray(_pages((_SMALL, _PREVIEW), (_SMALL, _PREVIEW)))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    (second,) = struct.unpack_from("<I", data, first + 2 + 12 * count)
    struct.pack_into("<I", data, second + 2 + 12 * count, first)
    assert "first of several pages" in _coded(bytes(data)).notes[0]


def test_what_follows_the_last_page_is_no_page() -> None:
    data = bytearray(_pages((picture(), {})))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    for noise in (bytes(60), b"\xff" * 60, b"\2\0" + bytes(range(58))):
        struct.pack_into("<I", data, first + 2 + 12 * count, len(data))
        source = _coded(bytes(data) + noise)
        assert np.array_equal(source.pixels, picture())
        assert source.notes == []


# --- icons and cursors ------------------------------------------------------------------------------


def _rows(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + bytes(-len(line) % 4) for line in lines)


def _bitmap(array: Array, bits: int, hidden: Array, palette: Array | None = None) -> bytes:
    """The bitmap of an icon, from samples as ``bits`` says and a mask that is True where nothing is seen."""
    height, width = array.shape[:2]
    head = struct.pack("<IiiHHIIiiII", 40, width, 2 * height, 1, bits, 0, 0, 0, 0, 0, 0)
    colours = b""
    if palette is not None:
        full = np.zeros((1 << bits, 4), np.uint8)
        full[: len(palette), :3] = palette[:, ::-1]
        colours = full.tobytes()
    if bits < 8:
        kept = np.unpackbits(array[..., None], axis=2)[..., 8 - bits :]
        lines = [np.packbits(row.reshape(-1)).tobytes() for row in kept]
    else:
        order = {8: slice(None), 24: [2, 1, 0], 32: [2, 1, 0, 3]}[bits]
        lines = [np.ascontiguousarray(row.reshape(width, -1)[:, order]).tobytes() for row in array]
    masks = [np.packbits(row).tobytes() for row in hidden]
    return head + colours + _rows(lines[::-1]) + _rows(masks[::-1])


def _icon(kind: int, *pictures: bytes, bits: int = 0) -> bytes:
    """An icon (kind 1) or a cursor (2) whose directory tells the wrong sizes, and bits or a hot spot."""
    head, body = struct.pack("<HHH", 0, kind, len(pictures)), b""
    for data in pictures:
        at = 6 + 16 * len(pictures) + len(body)
        head += struct.pack("<BBBBHHII", SIZE[0], SIZE[1], 0, 0, 3, bits, len(data), at)
        body += data
    return head + body


_HIDDEN = disc(soft=False) == 0
_OPEN = np.zeros_like(_HIDDEN)
_ZERO = np.dstack([picture(), 0 * disc()])
_INDEX, _PALETTE = few_colours()


@pytest.mark.parametrize("kind", [1, 2], ids=["icon", "cursor"])
@pytest.mark.parametrize(
    ("data", "expected", "alpha"),
    [
        (_bitmap(rgba(), 32, _OPEN), picture(), disc()),
        (_bitmap(rgba(), 32, _HIDDEN), picture(), disc()),  # alpha counts, if there is any
        (_bitmap(_ZERO, 32, _HIDDEN), picture(), disc(soft=False)),
        (_bitmap(picture(), 24, _HIDDEN), picture(), disc(soft=False)),
        (_bitmap(_INDEX, 8, _HIDDEN, _PALETTE), few_expected(), disc(soft=False)),
        (_bitmap(_INDEX, 4, _HIDDEN, _PALETTE), few_expected(), disc(soft=False)),
        (_bitmap(_INDEX & 1, 1, _HIDDEN, _PALETTE[:2]), _PALETTE[_INDEX & 1], disc(soft=False)),
        (saved(Image.fromarray(rgba()), "PNG"), picture(), disc()),
    ],
    ids=["32", "32, mask", "32, alpha of zeros", "24", "8", "4", "1", "PNG"],
)
def test_masks_of_icons(kind: int, data: bytes, expected: Array, alpha: Array) -> None:
    source = _coded(_icon(kind, data))
    assert source.alpha is not None
    assert np.array_equal(source.alpha, alpha)
    assert np.array_equal(source.pixels[alpha > 0], expected[alpha > 0])
    assert source.notes == []


@pytest.mark.parametrize("kind", [1, 2], ids=["icon", "cursor"])
def test_the_largest_and_deepest_picture_of_an_icon(kind: int) -> None:
    small = _bitmap(np.ascontiguousarray(rgba()[::2, ::2]), 32, _OPEN[::2, ::2])
    few = _bitmap(_INDEX, 4, _HIDDEN, _PALETTE)
    for order in ([small, few, _bitmap(rgba(), 32, _OPEN)], [_bitmap(rgba(), 32, _OPEN), few, small]):
        source = _coded(_icon(kind, *order))
        assert source.alpha is not None
        assert np.array_equal(source.alpha, disc())
        assert source.notes == ["only the largest of several pictures is coded"]


def test_an_icon_that_hides_all() -> None:
    source = _coded(_icon(1, _bitmap(_ZERO, 32, ~_OPEN)))
    assert source.alpha is None
    assert np.array_equal(source.pixels, picture())
    assert source.notes == ["its alpha is 0 everywhere: taken as unused"]


def test_a_picture_in_an_icon_that_is_too_large() -> None:
    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + huge
    icns = b"ic10" + struct.pack(">I", 8 + len(png)) + png
    for data in (_icon(1, png), b"icns" + struct.pack(">I", 8 + len(icns)) + icns):
        with pytest.raises(LimitError, match="50000x50000"):
            open_image(data)


@pytest.mark.parametrize("cut", [4, 6, 10, 21, 22, 40, 90])
def test_a_cut_icon(cut: int) -> None:
    with pytest.raises(InputError):
        open_image(_icon(1, _bitmap(rgba(), 32, _OPEN))[:cut])


# --- other containers -------------------------------------------------------------------------------


def test_the_still_picture_beside_an_animation() -> None:
    first, *rest = (Image.fromarray(np.roll(picture(), 9 * i, axis=1)) for i in range(3))
    source = _coded(saved(first, "PNG", save_all=True, append_images=rest, default_image=True))
    assert np.array_equal(source.pixels, picture())
    assert source.notes == ["only the still picture that stands in for an animation is coded"]


@pytest.mark.skipif(not Kind("MPO", bytes, since=12).available, reason="this Pillow reads no such MPO")
def test_previews_in_a_jpeg() -> None:
    first, *rest = (Image.fromarray(np.roll(picture(), 9 * i, axis=1)) for i in range(3))
    data = saved(first, "MPO", save_all=True, append_images=rest)
    start = data.index(b"MPF\0II*\0") + 4
    entries = start + struct.unpack_from("<I", data, data.index(struct.pack("<HHI", 0xB002, 7, 48)) + 8)[0]
    previews = bytearray(data)
    for entry in (1, 2):
        struct.pack_into("<I", previews, entries + 16 * entry, 0x010001)
    assert _coded(data).notes == ["only the first of several pictures is coded"]
    assert _coded(bytes(previews)).notes == [
        "only the first of several pictures is coded; the others are previews"
    ]


def test_the_main_picture_of_a_heif_file() -> None:
    heif = pytest.importorskip("pillow_heif")
    file = heif.HeifFile()
    for array in (np.full_like(picture(), 255), picture()):
        file.add_from_pillow(Image.fromarray(array))
    out = io.BytesIO()
    file.save(out, primary_index=1, quality=95, chroma=444)
    source = _coded(out.getvalue())
    assert np.abs(source.pixels.astype(int) - picture()).mean() < 6
    assert source.notes == ["only the main of several pictures is coded"]


def test_a_photoshop_file_without_its_merged_picture() -> None:
    data = psd(picture(), 3)
    for real, notes in (
        (0, ["saved by Photoshop without its merged picture: what is coded may be blank"]),
        (1, []),
    ):
        version = b"8BIM" + struct.pack(">HxxIIBx", 1057, 5, 1, real)
        assert _coded(data[:30] + struct.pack(">I", len(version)) + version + data[34:]).notes == notes


@pytest.mark.parametrize(("capabilities", "count"), [(0xFE00, 1), (0x200000, 1), (0, 6), (0, 1)])
def test_a_texture_of_several_pictures(capabilities: int, count: int) -> None:
    data = bytearray(_dds(rgba(), 1))
    struct.pack_into("<I", data, 112, capabilities)
    struct.pack_into("<I", data, 140, count)
    notes = ["only the first of several pictures is coded"] if capabilities or count > 1 else []
    for image in (open_image(bytes(data)), Image.open(io.BytesIO(data))):
        assert source_image(image).notes == notes


# --- alpha ------------------------------------------------------------------------------------------

_UNUSED = ["its alpha is 0 everywhere: taken as unused"]
_LOST = ["nothing of this picture is visible: it is transparent everywhere, and its colours are lost"]


def _bmp(array: Array) -> bytes:
    """A BMP of 32 bits with masks, the highest of alpha."""
    height, width = array.shape[:2]
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, 0, 0, 0, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    pixels = np.ascontiguousarray(array[::-1, :, [2, 1, 0, 3]]).tobytes()
    return b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + head + pixels


def _tga(array: Array, alpha_bits: int = 8, attributes: int | None = None) -> bytes:
    """A TGA of 32 bits, with an extension area if there are attributes."""
    height, width = array.shape[:2]
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, width, height, 32, 0x20 | alpha_bits)
    data = head + np.ascontiguousarray(array[..., [2, 1, 0, 3]]).tobytes()
    if attributes is None:
        return data
    extension = struct.pack("<H", 495) + bytes(492) + bytes([attributes])
    return data + extension + struct.pack("<II", len(data), 0) + b"TRUEVISION-XFILE.\0"


def _dds(array: Array, mode: int) -> bytes:
    """A DDS of 32 bits with the header of Direct3D 10, R8G8B8A8, and an alpha mode."""
    height, width = array.shape[:2]
    head = struct.pack("<4s7I44x", b"DDS ", 124, 0x100F, height, width, 4 * width, 0, 0)
    head += struct.pack("<II4s5I5I", 32, 4, b"DX10", 0, 0, 0, 0, 0, 0x1000, 0, 0, 0, 0)
    return head + struct.pack("<5I", 28, 3, 0, 1, mode) + array.tobytes()


def _layered(array: Array, layers: int, mode: int = 3) -> bytes:
    """A PSD that says that it has layers; negative: its last channel is their transparency."""
    section = struct.pack(">Ih", 2, layers) + bytes(4)
    data = psd(array, mode)
    return data[:34] + struct.pack(">I", len(section)) + section + data[38:]


@pytest.mark.parametrize(
    "data",
    [
        _tga(_ZERO, 0),
        _tga(_ZERO, 8),
        _bmp(_ZERO),
        psd(_ZERO, 3),
        saved(Image.fromarray(_ZERO), "DDS"),
        saved(Image.fromarray(_ZERO), "SGI"),
        tiff([_ZERO.tobytes()], SIZE, [8] * 4, 2),
    ],
    ids=["TGA", "TGA, declared", "BMP", "PSD", "DDS", "SGI", "TIFF"],
)
def test_alpha_that_nobody_wrote(data: bytes) -> None:
    source = _coded(data)
    assert source.alpha is None
    assert np.array_equal(source.pixels, picture())
    assert source.notes == _UNUSED


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", None])
def test_a_picture_of_which_nothing_is_visible(kind: str | None) -> None:
    if kind == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow is without WebP")
    image = Image.fromarray(_ZERO)
    source = _coded(saved(image, kind)) if kind else source_image(image)
    assert source.alpha is not None
    assert not source.alpha.any()
    assert source.notes == _LOST
    assert source_image(image, background="white").notes == _LOST


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        (_tga(rgba(), 8), True),
        (_tga(rgba(), 0), True),  # nobody makes up a picture in a channel that is unused
        *((_tga(rgba(), 8, kind), kind == 3) for kind in range(4)),
        (_bmp(rgba()), True),
        (psd(rgba(), 3), True),
        (_layered(rgba(), -2), True),
        (_layered(rgba(), 2), False),  # a stored selection
        *((_dds(rgba(), mode), mode < 2) for mode in (0, 1, 3, 4)),
    ],
)
def test_alpha_that_is_meant(data: bytes, meant: bool) -> None:
    for image in (open_image(data), Image.open(io.BytesIO(data))):
        source = source_image(image)
        assert source.notes == []
        assert (source.alpha is not None) == meant
        seen = disc() > 0 if meant else slice(None)
        assert np.array_equal(source.pixels[seen], picture()[seen])
        assert source.alpha is None or np.array_equal(source.alpha, disc())


@pytest.mark.parametrize("alpha_bits", [0, 1])
@pytest.mark.parametrize("palette", [False, True])
def test_the_bit_of_alpha_of_16_bit_colours(alpha_bits: int, palette: bool) -> None:
    """It counts if the descriptor says that it is there, and then 1 is opaque."""
    index, colours = few_colours()
    opaque = index % 2
    bits = np.array([0, 1, 0, 1, 0, 1], "<u2") << 15
    words = (colours >> 3).astype("<u2") @ np.array([1024, 32, 1], "<u2") | bits
    kind = (1, 1, 0, 6, 16, 0, 0, *SIZE, 8) if palette else (0, 2, 0, 0, 0, 0, 0, *SIZE, 16)
    data = struct.pack("<xBBHHBHHHHBB", *kind, 0x20 | alpha_bits)
    data += words.tobytes() + index.tobytes() if palette else words[index].tobytes()
    for image in (open_image(data), Image.open(io.BytesIO(data))):
        source = source_image(image)
        seen = opaque > 0 if alpha_bits else slice(None)
        expected = few_expected()[seen] >> 3
        assert np.abs(source.pixels[seen].astype(int) - expected / 31 * 255).max() <= 1
        assert (source.alpha is None) == (alpha_bits == 0)
        assert source.alpha is None or np.array_equal(source.alpha, opaque * 255)
        assert source.notes == []


@pytest.mark.parametrize("made", ["PSD, grey", "PSD, CMYK", "PSD, RGB", "BMP"])
def test_transparency_that_pillow_does_not_read(made: str) -> None:
    arrays = {"PSD, grey": (la(), 1), "PSD, CMYK": (np.dstack([inks(), disc()]), 4)}
    array, mode = arrays.get(made, (np.dstack([rgba(), disc()]), 3))
    data = _layered(array, -1, mode)
    if made == "BMP":
        words = np.full(SIZE[0] * SIZE[1], 0x7FFF, "<u2").tobytes()
        head = struct.pack("<IiiHHI20x4I", 56, *SIZE, 1, 16, 3, 0x7C00, 0x3E0, 0x1F, 0x8000)
        data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + head + words
    for image in (open_image(data), Image.open(io.BytesIO(data))):
        source = source_image(image)
        assert source.notes[0] == "its transparency is not coded: Pillow does not read it"
        assert source.alpha is None
    if made != "BMP":
        assert not any("transparency" in note for note in _coded(_layered(array, 1, mode)).notes)


@pytest.mark.parametrize("data", [_tga(premultiplied(), 8, 4), _dds(premultiplied(), 2)], ids=["TGA", "DDS"])
def test_premultiplied_alpha(data: bytes) -> None:
    source = _coded(data)
    assert source.alpha is not None
    assert np.array_equal(source.alpha, disc())
    error = np.abs(source.pixels.astype(int) - picture())
    assert error[disc() > 100].max() <= 2


# --- grey -------------------------------------------------------------------------------------------


def _spot(array: Array) -> Array:
    spotted = array.copy()
    spotted[-1, -1, :3] = (90, 91, 90)
    return spotted


_GREYS = grey3(shades())
_GREY_FILES = {
    "PNG": lambda a: saved(Image.fromarray(a), "PNG"),
    "PNG, 16 bits": lambda a: png(a.astype(np.uint16) * 257, 16, 2),
    "BMP": lambda a: saved(Image.fromarray(a), "BMP"),
    "TIFF": lambda a: saved(Image.fromarray(a), "TIFF"),
    "palette": lambda a: saved(Image.fromarray(a).quantize(256, dither=Image.Dither.NONE), "GIF"),
    "alpha": lambda a: saved(Image.fromarray(np.dstack([a, np.full_like(shades(), 200)])), "PNG"),
}


@pytest.mark.parametrize("make", _GREY_FILES.values(), ids=_GREY_FILES)
def test_grey_is_what_looks_grey(make: object) -> None:
    assert callable(make)
    source = _coded(make(_GREYS))
    assert source.grey
    assert np.array_equal(source.pixels, _GREYS)
    assert not _coded(make(_spot(_GREYS))).grey


def test_grey_of_a_jpeg_in_colours() -> None:
    source = _coded(saved(Image.fromarray(_GREYS), "JPEG", quality=98))
    assert source.grey
    assert np.abs(source.pixels.astype(int) - _GREYS).max() <= 4


def test_colours_that_nobody_sees_do_not_count() -> None:
    hidden = np.dstack([np.where(disc()[..., None] > 0, _GREYS, picture()), disc()])
    source = source_image(Image.fromarray(hidden))
    assert source.grey
    assert np.array_equal(source.pixels[disc() > 0], _GREYS[disc() > 0])
    assert not source_image(Image.fromarray(np.dstack([_spot(_GREYS), disc() | 1]))).grey


def test_black_ink_alone_is_grey() -> None:
    ink = inks()
    ink[..., :3] = 0
    assert source_image(Image.frombytes("CMYK", SIZE, ink.tobytes())).grey
    assert not source_image(Image.frombytes("CMYK", SIZE, inks().tobytes())).grey


def test_a_profile_leaves_no_tint() -> None:
    source = _coded(saved(Image.fromarray(_GREYS), "PNG", icc_profile=rgb_profile(SRGB, 1.8)))
    assert source.grey
    assert np.abs(source.pixels[..., 0].astype(int) - srgb_of_grey(shades(), 1.8)).max() <= 1


def test_a_spot_below_the_first_rows() -> None:
    large = np.repeat(shades(64, 700)[..., None], 3, axis=2)
    assert source_image(Image.fromarray(large)).grey
    assert not source_image(Image.fromarray(_spot(large))).grey


def test_the_layers_of_a_psd_are_not_coded(monkeypatch: pytest.MonkeyPatch) -> None:
    image = open_image(psd(picture(), 3))
    assert source_image(image).more is None
    monkeypatch.setattr(type(image), "n_frames", 3)
    source = source_image(image)
    assert source.notes == [source.more] == ["only the merged picture of several layers is coded"]
