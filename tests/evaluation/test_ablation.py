"""The ablation: its rungs are parts and efforts of the codec, and a control must fit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

import ctc_codec
from ctc_codec.codec.model import WEIGHTS_FORMAT, default_weights, load_model
from ctc_codec.codec.options import DEFAULT_EFFORT, EFFORTS
from ctc_codec.crr import density
from ctc_codec.evaluation.ablation import LADDER, ablation_table, rungs, without_order
from ctc_codec.evaluation.codecs import Ctc
from ctc_codec.image.source import psnr
from ctc_codec.training.freeze import synthesis_arrays
from ctc_codec.training.networks import Synthesis
from support.pictures import photograph


def _weights(path: Path, noise: float | None = None, **others: np.ndarray) -> Path:
    """The packaged weights with a synthesis network that adds noise of an amplitude, or without one."""
    arrays = safetensors.numpy.load_file(default_weights()) | others
    arrays = {name: array for name, array in arrays.items() if not name.startswith("synthesis.")}
    if noise is not None:
        network = Synthesis(8, 1)
        torch.nn.init.normal_(network.leave.weight, std=max(noise, 1e-9))  # which float16 does not hold
        layers = {f"synthesis.{name}": layer.numpy() for name, layer in network.state_dict().items()}
        arrays |= synthesis_arrays(layers)
    known = load_model(default_weights()).known_answer
    safetensors.numpy.save_file(arrays, path, {"format": WEIGHTS_FORMAT, "known_answer": known})
    return path


@pytest.mark.slow
def test_ablation_measures_every_part_and_effort(evaluate: Any, tmp_path: Path) -> None:
    images, out = [tmp_path / "0.png", tmp_path / "1.png"], tmp_path / "out"
    for path, size in zip(images, [(120, 80), (90, 130)], strict=True):
        Image.fromarray(photograph(*size)).save(path)
    weights = _weights(tmp_path / "weights.safetensors", 0.0)
    control = _weights(tmp_path / "control.safetensors", 0.1)
    arguments = [*images, "-o", out, "--ablation", "--quiet", "--weights", weights]
    done = evaluate(*arguments, "--control", control)
    document = json.loads((out / "ablation.json").read_text())
    rows = {row["label"]: row for row in document["rungs"]}
    assert tuple(rows) == LADDER
    nested, free, crr, cdr, whole_files, all_states = (row["bd_rate"]["percent"] for row in rows.values())
    assert free == pytest.approx(0, abs=1e-9)
    assert nested > 1
    assert crr < -5
    assert cdr < crr - 1
    assert all_states == pytest.approx(cdr, abs=1)  # its network corrects nothing
    assert whole_files > all_states + 1  # the control's does harm
    assert document["bd_rate_codec_vs_context_free"] == all_states
    for key, path in (("weights", weights), ("control", control)):
        assert document[key] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert rows["context-free"]["whole_bpp"] > rows["+ CRR"]["whole_bpp"] == rows["+ CDR"]["whole_bpp"]
    assert [p["asked"] for p in rows["+ CRR"]["curve"]][-1] == 2.0
    efforts = {row["label"]: row for row in document["efforts"]}
    assert list(efforts) == [str(effort) for effort in EFFORTS]
    assert efforts[str(DEFAULT_EFFORT)]["bd_rate"]["percent"] == pytest.approx(0, abs=1e-9)
    assert efforts["1"]["bd_rate"]["percent"] > 0
    assert efforts["9"]["encode_ms"] > efforts["1"]["encode_ms"] > 0 < efforts["1"]["decode_ms"]
    assert ablation_table(document) in done.stdout
    assert f"{DEFAULT_EFFORT} (default) | +0.00 %" in done.stdout

    cached = {p: p.stat().st_mtime_ns for p in out.glob("cache/*.json")}
    done = evaluate(*arguments, "--no-times")
    assert {p: p.stat().st_mtime_ns for p in out.glob("cache/*.json")} == cached
    assert "| + synthesis, whole files | not measured |" in done.stdout
    document = json.loads((out / "ablation.json").read_text())
    assert document["control"] is None
    assert document["bd_rate_codec_vs_context_free"] == all_states


def test_trits_of_a_plane_have_no_order_in_nested_quantisation(tmp_path: Path) -> None:
    model = load_model(without_order(default_weights(), tmp_path / "cache"))
    assert set(model.densities.classes) == {1}
    given = load_model(default_weights())
    assert np.array_equal(model.densities.frequencies, given.densities.frequencies)
    assert model.fingerprint != given.fingerprint


def test_rungs_are_those_that_the_weights_have(tmp_path: Path) -> None:
    without = _weights(tmp_path / "without.safetensors")
    network = _weights(tmp_path / "with.safetensors", 0.0)

    def labels(weights: Path, control: Path | None = None) -> list[str]:
        return [codec.label for codec in rungs(weights, tmp_path / "unordered", control)]

    first = list(LADDER[:4])
    assert labels(without) == first
    assert labels(network) == [*first, "+ synthesis, all states"]
    assert labels(without, network) == [*first, "+ synthesis, whole files"]
    assert labels(network, network) == list(LADDER)
    document = {"rungs": [{"label": LADDER[-1], "missing": True}]}
    assert ablation_table(document).splitlines()[-1].startswith(f"| {LADDER[-1]} | not measured |")


@pytest.mark.slow
def test_control_that_does_not_fit_is_refused_in_a_line(folder: Path, evaluate: Any, tmp_path: Path) -> None:
    other = np.ones(density.ROWS, np.uint8)
    foreign = _weights(tmp_path / "foreign.safetensors", 0.0, **{"exact.density.classes": other})
    bare = _weights(tmp_path / "bare.safetensors")
    for words, control in (
        ("its entropy model is not that of", foreign),
        ("bare.safetensors: has no synthesis network", bare),
        ("no such weights file", tmp_path / "none"),
    ):
        arguments = [folder, "-o", tmp_path / "out", "--quiet", "--ablation", "--control", control]
        done = evaluate(*arguments, code=1)
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out" / "ablation.json").exists()


@pytest.mark.slow
def test_parts_and_efforts_are_those_of_the_codec(tmp_path: Path) -> None:
    pixels = photograph(192, 128)
    image, made, shown = Image.fromarray(pixels), {}, {}
    steps = rungs(default_weights(), without_order(default_weights(), tmp_path))
    for codec in [*steps, Ctc(default_weights(), name="effort-1", effort=1)]:
        whole = list(codec.streams(pixels))[-1]
        data = ctc_codec.encode(image, context=codec.context, effort=codec.effort, weights=codec.weights)
        decoded = ctc_codec.decode(
            data, refine=codec.refine, synthesis=codec.synthesis, weights=codec.weights
        )
        assert whole.nbytes == len(data)
        assert np.array_equal(whole.decode(), np.asarray(decoded))
        made[codec.name], shown[codec.name] = data, whole.decode()
    assert len(made["context-free"]) > 1.1 * len(made["CRR"])
    assert made["CRR"] == made["CDR"] != made["effort-1"]
    assert psnr(pixels, shown["CRR"]) < psnr(pixels, shown["CDR"])
