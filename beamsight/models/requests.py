"""``beamsight models``: list, show, stage, standin."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, get_args

from beamsight.models import registry, staging
from beamsight.models.options import StageOptions
from transforms.errors import ModelError, UsageError
from transforms.inference import bundle
from transforms.inference.bundle import Bundle
from transforms.inference.spec import ModelSpec, Task
from transforms.storage import files


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
    _require_path(name)
    uri = files.absolute(name)
    made = bundle.read(uri)
    facts = _described(made.spec) | {
        "source": made.source,
        "content hash": made.content_hash,
        "made with": ", ".join(f"{package} {version}" for package, version in made.made_with.items()),
        "files": str(len(made.files)),
        "engines": ", ".join(_engines(made)),
    }
    if not made.has_saved_model:
        return _lines(facts)
    from beamsight.models import cost

    model = bundle.localize(uri, made.content_hash) / bundle.SAVED_MODEL
    try:
        facts["parameters"] = f"{cost.parameters(model) / 1e6:.3f} M"
        facts["operations"] = f"{cost.flops(model, made.spec) / 1e9:.3f} GFLOP an image"
    except ModelError as error:  # a model of one's own that runs well need not be one that can be counted
        facts["not counted"] = str(error)
    return _lines(facts)


def stage(options: StageOptions) -> Bundle:
    """Fetch a model, see that it works, and make a bundle of it."""
    labels_text = None
    if options.labels is not None:
        data, _ = files.read(files.absolute(options.labels))
        try:
            labels_text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"--labels {options.labels} is no text in UTF-8 ({error}); save it as that") from error
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
    from beamsight.models import standin as architecture

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
        for field in ("size", "crop", "value_range", "channel_order", "layout")
        if (value := getattr(options, field)) is not None
    }
    known = {spec.name for spec in registry.MODELS}
    named, given = options.name, options.source
    published = _registered(given, options.task) if given in known else registry.find_source(given)
    if published is not None:
        given = _where(published, given)
    if named in known:
        task = options.task or (published.task if published else None)
        return dataclasses.replace(_registered(named, task), **changes), given
    if published is not None:
        if options.task not in (None, published.task):
            raise UsageError(f"{given} is a model to {published.task} with; leave --task {options.task} out")
        return dataclasses.replace(published, name=named or published.name, **changes), given
    _require_path(given)
    if options.task is None or options.size is None:
        raise UsageError(
            f"{given} is no registered model: say --task {'|'.join(get_args(Task))} and --size PIXELS, "
            "or --name with the registered model that it is"
        )
    spec = ModelSpec(
        name=named or _stem(given),
        task=options.task,
        width=0,
        output="features" if options.task == "embed" else "probabilities",
        **changes,
    )
    return spec, given


def _where(published: ModelSpec, given: str) -> str:
    """Where the files of a registered model are, given its name or their place."""
    if given != published.name:
        return given
    if published.source is None:
        raise UsageError(f"{given} is published nowhere any more; give the path of its files, and --name {given}")
    return published.source


def _require_path(model: str) -> None:
    """Raises UsageError for what is no path, no URI, and not the name of a registered model either."""
    if "/" not in model and not Path(model).exists():
        names = ", ".join(dict.fromkeys(spec.name for spec in registry.MODELS))
        raise UsageError(f"{model!r} is neither a file or folder here nor a registered model; those are {names}")


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
    """``models/birds.tar.gz`` -> ``birds``, and so is ``models/birds/3``, where 3 is the version."""
    parts = [part for part in files.absolute(source).split("/") if part and not part.isdigit()]
    name = parts[-1] if parts else ""
    for suffix in (".gz", ".tar", ".tgz", ".xml"):
        name = name.removesuffix(suffix)
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "-" for char in name)


def _described(spec: ModelSpec) -> dict[str, str]:
    return {
        "name": spec.name,
        "task": spec.task,
        "input": spec.preprocessing(),
        "output": f"{spec.width} {spec.output}",
    }


def _engines(made: Bundle) -> list[str]:
    """What a bundle can be run with."""
    return ["tensorflow"] * made.has_saved_model + ["openvino"] * (made.ir("f32") is not None)


def _lines(facts: dict[str, str]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{key:{width}}  {value}" for key, value in facts.items())
