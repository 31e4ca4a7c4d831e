"""Damage of files: how much of it is found.

    cd tools && python -m reliability.damage [-o FILE.json] [--samples 20000000]

Damage within the reach of a check sum's promise must all be found: the exit code is 1 if it is not. Of larger
damage one in 65,536 is missed, which SAMPLES of each kind show.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctc_codec import CodecModel, CtcError, Header, encode, load_model
from ctc_codec.codec.verify import verify_code
from ctc_codec.container.blocks import BLOCK_BYTES, BLOCK_DATA, crc
from ctc_codec.container.file import CUT, DAMAGED, File, pack, parse
from ctc_codec.container.verify import verify
from reliability.record import record, write

_AT_ONCE = 1 << 20
_BURST = 16


@dataclass(frozen=True)
class Row:
    """One kind of damage.

    missed: of those tried.
    promised: none may be missed.
    """

    damage: str
    tried: int
    missed: int
    promised: bool = True


def read(data: bytes) -> File | None:
    """A file that passes ``ctc check``, None if damage is found."""
    try:
        file = parse(data)
        verify(file)
    except CtcError:
        return None
    return None if file.state == DAMAGED else file


def _row(damage: str, files: Iterable[bytes], promised: bool = True) -> Row:
    missed = [read(data) is not None for data in files]
    return Row(damage, len(missed), sum(missed), promised)


def _changed(data: bytes, at: int, flip: int) -> bytes:
    return data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]


def small_files(model: CodecModel) -> dict[str, bytes]:
    """Whole files of a few pixels, by mode."""
    rng = np.random.default_rng(3)
    image = Image.fromarray(rng.integers(60, 190, (9, 8, 4), np.uint8))
    return {mode: encode(image.convert(mode), quality=40, weights=model) for mode in ("RGB", "L", "RGBA")}


def _of_blocks(rng: np.random.Generator, fingerprint: bytes, nbytes: int) -> tuple[bytes, int]:
    """A file of random bytes with right check sums, and where its blocks begin."""
    header = Header(64, 48, fingerprint, planes=3, slices=5)
    data = pack(header, rng.bytes(nbytes), [])
    return data, parse(data).header_bytes


def bytes_changed(model: CodecModel, rng: np.random.Generator) -> Iterator[Row]:
    """Single bytes of whole and cut files, and of headers; blocks moved."""
    for mode, data in small_files(model).items():
        every = (_changed(data, at, flip) for at in range(len(data)) for flip in range(1, 256))
        yield _row(f"one byte of a file of {len(data)} bytes, {mode}, each to each other value", every)
    data, start = _of_blocks(rng, model.fingerprint, 10_000)
    flips = [1 << bit for bit in range(8)] + [255]
    every = (_changed(data, at, flip) for at in range(len(data)) for flip in flips)
    yield _row(f"one byte of a file of three blocks, {len(data):,} bytes: each, {len(flips)} ways", every)
    yield _row("one byte of 3,000 random headers: each bit", _headers(rng, model.fingerprint))
    cuts = [int(cut) for cut in rng.integers(start + BLOCK_BYTES, len(data), 17)]
    ends = {cut: parse(data[:cut]).checked_bytes for cut in cuts}
    early = (_changed(data[:cut], at, 64) for cut in cuts for at in range(0, ends[cut], 7))
    yield _row("one byte of a cut file, in blocks with a check sum", early)
    late = (_changed(data[:cut], at, 64) for cut in cuts for at in range(ends[cut], cut, 7))
    yield _row("the same, in the last block, which has none yet", late, promised=False)
    head = data[:start]
    blocks = [data[at : at + BLOCK_BYTES] for at in range(start, len(data), BLOCK_BYTES)]
    orders = [(1, 0, 2), (0, 2, 1), (2, 1, 0), (0, 0, 1, 2), (0, 1, 1, 2), (1, 2)]
    moved = [head + b"".join(blocks[i] for i in order) for order in orders]
    moved += [data[:cut] + bytes(len(data) - cut) for cut in range(start, len(data) - 2, 97)]
    yield _row("blocks swapped, doubled or left out; the end replaced by zeros", moved)
    yield _row("the block before the last, shorter one left out", [head + blocks[0] + blocks[2]], False)


def _headers(rng: np.random.Generator, fingerprint: bytes) -> Iterator[bytes]:
    for _ in range(3000):
        width, height = (int(2 ** rng.uniform(0, 13)) for _ in range(2))
        planes = int(rng.integers(1, 8))
        header = Header(width, height, fingerprint, grey=bool(rng.integers(2)), planes=planes)
        data = pack(replace(header, slices=planes * int(rng.integers(1, 9))), b"", [])
        yield from (_changed(data, at, 1 << bit) for at in range(len(data)) for bit in range(8))


def cuts_taken_for_damage(model: CodecModel) -> Row:
    """Every cut of the small files behind the header."""
    tried = missed = 0
    for data in small_files(model).values():
        for end in range(parse(data).header_bytes, len(data)):
            file = read(data[:end])
            tried, missed = tried + 1, missed + (file is None or file.state != CUT)
    return Row("nothing: a cut at every byte, told from damage", tried, missed)


# --- by the check sum alone -------------------------------------------------------------------------


def _remainders() -> np.ndarray:
    """What each value of each byte of a block and its check sum does to the difference of check sums, uint16
    [bytes, 256]."""
    table = np.zeros((BLOCK_BYTES, 256), np.uint16)
    table[-1], table[-2] = np.arange(256), np.arange(256) << 8
    table[BLOCK_DATA - 1] = last = np.array([crc(bytes([value]), 0) for value in range(256)], np.uint16)
    for at in range(BLOCK_DATA - 2, -1, -1):  # one more byte behind it
        table[at] = table[at + 1] << 8 ^ last[table[at + 1] >> 8]
    return table


def bytes_of_a_block(rng: np.random.Generator, samples: int) -> Iterator[Row]:
    """Several bytes of one block at once."""
    table = _remainders()
    for count in (2, 3, 4, 16):
        tried = missed = 0
        for done in range(0, samples, _AT_ONCE):
            size = min(_AT_ONCE, samples - done)
            places = rng.integers(0, BLOCK_BYTES, (count, size))
            distinct = (np.diff(np.sort(places, axis=0), axis=0) > 0).all(axis=0)
            tried += int(distinct.sum())
            flips = rng.integers(1, 256, (count, size))
            missed += int((distinct & (np.bitwise_xor.reduce(table[places, flips], axis=0) == 0)).sum())
        yield Row(f"{count} bytes of one block", tried, missed, promised=False)


def bursts(rng: np.random.Generator, samples: int) -> Iterator[Row]:
    """Runs of bits, of which the first and the last are wrong and any of those between."""
    for least, most, promised in ((1, _BURST, True), (_BURST + 1, 256, False)):
        missed = 0
        for length in rng.integers(least, most + 1, samples).tolist():
            wrong = 1 | 1 << length - 1 | int.from_bytes(rng.bytes(32), "big") & (1 << length) - 1
            missed += crc((wrong << int(rng.integers(8))).to_bytes(34, "big"), 0) == 0
        yield Row(f"a burst of {least} to {most} bits", samples, missed, promised)


# --- by encoding again ------------------------------------------------------------------------------


def wrong_code_words(model: CodecModel, rng: np.random.Generator, tries: int = 200) -> Row:
    """Code words with one wrong bit and check sums that fit, by ``check --decode``."""
    data = small_files(model)["RGB"]
    file = parse(data)
    missed = 0
    for _ in range(tries):
        at, bit = int(rng.integers(len(file.code))), int(rng.integers(8))
        wrong = _changed(file.code, at, 1 << bit)
        try:
            verify_code(pack(file.header, wrong, []), model, None)
            missed += 1
        except CtcError:
            pass
    return Row("one bit of a code word, check sums fitting, by `check --decode`", tries, missed)


def lines(content: dict[str, Any]) -> list[str]:
    """A record as a table."""
    rows = [
        f"| {row['damage']} | {row['tried']:,} | {_found(row['tried'], row['missed'])} |"
        for row in content["rows"]
    ]
    return ["| what was changed | tried | found |", "|---|---|---|", *rows]


def _found(tried: int, missed: int) -> str:
    if missed in (0, tried):
        return "none" if missed else "all"
    return f"all but {missed:,} ({missed / tried:.1e})"


def main(arguments: list[str]) -> int:
    """Damage files, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", dest="output", type=Path, help=".json")
    parser.add_argument("--samples", type=int, default=20_000_000, help="of several bytes (default: 2e7)")
    chosen = parser.parse_args(arguments)
    model, rng = load_model(threads=1), np.random.default_rng(11)
    rows = [
        *bytes_changed(model, rng),
        cuts_taken_for_damage(model),
        *bursts(rng, chosen.samples // 20),
        *bytes_of_a_block(rng, chosen.samples),
        wrong_code_words(model, rng),
    ]
    total = {
        "tried": sum(row.tried for row in rows),
        "broken": sum(row.missed for row in rows if row.promised),
    }
    content = record(total, [asdict(row) for row in rows])
    print("\n".join(lines(content)))
    if chosen.output:
        write(chosen.output, content)
    return int(total["broken"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
