"""``--max-failures``."""

from __future__ import annotations

import pytest

from beamsight.reports.criteria import MaxFailures
from transforms.errors import UsageError


@pytest.mark.parametrize(
    ("text", "failed", "images", "allowed"),
    [
        ("0", 0, 10, True),
        ("0", 1, 10, False),
        ("25", 25, 10**6, True),
        ("25", 26, 10**6, False),
        ("1%", 1, 100, True),
        ("1%", 2, 100, False),
        ("0.5%", 5, 1000, True),
        ("0.5%", 6, 1000, False),
        ("10%", 0, 0, True),
        ("100%", 7, 7, True),
    ],
)
def test_allows(text: str, failed: int, images: int, allowed: bool) -> None:
    limit = MaxFailures.parse(text)
    assert limit.allows(failed, images) is allowed
    assert str(limit) == text


@pytest.mark.parametrize("text", ["", "%", "x", "-1", "-1%", "101%", "1.5", "nan%"])
def test_invalid_limits(text: str) -> None:
    with pytest.raises(UsageError, match="neither a count such as 25 nor a share such as 1%"):
        MaxFailures.parse(text)
