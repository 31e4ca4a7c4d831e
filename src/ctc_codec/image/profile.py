"""ICC profiles made of primaries, a white and a curve, or of the numbers of ITU-T H.273 for them."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Points = tuple[float, ...]
"""CIE x and y of white, red, green and blue, in the order of PNG's cHRM: 8 numbers."""

LEVELS: Floats = np.arange(256) / 255
"""Samples of 8 bits, 0 to 1: a curve is the light of each, relative to that of white."""

_D65, _C, _E = (0.3127, 0.3290), (0.310, 0.316), (1 / 3, 1 / 3)
SRGB: Points = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB: Points = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
ROMM: Points = (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001)

_D50 = np.array([0.9642, 1, 0.8249])  # as ICC.1 rounds it
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

_PRIMARIES: dict[int, tuple[str, Points]] = {
    1: ("BT.709 primaries", SRGB),
    4: ("BT.470 M primaries", (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08)),
    5: ("BT.601 primaries", (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06)),
    6: ("SMPTE 170M primaries", (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    7: ("SMPTE 240M primaries", (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    8: ("film primaries", (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049)),
    9: ("BT.2020 primaries", (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)),
    10: ("CIE XYZ", (*_E, 1, 0, 0, 1, 0, 0)),
    11: ("DCI-P3", (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
    12: ("Display P3", (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
    22: ("EBU 3213 primaries", (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077)),
}
"""ColourPrimaries of H.273."""

_REFERENCE_WHITE = 203
"""cd/m2 of white in pictures of high dynamic range, after ITU-R BT.2408; what is brighter is clipped."""


def srgb_curve(v: Floats) -> Floats:
    """The light of sRGB's samples."""
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def romm_curve(v: Floats) -> Floats:
    """The light of samples of ROMM RGB (ProPhoto)."""
    return np.where(v < 16 / 512, v / 16, v**1.8)


def _bt709(v: Floats) -> Floats:
    return np.where(v < 0.081243, v / 4.5, ((v + 0.099297) / 1.099297) ** (1 / 0.45))


def _smpte240(v: Floats) -> Floats:
    return np.where(v < 0.091286, v / 4, ((v + 0.111572) / 1.111572) ** (1 / 0.45))


def _pq(v: Floats) -> Floats:
    root = v ** (32 / 2523)
    light = (root - 3424 / 4096).clip(0) / (2413 / 128 - 2392 / 128 * root)
    return light ** (16384 / 2610) * (10000 / _REFERENCE_WHITE)


def _hlg(v: Floats) -> Floats:
    """As on a display of 1000 cd/m2. Its gamma goes to each channel, which saturates colours a little."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
    return scene**1.2 * (1000 / _REFERENCE_WHITE)


def _log(decades: float) -> Callable[[Floats], Floats]:
    return lambda v: np.where(v > 0, 10 ** (decades * (v - 1)), 0)


_TRANSFERS: dict[int, tuple[str, Callable[[Floats], Floats]]] = {
    **dict.fromkeys((1, 6, 11, 12, 14, 15), ("the curve of BT.709", _bt709)),
    4: ("gamma 2.2", lambda v: v**2.2),
    5: ("gamma 2.8", lambda v: v**2.8),
    7: ("the curve of SMPTE 240M", _smpte240),
    8: ("linear light", lambda v: v),
    9: ("logarithms", _log(2)),
    10: ("logarithms", _log(2.5)),
    13: ("", srgb_curve),
    16: ("PQ", _pq),
    17: ("the curve of SMPTE 428", lambda v: v**2.6 * (52.37 / 48)),
    18: ("HLG", _hlg),
}
"""TransferCharacteristics of H.273, the inverse of its formulas."""


def from_h273(primaries: int, transfer: int, full: bool = True) -> bytes:
    """Profile for colours by H.273; 2, unspecified, means those of sRGB.

    full: the samples' range is 0 to 255, and not 16 to 235. Raises ValueError for unknown numbers.
    """
    primaries = 1 if primaries == 2 else primaries
    transfer = 13 if transfer == 2 else transfer
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        raise ValueError("unknown colours")
    curve_name, curve = _TRANSFERS[transfer]
    name, points = _PRIMARIES[primaries]
    levels = LEVELS if full else ((255 * LEVELS - 16) / 219).clip(0, 1)
    name = " with ".join(part for part in ("" if primaries == 1 else name, curve_name) if part) or "sRGB"
    return rgb_profile(name if full else f"{name} from 16 to 235", points, curve(levels))


def from_points(points: Points | None, gamma: float | Floats | None) -> bytes:
    """Profile for colours by their primaries and exponent, or curve [1 or 3, 256]; None: those of sRGB.

    What is nearly sRGB is sRGB: its curve is marked as gamma 2.2 everywhere. Raises ValueError for primaries
    that span nothing and for impossible exponents.
    """
    place = "" if points is None else _name_of(points)
    if isinstance(gamma, np.ndarray):
        name, curve = "a curve of its own", gamma
    elif gamma is None or (not place and 0.95 < gamma / 2.2 < 1.05):
        name, curve = "", srgb_curve(LEVELS)
    elif 0.2 <= gamma <= 10:
        name, curve = "linear light" if abs(gamma - 1) < 0.01 else f"gamma {gamma:.3g}", LEVELS**gamma
    else:
        raise ValueError("no exponent")
    whole = " with ".join(part for part in (place, name) if part) or "sRGB"
    return rgb_profile(whole, points if place and points else SRGB, curve)


def _name_of(points: Points) -> str:
    """What primaries are called; nothing for those of sRGB."""
    for name, known in (("", SRGB), ("Adobe RGB primaries", ADOBE_RGB), *_PRIMARIES.values()):
        if np.abs(np.subtract(points, known)).max() < 0.005:
            return name
    return "primaries of its own"


def rgb_profile(name: str, points: Points, curve: Floats) -> bytes:
    """ICC profile (version 2.4) of a matrix and curves, float [256] or [1 or 3, 256], clipped to 1.

    The white becomes that of the profile connection space by Bradford's matrix, so that greys stay grey.
    Raises ValueError for points that span no colours.
    """
    xyz = np.array([(x, y, 1 - x - y) for x, y in zip(points[::2], points[1::2], strict=True)]).T
    if not (np.abs(xyz) <= 2).all() or xyz[1, 0] < 0.01 or abs(np.linalg.det(xyz[:, 1:])) < 1e-3:
        raise ValueError("these primaries span no colours")
    white = xyz[:, 0] / xyz[1, 0]
    light = np.linalg.solve(xyz[:, 1:], white)
    cones = _BRADFORD @ white
    if (light < 1e-3).any() or (cones < 0.01).any():
        raise ValueError("this white is outside of its primaries")
    columns = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / cones) @ _BRADFORD @ xyz[:, 1:] * light

    def numbers(values: Floats) -> bytes:
        return b"XYZ \0\0\0\0" + np.rint(values * 65536).astype(">i4").tobytes()

    words = name.encode("ascii", "replace") + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(words)) + words + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": numbers(_D50),
    }
    for letter, column, table in zip(b"rgb", columns.T, np.broadcast_to(curve, (3, 256)), strict=True):
        samples = np.rint(table.clip(0, 1) * 65535).astype(">u2").tobytes()
        tags[b"%cXYZ" % letter] = numbers(column)
        tags[b"%cTRC" % letter] = b"curv\0\0\0\0" + struct.pack(">I", 256) + samples
    body, index, start = b"", struct.pack(">I", len(tags)), 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        index += struct.pack(">4sII", tag, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x", start + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp"
    )
    return head + numbers(_D50)[8:] + bytes(48) + index + body
