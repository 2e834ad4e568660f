"""``beamsight submit --dry-run``: what would be sent, how long it may take and what it may cost; nothing is sent."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    TestOptions,
    WorkerOptions,
)

from beamsight.models import registry
from beamsight.reports import run_report
from beamsight.text import columns
from runners.dataflow import checks, estimate, options, submit, watch
from runners.dataflow.submit_options import Figures, SubmitOptions
from runners.jobs import beam_options, resolve
from runners.jobs.options import NO_MODEL, RunOptions
from transforms.errors import BeamsightError, UsageError
from transforms.inference import bundle, engines
from transforms.inference.bundle import Bundle
from transforms.inference.spec import EngineName, Task
from transforms.listing import sources
from transforms.storage import files

LOOK_UP_SECONDS = 20.0  # altogether; where there is no cloud, nothing answers

__all__ = ["Figures", "describe"]

_Found = TypeVar("_Found")


@dataclass(slots=True)
class _Known:
    """What could be looked up, and in ``lacks`` what could not, with the reason."""

    models: dict[Task, tuple[str, Bundle]] = field(default_factory=dict)
    count: int | None = None
    lacks: list[str] = field(default_factory=list)


def describe(run: RunOptions, where: SubmitOptions, arguments: Sequence[str], figures: Figures) -> str:
    """The job as it would be sent, its estimate, and what is not known, as text.

    Raises UsageError for what would be refused without asking a cloud. What has to be asked is asked for
    ``LOOK_UP_SECONDS`` and no longer.
    """
    beam = options.to_beam(where, run.output, arguments)
    resolve.require_visible(run, beam, models=False)
    checks.require_complete(beam)
    checks.require_python(beam)
    files.check(run.output)
    run = submit.for_machines(run, beam)
    known = _look_up(run, figures)
    engine = _engine(run, known, options.gpu_of(beam) is not None)
    asked = _asked(run)
    made = estimate.estimate_job(
        dataclasses.replace(figures, count=known.count),
        options.machine_of(beam),
        models=[known.models[task][1].spec.name if task in known.models else model for task, model in asked.items()],
        engine=engine,
        precision=run.precision,
        unit_size=run.unit_size,
        workers=beam_options.workers(beam),
    )
    blank_line = [("", "")]
    rows = _job(run, beam, engine) + blank_line + _models(run, known, options.models_folder(beam)) + blank_line
    rows += [*made.lines(), *blank_line, ("Beam's checks", _beams_checks(run, known, beam))]
    text = columns(rows)
    if known.lacks:
        text += "\n\nnot looked up:\n" + "\n".join(f"  {line}" for line in known.lacks)
    return f"{text}\n\nnothing was sent"


def _job(run: RunOptions, beam: PipelineOptions, engine: str) -> list[tuple[str, str]]:
    cloud, workers = beam.view_as(GoogleCloudOptions), beam.view_as(WorkerOptions)
    debug, machine = beam.view_as(DebugOptions), options.machine_of(beam)
    shape = f"{machine.vcpus} vCPUs, {machine.memory_gb:g} GB" if machine.vcpus else "of unknown shape"
    disk = f"{machine.disk_gb} GB disk"
    single = "no_use_multiple_sdk_containers" in (debug.experiments or [])
    network = [f"{name} {value}" for name in ("network", "subnetwork") if (value := getattr(workers, name))]
    network += ["no public IPs"] * (workers.use_public_ips is False)
    return [
        ("project, region", f"{cloud.project}, {cloud.region}"),
        ("images", ", ".join(run.images)),
        ("output", run.output),
        ("temporary files", f"{cloud.temp_location}, {cloud.staging_location}"),
        ("machines", f"{workers.num_workers or 1} to {workers.max_num_workers}, as Dataflow finds right"),
        ("machine", ", ".join(part for part in (machine.machine_type, shape, disk, machine.gpu) if part)),
        (
            "process",
            f"{'one a machine, all cores to the models' if single else 'one a vCPU'}, "
            f"{debug.number_of_worker_harness_threads} threads for units",
        ),
        ("engine", f"{engine}, {run.precision}" + (f", batches of {run.batch_size}" if run.batch_size else "")),
        ("container image", workers.sdk_container_image or "Beam's, which installs the job at each start"),
        ("service account", cloud.service_account_email or "Compute Engine's default"),
        ("network", ", ".join(network) or "the project's default"),
        ("labels", ", ".join(cloud.labels)),
        ("service options", ", ".join(cloud.dataflow_service_options or []) or "none"),
        ("experiments", ", ".join(debug.experiments or [])),
    ]


def _models(run: RunOptions, known: _Known, folder: str) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for task, model in _asked(run).items():
        if task not in known.models:
            lines.append((task, f"{model}; its hash is not known"))
            continue
        uri, made = known.models[task]
        copied = f", to be copied to {folder}" if files.is_local(uri) else ""
        lines.append((task, f"{made.spec.name}, content hash {made.content_hash[:16]}…, at {uri}{copied}"))
    return lines


def _engine(run: RunOptions, known: _Known, gpu: bool) -> EngineName:
    """As ``engines.choose`` does for the models that are known, and as it does for most where none is."""
    chosen = [engines.choose(run.wanted_engine, run.precision, made, gpu=gpu) for _, made in known.models.values()]
    return chosen[0] if chosen else run.wanted_engine or ("tensorflow" if gpu else "openvino")


def _beams_checks(run: RunOptions, known: _Known, beam: PipelineOptions) -> str:
    """Beam's own ``--dry_run`` with the graph as it would be. Raises UsageError where it refuses."""
    if known.models.keys() != _asked(run).keys():
        return "not made, as not all models are known"
    places = {task: known.models[task][0] if task in known.models else NO_MODEL for task in _TASKS}
    run = dataclasses.replace(run, classifier=places["classify"], embedder=places["embed"])
    job, run_ = resolve.resolve(run, beam, gpu=options.gpu_of(beam) is not None)
    checks.require_engine(job.recipes, beam)
    beam.view_as(TestOptions).dry_run = True
    watch.send(job, beam, partial(run_report.write, run=run_))
    return "passed"


_TASKS: tuple[Task, ...] = ("classify", "embed")


def _asked(run: RunOptions) -> dict[Task, str]:
    models: dict[Task, str] = {"classify": run.classifier, "embed": run.embedder}
    return {task: model for task, model in models.items() if model != NO_MODEL}


def _look_up(run: RunOptions, figures: Figures) -> _Known:
    known = _Known(count=figures.count)
    until = time.monotonic() + LOOK_UP_SECONDS
    for task, model in _asked(run).items():
        found, why = _within(until, partial(_bundle, model, task))
        if found is None:
            known.lacks.append(f"{model}: {why}")
        else:
            known.models[task] = found
    if known.count is None and known.lacks:
        known.lacks.append("the number of images: not tried; say it with --count")
    elif known.count is None:
        listed: Counter[str] = Counter()
        whole, why = _within(until, partial(_count, run, listed))
        known.count = listed["images"] or None
        if whole is None:
            what = f"all images, only the first {known.count:,}" if known.count else "the number of images"
            known.lacks.append(f"{what}: {why}; say it with --count")
    return known


def _bundle(model: str, task: Task) -> tuple[str, Bundle]:
    if registry.find(model, task):
        uri = str(bundle.cache_dir() / "models" / f"{model}-{task}")
        if not files.exists(files.join(uri, bundle.MODEL_JSON)):
            raise UsageError("never staged on this machine; that is done when the job is sent")
    else:
        uri = resolve.find_bundle(model, task)
    return uri, bundle.read(uri)


def _count(run: RunOptions, listed: Counter[str]) -> bool:
    for source in run.images:
        for part in sources.list_images(source, run.uri_column):
            listed["images"] += len(part.refs)
    return True


def _within(until: float, work: Callable[[], _Found]) -> tuple[_Found | None, str]:
    """What ``work`` gives by then, by the monotonic clock, else None and why; a client's retries are not waited for."""
    answer: list[Any] = []

    def look() -> None:
        try:
            answer.append((work(), ""))
        except BeamsightError as error:
            answer.append((None, str(error)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()))
    return answer[0] if answer else (None, "no answer in time")
