"""How the command ends: every error, and every signal, becomes one line and an exit code."""

from __future__ import annotations

import errno
from typing import Any, NoReturn

import click

from . import signals as _signals
from .batch import tell
from .files import drop_stdout
from .work import internal_error, out_of_memory

_SHORTAGES = {errno.EMFILE, errno.ENFILE}
"""What an OSError says that can come from anywhere."""


class CommandGroup(click.Group):
    """Formats click's errors like ours, ends in one way after a signal, lists commands in their order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        with _signals.handled():
            try:
                super().main(*args, **{**kwargs, "prog_name": "ctc", "standalone_mode": False})
            except click.Abort as error:
                _interrupted(error.__cause__)
            except click.UsageError as error:
                hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
                tell(f"ctc: {error.format_message()}{hint}")
                raise SystemExit(2) from None
            except click.ClickException as error:
                if _signals.came():  # libraries make other exceptions of an interrupt
                    _interrupted(error)
                tell(f"ctc: {error.format_message()}")
                raise SystemExit(1) from None
            except Exception as error:
                if _signals.came():
                    _interrupted(error)
                tell(f"ctc: {_reason(error)}")
                raise SystemExit(1) from None
            raise SystemExit(0)


def _reason(error: Exception) -> str:
    if out_of_memory(error):
        return "not enough memory"
    if not isinstance(error, OSError):
        return internal_error(error)
    if error.errno in _SHORTAGES:
        return error.strerror or type(error).__name__
    drop_stdout()  # help and version texts that stdout does not take
    return f"standard output: {error.strerror}"


def _interrupted(error: BaseException | None) -> NoReturn:
    code = _signals.exit_code(error)
    tell("ctc: interrupted")
    raise SystemExit(code)
