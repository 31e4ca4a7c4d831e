"""The ``ctc`` command: its parts, and how it ends.

Data goes to stdout, words to stderr. Exit codes: 0 done, 1 an input failed, 2 wrong usage, 128 + N ended by
signal N (130: ^C, 143: SIGTERM). Modules that need numpy are imported inside the work that needs them.
"""

from __future__ import annotations

import errno
import sys
import warnings
from typing import Any, NoReturn

import click

from .. import __version__
from ..errors import CtcError
from . import signals
from .check import check
from .completion import completion
from .decode import decode
from .encode import encode
from .evaluate import evaluate
from .files import drop_stdout, reason, tell
from .info import info
from .options import examples
from .preview import preview
from .train import train
from .truncate import truncate
from .work import internal_error, out_of_memory

_SHORTAGES = {errno.EMFILE, errno.ENFILE}
"""Errors of the system that can come from anywhere."""


class _Group(click.Group):
    """Ends in one way after an error or a signal: one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order in which they are added

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # libraries' words to programmers
        with signals.handled():
            try:
                super().main(*args, **{**kwargs, "prog_name": "ctc", "standalone_mode": False})
            except click.Abort as error:
                _interrupted(error.__cause__)
            except click.UsageError as error:
                hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
                tell(f"ctc: {error.format_message()}{hint}")
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
    if error.errno in _SHORTAGES:
        return reason(error)
    drop_stdout()  # help and version texts that stdout does not take
    return f"standard output: {error.strerror}"


def _interrupted(error: BaseException | None) -> NoReturn:
    code = signals.exit_code(error)
    tell("ctc: interrupted")
    raise SystemExit(code)


@click.group(
    cls=_Group,
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


for command in (encode, decode, truncate, info, check, preview, evaluate, train, completion):
    main.add_command(command)
