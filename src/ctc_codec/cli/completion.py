"""``ctc completion``: scripts for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .options import examples


@click.command(
    epilog=examples(
        "ctc completion bash > ~/.local/share/bash-completion/completions/ctc",
        "ctc completion zsh > ~/.zfunc/_ctc           # a folder of your $fpath",
        "ctc completion fish > ~/.config/fish/completions/ctc.fish",
        'eval "$(ctc completion bash)"                # for this shell only',
        more="The next shell completes commands, options and file names.",
    ),
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete ctc's commands and options."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "ctc", "_CTC_COMPLETE").source(), nl=False)
