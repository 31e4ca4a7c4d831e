"""The optimisers of a run: Adam and, for the matrices inside the transforms' blocks, Muon."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .stages import Stage


class Optimizer:
    """Fused Adam for everything; Muon (Jordan et al., 2024) for ``stage.groups()["matrices"]``.

    Muon's steps are orthogonal matrices of the root mean square that Adam's would have. torch has it for
    parameters of two dimensions, so it is given views of the 1x1 convolutions' weights.
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
        self._matrices = groups.pop("matrices")
        self._adam = torch.optim.Adam(
            [{"params": parameters, "name": name} for name, parameters in groups.items() if parameters],
            lr=1e-4,
            fused=True,
        )
        self._views = [nn.Parameter(p.data.view(p.shape[:2])) for p in self._matrices]
        self._muon: torch.optim.Optimizer | None = None
        if self._views:
            if not hasattr(torch.optim, "Muon"):
                raise ValueError(f"lr_matrices needs Muon, which torch {torch.__version__} does not have")
            self._muon = torch.optim.Muon(
                [{"params": self._views, "name": "matrices"}],
                lr=1e-4,
                weight_decay=0.0,
                adjust_lr_fn="match_rms_adamw",
            )

    def step(self, factor: float) -> Tensor:
        """Clip the gradients and take one step at ``factor`` of the peak learning rates; forget the
        gradients. Returns their norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self._all, self._clip_norm)
        finite = norm.isfinite()
        self._adam.found_inf = (~finite).float()  # type: ignore[attr-defined]
        for optimizer in (self._adam, self._muon):
            for group in optimizer.param_groups if optimizer else ():
                group["lr"] = self._peaks[group["name"]] * factor
        self._adam.step()
        if self._muon is not None:
            for view, p in zip(self._views, self._matrices, strict=True):
                assert p.grad is not None
                view.grad = torch.where(finite, p.grad.reshape(view.shape), 0.0)
            self._muon.step()
        for p in self._all:
            p.grad = None
        return norm

    def state_dict(self) -> dict[str, Any]:
        muon = self._muon.state_dict() if self._muon is not None else None
        return {"adam": self._adam.state_dict(), "muon": muon}

    def load_state_dict(self, state: dict[str, Any] | None) -> bool:
        """Take over moments. False, and nothing done, if there are none or they are of other groups."""
        mine = self.state_dict()
        if state is None or set(state) != set(mine) or _shape_of(state) != _shape_of(mine):
            return False
        state = copy.deepcopy(state)
        self._adam.load_state_dict(state["adam"])
        if self._muon is not None:
            self._muon.load_state_dict(state["muon"])
        return True


def _shape_of(state: dict[str, Any]) -> list[list[tuple[str | None, int]] | None]:
    return [
        [(group.get("name"), len(group["params"])) for group in part["param_groups"]] if part else None
        for part in (state["adam"], state["muon"])
    ]
