"""The same file gives the same latent under every setting of the machine: the quick part of
``make exactness``, and the arithmetic by which it is so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.numpy import save_file

from ctc_codec import CodecModel, WeightsError, load_model
from ctc_codec._exact import LAYERS, SUM_LIMIT, ExactConv, ExactHyperSynthesis, quantise_conv
from ctc_codec._hyperprior import HyperSynthesis
from ctc_codec._model import default_weights
from ctc_codec._planes import LEVELS
from exactness_cells import AGREED, CELLS, NOT_HERE, Cell, run


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.quick], ids=lambda cell: cell.name)
def test_golden_latents(cell: Cell) -> None:
    result = run(cell)
    # Not here: the latents were the same, but the setting could not be what it is elsewhere.
    assert result.verdict in (AGREED, NOT_HERE), (result.note, result.differing)


@pytest.fixture
def without_onednn() -> Iterator[None]:
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    yield
    torch.backends.mkldnn.enabled = before


@pytest.mark.usefixtures("without_onednn")
@pytest.mark.parametrize("groups", [1, 12], ids=["dense", "depthwise"])
def test_batches_of_any_size_are_exact(groups: int) -> None:
    """float32 as in the context model. From 16 images on torch takes NNPACK, which is not exact."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(-127, 128, (17, 12, 7, 9), generator=generator).float()
    weight = torch.randint(-255, 256, (12, 12 // groups, 3, 3), generator=generator).float()
    conv = ExactConv(weight, torch.zeros(12), torch.full((12,), 3.0), groups)
    expected = F.conv2d(images.double(), weight.double(), padding=1, groups=groups)
    assert torch.equal(conv.accumulate(images).double(), expected)


def test_integer_layer_equals_integer_arithmetic() -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(-60000, 60000, (5, 6, 7))
    w, b = rng.integers(-32767, 32767, (4, 5, 3, 3)), rng.integers(-(10**9), 10**9, 4)
    shift = np.array([1, 7, 12, 20])
    conv = ExactConv(*(torch.from_numpy(v.astype(np.float64)) for v in (w, b, shift)))
    got = conv(torch.from_numpy(a.astype(np.float64))[None])[0].numpy().astype(np.int64)
    padded = np.pad(a, ((0, 0), (1, 1), (1, 1)))
    for o in range(4):
        for i in range(6):
            for j in range(7):
                total = int((padded[:, i : i + 3, j : j + 3] * w[o]).sum()) + int(b[o])
                assert got[o, i, j] == (total + (1 << int(shift[o]) - 1)) >> int(shift[o])


def test_layers_that_may_leave_the_exact_range_are_refused() -> None:
    big = torch.full((1, 4, 1, 1), SUM_LIMIT / 4 // 63, dtype=torch.float64)
    one, eight = torch.ones(1, dtype=torch.float64), torch.full((1,), 8.0)
    ExactConv(big, one, eight).validate(62, SUM_LIMIT)
    with pytest.raises(WeightsError, match="exact range"):
        ExactConv(big, one, eight).validate(64, SUM_LIMIT)
    with pytest.raises(WeightsError, match="fractions"):
        ExactConv(torch.full((1, 1, 1, 1), 0.5).double(), one, eight).validate(1, SUM_LIMIT)


def test_quantisation_loses_little() -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(8, 16, 3, 3) / 12, torch.randn(8), torch.rand(1, 16, 9, 9) * 10
    conv = quantise_conv(weight, bias, 10, torch.full((8,), 10.0))
    got = conv((x * 1024).round().double()) / 1024
    assert (got - F.conv2d(x, weight, bias, padding=1)).abs().max() < 0.01


def test_integer_network_follows_the_float_one() -> None:
    model = load_model()
    torch.manual_seed(0)
    network = HyperSynthesis(model.config)
    with torch.no_grad():
        network.leave.weight *= 20
    z = torch.randint(-6, 7, (1, model.config.hyper_channels, 3, 4)).float()
    with torch.no_grad():
        level, mu = network(z)
    exact_level, exact_mu = ExactHyperSynthesis.from_float(network)(z[0].int().numpy())
    assert np.abs(exact_level - level[0].clamp(0, LEVELS - 1).numpy()).max() < 0.6
    assert np.abs(exact_mu / 64 - mu[0].numpy()).max() < 0.25


def _weights() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(default_weights(), framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_a_machine_that_computes_differently_is_refused(tmp_path: Path) -> None:
    arrays, metadata = _weights()
    save_file(arrays, tmp_path / "a", metadata=metadata | {"known_answer": "0" * 64})
    with pytest.raises(WeightsError, match="known-answer"):
        CodecModel.load(tmp_path / "a")


def test_fingerprint_follows_the_entropy_model_only(tmp_path: Path) -> None:
    arrays, metadata = _weights()
    arrays["synthesis.log_gain"] = arrays["synthesis.log_gain"] + np.float16(1)
    save_file(arrays, tmp_path / "a", metadata=metadata)
    assert CodecModel.load(tmp_path / "a").fingerprint == load_model().fingerprint
    arrays["exact.channel_priority"] = arrays["exact.channel_priority"] + np.int16(1)
    save_file(arrays, tmp_path / "b", metadata=metadata)
    assert CodecModel.load(tmp_path / "b").fingerprint != load_model().fingerprint


def test_unusable_weights_are_refused(tmp_path: Path) -> None:
    arrays, metadata = _weights()
    (tmp_path / "text").write_text("hello")
    save_file(arrays, tmp_path / "other kind", metadata={})
    save_file(
        {k: v for k, v in arrays.items() if k != "exact.means"}, tmp_path / "missing", metadata=metadata
    )
    unshifted = arrays | {"exact.mix.shift": arrays["exact.mix.shift"] * 0}
    save_file(unshifted, tmp_path / "shift", metadata=metadata)
    cut = (default_weights()).read_bytes()[:100_000]
    (tmp_path / "cut").write_bytes(cut)
    bands = arrays | {"exact.band_level": arrays["exact.band_level"][:, :-3]}
    save_file({k: np.ascontiguousarray(v) for k, v in bands.items()}, tmp_path / "bands", metadata=metadata)
    for name in ("text", "other kind", "missing", "shift", "bands", "cut", "absent", "."):
        with pytest.raises(WeightsError) as caught:
            CodecModel.load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_layers_are_stored_in_sixteen_bits() -> None:
    arrays, _ = _weights()
    assert all(arrays[f"exact.{layer}.weight"].dtype == np.int16 for layer in LAYERS)
    floats = [a for name, a in arrays.items() if not name.startswith(("exact.", "prior.", "slices"))]
    assert all(a.dtype == np.float16 and np.isfinite(a).all() for a in floats)
