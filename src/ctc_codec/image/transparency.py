"""Transparency: colours behind it and where nothing is seen, and its samples as sections of the file.

A section holds a rough version for the first bytes, or the exact one row by row, both by LZMA: masks are
mostly flat with few sharp edges, which the learned transform would blur, and LZMA (standard library, decodes
any prefix) packs about as small as lossless WebP does.
"""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..container.alpha import CELL, FILTERS, LEFT, PLAIN, TOP_LEVEL

Pixels = npt.NDArray[np.uint8]
"""[height, width, channels]"""
Alpha = npt.NDArray[np.uint8]
"""[height, width], 0 transparent, 255 opaque."""

_Floats = npt.NDArray[np.float32]

_BAND = 256
"""Rows of a large image that are worked on at a time, an even number."""

_NOTHING_SEEN = 128
"""Colour of an image that is transparent everywhere."""


def flatten(pixels: Pixels, alpha: Alpha, background: Sequence[int]) -> Pixels:
    """Pixels on a background of one colour, uint8 [height, width, len(background)].

    pixels: uint8 [height, width, 1 or as many as ``background`` has].
    """
    weight = alpha[..., None].astype(np.uint16)
    behind = (255 - weight) * np.asarray(background, np.uint16)
    # At most 255 * 255 + 127: fits, and rounds to the nearest.
    return ((pixels * weight + behind + 127) // 255).astype(np.uint8)


def fill_unseen(pixels: Pixels, alpha: Alpha) -> Pixels:
    """The same pixels where alpha is above 0; elsewhere a smooth continuation of those around.

    pixels: uint8 [height, width, channels].

    Hidden colours (black, white, noise) have hard edges to those that are shown, and edges cost bytes.
    Pull-push over a pyramid (Gortler et al., The Lumigraph, 1996): linear time.
    """
    seen = alpha > 0
    if seen.all():
        return pixels
    if not seen.any():
        return np.full_like(pixels, _NOTHING_SEEN)
    # The largest level in bands of rows, for the sake of memory, and in integers, which is faster: four
    # values of 8 bits need 10.
    bands = [slice(start, start + _BAND) for start in range(0, len(pixels), _BAND)]
    totals, weights = [], []
    for rows in bands:
        shown = seen[rows, :, None]
        totals.append(_sum_of_fours((pixels[rows] * shown).astype(np.uint16)).astype(np.float32))
        weights.append(_sum_of_fours(shown.astype(np.uint16)).astype(np.float32))
    around = _pull_push(np.concatenate(totals), np.concatenate(weights))
    out = np.empty_like(pixels)
    for rows in bands:
        first = max(rows.start // 2 - 1, 0)
        near = _doubled(around[first : rows.stop // 2 + 2])[rows.start - 2 * first :]
        near = np.rint(near[: len(out[rows]), : pixels.shape[1]]).astype(np.uint8)
        out[rows] = np.where(seen[rows, :, None], pixels[rows], near)
    return out


def _pull_push(total: _Floats, weight: _Floats) -> _Floats:
    """Colours [h, w, channels] everywhere, from sums of colours and of weights ([h, w, 1], some above 0)."""
    mean = np.divide(total, np.maximum(weight, 1), dtype=np.float32)
    if weight.all():
        return mean
    around = _doubled(_pull_push(_sum_of_fours(total), _sum_of_fours(weight)))
    return np.where(weight > 0, mean, around[: weight.shape[0], : weight.shape[1]])


def _sum_of_fours(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums of 2x2 values of an array [h, w, channels], which is 0 outside."""
    height, width = array.shape[:2]
    if height % 2 or width % 2:
        array = np.pad(array, ((0, height % 2), (0, width % 2), (0, 0)))
    rows = array[::2] + array[1::2]
    return rows[:, ::2] + rows[:, 1::2]


def _doubled(array: _Floats) -> _Floats:
    """An array [h, w, channels] at twice the size, bilinear: its values are means of 2x2 of the new ones."""
    height, width, channels = array.shape
    array = np.pad(array, ((1, 1), (1, 1), (0, 0)), mode="edge")
    near, far = array * np.float32(0.75), array * np.float32(0.25)
    wide = np.empty((height + 2, 2 * width, channels), np.float32)
    wide[:, ::2] = near[:, 1:-1] + far[:, :-2]
    wide[:, 1::2] = near[:, 1:-1] + far[:, 2:]
    near, far = wide * np.float32(0.75), wide * np.float32(0.25)
    double = np.empty((2 * height, 2 * width, channels), np.float32)
    double[::2] = near[1:-1] + far[:-2]
    double[1::2] = near[1:-1] + far[2:]
    return double


# --- samples in the file ----------------------------------------------------------------------------


def _packed(samples: Alpha) -> bytes:
    return lzma.compress(samples.tobytes(), lzma.FORMAT_RAW, filters=FILTERS)


def _unpacked(data: bytes, count: int) -> Alpha:
    """The first samples, at most ``count``, uint8."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
    try:
        out = decoder.decompress(data, max_length=count)
    except (lzma.LZMAError, EOFError):
        out = b""
    return np.frombuffer(out, np.uint8)


def pack_rough(alpha: Alpha) -> bytes:
    """Section data of the rough version: means of 8x8 cells in 16 levels. alpha: uint8 [height, width]."""
    height, width = alpha.shape
    padded = np.pad(alpha, ((0, -height % CELL), (0, -width % CELL)), mode="edge").astype(np.float32)
    cells = padded.reshape(padded.shape[0] // CELL, CELL, -1, CELL).mean(axis=(1, 3))
    return _packed(np.rint(cells * TOP_LEVEL / 255).astype(np.uint8))


def unpack_rough(data: bytes, width: int, height: int) -> Alpha | None:
    """Rough alpha, uint8 [height, width], interpolated between cells; None unless all of them are there."""
    rows, columns = -(-height // CELL), -(-width // CELL)
    cells = _unpacked(data, rows * columns)
    if len(cells) < rows * columns:
        return None
    levels = np.minimum(cells, TOP_LEVEL).reshape(rows, columns) * (255 // TOP_LEVEL)
    grown = Image.fromarray(levels).resize((columns * CELL, rows * CELL), Image.Resampling.BILINEAR)
    return np.asarray(grown)[:height, :width].copy()


def pack(alpha: Alpha) -> bytes:
    """Section data of the exact samples: a byte that names the prediction, then its residual in raster order.

    alpha: uint8 [height, width].
    """
    left = np.pad(alpha, ((0, 0), (1, 0)))[:, :-1]
    ways = [bytes([PLAIN]) + _packed(alpha), bytes([LEFT]) + _packed(alpha - left)]
    return min(ways, key=len)


def unpack(data: bytes, rough: Alpha) -> Alpha:
    """Alpha, uint8 [height, width]: samples of ``data``, which may be cut, and below them ``rough``."""
    height, width = rough.shape
    if not data or data[0] not in (PLAIN, LEFT):
        return rough
    samples = _unpacked(data[1:], height * width)
    out = rough.copy().reshape(-1)
    out[: len(samples)] = samples
    if data[0] == LEFT and len(samples):
        rows = np.zeros(-(-len(samples) // width) * width, np.uint8)
        rows[: len(samples)] = samples
        sums = np.cumsum(rows.reshape(-1, width), axis=1, dtype=np.uint8).reshape(-1)
        out[: len(samples)] = sums[: len(samples)]
    return out.reshape(height, width)
