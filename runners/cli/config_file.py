"""A file of options, ``beamsight.toml`` -> words of the command line.

    images = ["gs://bucket/photos/{yesterday:%Y/%m/%d}/**"]
    output = "gs://bucket/catalog"
    max-failures = "1%"

    [beam]
    runner = "DataflowRunner"

A name is that of the option, with hyphens or underscores. A flag is ``true`` or ``false``; what may be repeated is a
list, or one value.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from runners.jobs import beam_options
from transforms.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BEAM = "beam"  # the table of Beam's own options

_ONE_NIGHT = ("config", "date", "from", "to", "dry-run", "count")  # said for one run, and on the command line


@dataclass(frozen=True, slots=True)
class Read:
    """What a file says: words by the name of the option, such as ``--top-k``; our own options, and Beam's."""

    ours: Mapping[str, list[str]]
    beam: Mapping[str, list[str]]

    def words(self, given: Sequence[str] = ()) -> list[str]:
        """All of its words, but for the options that the words ``given`` hold: a list must not be added to."""
        named = {word.partition("=")[0] for word in given if word.startswith("--")}
        kept = [words for name, words in (*self.ours.items(), *self.beam.items()) if name not in named]
        return [word for words in kept for word in words]


def read(file: str, options: Sequence[argparse.Action]) -> Read:
    """Read and check. Raises UsageError for a name or a value that is no option's."""
    try:
        values = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{file} is no TOML: {error}") from error
    known = {action.option_strings[0]: action for action in options}
    ours: dict[str, list[str]] = {}
    for key, value in values.items():
        if key == BEAM:
            continue
        name = f"--{key.replace('_', '-')}"
        if name.removeprefix("--") in _ONE_NIGHT:
            raise UsageError(f"{file}: {key} is of one run, and not of every one; say {name} on the command line")
        if name not in known:
            raise UsageError(f"{file}: there is no option {key}{_nearest(key, known, values)}")
        if name in ours:
            raise UsageError(f"{file}: {key} stands there twice, with a hyphen and with an underscore")
        ours[name] = list(_words(file, name, key, value, known[name]))
    return Read(ours, _beam(file, values.get(BEAM, {})))


def _nearest(key: str, known: Mapping[str, object], values: Mapping[str, Any]) -> str:
    if isinstance(values[key], dict):
        return f"; the one table that there may be is [{BEAM}]"
    if f"--{key.replace('-', '_')}" in beam_options.names():
        return f"; it is one of Beam's, which stand below [{BEAM}]"
    near = difflib.get_close_matches(f"--{key.replace('_', '-')}", known, n=1)
    if near:
        return f"; is {near[0].removeprefix('--')} meant?"
    return "; `beamsight nightly --help` lists them"


def _words(file: str, name: str, key: str, value: Any, action: argparse.Action) -> Iterator[str]:
    if isinstance(action, argparse._StoreTrueAction):
        if not isinstance(value, bool):
            raise UsageError(f"{file}: {key} = {value!r}: say true or false")
        if value:
            yield name
        return
    several = isinstance(action, argparse._AppendAction)
    if isinstance(value, list) and not several:
        raise UsageError(f"{file}: {key} takes one value, and no list")
    for each in value if isinstance(value, list) else [value]:
        yield f"{name}={_text(file, key, each)}"


def _beam(file: str, values: Any) -> dict[str, list[str]]:
    if not isinstance(values, dict):
        raise UsageError(f"{file}: {BEAM} is a table of Beam's options: write [{BEAM}] on a line of its own")
    made: dict[str, list[str]] = {}
    for key, value in values.items():
        name = f"--{key.replace('-', '_')}"
        if name not in beam_options.names():
            near = difflib.get_close_matches(name, beam_options.names(), n=1)
            meant = f"; is {near[0].removeprefix('--')} meant?" if near else ""
            raise UsageError(f"{file}: [{BEAM}] {key}: Beam has no such option{meant}")
        if isinstance(value, bool):
            made[name] = [name] if value else []
        else:
            several = value if isinstance(value, list) else [value]
            made[name] = [f"{name}={_text(file, key, each)}" for each in several]
    try:
        beam_options.parse([word for words in made.values() for word in words])
    except UsageError as error:
        raise UsageError(f"{file}: [{BEAM}] {error}") from error
    return made


def _text(file: str, key: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, date)):
        raise UsageError(f"{file}: {key} = {value!r} is no value of an option; write text, a number, or a list of them")
    return str(value)
