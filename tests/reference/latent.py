"""From a file to its latent: FORMAT.md sections 3 to 8 in the order in which they apply."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from .coder import CodeEnds, PrefixDecoder
from .container import File
from .context import frequencies, moves
from .network import Grid, entropy_parameters
from .planes import State, slices
from .weights import Weights

_CONTEXT_PLANES = 6


@dataclass(frozen=True)
class Latent:
    """What a file tells of the latent.

    values: in 1/64 of a step, in the order channel, row, column; shape: N, h, w. hyper_known: the file does
    not end inside z. trits: plane, how many of its trits are decoded and how many it has, from the first
    plane to the last one reached. ends: the bytes left a symbol open.
    """

    values: list[int]
    shape: tuple[int, int, int]
    hyper_known: bool
    trits: list[tuple[int, int, int]]
    ends: bool

    def sha256(self) -> str:
        return hashlib.sha256(struct.pack(f"<{len(self.values)}i", *self.values)).hexdigest()


def decode(file: File, weights: Weights) -> Latent:
    """The latent that the bytes at hand determine. Raises ValueError for other weights."""
    if file.fingerprint != weights.fingerprint:
        raise ValueError("made with other weights")
    coder = PrefixDecoder(file.code)
    h, w = -(-file.height // 16), -(-file.width // 16)
    z, hyper_known = _hyper_latent(coder, weights, -(-h // 4), -(-w // 4))
    level, mu = entropy_parameters(z, weights, h, w)
    state = State(level, weights)
    trits, ends = _read_planes(coder, state, file, weights, h, w) if hyper_known else ([], True)
    values = [centre + state.mean(e) for e, centre in enumerate(mu)]
    return Latent(values, (weights.channels, h, w), hyper_known, trits, ends)


def _hyper_latent(coder: PrefixDecoder, weights: Weights, hz: int, wz: int) -> tuple[Grid, bool]:
    """z, and whether it is the file's."""
    rows = weights["z_frequencies"]
    z: Grid = [[[0] * wz for _ in range(hz)] for _ in rows]
    try:
        for i in range(hz):
            for j in range(wz):
                for c, row in enumerate(rows):
                    z[c][i][j] = coder.decode(row) - 63
    except CodeEnds:
        return [[[row.index(max(row)) - 63] * wz for _ in range(hz)] for row in rows], False
    return z, True


def _read_planes(
    coder: PrefixDecoder, state: State, file: File, weights: Weights, h: int, w: int
) -> tuple[list[tuple[int, int, int]], bool]:
    """Take in all trits that the code determines; ``trits`` and ``ends`` of :class:`Latent`."""
    counts: list[tuple[int, int, int]] = []
    for plane in range(state.plane_count() - 1, -1, -1):
        elements, got = state.ordered(plane, file.order), 0
        for part in slices(elements, file.slices):
            moved = moves(state, weights, h, w) if file.slices and plane < _CONTEXT_PLANES else None
            for e in part:
                row = weights["trit_frequencies"][state.row(e)]
                if moved is not None:
                    row = frequencies(row, weights["crr.slopes"][state.row(e)], *moved[e])
                try:
                    state.take(e, coder.decode(row))
                except CodeEnds:
                    return [*counts, (plane, got, len(elements))], True
                got += 1
        counts.append((plane, got, len(elements)))
    return counts, False
