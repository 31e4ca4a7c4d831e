"""Every kind of image file: its pixels, alpha and notes, and one of each sort through the whole codec."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import ctc_codec
from ctc_codec import CodecModel, InputError
from ctc_codec.image.open import open_image
from ctc_codec.image.source import SourceImage, psnr, source_image
from support.image_kinds import KINDS, Kind
from support.image_samples import composed

_CODED = {(k.size, k.grey, k.alpha, k.name.split()[0]): k for k in KINDS if k.available and not k.error}
"""One of each size, mode and container: the others differ no more once pixels are there."""


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return ctc_codec.load_model()


def test_the_table_has_its_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) > 200
    assert sum(kind.available for kind in KINDS) > 180
    assert len(_CODED) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_kind(kind: Kind, model: CodecModel) -> None:
    if not kind.available:
        pytest.skip(f"this Pillow is without {kind.codec or kind.name}")
    data = kind.make()
    if kind.error is not None:
        with pytest.raises(InputError, match=kind.error) as caught:
            ctc_codec.encode(open_image(data), weights=model)
        assert "\n" not in str(caught.value)
        return
    image = open_image(data)
    source = source_image(image)
    _check(kind, source)
    lazy = Image.open(io.BytesIO(data))  # its pixels are not loaded yet
    assert _content(source) == _content(source_image(lazy)) == _content(source_image(lazy))
    if kind.seen and kind.floor == np.inf:
        flat = source_image(image, background="#102030")
        assert flat.alpha is None
        assert flat.notes == source.notes
        expected = composed(kind.expected(), kind.seen(), (0x10, 0x20, 0x30))
        assert np.abs(flat.pixels.astype(int) - expected).max() <= 1
    if kind in _CODED.values():
        _check_coded(kind, image, source, model)


def _check(kind: Kind, source: SourceImage) -> None:
    width, height = kind.size
    assert source.pixels.shape == (height, width, 3)
    assert source.pixels.dtype == np.uint8
    assert source.pixels.flags["C_CONTIGUOUS"]
    assert source.grey == kind.grey
    assert not kind.grey or (source.pixels == source.pixels[..., :1]).all()
    assert (source.exif, source.xmp) == (b"", b"")
    assert len(source.notes) == len(kind.notes), source.notes
    assert all(words in note for note, words in zip(source.notes, kind.notes, strict=True)), source.notes
    assert (source.alpha is not None) == kind.alpha
    seen = np.ones((height, width), bool)
    if source.alpha is not None:
        assert source.alpha.shape == (height, width)
        assert source.alpha.dtype == np.uint8
        assert psnr(source.alpha, kind.seen().astype(np.uint8)) >= kind.floor
        seen = source.alpha > 0
    assert not seen.any() or psnr(source.pixels[seen], kind.expected()[seen]) >= kind.floor


def _content(source: SourceImage) -> tuple[object, ...]:
    alpha = None if source.alpha is None else source.alpha.tobytes()
    return source.pixels.tobytes(), source.pixels.shape, alpha, source.grey, source.notes


def _check_coded(kind: Kind, image: Image.Image, source: SourceImage, model: CodecModel) -> None:
    data = ctc_codec.encode(image, weights=model, metadata=True)
    decoded = ctc_codec.decode(data, weights=model)
    assert decoded.size == kind.size
    assert decoded.mode == ("L" if kind.grey else "RGB") + ("A" if kind.alpha else "")
    pixels = np.asarray(decoded).reshape(*decoded.size[::-1], -1)
    seen = np.ones(pixels.shape[:2], bool)
    if source.alpha is not None:
        assert np.array_equal(pixels[..., -1], source.alpha)
        seen, pixels = source.alpha > 0, pixels[..., :-1]
    expected = source.pixels[..., : pixels.shape[2]]
    # These are drawings of few pixels, which no transform likes; wrong colours give below 14 dB.
    assert not seen.any() or psnr(expected[seen], pixels[seen]) > 16
    part = ctc_codec.decode(data[: len(data) // 2], weights=model)
    assert (part.size, part.mode) == (decoded.size, decoded.mode)
