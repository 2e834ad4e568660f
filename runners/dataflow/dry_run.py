"""``beamsight submit --dry-run``: show the job, its estimated time and price, and send nothing."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import TypeVar

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    TestOptions,
    WorkerOptions,
)

from beamsight.models import choose, registry
from beamsight.reports import run_report
from beamsight.text import columns, count
from runners.dataflow import budget, checks, estimate, flexrs, options, sending, submit
from runners.dataflow.submit_options import Figures, SubmitOptions
from runners.jobs import beam_options, resolve
from runners.jobs.options import NO_MODEL, RunOptions
from transforms import time_limit
from transforms.errors import BeamsightError, UsageError
from transforms.history import subtract
from transforms.inference import bundle, engines
from transforms.inference.bundle import Bundle
from transforms.inference.spec import EngineName, Task
from transforms.listing import sources
from transforms.storage import files
from transforms.tables import layout

LOOK_UP_SECONDS = 20.0  # for all look-ups together, because without a network none is answered

__all__ = ["Figures", "describe"]

_T = TypeVar("_T")


@dataclass(slots=True)
class _Facts:
    """Models and the number of images. problems: Failed look-ups with their reasons."""

    models: dict[Task, tuple[str, Bundle]] = field(default_factory=dict)
    count: int | None = None
    problems: list[str] = field(default_factory=list)


def describe(run: RunOptions, where: SubmitOptions, arguments: Sequence[str], figures: Figures) -> str:
    """Return a text with the job, its estimate, and the facts that could not be looked up.

    Args:
        run: The options of the run.
        where: The options of Dataflow.
        arguments: Beam's own options. They take precedence over ``where``.
        figures: Figures of the user, which replace our estimates.

    Raises:
        UsageError: A check failed that needs no network. Look-ups end after ``LOOK_UP_SECONDS``.
    """
    beam = options.to_beam(where, run.output, arguments)
    resolve.require_visible(run, beam, models=False)
    checks.require_complete(beam, options.gpu_of(where, beam))
    checks.require_python(beam)
    resolve.check_output(run)
    gpu, machine = options.gpu_of(where, beam), options.machine_of(where, beam)
    budget.make_budget(where, beam, figures)
    run = submit.for_machines(run, gpu)
    facts = _look_up(run, figures)
    engine = _engine(run, facts, gpu is not None)
    models = _list_models(run)
    estimated = estimate.estimate_job(
        dataclasses.replace(figures, count=facts.count),
        machine,
        models=[facts.models[task][1].spec.name if task in facts.models else model for task, model in models.items()],
        engine=engine,
        precision=run.precision,
        unit_size=run.unit_size,
        workers=beam_options.workers(beam),
        rates=flexrs.rates(beam),
    )
    blank_line = [("", "")]
    rows = _job(run, where, beam, engine) + blank_line + _models(run, facts, options.models_folder(beam)) + blank_line
    rows += [*estimated.rows(), *_limits(where, beam, estimated), *blank_line]
    rows.append(("Beam's checks", _beams_checks(run, facts, where, beam)))
    text = columns(rows)
    if facts.problems:
        text += "\n\nunknown:\n" + "\n".join(f"  {line}" for line in facts.problems)
    return f"{text}\n\nThe job was not sent."


def _limits(where: SubmitOptions, beam: PipelineOptions, estimated: estimate.Estimate) -> list[tuple[str, str]]:
    rows = []
    if options.is_flexrs(beam):
        rows.append(("start", f"chosen by Dataflow; {flexrs.describe_start(datetime.now(timezone.utc))}, if sent now"))
    if where.max_cost is not None:
        if estimated.price is None:
            relation = "and the estimate is unknown"
        elif estimated.price > where.max_cost:
            relation = "less than the estimate: the job is refused if the tables lack so many images"
        else:
            relation = "not exceeded by the estimate"
        rows.append(("max cost", f"{where.max_cost:,.2f} USD, {relation}"))
    return rows


def _job(run: RunOptions, where: SubmitOptions, beam: PipelineOptions, engine: str) -> list[tuple[str, str]]:
    cloud, workers = beam.view_as(GoogleCloudOptions), beam.view_as(WorkerOptions)
    debug, machine = beam.view_as(DebugOptions), options.machine_of(where, beam)
    fitted = options.accelerator_of(where, beam) is not None
    shape = f"{machine.vcpus} vCPUs, {machine.memory_gb:g} GB" if machine.vcpus else "unknown size"
    disk = f"{machine.disk_gb} GB disk"
    single = "no_use_multiple_sdk_containers" in (debug.experiments or [])
    network = [f"{name} {value}" for name in ("network", "subnetwork") if (value := getattr(workers, name))]
    network += ["no public IPs"] * (workers.use_public_ips is False)
    return [
        ("project, region", f"{cloud.project}, {cloud.region}"),
        ("images", ", ".join(run.images)),
        ("output", run.output),
        ("temporary files", f"{cloud.temp_location}, {cloud.staging_location}"),
        ("machines", f"{workers.num_workers or 1} to {workers.max_num_workers}, chosen by Dataflow"),
        ("machine", ", ".join(part for part in (machine.machine_type, shape, disk, machine.gpu) if part)),
        *([("other steps", f"{workers.machine_type}, without a GPU")] if fitted else []),
        (
            "process",
            f"{'one per machine, models use all cores' if single else 'one per vCPU'}, "
            f"{count(debug.number_of_worker_harness_threads, 'thread')} for units",
        ),
        ("engine", f"{engine}, {run.precision}" + (f", batches of {run.batch_size}" if run.batch_size else "")),
        ("container image", workers.sdk_container_image or "Beam's image, in which each worker installs the job"),
        ("service account", cloud.service_account_email or "default of Compute Engine"),
        ("network", ", ".join(network) or "default of the project"),
        ("labels", ", ".join(cloud.labels)),
        ("service options", ", ".join(cloud.dataflow_service_options or []) or "none"),
        ("experiments", ", ".join(debug.experiments or [])),
    ]


def _models(run: RunOptions, facts: _Facts, folder: str) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for task, model in _list_models(run).items():
        if task not in facts.models:
            lines.append((task, f"{model}, content hash unknown"))
            continue
        uri, bundle_ = facts.models[task]
        copied = f", will be copied to {folder}" if files.is_local(uri) else ""
        lines.append((task, f"{bundle_.spec.name}, content hash {bundle_.content_hash[:16]}…, at {uri}{copied}"))
    return lines


def _engine(run: RunOptions, facts: _Facts, gpu: bool) -> EngineName:
    """Return the engine of the first known model, or the usual one if no model is known."""
    chosen = [
        engines.choose(run.wanted_engine, run.precision, bundle_, gpu=gpu) for _, bundle_ in facts.models.values()
    ]
    return chosen[0] if chosen else run.wanted_engine or ("tensorflow" if gpu else "openvino")


def _beams_checks(run: RunOptions, facts: _Facts, where: SubmitOptions, beam: PipelineOptions) -> str:
    """Run Beam's own ``--dry_run`` on the graph. Raises UsageError if Beam rejects it."""
    if facts.models.keys() != _list_models(run).keys():
        return "skipped, because a model is unknown"
    uris = {task: facts.models[task][0] if task in facts.models else NO_MODEL for task in _TASKS}
    run = dataclasses.replace(run, classifier=uris["classify"], embedder=uris["embed"])
    gpu = options.gpu_of(where, beam) is not None
    job, run_ = resolve.resolve(run, beam, gpu=gpu)
    job = dataclasses.replace(job, accelerator=options.accelerator_of(where, beam))
    checks.require_engine(job.recipes, beam, gpu=gpu)
    beam.view_as(TestOptions).dry_run = True
    sending.send(job, beam, partial(run_report.write, run=run_))
    return "passed"


_TASKS: tuple[Task, ...] = ("classify", "embed")


def _list_models(run: RunOptions) -> dict[Task, str]:
    models: dict[Task, str] = {"classify": run.classifier, "embed": run.embedder}
    return {task: model for task, model in models.items() if model != NO_MODEL}


def _look_up(run: RunOptions, figures: Figures) -> _Facts:
    facts = _Facts(count=figures.count)
    deadline = time.monotonic() + LOOK_UP_SECONDS
    for task, model in _list_models(run).items():
        model_, problem = _within(deadline, partial(_read_bundle, model, task))
        if model_ is None:
            facts.problems.append(f"{model}: {problem}")
        else:
            facts.models[task] = model_
    if facts.count is None and facts.problems:
        facts.problems.append("number of images: not counted, because a model is unknown; pass --count")
    elif facts.count is None:
        listed: Counter[str] = Counter()
        counted, problem = _within(deadline, partial(_count, run, listed))
        facts.count = listed["images"] or None
        if counted is None:
            what = f"number of images, {facts.count:,} or more" if facts.count else "number of images"
            facts.problems.append(f"{what}: {problem}; pass --count")
    reason, _ = _within(deadline, partial(resolve.explain_output, run))
    if reason:
        raise UsageError(reason)
    return facts


def _read_bundle(model: str, task: Task) -> tuple[str, Bundle]:
    if registry.find(model, task):
        uri = str(bundle.cache_dir() / "models" / f"{model}-{task}")
        if not files.exists(files.join(uri, bundle.MODEL_JSON)):
            raise UsageError("not staged on this machine yet; `submit` stages it")
    else:
        uri = choose.find_bundle(model, task)
    return uri, bundle.read(uri)


def _count(run: RunOptions, listed: Counter[str]) -> bool:
    for source in run.images:
        own_files = layout.own_files(run.output)
        for part in sources.list_images(source, run.uri_column, own_files, image_column=run.image_column):
            shards = sum(map(subtract.is_shard, part.refs))
            listed["images"] += len(part.refs) - shards
            if shards:
                listed.clear()  # they may be a small part of the images
                raise UsageError("images in shards are counted when the shards are opened")
    return True


def _within(deadline: float, work: Callable[[], _T]) -> tuple[_T | None, str]:
    """Return the result of ``work``, or None and the reason if it fails or takes longer than the deadline."""
    try:
        return time_limit.call(work, deadline - time.monotonic()), ""
    except BeamsightError as error:
        return None, str(error)
