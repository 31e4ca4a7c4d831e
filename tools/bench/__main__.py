"""Times by stage, start-up, memory, large images, folders of images, other codecs: ``make bench``.

cd tools && python -m bench [--image FILE] [--before TREE] [--against FILE.json] [-o FILE.json] [-o FILE.md]
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench import peers, sections
from bench.pictures import png_of
from bench.sections import Bench, quartiles
from bench.tables import Document, page, tables
from bench.trees import Tree
from ctc_codec.codec.model import default_weights
from ctc_codec.codec.options import DEFAULT_EFFORT, EFFORTS
from ctc_codec.codec.processes import cores
from ctc_codec.evaluation.images import file_digest
from ctc_codec.evaluation.results import machine

FORMAT = "ctc-bench-2"
SECTIONS = ("processes", "totals", "stages", "sizes", "batches", "peers")
MEGAPIXELS = (0.4, 2.0, 12.0)
_HUGE = 100.0


def measure(
    bench: Bench,
    only: tuple[str, ...],
    efforts: tuple[int, ...],
    stage_efforts: tuple[int, ...],
    megapixels: tuple[float, ...],
    images: int,
) -> Document:
    """The document of some sections."""
    told: dict[str, Any] = {"peers": {}, "dense": {}}

    def others() -> None:
        told["peers"] = peers.peers(bench)

    def stages() -> None:
        told["dense"] = sections.stages(bench, stage_efforts)

    parts: dict[str, Callable[[], None]] = {
        "processes": lambda: sections.processes(bench),
        "totals": lambda: sections.totals(bench, efforts),
        "stages": stages,
        "sizes": lambda: sections.sizes(bench, megapixels),
        "batches": lambda: sections.batches(bench, images),
        "peers": others,
    }
    for name in SECTIONS:
        if name in only:
            parts[name]()
    size = bench.size()
    document = {
        "format": FORMAT,
        "machine": machine(),
        "cores": cores(),
        "weights": file_digest(default_weights()),
        "image": {"name": bench.image.stem, "width": size[0], "height": size[1]},
        "runs": bench.runs,
        "efforts": list(efforts),
        "stage_efforts": list(stage_efforts),
        "megapixels": list(megapixels),
        "images": images,
        **told,
    }
    for tree in bench.trees:
        document[tree.name] = {
            "measured": {
                name: [float(f"{value:.4g}") for value in quartiles(values)]
                for name, values in bench.found.get(tree.name, {}).items()
            },
            "networks": bench.networks.get(tree.name, {}),
        }
    return document


def read(path: Path) -> Document:
    """A document from its file. Raises ClickException for another file."""
    document = json.loads(path.read_text())
    if document.get("format") != FORMAT:
        raise click.ClickException(f"{path} is no {FORMAT} file")
    return dict(document)


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_EFFORT = click.IntRange(EFFORTS[0], EFFORTS[-1])


@click.command()
@click.option("--image", type=_FILE, help="Default: synthetic, 768x512.")
@click.option(
    "--before",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="An earlier source tree, which is measured in turn.",
)
@click.option("--against", type=_FILE, help="A document of an earlier measurement, for ratios.")
@click.option("--effort", "efforts", type=_EFFORT, multiple=True, default=tuple(EFFORTS), help="Of totals.")
@click.option(
    "--stages",
    "stage_efforts",
    type=_EFFORT,
    multiple=True,
    default=(EFFORTS[0], DEFAULT_EFFORT, EFFORTS[-1]),
    show_default=True,
    help="Efforts whose stages are told.",
)
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--images", type=click.IntRange(min=2), default=16, show_default=True, help="In the folder.")
@click.option("--large", is_flag=True, help="Also 100 megapixels, which takes minutes.")
@click.option("--only", type=click.Choice(SECTIONS), multiple=True, default=SECTIONS)
@click.option("--read", "known", type=_FILE, help="Measure nothing: tables of this document.")
@click.option(
    "-o", "outputs", type=click.Path(dir_okay=False, path_type=Path), multiple=True, help="FILE.json, FILE.md"
)
def main(
    *,
    image: Path | None,
    before: Path | None,
    against: Path | None,
    known: Path | None,
    outputs: tuple[Path, ...],
    large: bool,
    **chosen: Any,
) -> None:
    """Print tables; -o keeps the document and a page of it."""
    former = None if against is None else read(against)
    if known is not None:
        document = read(known)
    else:
        trees = [Tree("after")] if before is None else [Tree("before", before.resolve()), Tree("after")]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            picture = folder / f"{'synthetic' if image is None else image.stem}.png"
            picture.write_bytes(png_of(image))
            runs = chosen.pop("runs")
            bench = Bench(trees, picture, runs, folder, lambda line: click.echo(line, err=True))
            document = measure(bench, megapixels=MEGAPIXELS + (_HUGE,) * large, **chosen)
    click.echo(tables(document, former))
    for output in outputs:
        if output.suffix == ".md":
            output.write_text(page(document, former), "utf-8")
        else:
            output.write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
