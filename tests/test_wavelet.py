"""The wavelet of the channels that carry local means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctc_codec._config import ModelConfig
from ctc_codec._transforms import Analysis, Synthesis
from ctc_codec._wavelet import band_count, band_map, compose, decompose

SIZES = [(1, 1), (1, 5), (2, 2), (3, 7), (16, 16), (33, 48)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", [0, 1, 3, 5])
def test_compose_is_the_inverse(size: tuple[int, int], levels: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    assert torch.allclose(compose(decompose(x, levels), levels), x, atol=1e-10)


@pytest.mark.parametrize("size", SIZES)
def test_bands_follow_from_factors_of_two(size: tuple[int, int]) -> None:
    levels = 3
    bands = band_map(*size, levels)
    for i in range(size[0]):
        for j in range(size[1]):
            level = next((k for k in range(levels) if i >> k & 1 or j >> k & 1), levels)
            between_rows, between_columns = i >> level & 1, j >> level & 1
            if level == levels:
                expected = 3 * levels
            else:
                expected = 3 * level + (2 if between_rows and between_columns else between_columns)
            assert bands[i, j] == expected
    assert bands.max() < band_count(levels)


def test_constants_and_ramps_leave_no_details() -> None:
    ramp = torch.arange(64, dtype=torch.float64).expand(64, 64)
    inside = np.zeros((64, 64), bool)
    inside[16:-16, 16:-16] = True
    details = (band_map(64, 64, 2) < 6) & torch.from_numpy(inside)
    for x in (torch.ones_like(ramp), ramp, ramp + 2 * ramp.T):
        assert decompose(x, 2)[details].abs().max() < 1e-9
    means = decompose(torch.ones(16, 16, dtype=torch.float64), 3)[::8, ::8]
    assert torch.allclose(means, torch.full_like(means, 8.0))


def test_an_error_weighs_about_the_same_in_every_band() -> None:
    """Energy of the pixels that one unit in one coefficient causes."""
    bands = band_map(32, 32, 3).numpy()
    for band in range(band_count(3)):
        places = np.argwhere(bands[8:24, 8:24] == band) + 8
        x = torch.zeros(32, 32, dtype=torch.float64)
        x[tuple(places[len(places) // 2])] = 1
        assert 0.7 < float(compose(x, 3).square().sum()) < 1.5


def test_transforms_undo_each_others_wavelet() -> None:
    config = ModelConfig(latent_channels=192 * 4, blocks_8=0, blocks_16=0, wavelet_channels=5)
    analysis, synthesis = Analysis(config), Synthesis(config)
    with torch.no_grad():
        analysis.down.weight.copy_(torch.eye(768).view(768, 192, 2, 2))
        synthesis.up.weight.copy_(torch.eye(768)[:, :, None, None])
        for bias in (analysis.down.bias, synthesis.up.bias):
            assert bias is not None
            bias.zero_()
    x = torch.rand(1, 3, 80, 112)
    with torch.no_grad():
        y = analysis(x)
        assert torch.allclose(synthesis(y), x, atol=1e-5)
        plain = Analysis(ModelConfig(latent_channels=768, blocks_8=0, blocks_16=0, wavelet_channels=0))
        plain.load_state_dict(analysis.state_dict())
        assert torch.equal(plain(x)[:, 5:], y[:, 5:])
        assert torch.allclose(decompose(plain(x)[:, :5], 3), y[:, :5])
