"""``beamsight models``: list, show, stage, standin."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from transforms.errors import UsageError
from transforms.inference import bundle, origin, registry, staging
from transforms.inference.bundle import Bundle
from transforms.inference.spec import ChannelOrder, Crop, ModelSpec, Task
from transforms.storage import files


@dataclass(frozen=True, slots=True)
class StageOptions:
    """``beamsight models stage`` as it was asked for; None is what was not said."""

    source: str
    to: str
    name: str | None = None
    task: Task | None = None
    size: int | None = None
    crop: Crop | None = None
    value_range: tuple[float, float] | None = None
    channel_order: ChannelOrder | None = None
    labels: str | None = None
    sha256: str | None = None
    timeout: float = origin.TIMEOUT


def table() -> str:
    """The registered models, a line each."""
    rows = [("NAME", "TASK", "SIZE", "WIDTH", "SOURCE")]
    rows += [
        (spec.name, spec.task, f"{spec.size}", f"{spec.width}", spec.source or "files of your own")
        for spec in registry.MODELS
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def show(name: str) -> str:
    """A registered name -> its specs; a bundle -> what it says of itself, and its parameters and operations."""
    known = [spec for spec in registry.MODELS if spec.name == name]
    if known:
        return "\n\n".join(_lines(_described(spec) | {"source": spec.source or "files of your own"}) for spec in known)
    uri = files.absolute(name)
    made = bundle.read(uri)
    facts = _described(made.spec) | {
        "source": made.source,
        "content hash": made.content_hash,
        "made with": ", ".join(f"{package} {version}" for package, version in made.made_with.items()),
        "files": str(len(made.files)),
    }
    from transforms.inference import cost

    model = bundle.localize(uri, made.content_hash) / bundle.SAVED_MODEL
    facts["parameters"] = f"{cost.parameters(model) / 1e6:.3f} M"
    facts["operations"] = f"{cost.flops(model, made.spec) / 1e9:.3f} GFLOP an image"
    return _lines(facts)


def stage(options: StageOptions) -> Bundle:
    """Fetch a model, see that it works, and make a bundle of it."""
    labels_text = None
    if options.labels is not None:
        data, _ = files.read(files.absolute(options.labels))
        labels_text = data.decode("utf-8-sig")
    spec, source = _asked(options)
    return staging.stage(
        source,
        spec,
        files.absolute(options.to),
        labels_text=labels_text,
        expected_hash=options.sha256,
        timeout=options.timeout,
    )


def standin(name: str, task: Task | None, to: str, seed: int) -> Bundle:
    """A bundle with a model of the right architecture and meaningless weights; its name says so in every table."""
    from transforms.inference import standin as architecture

    spec = _registered(name, task)
    with tempfile.TemporaryDirectory(prefix="beamsight-standin-") as scratch:
        model = Path(scratch, "model")
        architecture.write_standin(spec, model, seed=seed)
        named = dataclasses.replace(spec, name=f"{name}-standin", source=None)
        return staging.stage(
            str(model),
            named,
            files.absolute(to),
            recorded_source=f"stand-in for {name}, seed {seed}: meaningless weights",
        )


def _asked(options: StageOptions) -> tuple[ModelSpec, str]:
    """What was asked -> the spec to check the model against, and where it is."""
    changes: dict[str, Any] = {
        field: value
        for field in ("size", "crop", "value_range", "channel_order")
        if (value := getattr(options, field)) is not None
    }
    by_source = registry.find_source(options.source)
    if by_source is not None:
        return dataclasses.replace(by_source, **changes), options.source
    if any(spec.name == options.source for spec in registry.MODELS):
        spec = _registered(options.source, options.task)
        if spec.source is None:
            raise UsageError(
                f"{spec.name} is published nowhere any more; give the path of its files, and --name {spec.name}"
            )
        return dataclasses.replace(spec, **changes), spec.source
    if options.name is not None and any(spec.name == options.name for spec in registry.MODELS):
        return dataclasses.replace(_registered(options.name, options.task), **changes), options.source
    if options.task is None or options.size is None:
        raise UsageError(
            f"{options.source} is no registered model: say --task {'|'.join(get_args(Task))} and --size PIXELS, "
            "or --name with the registered model that it is"
        )
    spec = ModelSpec(
        name=options.name or _stem(options.source),
        task=options.task,
        width=0,
        output="features" if options.task == "embed" else "probabilities",
        **changes,
    )
    return spec, options.source


def _registered(name: str, task: Task | None) -> ModelSpec:
    """The registered model of a name, where the name says enough."""
    known = [spec for spec in registry.MODELS if spec.name == name and task in (None, spec.task)]
    if len(known) == 1:
        return known[0]
    if not known:
        names = sorted({spec.name for spec in registry.MODELS if task in (None, spec.task)})
        raise UsageError(f"no model {name!r}{f' to {task} with' if task else ''}; known are {', '.join(names)}")
    raise UsageError(f"{name} is there for {' and '.join(spec.task for spec in known)}: say which with --task")


def _stem(source: str) -> str:
    name = source.rstrip("/").rpartition("/")[2]
    for suffix in (".gz", ".tar", ".tgz"):
        name = name.removesuffix(suffix)
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "-" for char in name)


def _described(spec: ModelSpec) -> dict[str, str]:
    return {
        "name": spec.name,
        "task": spec.task,
        "input": spec.preprocessing(),
        "output": f"{spec.width} {spec.output}",
    }


def _lines(facts: dict[str, str]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{key:{width}}  {value}" for key, value in facts.items())
