"""The ``ctc`` command: its parts, and how it ends.

Data goes to stdout, words to stderr. Exit codes: 0 done, 1 an input failed, 2 wrong usage, 128 + N ended by
signal N (130: ^C, 143: SIGTERM). A command's module is imported when the command is called, and modules that
need numpy inside the work that needs them.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, NoReturn

import click

from .. import __version__
from ..errors import CtcError
from . import signals
from .files import drop_stdout, printable, reason, tell
from .options import examples
from .work import internal_error, out_of_memory

_OF_STDOUT = {errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG}
"""Errors of the system that come of help and version texts; others can come from anywhere."""

_SHORT_HELP = {
    "encode": "Images to .ctc files.",
    "decode": ".ctc files, whole or cut anywhere, to images.",
    "truncate": "Keep the first bytes of .ctc files.",
    "info": "Describe .ctc files.",
    "check": "Tell whether .ctc files are as they were written.",
    "preview": "Make web pages with a slider over a file's bytes.",
    "evaluate": "Measure the codec and its peers on images.",
    "train": "Make weights from photographs.",
    "completion": "Print a script for a shell's completion.",
}
"""Commands that have a module of their name, in the order in which they are listed."""

_OTHER_WORDS = {
    **dict.fromkeys(("compress", "convert"), "encode"),
    **dict.fromkeys(("decompress", "extract", "view", "show"), "decode"),
    **dict.fromkeys(("list", "ls", "identify"), "info"),
    **dict.fromkeys(("verify", "test"), "check"),
    **dict.fromkeys(("cut", "head", "trim"), "truncate"),
}
"""Commands by what they are called elsewhere."""


_HABITS = {
    "ctc": {
        "-d": "ctc decode FILE decodes",
        "-z": "ctc encode FILE encodes",
        "-l": "ctc info FILE describes it",
        "-t": "ctc check FILE tells whether it is sound",
        "-v": "-V is the version",
        **dict.fromkeys(("-o", "-c", "-q"), "a command comes first: ctc encode FILE"),
    },
    "ctc encode": {
        **dict.fromkeys(
            ("-1", "-9", "-19", "--best", "--fast", "-m", "--speed"), "-e is the effort, from 1 to 9"
        ),
        **dict.fromkeys(("-d", "--distance"), "-q is the quality, from 1 to 100"),
        **dict.fromkeys(("--progressive", "--interlace"), "every file is progressive"),
        **dict.fromkeys(("-b", "-s", "--size", "--rate"), "--bytes is a size, --bpp a rate"),
        **dict.fromkeys(("--strip", "--exif"), "metadata are kept with --keep-metadata alone"),
        **dict.fromkeys(("-S", "--suffix"), "--keep-suffix keeps the input's"),
        "--lossless": "there is no lossless mode, -q 100 is 50 dB and more",
    },
    "ctc decode": {"-F": "--format is the image format"},
    "": {
        **dict.fromkeys(("-y", "--overwrite"), "-f overwrites"),
        **dict.fromkeys(("-n", "--no-clobber"), "existing files are kept without -f"),
        **dict.fromkeys(("--out", "--outdir", "--output-dir"), "-o is the output, -o DIR/ a folder"),
        **dict.fromkeys(("-i", "--input"), "inputs are named as they are"),
        **dict.fromkeys(("--device", "--gpu", "--cuda"), "all computing is on the CPU"),
        **dict.fromkeys(("--resize", "--scale"), "resize the image before"),
        **dict.fromkeys(("-T", "-p"), "--threads are those of a file, -j is for many files"),
        "--update": "--skip-existing leaves out what is done",
    },
}
"""What does here what an option of another program does there, by command; "": of all."""


class _Commands(MutableMapping[str, click.Command]):
    """Commands by name, each imported when it is looked at."""

    def __init__(self) -> None:
        self._known: dict[str, click.Command | None] = dict.fromkeys(_SHORT_HELP)

    def __getitem__(self, name: str) -> click.Command:
        command = self._known[name]
        if command is None:
            command = getattr(import_module(f".{name}", __package__), name)
            command.short_help = _SHORT_HELP[name]
            self._known[name] = command
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class _Group(click.Group):
    """Ends in one way after an error or a signal: one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order in which they are added

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_SHORT_HELP.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in _OTHER_WORDS and self.get_command(ctx, name) is None:
            raise click.UsageError(f"No such command '{name}': ctc {_OTHER_WORDS[name]}?", ctx)
        if self.get_command(ctx, name) is None and os.path.exists(name):
            task = "decode" if name.lower().endswith(".ctc") else "encode"
            raise click.UsageError(f"{printable(name)} is no command: ctc {task} {printable(name)}?", ctx)
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # libraries' words to programmers
        with signals.handled():
            try:
                super().main(*args, **{**kwargs, "prog_name": "ctc", "standalone_mode": False})
            except click.Abort as error:
                _interrupted(error.__cause__)
            except click.UsageError as error:
                where = error.ctx.command_path if error.ctx else "ctc"
                known = None
                if isinstance(error, click.NoSuchOption):
                    known = (_HABITS[""] | _HABITS.get(where, {})).get(error.option_name)
                hint = f"{known}; see" if known else "see"
                words = " ".join((error.message if known else error.format_message()).split())
                tell(f"ctc: {words} ({hint} {where} --help)")
                raise SystemExit(2) from None
            except Exception as error:
                if signals.came():  # libraries make other exceptions of an interrupt
                    _interrupted(error)
                tell(f"ctc: {_reason(error)}")
                raise SystemExit(1) from None
            raise SystemExit(0)


def _reason(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, CtcError):
        return str(error)
    if out_of_memory(error):
        return "not enough memory"
    if not isinstance(error, OSError):
        return internal_error(error)
    if error.errno not in _OF_STDOUT:
        return reason(error)
    drop_stdout()  # help and version texts that stdout does not take
    return f"standard output: {error.strerror}"


def _interrupted(error: BaseException | None) -> NoReturn:
    code = signals.exit_code(error)
    tell("ctc: interrupted")
    raise SystemExit(code)


@click.group(
    cls=_Group,
    commands=_Commands(),
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
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
@click.version_option(__version__, "-V", "--version", prog_name="ctc")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Progressive image codec: one file, every prefix of it is an image.

    encode makes a .ctc file of an image, truncate (or head -c) cuts it to any size, decode makes an image of
    what is left, info tells what that is, and check whether it is as it was written.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def command() -> NoReturn:
    """Run the command as a process of its own, which ends at once: the system takes back all at a time what
    Python would take apart."""
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()
    os._exit(code)


@main.command(name="help", hidden=True, epilog=examples("ctc help encode"))
@click.argument("command", required=False)
@click.pass_context
def help_(ctx: click.Context, command: str | None) -> None:
    """Show the help of a command, or of all of ctc."""
    found = main if command is None else main.get_command(ctx, command)
    if found is None:
        raise click.UsageError(f"No such command {command!r}.", ctx.parent)
    parent = ctx.parent if found is not main else None
    click.echo(found.get_help(click.Context(found, parent, "ctc" if found is main else command)))


@main.command(hidden=True, epilog=examples("ctc version"))
def version() -> None:
    """Show the version."""
    click.echo(f"ctc, version {__version__}")
