"""A picture with transparency, and its file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ctc_codec import CodecModel, encode
from support.pictures import photograph


@pytest.fixture(scope="session")
def cutout() -> Image.Image:
    """RGBA of 300x240 pixels, a disc with a soft edge."""
    image = Image.fromarray(photograph(300, 240))
    y, x = np.mgrid[0:240, 0:300]
    alpha = np.clip(800 - 9 * np.hypot(x - 150, y - 120), 0, 255).astype(np.uint8)
    image.putalpha(Image.fromarray(alpha))
    return image


@pytest.fixture(scope="session")
def cutout_ctc(cutout: Image.Image, model: CodecModel) -> bytes:
    return encode(cutout, weights=model)
