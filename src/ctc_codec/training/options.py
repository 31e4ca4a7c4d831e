"""Options of a run as they are given. Standard library only: the command reads them without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CPU_BATCH, CUDA_BATCH = 4, 24


@dataclass(frozen=True)
class TrainingOptions:
    """Options of :func:`ctc_codec.training.run.run`. None leaves it to the device, or to the start.

    folder: of the run.
    start: weights file, or checkpoint of another run, that a new run begins with.
    networks: that learn: "both", "crr", or "synthesis", which leaves files readable.
    minutes: of the whole run.
    steps: of the whole run, in place of minutes.
    batch: crops a step.
    crop: their side in pixels, a multiple of 64.
    widths: channels of CRR's networks.
    crr_rate: learning rate of CRR.
    synthesis_rate: learning rate of the synthesis network.
    synthesis_width: channels of the synthesis network.
    synthesis_blocks: residual blocks of the synthesis network.
    whole: whole files only, for the control of the ablation.
    exclude: beginnings of names of photographs that are left out.
    seed: of all that is random.
    threads: of the CPU; None for one per core.
    device: "auto", "cpu" or "cuda".
    """

    folder: Path
    start: Path | None = None
    networks: str = "both"
    minutes: float = 9.0
    steps: int | None = None
    batch: int | None = None
    crop: int = 256
    widths: tuple[int, ...] | None = None
    crr_rate: float | None = None
    synthesis_rate: float = 5e-4
    synthesis_width: int | None = None
    synthesis_blocks: int | None = None
    whole: bool = False
    exclude: tuple[str, ...] = ()
    seed: int = 1
    threads: int | None = None
    device: str = "auto"
