"""Types and options that commands share, and the records that their values are handed on in."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..codec.processes import cores
from ..container.header import MAX_PIXELS
from ..container.storage import local_name
from ..errors import WeightsError
from .files import STDIN_NAMES, STREAM, read_names
from .manifest import read_manifest

if TYPE_CHECKING:
    from ..codec.model import CodecModel

_F = TypeVar("_F", bound=Callable[..., Any])
_MULTIPLES = {"": 1, "k": 1000, "m": 1000_000, "ki": 1024, "mi": 1 << 20}
_BYTE_COUNT = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(|k|m|ki|mi)b?", re.IGNORECASE | re.ASCII)


# --- types ------------------------------------------------------------------------------------------


class ByteCount(click.ParamType[int]):
    """A positive number of bytes with a unit: 2000, 40k, 1.5M, 64Ki."""

    name = "N[k|M]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _BYTE_COUNT.fullmatch(value)
        count = int(float(match[1]) * _MULTIPLES[match[2].lower()]) if match else 0
        if count < 1:
            self.fail(f"{value!r} is not a positive number of bytes (2000, 40k, 1.5M, 64Ki)", param, ctx)
        return count


class _InWords(click.ParamType[Any]):
    """A finite number in a range, which words describe."""

    def __init__(self, words: str, **limits: Any) -> None:
        super().__init__(**limits)
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = math.nan
        with contextlib.suppress(click.BadParameter):
            number = super().convert(value, param, ctx)
        if not -math.inf < number < math.inf:
            self.fail(f"{value!r} is not {self._words}", param, ctx)
        return number


class Number(_InWords, click.FloatRange):
    """A finite number in a range, which words describe."""


class Whole(_InWords, click.IntRange):
    """A whole number in a range, which words describe."""


POSITIVE = Number("a positive number", min=0, min_open=True)
QUALITY = Number("a number from 1 to 100", min=1, max=100)


class Jobs(click.ParamType[int]):
    """A number of processes; ``auto`` and 0 are the number of cores."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value  # the default
        if not re.fullmatch(r"auto|\d{1,4}", value, re.ASCII):
            self.fail(f"{value!r} is neither a number of processes nor auto", param, ctx)
        return (0 if value == "auto" else int(value)) or cores()


class ColourType(click.ParamType[str]):
    """An opaque colour: white, #ff8800, rgb(255,136,0)."""

    name = "COLOR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from ..image.formats import parse_colour

        try:
            parse_colour(value)
        except ValueError:
            self.fail(f"{value!r} is not an opaque colour (white, #ff8800, rgb(255,136,0))", param, ctx)
        return str(value)


# --- records ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchOptions:
    """Options of inputs, outputs and words.

    output: file, folder or ``-``; None for names beside the inputs.
    recursive: take the files in folders.
    listed: the last so many inputs come from a list.
    into_folder: the output is a folder, whatever its name.
    force: replace existing outputs.
    skip_existing: leave out inputs whose output exists.
    keep_suffix: names of outputs are those of inputs with a suffix more.
    preserve: outputs get the times of inputs.
    remove: inputs are removed when their output is written.
    as_json: a JSON object per input on standard output.
    quiet: say nothing but errors.
    verbose: say more.
    jobs: processes, None for the engine's own number.
    engine: what they are: ``local``, or ``ray``.
    address: of a Ray cluster.
    record: file of the job record, or None.
    pack: ``webdataset`` for outputs in tar shards.
    shard_bytes: length of these.
    """

    output: str | None = None
    recursive: bool = False
    listed: int = 0
    into_folder: bool = False
    force: bool = False
    skip_existing: bool = False
    keep_suffix: bool = False
    preserve: bool = False
    remove: bool = False
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    jobs: int | None = None
    engine: str = "local"
    address: str | None = None
    record: str | None = None
    pack: str | None = None
    shard_bytes: int = 256_000_000


@dataclass(frozen=True)
class ComputeOptions:
    """Options of computing.

    weights: a file, None for the packaged ones.
    threads: of the networks, None for one per core.
    max_pixels: limit of width times height, 0 for none.
    """

    weights: str | None = None
    threads: int | None = None
    max_pixels: int = MAX_PIXELS

    @property
    def limit(self) -> int | None:
        """The limit as the library takes it."""
        return self.max_pixels or None

    def load(self) -> CodecModel:
        """The model, ready to use in this process. Raises WeightsError."""
        if self.weights is not None and not os.path.isfile(self.weights):  # told before much is loaded
            raise WeightsError(f"{self.weights}: no such weights file")
        from ..codec.model import load_model

        return load_model(self.weights, self.threads)


def collected(**kinds: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Hand a command's options over as records: ``collected(batch=BatchOptions)`` gathers those that are
    named as fields of BatchOptions in an argument ``batch``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            if isinstance(values.get("output"), str):
                values["output"] = local_name(values["output"])
            if "inputs" in values:
                lists = {name: values.pop(name, None) for name in ("files_from", "manifest")}
                values |= _all_inputs(values["inputs"], values.get("recursive", False), **lists)
            exclusive(rm=values.get("remove"), keep=values.pop("keep", None))
            if values.pop("to_stdout", False):
                exclusive(stdout=True, output=values["output"])
                values["output"] = STREAM
            for name, kind in kinds.items():
                known = [field.name for field in fields(kind) if field.name in values]
                values[name] = kind(**{key: values.pop(key) for key in known})
            return function(**values)

        return command

    return decorate


def _all_inputs(
    named: tuple[str, ...], recursive: bool, files_from: str | None, manifest: str | None
) -> dict[str, Any]:
    """Inputs, those that are named and then those of a list; standard input if there are none."""
    exclusive(files_from=files_from, manifest=manifest)
    named = tuple(STREAM if name in STDIN_NAMES else local_name(name) for name in named)
    if STREAM in named and STREAM in (files_from, manifest):
        raise click.UsageError("standard input can be read only once")
    if manifest is not None:
        listed, folder = read_manifest(local_name(manifest))
        inputs = named + tuple(map(local_name, listed))
        more = {"listed": 0 if folder else len(listed), "recursive": recursive or folder}
        return {"inputs": inputs, "into_folder": True} | more
    if not named and files_from is None:
        if sys.stdin is None or sys.stdin.isatty():
            raise click.UsageError("Missing argument 'INPUT...' (- is standard input)")
        named = (STREAM,)
    listed = tuple(map(local_name, read_names(files_from))) if files_from is not None else ()
    return {"inputs": named + listed, "listed": len(listed)}


# --- options ----------------------------------------------------------------------------------------


def _together(*decorators: Callable[[_F], _F]) -> Callable[[_F], _F]:
    def apply(function: _F) -> _F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


_PATH = click.Path(readable=False)
"""Unchecked: that a file is there and can be read is seen when its turn comes. The type makes shells complete
file names."""

INPUTS = _together(
    click.argument("inputs", nargs=-1, type=_PATH, metavar="INPUT..."),
    click.option("--files-from", type=_PATH, metavar="LIST", help="Also take the files named in LIST."),
)
BPP = click.option("--bpp", type=POSITIVE, metavar="X", help="At most X bits per pixel.")
NBYTES = click.option(
    "--bytes", "nbytes", type=ByteCount(), help="At most N bytes (k = 1000, M = 1000000; Ki, Mi)."
)
ACCEPT_DAMAGE = click.option("--accept-damage", is_flag=True, help="Decode what stands before damaged bytes.")
RECURSIVE = click.option("-r", "--recursive", is_flag=True, help="Take the .ctc files in folders.")
OUTPUT = _together(
    click.option("-o", "--output", type=_PATH, metavar="FILE|DIR|-", help="Output; - is stdout."),
    click.option("-c", "--stdout", "to_stdout", is_flag=True, help="The same as -o -."),
    click.option(
        "-r", "--recursive", is_flag=True, help="Take the files in folders; -o DIR gets the same folders."
    ),
    click.option("-f", "--force", is_flag=True, help="Overwrite existing files."),
    click.option("--skip-existing", is_flag=True, help="Leave out inputs whose output exists."),
    click.option("--preserve", is_flag=True, help="Outputs get the times of their inputs."),
    click.option("--rm", "remove", is_flag=True, help="Remove inputs when their output is written."),
    click.option("-k", "--keep", is_flag=True, help="Keep inputs (the default)."),
)
JOBS = click.option(
    "-j",
    "--jobs",
    type=Jobs(),
    metavar="N",
    help="Work on N files at a time, auto or 0: one per core; they are reported as they finish.  "
    "[default: 1, with --engine ray all that fit]",
)
SCALE = _together(
    click.option(
        "--manifest",
        type=_PATH,
        metavar="LIST|DIR|PARQUET",
        help="Also take the files that a list, a folder or a Parquet file names, each of which may be a URL.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="What works on files: processes here, or actors of a Ray cluster.",
    ),
    click.option(
        "--address", metavar="auto|local|HOST", help="The cluster (default: RAY_ADDRESS, or one made here)."
    ),
    click.option(
        "--record",
        type=_PATH,
        metavar="FILE",
        help="Keep a row for every file in this SQLite database: the same command goes on where it was.  "
        "[default with --engine ray or --pack: in DIR]",
    ),
)
PACK = _together(
    click.option(
        "--pack", type=click.Choice(["webdataset"]), help="Write tar shards in place of files, to -o DIR."
    ),
    click.option(
        "--shard-bytes",
        type=ByteCount(),
        default="256M",
        show_default=True,
        help="Begin another shard at N bytes.",
    ),
)
COMPUTE = _together(
    click.option("--weights", type=_PATH, envvar="CTC_WEIGHTS", help="Weights file (default: built in)."),
    click.option(
        "--threads",
        type=Whole("a number of threads", min=1),
        help="CPU threads per job (default: all cores / jobs).",
    ),
    click.option(
        "--max-pixels",
        type=Whole("a number of pixels", min=0),
        default=MAX_PIXELS,
        show_default=True,
        help="Refuse larger images; 0 for no limit.",
    ),
)


def _words(quiet: str) -> Callable[[_F], _F]:
    return _together(
        click.option("--json", "as_json", is_flag=True, help="One JSON object per line and file, on stdout."),
        click.option(*quiet.split(), is_flag=True, help="Say nothing but errors."),
        click.option("-v", "--verbose", is_flag=True, help="Say more."),
    )


WORDS = _words("-q --quiet")
WORDS_BESIDE_QUALITY = _words("--quiet")
"""Of ``ctc encode``, where -q is the quality."""


def exclusive(**given: object) -> None:
    """Raise UsageError if more than one of these options was used: ``exclusive(bpp=bpp, force=force)``."""
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, False)]
    if len(names) > 1:
        raise click.UsageError(f"{' and '.join(names)} exclude each other")


def examples(*lines: str, more: str = "") -> str:
    """The end of a help text: command lines as they stand, then words."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines), "", more])
