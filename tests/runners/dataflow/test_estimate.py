"""Machines, time and price, from figures of the user and from the tables."""

from __future__ import annotations

from typing import Any

import pytest

from runners.dataflow import estimate
from runners.dataflow.machine import Machine
from runners.dataflow.submit_options import Figures

BOTH = ["efficientnet-b7", "efficientnet-b6"]


def estimated(
    figures: Figures, machine_type: str = "c3-standard-8", gpu: str | None = None, workers: int = 10, **more: Any
) -> Any:
    asked: dict[str, Any] = {"models": BOTH, "engine": "openvino", "precision": "f32", "unit_size": 512} | more
    return estimate.estimate_job(figures, Machine.of(machine_type, gpu, 50), workers=workers, **asked)


def speed(*args: Any, **more: Any) -> float:
    found = estimated(Figures(), *args, **more).speed
    assert found is not None
    return found


def test_from_figures_that_were_said() -> None:
    found = estimated(Figures(count=360_000, images_per_second=10, machine_price=0.5))
    assert (found.units, found.machines) == (704, 10)
    assert found.seconds == 300 + 3600
    assert found.price == pytest.approx(10 * 0.5 * 3900 / 3600)
    lines = dict(found.rows())
    assert lines["images/s"] == "10 per machine, from --images-per-second"
    assert lines["time"] == "1 h 05 min on 10 machines, including 5 min 00 s to start"
    assert lines["price"] == "5.42 USD for the machines"
    assert "assumed" not in lines["images to do"]


def test_a_small_job_has_no_more_machines_than_units() -> None:
    assert estimated(Figures(count=3, images_per_second=1, machine_price=1)).machines == 3


def test_from_the_tables() -> None:
    found = estimated(Figures())
    assert found.images == 1_000_000
    assert found.speed == pytest.approx(8 / ((77.618 + 38.8) / 150 + 0.03))
    assert found.hour == pytest.approx(8 * 0.056 + 32 * 0.003557 + 50 * 0.000298)
    assert "set it with --count" in dict(found.rows())["images to do"]
    assert "--images-per-second" in dict(found.rows())["images/s"]


def test_what_makes_a_machine_fast() -> None:
    f32 = estimated(Figures()).speed
    assert estimated(Figures(), precision="bf16").speed > 1.5 * f32
    assert (
        estimated(Figures(), "n2-standard-8", precision="bf16").speed
        == estimated(Figures(), "n2-standard-8").speed
        < f32
    )
    assert estimated(Figures(), "c3-standard-22").speed == pytest.approx(22 / 8 * f32)
    assert (
        estimated(Figures(), "a2-highgpu-1g", "nvidia-tesla-a100").speed
        > estimated(Figures(), "g2-standard-8", "nvidia-l4").speed
    )
    assert estimated(Figures(), models=["efficientnet-b0-standin"]).speed > 10 * f32


@pytest.mark.parametrize(
    ("machine_type", "gpu", "more", "speed", "price"),
    [
        ("m9-standard-8", None, {}, False, False),
        ("c3-standard-8", None, {"models": ["of-my-own"]}, False, True),
        ("n1-standard-8", "nvidia-tesla-p4", {}, False, False),
    ],
)
def test_what_is_not_known_is_said(machine_type: str, gpu: str | None, more: dict, speed: bool, price: bool) -> None:  # type: ignore[type-arg]
    found = estimated(Figures(), machine_type, gpu, **more)
    assert (found.speed is not None, found.hour is not None) == (speed, price)
    lines = dict(found.rows())
    assert lines["images/s"] == "unknown, pass --images-per-second"
    assert (lines["time"], lines["price"]) == ("unknown", "unknown")
    assert estimated(Figures(images_per_second=1, machine_price=1), machine_type, gpu, **more).price > 0
