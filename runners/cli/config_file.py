"""Read the options of ``nightly`` from a file, ``beamsight.toml``.

    images = ["gs://bucket/photos/{yesterday:%Y/%m/%d}/**"]
    output = "gs://bucket/catalog"
    max-failures = "1%"

    [beam]
    runner = "DataflowRunner"

A name is that of the option, with hyphens or underscores. A switch is ``true`` or ``false``. An option that may be
repeated takes a list, or one value. The table ``[beam]`` holds Beam's own options. One that takes JSON is a table too:

    [beam.sdk_harness_log_level_overrides]
    "apache_beam.io" = "DEBUG"
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from beamsight.options import Option
from beamsight.text import nearest
from runners.jobs import beam_options
from runners.jobs.faults import Faults
from transforms.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "beamsight.toml"
BEAM = "beam"  # the table of Beam's own options


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The content of a file: values of our options by field, and words for Beam by what they set."""

    values: Mapping[str, Any]
    beam: Mapping[str, Sequence[str]]

    def beam_words(self, words: Sequence[str]) -> list[str]:
        """Return the words for Beam, of which those on the command line replace the ones in the file."""
        named = {beam_options.destination(word.partition("=")[0]) for word in words if word.startswith("--")}
        return [word for name, own in self.beam.items() if name not in named for word in own] + list(words)


def read(file: str, options: Sequence[Option]) -> ConfigFile:
    """Read and check a file. Raises UsageError with a line for each name or value that is not an option's."""
    try:
        content = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from error
    found = Faults()
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key != BEAM:
            with found.collect(f"{file}: "):
                option = _option(key, value, {each.name: each for each in options})
                if option.field in values:
                    raise UsageError(f"{key} is given twice, with a hyphen and with an underscore")
                is_secret = getattr(option.kind, "is_secret", False)
                with _named(key if is_secret else f"{key} = {value!r}"):
                    values[option.field] = _value(option, value)
    beam = _beam(file, content.get(BEAM, {}), found)
    found.require_none()
    return ConfigFile(values, beam)


def _option(key: str, value: Any, known: Mapping[str, Option]) -> Option:
    """Return the option of a key. Raises UsageError if there is none, or if it does not belong in a file."""
    option = known.get(key.replace("_", "-"))
    if option is None:
        raise UsageError(f"unknown option {key}{_hint(key, known, value)}")
    if option.one_run:
        raise UsageError(f"{key} applies to one run; give {option.flag} on the command line")
    return option


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
    for each in found:
        option.check(each)
    return found if option.count == 0 else found[0]


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, date)):
        raise UsageError("write a text, a number, or a list of them")
    return str(value)


def _beam(file: str, values: Any, faults: Faults) -> dict[str, list[str]]:
    """Return the words for Beam, by what they set."""
    if not isinstance(values, dict):
        faults.add(f"{file}: {BEAM} is a table of Beam's options; write [{BEAM}] on a line of its own")
        return {}
    found: dict[str, list[str]] = {}
    for key, value in values.items():
        name = f"--{key.replace('-', '_')}"
        sets = beam_options.destination(name)
        with faults.collect(f"{file}: [{BEAM}] "):
            if name not in beam_options.names():
                raise UsageError(f"{key}: Beam has no such option{nearest(name, beam_options.names())}")
            if sets in found:
                raise UsageError(f"{key} is given twice, under two names; keep one of them")
            with _named(f"{key} = {value!r}"):
                found[sets] = beam_options.words(name, value)
                beam_options.parse(found[sets])
    return found


@contextmanager
def _named(setting: str) -> Iterator[None]:
    """Put a key and its value before the message of a UsageError."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{setting}: {error}") from error
