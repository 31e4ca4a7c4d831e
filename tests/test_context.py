"""CRR in integers, what it looks at, and streams that are coded with it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ctc_codec import CodecModel, FormatError, WeightsError, decode, decode_latent, encode, truncate
from ctc_codec._config import ModelConfig
from ctc_codec._context import ContextNetwork, RateReduction, Refiner, stack_features, static_features
from ctc_codec._exact import ExactConv
from ctc_codec._exact_context import ExactRateReduction, frequencies_of
from ctc_codec._header import MAX_SLICES, ORDERS, Coding
from ctc_codec._planes import LEVELS, TreeTables, build_tables, sigma_of_level, unit_masses
from ctc_codec._state import (
    FEATURE_SCALE,
    SLOPE_SCALE,
    StateTables,
    exp2_table,
    level_tables,
    log2_table,
    node_intervals,
    remaining_trits,
    trit_slopes,
)
from ctc_codec.evaluation.bench import synthetic_image
from ctc_codec.training.export import export
from ctc_codec.training.model import TrainingModel

GOLDEN = Path(__file__).parent / "data" / "format"
SMALL = ModelConfig(latent_channels=6)


@pytest.fixture(scope="module")
def tables() -> TreeTables:
    return build_tables()


@pytest.fixture(scope="module")
def states(tables: TreeTables) -> StateTables:
    return StateTables.of(tables, *level_tables(), trit_slopes(tables))


def _random_network(seed: int = 0, outputs: int = 2, scale: float = 0.1) -> ContextNetwork:
    torch.manual_seed(seed)
    network = ContextNetwork(SMALL, outputs)
    with torch.no_grad():
        for layer in (network.join, network.leave, network.own):
            layer.weight.normal_(std=scale)
    return network


def _random_state(tables: TreeTables, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Levels and nodes of those levels, int32 [6, 7, 9]; all inner."""
    random = np.random.default_rng(seed)
    level = random.integers(1, LEVELS, (SMALL.latent_channels, 7, 9)).astype(np.int32)
    count = tables.trits[level]
    depth = random.integers(0, count)
    prefix = np.clip((3.0**depth * random.normal(0.5, 0.1, level.shape)).astype(np.int64), 0, 3**depth - 1)
    return level, (tables.bases[level] + (3**depth - 1) // 2 + prefix).astype(np.int32)


def test_logarithms_are_those_of_big_integers() -> None:
    log, exp = log2_table(), exp2_table(700, 30)
    for f in (1, 2, 3, 5, 1000, 4095, 4096, 32767, 65534, 65535):
        assert 2 ** int(log[f]) <= f**64 < 2 ** (int(log[f]) + 1)
    for d in (0, 1, 63, 64, 65, 500, 699):
        value = int(exp[d])
        assert value**64 << d <= 1 << 64 * 30 < (value + 1) ** 64 << d
    assert log[0] == 0


def test_features_say_where_a_node_lies(tables: TreeTables, states: StateTables) -> None:
    level, node = _random_state(tables)
    sigma = sigma_of_level(level)
    mean, width = tables.means[node] / 64, 3.0 ** remaining_trits(tables)[node]
    expected = [mean / sigma, abs(mean) / sigma, mean / width, np.log(width / sigma) / math.log(3) - 2]
    for found, value in zip(states.features, expected, strict=True):
        limited = np.clip(value, -127 / FEATURE_SCALE, 127 / FEATURE_SCALE)
        assert np.abs(found[node] / FEATURE_SCALE - limited).max() <= 0.51 / FEATURE_SCALE


def test_intervals_hold_their_children_and_means(tables: TreeTables) -> None:
    low, high = node_intervals(tables)
    assert (low * 64 - 64 < tables.means).all()
    assert (tables.means < high * 64 + 64).all()
    inner = np.flatnonzero(tables.inner)
    first = tables.children[inner]
    assert (low[first] == low[inner]).all()
    assert (high[first + 2] == high[inner]).all()
    assert (high[first] + 1 == low[first + 1]).all()


def test_slopes_predict_what_a_moved_distribution_gives(tables: TreeTables, states: StateTables) -> None:
    level = 30
    sigma, count = float(sigma_of_level(level)), int(tables.trits[level])
    half = (3**count - 1) // 2
    s = np.arange(-half, half + 1, dtype=np.float64)

    def odds(shift: float, log_scale: float) -> np.ndarray:
        p = unit_masses(s - shift * sigma, sigma * math.exp(log_scale)).reshape(-1, 3, 3).sum(2)
        return np.log2(p[:, [0, 2]] / p[:, [1]])

    near = np.abs(s.reshape(-1, 9)[:, 4]) < 2 * sigma  # nodes two trits above leaves, not far out
    first = int(tables.bases[level]) + (3 ** (count - 2) - 1) // 2
    slopes = states.slopes[first : first + len(near)][near] / SLOPE_SCALE
    for shift, log_scale in ((0.3, 0.0), (0.0, 0.15), (-0.3, -0.1)):
        actual = (odds(shift, log_scale) - odds(0, 0))[near]
        predicted = shift * slopes[:, :2] + log_scale * slopes[:, 2:]
        assert np.abs(actual - predicted).max() < 0.15
        assert np.abs(actual - predicted).max() < 0.35 * np.abs(actual).max()


def test_frequencies_are_those_of_plain_integers() -> None:
    random = np.random.default_rng(1)
    odds = np.rint(random.normal(0, 400, (3000, 2)))
    odds[:4] = [[0, 0], [9000, -9000], [-9000, -9000], [1536, 1536]]
    exp = [int(v) for v in exp2_table(3073, 30)]
    for (first, last), row in zip(odds.tolist(), frequencies_of(odds.astype(np.float32)), strict=True):
        logits = [int(min(max(first, -1536), 1536)), 0, int(min(max(last, -1536), 1536))]
        weights = [exp[max(logits) - logit] for logit in logits]
        expected = [1 + weight * 65533 // sum(weights) for weight in weights]
        expected[weights.index(max(weights))] += 65536 - sum(expected)
        assert row.tolist() == expected
        assert sum(expected) == 65536
        assert min(expected) >= 1


def _integer_conv(a: np.ndarray, layer: ExactConv) -> np.ndarray:
    """int64 [C, h, w] in and out."""
    weight, side = layer.weight.numpy().astype(np.int64), layer.weight.shape[-1]
    padded = np.pad(a, ((0, 0), (side // 2,) * 2, (side // 2,) * 2))
    ins, outs = len(a) // layer.groups, len(weight) // layer.groups
    total = np.zeros((len(weight), *a.shape[1:]), np.int64)
    for o in range(len(weight)):
        group = padded[o // outs * ins : (o // outs + 1) * ins]
        for i, j in np.ndindex(side, side):
            window = group[:, i : i + a.shape[1], j : j + a.shape[2]]
            total[o] += (weight[o, :, i, j][:, None, None] * window).sum(0)
    shift = layer.shift.numpy().astype(np.int64)[:, None, None]
    return (total + layer.bias.numpy().astype(np.int64)[:, None, None] + (1 << (shift - 1))) >> shift


def _integer_crr(crr: ExactRateReduction, level: np.ndarray, node: np.ndarray) -> np.ndarray:
    def act(t: np.ndarray) -> np.ndarray:
        t = np.clip(t, -255, 255)
        return np.maximum(t, (t + 4) >> 3)

    n, h, w = level.shape
    features = crr.tables.features.astype(np.int64)[:, node].swapaxes(0, 1).reshape(-1, h, w)
    layers = crr.layers
    t = act(_integer_conv(np.concatenate((features, level.astype(np.int64) - 40)), layers["enter"]))
    u = act(_integer_conv(act(_integer_conv(t, layers["mix"])), layers["spread"]))
    t = act(t + _integer_conv(u, layers["join"]))
    out = _integer_conv(t, layers["leave"]) + _integer_conv(features, layers["own"])
    shift, log_scale = out.reshape(n, 2, -1).swapaxes(0, 1).reshape(2, -1)
    return np.stack((np.clip(shift, -128, 128), np.clip(log_scale, -64, 64)))


@pytest.mark.parametrize("scale", [0.05, 0.5])
def test_integer_network_is_exact_in_every_setting(
    scale: float, tables: TreeTables, states: StateTables
) -> None:
    crr = ExactRateReduction.from_float(_random_network(scale=scale), states)
    level, node = _random_state(tables)
    expected = _integer_crr(crr, level, node)
    assert len(np.unique(expected)) > 20

    def agrees() -> bool:
        found = crr.parameters(node, crr.begin(level))
        return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))

    assert agrees()
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert agrees()
        torch.set_float32_matmul_precision("medium")
        assert agrees()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert agrees()
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def test_integer_network_is_nearly_the_float_one(tables: TreeTables, states: StateTables) -> None:
    network = _random_network(scale=0.1)
    crr = ExactRateReduction.from_float(network, states)
    level, node = _random_state(tables)
    features = stack_features(torch.from_numpy(states.features), torch.from_numpy(node)[None])
    reduction = RateReduction(SMALL)
    reduction.network = network
    with torch.no_grad():
        floats = reduction(features, static_features(torch.from_numpy(level)[None]))
    for found, value in zip(crr.parameters(node, crr.begin(level)), floats, strict=True):
        error = found / 64 - value.numpy().reshape(-1)
        assert error.std() < 0.1 * float(value.std())


def test_float_network_comes_back_from_integers(states: StateTables) -> None:
    crr = ExactRateReduction.from_float(_random_network(), states)
    back = ContextNetwork(SMALL, 2)
    crr.to_float(back)
    again = ExactRateReduction.from_float(back, states)
    for name, layer in crr.layers.items():
        scale = 2.0 ** (layer.shift - again.layers[name].shift)[:, None, None, None]
        assert torch.equal(layer.weight, again.layers[name].weight * scale), name


def test_untrained_context_gives_the_tables_probabilities(tables: TreeTables, states: StateTables) -> None:
    crr = ExactRateReduction.from_float(ContextNetwork(SMALL, 2), states)
    level, node = _random_state(tables)
    flat = node.reshape(-1)
    found = crr.frequencies(flat, *crr.parameters(node, crr.begin(level)))
    expected = tables.frequencies[flat].astype(np.float64)
    bits = -(expected / 65536 * (np.log2(found) - np.log2(expected))).sum(axis=1)
    assert bits.max() < 1e-3


@pytest.mark.parametrize("slip", ["weight", "sum", "fraction"])
def test_network_that_could_leave_the_exact_range_is_refused(slip: str, states: StateTables) -> None:
    crr = ExactRateReduction.from_float(_random_network(), states)
    layer = crr.layers["enter"]
    weight, bias = layer.weight.clone(), layer.bias.clone()
    if slip == "weight":
        weight[0, 0] = 256
    elif slip == "sum":
        bias[0] = 2.0**24
    else:
        bias[0] += 0.5
    with pytest.raises(WeightsError):
        ExactRateReduction(crr.layers | {"enter": ExactConv(weight, bias, layer.shift)}, states)


def test_refined_residuals_stay_in_their_intervals(tables: TreeTables, states: StateTables) -> None:
    refiner = Refiner(SMALL, tables, states.features)
    level, node = _random_state(tables)
    with torch.no_grad():
        assert not refiner(node, level).any()
        refiner.cdr.network = _random_network(outputs=1, scale=3.0)
        moved = refiner(node, level)[0].numpy()
    low, high = node_intervals(tables)
    refined = tables.means[node] / 64 + moved
    assert (refined >= low[node] - 1e-3).all()
    assert (refined <= high[node] + 1e-3).all()
    assert np.abs(moved).max() > 1


# --- streams ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny() -> CodecModel:
    return CodecModel.load(GOLDEN / "tiny.safetensors")


@pytest.fixture(scope="module")
def plain_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights without context models."""
    path = tmp_path_factory.mktemp("plain") / "plain.safetensors"
    export(TrainingModel(ModelConfig(24, 0, 0, hyper_channels=8)), path)
    return path


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("slices", [0, 1, 3, MAX_SLICES])
def test_every_way_of_coding_is_decoded_by_its_header(slices: int, order: str, tiny: CodecModel) -> None:
    image = synthetic_image(200, 120)
    coding = Coding(slices, order)
    data = encode(image, weights=tiny, coding=coding, device="cpu")
    header, whole = decode_latent(data, weights=tiny)
    assert header.coding == coding
    _, plain = decode_latent(encode(image, weights=tiny, coding=Coding(), device="cpu"), weights=tiny)
    assert whole.sha256() == plain.sha256()
    low, high = node_intervals(tiny.tables)
    for nbytes in range(40, len(data), 97):
        _, cut = decode_latent(truncate(data, nbytes=nbytes), weights=tiny)
        assert cut.trits <= whole.trits
        if cut.z_complete:  # what is known is true: the whole residual lies in every known interval
            residual = tiny.tables.means[whole.node] // 64
            assert (low[cut.node] <= residual).all()
            assert (residual <= high[cut.node]).all()


def test_context_changes_the_bytes(tiny: CodecModel) -> None:
    image = synthetic_image(200, 120)
    streams = {encode(image, weights=tiny, coding=Coding(slices), device="cpu")[20:] for slices in (0, 1, 2)}
    assert len(streams) == 3


def test_unknown_way_of_coding_is_refused() -> None:
    with pytest.raises(FormatError, match="coding order"):
        Coding.from_byte(0x31)
    with pytest.raises(ValueError, match="no such way"):
        Coding(16)
    assert all(Coding.from_byte(Coding(s, o).to_byte()) == Coding(s, o) for s in (0, 15) for o in ORDERS)


def test_file_with_context_needs_weights_with_it(tiny: CodecModel, plain_weights: Path) -> None:
    image = synthetic_image(40, 40)
    with pytest.raises(WeightsError, match="context model"):
        encode(image, weights=plain_weights, coding=Coding(1), device="cpu")
    data = encode(image, weights=plain_weights, device="cpu")
    assert decode(data, weights=plain_weights, device="cpu").size == (40, 40)
