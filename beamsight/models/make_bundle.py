"""Make bundles as ``beamsight models stage`` and ``beamsight models standin`` ask for: options -> spec -> bundle."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, get_args

from beamsight.models import registry, staging
from beamsight.models.downloads import Report, ignore
from beamsight.models.options import NO_LABELS, StageOptions
from transforms.errors import UsageError
from transforms.inference.bundle import Bundle
from transforms.inference.spec import ModelSpec, Task
from transforms.storage import files


def stage(options: StageOptions, report: Report = ignore) -> Bundle:
    """Fetch a model, check that it runs, and make a bundle of it.

    Args:
        options: Which model to stage, and where to.
        report: Receives a short line for each step.

    Raises:
        UsageError: The options do not name a model or do not fit it.
        ModelError: The model does not do what its spec says.
    """
    labels_text = None
    if options.labels == NO_LABELS:
        labels_text = ""
    elif options.labels is not None:
        data, _ = files.read(files.absolute(options.labels))
        try:
            labels_text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"--labels {options.labels} is not UTF-8 text ({error}); save it as UTF-8") from error
    spec, source = resolve_spec(options)
    return staging.stage(
        source,
        spec,
        files.absolute(options.to),
        labels_text=labels_text,
        expected_hash=options.sha256,
        timeout=options.timeout,
        report=report,
    )


def standin(name: str, task: Task | None, to: str, seed: int, report: Report = ignore) -> Bundle:
    """Make a bundle with the architecture of a registered model and meaningless weights.

    The name of the model ends in ``-standin``, so that every table shows that the weights are meaningless.
    """
    from beamsight.models import standin as architecture

    spec = registry.get(name, task)
    with tempfile.TemporaryDirectory(prefix="beamsight-standin-") as scratch:
        model = Path(scratch, "model")
        report(f"drawing weights for {name}")
        architecture.write_standin(spec, model, seed=seed)
        return staging.stage(
            str(model),
            dataclasses.replace(spec, name=f"{name}-standin", source=None),
            files.absolute(to),
            recorded_source=f"stand-in for {name}, seed {seed}: meaningless weights",
            report=report,
        )


def resolve_spec(options: StageOptions) -> tuple[ModelSpec, str]:
    """Return the spec that the model must match, and the source of its files.

    A registered model, given as ``--name`` or as the source, brings its spec. Other options change that spec.

    Raises:
        UsageError: The options do not say enough, or contradict each other.
    """
    changes: dict[str, Any] = {
        field: value
        for field in ("size", "crop", "value_range", "channel_order", "layout")
        if (value := getattr(options, field)) is not None
    }
    name, source = options.name, options.source
    published = registry.get(source, options.task) if registry.is_name(source) else registry.find_source(source)
    if published is not None:
        source = _source(published, source)
    if name is not None and registry.is_name(name):
        task = options.task or (published.task if published else None)
        return dataclasses.replace(registry.get(name, task), **changes), source
    if published is not None:
        if options.task not in (None, published.task):
            raise UsageError(f"the task of {source} is {published.task}; remove --task {options.task}")
        return dataclasses.replace(published, name=name or published.name, **changes), source
    registry.require_path(source)
    if options.task is None or options.size is None:
        raise UsageError(
            f"{source} is not a registered model: pass --task {'|'.join(get_args(Task))} and --size PIXELS, "
            "or pass --name with the name of a registered model"
        )
    spec = ModelSpec(
        name=name or _stem(source),
        task=options.task,
        width=0,
        output="features" if options.task == "embed" else "probabilities",
        **changes,
    )
    return spec, source


def _source(published: ModelSpec, given: str) -> str:
    """Return the source of a registered model, which is given as its name or as the source itself."""
    if given != published.name:
        return given
    if published.source is None:
        raise UsageError(f"{given} has no download; pass the path of its files, and --name {given}")
    return published.source


def _stem(source: str) -> str:
    """Return a model name made from a path or URL: ``birds`` for ``models/birds.tar.gz`` and ``models/birds/3``."""
    parts = [part for part in files.absolute(source).split("/") if part and not part.isdigit()]
    name = parts[-1] if parts else ""
    for suffix in (".gz", ".tar", ".tgz", ".xml"):
        name = name.removesuffix(suffix)
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "-" for char in name)
