"""``beamsight completion``: a script with which the shell completes commands and options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from beamsight.options import option
from runners.cli.parser import Command, Outcome, Parsed

Shell = Literal["bash", "zsh"]


@dataclass(frozen=True, slots=True)
class CompletionOptions:
    """For which shell."""

    shell: Shell = option(positional=True, metavar="SHELL", help="Shell that reads the script: bash or zsh")


def completion(parsed: Parsed) -> Outcome:
    """Print the script."""
    import shtab

    return Outcome(shtab.complete(parsed.parser, parsed.option(CompletionOptions).shell))


COMMAND = Command(
    name="completion",
    summary="print a script with which bash or zsh completes commands and options",
    run=completion,
    options=(CompletionOptions,),
    examples={
        "bash": 'eval "$(beamsight completion bash)"',
        "zsh, into a folder of fpath": "beamsight completion zsh > ~/.zfunc/_beamsight",
    },
)
