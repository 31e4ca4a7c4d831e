"""Where float transforms and training run."""

from __future__ import annotations

import torch

from ._errors import TargetError


def resolve_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` to a torch device. Only float transforms ever run there.

    Raises TargetError when CUDA is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise TargetError("no CUDA device is available")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
