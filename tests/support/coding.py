"""Latents as the codec holds them, and walks over latents that no picture gives."""

from __future__ import annotations

import dataclasses

import numpy as np

from ctc_codec import CodecModel, DecodedLatent, Decoder, Header
from ctc_codec.codec.walk import Elements, Walk, Writer, run
from ctc_codec.container.file import pack
from ctc_codec.planes import low
from ctc_codec.planes.state import State
from ctc_codec.planes.trits import VALUE_LIMIT, at_plane
from ctc_codec.transform.lifting import level_sides


def latent_of(data: bytes, model: CodecModel) -> DecodedLatent:
    """Of a file or of a prefix of one, that is all there is."""
    decoder = Decoder(weights=model)
    decoder.feed(data)
    decoder.finish()
    return decoder.latent()


def assert_prefix(short: DecodedLatent, long: DecodedLatent) -> None:
    """Every element of the longer one is in the interval that the shorter one knows."""
    assert short.slices <= long.slices, "more bytes, no fewer slices"
    assert short.planes_held <= long.planes_held, "more bytes, no less is known"
    assert long.low_held or not short.low_held, "more bytes lose no low band"
    if not short.low_held:
        return
    a, b = short.state, long.state
    for value, known, plane, later, later_plane in (
        (a.value, a.known, a.plane, b.value, b.plane),
        (a.low, a.low_known, a.low_plane, b.low, b.low_plane),
    ):
        finer = 3 ** (plane - later_plane)
        reach = np.where(known, finer // 2, 3 * finer // 2)
        away = np.abs(value.astype(np.int64) * finer - later)
        assert (away <= reach).all(), "a prefix's state is one that the whole went through"


def empty_state(size: tuple[int, int], colours: int, planes: int) -> State:
    """Of a picture of that height and width, before anything is told."""
    return State(level_sides(*size), colours, planes)


def header_of(size: tuple[int, int], colours: int, planes: int) -> Header:
    """Of a picture of that height and width, in a file by no weights in particular."""
    return Header(size[1], size[0], bytes(4), grey=colours == 1, planes=planes)


def chance_file(model: CodecModel, header: Header, seed: int) -> bytes:
    """A file that no encoder writes; header: its size, grey, planes, and slices at most."""
    size, colours = (header.height, header.width), 1 if header.grey else 3
    guide = ChanceGuide(seed, header.slices, empty_state(size, colours, header.planes))
    writer = Writer()
    walk = Walk(model, header, writer, guide)
    run(walk)
    header = dataclasses.replace(header, fingerprint=model.fingerprint, slices=walk.slices)
    return pack(header, writer.encoder.finish())


class ChanceGuide:
    """Decides by chance, also what no encoder would: values of any size, levels that fall asleep again."""

    def __init__(self, seed: int, slices: int, state: State) -> None:
        self._rng = np.random.default_rng(seed)
        self._left = slices
        self._low: np.ndarray | None = None
        self._shape = state.low.shape
        self._trits = np.zeros(state.count, np.int32)
        self._awake = 0

    @property
    def ended(self) -> bool:
        return self._left == 0

    def low(self, plane: int) -> np.ndarray:
        if self._low is not None:
            self._low = 3 * self._low + self._rng.integers(-1, 2, self._shape, dtype=np.int32)
            return self._low
        most = (3 ** low.digits_at(plane) - 1) // 2
        first = self._rng.integers(-most // 3, most + 1, self._shape, dtype=np.int32)
        first[..., 0] = first[..., 0].cumsum(axis=1)
        first = first.cumsum(axis=2, dtype=np.int32)
        self._low = first.clip(-VALUE_LIMIT, VALUE_LIMIT)
        return first

    def begin_plane(self, plane: int) -> int:
        often = self._rng.choice([0.005, 0.3, 1])
        chosen = self._rng.random(len(self._trits)) < often
        self._trits = (self._rng.integers(-1, 2, len(chosen)) * chosen).astype(np.int32)
        self._awake = int(self._rng.integers(1, 64))
        return self._awake

    def skips(self, walk: Walk, plane: int, awake: int) -> int:
        return int(self._rng.integers(4)) & awake

    def looks(self, plane: int, number: int) -> int:
        return int(self._rng.integers(64)) & self._awake

    def threshold(self, walk: Walk, number: int) -> int:
        chosen = 1 if number > 4 else int(self._rng.choice([1, 5, 60, 150, 255]))
        return min(chosen, int(walk.classes.max()))  # a slice is never empty

    def trits(self, walk: Walk, elements: Elements) -> np.ndarray:
        return self._trits[elements] + 1

    def after_slice(self, walk: Walk) -> None:
        self._left -= 1


class PlainGuide:
    """Sends given values in two slices a plane, all levels awake and looked at.

    sent: (plane, elements) of everything that it was asked for.
    """

    ended = False

    def __init__(self, values: np.ndarray, low_band: np.ndarray) -> None:
        self._values, self._low = values, low_band
        self.sent: list[tuple[int, np.ndarray]] = []

    def low(self, plane: int) -> np.ndarray:
        return at_plane(self._low, plane)

    def begin_plane(self, plane: int) -> int:
        return 63

    def skips(self, walk: Walk, plane: int, awake: int) -> int:
        return 3

    def looks(self, plane: int, number: int) -> int:
        return 63

    def threshold(self, walk: Walk, number: int) -> int:
        return 1 if number else min(90, int(walk.classes.max()))

    def trits(self, walk: Walk, elements: np.ndarray) -> np.ndarray:
        self.sent.append((walk.state.plane, elements.copy()))
        now = at_plane(self._values, walk.state.plane)
        return (now[elements] - walk.state.value[elements] + 1).astype(np.int32)

    def after_slice(self, walk: Walk) -> None:
        pass
