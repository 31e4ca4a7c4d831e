"""The training loop: a run lasts a number of minutes, ends in a decay, and survives being killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .._config import ModelConfig
from .checkpoint import join, load_checkpoint, save_checkpoint
from .context import Cdr, Crr, Joint
from .data import PatchStore
from .distributed import agree, all_true, first_alone, process_group, rank, world_size
from .klt import init_linear
from .log import Meter, Row, csv_log
from .model import TrainingModel
from .optimizer import Optimizer
from .stages import Base, Settings, Stage

Report = Callable[[str], None]

STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (Base, Crr, Cdr, Joint)}

_PATCH_PIXELS = 256 * 256
_ROLLBACKS = 3
"""A run that diverges so often is given up."""


class Diverged(ValueError):
    """The loss is no longer finite, and smaller steps did not help."""


class _Ema:
    """Running mean of the trained weights, kept beside them."""

    def __init__(self, stage: Stage, decay: float) -> None:
        self.decay = decay
        self._names, self._live = map(list, zip(*stage.trained(), strict=True))
        self.shadow = [p.detach().clone() for p in self._live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, self._live, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self.shadow, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        for name, tensor in zip(self._names, self.shadow, strict=True):
            if name in state:
                tensor.copy_(state[name])

    @torch.no_grad()
    def become_live(self) -> None:
        for parameter, mean in zip(self._live, self.shadow, strict=True):
            parameter.copy_(mean)


@dataclass
class Progress:
    """Where a run is; all of it is in the checkpoint."""

    step: int = 0
    """Steps of all cycles, from the linear start on."""
    run_step: int = 0
    """Steps of this cycle (warm-up, constant, decay)."""
    elapsed: float = 0.0
    """Seconds of this cycle."""
    seconds: float = 0.0
    """Seconds of all cycles."""
    pixels: int = 0
    """Pixels of all cycles."""
    caution: float = 1.0
    """Factor on the learning rates, halved when the run had to be rolled back."""

    def state(self) -> dict[str, float]:
        return dict(vars(self))

    @classmethod
    def of(cls, state: dict[str, Any]) -> Progress:
        """That of a checkpoint; a finished cycle is followed by a new one."""
        known = {name: state[name] for name in vars(cls()) if name in state}
        if state["finished"]:
            known |= {"run_step": 0, "elapsed": 0.0, "caution": 1.0}
        return cls(**known)


def _sized_like(state: dict[str, Any]) -> TrainingModel:
    """An untrained model with the networks of a checkpoint."""
    context = any(name.startswith("crr.") for name in state["model"])
    return TrainingModel(ModelConfig.from_json(str(state["config"])), context=context)


def averaged_model(state: dict[str, Any]) -> TrainingModel:
    """The model of a checkpoint with its averaged weights. Raises ValueError."""
    model = _sized_like(state)
    model.load_state_dict(state["model"])
    model.load_state_dict(state["ema"], strict=False)
    return model.eval()


def newest_state(run_dir: Path) -> dict[str, Any] | None:
    """The newest checkpoint of a run, joined from parts if those are newer; None for a new run.

    Raises ValueError when it is damaged.
    """
    path = run_dir / "checkpoint.pt"
    if run_dir.is_dir():
        join(run_dir, path)
    return load_checkpoint(path) if path.exists() else None


@dataclass
class Run:
    """A stage, its optimiser and its averages on one device."""

    stage: Stage
    settings: Settings
    device: torch.device
    progress: Progress = field(default_factory=Progress)
    optimizer: Optimizer = field(init=False)
    ema: _Ema = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = Optimizer(self.stage, self.settings.lr_factor(world_size()))
        self.ema = _Ema(self.stage, self.settings.ema)

    def restore(self, state: dict[str, Any]) -> None:
        """Model, averages and, if they fit, the optimiser's moments of a checkpoint of the same stage."""
        self.stage.model.load_state_dict(state["model"])
        self.ema.load(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])

    def state(self, finished: bool) -> dict[str, Any]:
        return {
            "stage": self.stage.name,
            "config": self.stage.model.config.to_json(),
            "model": self.stage.model.state_dict(),
            "ema": self.ema.state(),
            "optimizer": self.optimizer.state_dict(),
            "finished": finished,
            **self.progress.state(),
        }

    def take_step(self, network: nn.Module, x: Tensor, missing: Tensor, share: float) -> dict[str, Tensor]:
        """One step of the optimiser at ``share`` of the run; returns what goes into the log.

        Nothing here waits for the device. A step whose gradient is not finite is skipped there.
        """
        p, settings = self.progress, self.settings
        z_weight = torch.tensor(min(1.0, p.step / settings.z_ramp_steps), device=self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            loss, metrics = network(x, missing, z_weight)
        loss.backward()
        norm = self.optimizer.step(settings.schedule(share, p.run_step) * p.caution)
        self.ema.update(p.step)
        p.step += 1
        p.run_step += 1
        p.pixels += world_size() * x.shape[0] * x.shape[2] * x.shape[3]
        return metrics | {"norm": norm, "finite": loss.detach().isfinite()}


def compiled(stage: Stage, x: Tensor, missing: Tensor, report: Report) -> nn.Module:
    """The stage compiled, tried on one batch; the stage itself where the compiler fails."""
    started = time.monotonic()
    try:
        network: nn.Module = torch.compile(stage)  # type: ignore[assignment]
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            loss, _ = network(x, missing, torch.ones((), device=x.device))
        loss.backward()
    except Exception as error:  # a missing C++ compiler, an operator it can't do: slower, not worse
        report(f"not compiled: {(str(error).splitlines() or [type(error).__name__])[0]}")
        network = stage
    else:
        report(f"compiled in {time.monotonic() - started:.0f} s")
    stage.zero_grad(set_to_none=True)
    return network


def _line(row: Row, minutes_left: float) -> str:
    parts = [f"step {row['step']:.0f}", f"loss {row['loss']:.4f}"]
    if "bpp" in row:
        parts.append(f"bpp {row['bpp']:.4f}")
    if "bpp_z" in row:
        parts[-1] += f" (z {row['bpp_z']:.4f})"
    if "bpp_table" in row:
        parts[-1] += f" ({row['bpp'] / row['bpp_table'] - 1:+.1%} against the table)"
    if "psnr" in row:
        parts.append(f"full-rate PSNR {row['psnr']:.2f}")
    parts += [
        f"|grad| {row['norm']:.2f}",
        f"{row['mpixel_per_s']:.3g} Mpixel/s",
        f"{minutes_left:.1f} min left",
    ]
    return "  ".join(parts)


def train(
    sources: list[Path],
    run_dir: Path,
    settings: Settings,
    *,
    stage: str = "base",
    config: ModelConfig | None = None,
    start: TrainingModel | None = None,
    device: torch.device | None = None,
    exclude: tuple[str, ...] = (),
    compile_model: bool | None = None,
    report: Report = print,
) -> tuple[TrainingModel, PatchStore]:
    """Run a stage for ``settings.minutes`` from the newest state in ``run_dir``; return the model with
    its averaged (EMA) weights, and the data.

    An empty ``run_dir`` begins with ``start`` (see :func:`ctc_codec.training.export.restore` and
    :func:`averaged_model`) or, without it, as a linear codec of the sizes of ``config``.

    ``run_dir/checkpoint.pt`` is written every ``save_every_s`` seconds and at the end, and
    ``run_dir/log.csv`` grows by a row per ``log_every`` steps. A run that was killed goes on from its
    checkpoint with the minutes that it had left; a finished one starts a new cycle (warm-up,
    constant, decay) from its weights. Images that arrive in ``sources`` meanwhile are used too.

    ``compile_model``: use torch.compile; by default on CUDA only (on two CPU cores it was 9 % slower).
    Started by torchrun, all processes train one model, each on its own crops.

    When the loss is no longer finite the run goes back to its newest checkpoint and goes on with half the
    learning rates. Raises Diverged, a ValueError, if that does not help or the minutes are over, and
    ValueError for unusable data or checkpoints.
    """
    started = time.monotonic()
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with process_group(device) as device:
        if rank() != 0:
            report = _silent
        return _train(
            started, sources, run_dir, settings, stage, config, start, device, exclude, compile_model, report
        )


def prepare_device(device: torch.device) -> None:
    """Let a GPU use its matrix units for the few float32 layers, and choose its kernels by trying."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


def _silent(_: str) -> None:
    pass


def _train(
    started: float,
    sources: list[Path],
    run_dir: Path,
    settings: Settings,
    stage_name: str,
    config: ModelConfig | None,
    start: TrainingModel | None,
    device: torch.device,
    exclude: tuple[str, ...],
    compile_model: bool | None,
    report: Report,
) -> tuple[TrainingModel, PatchStore]:
    prepare_device(device)
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / "checkpoint.pt"
    with first_alone():
        state = newest_state(run_dir)
    if state is not None and state.get("stage", "base") != stage_name:
        raise ValueError(f"{run_dir}: holds a run of stage {state['stage']}, not {stage_name}")
    torch.manual_seed(settings.seed)
    store = PatchStore(sources, settings.crop, device, exclude, settings.image_limit)
    report(f"{store.images} images, {store.megapixels:.0f} megapixels on {device}")

    if state is not None:
        model = _sized_like(state)
    elif start is None and STAGES[stage_name].context:
        raise ValueError(f"stage {stage_name} needs a trained base to start from")
    else:
        model = start or TrainingModel(config or ModelConfig())
    model = model.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    generator = torch.Generator(device).manual_seed(settings.seed)
    if state is None and start is None:
        init_linear(model, store, generator)
    progress = Progress.of(state) if state is not None else Progress()
    if state is None and start is not None:
        progress.step = settings.z_ramp_steps  # its z is in use already
    run = Run(STAGES[stage_name](model, settings), settings, device, progress)
    if state is not None:
        run.restore(state)
    # From here on every process and every cycle has its own crops and its own noise.
    generator.manual_seed(settings.seed + (progress.step << 8) + rank())
    torch.manual_seed(settings.seed + (progress.step << 8) + rank())

    def batch() -> tuple[Tensor, Tensor]:
        return store.batch(settings.batch, generator), run.stage.draw_missing(generator, device)

    network: nn.Module = run.stage
    if compile_model if compile_model is not None else device.type == "cuda":
        network = compiled(run.stage, *batch(), report)
    if world_size() > 1:
        network = DistributedDataParallel(network)

    store.watch()
    finite = torch.ones((), dtype=torch.bool, device=device)
    rollbacks = 0
    before = progress.elapsed, progress.seconds
    last_save = started
    meter = Meter()
    pixels_per_step = world_size() * settings.batch * settings.crop**2
    with csv_log(run_dir / "log.csv" if rank() == 0 else None) as write_row:
        while True:
            now = time.monotonic()
            passed = agree(now - started)
            p = run.progress
            p.elapsed, p.seconds = before[0] + passed, before[1] + passed
            share = p.elapsed / (settings.minutes * 60)
            if settings.max_steps is not None:
                share = max(share, p.run_step / settings.max_steps if settings.max_steps else 1.0)
            over = share >= 1
            logging = over or p.run_step % settings.log_every == 0
            saving = over or passed - (last_save - started) > settings.save_every_s
            if (logging or saving) and not all_true(finite):
                state = newest_state(run_dir)
                rollbacks += 1
                if state is None or over or rollbacks > _ROLLBACKS:
                    raise Diverged(f"diverged before step {p.step}: the checkpoint from before is kept")
                run.restore(state)
                p.step, p.run_step = state["step"], p.run_step if state["finished"] else state["run_step"]
                p.caution /= 2
                finite.fill_(True)
                meter = Meter()
                report(f"diverged: back to step {p.step} with learning rates x {p.caution:g}")
                continue
            if logging and meter.steps:
                row = {
                    "step": p.step,
                    "patches": p.pixels / _PATCH_PIXELS,
                    "seconds": p.seconds,
                    "lr_factor": settings.schedule(share, p.run_step) * p.caution,
                    **meter.row(pixels_per_step),
                }
                write_row(row)
                report(_line(row, settings.minutes - p.elapsed / 60))
            if saving and rank() == 0:
                save_checkpoint(path, run.state(finished=over))
            if saving:
                last_save = started + passed
            if over:
                break
            added = store.poll()
            if added:
                report(f"{added} images more: {store.images}, {store.megapixels:.0f} megapixels")
            metrics = run.take_step(network, *batch(), share)
            finite &= metrics.pop("finite")
            meter.add(metrics)
    run.ema.become_live()
    return model.eval(), store
