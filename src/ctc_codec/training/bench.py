"""Speed of training: where a step's time goes, Mpixel/s, and what share of the machine's peak that is.

python -m ctc_codec.training.bench [--device cuda --batch 32 --compile]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from .._device import branch_precision, fast_bfloat16, resolve_device
from .._errors import CtcError
from .command import CUDA_BATCH
from .data import PatchStore
from .loop import begin, compiled, prepare_device
from .stages import Settings

_MATRIX_OPS = ("convolution", "::mm", "::bmm", "::addmm", "::baddbmm")
_PROFILED_STEPS = 3


def _store(crop: int, device: torch.device) -> PatchStore:
    """Smooth noise in place of photographs: the speed does not depend on the picture."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(8):
            coarse = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            coarse.resize((1024, 1024), Image.Resampling.BICUBIC).save(Path(folder) / f"{i}.png")
        return PatchStore([Path(folder)], crop, device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(work: Callable[[], object], device: torch.device, repeat: int) -> float:
    """Median wall time of one call, the device waited for."""
    times = []
    for _ in range(repeat):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def peak_flops(device: torch.device) -> float:
    """FLOP/s of a large matrix product in the precision of the branches: what the machine does at best."""
    n = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if fast_bfloat16(device.type) else torch.float32
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    return 2 * n**3 / _seconds(lambda: a @ b, device, 9)


def _is_matrix_op(name: str, shapes: list[list[int]]) -> bool:
    if not name.startswith("aten::") or not any(part in name for part in _MATRIX_OPS):
        return False
    weights = [shape for shape in shapes if len(shape) == 4][1:]
    return not any(shape[1] == 1 for shape in weights)  # depthwise layers are no matrix products


def matrix_share(step: Callable[[], object], device: torch.device) -> float:
    """Share of the step's time spent in dense convolutions and matrix products.

    On CUDA the time of their kernels over the wall time, on a CPU their share of the operators' time.
    """
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    with profile(activities=activities, record_shapes=True) as profiler:
        started = time.perf_counter()
        for _ in range(_PROFILED_STEPS):
            step()
        _wait(device)
        wall_us = (time.perf_counter() - started) * 1e6
    matrix = total = 0.0
    for event in profiler.key_averages(group_by_input_shape=True):
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        total += spent
        if _is_matrix_op(event.key, event.input_shapes):
            matrix += spent
    return matrix / (wall_us if cuda else total)


@click.command()
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=None, help="Default: 4, on CUDA 32.")
@click.option("--crop", type=click.IntRange(min=64), default=256, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--compile/--no-compile", "compile_model", default=None, help="Default: on CUDA only.")
@click.option("--lr-matrices", type=float, default=None, help="With Muon, as in ctc train.")
@click.option("--threads", type=click.IntRange(min=1), default=None)
def main(
    device: str,
    batch: int | None,
    crop: int,
    steps: int,
    compile_model: bool | None,
    lr_matrices: float | None,
    threads: int | None,
) -> None:
    """Time one training step of the base stage and its parts."""
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        where = resolve_device(device)
    except CtcError as error:
        raise click.ClickException(str(error)) from None
    cuda = where.type == "cuda"
    prepare_device(where)
    settings = Settings(batch=batch or (CUDA_BATCH if cuda else 4), crop=crop, lr_matrices=lr_matrices)
    store = _store(crop, where)
    run = begin(Path(), None, "base", settings, store)
    run.seed_anew()
    one = torch.ones((), device=where)
    x, missing = run.batch()
    with FlopCounterMode(display=False) as counter:
        run.stage(x[:1], missing[:1], one)
    # The backward pass is twice the forward one (the counter's own number for it ignores groups).
    flops_per_pixel = 3 * counter.get_total_flops() / crop**2
    kmac_per_pixel = counter.get_total_flops() / 2e3 / crop**2

    if compile_model if compile_model is not None else cuda:
        run.network = compiled(run.stage, x, missing, click.echo)

    def step() -> None:
        run.take_step(*run.batch(), share=0.0)

    for _ in range(3):
        step()
    _wait(where)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(where)
    whole = (time.perf_counter() - started) / steps

    def forward() -> torch.Tensor:
        with branch_precision(where):
            return run.network(x, missing, one)[0]

    data = _seconds(run.batch, where, steps)
    ahead = _seconds(forward, where, steps)
    both = _seconds(lambda: forward().backward(), where, steps)
    pixels = settings.batch * crop**2
    peak = peak_flops(where)
    done = flops_per_pixel * pixels / whole
    parameters = sum(p.numel() for p in run.stage.parameters()) / 1e6
    name = torch.cuda.get_device_name(where) if cuda else f"CPU, {torch.get_num_threads()} threads"
    click.echo(f"{name}; torch {torch.__version__}; {settings.batch} crops of {crop}x{crop}")
    click.echo(f"{parameters:.1f} M parameters, {kmac_per_pixel:.1f} kMAC/pixel forward")
    click.echo("| part | ms | share |\n|---|---|---|")
    rest = max(whole - data - both, 0.0)
    for label, seconds in (
        ("data", data),
        ("forward and loss", ahead),
        ("backward", both - ahead),
        ("clipping, optimiser, EMA", rest),
        ("whole step", whole),
    ):
        click.echo(f"| {label} | {1e3 * seconds:.1f} | {seconds / whole:.0%} |")
    click.echo(f"{pixels / whole / 1e6:.3g} Mpixel/s")
    click.echo(f"{done / 1e9:.0f} GFLOP/s, {done / peak:.0%} of a large matrix product's {peak / 1e9:.0f}")
    click.echo(f"{matrix_share(step, where):.0%} of the step in matrix kernels")
    if cuda:
        click.echo(f"{torch.cuda.max_memory_allocated(where) / 2**30:.1f} GiB of device memory at most")


if __name__ == "__main__":
    main()
