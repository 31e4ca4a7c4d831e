"""Images in tiles give what they give whole, and in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ctc_codec import (
    CodecModel,
    Decoder,
    _latent,
    _planes,
    _rate_quality,
    _tiles,
    decode,
    decode_latent,
    encode,
    load_model,
    thumbnail,
)
from ctc_codec._image import source_image
from ctc_codec._planes import MEAN_SCALE, Planes, clip_residual, sigma_of_level
from ctc_codec._stream import _Rough, entropy_parameters

CPU = torch.device("cpu")
TINY = Path(__file__).parent / "data" / "format" / "tiny.safetensors"
SIZE = 437, 330
"""28 x 21 positions of the latent, 7 x 6 of the hyper-latent; neither side is a multiple of 16."""


@pytest.fixture(params=["tiny", "release"])
def model(request: pytest.FixtureRequest) -> CodecModel:
    return load_model(TINY if request.param == "tiny" else None)


@pytest.fixture
def picture(make_photo: Callable[..., Image.Image]) -> Image.Image:
    return make_photo(*SIZE)


@pytest.fixture
def in_tiles(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and tiles have 8 positions."""

    def cut() -> None:
        monkeypatch.setattr(_tiles, "SIDE", 8)

    return cut


@pytest.mark.parametrize(("height", "width", "stride"), [(1, 1, 1), (200, 70, 1), (64, 81, 1), (17, 300, 4)])
def test_tiles_cover_a_plane_once(height: int, width: int, stride: int) -> None:
    seen = np.zeros((height, width), int)
    for tile in _tiles.tiles(height, width, 3, stride):
        seen[tile.core] += 1
        rows, columns = tile.outer
        assert seen[tile.outer][tile.inner].shape == seen[tile.core].shape
        for core, outer, length in zip(tile.core, (rows, columns), (height, width), strict=True):
            assert outer.start in (core.start - 3, 0)
            assert outer.stop in (core.stop + 3, length)
            assert core.start % (8 // stride) == 0
    assert (seen == 1).all()


def test_analysis(model: CodecModel, picture: Image.Image, in_tiles: Callable[[], None]) -> None:
    pixels = source_image(picture).pixels
    whole, z = _latent.analyse(model, pixels, CPU)
    in_tiles()
    tiled, tiled_z = _latent.analyse(model, pixels, CPU)
    assert float((whole - tiled).abs().max()) < 1e-3 * float(whole.abs().max())
    assert (z != tiled_z).mean() < 0.01  # where rounding is a close call
    assert np.abs(z - tiled_z).max() <= 1


def test_exact_networks(model: CodecModel, in_tiles: Callable[[], None]) -> None:
    rng = np.random.default_rng(3)
    z = rng.integers(-9, 10, (model.config.hyper_channels, 7, 6)).astype(np.int32)
    whole = entropy_parameters(model, z, 27, 21)
    in_tiles()
    for a, b in zip(whole, entropy_parameters(model, z, 27, 21), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


def test_decoding(model: CodecModel, picture: Image.Image, in_tiles: Callable[[], None]) -> None:
    data = encode(picture, weights=model, device="cpu")
    cuts = [len(data), len(data) // 2, len(data) // 8, 60]
    hashes = [decode_latent(data[:cut], weights=model)[1].sha256() for cut in cuts]
    images = [np.asarray(decode(data[:cut], weights=model, device="cpu")).astype(int) for cut in cuts]
    small = thumbnail(data, weights=model)
    in_tiles()
    assert [decode_latent(data[:cut], weights=model)[1].sha256() for cut in cuts] == hashes
    for cut, image in zip(cuts, images, strict=True):
        assert np.abs(np.asarray(decode(data[:cut], weights=model, device="cpu")) - image).max() <= 1
    assert thumbnail(data, weights=model) == small


def test_encoding_in_tiles_is_decoded_whole(
    picture: Image.Image, in_tiles: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model()
    whole = encode(picture, weights=model, device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(_tiles, "SIDE", 8)
        data = encode(picture, weights=model, device="cpu")
        hashed = decode_latent(data, weights=model)[1].sha256()
    assert decode_latent(data, weights=model)[1].sha256() == hashed
    assert abs(len(data) / len(whole) - 1) < 1e-3


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (23, 24), (24, 25), (97, 31), (50, 128)])
def test_state_before_the_hyper_latent(model: CodecModel, size: tuple[int, int]) -> None:
    """What is computed of a small one is what the large one gives."""
    hz, wz = (-(-side // 4) for side in size)
    z = np.broadcast_to(model.z_mode[:, None, None], (len(model.z_mode), hz, wz))
    level, mu = entropy_parameters(model, np.ascontiguousarray(z), *size)
    rough = _Rough(model, size)
    assert rough.shape == level.shape
    for window in ((slice(0, size[0]), slice(0, size[1])), (slice(size[0] // 2, size[0]), slice(0, 1))):
        node, found, found_mu = rough.window(window)
        assert np.array_equal(found, level[:, *window])
        assert np.array_equal(found_mu, mu[:, *window])
        assert np.array_equal(node, model.tables.bases[level[:, *window]])


@pytest.mark.parametrize("order", ["priority", "sigma", "raster"])
@pytest.mark.parametrize("slices", [1, 5])
def test_large_planes_are_sorted_in_groups(order: str, slices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = load_model().tables
    rng = np.random.default_rng(8)
    level = rng.integers(0, 60, 6000).astype(np.uint8)
    weight = rng.integers(-300, 300, 20).astype(np.int16)
    s = clip_residual(np.rint(rng.normal(size=6000) * sigma_of_level(level)).astype(np.int32), level, tables)

    def coded() -> list[tuple[int, list[int]]]:
        planes = Planes(level, weight, tables, order, slices)
        parts: list[tuple[int, list[int]]] = []
        for plane, elements, begins in planes:
            planes.advance(elements, planes.digits(s, plane, elements))
            if begins:
                parts.append((plane, []))
            parts[-1][1].extend(elements.tolist())
        assert np.array_equal(tables.means[planes.node], np.where(tables.trits[level] > 0, s * MEAN_SCALE, 0))
        return parts

    whole = coded()
    monkeypatch.setattr(_planes, "_GROUP", 900)
    monkeypatch.setattr(_planes, "_PART", 350)
    assert coded() == whole


def test_quality_of_sampled_rows(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large images every so many rows are looked at: the table says about the same."""
    from ctc_codec._container import info

    whole = info(encode(picture, device="cpu")).quality
    monkeypatch.setattr(_rate_quality, "_SAMPLED_POSITIONS", 200)
    sampled = info(encode(picture, device="cpu")).quality
    assert [count for count, _ in whole] == [count for count, _ in sampled]
    assert max(abs(a - b) for (_, a), (_, b) in zip(whole, sampled, strict=True)) < 0.5


def test_a_finished_decoder_takes_no_more(picture: Image.Image) -> None:
    model = load_model(TINY)
    data = encode(picture, weights=model, device="cpu")
    decoder = Decoder(weights=model, device="cpu")
    decoder.feed(data[: len(data) // 2])
    decoder.finish()
    assert decoder.image() == decode(data[: len(data) // 2], weights=model, device="cpu")
    with pytest.raises(ValueError, match="finished"):
        decoder.feed(data[len(data) // 2 :])


_PEAK = """
import resource, sys
import numpy as np
from PIL import Image
from ctc_codec import decode, encode, load_model
model = load_model(sys.argv[1])
rng = np.random.default_rng(1)
cells = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
decode(encode(cells.resize((1024, 1024)), weights=model), weights=model)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
image = cells.resize((4000, 3000), Image.Resampling.BICUBIC)
data = encode(image, weights=model)
del image
encoded = peak()
decode(data, weights=model)
print(encoded - before, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in another unit")
def test_memory_grows_little_with_the_image() -> None:
    """12 megapixels with small weights: less than 24 bytes a pixel; arrays of all activations took 53."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(TINY)], capture_output=True, text=True, check=True
    )
    encoding, both = map(float, done.stdout.split())
    pixels = 4000 * 3000
    assert encoding * 2**20 / pixels < 24
    assert both * 2**20 / pixels < 24
