"""``beamsight models``: arguments in, frozen options out."""

from __future__ import annotations

import argparse

from transforms.inference import engines


def main(known: argparse.Namespace) -> int:
    """One action -> exit code 0. Raises UsageError and EngineError."""
    from beamsight.models import requests

    if known.action == "list":
        print(requests.table())
    elif known.action == "show":
        print(requests.show(known.name))
    elif known.action == "compare":
        print(_compare(known))
    elif known.action == "quantize":
        print(_quantize(known))
    else:
        if known.action == "stage":
            values = {key: value for key, value in vars(known).items() if key not in ("command", "action")}
            if values["value_range"] is not None:
                values["value_range"] = tuple(values["value_range"])
            made = requests.stage(requests.StageOptions(**values))
        else:
            made = requests.standin(known.name, known.task, known.to, known.seed)
        print(f"{made.spec.name}, {made.spec.width} {made.spec.output}, is staged at {known.to}")
        print(f"content hash {made.content_hash}")
    return 0


def _compare(known: argparse.Namespace) -> str:
    from beamsight.models import compare

    return compare.compare(
        compare.CompareOptions(
            bundle=known.bundle,
            images=tuple(known.images),
            precision=known.precision,
            engine=None if known.engine == engines.AUTO else known.engine,
            limit=known.limit,
            uri_column=known.uri_column,
        )
    )


def _quantize(known: argparse.Namespace) -> str:
    from beamsight.models import compare

    return compare.quantize(
        compare.QuantizeOptions(
            bundle=known.bundle,
            images=tuple(known.images),
            agreement=known.agreement,
            limit=known.limit,
            uri_column=known.uri_column,
        )
    )
