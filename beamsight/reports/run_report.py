"""The run report: the JSON in the output, and the summary at the end of a run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from beamsight.reports import criteria, failures, runs
from beamsight.text import columns, count, duration, printable
from transforms import counts
from transforms.counts import Tally
from transforms.errors import BeamsightError
from transforms.inference import libraries
from transforms.storage import files
from transforms.tables import layout

_PACKAGES = ("beamsight", "apache-beam", "numpy", "openvino", "pillow", "pyarrow", "tensorflow")
_ROWS = 32_768  # Failures that the summary reads. A large night has millions.

# A run of a job that Dataflow may delay is "queued" until a process that watches it sees that it runs.
State = Literal["queued", "running", "done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Run:
    """The data of a run that are fixed when it starts.

    Attributes:
        started: Time in UTC.
        options: The options after all defaults, as plain values.
        models: Metadata by table.
        versions, host: Of the machine that started the run.
    """

    run_id: str
    output: str
    started: datetime
    options: Mapping[str, Any]
    models: Mapping[str, Mapping[str, str]]
    versions: Mapping[str, str] = field(default_factory=lambda: _versions())
    host: Mapping[str, Any] = field(default_factory=lambda: _host())

    @property
    def uri(self) -> str:
        """URI of the report."""
        return layout.run_report(self.output, self.run_id)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | libraries.installed_versions(*_PACKAGES)


def _host() -> dict[str, Any]:
    return {"name": platform.node(), "cpus": os.cpu_count(), "system": platform.platform()}


def write(tally: Tally, run: Run, state: State = "done", error: str | None = None) -> None:
    """Write ``runs/<run ID>.json`` from the sums of a run. In a finished run, the last step of the graph calls this."""
    put(compose(tally, run, datetime.now(timezone.utc), state, error), run.uri)


def put(report: Mapping[str, Any], uri: str) -> None:
    """Write a report as JSON to ``uri``."""
    files.write(uri, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())


def read(run: Run) -> dict[str, Any]:
    """Read the report of a run."""
    data, _ = files.read(run.uri)
    return dict(json.loads(data))


def compose(
    tally: Tally, run: Run, finished: datetime, state: State = "done", error: str | None = None
) -> dict[str, Any]:
    """Build the report from the sums of a run.

    listed = duplicates + already_done + failed_before + left + missing. In a finished run, each missing
    image was processed, with or without a failure, so missing = images. ``problems`` are the success criteria that a
    finished run misses.
    """
    seconds = (finished - run.started).total_seconds()
    by_table = counts.family(tally, counts.OK)
    report: dict[str, Any] = {
        "run_id": run.run_id,
        "state": state,
        "error": error,
        "started_at": run.started.isoformat(),
        "finished_at": None if state in ("queued", "running") else finished.isoformat(),
        "seconds": round(seconds, 3),
        "images_per_second": round(tally[counts.IMAGES] / seconds, 3) if seconds else 0,
        "counts": {
            "listed": tally[counts.LISTED],
            "ignored": tally[counts.IGNORED],
            "shards": tally[counts.SHARDS],
            "shards_already_done": tally[counts.SHARDS_DONE],
            "duplicates": tally[counts.DUPLICATES],
            "already_done": tally[counts.DONE_BEFORE],
            "failed_before": tally[counts.FAILED_BEFORE],
            "left": tally[counts.LEFT],
            "missing": tally[counts.MISSING],
            "images": tally[counts.IMAGES],
            "ok": {table: by_table.get(table, 0) for table in run.models},
            "failed": counts.family(tally, counts.FAILED),
            "failed_for_now": tally[counts.TRANSIENT],
            "units": tally[counts.UNITS],
            "published": {
                "files": tally[counts.PUBLISHED],
                "rows": tally[counts.PUBLISHED_ROWS],
                "rows_of_earlier_runs": tally[counts.LEFTOVER_ROWS],
            },
            "bytes": tally[counts.BYTES],
        },
        "reasons": counts.family(tally, counts.REASON),
        "seconds_by_step": {step: round(ns / 1e9, 3) for step, ns in counts.family(tally, counts.NANOSECONDS).items()},
        "models": {table: dict(model) for table, model in run.models.items()},
        "options": dict(run.options),
        "versions": dict(run.versions),
        "host": dict(run.host),
    }
    report["problems"] = criteria.problems(run.options, report["counts"]) if state == "done" else []
    return report


def failed(report: Mapping[str, Any]) -> int:
    """Return the number of images that failed in this run."""
    return int(sum(report["counts"]["failed"].values()))


def summary(report: Mapping[str, Any], output: str) -> str:
    """Format a report as the lines that are printed at the end of a run.

    The failures table of the run's day supplies examples for each reason. Without the table, the summary has none.
    """
    numbers = report["counts"]
    rows = [(count(n, "new row"), layout.folder(output, table)) for table, n in numbers["ok"].items() if n]
    if failed(report):
        rows.append((count(failed(report), "failure"), layout.folder(output, layout.FAILURES)))
        rows.extend(_reasons(report, output))
    lines = [_headline(report), *(columns(rows, indent="  ").splitlines() if rows else ())]
    if failed(report):
        lines.append(f"  list all failures of this run: {failures.list_command(output, report['run_id'])}")
    skipped = [
        f"{numbers[key]:,} {text}"
        for key, text in (
            ("duplicates", "listed more than once"),
            ("already_done", "done before"),
            ("failed_before", "failed permanently before (--retry-failed tries them again)"),
            ("left", "left for later runs (--limit)"),
            ("ignored", "without an image suffix"),
        )
        if numbers[key]
    ]
    if skipped:
        lines.append(f"  skipped: {', '.join(skipped)}")
    if shards := numbers["shards"]:
        lines.append(f"  opened {shards - numbers['shards_already_done']:,} of {count(shards, 'shard')}")
    if leftover := numbers["published"]["rows_of_earlier_runs"]:
        lines.append(f"  published {count(leftover, 'row')} that earlier runs had finished")
    lines.append(f"  report: {layout.run_report(output, report['run_id'])}")
    return "\n".join(lines)


def _reasons(report: Mapping[str, Any], output: str) -> Iterator[tuple[str, str]]:
    """Yield a row for each reason with its first example, and a row for each further example."""
    examples = _examples(report, output)
    for reason, number in report["reasons"].items():
        named = [printable(uri) for uri in examples.get(reason, ())]
        if named and number > len(named):
            named.append(f"and {number - len(named):,} more")
        title = f"  {number:,} {reason.replace('/', ': ')}"
        yield title, named[0] if named else ""
        yield from (("", text) for text in named[1:])


def _examples(report: Mapping[str, Any], output: str) -> dict[str, list[str]]:
    """Return URIs of failed images by ``<stage>/<error>``; empty where the failures table cannot be read."""
    try:
        run = runs.Run.from_report(report)
        reasons = failures.read(output, run.partitions, {run.run_id}, _ROWS)
    except BeamsightError:
        return {}
    return {f"{reason.stage}/{reason.error}": [example.uri for example in reason.examples] for reason in reasons}


def _headline(report: Mapping[str, Any]) -> str:
    numbers = report["counts"]
    if not numbers["missing"]:
        distinct = numbers["listed"] - numbers["duplicates"]
        return f"nothing to do: none of the {distinct:,} images is missing from the tables"
    return (
        f"done: {count(numbers['images'], 'image')} in {duration(report['seconds'])}, "
        f"{report['images_per_second']:.2f} images/s with start-up"
    )
