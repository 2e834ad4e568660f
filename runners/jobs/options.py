"""The options of a job: what ``run``, ``submit`` and ``nightly`` have in common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from beamsight.reports.criteria import MaxFailures
from runners.jobs.webhook import Webhook
from transforms import defaults
from transforms.imaging.prepare import Limits
from transforms.inference.spec import EngineName, Precision

NO_MODEL = "none"


@dataclass(frozen=True, slots=True)
class Night:
    """Which days a run is for, as its report keeps it.

    patterns: ``--images`` as they were given. days: as 2026-11-20. waiting: those days for which a pattern found
    nothing yet.
    """

    patterns: tuple[str, ...]
    days: tuple[str, ...]
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """``beamsight run`` as it was asked for. classifier, embedder: a registered name, a bundle, or ``none``.

    night: of ``beamsight nightly``, the days that ``images`` are of.
    """

    images: tuple[str, ...]
    output: str
    classifier: str = "efficientnet-b7"
    embedder: str = "efficientnet-b6"
    uri_column: str = defaults.URI_COLUMN
    retry_failed: bool = False
    max_attempts: int = defaults.MAX_ATTEMPTS
    check_versions: bool = False
    top_k: int = 5
    probabilities: bool = False
    normalize: bool = False
    limits: Limits = dataclasses.field(default_factory=Limits)
    unit_size: int = defaults.UNIT_SIZE
    batch_size: int | None = None
    engine: EngineName | None = None
    engine_threads: int | None = None
    precision: Precision = "f32"
    threads: int = defaults.THREADS
    max_failures: MaxFailures = dataclasses.field(default_factory=lambda: MaxFailures(share=0.1))
    night: Night | None = None
    expect_at_least: int | None = None
    on_finish: Webhook | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the run report."""
        values = dataclasses.asdict(self)
        values["on_finish"] = self.on_finish and str(self.on_finish)
        return values | values.pop("limits") | {"images": list(self.images), "max_failures": str(self.max_failures)}
