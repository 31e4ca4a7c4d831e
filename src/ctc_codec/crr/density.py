"""Densities and what follows from them: trit frequencies, coding class, conditional means.

A density is a mixture of two logistics with a centre and a scale. A *row* names one as an element sees it:
the distance x from the density's centre to the middle of the element's interval (in 1/16 units, 0..127), the
scale (64 steps), and the side:  ``row = side << 13 | x << 6 | scale``. Frequencies of negative distances
mirror those of positive ones. The tables are shipped with the weights: no machine computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..planes.order import GROUP

Rows = npt.NDArray[np.uint16]

SCALES, DISTANCES = 64, 128
SCALE_STEP, SCALE_ZERO = 8, 5
"""The natural logarithm of scale s is s / SCALE_STEP - SCALE_ZERO."""
ROWS = DISTANCES * SCALES
SIDE = ROWS
"""Bit of a row that is set where the interval lies below the density's centre."""
FREQUENCY_BITS = 16
QUIET = 262
"""A trit whose outer two frequencies together are less is quiet."""
GROUP_STEP_BITS = 5
CENTRE_BITS = 4
"""Centres and distances are in 1/16 unit."""
MAGNITUDES = 4


@dataclass(frozen=True)
class Densities:
    """Tables over all 2 ROWS rows.

    frequencies: uint16 [rows, 3], of the trits -1, 0, 1, sum 2^16.
    classes: uint8 [rows], 1 to 255, see :mod:`ctc_codec.planes.order`.
    zero_cost: uint16 [rows], what a zero costs, in 1/2^16 bit, if the trit is quiet; else 0.
    quiet: bool [rows], where that is not 0.
    group: uint16, frequency of "all zero" by the sum of zero costs in steps of 2^GROUP_STEP_BITS.
    bits: float32 [rows], expected bits of a trit; for the encoder.
    static: uint8 [planes, levels, channels, MAGNITUDES], scale of context-free coding.
    blank: uint8 [planes, levels, channels], scale in blank cells, see :mod:`ctc_codec.planes.cells`.
    means: float32 [4, rows], conditional mean less the middle of the interval in units, of an element that is
        not known yet, and of ones whose trit turned out -1, 0 or 1; for the decoder's pixels.
    """

    frequencies: npt.NDArray[np.uint16]
    classes: npt.NDArray[np.uint8]
    zero_cost: npt.NDArray[np.uint16]
    quiet: npt.NDArray[np.bool_]
    group: npt.NDArray[np.uint16]
    bits: npt.NDArray[np.float32]
    static: npt.NDArray[np.uint8]
    blank: npt.NDArray[np.uint8]
    means: npt.NDArray[np.float32]

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Densities:
        """Take the tensors of a weights file. Raises KeyError or ValueError if they are not usable."""
        half = _checked(arrays["exact.density.frequencies"], np.uint16, (ROWS, 3))
        if half.min() < 1 or (half.sum(axis=1, dtype=np.int64) != 1 << FREQUENCY_BITS).any():
            raise ValueError("trit frequencies do not add up")
        frequencies = np.concatenate((half, half[:, ::-1]))
        classes = _checked(arrays["exact.density.classes"], np.uint8, (ROWS,))
        if classes.min() < 1:
            raise ValueError("a class is 0")
        quiet = half[:, 1].astype(np.int64) > (1 << FREQUENCY_BITS) - QUIET
        cost = _checked(arrays["exact.density.zero_cost"], np.uint16, (ROWS,))
        group = arrays["exact.density.group"]
        if group.dtype != np.uint16 or group.ndim != 1 or group.min(initial=1) < 1:
            raise ValueError("group frequencies do not fit")
        if int(cost[quiet].max(initial=0)) * GROUP >> GROUP_STEP_BITS >= min(
            len(group), 1 << 16 - GROUP_STEP_BITS
        ):
            raise ValueError("group frequencies do not reach far enough")
        static = arrays["exact.density.static"]
        if static.dtype != np.uint8 or static.ndim != 4 or static.max(initial=0) >= SCALES:
            raise ValueError("context-free scales do not fit")
        blank = arrays["exact.density.blank"]
        if blank.dtype != np.uint8 or blank.shape != static.shape[:3] or blank.max(initial=0) >= SCALES:
            raise ValueError("scales of blank cells do not fit")
        means = _checked(arrays["means"], np.float32, (4, ROWS))
        if not np.isfinite(means).all() or np.abs(means).max() > 1.5:
            raise ValueError("conditional means are out of their intervals")
        zero_cost = np.tile(np.where(quiet, cost, np.uint16(0)), 2)
        p = frequencies / np.float32(1 << FREQUENCY_BITS)
        return cls(
            frequencies,
            np.tile(classes, 2),
            zero_cost,
            zero_cost > 0,
            group,
            -(p * np.log2(p)).sum(axis=1, dtype=np.float32),
            static,
            blank,
            np.concatenate((means, -means[[0, 3, 2, 1]]), axis=1),
        )


def _checked(array: npt.NDArray[Any], kind: type, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if array.dtype != kind or array.shape != shape:
        raise ValueError(f"a table is {array.dtype} {array.shape}, not {np.dtype(kind)} {shape}")
    return array


def rows_of(value: npt.NDArray[np.int16], centre: npt.NDArray[np.int8], scale: npt.NDArray[np.uint8]) -> Rows:
    """Rows of elements that are not known yet.

    value: middle of the interval, in units.
    centre: of the density, in 1/16 units.
    scale: 0 to 63. All three have one shape.
    """
    # Beyond 9 units every distance is the largest, as centres are within 8.
    distance = np.clip(value, -16, 16)
    distance <<= np.int16(CENTRE_BITS)
    distance -= centre.astype(np.int16)  # once: mixed types are slow
    row = distance.view(np.uint16) >> np.uint16(15)
    row <<= np.uint16(13)
    np.abs(distance, out=distance)
    np.clip(distance, 0, DISTANCES - 1, out=distance)
    distance <<= np.int16(6)
    row |= distance.view(np.uint16)
    row |= scale.astype(np.uint16)
    return row
