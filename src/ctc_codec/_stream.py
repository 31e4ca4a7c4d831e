"""The code word of a latent: hyper-latent, then trits plane by plane; written at once, read as it arrives."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from operator import truediv
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ._config import HYPER_STRIDE, LATENT_STRIDE
from ._entropy import RangeDecoder, RangeEncoder, Rows, rows_of
from ._errors import DamageError, WeightsError
from ._exact_context import ExactContext
from ._header import Coding
from ._hyperprior import Z_LIMIT, hyper_size
from ._memory import give_back
from ._model import CodecModel
from ._planes import CONTEXT_PLANES, MEAN_SCALE, IntArray, LevelArray, Planes, clip_residual, look_up
from ._wavelet import band_map

_Z_CHUNK = 128
"""Hyper-latent positions whose probability rows are built at a time."""

_WATCH_TRITS = 4096
"""Trits between two looks at what has been written."""


def latent_sides(width: int, height: int) -> tuple[int, int]:
    """Height and width of the latent of an image."""
    return -(-height // LATENT_STRIDE), -(-width // LATENT_STRIDE)


class _Trits:
    """The planes of an image and the probabilities of their trits, for encoder and decoder alike.

    level: uint8 [N, h, w]. Raises WeightsError if the coding needs a context model that is not there.
    """

    def __init__(self, model: CodecModel, level: LevelArray, coding: Coding) -> None:
        if coding.slices and model.crr is None:
            raise WeightsError("made with a context model, which these weights do not have")
        slices = max(coding.slices, 1)
        weight = model.channel_priority
        self.planes = Planes(level.reshape(-1), weight, model.tables, coding.order, slices)
        self._model = model
        self._shape = level.shape
        self._level, self._crr = level, model.crr if coding.slices else None

    @property
    def node(self) -> IntArray:
        """int32 [N, h, w]"""
        return self.planes.node.reshape(self._shape)

    def __iter__(self) -> Iterator[tuple[int, npt.NDArray[np.intp], Rows]]:
        """Yield (plane, elements, coder's rows of their trits); advance the planes in between."""
        context = None if self._crr is None else ExactContext(self._crr, self._level)
        for plane, elements, slice_begins in self.planes:
            node = self.planes.node[elements]
            if context is None or plane >= CONTEXT_PLANES:
                yield plane, elements, self._model.trit_rows[node]
                continue
            if slice_begins:
                context.refresh(self.node)
            yield plane, elements, rows_of(context.frequencies(node, elements))


def residuals(model: CodecModel, y: Tensor, mu: IntArray, level: LevelArray) -> npt.NDArray[np.int16]:
    """What is coded: ``round(y - mu)``, brought into the intervals of the levels, int16 [N, h, w].

    y: float32 [N, h, w]; level, mu: see :class:`ctc_codec._exact.ExactHyperSynthesis`.
    """
    out = np.empty(mu.shape, np.int16)  # 3^MAX_TRITS < 2^16
    for channel, (values, centre) in enumerate(zip(y.numpy(), mu, strict=True)):
        s = np.rint(np.clip(values - centre.astype(np.float32) / MEAN_SCALE, -1e6, 1e6))
        out[channel] = clip_residual(s.astype(np.int32), level[channel], model.tables)
    return out


def encode_planes(
    model: CodecModel,
    z: IntArray,
    s: npt.NDArray[np.int16],
    level: LevelArray,
    coding: Coding,
    watch: Callable[[int, IntArray], None] | None = None,
) -> bytes:
    """z position by position, then the trits of the residuals plane by plane, as one code word.

    z: int32 [Cz, hz, wz]; s: int16 [N, h, w], of :func:`residuals`; level: uint8 [N, h, w].
    watch: called after z and every few thousand trits with the bytes written so far and the state, int32
        [N, h, w], always the same array.
    """
    encoder = RangeEncoder()
    positions = z.reshape(z.shape[0], -1).T  # [hz * wz, Cz]
    for start in range(0, len(positions), _Z_CHUNK):
        chunk = positions[start : start + _Z_CHUNK]
        symbols = np.ascontiguousarray(chunk).reshape(-1) + Z_LIMIT
        encoder.encode(symbols, np.tile(model.z_rows, (len(chunk), 1)))

    trits_of = _Trits(model, level, coding)
    flat = s.reshape(-1)
    if watch:
        watch(encoder.nbytes, trits_of.node)
    for plane, elements, rows in trits_of:
        for start in range(0, len(elements), _WATCH_TRITS if watch else len(elements)):
            part = slice(start, start + _WATCH_TRITS if watch else None)
            trits = trits_of.planes.digits(flat, plane, elements[part])
            encoder.encode(trits, rows[part])
            trits_of.planes.advance(elements[part], trits)
            if watch:
                watch(encoder.nbytes, trits_of.node)
    return encoder.finish()


def entropy_parameters(model: CodecModel, z: IntArray, h: int, w: int) -> tuple[LevelArray, IntArray]:
    """Sigma levels, uint8 [N, h, w], and mu (1/64 steps), int32 [N, h, w]."""
    return model.hyper_synthesis(z, (h, w))


Window = tuple[slice, slice]
"""Rows and columns of the latent."""


class LatentState(Protocol):
    """What is known of every element of a latent: all that pixels are made of."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels N, rows h, columns w."""

    def window(self, window: Window, channels: slice = slice(None)) -> tuple[IntArray, LevelArray, IntArray]:
        """Of a part: node, level and mu (in 1/64), int32, uint8 and int32 [channels, rows, columns]."""

    def place(self, window: Window) -> bytes | None:
        """Where windows have the same place, they show the same, but for the wavelet's channels. None: this
        window's is its own."""

    def frozen(self) -> LatentState:
        """The same, which decoding more does not change."""


@dataclass(frozen=True)
class _Arrays:
    """The state in arrays: node int32, level uint8 and mu int32, [N, h, w] each."""

    node: IntArray
    level: LevelArray
    mu: IntArray

    @property
    def shape(self) -> tuple[int, int, int]:
        n, h, w = self.level.shape
        return n, h, w

    def window(self, window: Window, channels: slice = slice(None)) -> tuple[IntArray, LevelArray, IntArray]:
        at = (channels, *window)
        return self.node[at], self.level[at], self.mu[at]

    def place(self, window: Window) -> bytes | None:
        return None

    def frozen(self) -> LatentState:
        return replace(self, node=self.node.copy())


class _Known:
    """A stream whose hyper-latent is complete. ``arrays``: the state; ``trits``: decoded of every plane."""

    def __init__(self, model: CodecModel, z: IntArray, sides: tuple[int, int], coding: Coding) -> None:
        level, mu = entropy_parameters(model, z, *sides)
        give_back(level[0].size)
        self.trits_of = _Trits(model, level, coding)
        self.trits = [0] * self.trits_of.planes.count
        self.arrays = _Arrays(self.trits_of.node, level, mu)


class _Rough:
    """The state before the hyper-latent is complete: its most likely value everywhere.

    (With z known for a part of the image, mu is wrong around its border: 0.2 to 0.5 dB worse than no z at
    all.) Entropy parameters depend on the distance to the border, up to some positions, and on the wavelet's
    bands alone: so they are computed of a small z, and no array of the image's size is made. A file of a few
    bytes can claim to be a very large image.
    """

    _NEAR = 3 * HYPER_STRIDE
    """Positions of the latent at a border that are not as those inside: 2 of z (see the exact network), and
    one to repeat."""

    def __init__(self, model: CodecModel, sides: tuple[int, int]) -> None:
        self._model = model
        self._sides = sides
        small = [min(hyper_size(side), 2 * self._NEAR // HYPER_STRIDE) for side in sides]
        z = np.broadcast_to(model.z_mode[:, None, None], (len(model.z_mode), *small))
        self._level, self._mu = model.hyper_synthesis.unbanded(np.ascontiguousarray(z))
        self._bands = band_map(*sides, model.config.wavelet_levels).numpy()

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self._level), *self._sides

    def _near(self, span: slice, axis: int) -> npt.NDArray[np.intp]:
        """Places in the small arrays of a span of the image."""
        at = np.arange(span.start, span.stop)
        whole = HYPER_STRIDE * hyper_size(self._sides[axis])
        size = self._level.shape[1 + axis]
        inside = self._NEAR - HYPER_STRIDE + at % HYPER_STRIDE
        return np.where(at < self._NEAR, at, np.where(at >= whole - self._NEAR, at - whole + size, inside))

    def window(self, window: Window, channels: slice = slice(None)) -> tuple[IntArray, LevelArray, IntArray]:
        rows, columns = (self._near(span, axis) for axis, span in enumerate(window))
        at = channels, rows[:, None], columns
        level = self._model.hyper_synthesis.banded(self._level[at], self._bands[window], channels)
        return look_up(self._model.tables.bases, level), level, self._mu[at]

    def place(self, window: Window) -> bytes | None:
        return b"".join(self._near(span, axis).tobytes() for axis, span in enumerate(window))

    def frozen(self) -> LatentState:
        return self


@dataclass(frozen=True)
class DecodedLatent:
    """All that the bytes at hand tell about the latent.

    state: of its elements; planes: trit planes in the stream; planes_held: how many of them are complete, and
    the decoded share of the next one.
    z_complete: the hyper-latent is complete; without it mu and sigma are those of the most likely z.
    trits: trits decoded.
    """

    state: LatentState
    means: IntArray
    """Of every node, in 1/64: see :class:`ctc_codec._planes.TreeTables`."""
    planes: int
    planes_held: float
    z_complete: bool
    trits: int

    @property
    def everywhere(self) -> Window:
        """The window that is all of the latent."""
        _, h, w = self.state.shape
        return slice(0, h), slice(0, w)

    def values(self, window: Window, channels: slice = slice(None)) -> IntArray:
        """The latent in a window, int32 [channels, rows, columns] in 1/64 steps: mu plus the conditional mean
        of each residual."""
        node, _, mu = self.state.window(window, channels)
        return mu + look_up(self.means, np.ascontiguousarray(node))

    @property
    def latent(self) -> IntArray:
        """All of :meth:`values`, int32 [N, h, w]."""
        return self.values(self.everywhere)

    @property
    def node(self) -> IntArray:
        """State of every element, int32 [N, h, w]."""
        return self.state.window(self.everywhere)[0]

    def sha256(self) -> str:
        """Hash of the latent: the same on every machine for the same bytes and weights."""
        digest = hashlib.sha256()
        for channel in range(self.state.shape[0]):
            values = self.values(self.everywhere, slice(channel, channel + 1))
            digest.update(values.astype("<i4").tobytes())
        return digest.hexdigest()


class StreamDecoder:
    """Reads a code word, or a prefix of one that may grow, of an image of that many pixels.

    Every symbol is decoded once, however many pieces the data comes in.
    """

    def __init__(
        self,
        model: CodecModel,
        width: int,
        height: int,
        coding: Coding,
        decoder: RangeDecoder | None = None,
    ) -> None:
        """decoder: reads the symbols; None: one of its own."""
        self._model = model
        self._sides = latent_sides(width, height)
        self._coding = coding
        self._decoder = RangeDecoder() if decoder is None else decoder
        self._state: _Known | None = None
        self._rough: _Rough | None = None
        self._steps = self._read()
        self._done = False
        self._failure: DamageError | WeightsError | None = None

    def advance(self, data: bytes, complete: bool) -> None:
        """Decode all that ``data`` tells, which begins with what was given before; ``complete``: it is whole.

        Raises DamageError for a complete word that no encoder writes, WeightsError if the coding needs a
        context model that is not there.
        """
        if self._failure is not None:
            raise self._failure
        if not self._done:
            self._decoder.extend(data, complete)
            try:
                self._done = next(self._steps, True)
            except (DamageError, WeightsError) as error:
                self._failure = error
                raise

    def _read(self) -> Generator[bool]:
        """Decode, pausing where data is missing."""
        hz, wz = map(hyper_size, self._sides)
        positions: list[npt.NDArray[np.int32]] = []
        for start in range(0, hz * wz, _Z_CHUNK):
            rows = np.tile(self._model.z_rows, (min(_Z_CHUNK, hz * wz - start), 1))
            got = 0
            while got < len(rows):
                symbols = self._decoder.decode(rows[got:])
                positions.append(symbols - Z_LIMIT)
                got += len(symbols)
                if got < len(rows):
                    yield False
        z = np.ascontiguousarray(np.concatenate(positions).reshape(hz * wz, -1).T).reshape(-1, hz, wz)
        self._state = state = _Known(self._model, z, self._sides, self._coding)
        planes = state.trits_of.planes
        for plane, elements, rows in state.trits_of:
            got = 0
            while got < len(elements):
                symbols = self._decoder.decode(rows[got:])
                planes.advance(elements[got : got + len(symbols)], symbols)
                state.trits[plane] += len(symbols)
                got += len(symbols)
                if got < len(elements):
                    yield False

    def finish(self) -> None:
        """No more will come: give back the memory that decoding it would need."""
        self._done = True
        self._steps.close()
        give_back(math.prod(self._sides))

    def latent(self) -> DecodedLatent:
        """What is known now. Its arrays are those that later calls of :meth:`advance` change."""
        means, state = self._model.tables.means, self._state
        if state is None:
            if self._rough is None:
                self._rough = _Rough(self._model, self._sides)
            return DecodedLatent(self._rough, means, 0, 0.0, False, 0)
        planes = state.trits_of.planes
        held = sum(map(truediv, state.trits, planes.active))
        return DecodedLatent(state.arrays, means, planes.count, held, True, sum(state.trits))


def decode_stream(
    model: CodecModel, width: int, height: int, data: bytes, complete: bool, coding: Coding
) -> DecodedLatent:
    """Read a code word, or a prefix of one (``complete`` False). See :class:`StreamDecoder`."""
    decoder = StreamDecoder(model, width, height, coding)
    decoder.advance(data, complete)
    return decoder.latent()
