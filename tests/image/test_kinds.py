"""Kinds of image file through the whole codec: size, mode, colours and transparency of what is decoded."""

from __future__ import annotations

import numpy as np
import pytest

import ctc_codec
from ctc_codec import CodecModel, CtcError
from ctc_codec.image.open import open_image
from ctc_codec.image.source import psnr, source_image
from support.image_kinds import KINDS, Kind

_AVAILABLE = [kind for kind in KINDS if kind.available]
_SEVERAL = sorted({(k.size, k.grey, k.alpha, k.name.split()[0]): k for k in _AVAILABLE}.values(), key=str)
"""One of each size, mode and container: what differs in the others is over when pixels are there."""


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return ctc_codec.load_model()


def test_there_are_enough() -> None:
    assert len(_SEVERAL) >= 40


@pytest.mark.parametrize("kind", _SEVERAL, ids=str)
def test_kind_comes_out_right(kind: Kind, model: CodecModel) -> None:
    if kind.error is not None:
        with pytest.raises(CtcError, match="(?i)" + kind.error):
            ctc_codec.encode(open_image(kind.make()), weights=model)
        return
    image = open_image(kind.make())
    data = ctc_codec.encode(image, weights=model, metadata=True)
    decoded = ctc_codec.decode(data, weights=model)
    assert decoded.size == kind.size
    assert decoded.mode == ("L" if kind.grey else "RGB") + ("A" if kind.alpha else "")
    source = source_image(image)
    pixels = np.asarray(decoded).reshape(*decoded.size[::-1], -1)
    seen = np.ones(pixels.shape[:2], bool)
    if kind.alpha:
        assert source.alpha is not None
        assert np.array_equal(pixels[..., -1], source.alpha)
        seen, pixels = source.alpha > 0, pixels[..., :-1]
    expected = source.pixels[..., : pixels.shape[2]]
    # These are drawings of few pixels, which no transform likes; wrong colours give below 14 dB.
    assert not seen.any() or psnr(expected[seen], pixels[seen]) > 16
    part = ctc_codec.decode(data[: len(data) // 2], weights=model)
    assert (part.size, part.mode) == (decoded.size, decoded.mode)
