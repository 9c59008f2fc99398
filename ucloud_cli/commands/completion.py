"""`ucloud completion`: the script that teaches a shell to complete commands and names."""

import click
from click.shell_completion import get_completion_class

_HOW = {
    "bash": 'eval "$(ucloud completion bash)"  in ~/.bashrc',
    "zsh": 'eval "$(ucloud completion zsh)"  in ~/.zshrc, behind compinit',
    "fish": "ucloud completion fish > ~/.config/fish/completions/ucloud.fish",
}


@click.command(epilog="\b\n" + "\n".join(f"{shell}: {how}" for shell, how in _HOW.items()))
@click.argument("shell", type=click.Choice(tuple(_HOW)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that has a shell complete commands, options and names."""
    root = context.find_root()
    program = "ucloud"
    completer = get_completion_class(shell)
    assert completer, "click knows these shells"  # noqa: S101
    click.echo(completer(root.command, {}, program, f"_{program.upper()}_COMPLETE").source())
