"""A second set of photographs, which no weights were trained on.

    python tools/heldout.py SHARDS... -o FOLDER && ctc evaluate FOLDER

The rule: photographs of the sources that training leaves out for want of a stated licence and that come from
cameras (prefixes aaronyf, monstree, sceaux), the middle 768x512 or 512x768 pixels of each.
"""

from __future__ import annotations

import io
from pathlib import Path

import click
from PIL import Image

from ctc_codec.training.data import files_of, images_of

PREFIXES = ("aaronyf", "monstree", "sceaux")
LONG, SHORT = 768, 512


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True)
def main(sources: tuple[Path, ...], output: Path) -> None:
    """Write the set as PNG files."""
    output.mkdir(parents=True, exist_ok=True)
    count = 0
    for path in files_of(sources):
        for name, data in images_of(path):
            if not name.startswith(PREFIXES):
                continue
            with Image.open(io.BytesIO(data)) as image:
                upright = image.height > image.width
                width, height = (SHORT, LONG) if upright else (LONG, SHORT)
                left, top = (image.width - width) // 2, (image.height - height) // 2
                if left >= 0 and top >= 0:
                    middle = image.convert("RGB").crop((left, top, left + width, top + height))
                    middle.save(output / f"{Path(name).stem}.png")
                    count += 1
    click.echo(f"{output}: {count} photographs")


if __name__ == "__main__":
    main()
