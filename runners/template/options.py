"""The options of ``beamsight schedule``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from beamsight import options
from beamsight.options import option
from transforms.errors import UsageError

TIMES, RETRIES = "times", "failed launches"


@dataclass(frozen=True, slots=True)
class TimesOptions:
    """When a schedule starts, and its name."""

    at: str | None = option(None, group=TIMES, metavar="HH:MM", help="Time of each day, such as 02:30")
    times: str | None = option(
        None, group=TIMES, metavar="FIELDS", help="Times as the five fields of cron, such as '30 2 * * mon-fri'"
    )
    name: str = option("beamsight", help="Name of the schedule")

    def __post_init__(self) -> None:
        if (self.at is None) == (self.times is None):
            raise UsageError("a schedule needs --at or --times, and not both")


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """A schedule of Cloud Scheduler that launches the Flex Template. None is what was not given."""

    template: str = option(metavar="gs://FILE", help="Flex Template to launch, which containers/build.sh makes")
    launch_as: str | None = option(
        None,
        metavar="EMAIL",
        help="Service account that launches, with the role Dataflow Developer and, on the account of the workers, "
        "Service Account User",
        default_text="--service-account",
    )
    location: str | None = option(None, help="Location of the schedule", default_text="--region")
    retries: int = option(3, group=RETRIES, help="Number of retries of a failed launch, 0 to 5")
    retry_wait: int = option(
        60, group=RETRIES, metavar="SECONDS", help="Pause before the first retry, doubled for each next, in seconds"
    )
    attempt_deadline: int = option(
        180, group=RETRIES, metavar="SECONDS", help="Time that Dataflow has for an answer, 15 to 1800 seconds"
    )
    scheduler_endpoint: str | None = option(None, metavar="URL", help="Server in place of Cloud Scheduler, for tests")

    def __post_init__(self) -> None:
        for flag, value, low, high in (
            ("--retries", self.retries, 0, 5),
            ("--retry-wait", self.retry_wait, 1, 3600),
            ("--attempt-deadline", self.attempt_deadline, 15, 1800),
        ):
            if not low <= value <= high:
                raise UsageError(f"{flag} {value} is out of range; Cloud Scheduler accepts {low} to {high}")
        if not re.fullmatch(r"gs://[^/]+/.+", self.template):
            raise UsageError(f"--template {self.template} is not in a bucket; containers/build.sh creates it on gs://")


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """Which schedule of Cloud Scheduler."""

    project: str = option(metavar="ID", help="Google Cloud project")
    region: str | None = option(None, help="Region of the job")
    location: str | None = option(None, help="Location of the schedule", default_text="--region")
    name: str = option("beamsight", help="Name of the schedule")
    scheduler_endpoint: str | None = option(None, metavar="URL", help="Server in place of Cloud Scheduler, for tests")

    def __post_init__(self) -> None:
        if not (self.location or self.region):
            raise UsageError("--region is missing; it says where the schedule is")


@dataclass(frozen=True, slots=True)
class PrintOptions:
    """A schedule of this machine."""

    cron: bool = option(False, group="kind", help="Lines for `crontab -e`")
    systemd: bool = option(False, group="kind", help="Service and timer of systemd")
    log: str | None = option(
        None, metavar="FILE", help="File that the messages of the run are added to", default_text="NAME.log"
    )

    def __post_init__(self) -> None:
        options.check(self)
        if self.cron == self.systemd:
            raise UsageError("say which kind of schedule to print: --cron or --systemd")
