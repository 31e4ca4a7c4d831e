"""Networks, their averages, optimiser and batch on one device: one step after the other.

On a GPU a step is one CUDA graph. With several processes (torchrun) each has a batch of its own, and they
average their gradients.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..planes.trits import unit
from . import checkpoint
from .checkpoint import Layers
from .crops import Crops
from .networks import Networks, has_fast_bfloat16
from .objective import Batch, Example, crr_loss, error_left, example, partial
from .settings import Settings
from .tables import density_tables

_PLANE_WEIGHTS = np.array([0.6, 1.2, 1.5, 1.4, 1.1, 0.5, 0.2])
"""Relative frequencies of the planes 0, 1, ... that are drawn."""
_START, _END = 0.3, 0.06
"""Shares of states in which nothing of the plane is known, and everything; uniform in between."""
_ALL = 1.5
_NOISE = 4.0
"""Up to so many grey levels on half of the crops: photographs are JPEGs, their finest details are zero."""
_AVERAGE = 0.9985
"""Decay of the running averages of weights, after their own warm-up."""
_GRAPH_WARM_UP = 3
_ROUND = 256
"""Crops whose states are held at a time where they are used more than once."""


class Diverged(ValueError):
    """Weights are no longer finite."""


class _Parameters:
    """The parameters of one network, with gradients that lie in a row, and its learning rate."""

    def __init__(self, network: nn.Module, base: float, device: torch.device) -> None:
        self.parameters = list(network.parameters())
        self.base = base
        self.gradient = torch.zeros(sum(p.numel() for p in self.parameters), device=device)
        views = self.gradient.split([p.numel() for p in self.parameters])
        for parameter, view in zip(self.parameters, views, strict=True):
            outputs, *rest = parameter.shape
            if rest:  # in the order of memory that kernels have, channels last
                inputs, height, width = rest
                parameter.grad = view.view(outputs, height, width, inputs).permute(0, 3, 1, 2)
            else:
                parameter.grad = view
        # A CUDA graph reads values that change from step to step from tensors.
        self.rate: Tensor | float = torch.zeros((), device=device) if device.type == "cuda" else 0.0


class Trainer:
    """Networks of a run and all that they learn with.

    step: steps of the run that are over.
    seconds: of the run that are over.
    told: step and seconds at the last row of the log.
    processes: number that share the run.
    process: number of this one.
    """

    def __init__(self, settings: Settings, crops: Crops, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.step, self.seconds = 0, 0.0
        self.told = [0, 0.0]
        self._crops = crops
        self.processes = dist.get_world_size() if dist.is_initialized() else 1
        self.process = dist.get_rank() if dist.is_initialized() else 0
        torch.manual_seed(settings.seed)
        shape = settings.widths, settings.synthesis_width, settings.synthesis_blocks
        self.networks = Networks(*shape).to(device)
        self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.crr, self.synthesis = self.networks.crr, self.networks.synthesis
        self.average = copy.deepcopy(self.networks).requires_grad_(False)
        self._averaged = [*self.average.parameters()], [*self.networks.parameters()]
        for network in (*self.crr.c, self.synthesis):
            network.in_bfloat16 = has_fast_bfloat16(device)
        rates = {"crr": settings.crr_rate, "synthesis": settings.synthesis_rate}
        self._learning = learning = [
            _Parameters(network, rates[name], device)
            for name, network in self.networks.named_children()
            if settings.networks in (name, "both")
        ]
        groups, cuda = (
            [{"params": part.parameters, "lr": part.rate} for part in learning],
            device.type == "cuda",
        )
        self._optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98), capturable=cuda, foreach=True)
        self.means = torch.from_numpy(density_tables()["means"]).to(device)
        self._batch = Batch.empty(settings.batch, settings.crop, device)
        self._sums = torch.zeros(4, device=device)
        self._rng = np.random.default_rng([settings.seed, self.process])
        torch.manual_seed(settings.seed + 1000 * self.process)
        self._drawn = self._random()
        self._examples: Iterator[Example] = iter(())
        self._run: Callable[[], None] = self._compute

    # --- states -------------------------------------------------------------------------------------

    def _random(self) -> dict[str, Any]:
        state = {"numpy": json.dumps(self._rng.bit_generator.state), "torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def _set_random(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = json.loads(state["numpy"])
        torch.set_rng_state(state["torch"])
        if self.device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.device)

    @property
    def _kind(self) -> str:
        return f"{self.settings.networks}{', whole files' * self.settings.whole}"

    @property
    def _round(self) -> int:
        """Steps on the same states."""
        reused = self.settings.networks == "synthesis" and self.settings.uses > 1
        return max(1, _ROUND // self.settings.batch) * self.settings.uses if reused else 1

    def state(self) -> dict[str, Any]:
        """The content of a checkpoint."""
        for buffer, mean in zip(self.networks.buffers(), self.average.buffers(), strict=True):
            mean.copy_(buffer)
        return {
            "kind": self._kind,
            "weights": self.networks.state_dict(),
            "average": self.average.state_dict(),
            "moments": self._optimizer.state_dict()["state"],
            "step": self.step,
            "seconds": self.seconds,
            "told": (*self.told, self._sums.clone()),
            "random": self._random() if self.step % self._round == 0 else self._drawn,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, to the step. Raises ValueError if it is another kind of run's."""
        if state.get("kind", self._kind) != self._kind:
            raise ValueError(f"the checkpoint is of another run (networks: {state['kind']})")
        try:
            self.networks.load_state_dict(state["weights"])
            self.average.load_state_dict(state["average"])
            groups = self._optimizer.state_dict()["param_groups"]
            self._optimizer.load_state_dict({"state": state["moments"], "param_groups": groups})
            self.step, self.seconds = state["step"], state["seconds"]
            *self.told, sums = state["told"]
            self._sums.copy_(sums)
            if self.process == 0:
                self._set_random(state["random"])
            else:
                self._rng = np.random.default_rng([self.settings.seed, self.process, self.step])
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise ValueError(f"not a checkpoint of these networks ({checkpoint.reason(error)})") from None
        for group, part in zip(self._optimizer.param_groups, self._learning, strict=True):
            group["lr"] = part.rate  # loading has put a copy there
        into = self.step % self._round
        if into:
            self._examples = self._draw_examples()
            for _ in range(into):
                next(self._examples)

    def begin_with(self, layers: Layers) -> None:
        """Take the weights of another run, or those of CRR alone. Raises ValueError if they do not fit."""
        try:
            for name, network in self.networks.named_children():
                own = checkpoint.layers_of(name, layers)
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

    def _draw(self) -> None:
        settings, rng = self.settings, self._rng
        crops = settings.batch
        self._crops.fill(self._batch.pixels, rng)
        planes: np.ndarray = rng.choice(len(_PLANE_WEIGHTS), crops, p=_PLANE_WEIGHTS / _PLANE_WEIGHTS.sum())
        known = np.where(rng.random(crops) < _START, 0.0, rng.random(crops))
        known = np.where(rng.random(crops) < _END, _ALL, known)
        if settings.whole:
            planes, known = np.zeros(crops), np.full(crops, _ALL)
        noise = rng.random(crops) * _NOISE * (rng.random(crops) < 0.5)
        for tensor, values in (
            (self._batch.unit, unit(0) * 3.0**planes),
            (self._batch.known, known),
            (self._batch.noise, noise),
        ):
            tensor.copy_(torch.from_numpy(values.astype(np.float32)), non_blocking=True)

    def _draw_examples(self) -> Iterator[Example]:
        """Batches of a round of states, each used ``uses`` times, in an order of its own each time."""
        self._drawn = self._random()
        batch, uses = self.settings.batch, self.settings.uses
        count = self._round // uses
        held = []
        for _ in range(count):
            self._draw()
            held.append(self._example())
        states = Example.joined(held)
        orders = [torch.randperm(count * batch) for _ in range(uses)]
        return (states[picked] for order in orders for picked in order.split(batch))

    def _example(self) -> Example:
        latent = partial(self.crr, self._batch)
        with torch.no_grad():
            now = latent.look(self.crr)
        return example(latent, now, self.means)

    def _compute(self) -> None:
        """Take one step on the batch at hand, without waiting for the device."""
        networks = self.settings.networks
        zeros = torch.zeros_like(self._batch.unit)
        loss, rate, left = zeros.mean(), zeros, zeros + 1
        shown: Example | None = None
        if networks == "synthesis":
            shown = next(self._examples) if self._round > 1 else self._example()
        else:
            latent = partial(self.crr, self._batch)
            now = latent.look(self.crr)
            loss, rate = crr_loss(latent, now)
            if networks == "both":
                shown = example(latent, now, self.means)
        if shown is not None:
            left = error_left(self.synthesis, shown)
        (loss + left.mean()).backward()

        for part in self._learning:
            if self.processes > 1:
                dist.all_reduce(part.gradient)
                part.gradient.div_(self.processes)
            part.gradient.mul_(torch.clamp(1 / (torch.linalg.vector_norm(part.gradient) + 1e-6), max=1.0))
        self._optimizer.step()
        with torch.no_grad():
            whole = (self._batch.known <= 0).float()
            gain = -10 * torch.log10(left.detach().median())
            self._sums += torch.stack(((rate * whole).sum(), whole.sum(), gain, torch.ones_like(gain)))
            for part in self._learning:
                part.gradient.zero_()

    def capture(self, report: Callable[[str], None]) -> None:
        """Make the step one CUDA graph, or leave it as it is where that fails."""
        self._draw()
        for part in self._learning:
            assert isinstance(part.rate, Tensor)
            part.rate.zero_()
        # With rates of zero the warm-up's steps change nothing but moments.
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

    def take_step(self) -> None:
        """Draw a batch and learn from it by the schedule's rates for ``step`` and ``seconds``."""
        settings = self.settings
        share = settings.share(self.seconds, self.step)
        factor = settings.factor(share)
        for group, part in zip(self._optimizer.param_groups, self._learning, strict=True):
            if isinstance(part.rate, Tensor):
                part.rate.fill_(part.base * factor)
            else:
                group["lr"] = part.base * factor
        self.crr.quantised.fill_(float(settings.networks == "synthesis" or share >= 1 - settings.decay))
        if self._round == 1:
            self._draw()
        elif self.step % self._round == 0:
            self._examples = self._draw_examples()
        self._run()
        self._average()
        self.step += 1

    def _average(self) -> None:
        # AveragedModel itself asks its counter how it stands: the device would be waited for at every step.
        get_ema_multi_avg_fn(min(_AVERAGE, (1 + self.step) / (10 + self.step)))(*self._averaged, self.step)

    def figures(self) -> dict[str, float]:
        """Means since the last call: bits per pixel of planes from their beginning, gain of the synthesis
        network in dB (median crop). Waits for the device."""
        if self.processes > 1:
            dist.all_reduce(self._sums)
        rate, count, gain, steps = self._sums.tolist()
        self._sums.zero_()
        told = {"bpp": rate / max(count, 1), "synthesis_db": gain / max(steps, 1)}
        unknown = {"crr": "synthesis_db", "synthesis": "bpp"}.get(self.settings.networks)
        return {name: value for name, value in told.items() if name != unknown}

    def agree(self, seconds: float) -> None:
        """Take the first process's clock, so that all have the same schedule."""
        if self.processes > 1:
            told = torch.tensor([seconds], dtype=torch.float64, device=self.device)
            dist.broadcast(told, 0)
            seconds = float(told)
        self.seconds = seconds


def begin_processes(device: torch.device) -> torch.device:
    """Join torchrun's other processes, if it started this one; return the device of this process."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def end_processes() -> bool:
    """Leave the other processes, if there are any; return whether this is the first one."""
    if not dist.is_initialized():
        return True
    first = dist.get_rank() == 0
    dist.destroy_process_group()
    return first
