"""The ``ctc`` command: a thin layer over the Python API.

Data goes to stdout, words to stderr. Exit codes: 0 done, 1 an input failed, 2 wrong usage, 128 + N ended by
signal N (130: ^C, 143: SIGTERM).
Modules that need numpy are imported inside the commands that need them.
"""

from __future__ import annotations

import os
from typing import Any

import click

from .. import __version__
from ..codec.options import DEFAULT_EFFORT, DEFAULT_QUALITY, EFFORTS
from .batch import run_batch
from .evaluate import evaluate
from .files import STREAM
from .frames import FramesWork, frame_name
from .group import CommandGroup
from .info import tell_facts
from .inputs import ctc_suffixes, image_suffixes, plan
from .options import (
    ACCEPT_DAMAGE,
    BPP,
    COMPUTE,
    INPUTS,
    JOBS,
    NBYTES,
    OUTPUT,
    WORDS,
    BatchOptions,
    ByteCount,
    Colour,
    ComputeOptions,
    Positive,
    Quality,
    collected,
    examples,
    exclusive,
)
from .preview import preview
from .train import train
from .work import DecodeWork, EncodeWork, TruncateWork

_SHELLS = ("bash", "zsh", "fish")


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=False,
    epilog=examples(
        "ctc encode photo.png                        # photo.ctc",
        "ctc truncate photo.ctc --bpp 0.5 -o small.ctc",
        "ctc decode small.ctc                        # small.png",
        "head -c 6000 photo.ctc | ctc decode - -o preview.png",
        "ctc encode -r photos -o archive --jobs auto # a tree of folders",
        more="Data goes to stdout, words to stderr. Exit codes: 0 done, 1 an input failed, 2 wrong usage, "
        "130 interrupted, 143 terminated. ctc COMMAND --help has more examples.",
    ),
)
@click.version_option(__version__, prog_name="ctc")
def main() -> None:
    """Progressive image codec: one file, every prefix of it is an image.

    encode makes a .ctc file of an image, truncate (or head -c) cuts it to any size, decode makes an image of
    what is left, info tells what that is, and check whether it is as it was written.
    """


@main.command(
    short_help="Images to .ctc files.",
    epilog=examples(
        "ctc encode photo.png                         # photo.ctc",
        "ctc encode photo.png -q 90 -e 8 -o good.ctc",
        "ctc encode *.jpg -o archive/ --jobs auto     # one process per core",
        "ctc encode -r photos -o archive --skip-existing   # photos/a/b.png: archive/a/b.ctc",
        "ctc encode -r photos --json > results.jsonl  # bytes, bpp, PSNR of every file",
        "curl -s https://example.org/a.png | ctc encode - > a.ctc",
        more="Quality is a target of squared error, whatever the content: 85 is 40 dB, 90 is 42 dB, 100 all "
        "trit planes, about 50 dB. It only says where the file ends, which can be cut anywhere later. "
        "From folders, files with a suffix of an image format are taken, hidden ones and links to folders "
        "are not. Exit codes: 0 done, 1 an input failed (the others are done), 2 wrong usage, "
        "130 interrupted: what is done is whole, and --skip-existing goes on.",
    ),
)
@INPUTS
@OUTPUT
@click.option(
    "-q",
    "--quality",
    type=Quality(),
    help=f"Where the file ends, from 1 to 100.  [default: {DEFAULT_QUALITY}]",
)
@BPP
@NBYTES
@click.option("--psnr", type=Positive(), metavar="DB", help="End the file where it reaches DB dB, measured.")
@click.option(
    "-e",
    "--effort",
    type=click.IntRange(EFFORTS[0], EFFORTS[-1]),
    default=DEFAULT_EFFORT,
    show_default=True,
    metavar="1..9",
    help="More: slower to encode and to decode, smaller files.",
)
@click.option(
    "--context/--no-context", default=True, help="Without: larger files, faster to code, whatever the effort."
)
@click.option("--background", type=Colour(), metavar="COLOR", help="Flatten transparency onto it.")
@click.option("--keep-metadata", "metadata", is_flag=True, help="Keep EXIF and XMP.")
@click.option(
    "--quality-table/--no-quality-table",
    default=True,
    help="Without: a few bytes less, and truncate --psnr will not work.",
)
@JOBS
@COMPUTE
@WORDS
@collected(batch=BatchOptions, compute=ComputeOptions)
def encode(inputs: tuple[str, ...], *, batch: BatchOptions, compute: ComputeOptions, **targets: Any) -> None:
    """Encode images to .ctc (by default beside each input, with the suffix .ctc)."""
    exclusive(quality=targets["quality"], bpp=targets["bpp"], bytes=targets["nbytes"], psnr=targets["psnr"])
    run_batch(plan(inputs, batch, ".ctc", image_suffixes), EncodeWork(batch, compute, **targets), compute)


@main.command(
    short_help=".ctc files, whole or cut anywhere, to images.",
    epilog=examples(
        "ctc decode photo.ctc                         # photo.png",
        "ctc decode photo.ctc --bpp 0.3 -o small.jpg",
        "ctc decode -r archive -o pictures --format webp --jobs auto",
        "ctc decode photo.ctc --thumbnail -o icon.png # an eighth of each side, fast",
        "ctc decode logo.ctc --background '#ffffff' -o logo.jpg",
        "curl -s https://example.org/a.ctc | ctc decode - --progressive-every 10k -o frame-%03d.png",
        more="Exit codes: 0 done, 1 an input failed (the others are done), 2 wrong usage, 130 interrupted.",
    ),
)
@INPUTS
@OUTPUT
@BPP
@NBYTES
@click.option("--format", "image_format", metavar="NAME", help="Image format (default: suffix, or png).")
@ACCEPT_DAMAGE
@click.option(
    "--background",
    type=Colour(),
    metavar="COLOR",
    help="What is behind transparency, for formats without it.",
)
@click.option("--thumbnail", is_flag=True, help="An eighth of each side, much faster.")
@click.option(
    "--progressive-every",
    "every",
    type=ByteCount(),
    help="An image after every N bytes, as they arrive, and one at the end; needs -o NAME%03d.png.",
)
@JOBS
@COMPUTE
@WORDS
@collected(batch=BatchOptions, compute=ComputeOptions)
def decode(
    inputs: tuple[str, ...],
    *,
    bpp: float | None,
    nbytes: int | None,
    image_format: str | None,
    accept_damage: bool,
    background: str | None,
    thumbnail: bool,
    every: int | None,
    batch: BatchOptions,
    compute: ComputeOptions,
) -> None:
    """Decode .ctc files, whole or cut anywhere, to images (by default PNG beside each input)."""
    exclusive(bpp=bpp, bytes=nbytes, progressive_every=every)
    exclusive(thumbnail=thumbnail, progressive_every=every)
    from ..image.save import saving_format

    try:
        suffix = f".{image_format}" if image_format else ".png"
        kind = saving_format(suffix)
        first = _frames(inputs, batch) if every is not None else None
        chosen = plan(inputs, batch, suffix.lower(), ctc_suffixes)
        names = [first] if first else [task.target for task in [*chosen.tasks, *chosen.skipped][:1]]
        if not image_format and names and names != [STREAM]:
            kind = saving_format(os.path.splitext(names[0])[1])
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if every is not None:
        run_batch(chosen, FramesWork(batch, compute, kind, every, accept_damage, background), compute)
    work = DecodeWork(batch, compute, kind, bpp, nbytes, accept_damage, background, thumbnail)
    run_batch(chosen, work, compute)


def _frames(inputs: tuple[str, ...], batch: BatchOptions) -> str:
    """Name of the first frame. Raises UsageError, ValueError."""
    if len(inputs) > 1 or batch.recursive or batch.skip_existing:
        raise click.UsageError("--progressive-every takes one input, without -r and --skip-existing")
    return frame_name(batch.output or "", 1)


@main.command(
    short_help="Keep the first bytes of .ctc files.",
    epilog=examples(
        "ctc truncate photo.ctc --bpp 0.5 -o small.ctc",
        "ctc truncate photo.ctc --psnr 34 -o good.ctc # needs no weights",
        "ctc truncate -r archive --bytes 20k -o web",
        "curl -s https://example.org/a.ctc | ctc truncate - --bytes 9000 > a.ctc",
        more="Exit codes: 0 done, 1 an input failed (the others are done), 2 wrong usage, 130 interrupted.",
    ),
)
@INPUTS
@OUTPUT
@BPP
@NBYTES
@click.option(
    "--psnr", type=Positive(), metavar="DB", help="About as many as give DB dB, by the file's quality table."
)
@WORDS
@collected(batch=BatchOptions)
def truncate(
    inputs: tuple[str, ...],
    *,
    bpp: float | None,
    nbytes: int | None,
    psnr: float | None,
    batch: BatchOptions,
) -> None:
    """Keep the first bytes of .ctc files (the same as head -c)."""
    exclusive(bpp=bpp, bytes=nbytes, psnr=psnr)
    if bpp is None and nbytes is None and psnr is None:
        raise click.UsageError("give --bpp, --bytes or --psnr")
    if batch.output is None and inputs != (STREAM,):
        raise click.UsageError("give -o: the result does not replace its input by default")
    run_batch(plan(inputs, batch, ".ctc", ctc_suffixes), TruncateWork(batch, bpp, nbytes, psnr))


@main.command(
    short_help="Describe .ctc files.",
    epilog=examples(
        "ctc info photo.ctc",
        "ctc info --header-only *.ctc                 # fast: no weights are loaded",
        "ctc info --json photo.ctc | jq .quality      # bytes and dB",
        more="Exit codes: 0 all files are sound, whole or cut; 1 one is not, or is damaged; 2 wrong usage.",
    ),
)
@INPUTS
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line and file.")
@click.option("--header-only", is_flag=True, help="Skip the trit planes (fast: no weights are loaded).")
@COMPUTE
@collected(compute=ComputeOptions)
def info(inputs: tuple[str, ...], *, as_json: bool, header_only: bool, compute: ComputeOptions) -> None:
    """Describe .ctc files: size, dimensions, trit planes held, weights, complete or cut."""
    tell_facts(inputs, compute, planes=not header_only, as_json=as_json)


@main.command(
    short_help="Tell whether .ctc files are as they were written.",
    epilog=examples(
        "ctc check photo.ctc",
        "ctc check -r archive --quiet                 # says which are not",
        "ctc check --complete upload.ctc              # a cut file is not accepted",
        "ctc check -r archive --json | jq -r 'select(.error).file'",
        "curl -s https://example.org/a.ctc | ctc check -",
        more="Verifies the header, every check sum, and what a file holds besides colours; decodes no pixels "
        "and needs no weights. Exit codes: 0 all files are sound, whole or cut; 1 one is not; 2 wrong usage.",
    ),
)
@INPUTS
@click.option("-r", "--recursive", is_flag=True, help="Take the .ctc files in folders.")
@click.option("--complete", is_flag=True, help="Files that are cut are not accepted.")
@click.option(
    "--decode",
    is_flag=True,
    help="Read the code word too: finds one that no encoder writes. Needs the weights, and some time.",
)
@COMPUTE
@WORDS
@collected(batch=BatchOptions, compute=ComputeOptions)
def check(
    inputs: tuple[str, ...], *, complete: bool, decode: bool, batch: BatchOptions, compute: ComputeOptions
) -> None:
    """Check .ctc files: whole, cut (a valid beginning), or damaged, and where."""
    from .check import CheckOptions, check_files

    check_files(inputs, batch, CheckOptions(complete, decode), compute)


preview.short_help = "Make a web page with a slider over a file's bytes."
evaluate.epilog = examples(
    "ctc evaluate photos/ -o report/",
    "ctc evaluate photos/ --codecs ctc,jpeg --metrics psnr --points 0.1,0.5,1",
    "ctc evaluate photos/ --ablation",
    "ctc evaluate photos/ --json > results.json",
)
train.epilog = examples(
    "ctc train photos/ --run runs/base --minutes 60",
    "ctc train photos/ shard.tar --run runs/next --start ctc.safetensors --device cuda",
    "ctc train photos/ --run runs/rehearsal --steps 10 --batch 1",
)
evaluate.short_help = "Measure the codec and its peers on images."
train.short_help = "Make weights from photographs."
main.add_command(preview)
main.add_command(evaluate)
main.add_command(train)


@main.command(
    short_help="Print a script for a shell's completion.",
    epilog=examples(
        "ctc completion bash > ~/.local/share/bash-completion/completions/ctc",
        "ctc completion zsh > ~/.zfunc/_ctc           # a folder of your $fpath",
        "ctc completion fish > ~/.config/fish/completions/ctc.fish",
        'eval "$(ctc completion bash)"                # for this shell only',
        more="The next shell completes commands, options and file names.",
    ),
)
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the script that makes a shell complete ctc's commands and options."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "ctc", "_CTC_COMPLETE").source(), nl=False)


if __name__ == "__main__":
    main()
