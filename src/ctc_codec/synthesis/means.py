"""Context-based distortion reduction: each element at the mean of its density inside its interval.

CDR (Jeon et al., CVPR 2023, section 3.3) refines partial latents by a network of its own; here the density
that coded an element tells its mean as well. Floating point, for the decoder's pixels only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Values = npt.NDArray[np.int16]
Known = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.uint16]


def offsets(value: Values, known: Known, row: Rows, means: Floats) -> Floats:
    """Conditional means less the middles of the intervals, in units of the plane, of elements of any shape.

    means: float32 [4, rows], see :class:`ctc_codec.crr.density.Densities`; at most 2^14 rows.
    """
    case = _case(value, known, means)
    case += row
    return _looked_up(case, means)


def refined(
    value: Values, known: Known, rows: Sequence[Rows], unit: float, means: Floats | None, out: Floats
) -> None:
    """Write coefficients in grey levels to ``out``, float32: conditional means, or the middles of intervals
    without ``means``.

    rows: of the densities that elements were coded with, and maybe of those now: of a known element, the mean
        of two means is better than either.
    """
    np.copyto(out, value)
    if means is None:
        out *= np.float32(unit)
        return
    case = _case(value, known, means)
    if len(rows) == 1:
        case += rows[0]
        out += _looked_up(case, means)
        out *= np.float32(unit)
        return
    then, now = rows
    half = np.float32(unit / 2)
    case += now
    found = _looked_up(case, means)
    found += out
    found *= half
    # The other row where it counts: a mask in arithmetic is many times as fast as one in a ufunc.
    other = then - now
    other *= known
    case += other
    out += _looked_up(case, means)
    out *= half
    out += found


def _case(value: Values, known: Known, means: Floats) -> Rows:
    """Where the means of an element's case begin: not known yet, or by its trit."""
    third = value + np.int16(1)
    third //= np.int16(3)
    third *= np.int16(-3)
    third += value
    third += np.int16(2)
    third *= known
    case = third.view(np.uint16)
    case *= np.uint16(means.shape[1])
    return case


def _looked_up(index: Rows, means: Floats) -> Floats:
    """Means by an index into all of them. (Nothing has to be wrapped; "raise" is half as fast.)"""
    out = np.empty(index.shape, np.float32)
    return means.reshape(-1).take(index, out=out, mode="wrap")
