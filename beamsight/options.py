"""Options, declared once: a field of a frozen dataclass with its type, default, help text, group, and check.

The command line, ``beamsight.toml``, the parameters of the Flex Template, and the tables in ``docs/options.md`` are
made from these fields, so no option is described in a second place:

    @dataclass(frozen=True, slots=True)
    class TableOptions:
        top_k: int = option(5, help="Number of classes per image", at_least=1)

        def __post_init__(self) -> None:
            options.check(self)
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, Literal, TypeVar

from beamsight.text import nearest
from transforms.errors import UsageError

REQUIRED: Any = dataclasses.MISSING

_T = TypeVar("_T")


def option(
    default: Any = REQUIRED,
    *,
    help: str,  # noqa: A002 - the word of argparse
    group: str = "options",
    metavar: str | None = None,
    name: str | None = None,
    default_text: str | None = None,
    positional: bool = False,
    at_least: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    pattern: str | None = None,
    one_run: bool = False,
    template: bool | str = True,
) -> Any:
    """Declare a field as an option.

    Args:
        default: The default value. Without one, the option is required.
        help: A noun phrase that stands alone, without the default.
        group: The heading under which the help lists it.
        metavar: What stands for the value in the help, if not the usual word for the type.
        name: The name on the command line, where it differs from the field's.
        default_text: What the help says in place of a default that is None.
        positional: Whether it is an argument without a name.
        at_least: The least value that is allowed; 1 for an int, unless given.
        above: A value that every allowed value is greater than.
        choices: The allowed values, where the type is not a Literal.
        pattern: A regular expression for the template's form.
        one_run: Whether it belongs to one run, so that ``beamsight.toml`` cannot hold it.
        template: Whether it is a parameter of the Flex Template; a text says why it is not.
    """
    declared = {key: value for key, value in locals().items() if key != "default"}
    return dataclasses.field(default=default, metadata={"option": declared})


@dataclass(frozen=True, slots=True)
class Option:
    """An option as its field declares it.

    kind: The type of one value: str, int, float, bool, date, or a class with a ``parse`` method.
    count: The number of values: 1, 2 for a pair, or 0 for an option that may be repeated.
    """

    field: str
    name: str
    kind: Any
    count: int
    choices: tuple[str, ...]
    default: Any
    help: str
    group: str
    metavar: str
    default_text: str | None
    positional: bool
    at_least: float | None
    above: float | None
    pattern: str | None
    one_run: bool
    template: bool | str

    @property
    def flag(self) -> str:
        """Its name on the command line, such as ``--top-k``."""
        return self.name.upper() if self.positional else f"--{self.name}"

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is REQUIRED

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return self.kind is bool

    @property
    def opposite(self) -> str:
        """The switch that takes this one back, such as ``--no-normalize``."""
        return f"--{self.name.removeprefix('no-')}" if self.name.startswith("no-") else f"--no-{self.name}"

    @property
    def default_shown(self) -> str | None:
        """The default as a person reads it, or None where there is nothing to say."""
        if self.default_text is not None:
            return self.default_text
        if self.required or self.default is None or self.is_switch or self.default == ():
            return None
        return self.text(self.default)

    @property
    def described(self) -> str:
        """The help text with the default."""
        return f"{self.help} (default: {self.default_shown})" if self.default_shown else self.help

    def parse(self, text: str) -> Any:
        """Convert the text of one value. Raises UsageError, with the option's name, for a text that is no value."""
        shown = self.flag if getattr(self.kind, "is_secret", False) else f"{self.flag} {text!r}"
        try:
            if self.choices and text not in self.choices:
                raise UsageError(f"choose from {', '.join(self.choices)}{nearest(text, self.choices)}")
            if self.kind is int:
                return int(text.replace("_", "").replace(",", ""))
            if self.kind is date:
                return date.fromisoformat(text)
            return self.kind.parse(text) if hasattr(self.kind, "parse") else self.kind(text)
        except UsageError as error:
            raise UsageError(f"{shown}: {error}") from error
        except ValueError as error:
            raise UsageError(f"{shown} is not {_NOUNS.get(self.kind, 'a valid value')}") from error

    def text(self, value: Any) -> str:
        """Convert one value to the text that ``parse`` takes."""
        if self.is_switch:
            return "true" if value else "false"
        if isinstance(value, float):
            return f"{value:g}"
        return str(getattr(value, "url", value))  # the URL of a webhook, which its text does not show

    def check(self, value: Any) -> None:
        """Raise UsageError for a required text that is empty, or a number that is out of range."""
        if self.required and isinstance(value, str) and not value.strip():
            raise UsageError(f"{self.flag} {value!r} is empty; check the shell variable that it comes from")
        if value is None or isinstance(value, bool) or not isinstance(value, int | float):
            return
        if self.at_least is not None and value < self.at_least:
            raise UsageError(f"{self.flag} {value} is too small; the least value is {self.at_least:g}")
        if self.above is not None and not self.above < value < float("inf"):
            raise UsageError(f"{self.flag} {value} is not a number above {self.above:g}")


_NOUNS = {int: "a whole number", float: "a number", date: "a day such as 2026-11-20"}


def of(*classes: type) -> tuple[Option, ...]:
    """Return the options that dataclasses declare, in their order."""
    return _of(classes)


@cache
def _of(classes: tuple[type, ...]) -> tuple[Option, ...]:
    return tuple(
        _option(field, hints[field.name])
        for hints, fields in ((typing.get_type_hints(cls), dataclasses.fields(cls)) for cls in classes)
        for field in fields
        if "option" in field.metadata
    )


def _option(field: dataclasses.Field[Any], hint: Any) -> Option:
    declared = dict(field.metadata["option"])
    kind, count = hint, 1
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        (kind,) = (part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is tuple:
        kind, second = typing.get_args(kind)
        count = 0 if second is Ellipsis else 2
    if typing.get_origin(kind) is Literal:
        declared["choices"] = declared["choices"] or typing.get_args(kind)
        kind = str
    if kind is int and declared["at_least"] is None:
        declared["at_least"] = 1
    declared["metavar"] = declared["metavar"] or _metavar(kind, declared["choices"])
    declared["name"] = declared["name"] or field.name.replace("_", "-")
    return Option(field=field.name, kind=kind, count=count, default=field.default, **declared)


def _metavar(kind: Any, choices: tuple[str, ...]) -> str:
    return f"{{{','.join(choices)}}}" if choices else {int: "N", float: "X", date: "DAY"}.get(kind, "NAME")


def check(values: Any) -> None:
    """Raise UsageError for the first option of a dataclass whose value is out of range or not allowed."""
    for each in of(type(values)):
        value = getattr(values, each.field)
        for one in value if isinstance(value, tuple) else (value,):
            each.check(one)
            if each.choices and one is not None and one not in each.choices:
                each.parse(str(one))


def build(cls: type[_T], values: Mapping[str, Any], **others: Any) -> _T:
    """Make a dataclass from the values of its options. Raises UsageError where a required one is missing."""
    given = {each.field: values[each.field] for each in of(cls) if each.field in values}
    for each in of(cls):
        if each.required and each.field not in given:
            meaning = each.help.partition(":")[0].partition(";")[0]
            raise UsageError(f"{each.flag} is required: {meaning[0].lower()}{meaning[1:]}")
    return cls(**given, **others)


def given(values: Any) -> dict[str, Any]:
    """Return the values of a dataclass's options that differ from their defaults, by field."""
    found = ((each, getattr(values, each.field)) for each in of(type(values)))
    return {each.field: value for each, value in found if value != each.default}
