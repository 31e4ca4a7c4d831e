"""The float side: means, the synthesis network, thumbnails, and pictures of many tiles."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from ctc_codec import CodecModel, CtcError, DamageError, Decoder, decode, encode, info, load_model, thumbnail
from ctc_codec.codec.picture import analysed, pixels, reconstruct, small_pixels
from ctc_codec.container.blocks import BLOCK_BYTES
from ctc_codec.crr import density
from ctc_codec.image.source import SourceImage, mean_squared_error
from ctc_codec.planes.state import State
from ctc_codec.planes.trits import unit
from ctc_codec.synthesis.network import COLOURS, LIMIT, SCALE, SynthesisNetwork
from ctc_codec.transform.colour import rotate, unrotate
from ctc_codec.transform.lifting import LEVELS, analyse
from support.coding import empty_state, latent_of
from support.pictures import KINDS, gradient, photograph, psnr
from support.streams import changed


def test_refining_is_what_photographs_gain_by(model: CodecModel) -> None:
    samples = photograph(130, 97)
    data = encode(Image.fromarray(samples), weights=model)
    for cut in (1000, 4000, len(data)):
        refined, plain = (
            psnr(samples, np.asarray(decode(data[:cut], weights=model, refine=refine)))
            for refine in (True, False)
        )
        assert refined > plain + 0.05


# --- the synthesis network may not contradict a file ------------------------------------------------


class _Network(SynthesisNetwork):
    """A synthesis network without weights that gives noise of so many times the most that is used of it."""

    def __init__(self, strength: float) -> None:
        self.halo, self._strength = 2, strength
        self.session = self  # type: ignore[assignment]

    def run(self, inputs: np.ndarray) -> np.ndarray:
        _, _, height, width = inputs.shape
        noise = np.random.default_rng(1).uniform(-LIMIT, LIMIT, (1, COLOURS * SCALE**2, height, width))
        return (self._strength * noise).astype(np.float32)


def _distance(planes: np.ndarray, state: State) -> float:
    """How far the coefficients of planes are outside of the intervals that are known, at most, in units."""
    low, details = analyse(planes)
    parts = [(low, state.low, state.low_known, unit(state.low_plane))]
    for level in range(LEVELS):
        value, known = state.level(state.value, level), state.level(state.known, level)
        parts.append((details[level], value, known, unit(state.plane)))
    return max(
        float((np.abs(found / size - value) - np.where(known, 0.5, 1.5)).max())
        for found, value, known, size in parts
    )


@pytest.mark.parametrize("grey", [False, True])
def test_no_network_makes_a_picture_that_contradicts_the_file(
    grey: bool, model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Correction by up to four units, and yet every coefficient is in its interval."""
    samples = photograph(128, 64)[..., 0] if grey else photograph(128, 64)
    data = encode(Image.fromarray(samples), weights=model)
    plain = psnr(samples, np.asarray(decode(data, weights=model)))
    monkeypatch.setattr(model, "synthesis", _Network(1.0))
    state = latent_of(data, model).state
    planes = reconstruct(state, model, (64, 128))
    assert _distance(planes, state) < 0.01
    assert _distance(reconstruct(state, model, (64, 128), synthesis=False), state) < 0.01
    assert plain - 12 < psnr(samples, np.asarray(decode(data, weights=model))) < plain - 1
    assert psnr(samples, np.asarray(decode(data, weights=model, synthesis=False))) == plain


def test_numbers_that_are_not_finite_are_no_picture(
    model: CodecModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(Image.fromarray(photograph(32, 20)), weights=model)
    monkeypatch.setattr(model, "synthesis", _Network(float("nan")))
    with pytest.raises(CtcError, match="not finite"):
        decode(data, weights=model)


# --- parts, threads, memory -------------------------------------------------------------------------


def _latent(size: tuple[int, int], colours: int) -> State:
    """A state of chance."""
    rng = np.random.default_rng(4)
    state = empty_state(size, colours, 3)
    state.plane = state.low_plane = 2
    state.known[:] = rng.random(state.count) < 0.3
    state.value[:] = rng.integers(-1, 2, state.count)
    state.value[~state.known] = 0
    state.row[:] = rng.integers(0, 2 * density.ROWS, state.count)
    state.low[:] = rng.integers(-70, 70, state.low.shape)
    return state


@pytest.mark.parametrize(("size", "colours"), [((300, 1101), 3), ((1, 1), 3), ((131, 70), 1)])
def test_parts_and_threads_leave_no_trace(size: tuple[int, int], colours: int, model: CodecModel) -> None:
    """A picture in parts is that of the whole planes, with any number of threads, busy ones too."""
    state = _latent(size, colours)
    rows = state.row[::-1].copy()
    planes = reconstruct(state, model, size, rows=rows)
    expected, small = unrotate(planes.copy()), small_pixels(state, model, size)
    assert not np.array_equal(expected, pixels(state, model, size))
    many = load_model(threads=3)
    for other in (model, many):
        assert np.array_equal(pixels(state, other, size, rows=rows), expected)
    pool = many.context.pool()
    busy = [pool.submit(pixels, state, many, size, rows=rows) for _ in range(6)]
    assert all(np.array_equal(task.result(60), expected) for task in busy)
    assert np.array_equal(small_pixels(state, many, size), small)
    samples = np.broadcast_to(expected, (*size, 3))
    low, details = analyse(rotate(samples, colours == 1))
    for other in (model, many):
        found_low, found = analysed(samples, colours == 1, other)
        assert np.array_equal(found_low, low)
        assert all(np.array_equal(*pair) for pair in zip(found, details, strict=True))


def _peak(work: Callable[[], object]) -> int:
    """Most bytes that it holds at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_few_floats_are_held_at_a_time(model: CodecModel) -> None:
    """Never all coefficients or planes, of 12 bytes a pixel, of a decoder; once all of an encoder."""
    size = 1500, 2000
    state = _latent(size, 3)
    count = size[0] * size[1]
    assert _peak(lambda: pixels(state, model, size, rows=state.row[::-1])) < 9 * count
    assert _peak(lambda: small_pixels(state, model, size)) < 6 * count
    samples = np.zeros((*size, 3), np.uint8)
    assert _peak(lambda: analysed(samples, False, model)) < 18 * count
    assert _peak(lambda: mean_squared_error(SourceImage(samples, False), samples)) < count


# --- thumbnails -------------------------------------------------------------------------------------


def _boxed(image: Image.Image, like: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Both at an eighth, where eight pixels are whole: the means of the large one, and the small one."""
    width, height = (side // 8 for side in image.size)
    return np.asarray(image.crop((0, 0, 8 * width, 8 * height)).reduce(8)), np.asarray(like)[:height, :width]


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (17, 33), (200, 150), (640, 16), (8, 8), (65, 64)])
def test_thumbnail_is_the_picture_at_an_eighth(size: tuple[int, int], model: CodecModel) -> None:
    """Its sides are rounded up; one colour stays that colour."""
    for samples in (gradient(*size), np.full((size[1], size[0], 3), (200, 30, 90), np.uint8)):
        data = encode(Image.fromarray(samples), weights=model)
        little = thumbnail(data, weights=model)
        assert little.size == (math.ceil(size[0] / 8), math.ceil(size[1] / 8))
        assert little.mode == decode(data, weights=model).mode
    assert np.abs(np.asarray(little).astype(int) - (200, 30, 90)).max() <= 1


@pytest.mark.parametrize(
    ("kind", "least"), [("photograph", 24), ("snapshot", 34), ("ramp", 36), ("dither", 24)]
)
def test_thumbnail_has_the_means_of_eight_by_eight_pixels(kind: str, least: float, model: CodecModel) -> None:
    """Nearly: the low band is a little sharper, and its samples lie a little up and left of the means."""
    image = Image.fromarray(KINDS[kind](320, 240))
    little = thumbnail(encode(image, weights=model), weights=model)
    assert little.mode == image.mode
    assert psnr(*_boxed(image, little)) > least


def test_thumbnail_needs_the_first_bytes_only(model: CodecModel) -> None:
    data = encode(Image.fromarray(photograph(512, 384)), weights=model)
    enough = info(data).header_bytes + BLOCK_BYTES  # a block: 1/8 bpp and 512 bytes are less
    assert len(data) > enough
    assert thumbnail(data[:enough], weights=model) == thumbnail(data, weights=model)
    assert thumbnail(data[:300], weights=model).size == (64, 48)


def test_thumbnail_of_damaged_bytes(model: CodecModel) -> None:
    """As far as they are read: to the end of a block, where its check sum is."""
    data = encode(Image.fromarray(photograph(90, 70)), weights=model)
    damaged = changed(data, info(data).header_bytes + 300, 1)
    with pytest.raises(DamageError):
        thumbnail(damaged, weights=model)
    assert thumbnail(damaged, weights=model, accept_damage=True).size == (12, 9)


def test_thumbnail_keeps_mode_and_alpha(cutout: Image.Image, cutout_ctc: bytes, model: CodecModel) -> None:
    little = thumbnail(cutout_ctc, weights=model)
    assert little.mode == "RGBA"
    assert little.size == (38, 30)
    expected, found = _boxed(cutout.getchannel("A"), little.getchannel("A"))
    assert np.abs(found.astype(int) - expected).mean() < 1
    assert thumbnail(encode(cutout.convert("LA"), weights=model), weights=model).mode == "LA"


# --- pictures of more than one tile -----------------------------------------------------------------


@pytest.mark.slow
def test_a_picture_of_four_tiles(model: CodecModel) -> None:
    x, y = np.meshgrid(np.arange(1100), np.arange(1040))
    samples = np.tile(photograph(275, 260), (4, 4, 1))
    samples[..., 0] = samples[..., 0] // 2 + (x + y) // 20 % 128  # no two tiles alike
    image = Image.fromarray(samples)
    data = encode(image, weights=model, effort=1, quality=30)
    decoder = Decoder(weights=model)
    for start in range(0, len(data), 5000):
        decoder.feed(data[start : start + 5000])
    assert decoder.image() == decode(data, weights=model)
    assert psnr(samples, np.asarray(decoder.image())) > 28.8
    for cut in (len(data) // 50, len(data) // 3, len(data) - 1):
        assert decode(data[:cut], weights=model).size == (1100, 1040)
    assert thumbnail(data, weights=model).size == (138, 130)
    # The border between tiles is no seam: errors beside it are those of its neighbourhood.
    error = np.abs(np.asarray(decoder.image()).astype(int) - samples).mean(axis=2)
    assert error[:, 1020:1028].mean() < 1.25 * error[:, 950:1090].mean()
    assert error[1020:1028].mean() < 1.25 * error[950:].mean()


_PEAK = """
import resource
from PIL import Image
from ctc_codec import decode, encode, load_model
model = load_model(threads=1)
small = Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 90).convert("RGB")
decode(encode(small.resize((256, 256)), weights=model), weights=model)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
image = small.resize((2400, 1800), Image.Resampling.BICUBIC)
data = encode(image, weights=model, effort=1)
encoded = peak()
decode(data, weights=model)
print(encoded - before, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in another unit")
def test_memory_is_some_bytes_for_each_pixel() -> None:
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    encoding, both = map(float, done.stdout.split())
    pixel = 2400 * 1800 / 2**20
    assert encoding < 150 * pixel
    assert both < 150 * pixel
