"""Settings of a run, all of them known, and what they say of its course."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .checkpoint import Layers
from .networks import GROUPS, SYNTHESIS_BLOCKS, SYNTHESIS_WIDTH, WIDTHS, synthesis_shape_of, widths_of
from .options import CPU_BATCH, CUDA_BATCH, TrainingOptions

_CRR_RATE, _START_CRR_RATE = 1e-3, 2e-4
_DECAY = 0.45
_CPU_USES = 6
"""Uses of a state if the synthesis network learns alone: on a CPU a state takes longer than a step."""
_WARM_UP = 0.02


@dataclass(frozen=True)
class Settings:
    """Complete settings of a run; fields as of :class:`TrainingOptions` but for these.

    crop: side of the crops, a multiple of 64.
    decay: share of the run in which learning rates fall, and in which CRR computes what integers do; all of
        it for weights that are good already.
    uses: of a state, if the synthesis network learns alone.
    width, blocks: of the synthesis network.

    Raises ValueError for a side or a number of widths that cannot be.
    """

    minutes: float = 9.0
    steps: int | None = None
    batch: int = 16
    crop: int = 256
    crr_rate: float = _CRR_RATE
    synthesis_rate: float = 5e-4
    decay: float = _DECAY
    seed: int = 1
    networks: str = "both"
    uses: int = 1
    whole: bool = False
    widths: tuple[int, ...] = WIDTHS
    width: int = SYNTHESIS_WIDTH
    blocks: int = SYNTHESIS_BLOCKS

    def __post_init__(self) -> None:
        if self.crop % 64:
            raise ValueError(f"crops of {self.crop}: the side must be a multiple of 64")
        if len(self.widths) != len(set(GROUPS)):
            raise ValueError(f"CRR has {len(set(GROUPS))} networks, there are {len(self.widths)} widths")

    @classmethod
    def of(cls, options: TrainingOptions, start: Layers | None, cuda: bool) -> Settings:
        """Complete options by the layers that a run starts with, or None, and by the device.

        Raises ValueError.
        """
        width, blocks = synthesis_shape_of(start or {})
        return cls(
            minutes=options.minutes,
            steps=options.steps,
            batch=options.batch or (CUDA_BATCH if cuda else CPU_BATCH),
            crop=options.crop,
            crr_rate=options.crr_rate or (_CRR_RATE if start is None else _START_CRR_RATE),
            synthesis_rate=options.synthesis_rate,
            decay=_DECAY if start is None else 1.0,
            seed=options.seed,
            networks=options.networks,
            uses=1 if cuda else _CPU_USES,
            whole=options.whole,
            widths=options.widths or widths_of(start or {}),
            width=options.synthesis_width or width,
            blocks=options.synthesis_blocks or blocks,
        )

    def share(self, seconds: float, step: int) -> float:
        """The share of the run that is over."""
        return step / self.steps if self.steps else seconds / 60 / self.minutes

    def factor(self, share: float) -> float:
        """Factor of the learning rates: warm-up, constant, cosine."""
        into = (share - 1 + self.decay) / self.decay
        cosine = 1.0 if into < 0 else 0.5 * (1 + math.cos(math.pi * min(into, 1.0))) + 0.002
        return min(1.0, (share + 1e-4) / _WARM_UP) * cosine
