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

from .._config import LATENT_STRIDE, ModelConfig
from .._device import branch_precision
from .._weights import reason_of
from .checkpoint import join, load_checkpoint, save_checkpoint
from .context import Cdr, Crr, FullRate, Joint
from .data import PatchStore
from .distributed import agree, first_alone, largest, process_group, rank, world_size
from .klt import init_linear
from .log import Meter, Row, csv_log
from .model import TrainingModel
from .optimizer import Optimizer
from .stages import Base, Batches, Settings, Stage

Report = Callable[[str], None]
OnSave = Callable[[Path], None]

STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (Base, Crr, Cdr, Joint, FullRate)}

_PATCH_PIXELS = 256 * 256
_ROLLBACKS = 3
"""A run that diverges more often is given up."""
_BAD_STEPS = 5
"""So many steps in a row without a finite loss and gradient, all of them skipped: the run has diverged."""


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

    @property
    def patches(self) -> float:
        """Pixels in patches of 256x256."""
        return self.pixels / _PATCH_PIXELS

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
    """The model of a checkpoint with its averaged weights. Raises ValueError if it is of another kind."""
    try:
        model = _sized_like(state)
        model.load_state_dict(state["model"])
        model.load_state_dict(state["ema"], strict=False)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"not a checkpoint of such a model ({reason_of(error)})") from None
    return model.eval()


def check_stage(state: dict[str, Any], stage: str, run_dir: Path) -> None:
    """Raise ValueError if a run's checkpoint is one of another stage."""
    found = state.get("stage", "base")
    if found != stage:
        raise ValueError(f"{run_dir}: holds a run of stage {found}, not {stage}")


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
    """A stage, its data, its optimiser and its averages on one device."""

    stage: Stage
    settings: Settings
    device: torch.device
    folder: Path
    store: PatchStore
    progress: Progress = field(default_factory=Progress)
    network: nn.Module = field(init=False)
    """The stage as it is called: perhaps compiled, perhaps distributed."""
    optimizer: Optimizer = field(init=False)
    ema: _Ema = field(init=False)
    has_moments: bool = False
    _source: Batches | None = None

    def __post_init__(self) -> None:
        self.network = self.stage
        self.optimizer = Optimizer(self.stage, self.settings.lr_factor(world_size()))
        self.ema = _Ema(self.stage, self.settings.ema)
        self._generator = torch.Generator(self.device)

    def seed_anew(self) -> None:
        """From here on every process and every cycle has its own crops and its own noise."""
        seed = self.settings.seed + (self.progress.step << 8) + rank()
        self._generator.manual_seed(seed)
        torch.manual_seed(seed)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Crops, and the planes missing of each."""
        if self._source is None:
            self._source = self.stage.prepare(self.store, self._generator)
        x = self._source.batch(self.settings.batch, self._generator)
        return x, self.stage.draw_missing(self._generator, self.device)

    def restore(self, state: dict[str, Any]) -> None:
        """Model, averages and, if they fit, the optimiser's moments of a checkpoint."""
        self.stage.model.load_state_dict(state["model"])
        self.ema.load(state["ema"])
        self.has_moments = self.optimizer.load_state_dict(state["optimizer"])

    def go_back(self) -> None:
        """To the newest checkpoint, and on with half the learning rates, warmed up if they need it."""
        with first_alone():
            state = newest_state(self.folder)
        assert state is not None
        self.restore(state)
        self.progress.step = state["step"]
        fresh = state["finished"] or not self.has_moments
        self.progress.run_step = 0 if fresh else state["run_step"]
        self.progress.caution /= 2
        self.seed_anew()

    def save(self, finished: bool, on_save: OnSave | None) -> None:
        """Write the checkpoint, in the first process."""
        if rank() == 0:
            path = self.folder / "checkpoint.pt"
            save_checkpoint(path, self.state(finished))
            if on_save is not None:
                on_save(path)

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

    def take_step(self, x: Tensor, missing: Tensor, share: float) -> dict[str, Tensor]:
        """One step of the optimiser at ``share`` of the run; returns what goes into the log.

        Nothing here waits for the device. A step whose gradient is not finite is skipped there.
        """
        p, settings = self.progress, self.settings
        ramp = min(1.0, p.step / settings.z_ramp_steps)
        z_weight = torch.full((), ramp, device=self.device)
        with branch_precision(self.device):
            loss, metrics = self.network(x, missing, z_weight)
        loss.backward()
        norm = self.optimizer.step(settings.schedule(share, p.run_step) * p.caution)
        self.ema.update(p.step)
        p.step += 1
        p.run_step += 1
        p.pixels += world_size() * x.shape[0] * settings.crop**2
        finite = norm.isfinite() & loss.detach().isfinite()
        return metrics | {"norm": norm.nan_to_num(0, 0, 0), "skipped": (~finite).float()}


def compiled(stage: Stage, x: Tensor, missing: Tensor, report: Report) -> nn.Module:
    """The stage compiled, tried on one batch; the stage itself where the compiler fails."""
    started = time.monotonic()
    try:
        network: nn.Module = torch.compile(stage)  # type: ignore[assignment]
        with branch_precision(x.device):
            loss, _ = network(x, missing, torch.ones((), device=x.device))
        loss.backward()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a missing C++ compiler, an operator it can't do: slower, not worse
        report(f"not compiled: {reason_of(error)}")
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
    if row["skipped"]:
        parts.append(f"{row['skipped']:.0%} of the steps skipped")
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
    history: Progress | None = None,
    device: torch.device | None = None,
    exclude: tuple[str, ...] = (),
    compile_model: bool | None = None,
    on_save: OnSave | None = None,
    report: Report = print,
) -> tuple[TrainingModel, PatchStore]:
    """Run a stage for ``settings.minutes`` from the newest state in ``run_dir``; return the model with
    its averaged (EMA) weights, and the data.

    An empty ``run_dir`` begins with ``start`` (see :func:`ctc_codec.training.export.restore` and
    :func:`averaged_model`), whose counts of steps, seconds and pixels go on from ``history``, or, without
    it, as a linear codec of the sizes of ``config``.

    ``run_dir/checkpoint.pt`` is written every ``save_every_s`` seconds and at the end, and
    ``run_dir/log.csv`` grows by a row per ``log_every`` steps. A run that was killed goes on from its
    checkpoint with the minutes that it had left; a finished one starts a new cycle (warm-up,
    constant, decay) from its weights. Images that arrive in ``sources`` meanwhile are used too.

    ``compile_model``: use torch.compile; by default on CUDA only (on two CPU cores it was 9 % slower).
    ``on_save`` is called with the checkpoint's path whenever it was written.
    Started by torchrun, all processes train one model, each on its own crops.

    A step without a finite loss and gradient is skipped. After some of them in a row the run goes back to its
    newest checkpoint and goes on with half the learning rates. Raises Diverged, a ValueError, if that does
    not help, and ValueError for unusable data, settings or checkpoints.
    """
    started = time.monotonic()
    if settings.crop % LATENT_STRIDE:
        raise ValueError(f"crops of {settings.crop}: the side must be a multiple of {LATENT_STRIDE}")
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with process_group(device) as device:
        if rank() != 0:
            report = _silent
        prepare_device(device)
        run_dir.mkdir(parents=True, exist_ok=True)
        with first_alone():
            state = newest_state(run_dir)
        if state is not None:
            check_stage(state, stage, run_dir)
            if start is not None:
                report(f"{run_dir}: goes on from its own checkpoint, not from the given start")
        torch.manual_seed(settings.seed)
        store = PatchStore(sources, settings.crop, device, exclude, settings.image_limit)
        report(f"{store.images} images, {store.megapixels:.0f} megapixels on {device}")
        run = begin(run_dir, state, stage, settings, store, config, start, history)
        if state is not None and not run.has_moments:
            report("the checkpoint's moments do not fit or are not there: the optimiser starts afresh")
        run.seed_anew()
        if compile_model if compile_model is not None else device.type == "cuda":
            run.network = compiled(run.stage, *run.batch(), report)
        if world_size() > 1:
            run.network = DistributedDataParallel(run.network)
        store.watch()
        if state is None:
            run.save(False, on_save)  # what a run that diverges at once goes back to
        _take_steps(run, started, on_save, report)
        run.ema.become_live()
        run.network = run.stage  # the wrapper must be gone before its process group is
        return run.stage.model.eval(), store


def prepare_device(device: torch.device) -> None:
    """Let a GPU use its matrix units for the few float32 layers, and choose its kernels by trying."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


def _silent(_: str) -> None:
    pass


def begin(
    run_dir: Path,
    state: dict[str, Any] | None,
    stage: str,
    settings: Settings,
    store: PatchStore,
    config: ModelConfig | None = None,
    start: TrainingModel | None = None,
    history: Progress | None = None,
) -> Run:
    """The run of a checkpoint or, without one, a new run from ``start`` or from the linear codec.

    On the device of the data. The other arguments are those of :func:`train`.
    """
    device = store.device
    if state is not None:
        model = _sized_like(state)
    elif start is None and STAGES[stage].context:
        raise ValueError(f"stage {stage} needs a trained base to start from")
    else:
        model = start or TrainingModel(config or ModelConfig())
    model = model.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if state is not None:
        progress = Progress.of(state)
    elif start is not None:
        progress = history or Progress(step=settings.z_ramp_steps)  # its z is in use already
    else:
        progress = Progress()
        init_linear(model, store, torch.Generator(device).manual_seed(settings.seed))
    run = Run(STAGES[stage](model, settings), settings, device, run_dir, store, progress)
    if state is not None:
        run.restore(state)
    return run


def _take_steps(run: Run, started: float, on_save: OnSave | None, report: Report) -> None:
    """Steps until the time is over, with logging, saving and, when the run diverges, going back."""
    settings, p = run.settings, run.progress
    before, first_step = (p.elapsed, p.seconds), p.run_step
    bad_steps = torch.zeros((), device=run.device)
    rollbacks = 0
    last_save = 0.0
    meter = Meter()
    pixels_per_step = world_size() * settings.batch * settings.crop**2
    with csv_log(run.folder / "log.csv" if rank() == 0 else None) as write_row:
        while True:
            passed = agree(time.monotonic() - started)
            p.elapsed, p.seconds = before[0] + passed, before[1] + passed
            share = p.elapsed / (settings.minutes * 60)
            if settings.max_steps is not None:
                share = max(share, p.run_step / settings.max_steps if settings.max_steps else 1.0)
            over = share >= 1
            if over and settings.max_steps is None and p.run_step == first_step:
                report("no time was left for a single step")
                return
            logging = over or p.run_step % settings.log_every == 0
            saving = over or passed - last_save > settings.save_every_s
            bad = largest(bad_steps) if logging or saving else 0.0
            if bad >= _BAD_STEPS or (bad and over):
                rollbacks += 1
                if rollbacks > _ROLLBACKS:
                    raise Diverged(f"diverged before step {p.step}: the checkpoint from before is kept")
                run.go_back()
                report(f"diverged: back to step {p.step} with learning rates x {p.caution:g}")
                bad_steps.zero_()
                meter = Meter()
                if over:
                    return
                continue
            if logging and meter.steps:
                row = {
                    "step": p.step,
                    "patches": p.patches,
                    "seconds": p.seconds,
                    "lr_factor": settings.schedule(share, p.run_step) * p.caution,
                    **meter.row(pixels_per_step),
                }
                write_row(row)
                report(_line(row, settings.minutes - p.elapsed / 60))
            if saving and not bad:
                run.save(over, on_save)
                last_save = passed
            if over:
                return
            added = run.store.poll()
            if added:
                report(f"{added} images more: {run.store.images}, {run.store.megapixels:.0f} megapixels")
            metrics = run.take_step(*run.batch(), share)
            bad_steps = (bad_steps + 1) * metrics["skipped"]
            meter.add(metrics)
