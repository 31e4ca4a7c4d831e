"""Generated pictures of the kinds on which image codecs go wrong, the same in every run.

Each kind is a function of width and height to uint8 samples [height, width, 3], or [height, width] of grey.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Samples = npt.NDArray[np.uint8]
Kind = Callable[[int, int], Samples]


def _grid(width: int, height: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    y, x = np.mgrid[0:height, 0:width]
    return x, y


def checks(cell: int, contrast: int = 255) -> Kind:
    """A chessboard of cells of so many pixels around middle grey."""
    low = (255 - contrast) // 2

    def make(width: int, height: int) -> Samples:
        x, y = _grid(width, height)
        return np.where((x // cell + y // cell) % 2, low + contrast, low).astype(np.uint8)

    return make


def stripes(width_of_one: int, across: int, down: int) -> Kind:
    """Black and white stripes; (1, 0) upright, (0, 1) level, (1, 1) slanted."""

    def make(width: int, height: int) -> Samples:
        x, y = _grid(width, height)
        return ((across * x + down * y) // width_of_one % 2 * 255).astype(np.uint8)

    return make


def gradient(width: int, height: int) -> Samples:
    """Smooth colours without a symmetry."""
    x, y = _grid(width, height)
    channels = (x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height))
    return np.dstack(channels).astype(np.uint8)


def ramp(width: int, height: int) -> Samples:
    """A grey ramp from black to white."""
    x, _ = _grid(width, height)
    return (x * 255 // max(width - 1, 1)).astype(np.uint8)


def dither(width: int, height: int) -> Samples:
    """A ramp in black and white by error diffusion."""
    return np.asarray(Image.fromarray(ramp(width, height)).convert("1").convert("L"))


def halftone(width: int, height: int) -> Samples:
    """A ramp in black dots on a slanted screen, colour by colour."""
    x, y = _grid(width, height)
    screens = []
    for angle in (0.26, 0.79, 1.31):
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        screens.append(np.cos(u * 1.6) + np.cos(v * 1.6) > 4 * x / width - 2)
    return (np.dstack(screens) * 255).astype(np.uint8)


def text(width: int, height: int) -> Samples:
    """Lines of dark blue letters on a white page."""
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    for line in range(height // 11 + 1):
        draw.text((1, 11 * line), "The quick brown fox jumps over 13 lazy dogs. " * 2, fill=(10, 20, 90))
    return np.asarray(page)


def noise(width: int, height: int) -> Samples:
    """Every sample by chance."""
    return np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)


def grey_noise(width: int, height: int) -> Samples:
    """Every pixel black or white by chance."""
    return (np.random.default_rng(2).integers(0, 2, (height, width)) * 255).astype(np.uint8)


def few_colours(width: int, height: int) -> Samples:
    """Rectangles of eight strong colours."""
    rng = np.random.default_rng(3)
    out = np.zeros((height, width, 3), np.uint8)
    for _ in range(40):
        top, left = rng.integers(0, height), rng.integers(0, width)
        down, across = rng.integers(1, 30, 2)
        out[top : top + down, left : left + across] = rng.integers(0, 2, 3) * 255
    return out


def flat(*colour: int) -> Kind:
    """One colour, or one grey."""

    def make(width: int, height: int) -> Samples:
        return np.tile(np.array(colour, np.uint8), (height, width, 1)).squeeze(
            axis=2 if len(colour) == 1 else ()
        )

    return make


def patch(width: int, height: int) -> Samples:
    """Checks of one pixel in the middle of a smooth picture."""
    out = gradient(width, height).copy()
    rows, columns = slice(height // 3, 2 * height // 3), slice(width // 3, 2 * width // 3)
    out[rows, columns] = checks(1)(width, height)[rows, columns, None]
    return out


def dots(width: int, height: int) -> Samples:
    """White pixels far apart on black."""
    x, y = _grid(width, height)
    return (((x * 7 + y * 13) % 61 == 0) * 255).astype(np.uint8)


def photograph(width: int, height: int, seed: int = 1) -> Samples:
    """Colour noise of a photograph's spectrum, with a disc and a bar in front of it."""
    rng = np.random.default_rng(seed)
    side = 2 * max(width, height, 16)  # so that borders do not match
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    shape = (*frequency.shape, 3)
    spectrum = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    spectrum /= np.maximum(frequency, 1 / side)[..., None] ** 1.2
    shades = np.fft.irfft2(spectrum, s=(side, side), axes=(0, 1))
    shades = (shades / shades.std(axis=(0, 1)) * 45)[:height, :width]
    light = 128 + 0.9 * shades[..., :1] + 0.35 * shades
    x, y = _grid(width, height)
    light[(x - 0.7 * width) ** 2 + (y - 0.35 * height) ** 2 < (0.2 * height) ** 2] += 50
    light[:, int(0.15 * width) : int(0.18 * width) + 1] -= 70
    return light.round().clip(0, 255).astype(np.uint8)


def snapshot(width: int, height: int) -> Samples:
    """Smooth shades with the noise of a sensor, which hides all fine detail."""
    x, y = _grid(width, height)
    light = (
        120 + 60 * np.sin(x / 37) * np.cos(y / 29) + np.random.default_rng(4).normal(0, 3, (3, height, width))
    )
    return np.moveaxis(light, 0, 2).round().clip(0, 255).astype(np.uint8)


KINDS: dict[str, Kind] = {
    **{f"checks-{cell}px": checks(cell) for cell in (1, 2, 3, 5, 8)},
    **{f"checks-{cell}px-soft": checks(cell, 64) for cell in (1, 2, 4)},
    "checks-1px-faint": checks(1, 9),
    "stripes-1px": stripes(1, 1, 0),
    "stripes-1px-level": stripes(1, 0, 1),
    "stripes-2px": stripes(2, 1, 0),
    "stripes-3px-slanted": stripes(3, 1, 1),
    "gradient": gradient,
    "ramp": ramp,
    "dither": dither,
    "halftone": halftone,
    "text": text,
    "noise": noise,
    "grey-noise": grey_noise,
    "few-colours": few_colours,
    "black": flat(0),
    "white": flat(255),
    "red": flat(255, 0, 0),
    "patch": patch,
    "dots": dots,
    "photograph": photograph,
    "snapshot": snapshot,
}


def psnr(a: Samples | Image.Image, b: Samples | Image.Image) -> float:
    """PSNR in dB, over all samples; infinite for equal ones."""
    difference = np.asarray(a).astype(np.float64) - np.asarray(b)
    error = float(np.square(difference).mean())
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
