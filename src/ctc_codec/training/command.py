"""``ctc train``, also ``python -m ctc_codec.training`` (for torchrun, and where no codec is installed)."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._errors import CtcError

if TYPE_CHECKING:
    import torch

    from .data import PatchStore
    from .loop import Progress
    from .model import TrainingModel

STAGE_NAMES = ("base", "crr", "cdr", "joint", "full-rate", "export")

CUDA_BATCH = 32
"""Crops a step on a GPU: with few, it waits for its launches."""

_PRIORITY_IMAGES = 40
"""Enough to measure channel priorities on, when a model is evaluated before training."""

_PATH = click.Path(path_type=Path)
_POSITIVE = click.FloatRange(min=0, min_open=True)
_COUNT = click.IntRange(min=1)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _started_from(path: Path, stage: str) -> tuple[TrainingModel, Progress | None]:
    """The model of a weights file or of a checkpoint, and what it has behind it, if in the same stage."""
    from .checkpoint import load_checkpoint
    from .export import restore
    from .loop import Progress, averaged_model

    if path.suffix != ".pt":
        return restore(path), None
    state = load_checkpoint(path)
    same = state.get("stage", "base") == stage
    return averaged_model(state), Progress.of(state | {"finished": True}) if same else None


def _export(model: TrainingModel, store: PatchStore, seed: int, path: Path) -> str:
    """Write frozen weights; returns their fingerprint in hex."""
    from .._weights import exact_fingerprint, read_weights
    from .export import export
    from .priorities import channel_priorities

    path.parent.mkdir(parents=True, exist_ok=True)
    export(model, path, channel_priorities(model.analysis, model.synthesis, store, seed))
    return exact_fingerprint(read_weights(path).arrays).hex()


def _evaluate_codec(weights: Path, folder: Path, run_dir: Path, when: dict[str, float]) -> None:
    """Rate and distortion of the real codec on a folder, reported and added to RUN/evaluation.csv."""
    from ..evaluation.codecs import TABLE_RATES, Ctc
    from ..evaluation.images import image_files
    from ..evaluation.measure import mean_psnr
    from .log import csv_log

    rates = (0.05, *TABLE_RATES)
    curve = mean_psnr(image_files(folder), Ctc(weights, rates))
    run_dir.mkdir(parents=True, exist_ok=True)
    with csv_log(run_dir / "evaluation.csv") as write_row:
        for asked, (bpp, psnr) in zip((*map(str, rates), "whole"), curve, strict=True):
            write_row({**when, "asked_bpp": asked, "bpp": bpp, "psnr": psnr})
    points = "  ".join(f"{psnr:.2f} dB at {bpp:.3f}" for bpp, psnr in curve)
    _say(f"step {when['step']:.0f}, {folder}: {points} bpp")


def _evaluate_context(model: TrainingModel, folder: Path, run_dir: Path, when: dict[str, float]) -> None:
    """What CRR and CDR are worth, plane by plane, reported and added to RUN/evaluation.csv."""
    from ..evaluation.context import measure_planes
    from .log import csv_log

    results = measure_planes(model.cpu(), folder)
    with csv_log(run_dir / "evaluation.csv") as write_row:
        for r in results:
            write_row({**when, **dataclasses.asdict(r)})
    _say(f"step {when['step']:.0f}, {folder}:")
    for r in results:
        saved = r.bpp_crr / r.bpp_table - 1 if r.bpp_table else 0.0
        _say(
            f"  plane {r.plane}: {r.bpp_table:.4f} bpp, CRR {r.bpp_crr:.4f} ({saved:+.1%});  "
            f"{r.psnr_table:.2f} dB, CDR {r.psnr_cdr:.2f} dB"
        )
    table, crr = (sum(getattr(r, name) for r in results) for name in ("bpp_table", "bpp_crr"))
    _say(f"  all planes: {table:.4f} bpp, CRR {crr:.4f} ({crr / table - 1:+.1%})")


def _need_codec() -> None:
    try:
        from .. import _codec  # noqa: F401 (is it there?)
    except ImportError as error:
        raise click.ClickException(f"--evaluate needs the codec: {error}") from None


def _when(progress: Progress) -> dict[str, float]:
    return {"step": progress.step, "patches": progress.patches, "seconds": progress.seconds}


@click.command()
@click.argument("sources", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="FOLDER|TAR...")
@click.option("--run", "run_dir", type=_PATH, required=True, help="Folder of the run.")
@click.option("--stage", type=click.Choice(STAGE_NAMES), default="base", show_default=True)
@click.option("--minutes", type=_POSITIVE, default=60.0, show_default=True, help="Ends with a decay.")
@click.option("--steps", "max_steps", type=_COUNT, help="At most so many steps, decay included.")
@click.option("--start", type=_PATH, help="Weights or checkpoint (.pt) for a new run to begin with.")
@click.option("--export", "exported", type=_PATH, help="Frozen weights. Default: RUN/ctc.safetensors.")
@click.option(
    "--parts", type=_PATH, help="Whenever saving, write the checkpoint there too, in parts of at most 15 MiB."
)
@click.option("--moments/--no-moments", default=True, help="Keep the optimiser's state in the parts.")
@click.option("--evaluate", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER",
              help="Code the images in FOLDER before and after; RUN/evaluation.csv.")  # fmt: skip
@click.option("--batch", type=_COUNT, help="Crops a step and process.  [default: 4, on CUDA 32]")
@click.option("--crop", type=click.IntRange(min=64), help="Side of the crops.  [default: 256]")
@click.option("--lambda", "lmbda", type=_POSITIVE, help="Weight of the distortion.  [default: 0.05]")
@click.option("--lr-transforms", type=_POSITIVE, help="For steps of 4 crops of 256.  [default: 0.0001]")
@click.option("--lr-entropy", type=_POSITIVE, help="Likewise.  [default: 0.001]")
@click.option("--lr-matrices", type=_POSITIVE, help="Likewise, for Muon on 1x1 layers (default: Adam).")
@click.option("--decay", "decay_share", type=click.FloatRange(0, 1, min_open=True),
              help="Share of the minutes for the final decay.  [default: 0.4]")  # fmt: skip
@click.option("--exclude", multiple=True, metavar="PREFIX", help="Leave out images named PREFIX...")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--smoke", is_flag=True, help="A one-minute rehearsal of the whole path.")
@click.option("--compile/--no-compile", "compile_model", default=None, help="Default: on CUDA only.")
@click.option("--threads", type=_COUNT, help="CPU threads (default: all cores).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def train(
    sources: tuple[Path, ...],
    run_dir: Path,
    stage: str,
    minutes: float,
    max_steps: int | None,
    start: Path | None,
    exported: Path | None,
    parts: Path | None,
    moments: bool,
    evaluate: Path | None,
    batch: int | None,
    crop: int | None,
    lmbda: float | None,
    lr_transforms: float | None,
    lr_entropy: float | None,
    lr_matrices: float | None,
    decay_share: float | None,
    exclude: tuple[str, ...],
    seed: int,
    smoke: bool,
    compile_model: bool | None,
    threads: int | None,
    device: str,
) -> None:
    """Train on photographs for some minutes, from the newest state in RUN, and export the weights.

    A run that was killed goes on where it was; a finished one gets another cycle. Parts of a checkpoint
    in RUN are joined. torchrun -m -- ctc_codec.training uses several GPUs.

    Stages: base (transforms and hyperprior); on a trained base (--start): crr and cdr (the context
    models), joint (CDR with the synthesis) and full-rate (a synthesis for whole files alone, to compare
    with); export (no training).
    """
    if not sources:
        raise click.UsageError("give at least one folder or tar shard of images")
    from .._device import resolve_device

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    given = {
        "max_steps": max_steps,
        "batch": batch,
        "crop": crop,
        "lmbda": lmbda,
        "lr_transforms": lr_transforms,
        "lr_entropy": lr_entropy,
        "lr_matrices": lr_matrices,
        "decay_share": decay_share,
    }
    try:
        _run(
            list(sources),
            run_dir,
            stage,
            {"minutes": minutes, "seed": seed} | {k: v for k, v in given.items() if v is not None},
            smoke=smoke,
            start=start,
            exported=exported or run_dir / "ctc.safetensors",
            parts=parts,
            moments=moments,
            evaluate=evaluate,
            exclude=exclude,
            compile_model=compile_model,
            device=resolve_device(device),
        )
    except (CtcError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _run(
    sources: list[Path],
    run_dir: Path,
    stage: str,
    given: dict[str, float],
    *,
    smoke: bool,
    start: Path | None,
    exported: Path,
    parts: Path | None,
    moments: bool,
    evaluate: Path | None,
    exclude: tuple[str, ...],
    compile_model: bool | None,
    device: torch.device,
) -> None:
    from .checkpoint import load_checkpoint, split
    from .data import PatchStore
    from .distributed import is_first
    from .loop import STAGES, Progress, averaged_model, check_stage, newest_state
    from .loop import train as run_training
    from .stages import Settings

    defaults = {} if stage == "export" else STAGES[stage].defaults
    if device.type == "cuda":
        defaults = {"batch": CUDA_BATCH} | defaults
    settings = dataclasses.replace(Settings(), **(defaults | given))  # type: ignore[arg-type]
    if smoke:
        settings = settings.for_smoke()
    if evaluate:
        _need_codec()

    def write_parts(checkpoint: Path) -> None:
        assert parts is not None
        split(checkpoint, parts, optimizer=moments)

    if stage == "export":
        state = newest_state(run_dir)
        if state is None:
            raise ValueError(f"{run_dir}: no checkpoint to export")
        store = PatchStore(sources, settings.crop, device, exclude, settings.image_limit)
        model = averaged_model(state).to(device)
    else:
        origin, history = _started_from(start, stage) if start else (None, None)
        if evaluate and is_first() and stage == "base":
            before, past = origin, history or Progress()
            state = newest_state(run_dir)
            if state is not None:
                check_stage(state, stage, run_dir)
                before, past = averaged_model(state), Progress.of(state)
            if before is not None:
                few = PatchStore(sources, settings.crop, device, exclude, limit=_PRIORITY_IMAGES)
                with tempfile.TemporaryDirectory() as folder:
                    weights = Path(folder) / "before.safetensors"
                    _export(before.to(device), few, settings.seed, weights)
                    _evaluate_codec(weights, evaluate, run_dir, _when(past))
        model, store = run_training(
            sources,
            run_dir,
            settings,
            stage=stage,
            start=origin,
            history=history,
            device=device,
            exclude=exclude,
            compile_model=compile_model,
            on_save=write_parts if parts is not None else None,
            report=_say,
        )
    if not is_first():
        return
    if stage != "export":
        _draw_curves(run_dir)
    from .export import context_gain, integer_overhead

    fingerprint = _export(model, store, settings.seed, exported)
    overhead = integer_overhead(model, exported, store, settings.seed)
    _say(f"{exported}: weights {fingerprint}, {overhead:+.2%} of rate against floating point")
    if model.crr is not None:
        saved, overhead = context_gain(model, exported, store, settings.seed)
        _say(f"CRR {saved:+.2%} of the rate of trits, its integers {overhead:+.2%} against floating point")
    if evaluate:
        after = _when(Progress.of(load_checkpoint(run_dir / "checkpoint.pt")))
        if stage not in ("crr", "cdr"):
            _evaluate_codec(exported, evaluate, run_dir, after)
        else:
            _evaluate_context(model, evaluate, run_dir, after)


def _draw_curves(run_dir: Path) -> None:
    from .curves import draw
    from .log import read_log

    rows = read_log(run_dir / "log.csv")
    try:
        if rows:
            draw([(run_dir.resolve().name, rows)], run_dir / "curves.png")
    except ImportError:
        _say(f"{run_dir}: no curves.png (matplotlib is not installed)")
