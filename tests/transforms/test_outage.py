"""What counts as an outage of a storage."""

from __future__ import annotations

from contextlib import suppress

import pytest

from transforms.errors import Changed, FetchError, NotFound, StorageDown, TooManyBytes, Unreadable
from transforms.outage import Outage, storage_of


def fail(outage: Outage, uri: str = "gs://b/x.jpg", error: FetchError | None = None) -> None:
    with suppress(FetchError), outage.watch(uri):
        raise error or Unreadable("503", retryable=True)


def answer(outage: Outage, uri: str = "gs://b/x.jpg") -> None:
    with outage.watch(uri):
        pass


def test_reads_in_a_row_without_an_answer_are_an_outage() -> None:
    outage = Outage(limit=3)
    fail(outage)
    fail(outage)
    with pytest.raises(StorageDown, match=r"gs://b does not answer: 3 reads in a row .* because of 503 at the end"):
        fail(outage, error=Unreadable("503\nat the end", retryable=True))
    with pytest.raises(StorageDown):
        fail(outage)  # in a bundle that is retried
    answer(outage)
    fail(outage)
    fail(outage)


def test_an_outage_reaches_the_caller_before_the_limit_as_it_is() -> None:
    error = Unreadable("503", retryable=True)
    with pytest.raises(Unreadable) as caught, Outage(limit=2).watch("gs://b/x.jpg"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such object", retryable=True),
        Changed("overwritten"),
        TooManyBytes("too large"),
        Unreadable("a folder"),
        Unreadable("403", retryable=True, answered=True),
    ],
)
def test_any_answer_ends_the_row(error: FetchError) -> None:
    outage = Outage(limit=2)
    for _ in range(5):
        fail(outage)
        fail(outage, error=error)


def test_a_file_without_permission_is_an_answer() -> None:
    outage = Outage(limit=2)
    for _ in range(5):
        error = Unreadable("no permission", retryable=True)
        error.__cause__ = PermissionError()
        fail(outage, "/photos/a.jpg", error)


def test_few_reads_without_an_answer_are_an_outage_if_a_request_has_none_either() -> None:
    outage, asked = Outage(limit=9), []

    def fails(uri: str) -> None:
        asked.append(uri)
        raise Unreadable("503", retryable=True)

    outage.require_answer(fails)
    fail(outage, "gs://b/a/x.jpg")
    answer(outage, "gs://b/a/y.jpg")
    outage.require_answer(fails)
    assert asked == []  # nothing is asked where the last read had an answer
    fail(outage, "gs://b/a/x.jpg")
    with pytest.raises(StorageDown, match=r"gs://b does not answer: 2 reads in a row"):
        outage.require_answer(fails)
    assert asked == ["gs://b/a/.beamsight-probe"]

    outage.require_answer(asked.append)  # it answers, so the image is at fault
    outage.require_answer(fails)
    assert len(asked) == 2


def test_each_bucket_counts_by_itself() -> None:
    outage = Outage(limit=3)
    for _ in range(2):
        fail(outage)
        fail(outage, "gs://c/x.jpg")
        answer(outage, "/photos/a.jpg")
    with pytest.raises(StorageDown, match="gs://c "):
        fail(outage, "gs://c/x.jpg")


def test_slow_failures_among_quick_answers_are_no_outage() -> None:
    outage = Outage(limit=2)
    with suppress(FetchError), outage.watch("gs://b/slow-1.jpg"):
        with suppress(FetchError), outage.watch("gs://b/slow-2.jpg"):
            with suppress(FetchError), outage.watch("gs://b/slow-3.jpg"):
                answer(outage)
                raise Unreadable("timeout", retryable=True)
            raise Unreadable("timeout", retryable=True)
        raise Unreadable("timeout", retryable=True)


@pytest.mark.parametrize(
    ("uri", "storage"),
    [
        ("gs://bucket/a/b.jpg", "gs://bucket"),
        ("s3://bucket/a.jpg", "s3://bucket"),
        ("/data/a.jpg", "the local file system"),
        ("file:///data/a.jpg", "the local file system"),
        ("a://b", "a://b"),
    ],
)
def test_what_fails_together(uri: str, storage: str) -> None:
    assert storage_of(uri) == storage


@pytest.mark.parametrize("uri", ["https://h/a.jpg", "HTTP://h:8080/a.jpg"])
def test_hosts_of_the_web_are_no_storage_that_can_be_down(uri: str) -> None:
    outage = Outage(limit=2)
    for _ in range(5):
        error = Unreadable("503", retryable=True)
        with pytest.raises(Unreadable) as caught, outage.watch(uri):
            raise error
        assert caught.value is error

    def fails(_: str) -> None:
        raise error

    outage.require_answer(fails)
