"""Runs of the trainer as a whole: checkpoints in parts, late data, several processes, stages, curves."""

from __future__ import annotations

import copy
import csv
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from ctc_codec._planes import MAX_TRITS, Planes, build_tables, clip_residual
from ctc_codec._weights import read_weights
from ctc_codec.evaluation.bench import synthetic_image
from ctc_codec.training import curves
from ctc_codec.training.checkpoint import PART_BYTES, join, load_checkpoint, split
from ctc_codec.training.command import STAGE_NAMES
from ctc_codec.training.command import train as train_command
from ctc_codec.training.context import Cdr, Latent
from ctc_codec.training.data import PatchStore
from ctc_codec.training.export import context_gain, export, restore
from ctc_codec.training.graft import main as graft_command
from ctc_codec.training.log import read_log
from ctc_codec.training.loop import STAGES, averaged_model, train
from ctc_codec.training.model import TrainingModel
from ctc_codec.training.optimizer import Optimizer
from ctc_codec.training.stages import Base, Settings
from make_golden import TINY

CPU = torch.device("cpu")
SHORT = Settings(max_steps=6, crop=64, batch=2, warmup_steps=2, log_every=2)
LOOP = """
import sys, torch
from pathlib import Path
from make_golden import TINY
from ctc_codec.training.loop import train
from ctc_codec.training.stages import Settings
photos, run, batch, steps = sys.argv[1:]
settings = Settings(max_steps=int(steps), crop=64, batch=int(batch), warmup_steps=5, log_every=20,
                    lmbda=1e-3, lr_entropy=3e-3)
model, _ = train([Path(photos)], Path(run), settings, config=TINY, device=torch.device("cpu"))
print("weights", sum(float(p.double().abs().sum()) for p in model.parameters()))
"""


def _quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def finished_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train([photos], folder, SHORT, config=TINY, device=CPU, report=_quiet)
    return folder


def _environment() -> dict[str, str]:
    path = str(Path(__file__).parent)
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize("optimizer", [True, False])
def test_checkpoint_travels_in_parts(finished_run: Path, tmp_path: Path, optimizer: bool) -> None:
    whole = finished_run / "checkpoint.pt"
    (tmp_path / "checkpoint-0123456789abcdef.part-1-of-1").write_bytes(b"older")
    parts = split(whole, tmp_path, optimizer=optimizer, part_bytes=100_000)
    assert sorted(tmp_path.iterdir()) == sorted(parts)
    assert len(parts) > 1
    assert max(part.stat().st_size for part in parts) <= 100_000
    assert sum(part.stat().st_size for part in parts) < (0.72 if optimizer else 0.45) * whole.stat().st_size
    assert join(tmp_path, tmp_path / "joined.pt")
    before, after = load_checkpoint(whole), load_checkpoint(tmp_path / "joined.pt")
    assert all(torch.equal(before["model"][name], after["model"][name]) for name in before["model"])
    for name, mean in before["ema"].items():
        moved = (mean - before["model"][name]).abs().max()
        assert (mean - after["ema"][name]).abs().max() <= moved / 128
    assert (after["optimizer"] is None) == (not optimizer)
    assert after["step"] == before["step"] == 6


def test_missing_or_damaged_parts_are_refused(finished_run: Path, tmp_path: Path) -> None:
    assert not join(tmp_path, tmp_path / "checkpoint.pt")
    parts = split(finished_run / "checkpoint.pt", tmp_path, part_bytes=100_000)
    content = parts[1].read_bytes()
    parts[1].unlink()
    with pytest.raises(ValueError, match=r"part 2 of \d+ .* missing"):
        join(tmp_path, tmp_path / "checkpoint.pt")
    parts[1].write_bytes(content[:-1] + b"?")
    with pytest.raises(ValueError, match="damaged"):
        join(tmp_path, tmp_path / "checkpoint.pt")
    parts[1].write_bytes(content)
    # Part of another set, newer: a copy that broke off. The complete set counts.
    shutil.copyfile(parts[0], tmp_path / "checkpoint-0123456789abcdef.part-1-of-2")
    assert not (tmp_path / "checkpoint.pt").exists()
    assert join(tmp_path, tmp_path / "checkpoint.pt")
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 6
    assert not join(tmp_path, tmp_path / "checkpoint.pt")


def test_parts_fit_the_named_size() -> None:
    assert PART_BYTES <= 15 * 1024 * 1024


def test_run_goes_on_from_parts(photos: Path, finished_run: Path, tmp_path: Path) -> None:
    """With and without the optimiser's moments: the next cycle begins at the step of the parts."""
    for name, optimizer in (("with", True), ("without", False)):
        run = tmp_path / name
        split(finished_run / "checkpoint.pt", run, optimizer=optimizer, part_bytes=100_000)
        train([photos], run, SHORT, device=CPU, report=_quiet)
        assert load_checkpoint(run / "checkpoint.pt")["step"] == 12
        # The parts are older than the checkpoint now; newer ones count again.
        train([photos], run, SHORT, device=CPU, report=_quiet)
        assert load_checkpoint(run / "checkpoint.pt")["step"] == 18
        split(finished_run / "checkpoint.pt", run, optimizer=optimizer, part_bytes=100_000)
        train([photos], run, SHORT, device=CPU, report=_quiet)
        assert load_checkpoint(run / "checkpoint.pt")["step"] == 12


def test_averaged_weights_are_what_a_run_returns(photos: Path, tmp_path: Path) -> None:
    model, _ = train([photos], tmp_path, SHORT, config=TINY, device=CPU, report=_quiet)
    again = averaged_model(load_checkpoint(tmp_path / "checkpoint.pt"))
    for (name, a), b in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_data_that_arrive_late_are_used(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    shutil.copy(photos / "first.png", folder)
    store = PatchStore([folder], 64, CPU)
    store.watch(every_s=0.05)
    shard = tmp_path / "late.tar"
    with tarfile.open(shard, "w") as tar:
        tar.add(photos / "second.png", arcname="second.png")
    half = folder / "half.tar"
    size = (photos / "second.png").stat().st_size
    for arrived in (5000, 512 + size + -size % 512):  # in the middle of a photograph, and after it
        half.write_bytes(shard.read_bytes()[:arrived])
        os.utime(half, (time.time() - 60,) * 2)
        time.sleep(0.2)
        assert store.poll() == 0
    fresh = folder / "fresh.png"
    shutil.copyfile(photos / "second.png", fresh)  # written a moment ago: may be incomplete
    os.utime(fresh, (time.time() + 600,) * 2)
    time.sleep(0.2)
    assert store.poll() == 0
    half.write_bytes(shard.read_bytes())
    os.utime(half, (time.time() - 60,) * 2)
    deadline = time.monotonic() + 20
    while not store.poll() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert store.images == 2
    assert store.megapixels == pytest.approx((400 * 300 + 300 * 350) / 1e6)
    seen = store.batch(64, torch.Generator().manual_seed(0))
    assert seen.shape == (64, 3, 64, 64)


def test_image_limit_stops_reading(photos: Path, tmp_path: Path) -> None:
    for i in range(3):
        shutil.copyfile(photos / "first.png", tmp_path / f"{i}.png")
    (tmp_path / "9.png").write_bytes(b"damaged, and never looked at")
    assert PatchStore([tmp_path], 64, CPU, limit=2).images == 2
    with pytest.raises(ValueError, match=r"9\.png"):
        PatchStore([tmp_path], 64, CPU, limit=4)


def test_huge_training_image_is_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic_image(100, 100).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"huge\.png"):
        PatchStore([tmp_path], 64, CPU)


def test_damaged_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(ValueError, match=r"bad\.tar"):
        PatchStore([tmp_path / "bad.tar"], 64, CPU)


def test_two_processes_learn_like_one_with_twice_the_batch(photos: Path, tmp_path: Path) -> None:
    """torchrun with gloo: the loss curves agree within the noise of the crops."""
    script = tmp_path / "run.py"
    script.write_text(LOOP)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    commands = {
        "two": [*torchrun, str(script), str(photos), str(tmp_path / "two"), "8", "100"],
        "one": [sys.executable, str(script), str(photos), str(tmp_path / "one"), "16", "100"],
    }
    logs = {}
    for name, command in commands.items():
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("step 100 ") == 1  # only the first process reports
        weights = [line for line in done.stdout.splitlines() if line.startswith("weights")]
        assert len(weights) == (2 if name == "two" else 1)
        assert len(set(weights)) == 1  # the processes hold the same model, to the last bit
        logs[name] = read_log(tmp_path / name / "log.csv")
    for two, one in zip(logs["two"], logs["one"], strict=True):
        assert two["step"] == one["step"]
        assert two["patches"] == one["patches"] == one["step"] * 16 * 64**2 / 256**2
        assert two["loss"] == pytest.approx(one["loss"], rel=0.05)
    assert logs["two"][-1]["loss"] < logs["two"][0]["loss"]


def test_command_under_torchrun(photos: Path, finished_run: Path, tmp_path: Path) -> None:
    """The whole command in two processes: one of them writes, exports and says so."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "--", "ctc_codec.training", str(photos), "--run", str(tmp_path / "run")]
    command += ["--start", str(finished_run / "checkpoint.pt")]
    command += ["--smoke", "--minutes", "5", "--steps", "3", "--crop", "64"]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("weights") == 1
    assert "Traceback" not in done.stderr
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["finished"]
    assert state["pixels"] == 2 * 64**2 * (2 * 3 + 6)  # three in two processes after six in one
    assert (tmp_path / "run" / "ctc.safetensors").exists()


def test_killed_run_ends_like_an_undisturbed_one(photos: Path, tmp_path: Path) -> None:
    """SIGKILL three times at arbitrary moments; the loss at the end is that of a quiet run."""
    script = tmp_path / "run.py"
    script.write_text(LOOP.replace("log_every=20", "log_every=20, save_every_s=0.3"))
    command = [sys.executable, str(script), str(photos)]
    quiet = [*command, str(tmp_path / "quiet"), "8", "160"]
    subprocess.run(quiet, env=_environment(), check=True, capture_output=True, timeout=300)
    killed, run = [*command, str(tmp_path / "killed"), "8", "160"], tmp_path / "killed"
    steps, state = [], {"finished": False}
    for _ in range(3):
        if state["finished"]:
            break
        with subprocess.Popen(killed, env=_environment(), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:  # let it get somewhere first
                if line.startswith("step"):
                    break
            time.sleep(0.4 + 0.3 * np.random.default_rng().random())
            process.kill()
        state = load_checkpoint(run / "checkpoint.pt")
        steps.append(state["step"])
    assert 0 < steps[0] < 160
    assert steps == sorted(steps)
    if not state["finished"]:
        subprocess.run(killed, env=_environment(), check=True, capture_output=True, timeout=300)
    ends = [read_log(tmp_path / name / "log.csv")[-1] for name in ("quiet", "killed")]
    assert ends[0]["step"] == ends[1]["step"] == 160
    assert ends[1]["loss"] == pytest.approx(ends[0]["loss"], rel=0.05)


def test_muon_updates_the_matrices_and_resumes(photos: Path, tmp_path: Path) -> None:
    config = replace(TINY, blocks_8=1, blocks_16=1)
    settings = replace(SHORT, lr_matrices=1e-3, lr_transforms=1e-12, lr_entropy=1e-12, warmup_steps=1)
    train([photos], tmp_path, settings, config=config, device=CPU, report=_quiet)
    first = load_checkpoint(tmp_path / "checkpoint.pt")
    assert all(buffer.abs().max() > 0 for buffer in first["optimizer"]["muon"].values())
    # It starts as zeros; now it is up to six steps of a root mean square of 0.2 lr away.
    project = first["model"]["synthesis.blocks_8.0.project.weight"]
    lr = 1e-3 * settings.lr_factor()
    assert 0.2 * lr < project.square().mean().sqrt() < 6 * 0.2 * lr * 1.2
    assert project.square().mean() > 1e6 * first["model"]["synthesis.blocks_8.0.project.bias"].square().mean()
    train([photos], tmp_path, settings, device=CPU, report=_quiet)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 12
    # Another division of the parameters: the moments are left behind, the weights are not.
    train([photos], tmp_path, SHORT, device=CPU, report=_quiet)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["optimizer"]["muon"] is None


def test_muon_is_that_of_torch() -> None:
    """Three steps on matrices of all shapes; torch's has one matrix after the other."""
    model = TrainingModel(replace(TINY, blocks_8=1, blocks_16=1))
    stage = Base(model, replace(SHORT, lr_matrices=0.01, clip_norm=1e9))
    matrices = stage.groups()["matrices"]
    assert len(matrices) == 2 * 2 * 4  # transforms, resolutions, layers
    twins = [nn.Parameter(p.detach()[:, :, 0, 0].clone()) for p in matrices]
    ours = Optimizer(stage, 1.0)
    theirs = torch.optim.Muon(twins, lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for _, p in stage.trained():
            p.grad = torch.randn(p.shape, generator=generator)
        for p, twin in zip(matrices, twins, strict=True):
            assert p.grad is not None
            twin.grad = p.grad[:, :, 0, 0].clone()
        ours.step(1.0)
        theirs.step()
    for p, twin in zip(matrices, twins, strict=True):
        step = 0.01 * 0.2 * max(twin.shape) ** 0.5 / max(twin.shape) ** 0.5
        assert (
            p[:, :, 0, 0] - twin
        ).abs().max() < 0.2 * step  # torch computes in bfloat16, ours where it is fast
        assert torch.linalg.matrix_norm(p[:, :, 0, 0] - twin) < 0.03 * 0.01 * twin.numel() ** 0.5


@pytest.mark.parametrize("lr_matrices", [None, 1e-3])
def test_step_with_a_gradient_that_is_not_finite_changes_nothing(lr_matrices: float | None) -> None:
    model = TrainingModel(replace(TINY, blocks_8=1))
    stage = Base(model, replace(SHORT, lr_matrices=lr_matrices))
    optimizer = Optimizer(stage, 1.0)
    for _, p in stage.trained():
        p.grad = torch.ones_like(p)
    model.synthesis.log_gain.grad = torch.full_like(model.synthesis.log_gain, float("nan"))
    finite = torch.full_like(model.synthesis.log_gain, 1.0)
    bad, model.synthesis.log_gain.grad = model.synthesis.log_gain.grad, finite
    assert optimizer.step(1.0).isfinite()  # from here on there is momentum
    for _, p in stage.trained():
        p.grad = torch.ones_like(p)
    model.synthesis.log_gain.grad = bad
    before = {name: p.clone() for name, p in stage.trained()}
    moments = copy.deepcopy(optimizer.state_dict()["muon"])
    assert optimizer.step(1.0).isnan()
    for name, buffer in (moments or {}).items():
        assert torch.equal(buffer, optimizer.state_dict()["muon"][name])
    assert all(torch.equal(before[name], p) for name, p in stage.trained())
    for _, p in stage.trained():
        p.grad = torch.ones_like(p)
    assert optimizer.step(1.0).isfinite()
    assert all(not torch.equal(before[name], p) for name, p in stage.trained())


def test_run_goes_on_where_the_compiler_fails(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_nothing(module: torch.nn.Module) -> object:
        def fail(*_: object) -> None:
            raise RuntimeError("no C++ compiler\nand a long story")

        return fail

    for compiler, said in (
        (compile_nothing, "not compiled: no C++ compiler"),
        (lambda m: m, "compiled in"),
    ):
        monkeypatch.setattr(torch, "compile", compiler)
        lines: list[str] = []
        train([photos], tmp_path, SHORT, config=TINY, device=CPU, compile_model=True, report=lines.append)
        assert any(line.startswith(said) for line in lines)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 12


def test_curves_are_drawn(finished_run: Path, tmp_path: Path) -> None:
    log, picture = finished_run / "log.csv", tmp_path / "curves.png"
    result = CliRunner().invoke(curves.main, [str(log), str(log), "-o", str(picture)])
    assert result.exit_code == 0, result.output
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[0] > 500
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    (tmp_path / "log.csv").write_text("step,loss\n")
    result = CliRunner().invoke(curves.main, [str(tmp_path / "log.csv"), "-o", str(picture)])
    assert result.exit_code == 1
    assert "no rows" in result.output


def test_log_row_cut_by_a_kill_is_left_out(finished_run: Path, tmp_path: Path) -> None:
    text = (finished_run / "log.csv").read_text()
    whole = read_log(finished_run / "log.csv")
    (tmp_path / "log.csv").write_text(text[: text.rindex("\n", 0, -1) + 8])
    assert repr(read_log(tmp_path / "log.csv")) == repr(whole[:-1])  # PSNR may be nan
    assert [row["step"] for row in whole] == [2, 4, 6]


def test_command_exports_a_run_without_training(photos: Path, finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    before = (run / "checkpoint.pt").read_bytes()
    arguments = [str(photos), "--run", str(run), "--stage", "export", "--crop", "64", "--device", "cpu"]
    result = CliRunner().invoke(train_command, [*arguments, "--export", str(tmp_path / "w.safetensors")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "w.safetensors").exists()
    assert (run / "checkpoint.pt").read_bytes() == before
    result = CliRunner().invoke(train_command, [*arguments[:2], str(tmp_path / "none"), *arguments[3:]])
    assert result.exit_code == 1
    assert "no checkpoint" in result.output


def test_command_evaluates_before_and_after(photos: Path, finished_run: Path, tmp_path: Path) -> None:
    """A cycle from a checkpoint, its parts, its curves, and what the codec makes of it, measured twice."""
    images = tmp_path / "images"
    images.mkdir()
    synthetic_image(96, 64).save(images / "one.png")
    run = tmp_path / "run"
    arguments = [str(photos), "--run", str(run), "--start", str(finished_run / "checkpoint.pt")]
    arguments += ["--smoke", "--minutes", "5", "--steps", "3", "--crop", "64"]
    arguments += ["--evaluate", str(images)]
    arguments += ["--parts", str(tmp_path / "parts"), "--no-moments", "--device", "cpu"]
    result = CliRunner().invoke(train_command, arguments)
    assert result.exit_code == 0, result.output
    with (run / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps = [float(row["step"]) for row in rows]
    assert len(rows) == 2 * 9
    assert steps == [6] * 9 + [6 + 3] * 9
    whole = [row for row in rows if row["asked_bpp"] == "whole"]
    assert all(5 < float(row["psnr"]) < 60 and float(row["bpp"]) > 0 for row in whole)
    assert join(tmp_path / "parts", tmp_path / "again.pt")
    assert (run / "curves.png").exists()


def test_trainer_needs_no_entropy_coder(photos: Path, tmp_path: Path) -> None:
    """On a rented GPU there may be torch, numpy, pillow, click and safetensors, and nothing else."""
    program = (
        "import sys\n"
        "for name in ('constriction', 'matplotlib', 'scipy', 'skimage'): sys.modules[name] = None\n"
        "from ctc_codec.training.command import train\n"
        "train(sys.argv[1:])\n"
    )
    arguments = [str(photos), "--run", str(tmp_path), "--smoke", "--steps", "2", "--crop", "64"]
    arguments += ["--minutes", "5"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "matplotlib is not installed" in done.stderr
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] > 0
    assert (tmp_path / "ctc.safetensors").exists()


def test_the_command_names_every_stage() -> None:
    assert (*STAGES, "export") == STAGE_NAMES


def test_wrong_stage_and_bad_arguments_are_refused(photos: Path, finished_run: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(train_command, ["--run", str(tmp_path)]).exit_code == 2
    assert runner.invoke(train_command, [str(photos), "--run", str(tmp_path), "--stage", "x"]).exit_code == 2
    (tmp_path / "bad.pt").write_bytes(b"?")
    result = runner.invoke(
        train_command, [str(photos), "--run", str(tmp_path / "r"), "--start", str(tmp_path / "bad.pt")]
    )
    assert result.exit_code == 1
    assert "damaged checkpoint" in result.output
    state = load_checkpoint(finished_run / "checkpoint.pt")
    torch.save(state | {"stage": "other"}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="stage other"):
        train([photos], tmp_path, SHORT, device=CPU, report=_quiet)


@pytest.fixture(scope="module")
def patchwork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of busy noise and flat bright ones: what the neighbourhood is like tells a lot."""
    folder = tmp_path_factory.mktemp("patchwork")
    rng = np.random.default_rng(0)
    busy = np.kron(rng.random((8, 8)) < 0.5, np.ones((64, 64)))[:, :, None]
    noise = np.kron(rng.normal(100, 60, (128, 128, 3)), np.ones((4, 4, 1)))
    pixels = np.where(busy, noise, 220 + rng.normal(0, 2, noise.shape)).clip(0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "patchwork.png")
    return folder


@pytest.fixture(scope="module")
def trained_base(patchwork: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear base whose hyperprior says the same everywhere: all that context can tell is news."""
    folder = tmp_path_factory.mktemp("base")
    settings = Settings(max_steps=0, crop=64, batch=8)
    train([patchwork], folder, settings, config=TINY, device=CPU, report=_quiet)
    state = load_checkpoint(folder / "checkpoint.pt")
    for weights in (state["model"], state["ema"]):
        weights["hyper_synthesis.leave.weight"].zero_()
    torch.save(state, folder / "checkpoint.pt")
    return folder / "checkpoint.pt"


def _base(path: Path) -> TrainingModel:
    return averaged_model(load_checkpoint(path))


def test_context_stages_begin_as_the_base(trained_base: Path, patchwork: Path) -> None:
    """Untrained, CRR gives the table's rate and CDR the conditional means, to the bit."""
    model = _base(trained_base)
    model.add_context()
    x = PatchStore([patchwork], 64, CPU).batch(4, torch.Generator().manual_seed(0))
    latent, _ = Latent.of(model, x)
    for missing in range(5):
        state = latent.state(torch.tensor(missing + 1))
        table, reduced, active = latent.trit_bits(state, torch.tensor(missing))
        assert torch.equal(table, reduced)
        assert active.sum() == (state.trits > missing).sum()
        assert torch.equal(latent.refined(state), state.mean)


def test_bits_of_all_planes_are_those_of_the_coder(trained_base: Path, patchwork: Path) -> None:
    """Summed over the planes, trit by trit, against the path frequencies in the tables."""
    model = _base(trained_base)
    model.add_context()
    crop = PatchStore([patchwork], 64, CPU).batch(1, torch.Generator().manual_seed(0))
    latent, _ = Latent.of(model, crop)
    total = 0.0
    for plane in range(MAX_TRITS):
        table, _, active = latent.trit_bits(latent.state(torch.tensor(plane + 1)), torch.tensor(plane))
        total += float((table * active).sum().detach())
    tables = build_tables()
    level = latent.level.flatten().numpy()
    s = clip_residual(latent.s.flatten().numpy(), level, tables)
    planes, bits = Planes(level, np.zeros(len(level), np.int16), tables), 0.0
    for plane, elements, _ in planes:
        digits = planes.digits(s, plane, elements)
        bits -= np.log2(tables.frequencies[planes.node[elements], digits] / 65536).sum()
        planes.advance(elements, digits)
    assert total == pytest.approx(bits, rel=1e-4)
    assert bits > 500


@pytest.mark.parametrize("stage", ["crr", "cdr", "joint", "full-rate"])
def test_context_stage_learns_and_leaves_the_rest_alone(
    stage: str, trained_base: Path, patchwork: Path, tmp_path: Path
) -> None:
    base = _base(trained_base)
    settings = Settings(
        max_steps=60,
        crop=64,
        batch=8,
        warmup_steps=5,
        log_every=15,
        lr_entropy=2e-3,
        lr_transforms=5e-4,
        full_share=1.0 if stage == "full-rate" else 0.2,
        ema=0.9,
        latents=64,
    )
    model, store = train(
        [patchwork], tmp_path, settings, stage=stage, start=_base(trained_base), device=CPU, report=_quiet
    )
    learned = {"joint": ("cdr", "synthesis"), "full-rate": ("synthesis",)}.get(stage, (stage,))
    for name, tensor in base.state_dict().items():
        if not name.startswith(learned):
            assert torch.equal(tensor, model.state_dict()[name]), name
    x = store.batch(16, torch.Generator().manual_seed(5))
    latent, mu = Latent.of(model, x)
    gains = []
    for missing in {"joint": (5, 6, 7), "full-rate": (0,)}.get(stage, (1, 2, 3)):
        if stage == "crr":
            bits = latent.trit_bits(latent.state(torch.tensor(missing + 1)), torch.tensor(missing))
            table, reduced = (float((b * bits[2]).sum().detach()) for b in bits[:2])
            gains.append(1 - reduced / table)
        else:
            state = latent.state(torch.tensor(missing))
            refined = state.mean if stage == "full-rate" else latent.refined(state)
            before, after = base.synthesis(mu + state.mean) - x, model.synthesis(mu + refined) - x
            gains.append(1 - float((after.square().mean() / before.square().mean()).detach()))
            assert (state.low <= refined).all()
            assert (refined <= state.high).all()
    if stage != "cdr":  # has little to learn here, see the next test
        assert np.mean(gains) > {"crr": 0.01, "joint": 0.003, "full-rate": 0.0003}[stage]
    train([patchwork], tmp_path, SHORT, stage=stage, device=CPU, report=_quiet)  # and resumes
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] > 60


def test_cdr_learns_what_neighbours_tell() -> None:
    """Residuals that are the same all over a neighbourhood, but for a little noise."""
    torch.manual_seed(0)
    model = TrainingModel(TINY, context=True)
    stage = Cdr(model, Settings(batch=16, crop=128))
    optimizer = torch.optim.Adam([p for _, p in stage.trained()], 3e-3)
    losses = []
    for _ in range(120):
        field = torch.nn.functional.interpolate(
            torch.randn(16, TINY.latent_channels, 2, 2) * 20, scale_factor=4, mode="bilinear"
        )
        s = (field + torch.randn_like(field)).round()
        latents = torch.cat((s, torch.full_like(s, 42)), dim=1).to(torch.int16)
        loss, _ = stage(latents, torch.randint(1, 4, (16,)), torch.ones(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(1)
    assert np.mean(losses[-10:]) < 0.98


def test_states_inside_a_plane_are_those_of_the_codec(trained_base: Path, patchwork: Path) -> None:
    """The elements known after a share of a plane are the first ones of the codec's order."""
    model = _base(trained_base)
    store = PatchStore([patchwork], 64, CPU)
    model.measure_channel_priority(store)
    assert model.channel_priority.unique().numel() > 3
    latent, _ = Latent.of(model, store.batch(1, torch.Generator().manual_seed(0)))
    tables = build_tables()
    level = latent.level.flatten().numpy()
    s = clip_residual(latent.s.flatten().numpy(), level, tables)
    weight = model.channel_priority.numpy().astype(np.int16).repeat(latent.level[0, 0].numel())
    planes = Planes(level, weight, tables)
    compared = 0
    for plane, elements, _ in planes:
        priority = tables.priorities[planes.node] + weight
        for share in (0.0, 0.3, 1.0):
            cut = latent.cut(torch.tensor(plane).view(1, 1, 1, 1), torch.tensor(share).view(1, 1, 1, 1))
            known = (cut.drop == plane).flatten().numpy() & (cut.trits > plane).flatten().numpy()
            assert known.sum() == round(share * len(elements))
            # Which ones of equal priority come first may differ.
            assert sorted(priority[known]) == sorted(priority[elements[: known.sum()]])
            compared += int(known.sum())
        planes.advance(elements, planes.digits(s, plane, elements))
    assert compared > 1000


def test_parts_of_several_runs_are_put_together(trained_base: Path, patchwork: Path, tmp_path: Path) -> None:
    weights, joined = tmp_path / "base.safetensors", tmp_path / "joined.safetensors"
    export(_base(trained_base), weights, np.arange(TINY.latent_channels, dtype=np.int16))
    runs = {}
    for stage in ("crr", "joint"):
        settings = replace(SHORT, latents=8)
        train([patchwork], tmp_path / stage, settings, stage=stage, start=restore(weights), device=CPU,
              report=_quiet)  # fmt: skip
        runs[stage] = tmp_path / stage / "checkpoint.pt"
    arguments = [str(weights), "-o", str(joined), "--crr", str(runs["crr"])]
    for part in ("--cdr", "--synthesis"):
        arguments += [part, str(runs["joint"])]
    result = CliRunner().invoke(graft_command, arguments)
    assert result.exit_code == 0, result.output
    arrays, before = read_weights(joined).arrays, read_weights(weights).arrays
    assert "exact.crr.own.weight" in arrays
    assert np.array_equal(arrays["exact.channel_priority"], np.arange(TINY.latent_channels))
    for name in ("synthesis.up.weight", "cdr.network.own.weight"):
        trained = averaged_model(load_checkpoint(runs["joint"])).state_dict()[name].numpy()
        assert np.array_equal(arrays[name], trained.astype(np.float16))
    assert not np.array_equal(arrays["synthesis.up.weight"], before["synthesis.up.weight"])
    assert np.array_equal(arrays["analysis.down.weight"], before["analysis.down.weight"])
    result = CliRunner().invoke(graft_command, [*arguments[:3], "--cdr", str(trained_base)])
    assert result.exit_code == 1
    assert "has no cdr" in result.output


def test_integers_of_context_cost_hardly_any_rate(
    trained_base: Path, patchwork: Path, tmp_path: Path
) -> None:
    settings = Settings(max_steps=60, crop=64, batch=8, warmup_steps=5, lr_entropy=2e-3, ema=0.9, latents=64)
    model, store = train(
        [patchwork], tmp_path, settings, stage="crr", start=_base(trained_base), device=CPU, report=_quiet
    )
    export(model, tmp_path / "w.safetensors", None)
    saved, overhead = context_gain(model, tmp_path / "w.safetensors", store)
    assert saved < -0.01
    assert abs(overhead) < 0.003


def test_command_measures_context_models_plane_by_plane(
    trained_base: Path, patchwork: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    synthetic_image(100, 70).save(images / "one.png")  # sides that are no multiples of 16
    run = tmp_path / "run"
    arguments = [str(patchwork), "--run", str(run), "--stage", "crr", "--smoke", "--steps", "3"]
    result = CliRunner().invoke(train_command, [*arguments, "--crop", "64"])
    assert result.exit_code == 1
    assert "needs a trained base" in result.output
    arguments += ["--crop", "64", "--start", str(trained_base), "--evaluate", str(images)]
    result = CliRunner().invoke(train_command, arguments)
    assert result.exit_code == 0, result.output
    assert "all planes" in result.output
    with (run / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["plane"]) for row in rows] == list(range(MAX_TRITS - 1, -1, -1))
    quality = [float(row["psnr_table"]) for row in rows]
    assert quality[-1] > quality[0] + 3


@pytest.mark.filterwarnings("ignore::UserWarning")  # the profiler's own
def test_bench_accounts_for_the_step() -> None:
    arguments = ["--steps", "1", "--batch", "1", "--crop", "64", "--device", "cpu", "--threads", "1"]
    command = [sys.executable, "-m", "ctc_codec.training.bench", *arguments]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=True)
    assert " 61.1 kMAC/pixel forward" in done.stdout
    share = re.search(r"(\d+)% of the step in matrix kernels", done.stdout)
    assert share is not None
    assert 2 < int(share[1]) < 100  # one small crop: the optimiser is most of it where arithmetic is slow
    assert re.search(r"^[\d.e-]+ Mpixel/s$", done.stdout, re.M)
