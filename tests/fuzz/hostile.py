"""Files that no encoder writes, coded symbol by symbol: each leads to the depth, or to the fault, that it is
meant for. Bytes of chance hardly get past the first masks of a plane.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace

import numpy as np

from ctc_codec import CodecModel, DamageError, Header
from ctc_codec.codec.walk import Elements, Walk, Writer, run
from ctc_codec.container.header import MAX_PLANES, MAX_SLICES_OF_PLANE
from ctc_codec.planes import low
from ctc_codec.planes.trits import VALUE_LIMIT
from ctc_codec.transform.lifting import level_sides

FAULTS = ("skips", "looks", "no threshold", "empty", "unfinished", "missing")
"""Blank cells or a look at a level that is asleep; a slice without a threshold, or without an element; a
plane with too many slices, a file with too few."""

_SIDES = (1, 2, 3, 5, 8, 9, 16, 17, 24, 33, 64, 65)
_LOOKS = (0, 6, 12, 12, 60)
"""Levels looked at in a file, at most: that is what takes most of the time."""


class HostileGuide:
    """Decides by chance, in one of a few manners; and makes one fault, if any.

    trits: all -1, all 1, all 0, a few, or any. slices: as many in a plane as there may be, one, or some.
    """

    def __init__(self, rng: random.Random, size: tuple[int, int], grey: bool, fault: str | None) -> None:
        """Decide about a picture of a height and width."""
        colours = 1 if grey else 3
        self._low_shape = (colours, *level_sides(*size)[-1])
        self._numbers = np.random.default_rng(rng.randrange(1 << 32))
        self._often = rng.choice((0.0, 0.002, 0.1, 1.0))
        self._trit = rng.choice((-1, 1, None, None))
        self._slices = rng.choice(("one", "one", "some", "most"))
        self._asleep = rng.random() < 0.3
        self._rng, self._fault = rng, fault
        self._fault_plane = rng.randrange(MAX_PLANES)
        self._looks_left = rng.choice(_LOOKS)
        self._awake = 0
        self._low: np.ndarray | None = None
        self.stop = rng.choice((1, 2, 5, 20, 160, 160))
        self.slices = 0

    @property
    def ended(self) -> bool:
        return self.slices >= self.stop

    def _at_fault(self, name: str, plane: int) -> bool:
        return self._fault == name and plane <= self._fault_plane

    def low(self, plane: int) -> np.ndarray:
        trits = self._numbers.integers(-1, 2, self._low_shape, dtype=np.int32)
        if self._low is not None:
            self._low = 3 * self._low + (trits if self._trit is None else self._trit)
            return self._low
        most = (3 ** low.digits_at(plane) - 1) // 2
        if self._trit is None:
            values = self._numbers.integers(-most, most + 1, self._low_shape, dtype=np.int32)
        else:
            values = np.full(self._low_shape, self._trit * most, np.int32)
        # Differences of any size: their sums leave the range, and a reader clamps them.
        values[..., 0] = values[..., 0].cumsum(axis=1)
        values = values.cumsum(axis=2, dtype=np.int32)
        self._low = values.clip(-VALUE_LIMIT, VALUE_LIMIT)
        return values

    def begin_plane(self, plane: int) -> int:
        self._plane = plane
        self._awake = self._rng.randrange(1, 64) if self._asleep else 63
        if self._at_fault("skips", plane):
            self._awake &= ~3
        elif self._at_fault("looks", plane):
            self._awake &= ~(1 << self._rng.randrange(6))
        return self._awake

    def skips(self, walk: Walk, plane: int, awake: int) -> int:
        return self._rng.randrange(1, 4) if self._at_fault("skips", plane) else self._rng.randrange(4) & awake

    def looks(self, plane: int, number: int) -> int:
        if self._at_fault("looks", plane):
            return 63
        wanted = self._rng.choice((0, 63, self._rng.randrange(64))) & self._awake
        self._looks_left -= wanted.bit_count()
        return wanted if self._looks_left >= 0 else 0

    def threshold(self, walk: Walk, number: int) -> int:
        most = int(walk.classes.max())
        if self._at_fault("no threshold", walk.state.plane):
            return 0
        if self._at_fault("empty", walk.state.plane) and most < 255:
            return most + 1
        unfinished = self._at_fault("unfinished", walk.state.plane)
        if number == MAX_SLICES_OF_PLANE - 1 and not unfinished:
            return 1
        if unfinished or self._slices == "most":
            return most
        return 1 if self._slices == "one" else min(self._rng.choice((1, 60, 150, 255)), most) or 1

    def trits(self, walk: Walk, elements: Elements) -> np.ndarray:
        """The same of an element whenever it is asked for: of its number and plane."""
        plane = walk.state.plane
        mixed = (elements.astype(np.uint64) * 2654435761 + 97 * plane + 12345) % 100003
        some = mixed < self._often * 100003
        trits = (mixed // 7 % 3).astype(np.int32) if self._trit is None else np.int32(self._trit + 1)
        return np.where(some, trits, 1).astype(np.int32)

    def after_slice(self, walk: Walk) -> None:
        self.slices += 1


def hostile(
    model: CodecModel, rng: random.Random, fault: str | None = None, most_pixels: int = 1 << 10
) -> tuple[Header, bytes]:
    """Header and code word of a small picture, which leads to a fault of FAULTS, or to none."""
    width = rng.choice([side for side in _SIDES if side <= most_pixels])
    height = rng.choice([side for side in _SIDES if side * width <= most_pixels])
    planes = rng.choice((1, 2, 3, MAX_PLANES, rng.randrange(1, MAX_PLANES + 1)))
    header = Header(width, height, model.fingerprint, grey=rng.random() < 0.4, planes=planes)
    guide = HostileGuide(rng, (height, width), header.grey, fault)
    writer = Writer()
    if fault is not None:
        guide.stop = MAX_SLICES_OF_PLANE * MAX_PLANES + 1
    with suppress(DamageError):  # at the fault, whose symbol is written
        run(Walk(model, header, writer, guide))
    slices = guide.slices
    if fault is not None:
        slices = min(slices + 1 + rng.randrange(3), MAX_SLICES_OF_PLANE * MAX_PLANES)
    return replace(header, slices=max(slices, 1), alpha=rng.random() < 0.3), writer.encoder.finish()
