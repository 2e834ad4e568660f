"""Beam's own options, set by values of TOML: each arrives as it was written, or is refused."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, WorkerOptions

from runners.jobs import beam_options
from transforms.errors import UsageError


def set_by(words: list[str]) -> dict[str, Any]:
    """Return all options after Beam has read the words."""
    found: dict[str, Any] = PipelineOptions(words).get_all_options()
    return found


def beams_actions() -> Iterator[tuple[str, argparse.Action]]:
    """Yield each option of Beam with the action of Beam's own parser."""
    for name in sorted(beam_options.names()):
        yield name, beam_options._parser()._option_string_actions[name]


@pytest.mark.parametrize("value", [True, False])
def test_every_switch_arrives_or_is_refused(value: bool) -> None:
    for name, action in beams_actions():
        if action.nargs == 0 and (name, value) != ("--enable_streaming_engine", False):
            words = beam_options.words(name, value)
            assert bool(set_by(words)[action.dest]) is (value if action.const else not value), name
    with pytest.raises(UsageError, match="no way to set --enable_streaming_engine to false; leave it out"):
        beam_options.words("--enable_streaming_engine", False)


def test_every_number_and_choice_arrives() -> None:
    for name, action in beams_actions():
        if action.type in (int, float):
            assert set_by(beam_options.words(name, 3))[action.dest] == 3, name
        elif action.choices:
            value = [*action.choices][-1]
            assert set_by(beam_options.words(name, value))[action.dest] == value, name


def test_every_list_arrives_or_is_refused() -> None:
    repeated = set()
    for name, action in beams_actions():
        if action.nargs == 0:
            continue
        try:
            words = beam_options.words(name, ["a=1", "b=2"])
        except UsageError:
            continue
        repeated.add(name)
        found = set_by(words)[action.dest]
        assert found[-2:] == ["a=1", "b=2"] if isinstance(found, list) else len(found) == 2, name
    expected = {"--experiments", "--labels", "--resource_hint", "--dataflow_service_options", "--extra_package"}
    assert expected | {"--gcs_custom_audit_entry"} <= repeated
    assert not repeated & {"--runner", "--project", "--num_workers", "--sdk_container_image"}


TABLES = {
    "--sdk_harness_log_level_overrides": {"apache_beam.io": "DEBUG"},
    "--transform_name_mapping": {"Old": "New"},
    "--beam_services": {"a:b": "localhost:1"},
    "--direct_test_splits": {"Read": 2},
    "--gcs_custom_audit_entries": {"team": "birds"},
}


def test_every_table_arrives_or_is_refused() -> None:
    taken = set()
    for name, action in beams_actions():
        if action.nargs == 0:
            continue
        try:
            words = beam_options.words(name, TABLES.get(name, {"a": "b"}))
        except UsageError:
            continue
        taken.add(name)
        (word,) = words
        found = set_by(words)[action.dest]
        assert json.loads(word.partition("=")[2]) == found or found == {"x-goog-custom-audit-team": "birds"}, name
    assert taken == TABLES.keys()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("--num_workers", [1, 2], "write it without a list"),
        ("--num_workers", 2.5, "invalid int value"),
        ("--num_workers", {"a": 1}, "invalid int value"),
        ("--project", {"a": 1}, "instead of a table"),
        ("--labels", {"team": "birds"}, r'\["key=value"\]'),
        ("--labels", True, r'\["key=value"\]'),
        ("--experiments", [["a"]], "texts and numbers"),
        ("--experiments", [True], "texts and numbers"),
        ("--experiments", [], "it is empty"),
        ("--streaming", "yes", "write true or false"),
        ("--streaming", 1, "write true or false"),
        ("--flexrs_goal", "FAST", "invalid choice"),
        ("--gcs_custom_audit_entries", "team", "cannot read --gcs_custom_audit_entries=team"),
        ("--sdk_harness_log_level_overrides", "[1]", "cannot read --sdk_harness_log_level_overrides"),
    ],
)
def test_what_beam_cannot_take_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        beam_options.words(name, value)


def test_private_addresses_are_asked_for_both_ways() -> None:
    for words in (beam_options.words("--use_public_ips", False), beam_options.words("--no_use_public_ips", True)):
        assert beam_options.parse(words).view_as(WorkerOptions).use_public_ips is False


def test_names_of_one_option_set_the_same() -> None:
    assert beam_options.destination("--label") == beam_options.destination("--labels") == "labels"
    assert beam_options.destination("--no_use_public_ips") == beam_options.destination("--use_public_ips")
    assert beam_options.parse(["--label=a=b"]).view_as(GoogleCloudOptions).labels == ["a=b"]
