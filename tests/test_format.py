"""FORMAT.md, followed with Python integers alone, gives the codec's latents."""

from __future__ import annotations

import hashlib
import json
import lzma
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import reference_coder
from ctc_codec import decode, decode_latent, load_model

GOLDEN = Path(__file__).parent / "data" / "format"
Grid = list[list[list[int]]]


def _crc(data: bytes, crc: int = 0xFFFF) -> int:
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def _conv(x: Grid, layer: dict[str, Any], groups: int = 1) -> Grid:
    rows, columns, side = len(x[0]), len(x[0][0]), len(layer["weight"][0][0])
    reach = side // 2
    out = []
    outputs, inputs = len(layer["weight"]) // groups, len(x) // groups
    for o, (weight, bias, shift) in enumerate(
        zip(layer["weight"], layer["bias"], layer["shift"], strict=True)
    ):
        group = x[o // outputs * inputs :][:inputs]
        plane = []
        for i in range(rows):
            line = []
            for j in range(columns):
                total = bias + (1 << shift - 1)
                for channel, kernel in zip(group, weight, strict=True):
                    for a in range(side):
                        for b in range(side):
                            y, z = i + a - reach, j + b - reach
                            if 0 <= y < rows and 0 <= z < columns:
                                total += kernel[a][b] * channel[y][z]
                line.append(total >> shift)
            plane.append(line)
        out.append(plane)
    return out


def _act(x: Grid, limit: int = 65536) -> Grid:
    def one(v: int) -> int:
        v = min(max(v, -limit), limit)
        return max(v, (v + 4) >> 3)

    return [[[one(v) for v in line] for line in plane] for plane in x]


def _shuffle(x: Grid) -> Grid:
    rows, columns = len(x[0]), len(x[0][0])
    return [
        [
            [x[4 * c + 2 * (i % 2) + j % 2][i // 2][j // 2] for j in range(2 * columns)]
            for i in range(2 * rows)
        ]
        for c in range(len(x) // 4)
    ]


def _band(i: int, j: int, levels: int) -> int:
    def zeros(k: int) -> int:
        return next((bit for bit in range(levels) if k >> bit & 1), levels)

    a, c = zeros(i), zeros(j)
    m = min(a, c)
    if m == levels:
        return 3 * m
    return 3 * m + (2 if a == c else 0 if a < c else 1)


class _Weights:
    def __init__(self, path: Path) -> None:
        with safe_open(path, framework="numpy") as file:
            config = json.loads(file.metadata()["config"])
            arrays = {n: file.get_tensor(n) for n in file.keys() if n.startswith("exact.")}  # noqa: SIM118
        digest = hashlib.sha256()
        for name in sorted(arrays):
            digest.update(f"{name} {arrays[name].dtype.name} {arrays[name].shape}\n".encode())
            digest.update(arrays[name].tobytes())
        self.fingerprint = digest.digest()[:4]
        self.channels, self.hyper_channels = config["latent_channels"], config["hyper_channels"]
        self.values = {name.removeprefix("exact."): array.tolist() for name, array in arrays.items()}

    def layer(self, name: str) -> dict[str, Any]:
        return {part: self.values[f"{name}.{part}"] for part in ("weight", "bias", "shift")}


def _unmixed(stream: bytes, code_bytes: int, extras_bytes: int, pixels: int) -> tuple[bytes, bytes]:
    """Code word and extras of a complete stream, FORMAT.md section 11: whose is each byte?"""
    lead = min(code_bytes, 256 + pixels // 256)
    code, extras = bytearray(stream[:lead]), bytearray()
    for byte in stream[lead:]:
        taken = len(code) - lead + len(extras)
        to_extras = taken // 256 % 2 == 0 if len(extras) < extras_bytes and len(code) < code_bytes else (
            len(extras) < extras_bytes
        )  # fmt: skip
        (extras if to_extras else code).append(byte)
    return bytes(code), bytes(extras)


def reference_sections(extras: bytes) -> dict[int, bytes]:
    """Sections of complete extras by kind."""
    at, out = 0, {}
    while at < len(extras):
        kind, at = _varint(extras, at)
        size, at = _varint(extras, at)
        out[kind], at = extras[at : at + size], at + size
    assert at == len(extras)
    return out


def reference_alpha(section: bytes, width: int) -> bytes:
    """Alpha of section 3, row by row."""
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20, "lc": 3, "lp": 0, "pb": 0}]
    samples = bytearray(lzma.decompress(section[1:], lzma.FORMAT_RAW, filters=filters))
    for i in range(len(samples)):
        if section[0] == 1 and i % width:
            samples[i] = (samples[i] + samples[i - 1]) % 256
    return bytes(samples)


def reference_latent(data: bytes, weights: _Weights) -> tuple[list[int], bytes]:
    """Latent of a complete file, [N * h * w] in 1/64 steps, and its extras."""
    assert data[:5] == b"\xc7CTC\x03"
    assert data[5] < 8
    slices, order = data[6] & 15, data[6] >> 4
    width, at = _varint(data, 7)
    height, at = _varint(data, at)
    assert data[at : at + 4] == weights.fingerprint
    size, at = _varint(data, at + 4)
    extras_bytes, at = _varint(data, at) if data[5] & 4 else (0, at)
    code_bytes, size = size, size + extras_bytes
    assert int.from_bytes(data[at : at + 2], "big") == _crc(data[:at])
    at, word, crc = at + 2, b"", 0xFFFF
    while len(word) < size:
        block = data[at : at + min(4094, size - len(word))]
        crc, word, at = _crc(block, crc), word + block, at + len(block) + 2
        assert data[at - 2 : at] == crc.to_bytes(2, "big")
    assert at == len(data)
    word, extras = _unmixed(word, code_bytes, extras_bytes, width * height) if extras_bytes else (word, b"")

    coder, v = reference_coder.Decoder(word), weights.values
    h, w, n = -(-height // 16), -(-width // 16), weights.channels
    hz, wz = -(-h // 4), -(-w // 4)
    z: Grid = [[[0] * wz for _ in range(hz)] for _ in range(weights.hyper_channels)]
    for i in range(hz):
        for j in range(wz):
            for c in range(weights.hyper_channels):
                z[c][i][j] = coder.decode(v["z_frequencies"][c]) - 63
    t = _act(_shuffle(_conv(z, weights.layer("up1"))))
    t = _act(_shuffle(_conv(t, weights.layer("up2"))))
    o = _conv(_act(_conv(t, weights.layer("mix"))), weights.layer("leave"))
    at_all = [(c, i, j) for c in range(n) for i in range(h) for j in range(w)]
    added = v["band_level"]
    level = [
        min(max(o[c][i][j] + (added[c][_band(i, j, len(added[c]) // 3)] if c < len(added) else 0), 0), 79)
        for c, i, j in at_all
    ]
    mu = [min(max(o[n + c][i][j], -(1 << 24)), 1 << 24) for c, i, j in at_all]

    trits = v["trits"]
    nodes = [(3 ** (t + 1) - 1) // 2 for t in trits]
    base = [sum(nodes[:k]) for k in range(80)]
    rank: dict[int, int] = {}
    for k in range(80):
        for node in range(base[k], base[k] + (3 ** trits[k] - 1) // 2):
            rank[node] = len(rank)
    depth, prefix = [0] * len(level), [0] * len(level)

    def node(e: int) -> int:
        return base[level[e]] + (3 ** depth[e] - 1) // 2 + prefix[e]

    def mean(e: int) -> int:
        leaf = depth[e] == trits[level[e]]
        return 64 * (prefix[e] - (3 ** trits[level[e]] - 1) // 2) if leaf else v["means"][rank[node(e)]]

    def priority(e: int) -> int:
        if order == 1:
            return level[e]
        return 0 if order else v["priorities"][rank[node(e)]] + v["channel_priority"][e // (h * w)]

    for plane in range(max(trits[k] for k in level) - 1, -1, -1):
        active = [e for e in range(len(level)) if trits[level[e]] > plane]
        key = {e: priority(e) for e in active}
        active.sort(key=lambda e: (-key[e], e))
        count = max(1, min(slices, len(active) // 256))
        size, rest = divmod(len(active), count)
        for i in range(count):
            part = active[i * size + min(i, rest) : (i + 1) * size + min(i + 1, rest)]
            moves = None
            if slices and plane < 6:
                moves = _context(v, level, trits, depth, [mean(e) for e in range(len(level))], n, h, w)
            rows = []
            for e in part:
                row = v["trit_frequencies"][rank[node(e)]]
                if moves is not None:
                    row = _moved(row, v["crr.slopes"][rank[node(e)]], *moves[e])
                rows.append(row)
            for e, row in zip(part, rows, strict=True):
                trit = coder.decode(row)
                depth[e], prefix[e] = depth[e] + 1, 3 * prefix[e] + trit
    return [mu[e] + mean(e) for e in range(len(level))], extras


def _clip(value: int, limit: int) -> int:
    return min(max(value, -limit), limit)


def _context(
    v: dict[str, Any],
    level: list[int],
    trits: list[int],
    depth: list[int],
    means: list[int],
    n: int,
    h: int,
    w: int,
) -> list[tuple[int, int]]:
    """Shift and change of log sigma of every element, FORMAT.md section 8."""

    def layer(name: str) -> dict[str, Any]:
        return {part: v[f"crr.{name}.{part}"] for part in ("weight", "bias", "shift")}

    features: Grid = [[[0] * w for _ in range(h)] for _ in range(4 * n)]
    levels: Grid = [[[0] * w for _ in range(h)] for _ in range(n)]
    for e, k in enumerate(level):
        c, i, j = e // (h * w), e // w % h, e % w
        magnitude, sign = abs(means[e]), (means[e] > 0) - (means[e] < 0)
        width = 3 ** (trits[k] - depth[e])
        sigmas = magnitude * v["crr.inverse_sigma"][k] + (1 << 21) >> 22
        widths = (2 * magnitude + 4 * width) // (8 * width)
        seen = (sign * sigmas, sigmas, sign * widths, v["crr.log_width"][k][trits[k] - depth[e]])
        for f, value in enumerate(seen):
            features[4 * c + f][i][j] = _clip(value, 127)
        levels[c][i][j] = k - 40
    t = _act(_conv(features + levels, layer("enter")), 255)
    u = _act(_conv(_act(_conv(t, layer("mix")), 255), layer("spread"), len(t)), 255)
    joined = _conv(u, layer("join"))
    t = _act([[[a + b for a, b in zip(*r, strict=True)] for r in zip(*p, strict=True)]
              for p in zip(t, joined, strict=True)], 255)  # fmt: skip
    leave, own = _conv(t, layer("leave")), _conv(features, layer("own"), n)
    out = []
    for e in range(len(level)):
        c, i, j = e // (h * w), e // w % h, e % w
        shift, scale = (leave[2 * c + f][i][j] + own[2 * c + f][i][j] for f in (0, 1))
        out.append((_clip(shift, 128), _clip(scale, 64)))
    return out


def _log2(f: int) -> int:
    """floor(64 log2 f)"""
    return (f**64).bit_length() - 1


def _exp2(d: int) -> int:
    """floor(2^(30 - (d % 64) / 64)) >> (d // 64)"""
    low, high = 0, 1 << 31
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**64 << d % 64 <= 1 << 1920 else (low, middle)
    return low >> d // 64


def _moved(row: list[int], slopes: list[list[int]], shift: int, scale: int) -> list[int]:
    logits = [0, 0, 0]
    for side, trit in ((0, 0), (1, 2)):
        odds = _log2(row[trit]) - _log2(row[1])
        logits[trit] = _clip(odds + (shift * slopes[0][side] + scale * slopes[1][side] + 8 >> 4), 1536)
    weights = [_exp2(max(logits) - logit) for logit in logits]
    out = [1 + 65533 * weight // sum(weights) for weight in weights]
    out[weights.index(max(weights))] += 65536 - sum(out)
    return out


@pytest.mark.parametrize("name", ["one-pixel", "grey", "odd", "wide", "raster", "extras"])
def test_reference_decoder_agrees(name: str) -> None:
    data = (GOLDEN / f"{name}.ctc").read_bytes()
    reference, _ = reference_latent(data, _Weights(GOLDEN / "tiny.safetensors"))
    _, decoded = decode_latent(data, weights=load_model(GOLDEN / "tiny.safetensors"))
    assert decoded.latent.reshape(-1).tolist() == reference
    expected = json.loads((GOLDEN / "hashes.json").read_text())[name][str(len(data))]
    assert hashlib.sha256(np.array(reference, dtype="<i4").tobytes()).hexdigest() == expected


def test_reference_decoder_finds_the_extras() -> None:
    data = (GOLDEN / "extras.ctc").read_bytes()
    _, extras = reference_latent(data, _Weights(GOLDEN / "tiny.safetensors"))
    sections = reference_sections(extras)
    assert sorted(sections) == [1, 2, 3, 4, 5]
    assert len(sections[1]) == 14
    image = decode(data, weights=load_model(GOLDEN / "tiny.safetensors"))
    assert image.mode == "RGBA"
    assert image.getchannel("A").tobytes() == reference_alpha(sections[3], image.width)
    expected = json.loads((GOLDEN / "extras.json").read_text())
    assert hashlib.sha256(image.getchannel("A").tobytes()).hexdigest() == expected["alpha"]
    for kind, name in ((4, "exif"), (5, "xmp")):
        assert zlib.decompress(sections[kind]) == image.info[name] == bytes.fromhex(expected[name])
