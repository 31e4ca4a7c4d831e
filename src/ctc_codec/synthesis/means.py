"""Context-based distortion reduction: each element at the mean of its density inside its interval.

CDR (Jeon et al., CVPR 2023, section 3.3) refines partial latents by a network of its own; here the density
that coded an element tells its mean as well. Floating point, for the decoder's pixels only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def offsets(
    value: npt.NDArray[np.int16],
    known: npt.NDArray[np.bool_],
    row: npt.NDArray[np.uint16],
    means: Floats,
) -> Floats:
    """Conditional means less the middles of the intervals, in units of the plane, of elements of any shape.

    means: float32 [4, rows], see :class:`ctc_codec.crr.density.Densities`.
    """
    trit = value - np.int16(3) * ((value + np.int16(1)) // np.int16(3))
    case = (trit + np.int16(2)) * known
    index = case.astype(np.int32) * np.int32(means.shape[1]) + row
    return means.reshape(-1).take(index)


def refined(
    value: npt.NDArray[np.int16],
    known: npt.NDArray[np.bool_],
    row: npt.NDArray[np.uint16],
    unit: float,
    means: Floats | None,
) -> Floats:
    """Coefficients in grey levels, float32: conditional means, or the middles of intervals without
    ``means``."""
    out = value.astype(np.float32)
    if means is not None:
        out += offsets(value, known, row, means)
    out *= np.float32(unit)
    return out
