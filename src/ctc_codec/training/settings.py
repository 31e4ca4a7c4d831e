"""Complete settings of a run, and the course of it that they set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .checkpoint import Layers
from .networks import GROUPS, SYNTHESIS_BLOCKS, SYNTHESIS_WIDTH, WIDTHS, synthesis_shape_of, widths_of
from .options import CPU_BATCH, CUDA_BATCH, TrainingOptions

_CRR_RATE, _START_CRR_RATE = 1e-3, 2e-4
_DECAY = 0.45
_CPU_USES = 6
"""Uses of a state if the synthesis network learns alone: on a CPU a state takes longer than a step."""
_WARM_UP = 0.02


@dataclass(frozen=True)
class Settings(TrainingOptions):
    """Options of a run, complete: those left to the device or to the start are known too.

    decay: share of the run in which learning rates fall, and CRR has the arithmetic of integers; all of it
        for weights that are good already, unless a rate is given for them: high ones want floats first.
    uses: of a state, if the synthesis network learns alone.

    Raises ValueError for a side of crops or a number of widths that cannot be.
    """

    batch: int = 16
    widths: tuple[int, ...] = WIDTHS
    crr_rate: float = _CRR_RATE
    synthesis_width: int = SYNTHESIS_WIDTH
    synthesis_blocks: int = SYNTHESIS_BLOCKS
    decay: float = _DECAY
    uses: int = 1

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
        left: dict[str, Any] = {
            "batch": CUDA_BATCH if cuda else CPU_BATCH,
            "widths": widths_of(start or {}),
            "crr_rate": _CRR_RATE if start is None else _START_CRR_RATE,
            "synthesis_width": width,
            "synthesis_blocks": blocks,
            "decay": _DECAY if start is None or options.crr_rate is not None else 1.0,
            "uses": 1 if cuda else _CPU_USES,
        }
        return cls(**left | {name: value for name, value in vars(options).items() if value is not None})

    def share(self, seconds: float, step: int) -> float:
        """The share of the run that is over."""
        return step / self.steps if self.steps else seconds / 60 / self.minutes

    def factor(self, share: float) -> float:
        """Factor of the learning rates: warm-up, constant, cosine."""
        into = (share - 1 + self.decay) / self.decay
        cosine = 1.0 if into < 0 else 0.5 * (1 + math.cos(math.pi * min(into, 1.0))) + 0.002
        return min(1.0, (share + 1e-4) / _WARM_UP) * cosine
