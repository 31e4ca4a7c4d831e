"""The training loop: both networks at once, for a number of minutes, on one device.

A step draws crops and for each a plane and what share of it is known, and teaches CRR the trits to come and
the synthesis network the picture. On a GPU it is one CUDA graph.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..planes.trits import unit
from . import checkpoint
from .crops import Crops
from .data import Source
from .log import append_row
from .networks import CRR, Synthesis, corrected, synthesis_inputs
from .state import PartialLatent
from .synthetic import synthetic_pictures
from .tables import density_tables
from .wavelet import analyse, rotate

Report = Callable[[str], None]

CHECKPOINT = "checkpoint.pt"
_PLANE_WEIGHTS = np.array([0.6, 1.2, 1.5, 1.4, 1.1, 0.5, 0.2])
"""How often planes 0, 1, ... are drawn."""
_START, _END = 0.3, 0.06
"""Of the states: nothing of the plane is known, everything; in between the share is uniform."""
_NOISE = 4.0
"""Up to so many grey levels on half of the crops: photographs are JPEGs, their finest details are zero."""
_AVERAGE = 0.9985
_WARM_UP = 0.25
_SAVE_MINUTES, _LOG_MINUTES = 2.0, 0.5
_GRAPH_WARM_UP = 3


class Diverged(ValueError):
    """Weights are no longer finite."""


@dataclass(frozen=True)
class Settings:
    """What a run is like.

    minutes: of the whole run, without interruptions; steps: at most so many; batch: crops a step; crop: their
    side, a multiple of 64; rates: learning rates of CRR and of the synthesis network; decay: share of the run
    in which they fall, and in which CRR computes what integers do.
    """

    minutes: float = 9.0
    steps: int | None = None
    batch: int = 16
    crop: int = 256
    rates: tuple[float, float] = (1e-3, 5e-4)
    decay: float = 0.45
    seed: int = 1

    def share(self, minutes: float, step: int) -> float:
        """How much of the run is over."""
        return max(minutes / self.minutes, step / self.steps if self.steps else 0.0)

    def factor(self, minutes: float, step: int) -> float:
        """Of the learning rates: warm-up, constant, cosine."""
        into = (self.share(minutes, step) - 1 + self.decay) / self.decay
        cosine = 1.0 if into < 0 else 0.5 * (1 + math.cos(math.pi * min(into, 1.0))) + 0.002
        return min(1.0, minutes / _WARM_UP) * cosine


class Trainer:
    """Networks, their averages, optimiser and batch on one device; ``step`` and ``seconds`` of the run."""

    def __init__(self, settings: Settings, crops: Crops, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.step, self.seconds = 0, 0.0
        self._crops = crops
        torch.manual_seed(settings.seed)
        self.crr, self.synthesis = CRR(), Synthesis()
        self.networks = nn.ModuleDict({"crr": self.crr, "synthesis": self.synthesis}).to(device)
        self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.networks).requires_grad_(False)
        self._groups = [list(network.parameters()) for network in (self.crr, self.synthesis)]
        self._cuda = device.type == "cuda"
        # A graph reads what changes from step to step from tensors.
        self._rates = [torch.zeros((), device=device) if self._cuda else 0.0 for _ in self._groups]
        self._optimizer = torch.optim.Adam(
            [{"params": group, "lr": rate} for group, rate in zip(self._groups, self._rates, strict=True)],
            betas=(0.9, 0.98),
            capturable=self._cuda,
            foreach=True,
        )
        for parameter in self.networks.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self._move = torch.ones((), device=device)
        """Of the averages to the weights, at each step."""
        self._means = torch.from_numpy(density_tables()["means"]).to(device)
        batch = settings.batch
        self._pixels = torch.zeros(batch, 3, settings.crop, settings.crop, dtype=torch.uint8, device=device)
        self._unit, self._known, self._noise = (torch.ones(batch, device=device) for _ in range(3))
        self._sums = torch.zeros(4, device=device)
        self._run: Callable[[], None] = self._compute

    # --- states -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        for buffer, mean in zip(self.networks.buffers(), self.average.buffers(), strict=True):
            mean.copy_(buffer)
        return {
            "weights": self.networks.state_dict(),
            "average": self.average.state_dict(),
            "moments": self._optimizer.state_dict()["state"],
            "step": self.step,
            "seconds": self.seconds,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint. Raises ValueError if it is of other networks."""
        try:
            self.networks.load_state_dict(state["weights"])
            self.average.load_state_dict(state["average"])
            groups = self._optimizer.state_dict()["param_groups"]
            self._optimizer.load_state_dict({"state": state["moments"], "param_groups": groups})
            self.step, self.seconds = state["step"], state["seconds"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"not a checkpoint of these networks ({checkpoint.reason(error)})") from None
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate  # loading has put a copy there

    def begin_with(self, state: dict[str, Any]) -> None:
        """Take the weights of another run, or those of CRR alone. Raises ValueError if they do not fit."""
        state = checkpoint.networks_of(state)
        try:
            for name, network in self.networks.items():
                own = {
                    key.removeprefix(f"{name}."): t for key, t in state.items() if key.startswith(f"{name}.")
                }
                if own or name == "crr":
                    network.load_state_dict(own)
        except RuntimeError as error:
            raise ValueError(f"not weights of these networks ({checkpoint.reason(error)})") from None
        self.average.load_state_dict(self.networks.state_dict())

    def check(self) -> None:
        """Raise Diverged unless every weight is finite. Waits for the device."""
        if not all(bool(p.isfinite().all()) for p in self.networks.parameters()):
            raise Diverged(f"diverged before step {self.step}: a weight is not finite")

    # --- steps --------------------------------------------------------------------------------------

    def _draw(self, rng: np.random.Generator) -> None:
        """The next batch: crops, planes, shares known, noise."""
        self._crops.fill(self._pixels, rng)
        batch = self.settings.batch
        planes = rng.choice(len(_PLANE_WEIGHTS), batch, p=_PLANE_WEIGHTS / _PLANE_WEIGHTS.sum())
        known = np.where(rng.random(batch) < _START, 0.0, rng.random(batch))
        known = np.where(rng.random(batch) < _END, 1.5, known)
        noise = rng.random(batch) * _NOISE * (rng.random(batch) < 0.5)
        for tensor, values in (
            (self._unit, unit(0) * 3.0**planes),
            (self._known, known),
            (self._noise, noise),
        ):
            tensor.copy_(torch.from_numpy(values.astype(np.float32)), non_blocking=True)

    def _compute(self) -> None:
        """One step on the batch at hand. Nothing here waits for the device."""
        samples = self._pixels.float()
        with torch.no_grad():
            noise = self._noise[:, None, None, None] * torch.randn_like(samples)
            planes = rotate((samples + noise).round().clamp(0, 255))
            low, details = analyse(planes)
            latent = PartialLatent(low, details, self._unit)
            coded = latent.look(self.crr)
            latent.reveal(self._known, coded)
        now = latent.look(self.crr)
        rate = latent.trit_bits(now)
        # What a look tells of known elements codes nothing: the trit that would follow gives it a meaning.
        further = latent.further_bits(details, now)
        area = self.settings.crop**2
        rate, further = rate / area, further / area
        loss = (rate / (rate.detach() + 0.01) + 0.5 * further / (further.detach() + 0.01)).mean()

        with torch.no_grad():
            kept = latent.kept(coded, now)
            refined = latent.picture(kept, self._means)
            before = (refined - planes).square().mean((1, 2, 3))
            seen = synthesis_inputs(refined, latent.deviations(kept), self._unit)
        out = corrected(refined, self.synthesis(seen), self._unit)
        after = (out - planes).square().mean((1, 2, 3))
        # A ratio of logarithms would be eaten up by synthetic pictures, where tenfold gains are possible.
        left = after / (before + 0.02)
        (loss + left.mean()).backward()

        for group in self._groups:
            gradients = [p.grad for p in group if p.grad is not None]
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            torch._foreach_mul_(gradients, torch.clamp(1 / (norm + 1e-6), max=1.0))
        self._optimizer.step()
        with torch.no_grad():
            for mean, weight in zip(self.average.parameters(), self.networks.parameters(), strict=True):
                mean.lerp_(weight, self._move)
            whole = (self._known <= 0).float()
            gain = -10 * torch.log10(left.detach().median())
            self._sums += torch.stack(
                ((rate.detach() * whole).sum(), whole.sum(), gain, torch.ones_like(gain))
            )
            for group in self._groups:
                torch._foreach_zero_([p.grad for p in group if p.grad is not None])

    def capture(self, rng: np.random.Generator, report: Report) -> None:
        """Make the step one CUDA graph; plain steps where that fails."""
        self._draw(rng)
        for rate in self._rates:
            assert isinstance(rate, Tensor)
            rate.zero_()
        self._move.zero_()  # the warm-up's steps change nothing but moments
        started = time.monotonic()
        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_GRAPH_WARM_UP):
                    self._compute()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._compute()
        except RuntimeError as error:
            report(f"no CUDA graph: {checkpoint.reason(error)}")
        else:
            self._run = graph.replay
            report(f"CUDA graph captured in {time.monotonic() - started:.0f} s")
        self._sums.zero_()

    def take_step(self, rng: np.random.Generator) -> None:
        """Draw a batch and learn from it, as the schedule says for ``step`` and ``seconds``."""
        settings, minutes = self.settings, self.seconds / 60
        factor = settings.factor(minutes, self.step)
        for i, base in enumerate(settings.rates):
            rate = self._rates[i]
            if isinstance(rate, Tensor):
                rate.fill_(base * factor)
            else:
                self._optimizer.param_groups[i]["lr"] = base * factor
        quantised = settings.share(minutes, self.step) >= 1 - settings.decay
        self.crr.quantised.fill_(float(quantised))
        self._move.fill_(1 - min(_AVERAGE, (1 + self.step) / (10 + self.step)))
        self._draw(rng)
        self._run()
        self.step += 1

    def figures(self) -> dict[str, float]:
        """Means since the last call: bits per pixel of planes from their beginning, gain of the synthesis
        network (median crop). Waits for the device."""
        rate, count, gain, steps = self._sums.tolist()
        self._sums.zero_()
        return {"bpp": rate / max(count, 1), "synthesis_db": gain / max(steps, 1)}


def train(
    source: Source, folder: Path, settings: Settings, device: torch.device, start: Path | None, report: Report
) -> Path:
    """Train for what is left of ``settings.minutes``; return the checkpoint.

    folder: of the run, goes on from its checkpoint if there is one, else from ``start`` or from nothing. A
    checkpoint is written every two minutes and at the end, and log.csv grows by a row every half a minute.

    Raises Diverged, a ValueError, when a weight is not finite: the checkpoint is then the last good one.
    ValueError for unusable data, settings or checkpoints, OSError.
    """
    if settings.crop % 64:
        raise ValueError(f"crops of {settings.crop}: the side must be a multiple of 64")
    path, log = folder / CHECKPOINT, folder / "log.csv"
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    synthetic = synthetic_pictures(source.photographs, settings.seed)
    crops = Crops(source.photographs, synthetic, settings.crop, device)
    trainer = Trainer(settings, crops, device)
    if path.exists():
        trainer.load(checkpoint.read(path))
        report(f"{folder}: goes on from step {trainer.step}{', not from the given start' if start else ''}")
    elif start is not None:
        trainer.begin_with(checkpoint.read(start))
    report(f"{len(crops.photographs)} photographs, {crops.megapixels:.0f} megapixels, on {device}")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([settings.seed, trainer.step])
    if device.type == "cuda":
        torch.manual_seed(settings.seed + trainer.step)
        trainer.capture(rng, report)

    every = min(_LOG_MINUTES, settings.minutes / 6) * 60
    earlier, began = trainer.seconds, time.monotonic()
    logged, saved, logged_step = earlier, earlier, trainer.step

    def tell() -> None:
        nonlocal logged, logged_step
        trainer.check()
        taken, seconds = trainer.step - logged_step, trainer.seconds - logged
        speed = taken * settings.batch * settings.crop**2 / 1e6 / max(seconds, 1e-9)
        factor = settings.factor(trainer.seconds / 60, trainer.step)
        figures = trainer.figures() | {"mpixel_per_s": speed, "lr_factor": factor}
        append_row(log, {"step": trainer.step, "minutes": trainer.seconds / 60} | figures)
        report(
            f"{trainer.seconds / 60:.2f} min, step {trainer.step}: {figures['bpp']:.4f} bpp of whole planes, "
            f"synthesis {figures['synthesis_db']:+.3f} dB, {speed:.3g} Mpixel/s"
        )
        logged, logged_step = trainer.seconds, trainer.step

    while settings.share(trainer.seconds / 60, trainer.step) < 1:
        trainer.take_step(rng)
        if device.type == "cuda" and trainer.step % 8 == 0:
            torch.cuda.synchronize()
        trainer.seconds = earlier + time.monotonic() - began
        if trainer.seconds - logged > every:
            tell()
        if trainer.seconds - saved > _SAVE_MINUTES * 60:
            trainer.check()
            checkpoint.write(path, trainer.state())
            saved = trainer.seconds
    if trainer.step > logged_step:
        tell()
    if not path.exists() or trainer.seconds > earlier:
        trainer.check()
        checkpoint.write(path, trainer.state())
    return path
