from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import saved_models
from gcs_server import Bucket

from beamsight.models import describe, make_bundle, registry
from beamsight.models import standin as architecture
from beamsight.models.options import StageOptions
from transforms.errors import ModelError, NotFound, UsageError
from transforms.inference import bundle
from transforms.inference.labels import Label
from transforms.inference.spec import ModelSpec

B7 = registry.get("efficientnet-b7", "classify")
B6 = registry.get("efficientnet-b6", "embed")
AUTO_AUG = registry.get("efficientnet-b7_auto_aug", "classify")
KAGGLE_B6 = "tensorflow/efficientnet/tensorFlow2/b6-feature-vector/1"


def asked(source: str, **options: Any) -> tuple[ModelSpec, str]:
    return make_bundle.resolve_spec(StageOptions(source, "/to", **options))


@pytest.mark.parametrize("name", ["efficientnet-b9", "b7"])
def test_unknown_names_list_the_names(name: str) -> None:
    names = ", ".join([f"efficientnet-b{variant}" for variant in range(8)] + ["efficientnet-b7_auto_aug"])
    message = f"{name!r} is neither a file or folder here nor a registered model ({names})"
    for action in (lambda: describe.show(name), lambda: asked(name), lambda: asked(name, task="embed", size=8)):
        with pytest.raises(UsageError) as caught:
            action()
        assert str(caught.value).startswith(message)
        assert str(caught.value).endswith("; did you mean 'efficientnet-b7'?") == (name == "efficientnet-b9")
    with pytest.raises(UsageError, match=rf"'{name}' is not a registered model \(efficientnet-b0, .*_auto_aug\)"):
        make_bundle.standin(name, None, "/to", 0)


# --- which spec is chosen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "options", "spec", "where"),
    [
        ("efficientnet-b7", {"task": "classify"}, B7, B7.source),
        ("efficientnet-b6", {"task": "embed"}, B6, B6.source),
        ("efficientnet-b7", {"task": "classify", "name": "mine"}, replace(B7, name="mine"), B7.source),
        (B7.source, {}, B7, B7.source),
        (B7.source, {"task": "classify", "name": "mine"}, replace(B7, name="mine"), B7.source),
        (B7.source, {"name": "efficientnet-b7"}, B7, B7.source),
        (KAGGLE_B6, {}, B6, KAGGLE_B6),
        (KAGGLE_B6.lower(), {"name": "efficientnet-b6"}, B6, KAGGLE_B6.lower()),
        (
            B7.source,
            {"size": 300, "crop": "pad", "value_range": (-1.0, 1.0), "channel_order": "bgr"},
            replace(B7, size=300, crop="pad", value_range=(-1.0, 1.0), channel_order="bgr"),
            B7.source,
        ),
        ("/models/b7", {"name": "efficientnet-b7", "task": "classify"}, B7, "/models/b7"),
        ("/models/b7.tar.gz", {"name": "efficientnet-b7_auto_aug"}, AUTO_AUG, "/models/b7.tar.gz"),
        (
            "gs://zoo/b7.xml",
            {"name": "efficientnet-b7_auto_aug", "layout": "nchw"},
            replace(AUTO_AUG, layout="nchw"),
            "gs://zoo/b7.xml",
        ),
        (
            "gs://models/birds/",
            {"task": "classify", "size": 320},
            ModelSpec(name="birds", task="classify", size=320, width=0, output="probabilities"),
            "gs://models/birds/",
        ),
        (
            "/models/birds.tar.gz",
            {"task": "embed", "size": 320, "crop": "squash", "value_range": (0.0, 255.0), "channel_order": "bgr"},
            ModelSpec("birds", "embed", 320, 0, "features", "squash", (0.0, 255.0), "bgr"),
            "/models/birds.tar.gz",
        ),
    ],
)
def test_which_spec_and_source_are_used(source: str, options: dict[str, Any], spec: ModelSpec, where: str) -> None:
    assert asked(source, **options) == (spec, where)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/models/birds", "birds"),
        ("/models/birds/", "birds"),
        ("/models/birds/3", "birds"),
        ("gs://models/birds.v2.tgz", "birds.v2"),
        ("gs://models/my birds (new).tar", "my-birds--new-"),
        ("https://tfhub.dev/google/imagenet/mobilenet_v2/5", "mobilenet_v2"),
        ("google/mobilenet-v2/tensorFlow2/035-128/12", "035-128"),
        ("/zoo/FP32/efficientnet-b7_auto_aug.xml", "efficientnet-b7_auto_aug"),
    ],
)
def test_a_name_from_the_source(source: str, name: str) -> None:
    assert asked(source, task="embed", size=8)[0].name == name


@pytest.mark.parametrize("name", ["efficientnet-b7", "efficientnet-b0"])
def test_a_name_of_two_models_needs_a_task(name: str) -> None:
    message = f"{name} is registered for classify and embed: pass --task"
    for action in (
        lambda: asked(name),
        lambda: asked("/models/b7", name=name),
        lambda: make_bundle.standin(name, None, "/to", 0),
    ):
        with pytest.raises(UsageError) as caught:
            action()
        assert str(caught.value) == message


def test_a_name_of_the_other_task() -> None:
    for action in (
        lambda: asked("efficientnet-b7_auto_aug", task="embed"),
        lambda: asked("/models/b7", name="efficientnet-b7_auto_aug", task="embed"),
        lambda: make_bundle.standin("efficientnet-b7_auto_aug", "embed", "/to", 0),
    ):
        with pytest.raises(UsageError, match="'efficientnet-b7_auto_aug' is not a registered model for task embed"):
            action()


def test_a_source_that_is_for_the_other_task() -> None:
    with pytest.raises(UsageError, match=f"the task of {B7.source} is classify; remove --task embed"):
        asked(str(B7.source), task="embed")


def test_a_model_without_a_download() -> None:
    with pytest.raises(UsageError) as caught:
        asked("efficientnet-b7_auto_aug")
    assert str(caught.value) == (
        "efficientnet-b7_auto_aug has no download; pass the path of its files, and --name efficientnet-b7_auto_aug"
    )


@pytest.mark.parametrize("options", [{}, {"task": "embed"}, {"size": 320}, {"name": "birds", "size": 320}])
def test_a_users_own_model_needs_task_and_size(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        asked("gs://models/birds", **options)
    assert str(caught.value) == (
        "gs://models/birds is not a registered model: pass --task classify|embed and --size PIXELS, "
        "or pass --name with the name of a registered model"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "my birds"}, "model name 'my birds': use letters"),
        ({"size": 9000}, "model birds: input size 9000 is not within 1..8192 pixels"),
        ({"value_range": (1.0, 0.0)}, "model birds: value range 1..0 is invalid"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        asked("gs://models/birds", **{"task": "embed", "size": 320} | options)


# --- staging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["disk", "gs"])
@pytest.mark.parametrize("data", [b"\xef\xbb\xbfm\xc3\xb6we\r\nowl\r\n", b"m\xc3\xb6we\nowl\n"])
def test_stage_with_labels(tmp_path: Path, bucket: Bucket, where: str, data: bytes) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    bucket.put("labels.txt", data)
    model = saved_models.save(tmp_path / "birds", width=2)
    to = tmp_path / "bundle"
    made = make_bundle.stage(
        StageOptions(
            str(model),
            str(to),
            task="classify",
            size=8,
            labels=bucket.uri("labels.txt") if where == "gs" else str(tmp_path / "labels.txt"),
        )
    )
    assert made == bundle.read(str(to))
    assert made.spec == ModelSpec(name="birds", task="classify", size=8, width=2, output="probabilities")
    assert bundle.load_labels(to, made.spec) == (Label(None, "möwe"), Label(None, "owl"))


def test_stage_to_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved_models.save(tmp_path / "birds", saved_models.features)
    monkeypatch.chdir(tmp_path)
    made = make_bundle.stage(StageOptions("birds", "bundle", task="embed", size=8))
    assert (made.spec.name, made.source) == ("birds", "birds")
    assert bundle.read(str(tmp_path / "bundle")) == made


def test_an_embedder_as_wide_as_imagenet_has_classes(tmp_path: Path) -> None:
    model = saved_models.save(tmp_path / "birds", saved_models.features, width=1000)
    options = StageOptions(str(model), str(tmp_path / "bundle"), task="embed", size=8)
    with pytest.raises(ModelError, match="if the numbers are features, pass --labels none"):
        make_bundle.stage(options)
    made = make_bundle.stage(replace(options, labels="none"))
    assert (made.spec.task, made.spec.width) == ("embed", 1000)
    with pytest.raises(ModelError, match="birds has 1000 outputs but the labels file has 0 labels"):
        make_bundle.stage(replace(options, labels="none", task="classify"))


def test_labels_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("möwe\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"--labels .*/labels.txt is not UTF-8 text .*; save it as UTF-8"):
        make_bundle.stage(StageOptions("/m", "/to", task="classify", size=8, labels=str(tmp_path / "labels.txt")))


def test_a_missing_labels_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        make_bundle.stage(StageOptions("/m", "/to", task="classify", size=8, labels=str(tmp_path / "labels.txt")))


def test_standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``test_standin`` shows what is written, and ``test_standins_run`` that it can be staged."""
    drawn: list[tuple[ModelSpec, int]] = []

    def write(spec: ModelSpec, to: Path, *, seed: int) -> None:
        drawn.append((spec, seed))
        saved_models.save(to, saved_models.features, width=spec.width)

    monkeypatch.setattr(architecture, "write_standin", write)
    made = make_bundle.standin("efficientnet-b0", "embed", str(tmp_path / "bundle"), 7)
    spec = registry.get("efficientnet-b0", "embed")
    assert drawn == [(spec, 7)]
    assert made == bundle.read(str(tmp_path / "bundle"))
    assert made.spec == replace(spec, name="efficientnet-b0-standin", source=None)
    assert made.source == "stand-in for efficientnet-b0, seed 7: meaningless weights"
