"""The training loop: a run lasts a number of minutes, ends in a decay, and survives being killed."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._config import ModelConfig
from .data import PatchStore
from .klt import init_linear
from .model import TrainingModel, draw_missing, rate_distortion_loss


@dataclass(frozen=True)
class Settings:
    """One run of stage 1 (base: analysis, synthesis, hyperprior).

    The transforms' learning rate fits batches of 4: its noise alone costs 8 dB of the live weights at
    1.5e-4 and batches of 2 (34.6 dB without any quantisation, against 43.2 of their running mean).
    """

    minutes: float = 60.0
    max_steps: int | None = None
    batch: int = 4
    crop: int = 256
    lmbda: float = 0.05
    lr_transforms: float = 1e-4
    lr_entropy: float = 1e-3
    warmup_steps: int = 200
    z_ramp_steps: int = 1500
    decay_share: float = 0.4
    full_share: float = 0.5
    clip_norm: float = 2.0
    ema: float = 0.999
    save_every_s: float = 120.0
    log_every: int = 50
    seed: int = 1

    def for_smoke(self) -> Settings:
        """The same path within about a minute on two cores."""
        return dataclasses.replace(
            self,
            minutes=min(self.minutes, 0.3),
            batch=min(self.batch, 2),
            crop=min(self.crop, 128),
            warmup_steps=5,
            log_every=5,
            save_every_s=5.0,
        )


Report = Callable[[str], None]


def _parameter_groups(model: TrainingModel, settings: Settings) -> list[dict[str, object]]:
    """Transforms learn slowly (the linear start is already good there), the entropy model fast."""
    transforms: list[Tensor] = []
    entropy: list[Tensor] = []
    for name, parameter in model.named_parameters():
        (transforms if name.startswith(("analysis", "synthesis")) else entropy).append(parameter)
    return [
        {"params": transforms, "base_lr": settings.lr_transforms},
        {"params": entropy, "base_lr": settings.lr_entropy},
    ]


def _schedule(progress: float, run_step: int, settings: Settings) -> float:
    """Factor on the learning rates: warm-up, constant, cosine decay over the last ``decay_share``."""
    warmup = min(1.0, (run_step + 1) / settings.warmup_steps)
    left = (1 - progress) / settings.decay_share
    decay = 1.0 if left >= 1 else 0.5 * (1 - math.cos(math.pi * max(left, 0.0)))
    return warmup * max(decay, 0.005)


def save_checkpoint(path: Path, state: dict[str, object]) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old or the new one."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU (tensors and plain values only). Raises ValueError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the unpickler lets all kinds through
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: damaged checkpoint ({reason})") from None
    if not isinstance(state, dict) or "model" not in state:
        raise ValueError(f"{path}: not a training checkpoint")
    return state


class _Ema:
    """Running mean of the weights, kept beside them."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self._live: list[Tensor] = list(model.parameters())
        self._names = [n for n, _ in model.named_parameters()]
        self.shadow = [p.detach().clone() for p in self._live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, self._live, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self.shadow, strict=True))

    def load(self, state: dict[str, Tensor]) -> None:
        for name, tensor in zip(self._names, self.shadow, strict=True):
            tensor.copy_(state[name])


def _autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    return torch.autocast(device.type, dtype=torch.bfloat16)


def train(
    sources: list[Path],
    run_dir: Path,
    settings: Settings,
    *,
    config: ModelConfig | None = None,
    start: TrainingModel | None = None,
    device: torch.device | None = None,
    exclude: tuple[str, ...] = (),
    image_limit: int | None = None,
    report: Report = print,
) -> tuple[TrainingModel, PatchStore]:
    """Train for ``settings.minutes`` from the newest state in ``run_dir``; return the model with its
    averaged (EMA) weights, and the data.

    An empty ``run_dir`` begins with ``start`` (see :func:`ctc_codec.training.export.restore`) or, without
    it, as a linear codec of the sizes of ``config``.

    ``run_dir/checkpoint.pt`` is written every ``save_every_s`` seconds and at the end, and
    ``run_dir/log.csv`` grows by a row per ``log_every`` steps. A run that was killed goes on from its
    checkpoint with the minutes that it had left; a finished one starts a new cycle (warm-up,
    constant, decay) from its weights. Raises ValueError for unusable data or checkpoints, and when the loss
    is no longer finite (the newest checkpoint is then from before).
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "checkpoint.pt"
    state = load_checkpoint(path) if path.exists() else None
    if state is not None:
        config = ModelConfig.from_json(str(state["config"]))
    torch.manual_seed(settings.seed)
    store = PatchStore(sources, settings.crop, device, exclude, image_limit)
    report(f"{store.images} images, {store.megapixels:.0f} megapixels on {device}")

    if state is None and start is not None:
        model = start.to(device)
    else:
        model = TrainingModel(config or ModelConfig()).to(device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(device)
    step, elapsed, run_step = 0, 0.0, 0
    optimizer = torch.optim.Adam(_parameter_groups(model, settings), lr=settings.lr_transforms, fused=True)
    if state is None:
        generator.manual_seed(settings.seed)
        if start is None:
            init_linear(model, store, generator)
        else:
            step = settings.z_ramp_steps  # its z is in use already
    else:
        model.load_state_dict(state["model"])
        step = int(state["step"])
        generator.manual_seed(settings.seed + step)
        if state.get("optimizer") is not None:
            optimizer.load_state_dict(state["optimizer"])
            for group, fresh in zip(optimizer.param_groups, _parameter_groups(model, settings), strict=True):
                group["base_lr"] = fresh["base_lr"]
        if not state["finished"]:
            elapsed, run_step = float(state["elapsed"]), int(state["run_step"])
    ema = _Ema(model, settings.ema)
    if state is not None:
        ema.load(state["ema"])

    finite = torch.ones((), dtype=torch.bool, device=device)

    def save(finished: bool) -> None:
        if not finite:
            raise ValueError(f"diverged before step {step}: the checkpoint from before is kept")
        save_checkpoint(
            path,
            {
                "config": model.config.to_json(),
                "model": model.state_dict(),
                "ema": ema.state(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "run_step": run_step,
                "elapsed": elapsed,
                "finished": finished,
            },
        )

    budget = settings.minutes * 60
    last = last_save = time.monotonic()
    meter = _Meter(settings)
    parameters = list(model.parameters())
    with _csv_log(run_dir / "log.csv") as write_row:
        while True:
            now = time.monotonic()
            elapsed, last = elapsed + now - last, now
            progress = elapsed / budget
            if settings.max_steps is not None:
                progress = max(progress, run_step / settings.max_steps if settings.max_steps else 1.0)
            if progress >= 1:
                break
            factor = _schedule(progress, run_step, settings)
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            x = store.batch(settings.batch, generator)
            missing = draw_missing(settings.batch, settings.full_share, generator, device)
            with _autocast(device):
                out = model(x, missing)
            loss, metrics = rate_distortion_loss(
                out, x, missing, settings.lmbda, z_weight=min(1.0, step / settings.z_ramp_steps)
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            finite &= loss.detach().isfinite()
            metrics["norm"] = torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            # One step with a non-finite gradient would end the run: it becomes a step of zero.
            for p in parameters:
                if p.grad is not None:
                    p.grad.nan_to_num_(0.0, 0.0, 0.0)
            optimizer.step()
            ema.update(step)
            step, run_step = step + 1, run_step + 1
            meter.add(metrics)
            if run_step % settings.log_every == 0:
                row = meter.row(step, elapsed, factor)
                write_row(row)
                left = (budget - elapsed) / 60
                report(
                    f"step {step}  loss {row['loss']:.4f}  bpp {row['bpp']:.4f} (z {row['bpp_z']:.4f})  "
                    f"full-rate PSNR {row['psnr']:.2f}  |grad| {row['norm']:.2f}  "
                    f"{row['mpixel_per_s']:.3f} Mpixel/s  {left:.1f} min left"
                )
            if now - last_save > settings.save_every_s:
                save(finished=False)
                last_save = now
    save(finished=True)
    with torch.no_grad():
        for p, mean in zip(parameters, ema.shadow, strict=True):
            p.copy_(mean)
    return model.eval(), store


class _Meter:
    """Sums what the steps report; reads it (and so waits for the device) once per ``log_every`` steps."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._since = time.monotonic()

    def add(self, metrics: dict[str, Tensor]) -> None:
        self._sums = {k: self._sums.get(k, 0.0) + v for k, v in metrics.items()}
        self._steps += 1

    def row(self, step: int, elapsed: float, factor: float) -> dict[str, float]:
        """Means since the last call, as one row of the log."""
        n = self._steps
        values = {k: float(v) for k, v in self._sums.items()}
        now = time.monotonic()
        pixels = n * self._settings.batch * self._settings.crop**2
        row = {
            "step": step,
            "seconds": elapsed,
            "lr_factor": factor,
            "loss": values["loss"] / n,
            "bpp": values["bpp"] / n,
            "bpp_z": values["bpp_z"] / n,
            "psnr": -10 * math.log10(max(values["full_mse"] / max(values["full_count"], 1), 1e-12)),
            "norm": values["norm"] / n,
            "mpixel_per_s": pixels / (now - self._since) / 1e6,
        }
        self._sums, self._steps, self._since = {}, 0, now
        return row


@contextlib.contextmanager
def _csv_log(path: Path) -> Iterator[Callable[[dict[str, float]], None]]:
    """A function that appends one row to a CSV file, header first in a new one."""
    with path.open("a", newline="") as file:

        def write(row: dict[str, float]) -> None:
            writer = csv.DictWriter(file, list(row))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" for k, v in row.items()})
            file.flush()

        yield write
