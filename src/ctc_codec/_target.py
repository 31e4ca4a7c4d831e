"""The fewest bytes that reach a quality."""

from __future__ import annotations

import math
from collections.abc import Callable


def smallest_prefix(
    quality: Callable[[int], float], low: int, high: int, target: float, quality_high: float
) -> int:
    """A count, ``low`` to ``high``, whose quality reaches ``target`` while that of one byte less does not.

    quality: of a count, dB, growing with it (were it not to, there may be several such counts);
    quality_high: of ``high``, at least ``target``.

    Interpolates linearly in log-bytes, where PSNR is nearly straight, and halves the interval where that is
    slow.
    """
    quality_low = quality(low)
    if quality_low >= target:
        return low
    while high - low > 1:
        width = high - low
        share = (target - quality_low) / max(quality_high - quality_low, 1e-9)
        guess = math.ceil(low * (high / low) ** share) if math.isfinite(share) else (low + high) // 2
        margin = max(1, width // 64)  # the answer is to fall on the short side of the guess
        for count in (guess - margin, guess + margin):
            if not low < count < high:
                continue
            found = quality(count)
            if found >= target:
                high, quality_high = count, found
            else:
                low, quality_low = count, found
        if high - low > width // 2:
            middle = (low + high) // 2
            if low < middle < high:
                found = quality(middle)
                if found >= target:
                    high, quality_high = middle, found
                else:
                    low, quality_low = middle, found
    return high
