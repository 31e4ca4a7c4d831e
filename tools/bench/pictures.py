"""The picture that is measured, and larger ones of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def synthetic_image(width: int = 768, height: int = 512) -> Image.Image:
    """Colour noise with a 1/f^1.2 amplitude spectrum, which has about a photograph's statistics."""
    rng = np.random.default_rng(7)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    shape = (fy.size, fx.size, 3)
    spectrum = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    spectrum /= np.maximum(np.hypot(fy, fx), 1 / width)[..., None] ** 1.2
    noise = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    deviation = noise.std(axis=(0, 1))
    noise = noise / np.where(deviation > 1e-6, deviation, np.inf) * 45  # one pixel has none: grey
    mixed = 128 + 0.9 * noise[..., :1] + 0.35 * noise
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def png_of(image: Path | None) -> bytes:
    """The picture that is measured, as a PNG file: of an image file, or a synthetic one."""
    picture = synthetic_image() if image is None else Image.open(image)
    out = io.BytesIO()
    picture.convert("RGB").save(out, "PNG")
    return out.getvalue()


def mosaic(image: Image.Image, megapixels: float) -> Image.Image:
    """An image of mode RGB, three to two, of so many million pixels: mirrored copies, or a part."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(megapixels * 1e6 / height)
    pixels = np.asarray(image.convert("RGB"))
    missing = max(height - pixels.shape[0], 0), max(width - pixels.shape[1], 0)
    padded = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    return Image.fromarray(padded[:height, :width])
