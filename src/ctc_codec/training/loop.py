"""A run: steps for a number of minutes, with a log, checkpoints and an end that does not depend on luck."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..errors import CtcError
from . import checkpoint
from .checkpoint import Layers
from .crops import Crops
from .data import Source
from .log import append_row, draw_curves, keep_rows
from .settings import Settings
from .synthetic import synthetic_pictures
from .trainer import Trainer
from .validation import middles, validate

Report = Callable[[str], None]

CHECKPOINT, LOG, CURVES = "checkpoint.pt", "log.csv", "curves.png"
_SAVE_MINUTES = 2.0
_ROWS = 28
"""Rows of a log; a quarter of the run is a whole number of them."""
_VALIDATED = 4
_SYNCHRONISED = 8


class RunInterrupted(CtcError):
    """A run was told to end; its checkpoint is written."""


@contextmanager
def _told_to_end() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGINT or SIGTERM came since: a step is never left half done."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told.is_set
        return
    numbers = signal.SIGINT, signal.SIGTERM
    kept = {number: signal.signal(number, lambda *_: told.set()) for number in numbers}
    try:
        yield told.is_set
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def train(
    source: Source, settings: Settings, device: torch.device, start: Layers | None, report: Report
) -> Path:
    """Train for what is left of the run; return its checkpoint.

    A checkpoint is written every two minutes and at the end; log.csv grows by a row every 28th of the run,
    with figures of held-out photographs in every seventh. Of several processes (torchrun) the first one
    writes and reports.

    settings: of the run, which goes on from the checkpoint in its folder if there is one.
    start: layers that it begins with otherwise; None for new ones.

    Raises RunInterrupted; Diverged, a ValueError, when a weight is not finite: the checkpoint is then the
    last good one; ValueError for unusable data, settings or checkpoints; WeightsError, OSError.
    """
    folder = settings.folder
    path, log = folder / CHECKPOINT, folder / LOG
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
    synthetic = synthetic_pictures(source.photographs, settings.seed)
    crops = Crops(source.photographs, synthetic, settings.crop, device)
    trainer = Trainer(settings, crops, device)
    first = trainer.process == 0
    if path.exists():
        trainer.load(checkpoint.read(path))
        ignored = "" if start is None else ", not from the given start"
        report(f"{folder}: goes on from step {trainer.step}{ignored}")
    elif start is not None:
        trainer.begin_with(start)
    elif settings.networks == "synthesis":
        raise ValueError("the synthesis network learns from a trained CRR: name a --start")
    report(f"{len(crops.photographs)} photographs, {crops.megapixels:.0f} megapixels, on {device}")
    held_out = middles(source.held_out)
    folder.mkdir(parents=True, exist_ok=True)
    if device.type == "cuda":
        trainer.capture(report)
    if first:
        keep_rows(log, trainer.step or -1)  # a run without a checkpoint begins with its first row again

    earlier, began = trainer.seconds, time.monotonic()
    saved = earlier

    def save() -> None:
        trainer.check()
        if first:
            checkpoint.write(path, trainer.state())

    def tell(row: int) -> None:
        trainer.check()
        taken, seconds = trainer.step - trainer.told[0], trainer.seconds - trainer.told[1]
        figures = trainer.figures() if taken else {}
        if taken:
            pixels = taken * settings.batch * settings.crop**2 * trainer.processes
            figures["mpixel_per_s"] = pixels / 1e6 / max(seconds, 1e-9)
        figures["lr_factor"] = settings.factor(settings.share(trainer.seconds, trainer.step))
        if first:
            if held_out and row % (_ROWS // _VALIDATED) == 0:
                figures |= validate(trainer.average, held_out, trainer.means)
            append_row(log, {"step": trainer.step, "minutes": trainer.seconds / 60} | figures)
            words = [f"{name} {value:.4g}" for name, value in figures.items()]
            report(f"{trainer.seconds / 60:.2f} min, step {trainer.step}: {', '.join(words)}")
        trainer.told = [trainer.step, earlier + time.monotonic() - began]

    def row_of_now() -> int:
        return min(int(settings.share(trainer.seconds, trainer.step) * _ROWS + 1e-9), _ROWS)

    row = row_of_now()
    if trainer.step == 0:
        tell(0)
    with _told_to_end() as told_to_end:
        while settings.share(trainer.seconds, trainer.step) < 1:
            trainer.take_step()
            if device.type == "cuda" and trainer.step % _SYNCHRONISED == 0:
                torch.cuda.synchronize()
            trainer.agree(earlier + time.monotonic() - began)
            if row_of_now() > row:
                row = row_of_now()
                tell(row)
            ended = told_to_end()
            if ended or trainer.seconds - saved > _SAVE_MINUTES * 60:
                save()
                saved = trainer.seconds
            if ended:
                raise RunInterrupted(
                    f"interrupted at step {trainer.step}; the same command goes on from there"
                )
        if trainer.step > trainer.told[0]:
            tell(_ROWS)
        save()
    if first:
        draw_curves(log, folder / CURVES)
    return path
