"""The ``ctc`` command: a thin layer over the Python API.

Data goes to stdout, words to stderr. Exit codes: 0 done, 1 an input failed, 2 wrong usage.
Modules that need torch are imported inside the commands that need them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from . import __version__
from ._container import MAX_PIXELS, Coding
from ._container import info as container_info
from ._container import truncate as truncate_bytes
from ._errors import CtcError, LimitError, WeightsError
from ._files import (
    STREAM,
    StdoutGone,
    check_output,
    drop_stdout,
    printable,
    read_input,
    write_output,
    write_stdout,
)
from .evaluation.command import evaluate
from .training.command import train

_F = TypeVar("_F", bound=Callable[..., Any])
_MULTIPLES = {"": 1, "k": 1000, "m": 1000_000, "ki": 1024, "mi": 1 << 20}
_BYTE_COUNT = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(|k|m|ki|mi)b?", re.IGNORECASE | re.ASCII)


class _ByteCount(click.ParamType[int]):
    name = "N[k|M]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _BYTE_COUNT.fullmatch(value)
        count = int(float(match[1]) * _MULTIPLES[match[2].lower()]) if match else 0
        if count < 1:
            self.fail(f"{value!r} is not a positive number of bytes (2000, 40k, 1.5M, 64Ki)", param, ctx)
        return count


class _Positive(click.ParamType[float]):
    name = "X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is not a positive number", param, ctx)
        return number


_POSITIVE = _Positive()
_BPP = click.option("--bpp", type=_POSITIVE, metavar="X", help="At most X bits per pixel.")
_BYTES = click.option(
    "--bytes", "nbytes", type=_ByteCount(), help="At most N bytes (k = 1000, M = 1000000; Ki, Mi)."
)
_OUTPUT = click.option("-o", "--output", metavar="FILE|DIR|-", help="Output; - is stdout.")
_FORCE = click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
_INPUTS = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")


def _options(*decorators: Callable[[_F], _F]) -> Callable[[_F], _F]:
    def apply(function: _F) -> _F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


_WORDS = _options(
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    click.option("-v", "--verbose", is_flag=True, help="Say more."),
)
_COMPUTE = _options(
    click.option(
        "--weights", type=click.Path(), envvar="CTC_WEIGHTS", help="Weights file (default: built in)."
    ),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads (default: all cores)."),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where the transforms run; entropy coding is always on the CPU.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=0),
        default=MAX_PIXELS,
        show_default=True,
        help="Refuse larger images; 0 for no limit.",
    ),
)


def _one_target(**targets: object) -> None:
    given = [f"--{name}" for name, value in targets.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other")


def _tell(text: str) -> None:
    """Say something on stderr; that nobody can hear it is no reason to fail."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _is_folder(output: str | None) -> bool:
    if output is None or output == STREAM:
        return False
    if not output:
        raise click.UsageError("the name after -o is empty")
    return output.endswith(("/", os.sep)) or os.path.isdir(output)


def _outputs(inputs: tuple[str, ...], output: str | None, suffix: str) -> list[str]:
    """Output name of every input. Raises UsageError where they would collide."""
    if inputs.count(STREAM) > 1:
        raise click.UsageError("standard input can be read only once")
    into_folder = _is_folder(output)
    if output is not None and not into_folder:
        if len(inputs) > 1:
            raise click.UsageError("several inputs need -o with a folder (or none at all)")
        return [STREAM if output == "/dev/stdout" else output]
    names = []
    for name in inputs:
        if name == STREAM:
            if into_folder or len(inputs) > 1:
                raise click.UsageError("standard input has no name: use -o FILE for it, alone")
            names.append(STREAM)
        else:
            stem = Path(name).with_suffix(suffix) if Path(name).name else Path(name)
            names.append(str(Path(str(output)) / stem.name if into_folder else stem))
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise click.UsageError(f"several inputs would be written to {sorted(twice)[0]}")
    return names


def _make_folder(output: str | None) -> None:
    if _is_folder(output):
        try:
            os.makedirs(str(output), exist_ok=True)
        except OSError as error:
            reason = "not a directory" if isinstance(error, FileExistsError) else error.strerror
            raise click.UsageError(f"{printable(str(output))}: {reason}") from None


def _route(name: str, target: str) -> str:
    return f"{printable(name)} -> {'standard output' if target == STREAM else printable(target)}"


def _internal_error(error: Exception) -> str:
    return " ".join(f"internal error, please report it: {type(error).__name__}: {error}".split())


class _Batch:
    """Works through inputs, goes on after a bad one, and says at the end which failed."""

    def __init__(self, quiet: bool, verbose: bool) -> None:
        self.quiet, self.verbose = quiet, verbose
        self._failed: list[str] = []
        self._count = 0

    def say(self, text: str) -> None:
        if not self.quiet:
            _tell(text)

    def detail(self, text: str) -> None:
        if self.verbose:
            self.say(text)

    def run(self, name: str, work: Callable[[], None]) -> None:
        self._count += 1
        try:
            work()
            return
        except StdoutGone as error:
            _tell(f"ctc: {error}")
            sys.exit(1)  # the other inputs cannot do better
        except CtcError as error:
            message = str(error)
        except MemoryError:
            message = "not enough memory"
        except Exception as error:  # the last resort: a bug must not end a batch either
            if "allocate memory" in str(error):
                message = "not enough memory"
            else:
                if self.verbose:
                    traceback.print_exc()
                message = _internal_error(error)
        _tell(f"ctc: {printable(name)}: {message}")
        self._failed.append(name)

    def run_all(
        self, inputs: tuple[str, ...], outputs: list[str], work: Callable[[str, str], None]
    ) -> NoReturn:
        """``work(input, output)`` for all of them, then exit."""
        for name, target in zip(inputs, outputs, strict=True):
            self.run(name, functools.partial(work, name, target))
        self.finish()

    def finish(self) -> NoReturn:
        if self._failed and self._count > 1:
            names = ", ".join(printable(name) for name in self._failed)
            _tell(f"ctc: {len(self._failed)} of {self._count} inputs failed: {names}")
        sys.exit(1 if self._failed else 0)


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _load(weights: str | None, threads: int | None, device: str) -> Any:
    """The model, loaded before the first input, so that wrong weights fail once and at once."""
    from ._device import resolve_device
    from ._model import load_model

    _use_threads(threads)
    try:
        resolve_device(device)
        return load_model(weights)
    except CtcError as error:
        raise click.ClickException(str(error)) from None


def _summary(data: bytes) -> str:
    found = container_info(data)
    return f"{found.header.width}x{found.header.height}, {len(data)} bytes, {found.bpp:.4f} bpp"


class _Group(click.Group):
    """Formats click's own errors like ours."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            super().main(*args, **{**kwargs, "prog_name": "ctc", "standalone_mode": False})
        except click.Abort:
            _tell("ctc: interrupted")
            sys.exit(130)
        except click.UsageError as error:
            hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
            _tell(f"ctc: {error.format_message()}{hint}")
            sys.exit(2)
        except click.ClickException as error:
            _tell(f"ctc: {error.format_message()}")
            sys.exit(1)
        except OSError as error:  # help and version texts that stdout does not take
            drop_stdout()
            _tell(f"ctc: standard output: {error.strerror}")
            sys.exit(1)
        except Exception as error:
            _tell(f"ctc: {_internal_error(error)}")
            sys.exit(1)
        sys.exit(0)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(__version__, prog_name="ctc")
def main() -> None:
    """Progressive image codec: one file, every prefix of it is an image."""


@main.command()
@_INPUTS
@_OUTPUT
@_BPP
@_BYTES
@click.option("--psnr", type=_POSITIVE, metavar="DB", help="About the fewest bytes that give DB dB.")
@click.option("--context/--no-context", default=True, help="Without: larger files, faster to code.")
@_FORCE
@_COMPUTE
@_WORDS
def encode(
    inputs: tuple[str, ...],
    output: str | None,
    bpp: float | None,
    nbytes: int | None,
    psnr: float | None,
    context: bool,
    force: bool,
    weights: str | None,
    threads: int | None,
    device: str,
    max_pixels: int,
    quiet: bool,
    verbose: bool,
) -> None:
    """Encode images to .ctc (by default beside each input, with the suffix .ctc)."""
    _one_target(bpp=bpp, bytes=nbytes, psnr=psnr)
    outputs = _outputs(inputs, output, ".ctc")
    model = _load(weights, threads, device)
    from PIL import Image

    from ._codec import encode as encode_image
    from ._image import open_image, source_image

    Image.MAX_IMAGE_PIXELS = None  # --max-pixels takes its place
    limit = max_pixels or None
    batch = _Batch(quiet, verbose)

    def one(name: str, target: str) -> None:
        check_output(target, force)
        started = time.perf_counter()
        source = source_image(open_image(read_input(name), limit))
        for note in source.notes:
            batch.say(f"ctc: {printable(name)}: note: {note}")
        data = encode_image(
            source,
            bpp=bpp,
            nbytes=nbytes,
            psnr=psnr,
            weights=model,
            device=device,
            max_pixels=limit,
            coding=None if context else Coding(),
        )
        write_output(target, data, force)
        batch.say(f"{_route(name, target)}: {_summary(data)}")
        batch.detail(f"  {time.perf_counter() - started:.2f} s, weights {model.fingerprint.hex()}")

    _make_folder(output)
    batch.run_all(inputs, outputs, one)


@main.command()
@_INPUTS
@_OUTPUT
@_BPP
@_BYTES
@click.option("--format", "image_format", metavar="NAME", help="Image format (default: suffix, or png).")
@click.option("--accept-damage", is_flag=True, help="Decode what stands before damaged bytes.")
@_FORCE
@_COMPUTE
@_WORDS
def decode(
    inputs: tuple[str, ...],
    output: str | None,
    bpp: float | None,
    nbytes: int | None,
    image_format: str | None,
    accept_damage: bool,
    force: bool,
    weights: str | None,
    threads: int | None,
    device: str,
    max_pixels: int,
    quiet: bool,
    verbose: bool,
) -> None:
    """Decode .ctc files, whole or cut anywhere, to images (by default PNG beside each input)."""
    _one_target(bpp=bpp, bytes=nbytes)
    from ._image import image_bytes, saving_format

    try:
        suffix = f".{image_format}" if image_format else ".png"
        kind = saving_format(suffix)
        outputs = _outputs(inputs, output, suffix.lower())
        if not image_format and outputs != [STREAM]:
            kind = saving_format(os.path.splitext(outputs[0])[1])
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    model = _load(weights, threads, device)
    from ._codec import decode as decode_image

    batch = _Batch(quiet, verbose)

    def one(name: str, target: str) -> None:
        check_output(target, force)
        started = time.perf_counter()
        data = read_input(name)
        if bpp is not None or nbytes is not None:
            data = truncate_bytes(data, bpp=bpp, nbytes=nbytes)
        image = decode_image(
            data,
            weights=model,
            device=device,
            accept_damage=accept_damage,
            max_pixels=max_pixels or None,
            warn=lambda message: _tell(f"ctc: {printable(name)}: warning: {message}"),
        )
        write_output(target, image_bytes(image, kind), force)
        batch.say(f"{_route(name, target)}: {_summary(data)}")
        batch.detail(f"  {time.perf_counter() - started:.2f} s, weights {model.fingerprint.hex()}")

    _make_folder(output)
    batch.run_all(inputs, outputs, one)


@main.command()
@_INPUTS
@_OUTPUT
@_BPP
@_BYTES
@_FORCE
@_WORDS
def truncate(
    inputs: tuple[str, ...],
    output: str | None,
    bpp: float | None,
    nbytes: int | None,
    force: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Keep the first bytes of .ctc files (the same as head -c)."""
    _one_target(bpp=bpp, bytes=nbytes)
    if bpp is None and nbytes is None:
        raise click.UsageError("give --bpp or --bytes")
    if output is None and inputs != (STREAM,):
        raise click.UsageError("give -o: the result does not replace its input by default")
    outputs = _outputs(inputs, output, ".ctc")
    batch = _Batch(quiet, verbose)

    def one(name: str, target: str) -> None:
        check_output(target, force)
        data = read_input(name)
        small = truncate_bytes(data, bpp=bpp, nbytes=nbytes)
        write_output(target, small, force)
        batch.say(f"{_route(name, target)}: {_summary(small)}")
        batch.detail(f"  {len(data)} bytes before")

    _make_folder(output)
    batch.run_all(inputs, outputs, one)


def _describe(name: str, data: bytes, weights: str | None, planes: bool, max_pixels: int) -> dict[str, Any]:
    found = container_info(data)
    header = found.header
    facts: dict[str, Any] = {
        "file": printable(name),
        "bytes": found.nbytes,
        "complete_bytes": header.file_bytes,
        "width": header.width,
        "height": header.height,
        "mode": "L" if header.grey else "RGB",
        "bpp": round(found.bpp, 5),
        "state": "damaged" if found.damage else "complete" if found.complete else "cut",
        "damage": found.damage,
        "fingerprint": header.fingerprint.hex(),
        "slices": header.coding.slices,
        "order": header.coding.order,
    }
    if planes:
        from ._codec import decode_latent

        try:
            _, decoded = decode_latent(
                data, weights=weights, accept_damage=True, max_pixels=max_pixels or None
            )
            facts |= {
                "planes": decoded.planes,
                "planes_held": round(decoded.planes_held, 3),
                "hyper_latent": "complete" if decoded.z_complete else "cut",
                "trits": decoded.trits,
            }
        except (WeightsError, LimitError) as error:
            facts["planes_unknown"] = str(error)
    return facts


def _lines(facts: dict[str, Any]) -> Iterable[str]:
    state = facts["damage"] or facts["state"]
    yield f"{facts['file']}: {facts['width']}x{facts['height']} {facts['mode']}, {state}"
    yield f"  {facts['bytes']} of {facts['complete_bytes']} bytes, {facts['bpp']} bpp"
    if "planes" in facts:
        yield (
            f"  {facts['planes_held']:g} of {facts['planes']} trit planes ({facts['trits']} trits), "
            f"hyper-latent {facts['hyper_latent']}"
        )
    elif "planes_unknown" in facts:
        yield f"  trit planes not read: {facts['planes_unknown']}"
    slices = facts["slices"]
    context = f"context refreshed {slices} x a plane" if slices else "no context model"
    yield f"  weights {facts['fingerprint']}, {context}, order by {facts['order']}"


@main.command()
@_INPUTS
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line and file.")
@click.option("--header-only", is_flag=True, help="Skip the trit planes (fast: no weights are loaded).")
@_COMPUTE
def info(
    inputs: tuple[str, ...],
    as_json: bool,
    header_only: bool,
    weights: str | None,
    threads: int | None,
    device: str,
    max_pixels: int,
) -> None:
    """Describe .ctc files: size, dimensions, trit planes held, weights, complete or cut."""
    if not header_only:
        _use_threads(threads)
    batch = _Batch(quiet=False, verbose=False)

    def one(name: str) -> None:
        facts = _describe(name, read_input(name), weights, not header_only, max_pixels)
        text = json.dumps(facts) if as_json else "\n".join(_lines(facts))
        write_stdout(f"{text}\n".encode())
        if facts["damage"]:
            raise CtcError(facts["damage"])

    if weights is not None and not header_only:
        _load(weights, threads, device)
    for name in inputs:
        batch.run(name, functools.partial(one, name))
    batch.finish()


main.add_command(evaluate)
main.add_command(train)


if __name__ == "__main__":
    main()
