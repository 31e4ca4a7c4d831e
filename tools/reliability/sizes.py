"""Every small size, whole and cut, and lines of 65535 pixels.

    cd tools && python -m reliability.sizes [-o FILE.json] [--most 70] [--cuts 2]

A picture of each size from 1x1 to MOST x MOST, grey and coloured in turn, every fifth one with transparency,
is encoded. The file must be what its encoder meant (``ctc check --decode``) and complete; whole and cut at
random bytes, and at the first byte behind the header, it must decode to its size and mode, also as a
thumbnail; what is known of a cut must be known of the whole; and longer cuts must be no worse than shorter
ones, by more than LOSS. Pictures of one to three rows or columns of 65535 pixels go through the command. The
exit code is 1 if anything fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctc_codec import CodecModel, CtcError, Header, encode, load_model, thumbnail
from ctc_codec.codec.verify import verify_code
from ctc_codec.image.source import psnr
from reliability.prefixes import decoder_of, is_prefix
from reliability.record import record, write
from reliability.watched import CTC, DONE, watched

LOSS, NOTED = 3.0, 0.5
"""dB that more bytes may lose, where a trit plane begins, and those that are counted: of a few pixels, one
trit is much."""
LONG = ((65535, 1), (1, 65535), (65535, 2), (3, 65535))
_MODES = {(False, False): "RGB", (True, False): "L", (False, True): "RGBA", (True, True): "LA"}


def picture(width: int, height: int) -> Image.Image:
    """Shades, an edge and some noise; its mode depends on its sides."""
    rng = np.random.default_rng([width, height])
    y, x = np.mgrid[0:height, 0:width]
    light = 128 + 70 * np.sin(x / 9 + y / 17 + rng.uniform(0, 6)) + 60 * (x > 0.6 * width)
    tint = rng.uniform(-40, 40, 3) * (y / height)[..., None]
    samples = light[..., None] + tint + rng.normal(0, 4, (height, width, 3))
    image = Image.fromarray(samples.clip(0, 255).astype(np.uint8))
    mode = _MODES[(width + height) % 2 == 1, (width + 2 * height) % 5 == 0]
    if mode.endswith("A"):
        mask = 255 * (np.hypot(x - width / 2, y - height / 2) < max(width, height) / 2)
        image.putalpha(Image.fromarray(mask.astype(np.uint8)))
    return image.convert(mode)


@dataclass
class Found:
    """What came of pictures.

    decoded: files and cuts.
    losses: cuts that are worse than a shorter one by more than NOTED.
    largest_loss: dB, and ``where``.
    least_psnr: dB, of a whole file.
    failures: in words.
    """

    pictures: int = 0
    files_bytes: int = 0
    decoded: int = 0
    losses: int = 0
    largest_loss: float = 0.0
    where: str = ""
    least_psnr: float = float("inf")
    failures: list[str] = field(default_factory=list)


def check(width: int, height: int, cuts: int, model: CodecModel, found: Found) -> None:
    """Encode and decode a picture of this size, and add what is found."""
    image = picture(width, height)
    name = f"{width}x{height} {image.mode}"
    found.pictures += 1
    try:
        data = encode(image, weights=model)
        verify_code(data, model, None)
        found.files_bytes += len(data)
        for failure in _failures(image, data, cuts, model, found):
            found.failures.append(f"{name}: {failure}")
    except CtcError as error:
        found.failures.append(f"{name}: {error}")


def _failures(image: Image.Image, data: bytes, cuts: int, model: CodecModel, found: Found) -> Iterator[str]:
    header, start = Header.parse(data)
    if header.mode[0] == "R" and image.mode[0] == "L":
        yield "a grey picture is coded in colours"
    rng = np.random.default_rng(len(data))
    whole = decoder_of(data, model)
    if not whole.complete:
        yield "the whole file is not complete"
    small = tuple(-(-side // 8) for side in image.size)
    if thumbnail(data, weights=model).size != small:
        yield f"its thumbnail is not {small[0]}x{small[1]}"
    quality = best = -np.inf
    for cut in [start, *np.sort(rng.integers(start, len(data), cuts)).tolist(), len(data)]:
        decoder = whole if cut == len(data) else decoder_of(data[:cut], model)
        decoded = decoder.image()
        found.decoded += 1
        if (decoded.size, decoded.mode) != (image.size, header.mode):
            yield f"at byte {cut} it is {decoded.width}x{decoded.height} {decoded.mode}"
            continue
        if not is_prefix(decoder.latent(), whole.latent()):
            yield f"at byte {cut} it is no prefix"
        quality = _psnr(image, decoded)
        if quality < best - LOSS:
            yield f"at byte {cut} it is {best - quality:.2f} dB worse than a shorter cut"
        found.losses += best - quality > NOTED
        if best - quality > found.largest_loss:
            found.largest_loss, found.where = best - quality, f"{image.width}x{image.height}"
        best = max(best, quality)
    found.least_psnr = min(found.least_psnr, quality)
    if _alpha(decoded) != _alpha(image):
        yield "its transparency is another one"


def _alpha(image: Image.Image) -> bytes:
    return image.convert("RGBA").getchannel("A").tobytes()


def _psnr(image: Image.Image, decoded: Image.Image) -> float:
    """Over the samples of pixels that are seen."""
    seen = np.asarray(image.convert("RGBA"))[..., 3] > 0
    return psnr(*(np.asarray(each.convert("RGB"))[seen] for each in (image, decoded)))


def long(folder: Path, width: int, height: int, seconds: float = 600) -> dict[str, Any]:
    """A picture of this size through the command: seconds and peak memory of encoding, checking and decoding,
    and what failed."""
    image = picture(width, height).convert("RGB")
    coded = folder / "long.ctc"
    coded.unlink(missing_ok=True)  # of another size
    image.save(folder / "long.png")
    row: dict[str, Any] = {"size": f"{width}x{height}", "failures": []}
    for what, words in (
        ("encode", ("encode", "-f", "long.png", "-o", "long.ctc")),
        ("check", ("check", "--decode", "--complete", "long.ctc")),
        ("decode", ("decode", "-f", "long.ctc", "-o", "whole.png")),
        ("decode a tenth", ("decode", "-f", "long.ctc", "--bytes", "{tenth}", "-o", "cut.png")),
        ("thumbnail", ("decode", "-f", "long.ctc", "--thumbnail", "-o", "small.png")),
    ):
        tenth = str(coded.stat().st_size // 10 if coded.exists() else 1)
        command = [*CTC, *(tenth if word == "{tenth}" else word for word in words)]
        done = watched(command, folder, seconds=seconds)
        row[what] = {"seconds": round(done.seconds, 2), "peak_mb": round(done.peak / 1e6)}
        if done.outcome != DONE:
            row["failures"].append(f"{what}: {done.outcome}: {done.said}")
    if row["failures"]:
        return row
    row["bytes"] = coded.stat().st_size
    small = tuple(-(-side // 8) for side in image.size)
    for name, size in (("whole.png", image.size), ("cut.png", image.size), ("small.png", small)):
        with Image.open(folder / name) as decoded:
            if decoded.size != size:
                row["failures"].append(f"{name} is {decoded.width}x{decoded.height}")
            if name == "whole.png":
                row["psnr"] = round(_psnr(image, decoded), 2)
    return row


def lines(content: dict[str, Any]) -> list[str]:
    """A record in words and a table."""
    total = content["summary"]
    table = [
        f"| {row['size']} | {row.get('bytes', '')} | "
        + " | ".join(
            f"{row[what]['seconds']:.1f} s, {row[what]['peak_mb']} MB"
            for what in ("encode", "check", "decode")
        )
        + f" | {'; '.join(row['failures']) or 'sound'} |"
        for row in content["rows"]
    ]
    return [
        f"All {total['pictures']:,} sizes from 1x1 to {total['most']}x{total['most']}, grey and coloured, "
        f"every fifth with transparency: {total['decoded']:,} files and cuts decoded to the right size, mode "
        f"and a latent that the whole file confirms, {len(total['failures'])} failures. The whole files have "
        f"{total['least_psnr']:.1f} dB or more. More bytes lost more than {total['noted']} dB at "
        f"{total['losses']:,} cuts, {total['largest_loss']:.2f} dB at most ({total['where'] or 'nowhere'}).",
        "",
        "| size | bytes | encode | check --decode | decode | |",
        "|---|---|---|---|---|---|",
        *table,
    ]


def main(arguments: list[str]) -> int:
    """Check the sizes, print what is found, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", dest="output", type=Path, help=".json")
    parser.add_argument("--most", type=int, default=70, help="largest side (default: 70)")
    parser.add_argument("--cuts", type=int, default=2, help="of each file, at random (default: 2)")
    parser.add_argument("--no-long", action="store_true", help="no lines of 65535 pixels")
    chosen = parser.parse_args(arguments)
    model, found = load_model(threads=1), Found()
    for height in range(1, chosen.most + 1):
        for width in range(1, chosen.most + 1):
            check(width, height, chosen.cuts, model, found)
        print(f"height {height}: {found.decoded} decoded, {len(found.failures)} failures", flush=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        rows += [long(Path(folder), *size) for size in LONG if not chosen.no_long]
    total = {"most": chosen.most, "loss": LOSS, "noted": NOTED, **vars(found)}
    total |= {name: round(total[name], 2) for name in ("largest_loss", "least_psnr")}
    content = record(total, rows)
    print("\n".join(["", *lines(content), *found.failures[:50]]))
    if chosen.output:
        write(chosen.output, content)
    return int(bool(found.failures) or any(row["failures"] for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
