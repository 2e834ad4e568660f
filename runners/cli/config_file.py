"""Read the options of ``nightly`` from a file, ``beamsight.toml``.

    images = ["gs://bucket/photos/{yesterday:%Y/%m/%d}/**"]
    output = "gs://bucket/catalog"
    max-failures = "1%"

    [beam]
    runner = "DataflowRunner"

A name is that of the option, with hyphens or underscores. A switch is ``true`` or ``false``. An option that may be
repeated takes a list, or one value. The table ``[beam]`` holds Beam's own options.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from beamsight.options import Option
from beamsight.text import nearest
from runners.jobs import beam_options
from transforms.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "beamsight.toml"
BEAM = "beam"  # the table of Beam's own options


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The content of a file: values of our options by field, and words for Beam by the name of the option."""

    values: Mapping[str, Any]
    beam: Mapping[str, Sequence[str]]

    def beam_words(self, words: Sequence[str]) -> list[str]:
        """Return the words for Beam, of which those on the command line replace the ones in the file."""
        named = {word.partition("=")[0] for word in words if word.startswith("--")}
        return [word for name, own in self.beam.items() if name not in named for word in own] + list(words)


def read(file: str, options: Sequence[Option]) -> ConfigFile:
    """Read and check a file. Raises UsageError for a name or a value that is not an option's."""
    try:
        content = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from error
    known = {each.name: each for each in options}
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key == BEAM:
            continue
        name = key.replace("_", "-")
        if name not in known:
            raise UsageError(f"{file}: unknown option {key}{_hint(key, known, value)}")
        if known[name].one_run:
            raise UsageError(f"{file}: {key} applies to one run; give --{name} on the command line")
        if known[name].field in values:
            raise UsageError(f"{file}: {key} is given twice, with a hyphen and with an underscore")
        try:
            values[known[name].field] = _value(known[name], value)
        except UsageError as error:
            raise UsageError(f"{file}: {key} = {value!r}: {error}") from error
    return ConfigFile(values, _beam(file, content.get(BEAM, {})))


def _hint(key: str, known: Mapping[str, Option], value: Any) -> str:
    if isinstance(value, dict):
        return f"; the only table is [{BEAM}]"
    if f"--{key.replace('-', '_')}" in beam_options.names():
        return f"; it is an option of Beam, which belongs below [{BEAM}]"
    return nearest(key.replace("_", "-"), known) or "; `beamsight nightly --help` lists the options"


def _value(option: Option, value: Any) -> Any:
    if option.is_switch:
        if not isinstance(value, bool):
            raise UsageError("write true or false")
        return value
    if isinstance(value, list) and option.count != 0:
        raise UsageError("write one value instead of a list")
    found = tuple(option.parse(_text(each)) for each in (value if isinstance(value, list) else [value]))
    return found if option.count == 0 else found[0]


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, date)):
        raise UsageError("write a text, a number, or a list of them")
    return str(value)


def _beam(file: str, values: Any) -> dict[str, list[str]]:
    if not isinstance(values, dict):
        raise UsageError(f"{file}: {BEAM} is a table of Beam's options; write [{BEAM}] on a line of its own")
    found: dict[str, list[str]] = {}
    for key, value in values.items():
        name = f"--{key.replace('-', '_')}"
        if name not in beam_options.names():
            raise UsageError(f"{file}: [{BEAM}] {key}: Beam has no such option{nearest(name, beam_options.names())}")
        try:
            found[name] = (
                beam_options.switch(name, value)
                if isinstance(value, bool)
                else [f"{name}={_text(each)}" for each in (value if isinstance(value, list) else [value])]
            )
            beam_options.parse(found[name])
        except UsageError as error:
            raise UsageError(f"{file}: [{BEAM}] {key} = {value!r}: {error}") from error
    return found
