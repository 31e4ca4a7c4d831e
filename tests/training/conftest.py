"""Photographs and random networks that the tests of training share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ctc_codec.codec.model import CodecModel
from ctc_codec.training import freeze, networks
from ctc_codec.training.data import is_held_out
from support.pictures import photograph


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures to train on, one that is held out."""
    path = tmp_path_factory.mktemp("photographs")
    held = next(name for name in (f"held-{i}.png" for i in range(1000)) if is_held_out(name))
    for i, name in enumerate(("first.png", "second.png", held)):
        Image.fromarray(photograph(128, 96, i)).save(path / name)
    return path


@pytest.fixture(scope="session")
def state() -> dict[str, np.ndarray]:
    """Both networks with random weights everywhere: nothing is left out of what they compute."""
    torch.manual_seed(1)
    both = networks.Networks()
    for name, tensor in both.named_parameters():
        if "leave" in name or ".p." in name or name.endswith("b.weight"):
            torch.nn.init.normal_(tensor, std=0.05)
    return {name: tensor.numpy() for name, tensor in both.state_dict().items()}


@pytest.fixture(scope="session")
def arrays(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of their weights file."""
    return freeze.model_arrays(state, networks.GROUPS, freeze.scale_tables([photograph(64, 64)]))


@pytest.fixture(scope="session")
def model(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> CodecModel:
    """Their integer model."""
    return freeze.save(arrays, tmp_path_factory.mktemp("weights") / "random.safetensors")
