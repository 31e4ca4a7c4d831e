"""The decoder's float side as one sequence: means, inverse wavelet, synthesis network, projection."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..crr.density import Rows
from ..errors import CtcError
from ..planes.state import State
from ..planes.trits import unit
from ..synthesis.means import refined
from ..synthesis.network import deviations
from ..synthesis.projection import project
from ..transform.colour import unrotate
from ..transform.lifting import LEVELS, analyse, synthesise
from .model import CodecModel
from .options import THUMBNAIL_SCALE

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def coefficients(
    state: State, model: CodecModel, *, refine: bool = True, rows: Rows | None = None, first: int = 0
) -> list[Floats]:
    """Details of every level from ``first`` on, float32 [channels, h, w] in grey levels, finest first.

    refine: at conditional means (CDR) instead of the middles of intervals.
    rows: of all elements now, see :meth:`ctc_codec.codec.walk.Walk.rows_now`. Of a known element, the mean of
        two means is better than either, that of its density now and that of the one that it was coded with.
    first: the finest level that is wanted.
    """
    means = model.densities.means if refine else None
    out = []
    for level in range(first, LEVELS):
        value, known = state.level(state.value, level), state.level(state.known, level)
        found = refined(value, known, state.level(state.row, level), unit(state.plane), means)
        if means is not None and rows is not None:
            now = refined(value, known, state.level(rows, level), unit(state.plane), means)
            np.multiply(now + found, np.float32(0.5), out=now, where=known)
            found = now
        out.append(found)
    return out


def low_band(state: State) -> Floats:
    """The low band, float32 [colours, h, w] in grey levels."""
    return (state.low * np.float64(unit(state.low_plane))).astype(np.float32)


def reconstruct(
    state: State,
    model: CodecModel,
    size: tuple[int, int],
    *,
    refine: bool = True,
    synthesis: bool = True,
    rows: Rows | None = None,
) -> Floats:
    """Planes float32 [colours, height, width] of a latent as far as it is known.

    refine: with CDR.
    synthesis: with the network.
    rows: as for :func:`coefficients`.

    Raises CtcError should a number come out that is not finite.
    """
    planes = synthesise(low_band(state), coefficients(state, model, refine=refine, rows=rows), *size)
    if synthesis and model.synthesis is not None:
        try:
            seen = deviations(state, state.row if rows is None else rows)
            planes = model.synthesis.correct(planes, seen, unit(state.plane))
        except FloatingPointError as error:
            raise CtcError(str(error)) from None
        planes = _projected(planes, state, size)
    if not np.isfinite(planes).all():
        raise CtcError("the picture came out with numbers that are not finite")
    return planes


def _projected(planes: Floats, state: State, size: tuple[int, int]) -> Floats:
    low, details = analyse(planes)
    project(low, state.low, state.low_known, unit(state.low_plane))
    for level, detail in enumerate(details):
        value, known = state.level(state.value, level), state.level(state.known, level)
        project(detail, value, known, unit(state.plane))
    return synthesise(low, details, *size)


def pixels(state: State, model: CodecModel, size: tuple[int, int], **how: Any) -> Pixels:
    """Samples uint8 [height, width, 1 or 3] of a latent. Arguments and errors as of :func:`reconstruct`."""
    return unrotate(reconstruct(state, model, size, **how))


def small_pixels(state: State, model: CodecModel, size: tuple[int, int]) -> Pixels:
    """The picture at 1 / THUMBNAIL_SCALE of its sides, rounded up, uint8 [h, w, 1 or 3].

    Means of the low band beside the finest level, which is not touched: that band's samples lie at every
    other pixel, so those of coarser bands would lie further and further from the middle of the pixels that
    they stand for.
    """
    details = [np.zeros(0, np.float32), *coefficients(state, model, first=1)]
    planes = synthesise(low_band(state), details, *size, stop=1)
    side = THUMBNAIL_SCALE // 2
    missing = [-length % side for length in planes.shape[1:]]
    planes = np.pad(planes, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge")
    blocks = planes.reshape(len(planes), planes.shape[1] // side, side, planes.shape[2] // side, side)
    return unrotate(blocks.mean(axis=(2, 4)) * np.float32(0.5))
