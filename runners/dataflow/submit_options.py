"""The options of a job on Dataflow: where it runs, on which machines, and the figures of its estimate."""

from __future__ import annotations

import re
from dataclasses import dataclass

from beamsight import options
from beamsight.options import option
from runners.dataflow import machine
from transforms.errors import UsageError

PLACE, MACHINES, ESTIMATE = "where the job runs (Dataflow)", "machines (Dataflow)", "estimate of --dry-run (Dataflow)"

_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}")
_JOB_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_MACHINE_TYPE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LABELS = r"[a-z][a-z0-9_-]*=[a-z0-9_-]*"


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """Where a job runs, and on what. None is what was not given."""

    project: str | None = option(
        None, group=PLACE, metavar="ID", help="Google Cloud project that runs and pays the job"
    )
    region: str | None = option(
        None, group=PLACE, help="Region of the job, such as europe-west4; best the one of the images"
    )
    bucket: str | None = option(
        None,
        group=PLACE,
        metavar="gs://BUCKET",
        help="Bucket for models, staged code, and temporary files, which go into its folder beamsight",
        default_text="the bucket of --output",
        pattern="gs://.+",
    )
    job_name: str | None = option(
        None, group=PLACE, help="Name of the job in the console", default_text="beamsight and the id of the run"
    )
    service_account: str | None = option(
        None,
        group=PLACE,
        metavar="EMAIL",
        help="Service account of the workers",
        default_text="the one of Compute Engine",
        pattern="[^@ ]+@[^@ ]+",
    )
    network: str | None = option(
        None, group=PLACE, help="Network of the workers", default_text="the project's default network"
    )
    subnetwork: str | None = option(
        None, group=PLACE, help="Subnetwork of the workers, such as regions/REGION/subnetworks/NAME"
    )
    no_public_ips: bool = option(
        False, group=PLACE, help="Workers without public IP addresses; the subnetwork needs Private Google Access"
    )
    labels: tuple[str, ...] = option(
        (),
        name="label",
        group=PLACE,
        metavar="KEY=VALUE",
        help="Label of the job, for the bill; may be repeated",
        pattern=f"{_LABELS}([|]{_LABELS})*",
    )
    container_image: str | None = option(
        None,
        group=MACHINES,
        metavar="IMAGE",
        help="Container image of the workers; without a tag, :VERSION-cpu or :VERSION-gpu is added",
    )
    gpu: str | None = option(
        None,
        group=MACHINES,
        metavar="TYPE",
        choices=tuple(machine.GPUS),
        help="GPU of the machines that run the models, which then use the tensorflow engine: "
        f"{', '.join(machine.GPUS)}",
    )
    machine_types: tuple[str, ...] = option(
        (),
        name="machine-type",
        group=MACHINES,
        metavar="TYPE",
        help="Machine type for the models; may be repeated: the next one is for a region that has no machine of the "
        "one before",
        default_text=f"{', then '.join(machine.CPU_TYPES)}, or the type that suits the GPU",
        pattern="[a-z0-9-]+([|][a-z0-9-]+)*",
    )
    workers: int | None = option(
        None, group=MACHINES, help="Number of machines at the start", default_text="chosen by Dataflow"
    )
    max_workers: int = option(machine.MAX_WORKERS, group=MACHINES, help="Maximum number of machines")
    disk_gb: int | None = option(
        None,
        group=MACHINES,
        metavar="GB",
        help="Disk size of a machine, in GB",
        default_text=f"{machine.CPU_DISK_GB}, or {machine.GPU_DISK_GB} with a GPU",
    )
    flexrs: bool = option(
        False,
        group=MACHINES,
        help="Start within six hours, chosen by Dataflow, on machines that cost about 40 % less; not with a GPU",
    )
    max_cost: float | None = option(
        None,
        group=MACHINES,
        metavar="USD",
        above=0,
        help="Maximum cost of the machines: a job whose estimate is higher is not sent, and `--wait` cancels a job "
        "that has cost more",
        template="a launch returns at once, and no process is left to cancel the job; use `submit --wait`",
    )
    wait: bool = option(
        False,
        group=PLACE,
        help="Progress and exit code of the job, as `run` has them, instead of an exit as soon as the job is accepted",
        template="a launch returns at once; look at the job with `gcloud dataflow jobs show`, or use `submit --wait`",
    )

    def __post_init__(self) -> None:
        options.check(self)
        if self.bucket is not None and not re.fullmatch(r"gs://[^/]+(/.*)?", self.bucket):
            raise UsageError(f"--bucket {self.bucket} is not a bucket; write gs://BUCKET, or gs://BUCKET/FOLDER")
        if self.job_name is not None and not _JOB_NAME.fullmatch(self.job_name):
            raise UsageError(
                f"--job-name {self.job_name}: use up to 63 characters of a-z, 0-9 and '-'; begin with a letter and do "
                "not end with '-'"
            )
        for label in self.labels:
            if not _LABEL.fullmatch(label):
                raise UsageError(
                    f"--label {label} is not KEY=VALUE; use a-z, 0-9, '_' and '-', and begin with a letter"
                )
        for machine_type in self.machine_types:
            self._check_machine_type(machine_type)
        if self.workers is not None and self.workers > self.max_workers:
            raise UsageError(
                f"--workers {self.workers} is more than --max-workers {self.max_workers}; raise --max-workers too"
            )

    def _check_machine_type(self, machine_type: str) -> None:
        if not _MACHINE_TYPE.fullmatch(machine_type):
            raise UsageError(
                f"--machine-type {machine_type} is not a machine type such as {machine.CPU_TYPE}; repeat the option "
                "for more than one"
            )
        suits = machine.GPUS[self.gpu].machine_type.partition("-")[0] if self.gpu is not None else None
        if suits is not None and machine_type.partition("-")[0] != suits:
            raise UsageError(
                f"--machine-type {machine_type} cannot have a {self.gpu}; choose a type of the family {suits}"
            )


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of the estimate that the user knows better."""

    count: int | None = option(
        None,
        group=ESTIMATE,
        one_run=True,
        template=False,
        help="Number of images",
        default_text="the number that --images names",
    )
    images_per_second: float | None = option(
        None,
        group=ESTIMATE,
        above=0,
        template=False,
        help="Measured throughput of one machine, in images per second",
        default_text="estimated",
    )
    machine_price: float | None = option(
        None,
        group=ESTIMATE,
        metavar="USD",
        above=0,
        template=False,
        help="Price of one machine per hour, all in",
        default_text="list price",
    )

    def __post_init__(self) -> None:
        options.check(self)
