"""Tasks of shards, without Beam: what a lost worker has finished is not done again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import picture_shards
import pytest
from fake_models import CLASSIFIER, EMBEDDER, FakeEngine, model
from gcs_server import Bucket

from transforms import counts, member_uris, run_state
from transforms.counts import Tally
from transforms.errors import StorageDown
from transforms.history import members
from transforms.history.known import KnownKeys
from transforms.imaging import drawn
from transforms.inference.concurrent import Model
from transforms.process import Settings
from transforms.process_shards import list_missing, process_task
from transforms.records import ImageRef, ShardTask, Work
from transforms.storage import files
from transforms.storage.base import FileSystem
from transforms.tables import layout, reader
from transforms.tables.publish import UnitFile

PICTURES = {f"{number:02}.png": drawn.encode(drawn.draw(number, 20, 20), "png") for number in range(20)}
PICTURES["07.png"] = b"broken"


def models() -> list[Model]:
    return [model(CLASSIFIER), model(EMBEDDER)]


def inferred(used: list[Model]) -> list[int]:
    return [sum(each.engine.sizes) for each in used if isinstance(each.engine, FakeEngine)]


def task_of(tmp_path: Path, used: list[Model]) -> ShardTask:
    shards = []
    for name, maker in (("a.tar", picture_shards.make_tar), ("b.zip", picture_shards.make_zip)):
        path = tmp_path / name
        path.write_bytes(maker(PICTURES))
        stat = files.stat(str(path))
        tables = tuple(each.recipe.table for each in used)
        shards.append(Work(ImageRef(stat.uri, stat.version, stat.size), tables))
    return ShardTask(tuple(shards))


def nothing(_: object) -> Iterator[KnownKeys]:
    return iter(())


def total(done: list[tuple[list[UnitFile], Tally]]) -> Tally:
    return counts.total(tally for _, tally in done)


@pytest.mark.parametrize("lost_after", [0, 1, 4, 5])
def test_a_repeated_task_continues_after_the_last_finished_unit(tmp_path: Path, lost_after: int) -> None:
    settings = Settings(output=str(tmp_path / "out"), day="2026-01-09", run_id=f"lost-{lost_after}", version="0")
    used = models()
    task = task_of(tmp_path, used)
    work = process_task(task, used, settings, nothing, unit_size=9)
    before = [next(work) for _ in range(lost_after)]
    work.close()  # the worker is lost, and a runner discards what its bundle has emitted

    again = models()
    done = list(process_task(task, again, settings, nothing, unit_size=9))

    written = {unit_file.uri: unit_file for unit_files, _ in done for unit_file in unit_files}
    assert {unit_file.uri for unit_files, _ in before for unit_file in unit_files} <= set(written)
    assert total(done)[counts.IMAGES] == 40
    assert Counter(dict(total(done)))[counts.key(counts.FAILED, "decode")] == 2
    assert inferred(again) == [38 - count for count in inferred(used)]
    for table, rows in ((used[0].recipe.table, 38), (used[1].recipe.table, 38), (layout.FAILURES, 2)):
        assert sum(each.rows for each in written.values() if each.table == table) == rows
    shards = [
        row
        for each in written.values()
        if layout.is_of_shards(each.table)
        for row in reader.read(each.uri, ("uri", "images", "failed", "broken")).to_pylist()
    ]
    assert [(row["images"], row["failed"], row["broken"]) for row in shards] == [(20, 1, False)] * 4
    assert run_state.of(settings.run_id).finished.snapshot()[counts.UNITS] >= 5


def test_a_shard_that_is_overwritten_while_it_is_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "_CHUNK", 5)
    settings = Settings(output=str(tmp_path / "out"), day="2026-01-09", run_id="changed", version="0")
    used = models()
    task = task_of(tmp_path, used)
    work = process_task(task, used, settings, nothing, unit_size=5)
    done = [next(work)]
    Path(task.shards[0].ref.uri).write_bytes(b"other bytes")
    done += work

    failures = [
        row
        for unit_files, _ in done
        for each in unit_files
        if each.table == layout.FAILURES
        for row in reader.read(each.uri, ("uri", "version", "error", "retryable")).to_pylist()
    ]
    changed = [row for row in failures if row["error"] == "Changed"]
    assert {(row["version"], row["retryable"]) for row in changed} == {(task.shards[0].ref.version, True)}
    assert task.shards[0].ref.uri in {row["uri"] for row in changed}
    assert all(member_uris.file_of(row["uri"]) == task.shards[0].ref.uri for row in changed)
    tally = total(done)
    assert tally[counts.key(counts.OK, used[0].recipe.table)] == 5 + 19  # one unit of the first shard, and the second
    assert tally[counts.IMAGES] == tally[counts.LISTED] == 5 + len(changed) + 20


def test_a_storage_that_is_down_blames_no_shard(tmp_path: Path, bucket: Bucket, quick_retries: FileSystem) -> None:
    settings = Settings(output=str(tmp_path / "out"), day="2026-01-09", run_id="down", version="0")
    used = models()
    tables = tuple(each.recipe.table for each in used)
    for name in ("a.tar", "b.tar"):
        bucket.put(name, picture_shards.make_tar(PICTURES))
    a, b = (Work(ImageRef(bucket.uri(name)), tables) for name in ("a.tar", "b.tar"))
    bucket.gcs.faults = lambda method, path: 503
    with pytest.raises(StorageDown, match="does not answer"):
        list(process_task(ShardTask((a, b)), used, settings, nothing))
    assert not list(files.walk(layout.units_folder(settings.output)))
    assert not [path for _, path in bucket.gcs.requests if "b.tar" in path]  # the first shard is enough to tell

    bucket.gcs.faults = lambda method, path: 404 if "missing" in path else None
    missing = ShardTask((Work(ImageRef(bucket.uri("missing.tar")), tables), a))
    tally = total(list(process_task(missing, used, settings, nothing)))
    assert (tally[counts.IMAGES], tally[counts.key(counts.FAILED, "fetch")]) == (21, 1)


def test_the_first_missing_images_are_listed(tmp_path: Path) -> None:
    settings = Settings(output=str(tmp_path / "out"), day="2026-01-09", run_id="limit", version="0")
    shard = task_of(tmp_path, models()).shards[0]
    work = list_missing(shard, 3, settings, nothing)
    assert [member_uris.file_of(item.ref.uri) for item in work] == [shard.ref.uri] * 3
    assert len(list_missing(shard, 100, settings, nothing)) == 20
    assert not list(files.walk(layout.markers(settings.output)))
    absent = shard._replace(ref=ImageRef(f"{tmp_path}/absent.tar"))
    assert list_missing(absent, 3, settings, nothing) == [absent]
