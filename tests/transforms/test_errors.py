"""Errors survive the way from one process to another."""

from __future__ import annotations

import pickle

import pytest

from transforms.errors import BeamsightError, ImageError, NonFinite, NotFound, OutOfMemory, Refused, Unreadable


@pytest.mark.parametrize(
    "error",
    [
        Refused("tiny refuses this image", stage="embed", retryable=True),
        NonFinite("NaN", stage="classify"),
        NotFound("gone", version="7"),
        Unreadable("a timeout", retryable=True, answered=True),
        OutOfMemory("no memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_pickled(error: BeamsightError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
    if isinstance(error, ImageError):
        assert copy.stage == error.stage
