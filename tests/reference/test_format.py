"""The golden files decode to their hashes, and FORMAT.md, followed with Python integers alone (the package
``reference``), gives the codec's latents."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctc_codec import DamageError, DecodedLatent, Decoder, Header, decode, encode, info, load_model
from ctc_codec.codec.model import default_weights
from ctc_codec.container.file import parse
from golden import FOLDER, golden
from reference import container, latent
from reference.look import rounded
from reference.weights import Weights
from support.coding import chance_file, latent_of
from support.streams import with_header

HERE = Path(__file__).parents[1]
HASHES: dict[str, dict[str, str]] = json.loads((FOLDER / "hashes.json").read_text())

_weights = functools.cache(lambda: Weights(default_weights()))


def _file(name: str) -> bytes:
    return (FOLDER / f"{name}.ctc").read_bytes()


def _reference(data: bytes) -> latent.State:
    return latent.decode(container.read(data), _weights())


def _assert_same(known: latent.State, decoded: DecodedLatent) -> None:
    state = decoded.state
    assert (known.plane, known.low_plane) == (state.plane, state.low_plane)
    assert (known.slices, known.low_held) == (decoded.slices, decoded.low_held)
    for name in ("low", "low_known", "value", "known", "row"):
        assert getattr(known, name) == getattr(state, name).reshape(-1).tolist(), name
    assert known.sha256() == decoded.sha256()


# --- golden files -----------------------------------------------------------------------------------


def test_golden_files_are_all_that_there_are() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ctc")) == sorted(HASHES) == sorted(golden())
    headers = {name: Header.parse(_file(name))[0] for name in HASHES}
    assert {header.fingerprint for header in headers.values()} == {load_model().fingerprint}
    assert headers["grey"].grey
    assert headers["extras"].alpha
    assert headers["one-pixel"].planes == 0
    assert headers["slices"].slices > headers["slices"].planes + 3


@pytest.mark.parametrize("name", HASHES)
def test_codec_decodes_golden_files_at_every_cut(name: str) -> None:
    """Each by itself, and all on the way of bytes that arrive one by one."""
    data, decoder, found = _file(name), Decoder(weights=load_model()), {}
    assert {cut: latent_of(data[: int(cut)], load_model()).sha256() for cut in HASHES[name]} == HASHES[name]
    for at in range(len(data)):
        decoder.feed(data[at : at + 1])
        if str(at + 1) in HASHES[name]:
            found[str(at + 1)] = decoder.latent().sha256()
    assert found == HASHES[name]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[pytest.mark.slow] * (name in ("slices", "wide", "colour", "extras", "tables", "odd"))
        )
        for name in HASHES
    ],
)
def test_reference_decoder_agrees_at_every_golden_cut(name: str) -> None:
    data = _file(name)
    found = {cut: _reference(data[: int(cut)]) for cut in HASHES[name]}
    assert {cut: known.sha256() for cut, known in found.items()} == HASHES[name]
    assert found[min(found, key=int)].ends
    assert not found[str(len(data))].ends


@pytest.mark.parametrize("name", HASHES)
def test_encoder_writes_the_golden_bytes(name: str) -> None:
    """An encoder decides by floats, which are no part of the format: where this alone fails, another machine
    has decided otherwise."""
    each = golden()[name]
    assert encode(each.source, weights=load_model(), **each.options) == _file(name)


# --- other streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "grey", "planes", "slices"),
    [
        (20, 12, False, 10, 22),
        (9, 30, True, 10, 30),
        (900, 1, True, 3, 12),
        (70, 70, False, 1, 3),
        pytest.param(33, 31, False, 4, 9, marks=pytest.mark.slow),
    ],
)
def test_reference_decoder_agrees_on_streams_of_chance(
    width: int, height: int, grey: bool, planes: int, slices: int
) -> None:
    header = Header(width, height, b"", grey=grey, planes=planes, slices=slices)
    data = chance_file(load_model(), header, seed=width)
    start = info(data).header_bytes
    for cut in (*random.Random(width).sample(range(start, len(data)), 4), len(data)):
        _assert_same(_reference(data[:cut]), latent_of(data[:cut], load_model()))


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"slices": 160}, {"planes": 9}, {"width": 999}], ids=str)
def test_streams_that_no_encoder_writes_are_damaged(changes: dict[str, int]) -> None:
    data = with_header(_file("odd"), **changes)
    with pytest.raises(DamageError):
        latent_of(data, load_model())
    with pytest.raises(ValueError, match="damaged"):
        _reference(data)


# --- parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["extras", "slices"])
def test_cut_and_damaged_files_hold_the_same_bytes(name: str) -> None:
    data = _file(name)
    start = info(data).header_bytes
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
        file, expected = container.read(variant), parse(variant)
        assert (file.code, file.extras) == (expected.code, expected.extras)
        assert file.damaged == (expected.damage is not None)
        damaged += file.damaged
    assert damaged > 30


def test_reference_decoder_finds_the_extras() -> None:
    data = _file("extras")
    sections = container.sections(container.read(data).extras)
    assert sorted(sections) == [2, 3, 4, 5, 6]
    assert len(sections[6]) == 14
    image = decode(data, weights=load_model())
    assert image.mode == "RGBA"
    assert image.getchannel("A").tobytes() == container.alpha(sections[3], image.width)
    expected = json.loads((FOLDER / "extras.json").read_text())
    assert hashlib.sha256(image.getchannel("A").tobytes()).hexdigest() == expected["alpha"]
    for kind, name in ((4, "exif"), (5, "xmp")):
        assert zlib.decompress(sections[kind]) == bytes.fromhex(expected[name])
        assert image.info[name].removeprefix(b"Exif\0\0") == bytes.fromhex(expected[name])


def test_rounding_is_to_the_nearest_and_of_halves_to_even() -> None:
    for bits in range(-2, 12):
        for value in range(-5000, 5000, 7):
            assert rounded(value, bits) == round(value / 2**bits)


# --- the program ------------------------------------------------------------------------------------

_RUN = """
import runpy, sys
before = set(sys.modules)
sys.argv[0] = "reference"
runpy.run_module("reference", run_name="__main__")
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
forbidden = {"torch", "numpy", "onnxruntime", "constriction", "safetensors", "ctc_codec"}
print(*forbidden.intersection(sys.modules))
"""


def test_the_program_needs_the_standard_library_alone() -> None:
    command = [sys.executable, "-c", _RUN, str(FOLDER / "grey.ctc"), str(default_weights())]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    *told, loaded, forbidden = done.stdout.split("\n")[:-1]
    assert loaded == "reference"
    assert forbidden == ""
    size = str((FOLDER / "grey.ctc").stat().st_size)
    assert told[0].split()[1] == "33x17"
    assert told[-1].split() == ["sha256", HASHES["grey"][size]]


def _unusable() -> Iterator[tuple[bytes, Path]]:
    data, good = _file("grey"), default_weights()
    yield b"hello", good
    yield data[:10], good
    yield data[:7] + b"\x20" + data[8:], good
    yield with_header(data, fingerprint=b"\0\0\0\0"), good
    yield data, FOLDER / "hashes.json"


@pytest.mark.slow
def test_the_program_refuses_what_it_cannot_decode(tmp_path: Path) -> None:
    for content, weights in _unusable():
        (tmp_path / "file.ctc").write_bytes(content)
        command = [sys.executable, "-m", "reference", str(tmp_path / "file.ctc"), str(weights)]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
