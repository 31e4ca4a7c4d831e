"""The optimisers of a run: Adam and, for the matrices inside the transforms' blocks, Muon."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .._device import fast_bfloat16
from .stages import Stage


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """About U V^T of each matrix U S V^T, by Newton-Schulz iteration, in bfloat16 where that is fast
    (singular values end between about 0.7 and 1.2). float [k, rows, columns] in, either type out."""
    x = matrices.bfloat16() if fast_bfloat16(matrices.device.type) else matrices.float()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.775, alpha=2.0315), x, beta=3.4445)
    return x.mT if tall else x


class _Muon:
    """Muon (Jordan et al., 2024): momentum, made orthogonal, with the root mean square of Adam's steps.

    torch.optim.Muon does the same, one matrix after the other: some 1,300 small launches a step, more than
    a GPU's time for the whole step. Here all matrices of a shape are one batch.
    """

    def __init__(self, parameters: list[nn.Parameter], momentum: float = 0.95) -> None:
        self._momentum = momentum
        self._groups: dict[tuple[int, int], list[nn.Parameter]] = {}
        for p in parameters:
            self._groups.setdefault((p.shape[0], p.shape[1]), []).append(p)
        self.reset()

    def reset(self) -> None:
        self._buffers = {
            shape: torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in self._groups.items()
        }

    @torch.no_grad()
    def step(self, lr: float, finite: Tensor) -> None:
        """One step, or none at all where ``finite``, a boolean scalar on the device, is false."""
        for shape, group in self._groups.items():
            gradient = torch.stack([p.grad.reshape(shape) for p in group if p.grad is not None])
            buffer = self._buffers[shape]
            buffer.copy_(torch.where(finite, buffer.lerp(gradient, 1 - self._momentum), buffer))
            change = orthogonalised(gradient.lerp(buffer, self._momentum)).float()
            change = torch.where(finite, change * (-lr * 0.2 * math.sqrt(max(shape))), 0.0)
            weights: list[Tensor] = list(group)
            torch._foreach_add_(weights, change[..., None, None].unbind())

    def state_dict(self) -> dict[str, Tensor]:
        return {f"{rows}x{columns}": buffer for (rows, columns), buffer in self._buffers.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, buffer in self.state_dict().items():
            buffer.copy_(state[name])


class Optimizer:
    """Fused Adam for everything; Muon for ``stage.groups()["matrices"]``, if any.

    Neither waits for the device, and both skip a step whose gradient is not finite.
    """

    def __init__(self, stage: Stage, lr_factor: float) -> None:
        self._clip_norm = stage.settings.clip_norm
        groups = stage.groups()
        rates = {
            "transforms": stage.settings.lr_transforms,
            "entropy": stage.settings.lr_entropy,
            "matrices": stage.settings.lr_matrices or 0.0,
        }
        self._peaks = {name: rate * lr_factor for name, rate in rates.items()}
        self._all = [p for parameters in groups.values() for p in parameters]
        matrices = groups.pop("matrices")
        self._adam = torch.optim.Adam(
            [{"params": parameters, "name": name} for name, parameters in groups.items() if parameters],
            lr=1e-4,
            fused=True,
        )
        self._muon = _Muon(matrices) if matrices else None

    def step(self, factor: float) -> Tensor:
        """Clip the gradients and take one step at ``factor`` of the peak learning rates; forget the
        gradients. Returns their norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self._all, self._clip_norm)
        finite = norm.isfinite()
        self._adam.found_inf = (~finite).float()  # type: ignore[attr-defined]
        for group in self._adam.param_groups:
            group["lr"] = self._peaks[group["name"]] * factor
        self._adam.step()
        if self._muon is not None:
            self._muon.step(self._peaks["matrices"] * factor, finite)
        for p in self._all:
            p.grad = None
        return norm

    def state_dict(self) -> dict[str, Any]:
        muon = self._muon.state_dict() if self._muon is not None else None
        return {"adam": self._adam.state_dict(), "muon": muon}

    def load_state_dict(self, state: dict[str, Any] | None) -> bool:
        """Take over moments; False, and fresh moments, if there are none or they are of other groups."""
        mine = self.state_dict()
        if state is None or set(state) != set(mine) or _shape_of(state) != _shape_of(mine):
            self._adam.state.clear()
            if self._muon is not None:
                self._muon.reset()
            return False
        self._adam.load_state_dict(state["adam"])
        if self._muon is not None:
            self._muon.load_state_dict(state["muon"])
        return True


def _shape_of(state: dict[str, Any]) -> list[object]:
    adam = [(group.get("name"), len(group["params"])) for group in state["adam"]["param_groups"]]
    muon = state["muon"] and {name: tuple(buffer.shape) for name, buffer in state["muon"].items()}
    return [adam, muon]
