"""Training: networks as the codec computes them, freezing and its bounds, a short run that codes."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from ctc_codec import Decoder, WeightsError, decode, encode
from ctc_codec.cli.train import train as train_command
from ctc_codec.codec.model import CodecModel, part
from ctc_codec.codec.picture import reconstruct
from ctc_codec.crr import density
from ctc_codec.crr.inputs import INPUTS, Level, inputs, reconstruction
from ctc_codec.crr.network import Network
from ctc_codec.planes.trits import unit
from ctc_codec.synthesis.means import refined
from ctc_codec.synthesis.network import network_inputs
from ctc_codec.training import checkpoint, freeze, networks, rate, validation, wavelet
from ctc_codec.training.crops import Crops
from ctc_codec.training.data import Source, is_held_out
from ctc_codec.training.log import keep_rows
from ctc_codec.training.loop import train
from ctc_codec.training.state import PartialLatent
from ctc_codec.training.synthetic import synthetic_pictures
from ctc_codec.training.tables import density_tables
from ctc_codec.training.trainer import Diverged, Settings, Trainer
from ctc_codec.transform.colour import rotate
from ctc_codec.transform.lifting import LEVELS, analyse, fixed_synthesise_level

CPU = torch.device("cpu")
SHORT = ("--crop", "64", "--batch", "2", "--device", "cpu", "--threads", "1")

State = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Shades, an edge and noise, uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    shades = 120 + 60 * np.sin(x / 17 + seed) * np.cos(y / 11) + 40 * (x > width // 3)
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    return (shades[..., None] + [0, 10, -20] + noise).round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures to train on, one that is held out."""
    path = tmp_path_factory.mktemp("photographs")
    held = next(name for name in (f"held-{i}.png" for i in range(1000)) if is_held_out(name))
    for i, name in enumerate(("first.png", "second.png", held)):
        Image.fromarray(_picture(96, 128, i)).save(path / name)
    return path


@pytest.fixture(scope="module")
def state() -> State:
    """Both networks with random weights everywhere: nothing is left out of what they compute."""
    torch.manual_seed(1)
    both = torch.nn.ModuleDict({"crr": networks.CRR(), "synthesis": networks.Synthesis()})
    for name, tensor in both.named_parameters():
        if "leave" in name or ".p." in name or name.endswith("b.weight"):
            torch.nn.init.normal_(tensor, std=0.05)
    return {name: tensor.numpy() for name, tensor in both.state_dict().items()}


@pytest.fixture(scope="module")
def model(state: State, tmp_path_factory: pytest.TempPathFactory) -> CodecModel:
    return freeze.save(_arrays(state), tmp_path_factory.mktemp("weights") / "random.safetensors")


def _arrays(state: State) -> State:
    return freeze.model_arrays(state, networks.GROUPS, freeze.static_scales([_picture(64, 64)]))


@torch.no_grad()
def _partial(plane: int, state: State, share: float = 0.4) -> tuple[PartialLatent, list[networks.Density]]:
    """A picture inside a plane, and the densities there, by rounded weights."""
    latent, crr = validation.partial_latent(_picture(128, 192), plane), rate.load_crr(state)
    latent.reveal(torch.tensor([share]), latent.look(crr))
    return latent, latent.look(crr)


# --- networks ---------------------------------------------------------------------------------------


def test_networks_have_the_shapes_and_names_that_checkpoints_have() -> None:
    both = torch.nn.ModuleDict({"crr": networks.CRR(), "synthesis": networks.Synthesis()})
    crr, synthesis = both["crr"], both["synthesis"]
    for level in range(LEVELS):
        centre, log_scale = crr(level, torch.zeros(2, INPUTS, 5, 7))
        assert centre.shape == log_scale.shape == (2, 9, 5, 7)
    assert synthesis(torch.randn(2, 72, 6, 5)).abs().max() == 0  # corrects nothing before it is trained
    names = {name: tuple(tensor.shape) for name, tensor in both.state_dict().items()}
    assert names["crr.quantised"] == ()
    assert names["crr.c.0.enter.weight"] == (32, 72, 3, 3)
    assert names["crr.c.1.b.1.a.weight"] == (48, 48, 3, 3)
    assert names["crr.c.2.leave.bias"] == (18,)
    assert names["synthesis.b.5.d.weight"] == (96, 1, 3, 3)
    assert names["synthesis.leave.weight"] == (48, 96, 3, 3)


def test_thirds_are_the_codecs_frequencies() -> None:
    middle, log_scale = torch.meshgrid(torch.arange(-6.0, 7), torch.arange(-4.0, 3), indexing="ij")
    p = torch.stack(networks.thirds(middle, 3.0, (torch.full_like(middle, 0.25), log_scale)))
    assert torch.allclose(p.sum(0), torch.ones_like(middle))
    centre = np.full(middle.shape, 4, np.int8)
    scale = ((log_scale + 5) * 8).numpy().astype(np.uint8)
    row = density.rows_of(middle.numpy().astype(np.int16), centre, scale)
    half = density_tables()["exact.density.frequencies"]
    frequencies = np.concatenate((half, half[:, ::-1]))[row] / 65536
    assert np.abs(p.numpy().transpose(1, 2, 0) - frequencies).max() < 33 / 65536


def test_transform_is_the_codecs() -> None:
    picture = _picture(128, 64)
    low, details = wavelet.analyse(wavelet.rotate(torch.from_numpy(picture).permute(2, 0, 1)[None].float()))
    expected_low, expected = analyse(rotate(picture, False))
    assert np.allclose(low[0], expected_low, atol=1e-2)
    for found, right in zip(details, expected, strict=True):
        assert np.allclose(found[0], right, atol=1e-3)
    assert np.allclose(wavelet.synthesise(low, details)[0], rotate(picture, False), atol=1e-2)


@pytest.mark.parametrize("plane", [1, 2, 4])
def test_states_and_inputs_are_the_codecs(plane: int, state: State, model: CodecModel) -> None:
    latent, _ = _partial(plane, state)
    seen = rate.CodedPlane(latent, model, plane).state
    context = seen.low << np.int32(4)  # in 1/16 unit
    ours = latent.low / latent.size
    for level in range(LEVELS - 1, -1, -1):
        value, known = seen.level(seen.value, level), seen.level(seen.known, level)
        parents = None
        if level + 1 < LEVELS:
            parents = seen.level(seen.value, level + 1), seen.level(seen.known, level + 1)
        children = seen.level(seen.value, level - 1) if level else None
        view = Level(level, plane, context, value, known, parents, children)
        height, width = (slice(0, side) for side in value.shape[1:])
        right = inputs(view, height, width, model.input_tables)[0].astype(np.int16) - 128
        given = torch.from_numpy(context).float()[None] / 16
        found = (networks.activation(latent.inputs(level, given))[0] * 16).numpy()
        assert np.array_equal(found[6:], right[6:])
        assert np.abs(found[:6] - right[:6]).max() <= 2  # the codec rounds the local mean
        assert np.abs(context - 16 * ours[0].numpy()).max() < 8  # and every step of the lifting
        assert np.array_equal(latent.reconstruction(level)[0] * 16, reconstruction(value, known))
        if level:
            sides = 2 * value.shape[1], 2 * value.shape[2]
            context = fixed_synthesise_level(context, reconstruction(value, known), sides)
            ours = wavelet.synthesise_level(ours, latent.reconstruction(level))


def test_means_and_deviations_are_the_decoders(state: State, model: CodecModel) -> None:
    plane = 2
    latent, densities = _partial(plane, state)
    means = latent.means(densities, torch.from_numpy(density_tables()["means"]))
    for level, (centre, log_scale) in enumerate(densities):
        above = (3 * latent.above[level][0]).short().numpy()
        scale = ((log_scale[0] + 5) * 8).byte().numpy()
        row = density.rows_of(above, (centre[0] * 16).to(torch.int8).numpy(), scale)
        value, known = latent.seen(level)[0].short().numpy(), latent.known[level][0].bool().numpy()
        expected = refined(value, known, row, unit(plane), model.densities.means)
        assert np.allclose(means[level][0], expected, rtol=1e-5, atol=1e-3)
    deviations = latent.deviations(densities)
    picture = wavelet.synthesise(latent.low, means)
    found = networks.synthesis_inputs(picture, deviations, latent.unit)
    both = deviations[0][0].numpy(), deviations[1][0].numpy()
    assert np.allclose(found[0], network_inputs(picture[0].numpy(), both, unit(plane)), atol=1e-5)


def test_synthesis_network_corrects_as_trained(state: State, model: CodecModel) -> None:
    network = networks.Synthesis()
    weights = part(state, "synthesis.")
    network.load_state_dict({name: torch.from_numpy(array).half().float() for name, array in weights.items()})
    planes, fine, coarse = (
        torch.randn(1, 3, 80, 96) * 60,
        torch.randn(1, 9, 40, 48),
        torch.randn(1, 9, 20, 24),
    )
    size = torch.tensor([unit(2)])
    with torch.no_grad():
        out = network(networks.synthesis_inputs(planes, (fine, coarse), size))
        expected = networks.corrected(planes, out, size)[0].numpy()
    assert model.synthesis is not None
    found = model.synthesis.correct(planes[0].numpy(), (fine[0].numpy(), coarse[0].numpy()), unit(2))
    assert np.abs(expected - planes[0].numpy()).max() > 1
    assert np.allclose(found, expected, atol=2e-3)


# --- freezing ---------------------------------------------------------------------------------------


def test_integer_networks_are_the_quantised_ones_to_the_bit(state: State) -> None:
    """Sums of rounded weights and activations are exact in float64; both round halves to even."""
    crr, rng = rate.load_crr(state).double(), np.random.default_rng(0)
    arrays = freeze.crr_arrays(state, networks.GROUPS)
    for group in range(3):
        tensors = part(arrays, f"exact.crr.{group}.")
        network = Network(tensors, int(tensors.pop("halo")[0]))
        noise = rng.integers(0, 256, (1, INPUTS, 21, 33), np.uint8)
        for seen in (noise, np.where(noise > 127, np.uint8(255), np.uint8(0))):
            centre, scale = network.look(seen)
            with torch.no_grad():
                found = crr(group, (torch.from_numpy(seen).double() - 128) / 16)
            assert np.array_equal(centre, (found[0][0] * 16).numpy())
            assert np.array_equal(scale, (found[1][0] * 8 + 40).numpy())
        assert len(np.unique(centre)) > 50
        assert len(np.unique(scale)) > 10


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        (
            "exact.crr.0.enter.weight",
            lambda a: np.where(a == a.max(), 64, a).astype(np.int8),
            "larger than",
        ),
        ("exact.crr.1.leave.scale", lambda a: a * np.float32(0.75), "no power of two"),
        ("exact.crr.2.b.0.a.bias", lambda a: a + np.int32(1 << 24), "exact range"),
        ("synthesis.enter.bias", lambda a: a + np.float16(np.inf), "not finite"),
    ],
)
def test_bounds_are_checked(name: str, spoil: object, words: str, state: State, tmp_path: Path) -> None:
    arrays = _arrays(state)
    arrays[name] = spoil(arrays[name])  # type: ignore[operator]
    with pytest.raises(WeightsError, match=words):
        freeze.save(arrays, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_or_too_small_beside_their_bias() -> None:
    weight, bias, gain = (
        np.zeros((2, 3, 1, 1), np.float32),
        np.array([-1.2, 0], np.float32),
        np.ones(2, np.float32),
    )
    weight[0, 0] = 1e-6
    layer = freeze.integer_layer(weight, bias, gain)
    assert not layer["weight"].any()
    assert np.allclose(layer["bias"] * layer["scale"] / 16, bias, atol=1e-5)
    assert np.abs(layer["bias"]).max() < 1 << 22
    for broken in (np.nan, np.inf):
        weight[1, 1] = broken
        with pytest.raises(ValueError, match="not finite"):
            freeze.integer_layer(weight, bias, gain)


def test_freezing_tells_what_it_costs(state: State, folder: Path, tmp_path: Path) -> None:
    checkpoint, output = tmp_path / "state.pt", tmp_path / "w.safetensors"
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, checkpoint)
    result = CliRunner().invoke(freeze.main, [str(checkpoint), str(folder), "-o", str(output)])
    assert result.exit_code == 0, result.output
    model = CodecModel.load(output)
    assert model.fingerprint.hex() in result.output
    all_planes = next(line for line in result.output.splitlines() if line.strip().startswith("all:"))
    assert abs(float(all_planes.split("bpp, ")[1].split("%")[0])) < 1  # of random networks, grouping included
    torch.save({}, checkpoint)
    result = CliRunner().invoke(freeze.main, [str(checkpoint), str(folder), "-o", str(output)])
    _assert_refused(result, "has no enter.weight")


# --- data -------------------------------------------------------------------------------------------


def test_folders_and_shards_are_read_alike(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=f"somewhere/{path.name}")
    loose, packed = Source.read([folder]), Source.read([tmp_path / "shard.tar"])
    assert [len(loose.photographs), len(loose.held_out)] == [2, 1]
    for a, b in zip(
        [*loose.photographs, *loose.held_out], [*packed.photographs, *packed.held_out], strict=True
    ):
        assert np.array_equal(a, b)
    assert len(Source.read([folder], ("fir", "held")).photographs) == 1
    Image.fromarray(_picture(40, 2000)).save(tmp_path / "wide.png")
    assert Source.read([tmp_path / "wide.png"]).photographs[0].shape == (19, 928, 3)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png"):
        Source.read([tmp_path])
    with pytest.raises(ValueError, match="no photographs"):
        Source.read([folder], ("first", "second"))


def test_some_crops_are_scaled_down() -> None:
    """Of stripes of a pixel's width nothing but grey is left at half the size."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[::2] = 200
    batch = torch.zeros(100, 3, 64, 64, dtype=torch.uint8)
    Crops([stripes], [], 64, CPU).fill(batch, np.random.default_rng(0))
    scaled = [crop for crop in batch if len(crop.unique()) > 2]
    assert 15 < len(scaled) < 45
    assert min(float(crop.float().std()) for crop in scaled) < 50
    assert all(60 < crop.float().mean() < 140 for crop in batch)


def test_crops_are_parts_of_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctc_codec.training.crops._SMALLER_SHARE", 0)
    rows, columns = np.mgrid[0:200, 0:180].astype(np.uint8)
    ramp = np.stack([rows, columns, rows // 2 + columns // 2], axis=2)
    batch = torch.zeros(40, 3, 64, 64, dtype=torch.uint8)
    Crops([ramp], [], 64, CPU).fill(batch, np.random.default_rng(0))
    seen = set()
    for crop in batch.numpy():
        turned = crop[0, 0, 0] == crop[0, -1, 0]
        part_ = crop.transpose(0, 2, 1) if turned else crop
        steps = int(part_[0, 1, 0]) - int(part_[0, 0, 0]), int(part_[1, 0, 1]) - int(part_[1, 0, 0])
        top, left = int(part_[0].min()), int(part_[1].min())
        expected = ramp[top : top + 64, left : left + 64][:: steps[0], :: steps[1]]
        assert np.array_equal(part_.transpose(1, 2, 0), expected)
        seen.add((top, left, turned, *steps))
    assert len(seen) > 30
    assert len({places[2:] for places in seen}) == 8


def test_detailed_places_are_drawn_more_often() -> None:
    half = np.full((128, 512, 3), 90, np.uint8)
    half[:, 256:] = np.random.default_rng(0).integers(0, 256, (128, 256, 3))
    batch = torch.zeros(200, 3, 64, 64, dtype=torch.uint8)
    Crops([half], [], 64, CPU).fill(batch, np.random.default_rng(0))
    flat = (batch == 90).flatten(1).all(1).float().mean()
    assert 0.15 < flat < 0.35  # 0.43 of all places


def test_synthetic_pictures_are_drawn() -> None:
    pictures = list(synthetic_pictures([_picture(200, 300)], seed=3))
    assert len(pictures) == 27
    assert all(p.dtype == np.uint8 and p.shape[2] == 3 and p.std() > 1 for p in pictures)


# --- runs -------------------------------------------------------------------------------------------


def _ctc_train(*args: object) -> Result:
    return CliRunner().invoke(train_command, [str(a) for a in args], prog_name="ctc train")


def _assert_refused(result: Result, words: str) -> None:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert words in result.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps."""
    path = tmp_path_factory.mktemp("runs") / "run"
    result = _ctc_train(folder, "--run", path, "--steps", 8, *SHORT)
    assert result.exit_code == 0, result.output
    assert "dB at 0.1 / 0.25 / 0.5 / 1 bpp" in result.stderr.splitlines()[-2]
    return path


def _rows(run: Path) -> list[dict[str, str]]:
    """The log, without what depends on time."""
    with (run / "log.csv").open() as file:
        return [
            {name: cell for name, cell in row.items() if name not in ("minutes", "mpixel_per_s")}
            for row in csv.DictReader(file)
        ]


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


@pytest.mark.parametrize("networks_", ["both", "synthesis"])
def test_interrupted_run_goes_on_to_the_step(
    networks_: str, run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same log and weights as without the interruption, which a signal makes in the middle of a step."""
    steps = 8
    command = [folder, "--steps", steps, *SHORT]
    whole = run
    if networks_ == "synthesis":
        command += ["--networks", "synthesis", "--start", run / "checkpoint.pt"]
        whole = tmp_path / "whole"
        assert _ctc_train(*command, "--run", whole).exit_code == 0
    compute, left = Trainer._compute, [5]

    def stop(self: Trainer) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGINT)
        compute(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_compute", stop)
        _assert_refused(_ctc_train(*command, "--run", tmp_path / "cut"), "interrupted at step 5")
    with (tmp_path / "cut" / "log.csv").open("a") as file:
        file.write("6,1,1,1,1,1,1,1,1\n")  # of a step that a kill has lost
    result = _ctc_train(*command, "--run", tmp_path / "cut")
    assert "goes on from step 5" in result.stderr
    assert _rows(tmp_path / "cut") == _rows(whole)
    one, other = (torch.load(path / "checkpoint.pt", weights_only=True) for path in (whole, tmp_path / "cut"))
    for name, tensor in one["average"].items():
        assert torch.equal(tensor, other["average"][name]), name
    again = _ctc_train(*command[:-2] if networks_ == "both" else command, "--run", tmp_path / "cut")
    assert again.exit_code == 0  # nothing is left to do but to freeze
    assert _rows(tmp_path / "cut") == _rows(whole)


def test_log_keeps_what_is_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    keep_rows(path, 3)
    assert not path.exists()
    lines = ["step,minutes,bpp,synthesis_db,val_bpp,val_psnr,val_db,mpixel_per_s,lr_factor"]
    lines += [f"{step},0.1,,,0.5,30,0,,1" for step in (0, 2, 4)]
    path.write_text("\n".join(lines) + "\n")
    keep_rows(path, 3)
    assert path.read_text().split() == lines[:3]


def test_networks_of_other_sizes_freeze_and_start_runs(folder: Path, tmp_path: Path) -> None:
    """Sizes are told by the weights: of a start they need not be named again."""
    sizes = ["--widths", "8,16,24", "--synthesis-width", 16, "--synthesis-blocks", 2]
    assert _ctc_train(folder, "--run", tmp_path / "one", "--steps", 1, *sizes, *SHORT).exit_code == 0
    weights = tmp_path / "one" / "ctc.safetensors"
    result = _ctc_train(folder, "--run", tmp_path / "two", "--steps", 1, "--start", weights, *SHORT)
    assert result.exit_code == 0, result.output
    layers = checkpoint.load_layers(tmp_path / "two" / "ctc.safetensors")
    assert layers["crr.c.1.enter.weight"].shape == (16, 72, 3, 3)
    assert layers["synthesis.b.1.d.weight"].shape == (16, 1, 3, 3)
    data = encode(Image.fromarray(_picture(64, 64)), weights=weights)
    assert decode(data, weights=weights).size == (64, 64)


def test_synthesis_network_alone_leaves_files_readable(run: Path, folder: Path, tmp_path: Path) -> None:
    """A weights file is as good a start as a checkpoint, and freezes to the same integers."""
    weights = run / "ctc.safetensors"
    result = _ctc_train(folder, "--run", tmp_path / "crr", "--networks", "crr", "--steps", 1, *SHORT)
    assert result.exit_code == 0, result.output
    assert CodecModel.load(tmp_path / "crr" / "ctc.safetensors").synthesis is None  # it was not trained
    arguments = ["--start", weights, "--networks", "synthesis", "--steps", 3]
    result = _ctc_train(folder, "--run", tmp_path / "new", *arguments, *SHORT)
    assert result.exit_code == 0, result.output
    old, new = (CodecModel.load(path / "ctc.safetensors") for path in (run, tmp_path / "new"))
    assert old.fingerprint == new.fingerprint
    before, after = (checkpoint.load_layers(path / "ctc.safetensors") for path in (run, tmp_path / "new"))
    assert not np.array_equal(before["synthesis.leave.weight"], after["synthesis.leave.weight"])
    data = encode(Image.fromarray(_picture(80, 80)), weights=old)
    assert decode(data, weights=new).size == (80, 80)
    _assert_refused(
        _ctc_train(folder, "--run", tmp_path / "none", "--networks", "synthesis", *SHORT), "--start"
    )
    _assert_refused(
        _ctc_train(folder, "--run", tmp_path / "new", "--networks", "crr", *arguments[:2], *SHORT),
        "another run",
    )


def test_whole_files_alone_are_the_control(run: Path, folder: Path, tmp_path: Path) -> None:
    crops = Crops([_picture(64, 64)], [], 64, CPU)
    trainer = Trainer(Settings(batch=3, crop=64, networks="synthesis", whole=True), crops, CPU)
    trainer._draw()
    assert (trainer._batch.unit == unit(0)).all()
    assert (trainer._batch.known > 1).all()
    arguments = ["--start", run / "ctc.safetensors", "--networks", "synthesis", "--whole", "--steps", 1]
    assert _ctc_train(folder, "--run", tmp_path, *arguments, *SHORT).exit_code == 0


def test_processes_share_a_run(folder: Path, tmp_path: Path) -> None:
    """Gradients are averaged over processes, the first one writes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command += [
        *("-m", "--", "ctc_codec.cli", "train"),
        str(folder),
        "--run",
        str(tmp_path / "run"),
        "--steps",
        "2",
        *SHORT,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in _rows(tmp_path / "run")] == ["0", "1", "2"]
    assert CodecModel.load(tmp_path / "run" / "ctc.safetensors").synthesis is not None


def test_frozen_run_codes_pictures(run: Path) -> None:
    weights = run / "ctc.safetensors"
    assert CodecModel.load(weights).synthesis is not None
    picture = _picture(100, 77, 5)
    data = encode(Image.fromarray(picture), quality=90, weights=weights)
    error = np.asarray(decode(data, weights=weights)).astype(float) - picture
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 40
    rough = np.asarray(decode(data[: len(data) // 3], weights=weights)).astype(float) - picture
    assert 10 * np.log10(255**2 / np.square(rough).mean()) > 15


def test_a_new_run_starts_from_crr_alone_or_from_a_checkpoint(
    run: Path, folder: Path, tmp_path: Path
) -> None:
    average = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    alone = {name: tensor.half() for name, tensor in average.items() if name.startswith("crr.")}
    torch.save(alone, tmp_path / "crr.pt")
    for start in (tmp_path / "crr.pt", run / "checkpoint.pt"):
        crops = Crops([_picture(64, 64)], [], 64, CPU)
        trainer = Trainer(Settings(batch=1, crop=64), crops, CPU)
        trainer.begin_with({n: torch.from_numpy(a) for n, a in checkpoint.load_layers(start).items()})
        for name in ("crr.c.0.enter.weight", "synthesis.leave.weight"):
            right = average[name] if name in alone or start.name == "checkpoint.pt" else 0.0
            assert torch.allclose(trainer.state()["average"][name], torch.as_tensor(right), atol=1e-3)
    torch.save({"crr.c.0.enter.weight": torch.zeros(1)}, tmp_path / "other.pt")
    result = _ctc_train(folder, "--run", tmp_path / "new", "--start", tmp_path / "other.pt", *SHORT)
    _assert_refused(result, "not weights of these networks")


def test_training_lowers_the_rate() -> None:
    crops = Crops([_picture(64, 64)], [], 64, CPU)
    trainer = Trainer(Settings(batch=4, crop=64), crops, CPU)
    trainer.seconds = 60  # past the warm-up, before the decay

    @torch.no_grad()
    def cost() -> float:
        latents = [validation.partial_latent(_picture(64, 64), plane) for plane in range(5)]
        return sum(float(latent.trit_bits(latent.look(trainer.crr))) for latent in latents)

    before = cost()
    for _ in range(20):
        trainer.take_step()
    assert cost() < 0.85 * before


def test_diverged_run_keeps_its_checkpoint(run: Path, folder: Path, tmp_path: Path) -> None:
    kept = (run / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(kept)
    mad = Settings(steps=14, batch=1, crop=64, crr_rate=1e38, synthesis_rate=1e38, decay=0.1)
    source = Source.read([folder])
    with pytest.raises(Diverged, match="not finite"):
        train(source, tmp_path, mad, CPU, None, lambda line: None)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept


def test_what_cannot_be_trained_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    _assert_refused(_ctc_train(folder, "--run", new, *SHORT[2:]), "at least 256x256")
    _assert_refused(_ctc_train(folder, "--run", new, *SHORT[2:], "--crop", 100), "multiple of 64")
    assert _ctc_train(folder, "--run", new, "--widths", "32,48", *SHORT).exit_code == 2
    _assert_refused(_ctc_train(folder, "--run", new, "--exclude", "", *SHORT), "no photographs")
    if not torch.cuda.is_available():
        _assert_refused(_ctc_train(folder, "--run", new, "--device", "cuda"), "no CUDA device")
    assert not new.exists()
    for content in (b"damaged", b""):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        _assert_refused(_ctc_train(folder, "--run", tmp_path, *SHORT), "checkpoint.pt")
    assert _ctc_train("--run", new).exit_code == 2


def test_the_command_is_imported_without_torch() -> None:
    code = "import sys, ctc_codec.cli.train; assert not {'torch', 'onnx', 'onnxruntime'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- projection -------------------------------------------------------------------------------------


def test_no_synthesis_network_contradicts_the_file(model: CodecModel) -> None:
    """Random weights: corrections of many grey levels, brought back into what the trits allow."""
    picture = _picture(128, 192, 2)
    data = encode(Image.fromarray(picture), quality=80, weights=model)
    for length in (len(data) // 6, len(data) // 2, len(data)):
        decoder = Decoder(weights=model)
        decoder.feed(data[:length])
        decoder.finish()
        state = decoder.latent().state
        plain = reconstruct(state, model, (128, 192), synthesis=False)
        assert model.synthesis is not None
        shown = reconstruct(state, model, (128, 192))
        assert np.abs(shown - plain).max() > 0.2 * unit(state.plane)
        low, details = analyse(shown)
        slack = 2e-3 * unit(state.plane)
        reach = np.where(state.low_known, 0.5, 1.5) * unit(state.low_plane)
        assert (np.abs(low - state.low * unit(state.low_plane)) <= reach + slack).all()
        for level, detail in enumerate(details):
            middle = state.level(state.value, level) * unit(state.plane)
            reach = np.where(state.level(state.known, level), 0.5, 1.5) * unit(state.plane)
            assert (np.abs(detail - middle) <= reach + slack).all()
