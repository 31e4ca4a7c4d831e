"""Runs of ``ctc train``: logged, interrupted, shared by processes, frozen to weights that code pictures."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from ctc_codec import decode, encode
from ctc_codec.cli.train import train as train_command
from ctc_codec.codec.model import CodecModel
from ctc_codec.image.source import psnr
from ctc_codec.planes.trits import unit
from ctc_codec.training import checkpoint
from ctc_codec.training.crops import Crops
from ctc_codec.training.data import Source
from ctc_codec.training.log import append_row, draw_curves
from ctc_codec.training.loop import train
from ctc_codec.training.partial_latent import PartialLatent
from ctc_codec.training.settings import Settings
from ctc_codec.training.trainer import Diverged, Trainer
from support.pictures import photograph

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SHORT = ("--crop", "64", "--batch", "2", "--device", "cpu", "--threads", "1")


@pytest.fixture(autouse=True, scope="module")
def _short_rounds() -> Iterator[None]:
    """Rounds of six steps on the same states: a run of eight begins a second one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctc_codec.training.trainer._ROUND", 2)
        yield


def _train(run: Path, *args: object, code: int = 0) -> Result:
    """Run ``ctc train`` in this process."""
    arguments = ["--run", run, *SHORT, *args]
    result = CliRunner().invoke(train_command, [str(each) for each in arguments], prog_name="ctc train")
    assert result.exit_code == code, result.output
    return result


def _refused(run: Path, *args: object) -> str:
    """The line that says why."""
    result = _train(run, *args, code=1)
    assert isinstance(result.exception, SystemExit)
    return result.stderr.splitlines()[-1]


def _trainer(pixels: np.ndarray, **settings: object) -> Trainer:
    return Trainer(Settings(Path(), crop=64, **settings), Crops([pixels], [], 64, CPU), CPU)  # type: ignore[arg-type]


def _rows(run: Path) -> list[dict[str, str]]:
    """The log, without what depends on time."""
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: cell for k, cell in row.items() if k not in ("minutes", "mpixel_per_s")} for row in rows]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps, where one was killed before its first checkpoint."""
    path = tmp_path_factory.mktemp("runs") / "run"
    path.mkdir()
    append_row(path / "log.csv", {"step": 0, "minutes": 0.1})
    result = _train(path, folder, "--steps", 8)
    assert "dB at 0.1 / 0.25 / 0.5 / 1 bpp" in result.stderr.splitlines()[-2]
    return path


# --- the course of a run ----------------------------------------------------------------------------


def test_run_is_logged_and_ends_with_averages_of_the_decay(run: Path) -> None:
    rows = _rows(run)
    assert [int(row["step"]) for row in rows] == list(range(9))
    validated = [row for row in rows if row["val_bpp"]]
    assert [int(row["step"]) for row in validated] == [0, 2, 4, 6, 8]
    assert all(0.5 < float(row["val_bpp"]) < 2 for row in validated)
    assert all(float(row["val_psnr"]) > 15 for row in validated)
    assert rows[0]["bpp"] == ""
    assert all(float(row["lr_factor"]) > 0 for row in rows)
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    assert state["step"] == 8
    assert state["average"]["crr.quantised"] == 1  # the last steps are in the decay
    assert {float(moments["step"]) for moments in state["moments"].values()} == {8.0}
    assert state["average"]["synthesis.leave.weight"].abs().max() > 0
    with Image.open(run / "curves.png") as picture:
        assert picture.size == (900, 350)
    draw_curves(run / "none.csv", run / "none.png")  # has nothing to draw
    names = {path.name for path in run.iterdir()}
    assert names == {"checkpoint.pt", "curves.png", "log.csv", "ctc.safetensors"}


@pytest.mark.parametrize("networks", ["both", "synthesis"])
def test_interrupted_run_goes_on_to_the_step(
    networks: str, run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same log and weights as without the interruption, which a signal makes in the middle of a step."""
    command = [folder, "--steps", 8]
    whole, cut = run, tmp_path / "cut"
    if networks == "synthesis":
        command += ["--networks", "synthesis", "--start", run / "checkpoint.pt"]
        whole = tmp_path / "whole"
        _train(whole, *command)
    compute, left = Trainer._compute, [5]

    def stop(self: Trainer) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGINT)
        compute(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_compute", stop)
        assert "interrupted at step 5" in _refused(cut, *command)
    with (cut / "log.csv").open("a") as file:
        file.write("6,1,1,1,1,1,1,1,1\n")  # of a step that a kill has lost
    assert "goes on from step 5" in _train(cut, *command).stderr
    assert _rows(cut) == _rows(whole)
    one, other = (torch.load(path / "checkpoint.pt", weights_only=True) for path in (whole, cut))
    for name, tensor in one["average"].items():
        assert torch.equal(tensor, other["average"][name]), name
    _train(cut, *command)  # nothing is left to do but to freeze
    assert _rows(cut) == _rows(whole)


def test_averages_follow_the_weights() -> None:
    """Their decay is (1 + t) / (10 + t) at step t, up to 0.9985."""
    trainer = _trainer(photograph(64, 64), batch=1)
    weight, mean = (n.crr.c[0].enter.weight for n in (trainer.networks, trainer.average))
    expected = weight.detach().clone()
    for step in (0, 1, 2, 20000):
        trainer.step = step
        trainer.take_step()
        expected += (1 - min(0.9985, (1 + step) / (10 + step))) * (weight.detach() - expected)
        assert torch.allclose(mean, expected, rtol=1e-6, atol=1e-8)


def test_training_lowers_the_rate() -> None:
    trainer = _trainer(photograph(64, 64), batch=4)
    trainer.seconds = 60  # past the warm-up, before the decay

    @torch.no_grad()
    def cost() -> float:
        latents = [PartialLatent.of(photograph(64, 64), plane) for plane in range(5)]
        return sum(float(latent.trit_bits(latent.look(trainer.crr))) for latent in latents)

    before = cost()
    for _ in range(20):
        trainer.take_step()
    assert cost() < 0.85 * before


def test_processes_share_a_run(folder: Path, tmp_path: Path) -> None:
    """Gradients are averaged over processes, the first one writes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command = ["-m", "--", "ctc_codec.cli", "train", folder, "--run", tmp_path / "run", "--steps", 2, *SHORT]
    done = subprocess.run(
        [*launch, *map(str, command)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in _rows(tmp_path / "run")] == ["0", "1", "2"]
    assert CodecModel.load(tmp_path / "run" / "ctc.safetensors").synthesis is not None


def test_diverged_run_keeps_its_checkpoint(run: Path, folder: Path, tmp_path: Path) -> None:
    kept = (run / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(kept)
    mad = Settings(tmp_path, steps=14, batch=1, crop=64, crr_rate=1e38, synthesis_rate=1e38, decay=0.1)
    with pytest.raises(Diverged, match="not finite"):
        train(Source.read([folder]), mad, CPU, None, lambda line: None)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept


# --- what a run begins with, and what it leaves -------------------------------------------------------


def test_networks_of_other_sizes_freeze_and_start_runs(folder: Path, tmp_path: Path) -> None:
    """Sizes are told by the weights: of a start they need not be named again."""
    sizes = ["--widths", "8,16,24", "--synthesis-width", 16, "--synthesis-blocks", 2]
    _train(tmp_path / "one", folder, "--steps", 1, *sizes)
    weights = tmp_path / "one" / "ctc.safetensors"
    _train(tmp_path / "two", folder, "--steps", 1, "--start", weights, "--networks", "synthesis", "--whole")
    layers = checkpoint.load_layers(tmp_path / "two" / "ctc.safetensors")
    assert layers["crr.c.1.enter.weight"].shape == (16, 72, 3, 3)
    assert layers["synthesis.b.1.d.weight"].shape == (16, 1, 3, 3)


def test_synthesis_network_alone_leaves_files_readable(run: Path, folder: Path, tmp_path: Path) -> None:
    """A weights file is as good a start as a checkpoint, and freezes to the same integers."""
    start = ["--start", run / "ctc.safetensors"]
    _train(tmp_path / "crr", folder, "--networks", "crr", "--steps", 1)
    assert CodecModel.load(tmp_path / "crr" / "ctc.safetensors").synthesis is None  # it was not trained
    _train(tmp_path / "new", folder, *start, "--networks", "synthesis", "--steps", 3)
    files = [path / "ctc.safetensors" for path in (run, tmp_path / "new")]
    old, new = map(CodecModel.load, files)
    assert old.fingerprint == new.fingerprint
    before, after = map(checkpoint.load_layers, files)
    assert not np.array_equal(before["synthesis.leave.weight"], after["synthesis.leave.weight"])
    assert old.synthesis is not None
    pixels = photograph(77, 100, 5)
    data = encode(Image.fromarray(pixels), quality=90, weights=old)
    for model in (old, new):
        assert psnr(pixels, np.asarray(decode(data, weights=model))) > 40
        assert psnr(pixels, np.asarray(decode(data[: len(data) // 3], weights=model))) > 15
    assert "--start" in _refused(tmp_path / "none", folder, "--networks", "synthesis")
    assert "another run" in _refused(tmp_path / "new", folder, "--networks", "crr", *start)


def test_whole_files_alone_are_the_control() -> None:
    trainer = _trainer(photograph(64, 64), batch=3, networks="synthesis", whole=True)
    trainer._draw()
    assert (trainer._batch.unit == unit(0)).all()
    assert (trainer._batch.known > 1).all()


def test_a_new_run_starts_from_crr_alone_or_from_a_checkpoint(
    run: Path, folder: Path, tmp_path: Path
) -> None:
    average = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    alone = {name: tensor.half() for name, tensor in average.items() if name.startswith("crr.")}
    torch.save(alone, tmp_path / "crr.pt")
    for start in (tmp_path / "crr.pt", run / "checkpoint.pt"):
        trainer = _trainer(photograph(64, 64), batch=1)
        trainer.begin_with(checkpoint.load_layers(start))
        for name in ("crr.c.0.enter.weight", "synthesis.leave.weight"):
            right = average[name] if name in alone or start.name == "checkpoint.pt" else 0.0
            assert torch.allclose(trainer.state()["average"][name], torch.as_tensor(right), atol=1e-3)


# --- what cannot be done ------------------------------------------------------------------------------


def test_what_cannot_be_trained_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert "at least 128x128" in _refused(new, folder, "--crop", 128)
    assert "multiple of 64" in _refused(new, folder, "--crop", 100)
    _train(new, folder, "--widths", "32,48", code=2)
    assert "no photographs" in _refused(new, folder, "--exclude", "")
    if not torch.cuda.is_available():
        assert "no CUDA device" in _refused(new, folder, "--device", "cuda")
    _train(new, code=2)
    torch.save({"crr.c.0.enter.weight": torch.zeros(1)}, tmp_path / "other.pt")
    assert "not weights of these networks" in _refused(new, folder, "--start", tmp_path / "other.pt")
    assert not new.exists()


@pytest.mark.parametrize("content", [b"damaged", b""])
def test_damaged_checkpoints_are_told_in_one_line(content: bytes, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    for command in ([], ["--start", path]):
        result = _train(path.parent if not command else tmp_path / "new", folder, *command, code=1)
        assert result.stderr == f"Error: {path}: damaged, or not a checkpoint\n"


def test_the_command_is_imported_without_torch() -> None:
    code = "import sys, ctc_codec.cli.train; assert not {'torch', 'onnx', 'onnxruntime'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
