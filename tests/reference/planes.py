"""Ternary trees, and the order in which the trits of a plane come: FORMAT.md section 7."""

from __future__ import annotations

from collections.abc import Iterator

from .weights import Weights

_PRIORITY, _SIGMA, _RASTER = range(3)


class State:
    """What is known of every element, in the order channel, row, column.

    level: of each; depth, prefix: how many of its trits are known, and the number that they form.
    """

    def __init__(self, level: list[int], weights: Weights) -> None:
        self.level = level
        self.depth = [0] * len(level)
        self.prefix = [0] * len(level)
        self.trits: list[int] = weights["trits"]
        self._weights = weights
        # Tables have rows for inner nodes alone, in node order: (3^L - 1)/2 of a level of L trits.
        self._rows = [0]
        for trits in self.trits:
            self._rows.append(self._rows[-1] + (3**trits - 1) // 2)

    def row(self, e: int) -> int:
        """Row of an element's node, which is not a leaf, in the tables of inner nodes."""
        return self._rows[self.level[e]] + (3 ** self.depth[e] - 1) // 2 + self.prefix[e]

    def unknown(self, e: int) -> int:
        """Trits that are not known yet."""
        return self.trits[self.level[e]] - self.depth[e]

    def mean(self, e: int) -> int:
        """Conditional mean of the residual, in 1/64."""
        if self.unknown(e):
            return self._weights["means"][self.row(e)]
        return 64 * (self.prefix[e] - (3 ** self.depth[e] - 1) // 2)

    def take(self, e: int, trit: int) -> None:
        self.depth[e], self.prefix[e] = self.depth[e] + 1, 3 * self.prefix[e] + trit

    def plane_count(self) -> int:
        return max(self.trits[k] for k in self.level)

    def ordered(self, plane: int, order: int) -> list[int]:
        """The elements of a plane in the order in which their trits come."""
        per_channel = len(self.level) // self._weights.channels

        def rank(e: int) -> int:
            if order == _PRIORITY:
                weight = self._weights["channel_priority"][e // per_channel]
                return self._weights["priorities"][self.row(e)] + weight
            return self.level[e] if order == _SIGMA else 0

        active = [e for e, k in enumerate(self.level) if self.trits[k] > plane]
        return sorted(active, key=rank, reverse=True)  # equal ones stay in order, reversed or not


def slices(elements: list[int], count: int) -> Iterator[list[int]]:
    """A plane's elements in slices."""
    count = max(1, min(count, len(elements) // 256))
    size, longer = divmod(len(elements), count)
    at = 0
    for i in range(count):
        end = at + size + (i < longer)
        yield elements[at:end]
        at = end
