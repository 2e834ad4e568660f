"""Jobs that Dataflow may delay for a lower price (FlexRS): what they exclude, and when they start.

https://cloud.google.com/dataflow/docs/guides/flexrs
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
    WorkerOptions,
)

from runners.dataflow import options, prices
from runners.dataflow.prices import Rates

LATEST_START = timedelta(hours=6)  # after the submission

_MACHINE_SERIES = ("m2", "m3", "h3")
_SERVICES = {
    "enable_prime": "Dataflow Prime has other prices",
    "automatically_use_created_reservation": "FlexRS takes no reserved machines",
}


def list_faults(beam: PipelineOptions, gpu: str | None) -> Iterator[str]:
    """Yield what a FlexRS job cannot have, each with its remedy. Yields nothing for another job."""
    if not options.is_flexrs(beam):
        return
    workers, cloud = beam.view_as(WorkerOptions), beam.view_as(GoogleCloudOptions)
    standard, debug = beam.view_as(StandardOptions), beam.view_as(DebugOptions)
    if gpu is not None:
        yield f"--flexrs excludes a GPU such as the {gpu}; leave out --gpu, or --flexrs"
    elif standard.resource_hints:
        hints = ", ".join(map(str, standard.resource_hints))
        yield f"--flexrs excludes --resource_hints {hints}; leave out one of them"
    if standard.streaming:
        yield "--flexrs is for batch jobs; leave out --streaming"
    for name in ("autoscaling_algorithm", "zone", "worker_zone"):
        if value := getattr(workers, name):
            yield f"--flexrs excludes --{name}={value}, because Dataflow chooses it; leave out one of them"
    for name, why in _SERVICES.items():
        if name in (cloud.dataflow_service_options or []) or name in (debug.experiments or []):
            yield f"--flexrs excludes {name}: {why}; leave out one of them"
    machine_type = str(workers.machine_type or "")
    if re.match(rf"({'|'.join(_MACHINE_SERIES)})-", machine_type):
        yield f"--flexrs has no machines of the type {machine_type}; choose another series, such as c3"


def rates(beam: PipelineOptions) -> Rates:
    """Return the prices of vCPUs and memory that apply to a job."""
    return prices.FLEXRS if options.is_flexrs(beam) else prices.BATCH


def describe_start(sent: datetime) -> str:
    """Return when a job starts that is sent now: ``queued, starts by 2026-11-26 13:40 UTC at the latest``."""
    return f"queued, starts by {sent + LATEST_START:%Y-%m-%d %H:%M} UTC at the latest"
