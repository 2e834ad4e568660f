"""Options: a field says it all, and wrong values have one line with the option's name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import pytest

from beamsight import options
from beamsight.options import option
from beamsight.reports.criteria import MaxFailures
from transforms.errors import UsageError


@dataclass(frozen=True, slots=True)
class Sample:
    """One option of each kind."""

    source: str = option(positional=True, help="Source")
    names: tuple[str, ...] = option((), name="name", help="Name")
    top_k: int = option(5, help="Number of classes", at_least=1)
    share: float | None = option(None, help="Share", above=0, default_text="all")
    form: Literal["f32", "bf16"] = option("f32", help="Form")
    limits: tuple[float, float] | None = option(None, help="Limits", metavar="LOW HIGH")
    fast: bool = option(False, help="Speed")
    day: date | None = option(None, help="Day")
    failures: MaxFailures = option(MaxFailures(share=0.1), help="Failures")
    internal: int = 3

    def __post_init__(self) -> None:
        options.check(self)


BY_FIELD = {each.field: each for each in options.of(Sample)}


def test_a_field_without_an_option_is_none() -> None:
    assert "internal" not in BY_FIELD


@pytest.mark.parametrize(
    ("field", "kind", "count", "flag"),
    [
        ("source", str, 1, "SOURCE"),
        ("names", str, 0, "--name"),
        ("top_k", int, 1, "--top-k"),
        ("share", float, 1, "--share"),
        ("form", str, 1, "--form"),
        ("limits", float, 2, "--limits"),
        ("fast", bool, 1, "--fast"),
        ("day", date, 1, "--day"),
        ("failures", MaxFailures, 1, "--failures"),
    ],
)
def test_the_type_of_a_field_is_the_kind_of_its_option(field: str, kind: type, count: int, flag: str) -> None:
    found = BY_FIELD[field]
    assert (found.kind, found.count, found.flag) == (kind, count, flag)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("top_k", "1_000", 1000),
        ("top_k", "1,000", 1000),
        ("share", "0.5", 0.5),
        ("day", "2026-11-20", date(2026, 11, 20)),
        ("failures", "25", MaxFailures(count=25)),
        ("form", "bf16", "bf16"),
    ],
)
def test_a_text_is_parsed_and_written_back(field: str, text: str, value: object) -> None:
    found = BY_FIELD[field]
    assert found.parse(text) == value
    assert found.parse(found.text(value)) == value


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("top_k", "many", "--top-k 'many' is not a whole number"),
        ("share", "much", "--share 'much' is not a number"),
        ("day", "yesterday", "--day 'yesterday' is not a day such as 2026-11-20"),
        ("form", "bf6", "--form 'bf6': choose from f32, bf16; did you mean 'bf16'?"),
        ("failures", "few", "--failures 'few'"),
    ],
)
def test_a_text_that_is_no_value_is_refused(field: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        BY_FIELD[field].parse(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"top_k": 0}, "--top-k 0 is too small; the least value is 1"),
        ({"share": 0.0}, "--share 0.0 is not a number above 0"),
        ({"share": float("inf")}, "--share inf is not a number above 0"),
        ({"form": "f16"}, "--form 'f16': choose from f32, bf16"),
    ],
)
def test_a_value_out_of_range_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        options.build(Sample, {"source": "a", **values})
    assert str(caught.value).startswith(message)


def test_a_required_value_is_asked_for() -> None:
    with pytest.raises(UsageError, match="SOURCE is required: source"):
        options.build(Sample, {})


def test_given_values_are_those_that_differ_from_the_defaults() -> None:
    sample = options.build(Sample, {"source": "a", "top_k": 5, "fast": True, "unknown": 1})
    assert options.given(sample) == {"source": "a", "fast": True}


def test_defaults_are_shown_as_the_command_line_takes_them() -> None:
    shown = {field: each.default_shown for field, each in BY_FIELD.items()}
    assert shown == {
        "source": None,
        "names": None,
        "top_k": "5",
        "share": "all",
        "form": "f32",
        "limits": None,
        "fast": None,
        "day": None,
        "failures": "10%",
    }
    assert BY_FIELD["failures"].described == "Failures (default: 10%)"
