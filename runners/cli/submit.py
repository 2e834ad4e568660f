"""``beamsight submit``: the same as ``run``, on Dataflow."""

from __future__ import annotations

from runners.cli import codes, run
from runners.cli.parser import Command, Outcome, Parsed
from runners.cli.run import MessageOptions
from runners.dataflow.submit_options import Figures, SubmitOptions
from runners.jobs.options import RunOptions


def submit(parsed: Parsed) -> Outcome:
    """Send the job to Dataflow."""
    return run.on_dataflow(
        parsed.option(RunOptions), parsed.option(SubmitOptions), parsed.option(MessageOptions), parsed
    )


COMMAND = Command(
    name="submit",
    summary="the same as run, on Google Cloud Dataflow",
    run=submit,
    options=(RunOptions, SubmitOptions, Figures, MessageOptions),
    description="Classify and embed the images that the tables lack, on Google Cloud Dataflow. Unknown options go "
    "to Beam, and replace what is chosen here.",
    examples={
        "what would be sent, the time, and the price": "beamsight submit --images 'gs://bucket/photos/**' "
        "--output gs://bucket/catalog --project my-project --region europe-west4 --container-image IMAGE --dry-run",
        "the job, watched until it ends": "beamsight submit --images 'gs://bucket/photos/**' --output "
        "gs://bucket/catalog --project my-project --region europe-west4 --container-image IMAGE --wait",
        "with GPUs": "beamsight submit --images 'gs://bucket/photos/**' --output gs://bucket/catalog --project "
        "my-project --region europe-west4 --container-image IMAGE --gpu nvidia-l4",
    },
    notes=f"Without --wait, 0 says that the job was accepted.\n{codes.NOTE}",
    takes_beam=True,
)
