"""Jobs that failed because the region had no machines of a type, and the type to try next."""

from __future__ import annotations

import re
from collections.abc import Iterable

from runners.dataflow import job_state
from runners.lock.holder import Holder

MACHINE_TYPE = "machine_type"  # in the job of a lock's holder

# Such as: Startup of the worker pool in us-central1 failed to bring up any of the desired 1 workers. [...]
# ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS: Instance 'x' creation failed: The zone 'projects/p/zones/z' does not have
# enough resources available to fulfill the request. A job that found some of its workers continues, and a quota
# (QUOTA_EXCEEDED) is a limit of the project that another type would only hide.
_NO_WORKERS = re.compile(r"failed to bring up any of the desired \d+ workers", re.I)
_EXHAUSTED = re.compile(r"RESOURCE_POOL_EXHAUSTED|does not have enough resources available", re.I)


def is_stockout(errors: Iterable[str]) -> bool:
    """Return whether a job failed because there were no machines for it.

    Args:
        errors: The error messages of the job.
    """
    return any(_NO_WORKERS.search(each) and _EXHAUSTED.search(each) for each in errors)


def first_type(types: tuple[str, ...], previous: Holder | None, endpoint: str | None) -> str:
    """Return the machine type to start with.

    It is the first one, unless the job that held the lock before failed because there were no machines of its type.
    Nobody watched that job, so this run tries the type after it.

    Args:
        types: The machine types to try, in this order.
        previous: The holder that never released the lock, if there was one.
        endpoint: A server of Dataflow other than Google's.
    """
    job = (previous.job if previous is not None else None) or {}
    tried = job.get(MACHINE_TYPE)
    if tried not in types or not job.get("id") or not is_stockout(job_state.list_errors(job, endpoint)):
        return types[0]
    return types[(types.index(tried) + 1) % len(types)]
