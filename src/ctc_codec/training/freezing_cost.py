"""The cost of freezing: bits of trits by float networks and by the integer networks of a weights file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..codec.model import CodecModel
from ..codec.walk import Elements, Guide, Walk, Writer, run
from ..container.coder import Symbols
from ..container.header import Header
from ..crr.density import DISTANCES, SCALE_STEP, SCALE_ZERO, SCALES
from ..crr.inputs import ONE
from ..planes.trits import Values
from ..transform.lifting import LEVELS
from .checkpoint import Layers, layers_of, reason
from .data import Pixels
from .networks import CRR, bits, thirds, widths_of
from .partial_latent import PartialLatent
from .validation import middles

_PICTURES = 6
_PLANES = (1, 2, 3, 4)
_SHARES = (0.0, 0.5)


def load_crr(state: Layers) -> CRR:
    """CRR with the weights ``crr.*`` of a state. Raises ValueError."""
    crr = CRR(widths_of(state))
    try:
        crr.load_state_dict(layers_of("crr", state))
    except RuntimeError as error:
        raise ValueError(f"not weights of this CRR ({reason(error)})") from None
    return crr.eval()


def _in_order(levels: Sequence[Tensor]) -> Values:
    """The elements of one latent in the order of the codec's state, int16 [n]."""
    return np.concatenate([level[0].short().numpy().reshape(-1) for level in reversed(levels)])


class _TritGuide:
    """The part of a guide that one slice asks for."""

    def __init__(self, value: Values) -> None:
        self.value = value

    def trits(self, walk: Walk, elements: Elements) -> Symbols:
        return (self.value[elements] - walk.state.value[elements] + 1).astype(np.int32)


class CodedPlane:
    """The codec, in the middle of a plane of one latent (a batch of one).

    state: of the codec's walk.
    """

    def __init__(self, latent: PartialLatent, model: CodecModel, plane: int) -> None:
        height, width = latent.planes.shape[2:]
        header = Header(width, height, model.fingerprint, planes=plane + 1)
        self._writer, self._value = Writer(), _in_order(latent.value)
        self._walk = Walk(model, header, self._writer, cast(Guide, _TritGuide(self._value)))
        self.state = state = self._walk.state
        state.plane = state.low_plane = plane
        state.low[:] = (latent.low / latent.size)[0].round().int().numpy()
        state.value[:] = _in_order([latent.seen(level) for level in range(LEVELS)])
        state.known[:] = _in_order(latent.known)

    def rest_bits(self) -> tuple[float, int]:
        """Bits of the trits to come after a look at every level: by the densities, and coded, to within a
        word, in groups and with least frequencies."""
        self._walk.look((1 << LEVELS) - 1)
        unknown = ~self.state.known
        row = torch.from_numpy(self.state.row[unknown].astype(np.int32))
        trit = torch.from_numpy((self._value - self.state.value)[unknown])
        distance = (row >> 6 & DISTANCES - 1) / ONE * (1 - 2 * (row >> 13))
        density = torch.zeros_like(distance), (row & SCALES - 1) / SCALE_STEP - SCALE_ZERO
        ideal = float(bits(trit, thirds(distance, 3.0, density)).sum())
        run(self._walk._slice(1))
        return ideal, 8 * self._writer.encoder.nbytes


@torch.no_grad()
def freezing_cost(state: Layers, model: CodecModel, pictures: Sequence[Pixels]) -> Iterator[str]:
    """Lines with bits of the trits to come, at several planes and shares of them known: by the frozen model,
    against the networks of ``state`` with rounded weights and with float weights, and coded."""
    crr = load_crr(state)
    seen = middles(pictures, count=_PICTURES)
    pixels = sum(p.shape[0] * p.shape[1] for p in seen)
    sums = np.zeros((len(_PLANES) * len(_SHARES), 4))
    for middle in seen:
        for i, (plane, share) in enumerate(product(_PLANES, _SHARES)):
            latent = PartialLatent.of(middle, plane)
            crr.quantised.fill_(1)
            latent.reveal(torch.tensor([share]), latent.look(crr))
            rounded = float(latent.trit_bits(latent.look(crr)))
            crr.quantised.fill_(0)
            floats = float(latent.trit_bits(latent.look(crr)))
            sums[i] += *CodedPlane(latent, model, plane).rest_bits(), rounded, floats

    def line(name: str, integers: float, coded: float, rounded: float, floats: float) -> str:
        return (
            f"{name}: {integers / pixels:.4f} bpp, {integers / rounded - 1:+.2%} against rounded weights, "
            f"{integers / floats - 1:+.2%} against float weights; coded {coded / integers - 1:+.2%}"
        )

    for (plane, share), figures in zip(product(_PLANES, _SHARES), sums, strict=True):
        yield line(f"plane {plane}, {share:.0%} known", *figures)
    yield line("all", *sums.sum(0))
