"""known: what the key indexes say about listed images, and which failures are retried."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from published import AT, DAYS, OTHER, RECIPE, publish_all, put_failures, put_unit

from transforms import counts
from transforms.history.known import History, KnownKeys, Retries
from transforms.records import Failure, ImageRef, ShardCount, Work
from transforms.storage import files
from transforms.tables import layout, publish, rebuild, schemas, writer

E, F = RECIPE.table, OTHER.table


def put(output: str, failures: Iterable[Failure], unit: str = "u", run_id: str = "r1") -> None:
    """Write a unit's file of failures."""
    rows = schemas.failures_to_arrow(list(failures), run_id, AT)
    writer.put(layout.unit_file(output, run_id, layout.FAILURES, DAYS[0], unit), rows, {"run_id": run_id})


def failure(uri: str, version: str | None, *tables: str, retryable: bool = False, attempt: int = 1) -> Failure:
    return Failure(uri, version, "fetch", "NotFound", "there is none", retryable, tables, attempt)


def find(output: str, uris: Iterable[str], retries: Retries | None = None, tables: tuple[str, ...] = (E, F)) -> Any:
    """What the indexes have: keys by table, under True for failures, under "for now" if these are retried."""
    places = dict.fromkeys((*tables, layout.FAILURES), (output,))
    found: dict[tuple[str, bool | str], list[Any]] = {}
    for known in History(places, tables, retries or Retries()).find(sorted(uris)):
        assert known.keys
        name = known.table, known.failed if known.attempts is None else "for now"
        assert name not in found
        attempts = [()] * len(known.keys) if known.attempts is None else [(number,) for number in known.attempts]
        found[name] = sorted((*key, *more) for key, more in zip(known.keys, attempts, strict=True))
    return found


def test_published_rows_are_done(tmp_path: Path) -> None:
    put_unit(str(tmp_path), RECIPE, DAYS[0], ["/ä.jpg", "/b.jpg", "/c.jpg"])
    put_unit(str(tmp_path), OTHER, DAYS[1], ["/b.jpg", "/d.jpg"])
    publish_all(str(tmp_path))
    uris = ["/b.jpg", "/d.jpg", "/e.jpg", "/ä.jpg"]
    assert find(str(tmp_path), uris) == {
        (E, False): [("/b.jpg", "1"), ("/ä.jpg", "1")],
        (F, False): [("/b.jpg", "1"), ("/d.jpg", "1")],
    }
    assert find(str(tmp_path), uris, tables=(F,)) == {(F, False): [("/b.jpg", "1"), ("/d.jpg", "1")]}
    assert find(str(tmp_path), ["/e.jpg"]) == {}
    assert find(str(tmp_path), []) == {}


def test_units_that_are_not_published_are_not_done(tmp_path: Path) -> None:
    put_unit(str(tmp_path), RECIPE, DAYS[0], ["/a.jpg"])
    put_failures(str(tmp_path), DAYS[0], ["/b.jpg"])
    assert find(str(tmp_path), ["/a.jpg", "/b.jpg"]) == {}


def test_no_part_of_a_table_is_read(tmp_path: Path) -> None:
    put_unit(str(tmp_path), RECIPE, DAYS[0], ["/a.jpg"])
    put_failures(str(tmp_path), DAYS[0], ["/b.jpg"])
    publish_all(str(tmp_path))
    for table in (E, layout.FAILURES):
        for stat in list(files.walk(layout.folder(str(tmp_path), table))):
            files.write(stat.uri, b"damaged")
    assert find(str(tmp_path), ["/a.jpg", "/b.jpg"]) == {
        (E, False): [("/a.jpg", "1")],
        (E, "for now"): [("/b.jpg", "1", 1)],
    }


def test_permanent_failures_count_for_their_tables(tmp_path: Path) -> None:
    rows = [
        failure("/both.jpg", "1", E, F),
        failure("/one.jpg", None, F),
        failure("/passing.jpg", "1", E, F, retryable=True),
        failure("/other.jpg", "1", "predictions/model=p-2"),
    ]
    put(str(tmp_path), rows)
    publish_all(str(tmp_path))
    assert find(str(tmp_path), [row.uri for row in rows]) == {
        (E, True): [("/both.jpg", "1")],
        (F, True): [("/both.jpg", "1"), ("/one.jpg", None)],
        (E, "for now"): [("/passing.jpg", "1", 1)],
        (F, "for now"): [("/passing.jpg", "1", 1)],
    }


def test_transient_failures_become_permanent_after_max_attempts(tmp_path: Path) -> None:
    put(str(tmp_path), [failure(f"/{n}.jpg", "1", E, retryable=True, attempt=n) for n in (1, 4, 5, 6)])
    publish_all(str(tmp_path))
    now = {n: (f"/{n}.jpg", "1", n) for n in (1, 4, 5, 6)}
    for_good = [("/5.jpg", "1"), ("/6.jpg", "1")]
    uris = [f"/{n}.jpg" for n in range(9)]
    assert find(str(tmp_path), uris) == {(E, "for now"): [now[1], now[4]], (E, True): for_good}
    assert find(str(tmp_path), uris, Retries(6)) == {
        (E, "for now"): [now[1], now[4], now[5]],
        (E, True): for_good[1:],
    }
    assert find(str(tmp_path), uris, Retries(retry_failed=True)) == {(E, "for now"): list(now.values())}


def test_permanent_failures_are_retried_on_request(tmp_path: Path) -> None:
    put(str(tmp_path), [failure("/never.jpg", "1", E)])
    publish_all(str(tmp_path))
    assert find(str(tmp_path), ["/never.jpg"]) == {(E, True): [("/never.jpg", "1")]}
    retries = Retries(retry_failed=True)
    assert find(str(tmp_path), ["/never.jpg"], retries) == {(E, "for now"): [("/never.jpg", "1", 1)]}


@pytest.mark.parametrize("merged", [False, True])
def test_the_last_attempt_of_several_runs_counts(tmp_path: Path, merged: bool) -> None:
    output = str(tmp_path)
    for attempt in (1, 2, 3):
        rows = [failure("/a.jpg", "1", E, F, retryable=True, attempt=attempt), failure("/c.jpg", f"{attempt}", F)]
        put(output, rows, run_id=f"r{attempt}")
        publish_all(output)
    put(output, [failure("/a.jpg", "1", F, attempt=4)], run_id="r4")
    publish_all(output)
    if merged:
        rebuild.rebuild(output, [layout.FAILURES])
    places = dict.fromkeys((E, F, layout.FAILURES), (output,))
    known = list(History(places, (E, F), Retries()).find(["/a.jpg", "/c.jpg"]))
    (again,) = (each for each in known if each.table == E)
    assert again.attempts is not None
    assert max(again.attempts) == 3
    final = {key for each in known if each.table == F and each.attempts is None for key in each.keys}
    assert final == {("/a.jpg", "1"), ("/c.jpg", "1"), ("/c.jpg", "2"), ("/c.jpg", "3")}


def test_several_places_add_up(tmp_path: Path) -> None:
    one, other = str(tmp_path / "1"), str(tmp_path / "2")
    put_unit(one, RECIPE, DAYS[0], ["/a.jpg", "/c.jpg"])
    put_unit(other, RECIPE, DAYS[0], ["/b.jpg", "/c.jpg"])
    put_failures(other, DAYS[0], ["/d.jpg"])
    for output in (one, other):
        publish_all(output)
    history = History({E: (one, other), layout.FAILURES: (one, other)}, (E,), Retries())
    assert list(history.find(["/a.jpg", "/b.jpg", "/c.jpg", "/d.jpg"])) == [
        KnownKeys(E, False, [("/a.jpg", "1"), ("/c.jpg", "1")]),
        KnownKeys(E, False, [("/b.jpg", "1"), ("/c.jpg", "1")]),
        KnownKeys(E, True, [("/d.jpg", "1")], [1]),
    ]
    assert history.boundaries() == ["/a.jpg", "/b.jpg"]


def test_an_image_that_failed_with_and_without_a_version(tmp_path: Path) -> None:
    put(str(tmp_path), [failure("/a.jpg", None, E)])
    put(str(tmp_path), [failure("/a.jpg", "1", E, retryable=True)], run_id="r2")
    publish_all(str(tmp_path))
    assert not publish.list_leftovers(str(tmp_path))
    assert find(str(tmp_path), ["/a.jpg"]) == {(E, True): [("/a.jpg", None)], (E, "for now"): [("/a.jpg", "1", 1)]}


def shard(number: int, *, images: int = 5, failed: int = 0, retryable: bool = False, attempt: int = 1) -> ShardCount:
    work = Work(ImageRef(f"/{number}.tar", "1"), (E,), attempt)
    return ShardCount(work, images=images, failed=failed, retryable=retryable)


def put_shards(output: str, *shards: ShardCount, unit: str = "u") -> None:
    rows = schemas.shards_to_arrow(shards, RECIPE.folder, "r1")
    path = layout.unit_file(output, "r1", layout.shards_of(E), DAYS[0], unit)
    writer.put(path, rows, RECIPE.metadata() | {"run_id": "r1", "version": "0"})


def find_shards(output: str, retries: Retries | None = None, tables: tuple[str, ...] = (E,)) -> dict[str, Any]:
    """done, failed for good, or the failed attempts, by shard."""
    places = dict.fromkeys(layout.with_logs(tables), (output,))
    found: dict[str, Any] = {}
    for known in History(places, tables, retries or Retries()).find([f"/{number}.tar" for number in range(9)]):
        for position, (uri, version) in enumerate(known.keys):
            assert (version, known.table) == ("1", E)
            found[uri] = known.attempts[position] if known.attempts else "failed" if known.failed else "done"
    return found


def test_shards_are_done_or_failed(tmp_path: Path) -> None:
    put_shards(str(tmp_path), shard(1), shard(2, failed=1), shard(3, failed=2, retryable=True), shard(4, images=0))
    publish_all(str(tmp_path))
    assert find_shards(str(tmp_path)) == {"/1.tar": "done", "/2.tar": "failed", "/3.tar": 1, "/4.tar": "done"}
    assert find_shards(str(tmp_path), Retries(max_attempts=1))["/3.tar"] == "failed"
    assert find_shards(str(tmp_path), Retries(retry_failed=True)) == {
        "/1.tar": "done",
        "/4.tar": "done",
        "/2.tar": 1,
        "/3.tar": 1,
    }
    assert find_shards(str(tmp_path), tables=(F,)) == {}


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_shard_that_was_read_again_counts_as_it_is_now(tmp_path: Path, rebuilt: bool) -> None:
    put_shards(str(tmp_path), shard(1, failed=2, retryable=True), shard(2, failed=2, retryable=True), unit="a")
    publish_all(str(tmp_path))
    put_shards(str(tmp_path), shard(1, attempt=2), shard(2, failed=1, retryable=True, attempt=2), unit="b")
    publish_all(str(tmp_path))
    if rebuilt:
        rebuild.rebuild(str(tmp_path), [layout.shards_of(E)])
    assert find_shards(str(tmp_path)) == {"/1.tar": "done", "/2.tar": 2}
    history = History(dict.fromkeys(layout.with_logs((E,)), (str(tmp_path),)), (E,), Retries())
    refs = [ImageRef("/1.tar", "1"), ImageRef("/2.tar"), ImageRef("/3.tar", "1")]
    tally = history.count_images(refs)
    assert tally == {counts.LISTED: 11, counts.DONE_BEFORE: 9, counts.FAILED_BEFORE: 2}  # /3.tar was never opened
