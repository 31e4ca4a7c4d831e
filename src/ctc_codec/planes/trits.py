"""Balanced ternary: the same integer seen at coarser and coarser units, each three times the one before.

Plane p has the unit U0 3^p; a coefficient h is ``round(h / U0)`` at plane 0, and what is n there is
``floor((n + (3^p - 1) / 2) / 3^p)`` at plane p. So a plane adds one trit, -1, 0 or 1, to three times the
value of the plane above: trit planes of DPICT (Lee et al., CVPR 2022, section 3.1) around zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..container.header import MAX_PLANES

Values = npt.NDArray[np.int16]

UNIT = 8 / 3
"""U0, of plane 0, in grey levels of the orthonormal colour planes."""

"""A file has no more: (3^10 - 1) / 2 fits 16 bits."""

VALUE_LIMIT = (3**MAX_PLANES - 1) // 2


def unit(plane: int) -> float:
    """Grey levels of a plane's unit."""
    return float(UNIT * 3.0**plane)


def quantise(coefficients: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Values at plane 0, int32, of coefficients in grey levels."""
    values = np.rint(coefficients * np.float32(1 / UNIT))
    return np.clip(values, -VALUE_LIMIT, VALUE_LIMIT).astype(np.int32)


def at_plane(values: npt.NDArray[np.int32], plane: int) -> npt.NDArray[np.int32]:
    """Values of plane 0, int32 of any shape, as they are at another plane."""
    return (values + (3**plane - 1) // 2) // 3**plane if plane else values


def planes_of(largest: int) -> int:
    """Number of planes in which values of plane 0 up to ``largest`` in absolute value are not all 0."""
    planes = 0
    while 2 * largest > 3**planes - 1:
        planes += 1
    return planes
