"""Networks, states and inputs as they are trained are those of the codec."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctc_codec.codec.model import CodecModel, part
from ctc_codec.crr import density
from ctc_codec.crr.context import _Known
from ctc_codec.crr.inputs import INPUTS, Level, inputs, reconstruction
from ctc_codec.planes.trits import unit
from ctc_codec.synthesis.means import refined
from ctc_codec.synthesis.network import network_inputs
from ctc_codec.training import networks, wavelet
from ctc_codec.training.freezing_cost import CodedPlane, load_crr
from ctc_codec.training.partial_latent import PartialLatent
from ctc_codec.training.tables import density_tables
from ctc_codec.transform.colour import rotate
from ctc_codec.transform.lifting import LEVELS, analyse, fixed_synthesise_level
from support.pictures import photograph

State = dict[str, np.ndarray]


@torch.no_grad()
def _partial(plane: int, state: State) -> tuple[PartialLatent, list[networks.Density]]:
    """A picture inside a plane, and the densities there, by rounded weights."""
    latent, crr = PartialLatent.of(photograph(192, 128), plane), load_crr(state)
    latent.reveal(torch.tensor([0.4]), latent.look(crr))
    return latent, latent.look(crr)


def test_networks_have_the_shapes_and_names_that_checkpoints_have() -> None:
    both = networks.Networks()
    crr, synthesis = both.crr, both.synthesis
    for level in range(LEVELS):
        centre, log_scale = crr(level, torch.zeros(2, INPUTS, 5, 7))
        assert centre.shape == log_scale.shape == (2, 9, 5, 7)
    assert synthesis(torch.randn(2, 72, 6, 5)).abs().max() == 0  # corrects nothing before it is trained
    shapes = {
        "crr.quantised": (),
        "crr.c.0.enter.weight": (32, 72, 3, 3),
        "crr.c.1.b.1.a.weight": (48, 48, 3, 3),
        "crr.c.2.leave.bias": (18,),
        "synthesis.b.5.d.weight": (96, 1, 3, 3),
        "synthesis.leave.weight": (48, 96, 3, 3),
    }
    assert shapes.items() <= {name: tuple(tensor.shape) for name, tensor in both.state_dict().items()}.items()


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
    pixels = photograph(64, 128)
    low, details = wavelet.analyse(wavelet.rotate(torch.from_numpy(pixels).permute(2, 0, 1)[None].float()))
    expected_low, expected = analyse(rotate(pixels, False))
    assert np.allclose(low[0], expected_low, atol=1e-2)
    for found, right in zip(details, expected, strict=True):
        assert np.allclose(found[0], right, atol=1e-3)
    assert np.allclose(wavelet.synthesise(low, details)[0], rotate(pixels, False), atol=1e-2)


@pytest.mark.parametrize("plane", [1, 2, 4])
def test_states_and_inputs_are_the_codecs(plane: int, state: State, model: CodecModel) -> None:
    latent, _ = _partial(plane, state)
    seen = CodedPlane(latent, model, plane).state
    context = seen.low << np.int32(4)  # in 1/16 unit
    ours = latent.low / latent.size
    for level in range(LEVELS - 1, -1, -1):
        value, known = seen.level(seen.value, level), seen.level(seen.known, level)
        parents = None
        if level + 1 < LEVELS:
            parents = seen.level(seen.value, level + 1), seen.level(seen.known, level + 1)
        children = seen.level(seen.value, level - 1) if level else None
        view = Level(level, plane, _Known(context), value, known, parents, children)
        height, width = (slice(0, side) for side in value.shape[1:])
        right = inputs(view, height, width, model.context.tables)[0].astype(np.int16) - 128
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


def test_nothing_is_learned_where_kernels_clamp() -> None:
    x = torch.tensor([-40.0, -8.1, -7.9, -0.3, 0.3, 7.9, 8.1, 40.0], requires_grad=True)
    out = networks.leaky(x)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 0.125, 0.125, 1, 1, 0, 0]
    assert out.tolist() == [-1, -1, -126 / 128, -5 / 128, 5 / 16, 126 / 16, 127 / 16, 127 / 16]


def test_means_and_deviations_are_the_decoders(state: State, model: CodecModel) -> None:
    plane = 2
    latent, densities = _partial(plane, state)
    means = latent.means(densities, torch.from_numpy(density_tables()["means"]))
    for level, (centre, log_scale) in enumerate(densities):
        above = (3 * latent.above[level][0]).short().numpy()
        scale = ((log_scale[0] + 5) * 8).byte().numpy()
        row = density.rows_of(above, (centre[0] * 16).to(torch.int8).numpy(), scale)
        value, known = latent.seen(level)[0].short().numpy(), latent.known[level][0].bool().numpy()
        expected = np.empty(value.shape, np.float32)
        refined(value, known, [row], unit(plane), model.densities.means, expected)
        assert np.allclose(means[level][0], expected, rtol=1e-5, atol=1e-3)
    deviations = latent.deviations(densities)
    planes = wavelet.synthesise(latent.low, means)
    found = networks.synthesis_inputs(planes, deviations, latent.unit)
    both = deviations[0][0].numpy(), deviations[1][0].numpy()
    assert np.allclose(found[0], network_inputs(planes[0].numpy(), both, unit(plane)), atol=1e-5)


def test_synthesis_network_corrects_as_trained(state: State, model: CodecModel) -> None:
    network = networks.Synthesis()
    weights = part(state, "synthesis.")
    network.load_state_dict({name: torch.from_numpy(array).half().float() for name, array in weights.items()})
    planes = torch.randn(1, 3, 80, 96) * 60
    fine, coarse = torch.randn(1, 9, 40, 48), torch.randn(1, 9, 20, 24)
    size = torch.tensor([unit(2)])
    with torch.no_grad():
        out = network(networks.synthesis_inputs(planes, (fine, coarse), size))
        expected = networks.corrected(planes, out, size)[0].numpy()
    assert model.synthesis is not None
    found = model.synthesis.correct(planes[0].numpy(), (fine[0].numpy(), coarse[0].numpy()), unit(2))
    assert np.abs(expected - planes[0].numpy()).max() > 1
    assert np.allclose(found, expected, atol=2e-3)
