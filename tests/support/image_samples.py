"""Pictures, colour profiles and image files for tests, and what colours must come of them.

Colours are computed in NumPy from their definitions, not by the library that is tested; files that Pillow
cannot write are put together byte by byte.
"""

from __future__ import annotations

import colorsys
import io
import itertools
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

SIZE = (48, 32)
Array = np.ndarray


# --- pictures ---------------------------------------------------------------------------------------


def picture(width: int = SIZE[0], height: int = SIZE[1]) -> Array:
    """Shades, an edge and saturated colours, no symmetry: uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    red = 40 + 170 * x / max(width - 1, 1)
    green = 200 - 150 * y / max(height - 1, 1)
    blue = 120 + 80 * np.sin(x / 9) * np.cos(y / 7)
    image = np.stack([red, green, blue], axis=2)
    image[: height // 3, : width // 4] = (230, 40, 60)
    return image.round().astype(np.uint8)


def shades(width: int = SIZE[0], height: int = SIZE[1]) -> Array:
    """Greys: uint8 [height, width]."""
    return picture(width, height)[..., 0]


def grey3(values: Array) -> Array:
    return np.repeat(values[..., None], 3, axis=2)


def disc(soft: bool = True) -> Array:
    """Alpha: a disc, its edge soft or hard: uint8 [height, width], with 0 and 255 in it."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    edge = (13 - np.hypot(x - 26, y - 15)) * 40
    return (edge if soft else np.sign(edge) * 255).clip(0, 255).round().astype(np.uint8)


def rgba(soft: bool = True) -> Array:
    return np.dstack([picture(), disc(soft)])


def la(soft: bool = True) -> Array:
    return np.dstack([shades(), disc(soft)])


def composed(colours: Array, alpha: Array, background: Sequence[int]) -> Array:
    """The colours on a background: uint8 [height, width, 3]."""
    weight = alpha[..., None].astype(np.float64) / 255
    return (colours * weight + (1 - weight) * np.array(background)).round().astype(np.uint8)


def few_colours() -> tuple[Array, Array]:
    """Indices, uint8 [height, width], and a palette, uint8 [6, 3]."""
    palette = np.array(
        [(250, 10, 20), (0, 90, 200), (30, 200, 40), (255, 255, 255), (9, 8, 7), (200, 0, 200)]
    )
    index = (np.add.outer(np.arange(SIZE[1]) // 5, np.arange(SIZE[0]) // 7) % 6).astype(np.uint8)
    return index, palette.astype(np.uint8)


def palette_image(palette: Array | None = None) -> Image.Image:
    index, colours = few_colours()
    image = Image.fromarray(index).convert("P")
    image.putpalette((colours if palette is None else palette).tobytes())
    image.putdata(index.reshape(-1).tolist())
    return image


def few_expected() -> Array:
    index, palette = few_colours()
    return palette[index]


def black_and_white() -> Array:
    return np.where(shades() > 120, 255, 0).astype(np.uint8)


def wide_grey() -> Array:
    """16-bit greys: uint16 [height, width]."""
    return (
        (np.arange(SIZE[0] * SIZE[1], dtype=np.uint32) * 42 + 7).astype(np.uint16).reshape(SIZE[1], SIZE[0])
    )


def wide_disc() -> Array:
    """16-bit alpha."""
    return disc().astype(np.uint16) * 257


def wide_picture() -> Array:
    """16 bits whose high bytes are the picture: uint16 [height, width, 3]."""
    low = np.arange(picture().size, dtype=np.uint16).reshape(picture().shape) % 256
    return picture().astype(np.uint16) << 8 | low


def to_eight(wide: Array, top: int = 65535) -> Array:
    return np.floor(wide.astype(np.float64) * 255 / top + 0.5).astype(np.uint8)


def image_of(mode: str, array: Array) -> Image.Image:
    """A Pillow image of any 8-bit mode from its samples."""
    height, width = array.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(array).tobytes())


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def file_of(kind: str, array: Callable[[], Array], **options: object) -> Callable[[], bytes]:
    return lambda: saved(Image.fromarray(np.ascontiguousarray(array())), kind, **options)


# --- colours ----------------------------------------------------------------------------------------

_D50, _D65 = (np.array(_xy) for _xy in ((0.3457, 0.3585), (0.3127, 0.3290)))
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
Primaries = Sequence[tuple[float, float]]


def _xyz(xy: Array) -> Array:
    return np.array([xy[0], xy[1], 1 - xy[0] - xy[1]]) / xy[1]


def matrix_to_d50(primaries: Primaries, white: tuple[float, float] = (0.3127, 0.3290)) -> Array:
    """Linear RGB with this white to XYZ adapted to D50, 3x3."""
    corners = np.array([(x, y, 1 - x - y) for x, y in primaries]).T
    to_xyz = corners * np.linalg.solve(corners, _xyz(np.array(white)))
    scale = (_BRADFORD @ _xyz(_D50)) / (_BRADFORD @ _xyz(np.array(white)))
    return np.linalg.inv(_BRADFORD) @ (scale[:, None] * _BRADFORD) @ to_xyz


def srgb_of_linear(linear: Array) -> Array:
    linear = linear.clip(0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * curve).round().astype(np.uint8)


def srgb_of_xyz(xyz: Array) -> Array:
    """XYZ of D50, [..., 3]."""
    return srgb_of_linear(xyz @ np.linalg.inv(matrix_to_d50(SRGB)).T)


def srgb_of_rgb(values: Array, primaries: Primaries, gamma: float) -> Array:
    return srgb_of_xyz((values / 255) ** gamma @ matrix_to_d50(primaries).T)


def srgb_of_grey(values: Array, gamma: float) -> Array:
    return srgb_of_linear((values / 255) ** gamma)


def srgb_of_lab(lab: Array) -> Array:
    """L* 0 to 100, a* and b*, [..., 3]."""
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], axis=-1)
    return srgb_of_xyz(np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _xyz(_D50))


def plain_rgb_of_cmyk(cmyk: Array) -> Array:
    cmyk = cmyk.astype(np.float64)
    return ((255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255).round().astype(np.uint8)


# --- ICC profiles, byte by byte ---------------------------------------------------------------------


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _description(text: str) -> bytes:
    word = text.encode() + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(word)) + word + bytes(8) + bytes(3) + bytes(67)


def _profile(kind: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    head = struct.pack(">4xII4s4s4s12x4s28x", 0, 0x02400000, kind, space, pcs, b"acsp")
    head += _fixed(*_xyz(_D50)) + bytes(48)
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data
    whole = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def _shared_tags(name: str) -> dict[bytes, bytes]:
    # The white of the device, as Adobe's profiles give it: it must not tint what comes out.
    white = b"XYZ \0\0\0\0" + _fixed(*_xyz(_D65))
    return {b"desc": _description(name), b"cprt": b"text\0\0\0\0none\0", b"wtpt": white}


def rgb_profile(primaries: Primaries, gamma: float, name: str = "Test RGB") -> bytes:
    tags = _shared_tags(name)
    for letter, column in zip("rgb", matrix_to_d50(primaries).T, strict=True):
        tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + _fixed(*column)
        tags[f"{letter}TRC".encode()] = _curve(gamma)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {**_shared_tags("Test grey"), b"kTRC": _curve(gamma)})


def srgb_like_profile() -> bytes:
    """sRGB as some cameras write it: its curve as a rough table, other bytes than anyone else's."""
    x = np.arange(16) / 15
    curve = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    table = struct.pack(">I16H", 16, *(curve * 65535).round().astype(int).tolist())
    tags = _shared_tags("Camera RGB")
    for letter, column in zip("rgb", matrix_to_d50(SRGB).T, strict=True):
        tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + _fixed(*column)
        tags[f"{letter}TRC".encode()] = b"curv\0\0\0\0" + table
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def ink_lab() -> Array:
    """Lab of the 16 prints with all or nothing of each ink, [c, m, y, k, 3], as 8 bits can say it."""
    lab = np.empty((2, 2, 2, 2, 3))
    inks = np.array([(-35, -37, -45), (-48, 74, -3), (-9, -5, 88), (-75, 0, 0)])
    for combination in itertools.product((0, 1), repeat=4):
        value = np.array([96.0, 0, 0]) + np.array(combination) @ inks
        lab[combination] = value if combination[3] == 0 else (max(value[0], 0), 0, 0)
    lab[..., 0] = np.rint(lab[..., 0].clip(0, 100) * 255 / 100) * 100 / 255
    lab[0, 0, 0, 0] = (100, 0, 0)
    return lab


def cmyk_profile() -> bytes:
    """A printer's: a table of the corners above."""
    lab = ink_lab()
    corners = np.stack([lab[..., 0] * 255 / 100, lab[..., 1] + 128, lab[..., 2] + 128], axis=-1)
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += ramp * 4 + corners.round().astype(np.uint8).tobytes() + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {**_shared_tags("Test print"), b"A2B0": table})


def ink_patches() -> Array:
    """All 16 combinations, 8x8 pixels each: uint8 [16, 64, 4]."""
    corners = np.array(list(itertools.product((0, 255), repeat=4)), np.uint8).reshape(2, 8, 4)
    return corners.repeat(8, axis=0).repeat(8, axis=1)


def ink_patches_expected() -> Array:
    return srgb_of_lab(ink_lab().reshape(2, 8, 3)).repeat(8, axis=0).repeat(8, axis=1)


def inks() -> Array:
    """A picture in CMYK: uint8 [height, width, 4]."""
    return np.dstack([255 - picture(), shades() // 4])


# --- files, byte by byte ----------------------------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png(samples: Array, depth: int, colour: int, *chunks: bytes, interlaced: bool = False) -> bytes:
    """A PNG of samples [height, width, channels] as its colour type says; chunks stand before the pixels."""
    samples = samples.reshape(*samples.shape[:2], -1)
    assert samples.shape[2] == _PNG_CHANNELS[colour]
    height, width = samples.shape[:2]
    passes = [samples]
    if interlaced:
        steps = (
            (0, 0, 8, 8),
            (0, 4, 8, 8),
            (4, 0, 8, 4),
            (0, 2, 4, 4),
            (2, 0, 4, 2),
            (0, 1, 2, 2),
            (1, 0, 2, 1),
        )
        passes = [samples[y::down, x::right] for y, x, down, right in steps]
    data = b""
    for part in passes:
        for row in part if part.size else ():
            if depth == 16:
                packed = row.astype(">u2").tobytes()
            else:
                bits = np.unpackbits(row.reshape(-1, 1).astype(np.uint8), axis=1)[:, 8 - depth :]
                packed = np.packbits(bits.reshape(-1)).tobytes()
            data += b"\0" + packed
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = b"".join(chunks) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def trns(*values: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


def tiff(
    strips: list[bytes], size: tuple[int, int], bits: Sequence[int], photometric: int, **tags: Sequence[int]
) -> bytes:
    """A TIFF; tags by number as t277=[3], ``order`` "<" or ">" as t0. Rows are divided evenly into strips."""
    order = "<>"[tags.pop("t0", [0])[0]]
    fields: dict[int, Sequence[int]] = {
        256: [size[0]],
        257: [size[1]],
        258: list(bits),
        259: [1],
        262: [photometric],
        277: [len(bits)],
        278: [-(-size[1] // max(len(strips) // (len(bits) if tags.get("t284") == [2] else 1), 1))],
        279: [len(strip) for strip in strips],
    }
    fields |= {int(name[1:]): value for name, value in tags.items()}
    fields[273] = [0] * len(strips)
    if 322 in fields:  # tiles instead of strips
        del fields[278]
        fields[324], fields[325] = fields.pop(273), fields.pop(279)
    place = 8 + 2 + 12 * len(fields) + 4
    long = {tag: 4 * len(value) > 4 for tag, value in fields.items()}
    data_start = place + sum(4 * len(fields[tag]) for tag in fields if long[tag])
    offsets = list(itertools.accumulate((len(strip) for strip in strips[:-1]), initial=data_start))
    fields[324 if 322 in fields else 273] = offsets
    entries, extra = b"", b""
    for tag in sorted(fields):
        value = struct.pack(f"{order}{len(fields[tag])}I", *fields[tag])
        pointer = struct.pack(f"{order}I", place + len(extra)) if long[tag] else value
        entries += struct.pack(f"{order}HHI", tag, 4, len(fields[tag])) + pointer
        extra += value if long[tag] else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", len(fields)) + entries + bytes(4) + extra + b"".join(strips)


def wide_tiff(array: Array, photometric: int, **tags: Sequence[int]) -> bytes:
    """A TIFF of 16-bit samples; t0=[1]: the most significant byte first, t259=[8]: deflated."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    data = array.astype(">u2" if tags.get("t0") == [1] else "<u2").tobytes()
    if tags.get("t259") == [8]:
        data = zlib.compress(data)
    return tiff([data], SIZE, [16] * channels, photometric, **tags)


def psd(array: Array, mode: int) -> bytes:
    """A Photoshop file of the flat picture alone, uint8 [height, width, channels]."""
    height, width, channels = array.shape
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, height, width, 8, mode)
    rest = bytes(12) + b"\0\0"
    return head + rest + np.ascontiguousarray(array.transpose(2, 0, 1)).tobytes()


def psd_of_1_bit() -> bytes:
    """A Photoshop file of black, which is 1, and white."""
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, *reversed(SIZE), 1, 0)
    return head + bytes(12) + b"\0\0" + np.packbits(black_and_white() == 0, axis=1).tobytes()


def stored_for(upright: Array, orientation: int) -> Array:
    """The samples that EXIF's Orientation turns into ``upright``, pixel by pixel after its definition."""
    height, width = upright.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    down, right = height - 1 - y, width - 1 - x
    row, column = {
        1: (y, x),
        2: (y, right),
        3: (down, right),
        4: (down, x),
        5: (x, y),
        6: (right, y),
        7: (right, down),
        8: (x, down),
    }[orientation]
    sides = (height, width) if orientation < 5 else (width, height)
    out = np.empty((*sides, *upright.shape[2:]), upright.dtype)
    out[row, column] = upright
    return out


def exif_with(orientation: int) -> bytes:
    """A TIFF structure with a maker, an orientation, and a date in EXIF's own directory."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker of things", orientation
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09"}
    return exif.tobytes()


def xmp_with(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d" '
        b'tiff:Make="Maker"/></rdf:RDF></x:xmpmeta>' % orientation
    )


def with_metadata(mode: str = "RGB", orientation: int = 1) -> Image.Image:
    """The picture in mode L, LA, RGB or RGBA, its EXIF and XMP in ``info``."""
    image = Image.fromarray({"RGB": picture(), "L": shades(), "RGBA": rgba(), "LA": la()}[mode])
    image.info["exif"], image.info["xmp"] = exif_with(orientation), xmp_with(orientation)
    return image


def png_with_xmp(orientation: int) -> bytes:
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp_with(orientation)
    return png(stored_for(picture(), orientation), 8, 2, chunk(b"iTXt", text))


def png_with_raw_exif(orientation: int) -> bytes:
    exif = exif_with(orientation)
    words = f"Raw profile type exif\0\nexif\n{len(exif):8}\n{exif.hex()}\n"
    return png(stored_for(picture(), orientation), 8, 2, chunk(b"tEXt", words.encode()))


def turned(kind: str, orientation: int, **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        image = Image.fromarray(stored_for(picture(), orientation))
        return saved(image, kind, exif=exif_with(orientation), **options)

    return make


def frames(kind: str, **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        first, *rest = (Image.fromarray(np.roll(picture(), 9 * i, axis=1)) for i in range(3))
        return saved(first, kind, save_all=True, append_images=rest, **options)

    return make


def animated_gif() -> bytes:
    first = palette_image()
    rest = [palette_image(np.roll(few_colours()[1], i, axis=0)) for i in (1, 2)]
    return saved(first, "GIF", save_all=True, append_images=rest, duration=50)


def lab_samples() -> Array:
    """8-bit L*, a* and b* (offset by 128) of colours that sRGB has."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    return np.stack([90 + 2 * x, 118 + y // 2, 140 - y // 3], axis=2).astype(np.uint8)


def lab_expected() -> Array:
    samples = lab_samples().astype(np.float64)
    return srgb_of_lab(samples * (100 / 255, 1, 1) - (0, 128, 128))


def tiff_lab(planes: bool = False) -> bytes:
    signed = lab_samples() ^ np.array([0, 128, 128], np.uint8)
    strips = [signed[..., c].tobytes() for c in range(3)] if planes else [signed.tobytes()]
    return tiff(strips, SIZE, [8, 8, 8], 8, t284=[1 + planes])


def tiff_lab_grey() -> bytes:
    samples = np.dstack([shades(), np.zeros((*shades().shape, 2), np.uint8)])
    return tiff([samples.tobytes()], SIZE, [8, 8, 8], 8)


def tiff_lab_grey_expected() -> Array:
    return srgb_of_lab(grey3(shades()) * (100 / 255, 0, 0))


def ycc_samples() -> Array:
    """JPEG's YCbCr of the picture, uint8."""
    red, green, blue = np.moveaxis(picture().astype(np.float64), 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return (
        np.stack([luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402], axis=2)
        .round()
        .astype(np.uint8)
    )


def tiff_of_12_bits() -> bytes:
    """The high 12 bits of the 16-bit greys, packed."""
    rows = wide_grey() >> 4
    pairs = rows.reshape(SIZE[1], -1, 2).astype(np.uint32)
    both = pairs[..., 0] << 12 | pairs[..., 1]
    packed = np.stack([both >> 16, both >> 8 & 255, both & 255], axis=-1).astype(np.uint8)
    return tiff([packed.tobytes()], SIZE, [12], 1)


def tiff_of_tiles() -> bytes:
    parts = [
        np.ascontiguousarray(picture()[y : y + 16, x : x + 16]).tobytes()
        for y in (0, 16)
        for x in (0, 16, 32)
    ]
    return tiff(parts, SIZE, [8, 8, 8], 2, t322=[16], t323=[16])


def premultiplied() -> Array:
    weight = disc()[..., None].astype(np.float64) / 255
    return np.dstack([(picture() * weight).round().astype(np.uint8), disc()])


def hsv_samples() -> Array:
    hue = (np.indices((SIZE[1], SIZE[0])).sum(axis=0) * 3 % 256).astype(np.uint8)
    return np.dstack([hue, np.full_like(hue, 180), 255 - hue // 2])


def hsv_expected() -> Array:
    flat = (hsv_samples() / 255).reshape(-1, 3).tolist()
    rgb = np.array([colorsys.hsv_to_rgb(*value) for value in flat])
    return (255 * rgb).round().astype(np.uint8).reshape(SIZE[1], SIZE[0], 3)
