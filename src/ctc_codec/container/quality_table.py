"""The quality table of a file: PSNR at some lengths of its code word, so that it can be cut to a PSNR without
the original. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

POINTS = 13
"""Lengths, each 1/sqrt(2) of the one before: from the whole code word down to 1/64 of it."""

_STEP = 0.02
_FINE = 230
"""Steps of a fall that are written exactly, 4.6 dB: more than photographs have. A byte above it counts on in
dB, for text and textures, whose PSNR falls to nothing when their last plane is cut."""
_TOP_SCALE = 100
EXACT = 99.99
"""dB that stand for no error at all."""


def _fall(byte: int) -> float:
    """dB that a byte of the table stands for."""
    return _STEP * byte if byte <= _FINE else _STEP * _FINE + byte - _FINE


def _byte(fall: float) -> int:
    """The byte that stands for a fall in dB, or for the nearest that can be written."""
    fine = round(fall / _STEP)
    return max(fine, 0) if fine <= _FINE else min(_FINE + max(round(fall - _STEP * _FINE), 1), 0xFF)


def lengths(code_bytes: int) -> list[int]:
    """The code word's lengths in the table, descending: code_bytes 2^(-k/2), by integers."""
    return [code_bytes >> k // 2 if k % 2 == 0 else code_bytes * 181 >> 8 + k // 2 for k in range(POINTS)]


@dataclass(frozen=True)
class QualityTable:
    """PSNR at some lengths of the code word.

    psnr: dB at :func:`lengths`, not ascending, POINTS of them.
    """

    psnr: tuple[float, ...]

    def to_bytes(self) -> bytes:
        """14 bytes: the first value in 1/100 dB (2 bytes), then how much lower each next one is."""
        top = min(max(round(self.psnr[0] * _TOP_SCALE), 0), 0xFFFF)
        out, at = bytearray(top.to_bytes(2, "big")), top / _TOP_SCALE
        for value in self.psnr[1:]:
            out.append(_byte(at - value))
            at -= _fall(out[-1])
        return bytes(out)

    @classmethod
    def parse(cls, data: bytes) -> QualityTable | None:
        """None for what is no table."""
        if len(data) != POINTS + 1:
            return None
        psnr = [int.from_bytes(data[:2], "big") / _TOP_SCALE]
        for down in data[2:]:
            psnr.append(max(psnr[-1] - _fall(down), 0.0))
        return cls(tuple(psnr))

    def code_bytes_for(self, target: float, code_bytes: int) -> int | None:
        """Bytes of the code word that give ``target`` dB, linear in log-bytes between the table's lengths;
        None where the whole does not."""
        if target > self.psnr[0]:
            return None
        known = lengths(code_bytes)
        for k in range(1, POINTS):
            if self.psnr[k] < target:
                share = (target - self.psnr[k]) / (self.psnr[k - 1] - self.psnr[k])
                low, high = max(known[k], 1), max(known[k - 1], 1)
                return math.ceil(low * (high / low) ** share)
        return known[-1]

    def at(self, code_position: int, code_bytes: int) -> float | None:
        """PSNR with so many bytes of the code word; None below the smallest length of the table."""
        known = lengths(code_bytes)
        for k in range(POINTS):
            if code_position >= known[k]:
                if k == 0 or known[k] < 1:
                    return self.psnr[k]
                share = math.log(code_position / known[k]) / math.log(known[k - 1] / known[k])
                return self.psnr[k] + share * (self.psnr[k - 1] - self.psnr[k])
        return None


def table_of(code_bytes: int, measured: Sequence[tuple[int, float]]) -> QualityTable:
    """The table from measurements (bytes of the code word, PSNR), in any order, at least one of the whole.

    Between them PSNR is linear in log-bytes, or over more than three octaves, all of whose trits cost and
    bring the same, squared error in bytes; below the first one PSNR is as much lower as can be written.
    """
    points = sorted(measured)
    psnr: list[float] = []
    for length in lengths(code_bytes):
        after = next((i for i, (at, _) in enumerate(points) if at >= length), len(points) - 1)
        (x1, y1) = points[after]
        if length == x1 or not psnr:
            value = y1
        elif after == 0:
            value = psnr[-1] - _fall(0xFF)
        else:
            (x0, y0) = points[after - 1]
            if x1 <= 8 * x0:
                value = y0 + (y1 - y0) * math.log(length / x0) / math.log(x1 / x0)
            else:
                share = (length - x0) / (x1 - x0)
                value = -10 * math.log10((1 - share) * 10 ** (-y0 / 10) + share * 10 ** (-y1 / 10))
        psnr.append(max(min(value, psnr[-1]) if psnr else value, 0.0))
    return QualityTable(tuple(psnr))
