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
_TOP_SCALE = 100


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
        """14 bytes: the first value in 1/100 dB (2 bytes), then what each next one is lower, in 1/50 dB."""
        top = min(max(round(self.psnr[0] * _TOP_SCALE), 0), 0xFFFF)
        out, at = bytearray(top.to_bytes(2, "big")), top / _TOP_SCALE
        for value in self.psnr[1:]:
            down = min(max(round((at - value) / _STEP), 0), 0xFF)
            out.append(down)
            at -= _STEP * down
        return bytes(out)

    @classmethod
    def parse(cls, data: bytes) -> QualityTable | None:
        """None for what is no table."""
        if len(data) != POINTS + 1:
            return None
        psnr = [int.from_bytes(data[:2], "big") / _TOP_SCALE]
        for down in data[2:]:
            psnr.append(psnr[-1] - _STEP * down)
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

    Linear in log-bytes between them; below the first one as much lower as can be written.
    """
    points = sorted(measured)
    psnr: list[float] = []
    for length in lengths(code_bytes):
        after = next((i for i, (at, _) in enumerate(points) if at >= length), len(points) - 1)
        (x1, y1) = points[after]
        if length == x1 or not psnr:
            value = y1
        elif after == 0:
            value = psnr[-1] - 0xFF * _STEP
        else:
            (x0, y0) = points[after - 1]
            value = y0 + (y1 - y0) * math.log(length / x0) / math.log(x1 / x0)
        psnr.append(max(min(value, psnr[-1]) if psnr else value, 0.0))
    return QualityTable(tuple(psnr))
