"""Freezing to integers: exact, within bounds, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ctc_codec import WeightsError
from ctc_codec.codec.model import CodecModel, part
from ctc_codec.crr.inputs import INPUTS
from ctc_codec.crr.network import Network
from ctc_codec.training import freeze, networks
from ctc_codec.training.freezing_cost import load_crr

State = dict[str, np.ndarray]


def test_integer_networks_are_the_quantised_ones_to_the_bit(state: State) -> None:
    """Sums of rounded weights and activations are exact in float64; both round halves to even."""
    crr, rng = load_crr(state).double(), np.random.default_rng(0)
    arrays = freeze.crr_arrays(state, networks.GROUPS)
    for group in range(3):
        tensors = part(arrays, f"exact.crr.{group}.")
        network = Network(tensors, int(tensors.pop("halo")[0]))
        noise = rng.integers(0, 256, (1, INPUTS, 21, 33), np.uint8)
        for seen in (noise, np.where(noise > 127, np.uint8(255), np.uint8(0))):
            centre, scale = network.predict(seen)
            with torch.no_grad():
                found = crr(group, (torch.from_numpy(seen).double() - 128) / 16)
            assert np.array_equal(centre, (found[0][0] * 16).numpy())
            assert np.array_equal(scale, (found[1][0] * 8 + 40).numpy())
        assert len(np.unique(centre)) > 50
        assert len(np.unique(scale)) > 10


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("exact.crr.0.enter.weight", lambda a: np.where(a == a.max(), np.int8(64), a), "larger than"),
        ("exact.crr.1.leave.scale", lambda a: a * np.float32(0.75), "no power of two"),
        ("exact.crr.2.b.0.a.bias", lambda a: a + np.int32(1 << 24), "exact range"),
        ("synthesis.enter.bias", lambda a: a + np.float16(np.inf), "not finite"),
    ],
)
def test_bounds_are_checked(
    name: str, spoil: Callable[[np.ndarray], np.ndarray], words: str, arrays: State, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=words):
        freeze.save(arrays | {name: spoil(arrays[name])}, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_or_too_small_beside_their_bias() -> None:
    weight, bias, gain = np.zeros((2, 3, 1, 1), np.float32), np.float32([-1.2, 0]), np.ones(2, np.float32)
    weight[0, 0] = 1e-6
    layer = freeze.integer_layer(weight, bias, gain)
    assert not layer["weight"].any()
    assert np.allclose(layer["bias"] * layer["scale"] / 16, bias, atol=1e-5)
    assert np.abs(layer["bias"]).max() < 1 << 22
    for broken in (np.nan, np.inf):
        weight[1, 1] = broken
        with pytest.raises(ValueError, match="not finite"):
            freeze.integer_layer(weight, bias, gain)


def test_freezing_tells_what_it_costs(
    state: State, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, output = tmp_path / "state.pt", tmp_path / "w.safetensors"
    command = [str(checkpoint), str(folder), "-o", str(output)]
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, checkpoint)
    freeze.main(command)
    told = capsys.readouterr().out
    assert CodecModel.load(output).fingerprint.hex() in told
    all_planes = next(line for line in told.splitlines() if line.strip().startswith("all:"))
    assert abs(float(all_planes.split("bpp, ")[1].split("%")[0])) < 1  # of random networks, grouping included
    torch.save({}, checkpoint)
    with pytest.raises(SystemExit, match=r"has no enter\.weight$"):
        freeze.main(command)
    checkpoint.unlink()
    with pytest.raises(SystemExit, match=r"No such file.*state\.pt"):
        freeze.main(command)
