"""Process the images of shards: read each shard once from its beginning to its end, in units.

The key index says which images are done, so a shard that was interrupted continues with its first missing image. When
each image of a shard has a row or a failure, the shard gets a row of its own, and is not opened again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import replace

from transforms import counts, defaults, run_state
from transforms.counts import Tally
from transforms.history import finished_units
from transforms.history.finished_units import Before, FinishedUnits
from transforms.history.members import EndOfShard, MemberReader, MissingMember
from transforms.history.subtract import Find
from transforms.history.units import make_unit
from transforms.inference.concurrent import Model
from transforms.process import Settings, process_unit
from transforms.records import ShardTask, Work
from transforms.shards import trial
from transforms.stream import Input
from transforms.tables.publish import UnitFile


def process_task(
    task: ShardTask, models: list[Model], settings: Settings, find: Find, unit_size: int = defaults.UNIT_SIZE
) -> Generator[tuple[list[UnitFile], Tally], None, None]:
    """Process the missing images of some shards. Yield the files of each unit, and its counts.

    A unit has images of several shards if they are small. Its files are written before the next unit begins.

    Args:
        task: The shards.
        models: The models of all tables.
        settings: How to process units, and where to write their files.
        find: Returns the keys that the tables have of sorted URIs.
        unit_size: Maximum number of images in a unit.

    Raises:
        StorageDown: The storage of the shards does not answer. The unit in progress is not written.
        Stopped: The run has to stop.
    """
    with finished_units.watch(settings.output, settings.run_id, task) as before, ExitStack() as shards:
        units = _Units(task, models, settings, before.finished, shards)
        reader = _make_reader(task, before, settings, find, units.count)
        for shard in task.shards:
            for item in reader.read(shard, task.members):
                if isinstance(item, EndOfShard):
                    units.ended.append(item)
                    continue
                if len(units.images) == unit_size:
                    yield units.process()
                units.images.append(item)
        if units.images or units.ended:
            yield units.process()


class _Units:
    """The images of the next unit, and the shards that end in it.

    Args:
        task: The shards.
        models: The models of all tables.
        settings: How to process units.
        finished: The units that need not be processed.
        stack: Closes the shards at the end.
    """

    def __init__(
        self, task: ShardTask, models: list[Model], settings: Settings, finished: FinishedUnits, stack: ExitStack
    ) -> None:
        self.images: list[MissingMember] = []
        self.ended: list[EndOfShard] = []
        self._day = task.shards[0].ref.day or settings.day
        self._models = models
        self._settings = settings
        self._finished = finished
        self._state = run_state.of(settings.run_id)
        self._tally: Tally = Counter()
        stack.callback(self._close)

    def count(self, tally: Tally) -> None:
        """Add counts of the listing to those of the next unit."""
        counts.publish(tally)
        self._state.live.add(tally)
        self._tally.update(tally)

    def process(self) -> tuple[list[UnitFile], Tally]:
        """Process the unit, and begin the next one. Return the files of the unit, and its counts."""
        rows = [end.count for end in self.ended if end.count]
        unit = make_unit([image.work for image in self.images] or [row.work for row in rows], self._day)
        if not self.images:
            unit = replace(unit, name=f"{unit.name}-end", work=())
        if (found := self._finished.find(unit, ends_shards=bool(rows))) is not None:
            unit_files, tally = found.files, found.tally
            for image in self.images:
                uri = image.work.ref.uri
                if image.shard and uri in found.failures:
                    image.shard.add_failure(uri, retryable=found.failures[uri])
            counts.publish(tally)
            self._state.live.add(tally)
            self._state.finished.add(tally)
        else:
            inputs = (Input(image.work, image.read, image.shard) for image in self.images)
            unit_files, tally = process_unit(unit, self._models, self._settings, inputs, rows)
        self._state.finished.add(self._tally)
        tally, self._tally = tally + self._tally, Counter()
        self._close()
        self.images = []
        return unit_files, tally

    def _close(self) -> None:
        for end in self.ended:
            end.container.close()
        self.ended = []


def list_missing(shard: Work, most: int, settings: Settings, find: Find) -> list[Work]:
    """Return the first missing images of a shard, or the shard itself if it cannot be read. Nothing is counted.

    Args:
        shard: The shard.
        most: Maximum number of images.
        settings: How to find the images.
        find: Returns the keys that the tables have of sorted URIs.

    Raises:
        StorageDown: The storage of the shard does not answer.
    """
    task = ShardTask((shard,))
    with finished_units.watch(settings.output, settings.run_id, task) as before:
        reader = _make_reader(task, before, settings, find, lambda _: None)
        with closing(reader.read(shard)) as items:
            work: list[Work] = []
            for item in items:
                if isinstance(item, EndOfShard):
                    item.container.close()
                else:
                    work.append(item.work)
                if len(work) == most:
                    break
            return work


def _make_reader(
    task: ShardTask, before: Before, settings: Settings, find: Find, add_counts: Callable[[Tally], None]
) -> MemberReader:
    """Return a reader of the shards, after those that may have ended a process were tried out."""
    state = run_state.of(settings.run_id)
    suspects = [shard.ref for shard in task.shards if shard.ref.uri in before.suspects]
    fatal = trial.find_fatal(suspects, settings.shards, state.stop.check)
    return MemberReader(settings.shards, find, state, add_counts, fatal)
