"""The reference of all commands and options, ``docs/options.md``, made from what the commands declare."""

from __future__ import annotations

from collections.abc import Iterator

from beamsight import options
from beamsight.options import Option
from runners.cli import app
from runners.cli.parser import Command

_HEAD = """\
# Commands and options

This page is made from the source by `make generated`. `beamsight COMMAND --help` prints the same.
"""


def to_markdown() -> str:
    """Return the page."""
    seen: dict[type, str] = {}
    parts = [_HEAD]
    for command in app.COMMANDS:
        parts.append(f"## beamsight {command.name}\n\n{command.description or _sentence(command.summary)}\n")
        for cls in command.options:
            if cls in seen:
                parts.append(f"All options of [{seen[cls]}](#{_anchor(seen[cls])}) in {_groups(cls)} apply too.\n")
            else:
                seen[cls] = f"beamsight {command.name}"
                parts.append("\n".join(_table(cls)) + "\n")
        if command.more:
            parts.append("All options of [beamsight nightly](#beamsight-nightly) apply too.\n")
        parts += _examples(command)
    return "\n".join(parts)


def _table(cls: type) -> Iterator[str]:
    yield "| option | meaning | default |"
    yield "|---|---|---|"
    for each in options.of(cls):
        yield f"| `{_name(each)}` | {each.help.replace('|', chr(92) + '|')} | {_default(each)} |"


def _name(each: Option) -> str:
    name = each.metavar if each.positional else each.flag if each.is_switch else f"{each.flag} {each.metavar}"
    return name.replace("|", "\\|")


def _default(each: Option) -> str:
    return "required" if each.required else each.default_shown or ("off" if each.is_switch else "none")


def _examples(command: Command) -> list[str]:
    lines = [f"# {what}\n{line}" for what, line in command.examples.items()]
    return ["```\n" + "\n".join(lines) + "\n```\n"] if lines else []


def _groups(cls: type) -> str:
    names = list(dict.fromkeys(each.group for each in options.of(cls)))
    return f"the groups {', '.join(names)}" if len(names) > 1 else f"the group {names[0]}"


def _anchor(command: str) -> str:
    return command.replace(" ", "-")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    print(to_markdown(), end="")
