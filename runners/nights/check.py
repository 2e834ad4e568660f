"""Check whether a night could run with some options: all faults at once, and warnings. Nothing is written."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

from beamsight import options
from beamsight.models import choose, registry, staging
from beamsight.text import duration
from runners.dataflow import checks
from runners.dataflow import options as dataflow
from runners.dataflow.submit_options import SubmitOptions
from runners.jobs import beam_options, resolve
from runners.jobs.faults import Faults
from runners.jobs.options import NO_MODEL, RunOptions
from runners.nights import day_patterns, nightly
from runners.nights.options import NightlyOptions
from transforms.errors import FetchError, NoCredentials, UsageError
from transforms.inference.spec import Task
from transforms.listing import sources
from transforms.storage import files
from transforms.tables import layout

ANSWER_SECONDS = 20.0  # for all questions together, because without a network none is answered

_STAND_INS = {"images": (), "output": "."}  # for required options that are missing, so that the others are checked

_T = TypeVar("_T")
_Question = Callable[[], str | None]  # returns a warning, and raises UsageError or FetchError for a fault


@dataclass(frozen=True, slots=True)
class CheckedNight:
    """The options of a night without faults, and warnings about what may stop it later."""

    job: RunOptions
    days: NightlyOptions
    warnings: tuple[str, ...] = ()


def check(values: Mapping[str, Any], beam: Sequence[str], now: datetime, *, ask: bool) -> CheckedNight:
    """Check the options of a night.

    Args:
        values: The given options by field.
        beam: Words for Beam.
        now: The current time.
        ask: Whether to look at the output, the models, and the images too.

    Raises:
        UsageError: The night cannot run. The message has a line for each fault.
    """
    faults = Faults()
    job, where = _build(RunOptions, values, faults), _build(SubmitOptions, values, faults)
    days, today = _build(NightlyOptions, values, faults), now.date()
    with faults.collect():
        today = days.today(now)
    has_output = bool(values.get("output", "").strip())
    workers = _workers(where, job, beam, faults)
    invisible = resolve.list_invisible(job, workers, models=not beam_options.is_dataflow(beam))
    faults.add(*(each for each in invisible if has_output or not each.startswith("--output")))
    if all(model == NO_MODEL for model, _ in job.models):
        faults.add("--classifier none and --embedder none leave nothing to do; pass at least one model")
    images = {}
    for pattern in job.images:
        with faults.collect():
            images[pattern] = day_patterns.expand(pattern, today)
    gpu = dataflow.gpu_of(where, workers) is not None
    warnings = tuple(_ask([*_list_questions(job, images, gpu, has_output=has_output)], faults)) if ask else ()
    faults.require_none()
    return CheckedNight(job, days, warnings)


def _workers(where: SubmitOptions, job: RunOptions, beam: Sequence[str], faults: Faults) -> PipelineOptions:
    """Return Beam's options of the job. Raises UsageError for unknown words, without which no worker is known."""
    try:
        on_dataflow, workers = beam_options.is_dataflow(beam), beam_options.parse(beam)
    except UsageError as error:
        faults.add(str(error))
        raise UsageError("\n".join(faults.messages)) from error
    if on_dataflow:
        workers = dataflow.to_beam(where, job.output, beam)
        with faults.collect():
            checks.require_complete(workers, dataflow.gpu_of(where, workers))
    else:
        with faults.collect():
            require_dataflow(where)
        with faults.collect():
            beam_options.require_cloud(beam)
    return workers


def require_dataflow(where: SubmitOptions) -> None:
    """Raise UsageError for options of Dataflow's machines where the job does not run on those."""
    given = options.given(where)
    if flags := [each.flag for each in options.of(SubmitOptions) if each.field in given]:
        named = f"{', '.join(flags)} {'is' if len(flags) == 1 else 'are'}"
        raise UsageError(f"{named} for a job on Dataflow; add --runner=DataflowRunner, or leave it out")


def _build(cls: type[_T], values: Mapping[str, Any], faults: Faults) -> _T:
    """Make a dataclass of options. Collect each fault, and go on without the values that its message names."""
    try:
        return options.build(cls, values)
    except UsageError as error:
        faults.add(str(error))
        flags = re.findall(r"--[a-z][a-z-]*", str(error))
        named = {each.field for each in options.of(cls) if each.flag in flags}
        left = {key: value for key, value in values.items() if key not in named}
        left |= {key: value for key, value in _STAND_INS.items() if key in named}
        if left == values:
            faults.require_none()
        return _build(cls, left, faults)


def _list_questions(
    job: RunOptions, images: Mapping[str, str], gpu: bool, *, has_output: bool
) -> Iterator[tuple[str, _Question]]:
    """Yield questions to the storage, each with what it is about. images: Today's source of each pattern."""
    if has_output:
        yield f"--output {job.output}", partial(_ask_output, job)
    for option, (model, task) in zip(("--classifier", "--embedder"), job.models, strict=True):
        if model != NO_MODEL:
            yield f"{option} {model}", partial(_ask_model, job, model, task, gpu)
    for pattern, source in images.items():
        yield f"--images {pattern}", partial(_ask_images, pattern, source, job)


def _ask_output(job: RunOptions) -> None:
    resolve.require_output(job)
    uri = resolve.output_of(job)
    if not files.is_local(uri):
        next(files.walk(files.join(uri, "")), None)  # raises NotFound for a bucket that does not exist


def _ask_model(job: RunOptions, model: str, task: Task, gpu: bool) -> str | None:
    if registry.find(model, task) and not staging.cached_bundle(model, task).exists():
        return f"{model} is not on this machine; the first run downloads it"
    resolve.make_recipe(job, choose.find_bundle(model, task), task, gpu)
    return None


def _ask_images(pattern: str, source: str, job: RunOptions) -> str | None:
    if missing := nightly.explain_missing(pattern):
        return missing
    own_files = layout.own_files(resolve.output_of(job))
    reason = sources.explain_empty(source, job.uri_column, own_files, image_column=job.image_column)
    return f"--images {source}: {reason}" if reason and source == pattern else None  # A day may have no images yet.


def _ask(questions: Sequence[tuple[str, _Question]], faults: Faults) -> Iterator[str]:
    """Ask all questions at once. Yields warnings, also for those without an answer in time."""
    answers: dict[str, str | Exception | None] = {}

    def answer(about: str, question: _Question) -> None:
        try:
            answers[about] = question()
        except Exception as error:  # It is raised or collected below.
            answers[about] = error

    deadline = time.monotonic() + ANSWER_SECONDS
    threads = [threading.Thread(target=answer, args=each, daemon=True) for each in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for about, _ in questions:
        found = answers.get(about, f"{about} was not checked: no answer within {duration(ANSWER_SECONDS)}")
        if isinstance(found, NoCredentials) or (isinstance(found, FetchError) and found.retryable):
            yield f"{about} was not checked: {found}"
        elif isinstance(found, UsageError | FetchError):
            faults.add(str(found) if str(found).startswith("--") else f"{about}: {found}")
        elif isinstance(found, Exception):
            raise found
        elif found is not None:
            yield found
