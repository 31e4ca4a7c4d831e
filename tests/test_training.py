"""Training: data, the linear start, the loss against the real coder, resuming, the whole command."""

from __future__ import annotations

import csv
import io
import math
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ctc_codec import decode, encode, load_model
from ctc_codec._image import psnr
from ctc_codec._model import default_weights
from ctc_codec._planes import LEVELS, Planes, build_tables, code_lengths, sigma_of_level, unit_masses
from ctc_codec.evaluation.bench import synthetic_image
from ctc_codec.training.checkpoint import load_checkpoint
from ctc_codec.training.data import PatchStore
from ctc_codec.training.export import export, integer_overhead, restore
from ctc_codec.training.loop import Diverged, train
from ctc_codec.training.model import (
    PLANE_RATE,
    TrainingModel,
    gaussian_bits,
    integers,
    rate_distortion_loss,
)
from ctc_codec.training.priorities import channel_priorities
from ctc_codec.training.stages import Settings
from make_golden import TINY

CPU = torch.device("cpu")


def _quiet(_: str) -> None:
    pass


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_store_reads_folders_and_shards_alike(photos: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for path in sorted(photos.iterdir()):
            tar.add(path, arcname=f"somewhere/{path.name}")
    folder, packed = (PatchStore([source], 128, CPU) for source in (photos, shard))
    assert folder.images == packed.images == 2
    assert torch.equal(folder.batch(3, _generator()), packed.batch(3, _generator()))
    assert PatchStore([photos], 128, CPU, exclude=("fir",)).images == 1
    assert PatchStore([photos], 16, CPU).images == 3
    with pytest.raises(ValueError, match="no training image"):
        PatchStore([photos], 1000, CPU)


def test_crops_are_parts_of_the_images(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:200, 0:180].astype(np.uint8)
    picture = np.stack([rows, columns, rows // 2 + columns // 2], axis=2)
    Image.fromarray(picture).save(tmp_path / "ramp.png")
    x = PatchStore([tmp_path], 64, CPU).batch(20, _generator()) * 255
    assert x.shape == (20, 3, 64, 64)
    corners = set()
    for crop in x.round().int().numpy():
        steps = np.diff(crop[0, :, 0]), np.diff(crop[1, 0, :])
        assert abs(steps[0]).tolist() == abs(steps[1]).tolist() == [1] * 63
        top, left = int(crop[0].min()), int(crop[1].min())
        expected = picture[top : top + 64, left : left + 64]
        expected = expected[:: int(steps[0][0]), :: int(steps[1][0])]
        assert np.array_equal(crop.transpose(1, 2, 0), expected)
        corners.add((top, left, int(steps[0][0]), int(steps[1][0])))
    assert len(corners) > 15


def test_broken_training_image_is_named(tmp_path: Path) -> None:
    good = io.BytesIO()
    synthetic_image(100, 100).save(good, "PNG")
    (tmp_path / "broken.png").write_bytes(good.getvalue()[:500])
    with pytest.raises(ValueError, match=r"broken\.png"):
        PatchStore([tmp_path], 64, CPU)


def test_training_rate_is_hardly_more_than_that_of_the_coder() -> None:
    """Expected bits of the training loss, one Gaussian's, against the path frequencies of the tables, which
    are a mixture's: what the mixture saves and no more."""
    tables = build_tables()
    for level in (8, 30, 50):
        sigma = float(sigma_of_level(level))
        half = (3 ** int(tables.trits[level]) - 1) // 2
        s = np.arange(-half, half + 1)
        bits = code_lengths(tables)[tables.bases[level] + half + s + half]
        estimate = gaussian_bits(torch.from_numpy(s).float(), torch.tensor(1 / sigma)).numpy()
        weight = unit_masses(s.astype(np.float64), sigma)
        assert 1 < (weight * estimate).sum() / (weight * bits).sum() < 1.02


def test_code_lengths_add_up_the_trits() -> None:
    tables = build_tables()
    lengths = code_lengths(tables)
    rng = np.random.default_rng(0)
    level = rng.integers(0, LEVELS, 500).astype(np.int32)
    half = (3 ** tables.trits[level] - 1) // 2
    s = np.clip(np.rint(rng.normal(size=500) * sigma_of_level(level)), -half, half).astype(np.int32)
    planes, bits = Planes(level, np.zeros(500, np.int16), tables), np.zeros(500)
    for plane, elements, _ in planes:
        digits = planes.digits(s, plane, elements)
        bits[elements] -= np.log2(tables.frequencies[planes.node[elements], digits] / 65536)
        planes.advance(elements, digits)
        assert np.allclose(lengths[planes.node], bits)


def test_bits_of_known_trits_are_those_of_their_interval() -> None:
    model = TrainingModel(TINY)
    rng = np.random.default_rng(0)
    level = rng.integers(1, LEVELS, 2000)
    sigma = sigma_of_level(level)
    residual = torch.from_numpy(rng.normal(size=2000) * sigma).float().requires_grad_()
    inverse = torch.from_numpy(1 / sigma).float().requires_grad_()
    shape = (1, 2000, 1, 1)
    for missing in range(6):
        state = model.tree_state(
            integers(residual).view(shape), torch.from_numpy(level).view(shape), torch.tensor(missing)
        )
        known = model.known_bits(residual.view(shape), inverse.view(shape), state)
        low, high = (t.flatten().double().numpy() for t in (state.low - 0.5, state.high + 0.5))
        nearest = np.where(low * high < 0, 0, np.minimum(np.abs(low), np.abs(high))) / sigma
        tail = np.maximum(np.abs(low), np.abs(high)) / sigma / math.sqrt(2)
        inner = np.where(low * high < 0, np.minimum(np.abs(low), np.abs(high)), 0) / sigma / math.sqrt(2)
        erfc = np.vectorize(math.erfc)
        p = np.where(
            low * high < 0,
            1 - (erfc(tail) + erfc(inner)) / 2,
            (erfc(nearest / math.sqrt(2)) - erfc(tail)) / 2,
        )
        assert np.allclose(known.detach().flatten(), -np.log2(p), atol=2e-3, rtol=2e-3)
        for gradient in torch.autograd.grad(known.sum(), (residual, inverse)):
            assert gradient.isfinite().all()
            assert gradient.abs().max() > 0


def test_a_percent_of_rate_counts_the_same_at_every_state() -> None:
    """The weights of rate and distortion at a state undo about what the state does to both."""
    x = torch.zeros(4, 3, 16, 16)
    out = {
        "x_hat": torch.full_like(x, 0.1),
        "bits_y": torch.full((4,), 512.0),
        "bits_known": torch.full((4,), 512.0) / torch.tensor([1, PLANE_RATE, PLANE_RATE**2, 1e9]),
        "bits_z": torch.zeros(4),
    }
    missing = torch.tensor([0, 1, 2, 7])
    each = [
        float(
            rate_distortion_loss(
                {k: v[i : i + 1] for k, v in out.items()}, x[i : i + 1], missing[i : i + 1], 0.0, 1.0, 0.5
            )[0]
        )
        for i in range(4)
    ]
    assert each == pytest.approx([2.0, 2.0, 2.0, 1.0])
    plain, metrics = rate_distortion_loss(out, x, missing, 0.0)
    assert float(plain) == pytest.approx(2.0) == float(metrics["bpp"])


def test_bits_of_outliers_keep_finite_gradients() -> None:
    residual = torch.tensor([0.0, 3.0, 50.0, 5000.0], requires_grad=True)
    log_sigma = torch.tensor([-2.2] * 4, requires_grad=True)
    bits = gaussian_bits(residual, torch.exp(-log_sigma))
    bits.sum().backward()
    assert torch.isfinite(bits).all()
    assert (bits.diff() > 0).all()
    for gradient in (residual.grad, log_sigma.grad):
        assert gradient is not None
        assert torch.isfinite(gradient).all()
    assert log_sigma.grad is not None
    assert (log_sigma.grad[1:] < 0).all()


def test_partial_states_of_training_are_those_of_the_codec() -> None:
    tables = build_tables()
    model = TrainingModel(TINY, tables)
    rng = np.random.default_rng(0)
    level = rng.integers(0, LEVELS, 3000).astype(np.int32)
    half = (3 ** tables.trits[level] - 1) // 2
    s = np.clip(np.rint(rng.normal(size=3000) * sigma_of_level(level)), -half, half).astype(np.int32)
    planes = Planes(level, np.zeros(3000, np.int16), tables)
    shape = (1, 3000, 1, 1)
    for plane, elements, _ in planes:
        planes.advance(elements, planes.digits(s, plane, elements))
        all_s, all_levels = (torch.from_numpy(v).view(shape) for v in (s, level))
        known = model.tree_state(all_s, all_levels, torch.full((1, 1, 1, 1), plane))
        assert np.array_equal(known.node.flatten().numpy(), planes.node)
        assert np.array_equal(known.mean.flatten().numpy() * 64, tables.means[planes.node].astype(np.float32))
        assert (known.low <= known.mean.round()).all()
        assert (known.mean.round() <= known.high).all()
        inside = (known.low <= all_s) & (all_s <= known.high)
        assert inside.all()
        assert torch.equal(known.high - known.low + 1, 3.0**known.drop)


def test_linear_start_is_a_working_codec(photos: Path, tmp_path: Path) -> None:
    """Without a single step: the block transform alone gives a picture, at a photograph-like rate."""
    settings = Settings(minutes=1, max_steps=0, crop=128)
    model, store = train([photos], tmp_path, settings, config=TINY, device=CPU, report=_quiet)
    priority = channel_priorities(model.analysis, model.synthesis, store)
    assert np.abs(priority).max() < 100  # an orthogonal transform amplifies all channels alike
    export(model, tmp_path / "w.safetensors", priority)
    frozen = load_model(tmp_path / "w.safetensors")
    assert np.array_equal(frozen.channel_priority, priority)
    image = synthetic_image(160, 160)
    data = encode(image, weights=frozen)
    quality = psnr(np.asarray(image), np.asarray(decode(data, weights=frozen)))
    assert quality > 21  # 24 of 768 components, no training
    assert len(data) < 160 * 160 * 3 / 8


def test_training_lowers_the_loss_and_logs_it(photos: Path, tmp_path: Path) -> None:
    settings = Settings(
        max_steps=100, crop=64, batch=8, warmup_steps=5, log_every=10, lr_entropy=3e-3, lmbda=1e-3, ema=0.9
    )

    def loss(model: TrainingModel) -> float:
        """Of a fixed set of crops at full rate, without that of z, which hardly counts yet."""
        torch.manual_seed(0)
        with torch.no_grad():
            out = model(x, missing)
            return float(rate_distortion_loss(out, x, missing, settings.lmbda, z_weight=0.0)[0])

    start, store = train(
        [photos], tmp_path / "start", replace(settings, max_steps=0), config=TINY, device=CPU, report=_quiet
    )
    x, missing = store.batch(32, _generator()), torch.zeros(32, dtype=torch.int64)
    before = loss(start)
    model, _ = train([photos], tmp_path / "run", settings, config=TINY, device=CPU, report=_quiet)
    assert loss(model) < 0.997 * before
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(10, 101, 10))
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    assert float(rows[-1]["lr_factor"]) < 0.1


def test_linear_start_fits_the_bands_even_of_small_crops(photos: Path, tmp_path: Path) -> None:
    settings = Settings(max_steps=0, crop=64)
    model, _ = train([photos], tmp_path, settings, config=TINY, device=CPU, report=_quiet)
    added = model.hyper_synthesis.band_level
    assert added.isfinite().all()
    assert (added[:, -1] > added[:, 0]).all()  # means are louder than the finest details


def test_channels_of_local_means_come_first(photos: Path, tmp_path: Path) -> None:
    """Those are the ones that go through the wavelet: flat colours leave next to nothing elsewhere."""
    model, _ = train(
        [photos], tmp_path, Settings(max_steps=0, crop=128), config=TINY, device=CPU, report=_quiet
    )
    colours = torch.rand(20, 3, 1, 1, generator=_generator()).expand(-1, -1, 64, 64)
    with torch.no_grad():
        energy = model.analysis(colours).square().sum((0, 2, 3))
    assert energy[: TINY.wavelet_channels].sum() > 0.97 * energy.sum()


def test_training_goes_on_from_exported_weights(photos: Path, tmp_path: Path) -> None:
    tiny = Path(__file__).parent / "data" / "format" / "tiny.safetensors"
    restored = restore(tiny)
    export(restored, tmp_path / "again.safetensors", load_model(tiny).channel_priority)
    assert load_model(tmp_path / "again.safetensors").fingerprint == load_model(tiny).fingerprint
    settings = Settings(max_steps=3, crop=64, batch=2, warmup_steps=2, log_every=1)
    train([photos], tmp_path, settings, start=restored, device=CPU, report=_quiet)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["step"] == settings.z_ramp_steps + 3
    drift = state["model"]["analysis.down.weight"] - restore(tiny).analysis.down.weight
    assert 0 < drift.abs().max() < 1e-3


def test_integers_cost_hardly_any_rate(photos: Path, tmp_path: Path) -> None:
    """The released model, exported: integer levels, means and tables against real numbers."""
    model, path = restore(default_weights()), tmp_path / "w.safetensors"
    export(model, path)
    overhead = integer_overhead(model, path, PatchStore([photos], 256, CPU))
    assert -0.001 < overhead < 0.003
    with torch.no_grad():  # and it is noticed if they do
        model.hyper_synthesis.band_level += 2
        assert integer_overhead(model, path, PatchStore([photos], 256, CPU)) < overhead - 0.001


def test_a_finished_run_starts_a_new_cycle_from_its_weights(photos: Path, tmp_path: Path) -> None:
    settings = Settings(max_steps=6, crop=64, batch=2, warmup_steps=2, log_every=2)
    train([photos], tmp_path, settings, config=TINY, device=CPU, report=_quiet)
    first = load_checkpoint(tmp_path / "checkpoint.pt")
    train([photos], tmp_path, settings, device=CPU, report=_quiet)
    second = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (first["step"], second["step"], second["run_step"]) == (6, 12, 6)
    assert first["finished"]
    assert second["finished"]
    assert second["config"] == TINY.to_json()


def test_diverged_run_ends_and_keeps_its_last_good_checkpoint(photos: Path, tmp_path: Path) -> None:
    sane = Settings(max_steps=3, crop=64, batch=2, warmup_steps=1, log_every=1)
    train([photos], tmp_path, sane, config=TINY, device=CPU, report=_quiet)
    good = (tmp_path / "checkpoint.pt").read_bytes()
    mad = Settings(
        max_steps=300, crop=64, batch=2, warmup_steps=1, lr_transforms=1e30, lr_entropy=1e30, log_every=10
    )
    lines: list[str] = []
    with pytest.raises(Diverged):
        train([photos], tmp_path, mad, device=CPU, report=lines.append)
    assert (tmp_path / "checkpoint.pt").read_bytes() == good
    assert [line for line in lines if line.startswith("diverged")] == [
        f"diverged: back to step 3 with learning rates x {caution}" for caution in (0.5, 0.25, 0.125)
    ]
    # A new run has something to go back to from the start; at the end of its time it returns that.
    new = tmp_path / "new"
    model, _ = train(
        [photos], new, replace(mad, max_steps=8, log_every=100), config=TINY, device=CPU, report=_quiet
    )
    assert load_checkpoint(new / "checkpoint.pt")["step"] == 0
    assert all(p.isfinite().all() for p in model.parameters())


def test_diverged_run_recovers_with_smaller_steps(photos: Path, tmp_path: Path) -> None:
    """Rates that overflow at first and are harmless when halved twice."""
    sane = Settings(max_steps=3, crop=64, batch=2, warmup_steps=1, log_every=1)
    train([photos], tmp_path, sane, config=TINY, device=CPU, report=_quiet)
    wild = replace(sane, max_steps=40, log_every=10, warmup_steps=40)
    lines: list[str] = []

    def spoil(line: str) -> None:
        lines.append(line)

    original = Settings.schedule

    def schedule(self: Settings, progress: float, run_step: int) -> float:
        return original(self, progress, run_step) if any("diverged" in s for s in lines) else 1e30

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settings, "schedule", schedule)
        train([photos], tmp_path, wild, device=CPU, report=spoil)
    assert sum(line.startswith("diverged") for line in lines) == 1
    assert load_checkpoint(tmp_path / "checkpoint.pt")["finished"]
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3 + 40


def test_damaged_checkpoint_is_named(photos: Path, tmp_path: Path) -> None:
    for content in (b"", b"hello", b"PK\x03\x04 cut"):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint\.pt"):
            train([photos], tmp_path, Settings(), device=CPU, report=_quiet)


def test_killed_run_goes_on_where_it_was(photos: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle: the checkpoint is whole, and the next run takes the rest of the minutes."""
    script = (
        "import sys, torch; from pathlib import Path; from make_golden import TINY\n"
        "from ctc_codec.training.loop import train\n"
        "from ctc_codec.training.stages import Settings\n"
        "s = Settings(minutes=1, crop=64, batch=2, warmup_steps=2, log_every=5, save_every_s=0.2)\n"
        "train([Path(sys.argv[1])], Path(sys.argv[2]), s, config=TINY, device=torch.device('cpu'))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(photos), str(tmp_path)], env=environment, stdout=subprocess.DEVNULL
    )
    deadline, path = time.monotonic() + 100, tmp_path / "checkpoint.pt"
    while not (path.exists() and load_checkpoint(path)["step"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = load_checkpoint(path)
    assert not killed["finished"]
    assert 0 < killed["elapsed"] < 100
    settings = Settings(
        minutes=10, max_steps=killed["run_step"] + 4, crop=64, batch=2, warmup_steps=2, log_every=5
    )
    train([photos], tmp_path, settings, device=CPU, report=_quiet)
    done = load_checkpoint(path)
    assert done["finished"]
    assert done["step"] == killed["step"] + 4
    assert done["run_step"] == killed["run_step"] + 4
    assert done["elapsed"] > killed["elapsed"]


def test_run_whose_time_is_over_says_so_and_stays_as_it_is(photos: Path, tmp_path: Path) -> None:
    settings = Settings(max_steps=3, crop=64, batch=2, warmup_steps=1)
    train([photos], tmp_path, settings, config=TINY, device=CPU, report=_quiet)
    before, lines = (tmp_path / "checkpoint.pt").read_bytes(), []
    hurried = Settings(minutes=1e-6, crop=64, batch=2)
    train([photos], tmp_path, hurried, device=CPU, report=lines.append)
    assert "no time was left for a single step" in lines
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_crops_must_fit_the_latent(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        train([photos], tmp_path, Settings(crop=100), config=TINY, device=CPU, report=_quiet)


def test_smoke_command_trains_exports_and_codes(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ctc_codec.cli", "train", str(photos), "--run", str(tmp_path), "--smoke"]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 240  # a minute on two idle cores; these may be busy
    assert "loss" in done.stderr
    model = load_model(tmp_path / "ctc.safetensors")
    image = synthetic_image(128, 96)
    assert psnr(np.asarray(image), np.asarray(decode(encode(image, weights=model), weights=model))) > 27
