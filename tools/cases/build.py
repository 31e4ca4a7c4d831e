"""Small image files and scripts on which an image codec can go wrong: computed, the same in every run.

``rows.py`` says how each is used and what is right.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

Pixels = npt.NDArray[np.uint8]

COLOUR = (180, 90, 70)
"""Of the one-colour files: inside sRGB also when it is read as Display P3, Adobe RGB or BT.2020."""

D65 = (0.3127, 0.3290)
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))

CASES: list[Callable[[Path], None]] = []


def case(function: Callable[[Path], None]) -> Callable[[Path], None]:
    """Add a function that writes the files of a case into a folder."""
    CASES.append(function)
    return function


# --- pictures ---------------------------------------------------------------------------------------


def scene(width: int, height: int, seed: int = 1) -> Pixels:
    """Sky, hills, a sun, a house and some grain, something like a photograph: uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / width, y / height
    sky = np.stack([90 + 110 * v, 140 + 70 * v, 225 - 30 * v], axis=2)
    for level, colour in ((0.55, (70, 110, 90)), (0.68, (60, 95, 40)), (0.82, (95, 85, 45))):
        ridge = level + 0.06 * np.sin(9 * u + 20 * level) + 0.02 * np.sin(31 * u + 5 * level)
        shade = 0.75 + 0.35 * np.sin(40 * u * level + 55 * v) ** 2
        sky = np.where((v > ridge)[..., None], np.array(colour) * shade[..., None], sky)
    canvas = Image.fromarray(sky.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    w, h = width, height
    draw.ellipse([0.72 * w, 0.10 * h, 0.72 * w + 0.16 * h, 0.26 * h], fill=(255, 235, 150))
    draw.rectangle([0.18 * w, 0.52 * h, 0.34 * w, 0.76 * h], fill=(205, 190, 170))
    draw.polygon([(0.15 * w, 0.53 * h), (0.26 * w, 0.38 * h), (0.37 * w, 0.53 * h)], fill=(150, 50, 40))
    draw.rectangle([0.23 * w, 0.60 * h, 0.28 * w, 0.76 * h], fill=(60, 40, 30))
    grain = np.random.default_rng(seed).integers(-2, 3, (height, width, 1))
    return (np.asarray(canvas).astype(int) + grain).clip(0, 255).astype(np.uint8)


def gradient(width: int, height: int) -> Pixels:
    """Smooth colours without a symmetry, which compress well: uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)]
    return np.dstack(channels).astype(np.uint8)


def checks(size: int, cell: int, low: int = 0, high: int = 255) -> Pixels:
    """A chessboard of cells of that many pixels: uint8 [size, size]."""
    y, x = np.mgrid[0:size, 0:size]
    return np.where((x // cell + y // cell) % 2, high, low).astype(np.uint8)


def stripes(size: int, width: int) -> Pixels:
    """Upright black and white stripes: uint8 [size, size]."""
    return np.tile(np.where(np.arange(size) // width % 2, 255, 0), (size, 1)).astype(np.uint8)


def solid(colour: tuple[int, int, int] = COLOUR, size: int = 64) -> Image.Image:
    """A square of one colour."""
    return Image.new("RGB", (size, size), colour)


def save(array: Pixels, path: Path, **options: Any) -> None:
    """Write samples as an image file, with options of Pillow's."""
    Image.fromarray(array).save(path, **options)


# --- parts of files ---------------------------------------------------------------------------------


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk with its length and check sum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def save_png(image: Image.Image, path: Path, *chunks: tuple[bytes, bytes]) -> None:
    """A PNG with these chunks right behind IHDR."""
    image.save(path)
    data = path.read_bytes()
    ihdr_end = 8 + 12 + 13
    path.write_bytes(data[:ihdr_end] + b"".join(png_chunk(*c) for c in chunks) + data[ihdr_end:])


def gama(exponent: float) -> tuple[bytes, bytes]:
    """PNG's gAMA: samples are light to the power of the exponent."""
    return b"gAMA", struct.pack(">I", round(100000 * exponent))


def chrm(primaries: Sequence[tuple[float, float]], white: tuple[float, float] = D65) -> tuple[bytes, bytes]:
    """PNG's cHRM."""
    values = [round(100000 * v) for point in (white, *primaries) for v in point]
    return b"cHRM", struct.pack(">8I", *values)


def cicp(primaries: int, transfer: int) -> tuple[bytes, bytes]:
    """PNG's cICP by the code points of ITU-T H.273: RGB, full range."""
    return b"cICP", bytes([primaries, transfer, 0, 1])


def iccp(profile: bytes) -> tuple[bytes, bytes]:
    """PNG's iCCP."""
    return b"iCCP", b"profile\0\0" + zlib.compress(profile, 9)


def icc_profile(name: str, primaries: Sequence[tuple[float, float]], gamma: float, padding: int = 0) -> bytes:
    """An RGB display profile (ICC 2.1) for D65 white, with a private tag of so many zero bytes."""

    def xyz(point: tuple[float, float]) -> npt.NDArray[np.float64]:
        return np.array([point[0] / point[1], 1, (1 - point[0] - point[1]) / point[1]])

    d50 = np.array([0.9642, 1.0, 0.8249])
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapt = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ xyz(D65))) @ bradford
    columns = np.column_stack([xyz(p) for p in primaries])
    columns = adapt @ (columns * np.linalg.solve(columns, xyz(D65)))

    def fixed(values: Iterable[float]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(65536 * v)) for v in values)

    text = name.encode()
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma))
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(4 + 4 + 2 + 1 + 67)
    tags = {
        b"desc": described,
        b"cprt": b"text\0\0\0\0no copyright\0",
        b"wtpt": fixed(d50),
        b"rXYZ": fixed(columns[:, 0]),
        b"gXYZ": fixed(columns[:, 1]),
        b"bXYZ": fixed(columns[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    if padding:
        tags[b"priv"] = b"data\0\0\0\0\0\0\0\1" + bytes(padding)
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += b"".join(struct.pack(">i", round(65536 * v)) for v in d50)
    return header.ljust(128, b"\0") + table + body


def tiff(pages: Sequence[tuple[Pixels, int]]) -> bytes:
    """A little-endian TIFF of RGB pages, each with its NewSubfileType; pixels are differences, deflated."""
    out = bytearray(b"II*\0\0\0\0\0")
    link = 4  # where the offset of the next page goes
    for array, subfile_type in pages:
        pixels = zlib.compress(np.diff(array, axis=1, prepend=np.uint8(0)).tobytes(), 9)
        pixels_at = len(out)
        out += pixels + bytes(len(pixels) % 2)
        bits_at = len(out)
        out += struct.pack("<3H", 8, 8, 8)
        height, width = array.shape[:2]
        entries = [
            (254, 4, 1, subfile_type),
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 3, 3, bits_at),
            (259, 3, 1, 8),  # deflate
            (262, 3, 1, 2),  # RGB
            (273, 4, 1, pixels_at),
            (277, 3, 1, 3),
            (278, 4, 1, height),
            (279, 4, 1, len(pixels)),
            (317, 3, 1, 2),  # horizontal differences
        ]
        struct.pack_into("<I", out, link, len(out))
        out += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
        link = len(out)
        out += bytes(4)
    return bytes(out)


def tga(array: Pixels, alpha_bits: int, run_length: bool = False) -> bytes:
    """A TGA of 32 bits per pixel, first row first, from RGBA samples."""
    height, width = array.shape[:2]
    kind, flags = 10 if run_length else 2, 0x20 | alpha_bits
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, width, height, 32, flags)
    rows = array[..., [2, 1, 0, 3]]
    if not run_length:
        return head + rows.tobytes()
    packets = bytearray(head)
    for row in rows:
        for start in range(0, width, 128):
            part = row[start : start + 128]
            packets += bytes([len(part) - 1]) + part.tobytes()
    return bytes(packets)


def with_alpha(array: Pixels, alpha: int | npt.NDArray[Any]) -> Pixels:
    """RGBA samples of RGB ones."""
    return np.dstack([array, np.broadcast_to(np.asarray(alpha, np.uint8), array.shape[:2])])


# --- files ------------------------------------------------------------------------------------------


@case
def base(folder: Path) -> None:
    """Pictures that other cases use: one of usual size, and one of an icon's."""
    save(scene(288, 192), folder / "scene.png", optimize=True)
    save(scene(16, 16), folder / "icon.png")


@case
def textures(folder: Path) -> None:
    """Checks and stripes of one and two pixels, alone and as a patch in a picture."""
    for size, cell in ((48, 2), (64, 2), (128, 2), (128, 1)):
        save(checks(size, cell), folder / f"checks-{cell}px-{size}.png")
    for size, width in ((40, 1), (128, 1), (128, 2)):
        save(stripes(size, width), folder / f"stripes-{width}px-{size}.png")
    save(checks(128, 1, 96, 160), folder / "checks-1px-soft.png")
    for contrast in (32, 64, 96, 112):
        save(checks(64, 2, 128 - contrast, 128 + contrast), folder / f"checks-2px-contrast-{contrast}.png")
    patched = gradient(256, 256)
    patched[80:180, 80:180] = checks(100, 2)[..., None]
    save(patched, folder / "patch.png")


@case
def png_text(folder: Path) -> None:
    """Sound PNGs of a few kB whose compressed text, XMP or profile is longer than a megabyte."""
    info = PngInfo()
    info.add_text("Comment", "a long line " * 100_000, zip=True)
    solid().save(folder / "text-ztxt.png", pnginfo=info)
    info = PngInfo()
    info.add_itxt("Comment", "a long line " * 100_000, zip=True)
    solid().save(folder / "text-itxt.png", pnginfo=info)
    packet = '<x:xmpmeta xmlns:x="adobe:ns:meta/">' + " " * 2_000_000 + "</x:xmpmeta>"
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet, zip=True)
    solid().save(folder / "text-xmp.png", pnginfo=info)
    save_png(solid(), folder / "icc-small.png", iccp(icc_profile("P3 test", DISPLAY_P3, 2.2)))
    save_png(solid(), folder / "icc-large.png", iccp(icc_profile("P3 test", DISPLAY_P3, 2.2, 2_000_000)))
    save_png(solid(), folder / "icc-large-broken.png", iccp(bytes(3_000_000)))


@case
def png_gamma(folder: Path) -> None:
    """PNGs of one colour with gAMA, in the modes that PNG has, and with what takes precedence over it."""
    grey = (64, 64, 64)
    save_png(solid(grey), folder / "gama-linear.png", gama(1))
    save_png(solid(grey).convert("L"), folder / "gama-linear-grey.png", gama(1))
    save_png(solid(grey).quantize(2), folder / "gama-linear-palette.png", gama(1))
    save_png(Image.new("RGBA", (64, 64), (*grey, 200)), folder / "gama-linear-rgba.png", gama(1))
    save_png(solid(grey), folder / "gama-1.8.png", gama(1 / 1.8))
    save_png(solid(grey), folder / "gama-2.2.png", gama(1 / 2.2))
    save_png(solid(grey), folder / "gama-zero.png", gama(0))
    save_png(solid(grey), folder / "srgb-over-gama.png", (b"sRGB", b"\0"), gama(1))
    profile = icc_profile("P3 test", DISPLAY_P3, 2.2)
    save_png(solid(), folder / "iccp-over-gama.png", iccp(profile), gama(1))


@case
def png_primaries(folder: Path) -> None:
    """PNGs of one colour with cHRM: Display P3, sRGB, and values that are none."""
    save_png(solid(), folder / "chrm-p3.png", gama(1 / 2.2), chrm(DISPLAY_P3))
    save_png(solid(), folder / "chrm-srgb.png", gama(1 / 2.2), chrm(SRGB))
    save_png(solid(), folder / "chrm-none.png", gama(1 / 2.2), (b"cHRM", bytes(32)))


@case
def png_cicp(folder: Path) -> None:
    """PNGs of one colour with cICP: wide, sRGB and high dynamic range, also against iCCP and gAMA."""
    save_png(solid(), folder / "cicp-p3.png", cicp(12, 13))
    save_png(solid(), folder / "cicp-bt2020.png", cicp(9, 13))
    save_png(solid(), folder / "cicp-srgb.png", cicp(1, 13))
    save_png(solid(), folder / "cicp-pq.png", cicp(9, 16))
    save_png(solid(), folder / "cicp-hlg.png", cicp(9, 18))
    save_png(solid(), folder / "cicp-over-gama.png", cicp(12, 13), gama(1))
    profile = icc_profile("P3 test", DISPLAY_P3, 2.2)
    save_png(solid(), folder / "cicp-srgb-over-iccp.png", cicp(1, 13), iccp(profile))


@case
def exif(folder: Path) -> None:
    """EXIF that says Adobe RGB, sideways, 128x96: no longer true once pixels are sRGB and upright."""
    data = Image.Exif()
    data[0x0112] = 6  # Orientation
    data[0x010F] = "Maker"
    own = data.get_ifd(0x8769)
    own[0xA001] = 65535  # ColorSpace: not sRGB
    own[0xA002], own[0xA003] = 128, 96  # PixelXDimension, PixelYDimension
    own[0xA005] = {1: "R03"}  # InteropIndex: Adobe RGB
    picture = Image.fromarray(gradient(128, 96))
    profile = icc_profile("Adobe RGB test", ADOBE_RGB, 2.2)
    picture.save(folder / "exif-adobe.jpg", quality=95, exif=data, icc_profile=profile)
    picture.save(folder / "exif-adobe-in-png.png", exif=data, icc_profile=profile)
    data = Image.Exif()
    data[0x0100], data[0x0101] = 128, 96  # ImageWidth, ImageLength
    data[0x0112] = 6
    own = data.get_ifd(0x8769)
    own[0xA001] = 1
    own[0xA002], own[0xA003] = 128, 96
    picture.save(folder / "exif-size.jpg", quality=95, exif=data)


@case
def tga_alpha(folder: Path) -> None:
    """TGAs of 32 bits: alpha 0 everywhere, unused or declared, and alpha that is meant."""
    red = np.asarray(solid((200, 0, 0), 32))
    (folder / "tga-alpha-zero.tga").write_bytes(tga(with_alpha(red, 0), 0))
    (folder / "tga-alpha-zero-rle.tga").write_bytes(tga(with_alpha(red, 0), 0, run_length=True))
    (folder / "tga-alpha-zero-declared.tga").write_bytes(tga(with_alpha(red, 0), 8))
    ramp = np.tile(np.arange(0, 256, 8), (32, 1))
    (folder / "tga-alpha-meant.tga").write_bytes(tga(with_alpha(red, ramp), 8))


@case
def tiff_preview(folder: Path) -> None:
    """TIFFs with pages that NewSubfileType calls reduced (bit 0) or one of several (bit 1)."""
    full, small = gradient(256, 192), gradient(64, 48)
    (folder / "preview-only.tif").write_bytes(tiff([(small, 1)]))
    (folder / "preview-first.tif").write_bytes(tiff([(small, 1), (full, 0)]))
    (folder / "preview-last.tif").write_bytes(tiff([(full, 0), (small, 1)]))
    (folder / "page-of-several.tif").write_bytes(tiff([(full, 2), (full[::-1].copy(), 2)]))


@case
def fork(folder: Path) -> None:
    """Scripts that use the codec, fork, and use it again in the child: os.fork and a process pool."""
    (folder / "fork_child.py").write_text(
        '''"""Encode here, fork, decode in the child: ends with 0 if the child does."""

import os
import signal
import sys

import ctc_codec
from PIL import Image

data = ctc_codec.encode(Image.new("RGB", (320, 240), "navy"))
ctc_codec.decode(data)
child = os.fork()
if child == 0:
    signal.alarm(30)  # ends a child that hangs
    size = ctc_codec.decode(data).size
    again = ctc_codec.encode(Image.new("RGB", (320, 240), "navy"))
    os._exit(0 if size == (320, 240) and again == data else 1)
status = os.waitpid(child, 0)[1]
print("the child", "is done" if status == 0 else f"ended with wait status {status}")
sys.exit(status != 0)
'''
    )
    (folder / "fork_pool.py").write_text(
        '''"""The same through a pool of forked processes."""

import multiprocessing
import os

import ctc_codec
from PIL import Image

data = ctc_codec.encode(Image.new("RGB", (320, 240), "navy"))
ctc_codec.decode(data)


def size(_):
    return ctc_codec.decode(data).size


if __name__ == "__main__":
    pool = multiprocessing.get_context("fork").Pool(2)
    result = pool.map_async(size, range(4))
    try:
        print("the pool is done", result.get(30))
        code = 0
    except multiprocessing.TimeoutError:
        print("the pool hangs")
        code = 1
    pool.terminate()
    os._exit(code)
'''
    )


@case
def fchmod(folder: Path) -> None:
    """Scripts that run the command line where permissions cannot be set: no such call, or refused."""
    (folder / "no_fchmod.py").write_text(
        '''"""The command line without what Python 3.12 lacks on Windows: python no_fchmod.py encode ..."""

import os
import signal

for module, names in (
    (os, ["fchmod", "fork", "getuid", "sched_getaffinity", "O_TMPFILE"]),
    (signal, ["pthread_sigmask", "SIGHUP", "SIGPIPE"]),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

from ctc_codec.cli import main  # noqa: E402

main()
'''
    )
    (folder / "fchmod_refused.py").write_text(
        '''"""The command line where permissions cannot be set (exFAT): python fchmod_refused.py encode ..."""

import errno
import os


def refuse(*arguments, **options):
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


os.chmod = os.fchmod = refuse

from ctc_codec.cli import main  # noqa: E402

main()
'''
    )


@case
def same_output(folder: Path) -> None:
    """Inputs whose outputs have one name: by a linked folder, by two suffixes, by a dot that begins none."""
    for name in ("linked/real", "pairs", "dots"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    link = folder / "linked" / "link"
    if not link.is_symlink():
        link.symlink_to("real", target_is_directory=True)
    save(gradient(48, 32), folder / "linked" / "real" / "x.png")
    save(gradient(48, 32)[::-1], folder / "linked" / "real" / "x.jpg")
    for name in ("IMG_1.png", "IMG_1.jpg", "IMG_2.png", "IMG_3.png", "IMG_3.webp"):
        save(gradient(48, 32), folder / "pairs" / name)
    for name in ("Screen at 10.30.45", "Screen at 10.30.46"):
        save(gradient(48, 32), folder / "dots" / name, format="PNG")


@case
def grey(folder: Path) -> None:
    """A grey picture stored as grey and as RGB, and one that is grey but for a few pixels."""
    shades = scene(144, 144)[..., 1]
    save(shades, folder / "grey.png", optimize=True)
    rgb = Image.fromarray(shades).convert("RGB")
    rgb.save(folder / "grey-rgb.png", optimize=True)
    rgb.save(folder / "grey-rgb-jpeg.jpg", quality=95)
    rgb.convert("RGBA").save(folder / "grey-rgba.png", optimize=True)
    rgb.paste((200, 30, 30), (60, 60, 68, 68))
    rgb.save(folder / "grey-but-for-a-spot.png", optimize=True)


@case
def resolution(folder: Path) -> None:
    """300 dots per inch in PNG (pHYs), JPEG (JFIF) and TIFF, without EXIF."""
    for name in ("dpi-phys.png", "dpi-jfif.jpg", "dpi-tags.tif"):
        save(gradient(64, 64), folder / name, dpi=(300, 300))


@case
def pillow_arguments(folder: Path) -> None:
    """A script for usual arguments of Pillow's save, and one for draft mode."""
    profile = icc_profile("P3 test", DISPLAY_P3, 2.2)
    Image.new("RGB", (64, 64), COLOUR).save(folder / "p3.png", icc_profile=profile)
    (folder / "pillow_save.py").write_text(
        '''"""Usual arguments of Image.save, with .ctc: ends with 0 if each is taken and does what it says."""

import io
import sys

import ctc_codec.pillow  # noqa: F401
from PIL import Image

plain = Image.new("RGB", (64, 64), (180, 90, 70))
profile = Image.open("p3.png").info["icc_profile"]
exif = Image.Exif()
exif[0x010F] = "Maker"


def saved(**options):
    out = io.BytesIO()
    plain.save(out, "CTC", **options)
    return Image.open(out)


def maker(**options):
    return saved(**options).getexif().get(0x010F) == "Maker"


def colour(right, **options):
    found = saved(**options).convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    return all(abs(a - b) <= 4 for a, b in zip(found, right, strict=True))


wrong = 0
for what, check in (
    ("exif=Exif", lambda: maker(exif=exif)),
    ("exif=bytes", lambda: maker(exif=exif.tobytes())),
    ("icc_profile=bytes", lambda: colour((195, 83, 61), icc_profile=profile)),
    ("icc_profile=None", lambda: colour((180, 90, 70), icc_profile=None)),
):
    try:
        answer = "right" if check() else "wrong"
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    wrong += answer != "right"
    print(f"{what}: {answer}")
sys.exit(wrong > 0)
'''
    )
    (folder / "pillow_draft.py").write_text(
        '''"""Image.thumbnail of a .ctc should decode no more than it needs: ends with 0 if draft works."""

import io
import sys
import time

import ctc_codec.pillow  # noqa: F401
from PIL import Image

out = io.BytesIO()
Image.open("scene.png").convert("RGB").resize((1152, 768), Image.Resampling.BICUBIC).save(out, "CTC", bpp=0.5)
Image.open(out).load()  # weights are loaded once

start = time.perf_counter()
image = Image.open(out)
image.load()
whole = time.perf_counter() - start

image = Image.open(out)
answer = image.draft("RGB", (144, 96))
print("draft answers", answer, "and makes the size", image.size)

start = time.perf_counter()
image = Image.open(out)
image.thumbnail((128, 128))
small = time.perf_counter() - start
print(f"thumbnail to {image.size}: {small:.2f} s, whole picture: {whole:.2f} s")
sys.exit(answer is None)
'''
    )


@case
def long_side(folder: Path) -> None:
    """A picture of 70000x2 pixels: longer than JPEG, WebP, GIF and ICO can be."""
    x = np.arange(70_000) * 255 // 70_000
    save(np.tile(x.astype(np.uint8), (2, 1)), folder / "wide.png", optimize=True)


@case
def newcomer(folder: Path) -> None:
    """A folder of pictures in which the smallest are icons."""
    (folder / "icons").mkdir(exist_ok=True)
    for size in (16, 32, 64):
        save(scene(size, size), folder / "icons" / f"icon-{size}.png")
    save(scene(144, 96), folder / "icons" / "picture.png")


def build(folder: Path) -> None:
    """Write the files of all cases into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for write in CASES:
        write(folder)
