"""The cost of freezing: bits of trits by float networks and by the integer networks of a weights file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch

from ..codec.model import CodecModel
from ..codec.walk import Elements, Guide, Walk, Writer, run
from ..container.coder import Symbols
from ..container.header import Header
from ..crr.density import DISTANCES, SCALE_STEP, SCALE_ZERO, SCALES
from ..crr.inputs import ONE
from ..transform.lifting import LEVELS
from .checkpoint import Layers, reason
from .data import Pixels
from .networks import CRR, bits, thirds, widths_of
from .state import PartialLatent
from .validation import Transformed, middles

_PICTURES = 6
_PLANES = (1, 2, 3, 4)
_SHARES = (0.0, 0.5)


def load_crr(state: Layers) -> CRR:
    """CRR with the weights ``crr.*`` of a state. Raises ValueError."""
    crr = CRR(widths_of(state))
    names = [name for name in state if name.startswith("crr.")]
    try:
        crr.load_state_dict({name.removeprefix("crr."): torch.from_numpy(state[name]) for name in names})
    except RuntimeError as error:
        raise ValueError(f"not weights of this CRR ({reason(error)})") from None
    return crr.eval()


class CodedPlane(Walk):
    """The codec, in the middle of a plane of one latent (a batch of one)."""

    def __init__(self, latent: PartialLatent, model: CodecModel, plane: int) -> None:
        height, width = (2 * side for side in latent.value[0].shape[2:])
        self._writer = Writer()
        header = Header(width, height, model.fingerprint, planes=plane + 1)
        super().__init__(model, header, self._writer, cast(Guide, self))
        state = self.state
        state.plane = state.low_plane = plane
        state.low[:] = (latent.low / latent.size)[0].round().int().numpy()
        self._value = np.zeros_like(state.value)
        for level in range(LEVELS):
            state.level(state.value, level)[:] = latent.seen(level)[0].short().numpy()
            state.level(state.known, level)[:] = latent.known[level][0].bool().numpy()
            state.level(self._value, level)[:] = latent.value[level][0].short().numpy()

    def trits(self, walk: Walk, elements: Elements) -> Symbols:
        """The trits to code: this walk is its own guide."""
        return (self._value[elements] - walk.state.value[elements] + 1).astype(np.int32)

    def rest_bits(self) -> tuple[float, int]:
        """Bits of the trits to come after a look at every level: by the densities, and coded, to within a
        word, in groups and with least frequencies."""
        self.look((1 << LEVELS) - 1)
        unknown = ~self.state.known
        row = torch.from_numpy(self.state.row[unknown].astype(np.int32))
        trit = torch.from_numpy((self._value - self.state.value)[unknown])
        distance = (row >> 6 & DISTANCES - 1) / ONE * (1 - 2 * (row >> 13))
        density = torch.zeros_like(distance), (row & SCALES - 1) / SCALE_STEP - SCALE_ZERO
        ideal = float(bits(trit, thirds(distance, 3.0, density)).sum())
        run(self._slice(1))
        return ideal, 8 * self._writer.encoder.nbytes


@torch.no_grad()
def freezing_cost(state: Layers, model: CodecModel, pictures: Sequence[Pixels]) -> Iterator[str]:
    """Lines that tell bits of the trits to come, at several planes and shares of them known: by the frozen
    model, against the networks of ``state`` with rounded weights and with float weights, and coded."""
    crr = load_crr(state)
    seen = middles(pictures, count=_PICTURES)
    pixels = sum(p.shape[0] * p.shape[1] for p in seen)
    sums = np.zeros((len(_PLANES), len(_SHARES), 4))
    for middle in seen:
        picture = Transformed.of(middle)
        for i, plane in enumerate(_PLANES):
            for j, share in enumerate(_SHARES):
                latent = picture.at(plane)
                crr.quantised.fill_(1)
                latent.reveal(torch.tensor([share]), latent.look(crr))
                rounded = float(latent.trit_bits(latent.look(crr)))
                crr.quantised.fill_(0)
                floats = float(latent.trit_bits(latent.look(crr)))
                sums[i, j] += *CodedPlane(latent, model, plane).rest_bits(), rounded, floats

    def line(name: str, integers: float, coded: float, rounded: float, floats: float) -> str:
        return (
            f"{name}: {integers / pixels:.4f} bpp, {integers / rounded - 1:+.2%} against rounded weights, "
            f"{integers / floats - 1:+.2%} against float weights; coded {coded / integers - 1:+.2%}"
        )

    for i, plane in enumerate(_PLANES):
        for j, share in enumerate(_SHARES):
            yield line(f"plane {plane}, {share:.0%} known", *sums[i, j])
    yield line("all", *sums.sum((0, 1)))
