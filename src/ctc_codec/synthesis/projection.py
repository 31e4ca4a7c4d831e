"""The nearest coefficients that the known trits allow: no correction contradicts a file.

The original lies in every interval, so projection never takes a picture further away from it (but for the
small departure of the 9/7 wavelet from orthonormality).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def project(
    coefficients: Floats, value: npt.NDArray[np.signedinteger], known: npt.NDArray[np.bool_], unit: float
) -> None:
    """Bring coefficients float32 into the intervals of their elements, in place. All have one shape."""
    middle = value.astype(np.float32)
    middle *= np.float32(unit)
    reach = np.where(known, np.float32(unit / 2), np.float32(3 * unit / 2))
    np.maximum(coefficients, middle - reach, out=coefficients)
    np.minimum(coefficients, middle + reach, out=coefficients)
