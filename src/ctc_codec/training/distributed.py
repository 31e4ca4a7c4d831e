"""What several processes (torchrun) have to agree on; with one process all of it does nothing."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


def rank() -> int:
    """Number of this process, 0 if it is the only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes files, also before and after :func:`process_group`."""
    return os.environ.get("RANK", "0") == "0"


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started; yields this process's device.

    gloo for tensors on the CPU, NCCL for those on GPUs. Without torchrun's environment: nothing.
    """
    if "LOCAL_RANK" not in os.environ:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
        dist.barrier()  # nobody leaves while another may still be waiting for it
    finally:
        gc.collect()  # a wrapper that outlives the group may abort the process at its end
        dist.destroy_process_group()


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process goes through the block before the others."""
    if rank() != 0:
        dist.barrier()
    yield
    if dist.is_initialized() and rank() == 0:
        dist.barrier()


def agree(value: float) -> float:
    """The first process's value, everywhere. Goes over the CPU: a GPU need not be waited for."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor(value, dtype=torch.float64)
    dist.broadcast(shared, src=0)
    return float(shared)


def _reduced(values: torch.Tensor, operation: dist.ReduceOp.RedOpType) -> torch.Tensor:
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values, op=operation)
    return values


def total(values: torch.Tensor) -> torch.Tensor:
    """Sums over the processes, element by element."""
    return _reduced(values, dist.ReduceOp.SUM)


def largest(value: torch.Tensor) -> float:
    """The largest value of a scalar tensor among the processes. Waits for the device."""
    return float(_reduced(value, dist.ReduceOp.MAX))
