"""FORMAT.md, followed with Python integers alone (the package ``reference``), gives the codec's latents."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from ctc_codec import decode, decode_latent, encode, load_model
from ctc_codec._container import split_stream, unframe
from ctc_codec._entropy import RangeDecoder, rows_of
from ctc_codec._header import Coding, Header
from ctc_codec._planes import quantise_frequencies
from ctc_codec.evaluation.bench import synthetic_image
from reference import coder, container, latent
from reference.weights import Weights

HERE = Path(__file__).parent
FORMAT, RELEASE = HERE / "data" / "format", HERE / "data" / "release"
TINY, RELEASED = FORMAT / "tiny.safetensors", HERE.parent / "weights" / "ctc.safetensors"

_weights = functools.cache(Weights)


def _decode(data: bytes, weights: Path = TINY) -> latent.Latent:
    return latent.decode(container.read(data), _weights(weights))


def _expected(folder: Path) -> dict[str, dict[str, str]]:
    return json.loads((folder / "hashes.json").read_text())


@pytest.mark.parametrize("name", _expected(FORMAT))
def test_reference_decoder_agrees_at_every_golden_cut(name: str) -> None:
    data = (FORMAT / f"{name}.ctc").read_bytes()
    expected = _expected(FORMAT)[name]
    found = {cut: _decode(data[: int(cut)]) for cut in expected}
    assert {cut: known.sha256() for cut, known in found.items()} == expected
    assert found[str(len(data))].hyper_known
    assert not found[str(len(data))].ends


def test_reference_decoder_agrees_on_a_file_of_the_released_weights() -> None:
    data = (RELEASE / "photo.ctc").read_bytes()
    expected = _expected(RELEASE)["photo"]
    for cut in (30, len(data)):  # in z, and whole, 10 s: the other cuts take half a minute
        assert _decode(data[:cut], RELEASED).sha256() == expected[str(cut)]


@pytest.mark.parametrize(
    ("size", "coding"),
    [
        ((1, 90), Coding(0)),
        ((150, 1), Coding(2, "sigma")),
        ((34, 50), Coding(15)),
        ((49, 64), Coding(1, "raster")),
    ],
    ids=lambda value: (
        "x".join(map(str, value)) if isinstance(value, tuple) else f"{value.slices}{value.order}"
    ),
)
def test_reference_decoder_agrees_on_new_files_at_any_cut(size: tuple[int, int], coding: Coding) -> None:
    model = load_model(TINY)
    data = encode(synthetic_image(*size), weights=model, device="cpu", coding=coding)
    start = Header.parse(data)[1]
    cuts = random.Random(sum(size)).sample(range(start, len(data)), 3)
    for cut in (start, *cuts, len(data)):
        found, decoded = _decode(data[:cut]), decode_latent(data[:cut], weights=model)[1]
        assert found.shape == decoded.latent.shape
        assert found.values == decoded.latent.reshape(-1).tolist()
        assert found.hyper_known == decoded.z_complete
        assert sum(got for _, got, _ in found.trits) == decoded.trits


@pytest.mark.parametrize("path", [FORMAT / "extras.ctc", RELEASE / "photo.ctc"], ids=lambda path: path.stem)
def test_cut_and_damaged_files_hold_the_same_bytes(path: Path) -> None:
    data = path.read_bytes()
    header, start = Header.parse(data)
    rng = random.Random(3)
    variants = [data[:cut] for cut in (start, *range(start + 1, len(data), 97))]
    edges = (start + 4094, start + 4096, start + 8190, start + 8192, len(data) - 2, len(data))
    variants += [data[: edge + d] for edge in edges for d in (-1, 0, 1) if edge + d <= len(data)]
    for _ in range(30):
        bad = bytearray(data)
        bad[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
        variants += [bytes(bad), bytes(bad[: rng.randrange(start, len(data))])]
    damaged = 0
    for variant in [*variants, data + b"\0"]:
        file, expected = container.read(variant), unframe(variant, header, start)
        assert (file.code, file.extras) == split_stream(expected.data, header)
        assert file.damaged == (expected.damage is not None)
        damaged += file.damaged
    assert damaged > 30


def test_cut_code_words_give_the_same_symbols() -> None:
    rng = np.random.default_rng(4)
    for symbols, peak in ((3, 0.05), (3, 5.0), (127, 0.3)):
        p = rng.dirichlet(np.full(symbols, peak), 100) + 1e-9
        frequencies = quantise_frequencies(p)
        message = (frequencies.cumsum(axis=1) / 65536 < rng.random(100)[:, None]).sum(axis=1).tolist()
        word = coder.encode(message, frequencies.tolist())
        for cut in range(len(word) + 1):
            decoder, known = coder.PrefixDecoder(word[:cut]), []
            try:
                known.extend(decoder.decode(row) for row in frequencies.tolist())
            except coder.CodeEnds:
                assert cut < len(word)
            assert known == message[: len(known)]
            assert known == RangeDecoder(word[:cut], complete=False).decode(rows_of(frequencies)).tolist()


def test_reference_decoder_finds_the_extras() -> None:
    data = (FORMAT / "extras.ctc").read_bytes()
    sections = container.sections(container.read(data).extras)
    assert sorted(sections) == [1, 2, 3, 4, 5]
    assert len(sections[1]) == 14
    image = decode(data, weights=load_model(TINY))
    assert image.mode == "RGBA"
    assert image.getchannel("A").tobytes() == container.alpha(sections[3], image.width)
    expected = json.loads((FORMAT / "extras.json").read_text())
    assert hashlib.sha256(image.getchannel("A").tobytes()).hexdigest() == expected["alpha"]
    for kind, name in ((4, "exif"), (5, "xmp")):
        assert zlib.decompress(sections[kind]) == image.info[name] == bytes.fromhex(expected[name])


_RUN = """
import runpy, sys
before = set(sys.modules)
sys.argv[0] = "reference"
runpy.run_module("reference", run_name="__main__")
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
print(*{"torch", "numpy", "constriction", "safetensors", "ctc_codec"}.intersection(sys.modules))
"""


def test_the_program_needs_the_standard_library_alone() -> None:
    command = [sys.executable, "-c", _RUN, str(FORMAT / "grey.ctc"), str(TINY)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    *told, loaded, forbidden = done.stdout.split("\n")[:-1]
    assert loaded == "reference"
    assert forbidden == ""
    size = str((FORMAT / "grey.ctc").stat().st_size)
    assert told[0].split()[1] == "33x17"
    assert told[-1].split() == ["sha256", _expected(FORMAT)["grey"][size]]


def test_the_program_refuses_what_it_cannot_decode(tmp_path: Path) -> None:
    data = (FORMAT / "grey.ctc").read_bytes()
    for content, weights in (
        (b"hello", TINY),
        (data[:10], TINY),
        (data[:7] + b"\x20" + data[8:], TINY),
        (data, RELEASED),
        (data, FORMAT / "hashes.json"),
    ):
        (tmp_path / "file.ctc").write_bytes(content)
        command = [sys.executable, "-m", "reference", str(tmp_path / "file.ctc"), str(weights)]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
