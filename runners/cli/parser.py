"""The parser of the command line, made from commands and the options that they declare."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from beamsight import options
from beamsight.options import Option
from beamsight.text import nearest
from transforms.errors import UsageError


class Outcome(NamedTuple):
    """What a command prints on stdout, its exit code, and problems for stderr.

    lasts: Whether the command did more than to print, so that its exit code holds even if stdout cannot be written.
    """

    text: str = ""
    code: int = 0
    problems: Sequence[str] = ()
    lasts: bool = False


class Parsed(NamedTuple):
    """A parsed command line: the command, the given values by field, the words that are left for Beam, the parser."""

    command: Command
    values: dict[str, Any]
    beam: list[str]
    parser: Any = None

    def option(self, cls: type) -> Any:
        """Make an options class of the given values. Raises WrongUse."""
        try:
            return options.build(cls, self.values)
        except UsageError as error:
            raise WrongUse(str(error), f"beamsight {self.command.name}") from error


@dataclass(frozen=True, slots=True)
class Command:
    """A command, such as ``models stage``.

    run: Does it. more: Options that the help of another command lists. takes_beam: Whether unknown options go to Beam.
    """

    name: str
    summary: str
    run: Callable[[Parsed], Outcome]
    options: tuple[type, ...] = ()
    more: tuple[type, ...] = ()
    description: str = ""
    examples: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""
    takes_beam: bool = False

    @property
    def declared(self) -> tuple[Option, ...]:
        """Its options."""
        return options.of(*self.options, *self.more)


class Parser:
    """Parses the words of a command line. Groups: names such as ``models``, with their summaries."""

    def __init__(self, version: str, commands: Sequence[Command], groups: Mapping[str, str]) -> None:
        self._commands = {command.name: command for command in commands}
        self._argparse = _parser(
            "beamsight", "Classify and embed images with EfficientNet on Apache Beam, into Parquet."
        )
        self._argparse.add_argument("--version", action="version", version=f"beamsight {version}")
        top = self._argparse.add_subparsers(dest="command", metavar="COMMAND", title="commands")
        below = {}
        for command in commands:
            group, _, action = command.name.rpartition(" ")
            if group and group not in below:
                parser = top.add_parser(group, help=groups[group], description=f"{groups[group]}.")
                below[group] = parser.add_subparsers(dest="action", metavar="ACTION", title="actions")
            parsers = below[group] if group else top
            _fill(parsers.add_parser(action, help=command.summary), command)

    def parse(self, words: Sequence[str]) -> Parsed:
        """Parse the words after ``beamsight``. Raises UsageError; exits for ``--help`` and ``--version``."""
        try:
            found, rest = self._argparse.parse_known_args(list(words))
        except WrongUse:
            raise
        except UsageError as error:  # of an option's value
            raise WrongUse(str(error), self._command_of(words)) from error
        values = vars(found)
        name = " ".join(filter(None, (values.pop("command", None), values.pop("action", None))))
        command = self._commands.get(name)
        if command is None:
            raise WrongUse("a command is missing", f"beamsight {name}".strip())
        if rest and not command.takes_beam:
            flags = [option.flag for option in command.declared]
            raise WrongUse(f"unknown option {rest[0]}{nearest(rest[0], flags)}", f"beamsight {name}")
        return Parsed(command, {key: _frozen(value) for key, value in values.items()}, rest, self._argparse)

    def _command_of(self, words: Sequence[str]) -> str:
        names = (" ".join(words[:count]) for count in (2, 1))
        return " ".join(["beamsight", *(name for name in names if name in self._commands)][:2])


class WrongUse(UsageError):
    """The words cannot be parsed. The message names the help to read."""

    def __init__(self, message: str, command: str) -> None:
        super().__init__(f"{message}; see `{command} --help`")


class _ArgumentParser(argparse.ArgumentParser):
    """Raises an error of one line, where argparse prints its usage and exits."""

    def error(self, message: str) -> NoReturn:
        raise WrongUse(message.replace("argument ", "", 1), self.prog)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            raise WrongUse(f"unknown command {value!r}{nearest(value, action.choices)}", self.prog)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=_width())


def _width() -> int:
    return min(110, shutil.get_terminal_size().columns)


def _parser(prog: str, description: str) -> _ArgumentParser:
    return _ArgumentParser(prog, description=description, allow_abbrev=False, formatter_class=_Formatter)


def _fill(parser: argparse.ArgumentParser, command: Command) -> None:
    description = command.description or f"{command.summary[0].upper()}{command.summary[1:]}."
    parser.description = textwrap.fill(description, _width())
    parser.epilog = _epilog(command)
    parser.allow_abbrev = False
    parser.formatter_class = _Formatter
    parser.usage = _usage(command)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for each in options.of(*command.options):
        if each.group not in groups:
            groups[each.group] = parser.add_argument_group(each.group)
        _add(groups[each.group], each, each.described.replace("%", "%%"))
    for each in options.of(*command.more):
        _add(parser, each, argparse.SUPPRESS)


def _add(group: argparse._ActionsContainer, each: Option, about: str) -> None:
    if each.is_switch:
        group.add_argument(each.flag, dest=each.field, action="store_true", default=argparse.SUPPRESS, help=about)
        # Takes back what beamsight.toml says.
        group.add_argument(
            each.opposite, dest=each.field, action="store_false", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
        return
    named: dict[str, Any] = {} if each.positional else {"dest": each.field}
    if each.count == 0:
        named["action"] = "append"
    elif each.count > 1:
        named["nargs"] = each.count
    elif each.positional and not each.required:
        named["nargs"] = "?"
    group.add_argument(
        each.field if each.positional else each.flag,
        type=each.parse,
        default=argparse.SUPPRESS,
        metavar=tuple(each.metavar.split()) if each.count > 1 else each.metavar,
        help=about,
        **named,
    )


def _usage(command: Command) -> str:
    required = [
        each.metavar if each.positional else f"{each.flag} {each.metavar}" for each in command.declared if each.required
    ]
    rest = ["[OPTIONS]", *(["[BEAM OPTIONS]"] if command.takes_beam else [])]
    return " ".join(["beamsight", command.name, *required, *rest])


def _epilog(command: Command) -> str:
    parts = []
    if command.examples:
        parts.append("examples:\n" + "\n".join(f"  # {what}\n  {line}" for what, line in command.examples.items()))
    if command.notes:
        parts.append(command.notes)
    return "\n\n".join(parts)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
