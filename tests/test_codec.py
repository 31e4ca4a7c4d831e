"""Encode and decode as a whole: sizes, prefixes, targets, damaged streams, cost."""

from __future__ import annotations

import binascii
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ctc_codec
from ctc_codec import (
    CodecModel,
    CtcError,
    Header,
    decode,
    decode_latent,
    encode,
    load_model,
    truncate,
)
from ctc_codec._image import psnr
from ctc_codec._latent import synthesise
from ctc_codec._model import FloatNetworks
from ctc_codec.evaluation.bench import synthetic_image
from ctc_codec.evaluation.prefixes import is_prefix

GOLDEN = Path(__file__).parent / "data" / "format"


@pytest.fixture(scope="module")
def model() -> CodecModel:
    return load_model()


@pytest.fixture(scope="module")
def tiny() -> CodecModel:
    return load_model(GOLDEN / "tiny.safetensors")


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 40), (15, 17), (16, 16), (64, 64), (65, 63), (130, 20)])
def test_every_size_comes_back_in_its_size(size: tuple[int, int], model: CodecModel) -> None:
    image = synthetic_image(*size)
    decoded = decode(encode(image, weights=model), weights=model)
    assert decoded.size == size
    assert decoded.mode == "RGB"
    # Two pixels alone are no photograph: the weights of run 2 give them 23.4 dB.
    assert psnr(_pixels(image), _pixels(decoded)) > (20 if size == (2, 1) else 25)


def test_grey_comes_back_grey(model: CodecModel) -> None:
    decoded = decode(encode(synthetic_image(50, 40).convert("L"), weights=model), weights=model)
    assert decoded.mode == "L"


def test_every_cut_decodes_to_a_true_prefix_and_never_gets_worse(model: CodecModel) -> None:
    """All cuts of a small image, with the released weights: state by state, and in dB.

    (Fewer pixels say little in dB: one trit of the few in a 34x24 image cost 0.054 dB, of this one 0.024.)
    """
    image = synthetic_image(50, 34)
    data = encode(image, weights=model)
    start = Header.parse(data)[1]
    whole = decode_latent(data, weights=model)[1]
    best, trits = 0.0, 0
    for cut in range(start, len(data) + 1):
        header, decoded = decode_latent(data[:cut], weights=model)
        pixels = synthesise(model, decoded, header.width, header.height, torch.device("cpu"))
        assert pixels.shape == (34, 50, 3)
        if decoded.z_complete:
            assert is_prefix(decoded.node, whole.node, model.tables)
            assert decoded.trits >= trits
            trits = decoded.trits
        if decoded.trits:
            quality = psnr(_pixels(image), pixels)
            assert quality > best - 0.05
            best = max(best, quality)
    assert trits == whole.trits
    assert whole.planes_held == whole.planes
    for cut in range(start):
        with pytest.raises(ctc_codec.FormatError):
            decode(data[:cut], weights=model)


def test_quality_grows_with_every_plane(model: CodecModel) -> None:
    image = synthetic_image(192, 128)
    data = encode(image, weights=model)
    planes = decode_latent(data, weights=model)[1].planes
    quality: dict[int, float] = {}
    for cut in np.geomspace(40, len(data), 240).astype(int).tolist():
        decoded = decode_latent(data[:cut], weights=model)[1]
        held = int(decoded.planes_held)
        # before z is complete, and with its few bits alone, the picture is a guess either way
        if decoded.z_complete and held not in quality:
            quality[held] = psnr(_pixels(image), _pixels(decode(data[:cut], weights=model)))
    assert max(quality) == planes >= 5
    assert len(quality) >= planes - 1
    assert all(later > earlier + 0.3 for earlier, later in itertools.pairwise(quality.values()))


def test_a_byte_more_or_less_at_the_end_of_a_stream(model: CodecModel) -> None:
    data = encode(synthetic_image(48, 48), weights=model)
    with pytest.raises(ctc_codec.DamageError, match="follow the end"):
        decode(data + b"\0", weights=model)
    assert decode(data[:-1], weights=model).size == (48, 48)


def test_targets_are_kept(model: CodecModel) -> None:
    image = synthetic_image(160, 128)
    whole = encode(image, weights=model)
    small = encode(image, weights=model, nbytes=700)
    assert len(small) == 700
    assert small == whole[:700] == truncate(whole, nbytes=700)
    assert encode(image, weights=model, bpp=0.5) == truncate(whole, bpp=0.5) == whole[: 160 * 128 // 16]
    assert encode(image, weights=model, bpp=1000) == whole
    target = 28.0
    reached = encode(image, weights=model, psnr=target)
    assert whole.startswith(reached)
    assert psnr(_pixels(image), _pixels(decode(reached, weights=model))) >= target
    shorter = reached[: int(len(reached) * 0.98)]
    assert psnr(_pixels(image), _pixels(decode(shorter, weights=model))) < target
    with pytest.raises(ctc_codec.TargetError, match="out of reach"):
        encode(image, weights=model, psnr=80)
    with pytest.raises(ctc_codec.TargetError, match="header"):
        encode(image, weights=model, nbytes=5)
    with pytest.raises(ValueError, match="at most one"):
        encode(image, weights=model, nbytes=500, bpp=1)


def test_decoding_a_rate_is_decoding_the_truncated_file(model: CodecModel) -> None:
    data = encode(synthetic_image(96, 64), weights=model)
    direct, cut = decode(data, weights=model, bpp=0.4), decode(truncate(data, bpp=0.4), weights=model)
    assert np.array_equal(_pixels(direct), _pixels(cut))


def test_files_of_other_weights_are_refused(model: CodecModel, tiny: CodecModel) -> None:
    with pytest.raises(ctc_codec.WeightsError, match="other weights"):
        decode(encode(synthetic_image(20, 20), weights=tiny), weights=model)


def test_too_many_pixels_are_refused_before_anything_is_allocated(tiny: CodecModel) -> None:
    header = Header(1 << 23, 1 << 23, tiny.fingerprint, 100).to_bytes()
    with pytest.raises(ctc_codec.LimitError):
        decode(header, weights=tiny)
    with pytest.raises(ctc_codec.LimitError):
        encode(synthetic_image(30, 30), weights=tiny, max_pixels=899)
    assert encode(synthetic_image(30, 30), weights=tiny, max_pixels=900)


@pytest.mark.parametrize(
    ("mode", "decoded"), [("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("RGBA", "RGBA"), ("LA", "LA")]
)
def test_other_modes_are_converted(mode: str, decoded: str, tiny: CodecModel) -> None:
    image = synthetic_image(32, 32).convert("L" if mode in ("1", "LA") else "RGB").convert(mode)
    if mode.endswith("A"):
        assert decode(encode(image, weights=tiny), weights=tiny).mode == decoded[:-1]  # opaque
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    assert decode(encode(image, weights=tiny), weights=tiny).mode == decoded


def test_floating_point_images_are_refused(tiny: CodecModel) -> None:
    with pytest.raises(ctc_codec.InputError, match="floating-point"):
        encode(Image.fromarray(np.zeros((4, 4), np.float32)), weights=tiny)


def _with_right_sums(data: bytes) -> bytes:
    """The same file with its check sums made right, so that its content reaches the entropy decoder."""
    try:
        header, start = Header.parse(data)
    except CtcError:
        return data
    out, crc, at = bytearray(data), 0xFFFF, start
    left = header.payload_bytes
    while left > 0 and at < len(data):
        size = min(4094, left)
        crc = binascii.crc_hqx(data[at : at + size], crc)
        if at + size + 2 <= len(data):
            out[at + size : at + size + 2] = crc.to_bytes(2, "big")
        left, at = left - size, at + size + 2
    return bytes(out)


def test_two_thousand_mutated_streams_decode_or_raise_our_errors(tiny: CodecModel) -> None:
    rng = np.random.default_rng(2023)
    seeds = [path.read_bytes() for path in sorted(GOLDEN.glob("*.ctc"))]
    outcomes = {"decoded": 0, "refused": 0}
    messages: set[str] = set()
    for i in range(2000):
        if i % 20 == 0:
            data = bytearray(rng.bytes(int(rng.integers(0, 300))))
        else:
            data = bytearray(seeds[i % len(seeds)])
            for _ in range(int(rng.integers(1, 6))):
                position = int(rng.integers(0, len(data)))
                kind = int(rng.integers(0, 4))
                if kind == 0:
                    data[position] = int(rng.integers(0, 256))
                elif kind == 1:
                    del data[position : position + int(rng.integers(1, 50))]
                elif kind == 2:
                    data[position:position] = rng.integers(
                        0, 256, int(rng.integers(1, 50)), dtype=np.uint8
                    ).tobytes()
                else:
                    data[position : position + 20] = bytes(20)
                if not data:
                    data = bytearray(b"\xc7")
        stream = bytes(data)
        if i % 2:
            stream = _with_right_sums(stream)
        try:
            decode_latent(stream, weights=tiny, accept_damage=bool(i % 3), max_pixels=100_000)
            outcomes["decoded"] += 1
        except CtcError as error:
            messages.add(str(error))
            outcomes["refused"] += 1
    assert not any("\n" in message for message in messages)
    assert min(outcomes.values()) > 300


def test_decoder_costs_less_than_100_kmac_per_pixel(model: CodecModel) -> None:
    """Multiply-accumulates of synthesis and hyper-synthesis, counted layer by layer."""
    networks: FloatNetworks = model.networks(torch.device("cpu"))
    side, total = 256, 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        total += layer.weight.numel() * output.shape[2] * output.shape[3]

    hooks = [m.register_forward_hook(count) for m in networks.synthesis.modules() if isinstance(m, nn.Conv2d)]
    networks.synthesis(torch.zeros(1, model.config.latent_channels, side // 16, side // 16))
    for hook in hooks:
        hook.remove()
    for name, scale in (("up1", 64), ("up2", 32), ("mix", 16), ("leave", 16)):
        total += model.hyper_synthesis.layers[name].weight.numel() * (side // scale) ** 2
    kmac_per_pixel = total / side**2 / 1000
    assert 20 < kmac_per_pixel < 100


def test_public_names() -> None:
    assert set(ctc_codec.__all__) >= {"encode", "decode", "truncate", "info", "CtcError"}
    assert all(getattr(ctc_codec, name) is not None for name in ctc_codec.__all__)
    for name in ("InputError", "FormatError", "DamageError", "WeightsError", "LimitError", "TargetError"):
        assert issubclass(getattr(ctc_codec, name), CtcError)


def test_encoding_is_repeatable(model: CodecModel) -> None:
    image = synthetic_image(80, 64)
    first, second = (hashlib.sha256(encode(image, weights=model)).digest() for _ in range(2))
    assert first == second
