"""The code word of a latent: hyper-latent, then trits plane by plane; written at once, read as it arrives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import truediv

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ._config import LATENT_STRIDE
from ._entropy import RangeDecoder, RangeEncoder, Rows, rows_of
from ._errors import WeightsError
from ._header import Coding
from ._hyperprior import Z_LIMIT, hyper_size
from ._model import CodecModel
from ._planes import CONTEXT_PLANES, MEAN_SCALE, Planes, clip_residual

IntArray = npt.NDArray[np.int32]

_Z_CHUNK = 128
"""Hyper-latent positions whose probability rows are built at a time."""

_WATCH_TRITS = 4096
"""Trits between two looks at what has been written."""


def latent_sides(width: int, height: int) -> tuple[int, int]:
    """Height and width of the latent of an image."""
    return -(-height // LATENT_STRIDE), -(-width // LATENT_STRIDE)


class _Trits:
    """The planes of an image and the probabilities of their trits, for encoder and decoder alike.

    level: int32 [N, h, w]. Raises WeightsError if the coding needs a context model that is not there.
    """

    def __init__(self, model: CodecModel, level: IntArray, coding: Coding) -> None:
        if coding.slices and model.crr is None:
            raise WeightsError("made with a context model, which these weights do not have")
        weight = np.repeat(model.channel_priority, level[0].size)
        slices = max(coding.slices, 1)
        self.planes = Planes(level.reshape(-1), weight, model.tables, coding.order, slices)
        self._model = model
        self._shape = level.shape
        self._crr = model.crr if coding.slices else None
        self._static = self._crr.begin(level) if self._crr is not None else None

    def __iter__(self) -> Iterator[tuple[int, npt.NDArray[np.intp], Rows]]:
        """Yield (plane, elements of a slice, coder's rows of their trits); advance the planes in between."""
        for plane, elements in self.planes:
            node = self.planes.node
            if self._crr is None or self._static is None or plane >= CONTEXT_PLANES:
                yield plane, elements, self._model.trit_rows[node[elements]]
                continue
            shift, log_scale = self._crr.parameters(node.reshape(self._shape), self._static)
            frequencies = self._crr.frequencies(node[elements], shift[elements], log_scale[elements])
            yield plane, elements, rows_of(frequencies)


def encode_planes(
    model: CodecModel,
    y: Tensor,
    z: IntArray,
    level: IntArray,
    mu: IntArray,
    coding: Coding,
    watch: Callable[[int, IntArray], None] | None = None,
) -> bytes:
    """z position by position, then the trits of y plane by plane, as one code word.

    y: float32 [N, h, w]; z: int32 [Cz, hz, wz]; level, mu: int32 [N, h, w], see
    :class:`ctc_codec._exact.ExactHyperSynthesis`. watch: called after z and every few thousand trits with the
    bytes written so far and the state, int32 [N * h * w], always the same array.
    """
    encoder = RangeEncoder()
    positions = z.reshape(z.shape[0], -1).T  # [hz * wz, Cz]
    for start in range(0, len(positions), _Z_CHUNK):
        chunk = positions[start : start + _Z_CHUNK]
        symbols = np.ascontiguousarray(chunk).reshape(-1) + Z_LIMIT
        encoder.encode(symbols, np.tile(model.z_rows, (len(chunk), 1)))

    residual = y.numpy() - mu.astype(np.float32) / MEAN_SCALE
    s = np.rint(np.clip(residual, -1e6, 1e6)).astype(np.int32).reshape(-1)
    s = clip_residual(s, level.reshape(-1), model.tables)
    trits_of = _Trits(model, level, coding)
    if watch:
        watch(encoder.nbytes, trits_of.planes.node)
    for plane, elements, rows in trits_of:
        for start in range(0, len(elements), _WATCH_TRITS if watch else len(elements)):
            part = slice(start, start + _WATCH_TRITS if watch else None)
            trits = trits_of.planes.digits(s, plane, elements[part])
            encoder.encode(trits, rows[part])
            trits_of.planes.advance(elements[part], trits)
            if watch:
                watch(encoder.nbytes, trits_of.planes.node)
    return encoder.finish()


def entropy_parameters(model: CodecModel, z: IntArray, h: int, w: int) -> tuple[IntArray, IntArray]:
    """Sigma levels and mu (1/64 steps), int32 [N, h, w] each."""
    level, mu = model.hyper_synthesis(z)
    return np.ascontiguousarray(level[:, :h, :w]), np.ascontiguousarray(mu[:, :h, :w])


@dataclass(frozen=True)
class DecodedLatent:
    """All that the bytes at hand tell about the latent.

    latent: int32 [N, h, w] in 1/64 steps: mu plus the conditional mean of each residual.
    node: int32 [N * h * w], state of every element; level: int32 [N, h, w], of its sigma.
    planes: trit planes in the stream; planes_held: how many of them are complete, and the decoded
        share of the next one.
    z_complete: the hyper-latent is complete; without it mu and sigma are those of the most likely z.
    trits: trits decoded.
    """

    latent: IntArray
    node: IntArray
    level: IntArray
    planes: int
    planes_held: float
    z_complete: bool
    trits: int

    def sha256(self) -> str:
        """Hash of the latent: the same on every machine for the same bytes and weights."""
        return hashlib.sha256(self.latent.astype("<i4").tobytes()).hexdigest()


class StreamDecoder:
    """Reads a code word, or a prefix of one that may grow, of an image of that many pixels.

    Every symbol is decoded once, however many pieces the data comes in.
    """

    def __init__(self, model: CodecModel, width: int, height: int, coding: Coding) -> None:
        self._model = model
        self._sides = latent_sides(width, height)
        self._coding = coding
        self._decoder = RangeDecoder()
        self._state: _State | None = None
        self._rough: _State | None = None
        self._steps = self._read()
        self._done = False

    def advance(self, data: bytes, complete: bool) -> None:
        """Decode all that ``data`` tells, which begins with what was given before; ``complete``: it is whole.

        Raises DamageError for a complete word that no encoder writes, WeightsError if the coding needs a
        context model that is not there.
        """
        if not self._done:
            self._decoder.extend(data, complete)
            self._done = next(self._steps, True)

    def _read(self) -> Iterator[bool]:
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
        z = np.concatenate(positions).reshape(hz * wz, -1)
        self._state = state = self._begin(np.ascontiguousarray(z.T).reshape(-1, hz, wz), self._coding)
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

    def _begin(self, z: IntArray, coding: Coding) -> _State:
        level, mu = entropy_parameters(self._model, z, *self._sides)
        trits_of = _Trits(self._model, level, coding)
        return _State(level, mu, trits_of, [0] * trits_of.planes.count)

    def latent(self) -> DecodedLatent:
        """What is known now. Later calls of :meth:`advance` do not change it."""
        state = self._state or self._rough
        if state is None:
            # Until all of z is known, each channel's most likely value is taken everywhere. (With z known for
            # a part of the image, mu is wrong around its border: 0.2 to 0.5 dB worse than no z at all.)
            hz, wz = map(hyper_size, self._sides)
            z = np.repeat(self._model.z_mode, hz * wz).reshape(-1, hz, wz)
            self._rough = state = self._begin(z, Coding())
        planes = state.trits_of.planes
        return DecodedLatent(
            latent=state.mu + planes.residual().reshape(state.mu.shape),
            node=planes.node.copy(),
            level=state.level,
            planes=planes.count,
            planes_held=sum(map(truediv, state.trits, planes.active)),
            z_complete=self._state is not None,
            trits=sum(state.trits),
        )


@dataclass(frozen=True)
class _State:
    """level, mu: int32 [N, h, w]; trits: decoded of every plane."""

    level: IntArray
    mu: IntArray
    trits_of: _Trits
    trits: list[int]


def decode_stream(
    model: CodecModel, width: int, height: int, data: bytes, complete: bool, coding: Coding
) -> DecodedLatent:
    """Read a code word, or a prefix of one (``complete`` False). See :class:`StreamDecoder`."""
    decoder = StreamDecoder(model, width, height, coding)
    decoder.advance(data, complete)
    return decoder.latent()
