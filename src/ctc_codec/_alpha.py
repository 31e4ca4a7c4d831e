"""Transparency: a rough version for the first bytes, then the exact one row by row, both by LZMA.

Masks are mostly flat with few sharp edges, which the learned transform would blur, and LZMA (standard
library, decodes any prefix) packs about as small as lossless WebP does.
"""

from __future__ import annotations

import lzma

import numpy as np
import numpy.typing as npt
from PIL import Image

from ._alpha_format import CELL, FILTERS, LEFT, PLAIN, TOP_LEVEL

Plane = npt.NDArray[np.uint8]


def _packed(samples: Plane) -> bytes:
    return lzma.compress(samples.tobytes(), lzma.FORMAT_RAW, filters=FILTERS)


def _unpacked(data: bytes, count: int) -> Plane:
    """The first samples, at most ``count``, uint8."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
    try:
        out = decoder.decompress(data, max_length=count)
    except (lzma.LZMAError, EOFError):
        out = b""
    return np.frombuffer(out, np.uint8)


def pack_rough(alpha: Plane) -> bytes:
    """Means of 8x8 cells in 16 levels."""
    height, width = alpha.shape
    padded = np.pad(alpha, ((0, -height % CELL), (0, -width % CELL)), mode="edge").astype(np.float32)
    cells = padded.reshape(padded.shape[0] // CELL, CELL, -1, CELL).mean(axis=(1, 3))
    return _packed(np.rint(cells * TOP_LEVEL / 255).astype(np.uint8))


def unpack_rough(data: bytes, width: int, height: int) -> Plane | None:
    """uint8 [height, width], interpolated; None unless all of it is there."""
    rows, columns = -(-height // CELL), -(-width // CELL)
    cells = _unpacked(data, rows * columns)
    if len(cells) < rows * columns:
        return None
    levels = np.minimum(cells, TOP_LEVEL).reshape(rows, columns) * (255 // TOP_LEVEL)
    grown = Image.fromarray(levels).resize((columns * CELL, rows * CELL), Image.Resampling.BILINEAR)
    return np.asarray(grown)[:height, :width].copy()


def pack(alpha: Plane) -> bytes:
    """The exact samples: a byte that names the prediction, then what it leaves, in raster order."""
    left = np.pad(alpha, ((0, 0), (1, 0)))[:, :-1]
    ways = [bytes([PLAIN]) + _packed(alpha), bytes([LEFT]) + _packed(alpha - left)]
    return min(ways, key=len)


def unpack(data: bytes, rough: Plane) -> Plane:
    """Samples uint8 [height, width]: those of ``data``, which may be cut, and below them ``rough``."""
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
