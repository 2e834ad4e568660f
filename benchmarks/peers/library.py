"""Run beamsight's PTransforms in a pipeline of its own: list, process, and write with Beam's sink for Parquet."""

from __future__ import annotations

import argparse
from pathlib import Path

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

import beamsight


def main() -> None:
    """Run both models in one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("pictures", "classifier", "embedder", "output"):
        parser.add_argument(f"--{option}", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--precision", default="f32")
    job = parser.parse_args()
    # DirectRunner uses FnApiRunner if it cannot download another engine. This skips the attempt.
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        images = pipeline | beamsight.ListImages(str(job.pictures))
        process = beamsight.ProcessImages(
            classifier=str(job.classifier), embedder=str(job.embedder), precision=job.precision
        )
        result = images | process
        for name, rows in result._asdict().items():
            path = f"{job.output.absolute()}/{name}/part"
            _ = rows | f"Write {name}" >> beam.io.WriteToParquet(path, file_name_suffix=".parquet")


if __name__ == "__main__":
    main()
