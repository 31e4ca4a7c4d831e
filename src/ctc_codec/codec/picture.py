"""The float side: pixels to coefficients, and back by means, inverse wavelet, synthesis network, projection.

Without the network it works tile by tile, on a model's threads, and holds little in floats.
"""

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
from ..transform.colour import rotate, unrotate
from ..transform.lifting import LEVELS, analyse, analyse_source, synthesise, synthesise_to
from ..transform.tiles import Source, writing
from .model import CodecModel
from .options import THUMBNAIL_SCALE

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def analysed(samples: Pixels, grey: bool, model: CodecModel) -> tuple[Floats, list[Floats]]:
    """The low band of uint8 [height, width, 3] and the details of every level, finest first."""

    def planes(rows: slice, columns: slice, out: Floats) -> None:
        rotate(samples[rows, columns], grey, out)

    return analyse_source(planes, (1 if grey else 3, *samples.shape[:2]), model.context.share)


def coefficients(
    state: State, model: CodecModel, refine: bool = True, rows: Rows | None = None
) -> list[Source]:
    """Details of every level, [channels, h, w] in grey levels, finest first, made as they are read.

    refine: at conditional means (CDR) instead of the middles of intervals.
    rows: of all elements now, see :meth:`ctc_codec.codec.walk.Walk.rows_now`.
    """
    means = model.densities.means if refine else None
    both = [state.row] if rows is None or rows is state.row else [state.row, rows]

    def source(level: int) -> Source:
        value, known = state.level(state.value, level), state.level(state.known, level)
        own = [state.level(array, level) for array in both]

        def write(rows: slice, columns: slice, out: Floats) -> None:
            for first in range(0, state.channels, state.colours):  # few enough for a core's cache
                at = slice(first, first + state.colours), rows, columns
                refined(value[at], known[at], [a[at] for a in own], unit(state.plane), means, out[at[0]])

        return write

    return [source(level) for level in range(LEVELS)]


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

    Raises CtcError should the network give a number that is not finite.
    """
    planes = np.empty((state.colours, *size), np.float32)
    details = coefficients(state, model, refine, rows)
    synthesise_to(writing(planes), low_band(state), details, size, share=model.context.share)
    if synthesis and model.synthesis is not None:
        try:
            seen = deviations(state, state.row if rows is None else rows)
            planes = model.synthesis.correct(planes, seen, unit(state.plane))
        except FloatingPointError as error:
            raise CtcError(str(error)) from None
        planes = _projected(planes, state, size)
    return planes


def _projected(planes: Floats, state: State, size: tuple[int, int]) -> Floats:
    low, details = analyse(planes)
    project(low, state.low, state.low_known, unit(state.low_plane))
    for level, detail in enumerate(details):
        value, known = state.level(state.value, level), state.level(state.known, level)
        project(detail, value, known, unit(state.plane))
    return synthesise(low, details, *size)


def pixels(
    state: State, model: CodecModel, size: tuple[int, int], *, synthesis: bool = True, **how: Any
) -> Pixels:
    """Samples uint8 [height, width, 1 or 3] of a latent. Arguments and errors as of :func:`reconstruct`.

    Without the network they are made part by part: there is never more of them in floats than a quarter.
    """
    if synthesis and model.synthesis is not None:
        return unrotate(reconstruct(state, model, size, **how))
    out = np.empty((*size, state.colours), np.uint8)

    def take(rows: slice, columns: slice, planes: Floats) -> None:
        unrotate(planes, out[rows, columns])

    synthesise_to(take, low_band(state), coefficients(state, model, **how), size, share=model.context.share)
    return out


def small_pixels(state: State, model: CodecModel, size: tuple[int, int]) -> Pixels:
    """The picture at 1 / THUMBNAIL_SCALE of its sides, rounded up, uint8 [h, w, 1 or 3].

    Means of the low band beside the finest level, which is not touched: that band's samples lie at every
    other pixel, so those of coarser bands would lie further and further from the middle of the pixels that
    they stand for.
    """
    side = THUMBNAIL_SCALE // 2
    height, width = state.sides[0]
    small = -(-height // side), -(-width // side)
    planes = np.empty((state.colours, small[0] * side, small[1] * side), np.float32)
    take, share = writing(planes), model.context.share
    synthesise_to(take, low_band(state), coefficients(state, model), size, stop=1, share=share)
    planes[:, :height, width:] = planes[:, :height, width - 1 : width]
    planes[:, height:] = planes[:, height - 1 : height]
    return unrotate(_block_sums(planes, side) * np.float32(0.5 / side**2))


def _block_sums(planes: Floats, side: int) -> Floats:
    """Sums of blocks of side x side samples, [C, h, w], of planes [C, side h, side w]."""
    colours, height, width = planes.shape
    across = _sum(planes.reshape(colours, height, width // side, side), 3)
    return _sum(across.reshape(colours, height // side, side, width // side), 2)


def _sum(array: Floats, axis: int) -> Floats:
    """``array.sum(axis)`` of a short axis, ten times as fast."""
    first, *others = np.moveaxis(array, axis, 0)
    total = first.copy()
    for other in others:
        total += other
    return total
