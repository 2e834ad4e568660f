"""The parts of the graph that keep the tables: bring the key indexes up to date, and publish finished units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import apache_beam as beam

from transforms import counts, run_state
from transforms.counts import Tally
from transforms.process import Settings
from transforms.tables import index_merge, layout, publish, rebuild
from transforms.tables.publish import Group, UnitFile


class Prepare(beam.PTransform):
    """Pipeline -> the tallies of what was done before the run can list what is missing.

    It makes the key indexes of tables that have none, and publishes units that killed runs left. Wait for its result
    before the indexes are read.
    """

    def __init__(self, tables: tuple[str, ...], settings: Settings) -> None:
        super().__init__()
        self._tables = layout.with_logs(tables)
        self._settings = settings

    def expand(self, pipeline: beam.Pipeline) -> Any:
        output = self._settings.output
        indexed = (
            pipeline
            | "Tables" >> beam.Create(self._tables)
            | "Spread tables" >> beam.Reshuffle()
            | "Without an index" >> beam.FlatMap(_without_index, output)
            | "Spread files" >> beam.Reshuffle()
            | "Index" >> beam.Map(_index, output)
            | "Indexed" >> beam.CombineGlobally(_ignore)
        )
        return (
            pipeline
            | "Runs" >> beam.Create([output])
            | "Leftovers" >> beam.FlatMap(_leftovers, beam.pvalue.AsSingleton(indexed))
            | "Spread leftovers" >> beam.Reshuffle()
            | "Publish leftovers" >> beam.Map(_publish, self._settings, leftovers=True)
        )


def _without_index(table: str, output: str) -> Iterator[Any]:
    if not rebuild.is_current(output, table, publish.undo(output, table)):
        yield from rebuild.start(output, table)


def _index(chunk: tuple[str, list[str]], output: str) -> None:
    table, uris = chunk
    rebuild.index_files(table, uris, output)


def _leftovers(output: str, _: Any) -> Iterator[list[Any]]:
    """Yield groups of leftover units, in lists whose groups must be published one after another.

    The units of one run have no image in common, so all its groups can be published at once. Two runs that overlapped
    may have the same images, so their groups of a table are published in turn.
    """
    by_run = publish.list_leftovers(output)
    groups = [tuple(group) for run_id in sorted(by_run) for group in publish.group(by_run[run_id])]
    if len(by_run) > 1:
        by_table = sorted(groups, key=itemgetter(0))
        yield from (list(members) for _, members in groupby(by_table, key=itemgetter(0)))
    else:
        yield from ([group] for group in groups)


class Publish(beam.PTransform):
    """Files of finished units -> the tallies of what was published. The last step of a run before its report."""

    def __init__(self, tables: tuple[str, ...], settings: Settings) -> None:
        super().__init__()
        self._tables = layout.with_logs(tables)
        self._settings = settings

    def expand(self, units: beam.PCollection) -> Any:
        published = (
            units
            | "By day" >> beam.Map(lambda unit: (unit[:2], unit))
            | "Gather" >> beam.GroupByKey()
            | "Group" >> beam.FlatMapTuple(_group)
            | "Spread groups" >> beam.Reshuffle()
            | "Write" >> beam.Map(_publish, self._settings)
        )
        merged = (
            units.pipeline
            | "Indexes" >> beam.Create(self._tables)
            | "Merge" >> beam.Map(_merge, self._settings, _after(published))
        )
        return (published, merged) | "Published" >> beam.Flatten()


def _after(tallies: beam.PCollection) -> Any:
    return beam.pvalue.AsSingleton(tallies | "Wait" >> beam.CombineGlobally(_ignore))


def _group(_: Any, units: Iterable[Any]) -> Iterator[list[Any]]:
    yield from ([tuple(group)] for group in publish.group(map(UnitFile._make, units)))


def _publish(groups: list[Any], settings: Settings, leftovers: bool = False) -> Tally:
    tally: Tally = Counter()
    state = run_state.of(settings.run_id)
    for group in map(Group._make, groups):
        state.stop.check()
        done = publish.publish(group, settings.output, settings.lock_token, settings.run_id)
        tally[counts.PUBLISHED] += done.files
        tally[counts.PUBLISHED_ROWS] += done.rows
        tally[counts.LEFTOVER_ROWS] += done.rows if leftovers else 0
    counts.publish(tally)
    state.live.add(tally)
    return tally


def _merge(table: str, settings: Settings, _: Any) -> Tally:
    publish.require_lock(settings.output, settings.lock_token)
    index_merge.merge(settings.output, table)
    return Counter()


def _ignore(_: Iterable[Any]) -> int:
    return 0
