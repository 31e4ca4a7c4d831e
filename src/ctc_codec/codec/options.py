"""What ``-q`` and ``-e`` mean. Quality is a target of squared error, whatever the content.

Standard library only.

A file can be cut anywhere; quality only says where it ends.
"""

from __future__ import annotations

DEFAULT_QUALITY = 85
EFFORTS = range(1, 10)
DEFAULT_EFFORT = 5
"""See :class:`ctc_codec.guide.Effort`."""
_POINTS = ((1.0, 23.0), (85.0, 40.0), (90.0, 42.0), (100.0, 50.0))
"""PSNR in dB at some qualities, linear in between; 100 has no target, but all planes."""


def psnr_of_quality(quality: float) -> float:
    """PSNR in dB that a quality from 1 to 100 stands for; 100 is all planes, about 50 dB. Raises
    ValueError."""
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is 1 to 100, not {quality:g}")
    upper = next(i for i, (end, _) in enumerate(_POINTS) if quality <= end)
    (q0, db0), (q1, db1) = _POINTS[max(upper - 1, 0)], _POINTS[max(upper, 1)]
    return db0 + (db1 - db0) * (quality - q0) / (q1 - q0)


def mse_of_psnr(psnr: float) -> float:
    """Mean squared error of samples from 0 to 255 that has a PSNR in dB."""
    return float(255**2 / 10 ** min(psnr / 10, 300))


def mse_of_quality(quality: float) -> float | None:
    """Mean squared error at which a file of this quality ends; None for all planes. Raises ValueError."""
    psnr = psnr_of_quality(quality)
    return None if quality == 100 else mse_of_psnr(psnr)
