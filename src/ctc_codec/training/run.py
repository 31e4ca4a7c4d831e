"""A training run from photographs to a weights file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from .checkpoint import load_layers
from .data import Source
from .loop import train
from .options import TrainingOptions
from .settings import Settings
from .trainer import begin_processes, end_processes

WEIGHTS = "ctc.safetensors"


def run(sources: Sequence[Path], options: TrainingOptions, report: Callable[[str], None]) -> None:
    """Train on photographs, freeze to RUN/ctc.safetensors, and compare the codec with these weights and with
    those of the start on held-out photographs.

    sources: folders of photographs, tar shards, and photographs by themselves.
    report: takes lines for people.

    Raises CtcError, ValueError, OSError; ImportError if the checkpoint cannot be frozen here.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    found = torch.cuda.is_available()
    if options.device == "cuda" and not found:
        raise ValueError("there is no CUDA device here")
    device = begin_processes(torch.device("cuda" if found and options.device != "cpu" else "cpu"))
    start = load_layers(options.start) if options.start else None
    settings = Settings.of(options, start, device.type == "cuda")
    source = Source.read(sources, options.exclude)
    checkpoint = train(source, settings, device, start, report)
    if end_processes():
        _finish(checkpoint, source, options, report)


def _finish(
    checkpoint: Path, source: Source, options: TrainingOptions, report: Callable[[str], None]
) -> None:
    weights, start = options.folder / WEIGHTS, options.start
    try:
        from ..codec.model import default_weights
        from .freeze import freeze
        from .validation import comparison

        freeze(load_layers(checkpoint), source, weights, report)
    except ImportError as error:  # training needs neither onnx nor the codec's libraries
        later = f"python -m ctc_codec.training.freeze {checkpoint} does it elsewhere"
        raise ImportError(f"not frozen ({error}): {later}") from None
    known = start if start is not None and start.suffix == ".safetensors" else default_weights()
    if source.held_out:
        for line in comparison(weights, known, source.held_out):
            report(line)
