"""Fixtures of the tests of the command: files of several kinds, and the state of the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec.container.blocks import BLOCK_BYTES
from support.command import PLAIN, touch


@pytest.fixture(autouse=True)
def _restored(process_state: None) -> None:
    """Most tests call the command in their own process."""


@pytest.fixture
def files(files: Path) -> Path:
    """A working directory with photo.png, whole.ctc (its stream) and plain.ctc."""
    (files / "plain.ctc").write_bytes(PLAIN)
    return files


@pytest.fixture
def shelf(here: Path, photo_ctc: bytes) -> Path:
    """Folders of .ctc files, and of what is none."""
    for name in ("in/z.ctc", "in/b/y.CTC", "in/b/c/x.ctc", "in/a/w.ctc", "in/.hidden.ctc", "in/.git/v.ctc"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(photo_ctc)
    touch("in/notes.txt", "in/b/ctc", "in/empty/none.png")
    return here


@pytest.fixture(scope="session")
def three_blocks() -> bytes:
    """The stream of a noisy image, in three blocks."""
    noise = np.random.default_rng(1).normal(128, 40, (128, 160)).clip(0, 255).astype(np.uint8)
    data = ctc_codec.encode(Image.fromarray(noise).convert("RGB"), quality=60)
    assert 2 * BLOCK_BYTES + 200 < len(data) < 3 * BLOCK_BYTES
    return data
