"""Where float transforms and training run, and in which precision."""

from __future__ import annotations

import functools

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


@functools.cache
def fast_bfloat16(device_type: str) -> bool:
    """Whether bfloat16 is faster than float32 there: GPUs, and CPUs with instructions for it. (On one
    without them a bfloat16 matrix product takes 100 times as long.)"""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # absent from older releases
    return device_type == "cuda" or (supported is not None and bool(supported()))


def branch_precision(device: torch.device) -> torch.autocast:
    """Branches of the transforms in bfloat16 where it pays; their residual streams stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast_bfloat16(device.type))
