from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import irs
import pytest
import saved_models
from gcs_server import Bucket

from beamsight.models import registry, requests
from beamsight.models.requests import StageOptions
from transforms.errors import NotFound, UsageError
from transforms.inference import bundle
from transforms.inference.labels import Label
from transforms.inference.spec import ModelSpec

B7 = registry.get("efficientnet-b7", "classify")
B6 = registry.get("efficientnet-b6", "embed")
AUTO_AUG = registry.get("efficientnet-b7_auto_aug", "classify")
KAGGLE_B6 = "tensorflow/efficientnet/tensorFlow2/b6-feature-vector/1"


def asked(source: str, **options: Any) -> tuple[ModelSpec, str]:
    return requests._asked(StageOptions(source, "/to", **options))


def test_table():
    lines = requests.table().splitlines()
    assert len(lines) == 18
    assert lines[0].split() == ["NAME", "TASK", "SIZE", "WIDTH", "SOURCE"]
    assert [line.split()[:4] for line in lines[1:]] == [
        [spec.name, spec.task, str(spec.size), str(spec.width)] for spec in registry.MODELS
    ]
    assert lines[8].split()[4] == B7.source
    assert lines[9].endswith("  files of your own")
    assert len({line.index(cell) for line, cell in zip(lines[1:], ["classify"] * 9 + ["embed"] * 8, strict=True)}) == 1


def test_show_a_registered_model():
    assert requests.show("efficientnet-b7_auto_aug") == (
        "name    efficientnet-b7_auto_aug\n"
        "task    classify\n"
        "input   central 600x600 bicubic bgr 0..255\n"
        "output  1000 logits\n"
        "source  files of your own"
    )


def test_show_a_name_of_two_models():
    assert requests.show("efficientnet-b6") == (
        "name    efficientnet-b6\n"
        "task    classify\n"
        "input   square 528x528 bicubic rgb 0..1\n"
        "output  1000 probabilities\n"
        "source  https://tfhub.dev/tensorflow/efficientnet/b6/classification/1\n"
        "\n"
        "name    efficientnet-b6\n"
        "task    embed\n"
        "input   square 528x528 bicubic rgb 0..1\n"
        "output  2304 features\n"
        "source  https://tfhub.dev/tensorflow/efficientnet/b6/feature-vector/1"
    )


@pytest.mark.parametrize("ways", [("serving_default",), ("__call__",)])
def test_show_a_bundle(tmp_path: Path, bucket: Bucket, ways: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    model = saved_models.save(tmp_path / "model", ways=ways)
    for to in (str(tmp_path / "bundle"), bucket.uri("bundle")):
        made = requests.stage(
            StageOptions(str(model), to, name="birds", task="embed", size=8, value_range=(0.0, 255.0))
        )
        shown = {
            key.strip(): value.strip()
            for key, _, value in (line.partition("  ") for line in requests.show(to).splitlines())
        }
        counted = (
            {"parameters": "0.000 M", "operations": "0.000 GFLOP an image"}
            if ways == ("serving_default",)
            else {"not counted": shown["not counted"]}
        )
        assert shown == {
            "name": "birds",
            "task": "embed",
            "input": "square 8x8 bicubic rgb 0..255",
            "output": "5 features",
            "source": str(model),
            "content hash": made.content_hash,
            "made with": ", ".join(f"{name} {version}" for name, version in made.made_with.items()),
            "files": str(len(made.files)),
            "engines": "tensorflow, openvino",
            **counted,
        }
        assert "serving_default" in counted.get("not counted", "serving_default")


def test_show_a_bundle_from_an_ir(tmp_path: Path):
    spec = ModelSpec(name="birds", task="embed", size=12, width=5, output="features", layout="nchw")
    source = irs.save(tmp_path / "birds.xml", spec)
    made = requests.stage(StageOptions(str(source), str(tmp_path / "bundle"), task="embed", size=12, layout="nchw"))
    assert made.spec == spec
    assert requests.show(str(tmp_path / "bundle")) == (
        "name          birds\n"
        "task          embed\n"
        "input         square 12x12 bicubic rgb 0..1\n"
        "output        5 features\n"
        f"source        {source}\n"
        f"content hash  {made.content_hash}\n"
        f"made with     {', '.join(f'{name} {version}' for name, version in made.made_with.items())}\n"
        "files         2\n"
        "engines       openvino"
    )


@pytest.mark.parametrize("name", ["efficientnet-b9", "b7"])
def test_unknown_names_list_the_names(name: str):
    names = ", ".join([f"efficientnet-b{variant}" for variant in range(8)] + ["efficientnet-b7_auto_aug"])
    message = f"{name!r} is neither a file or folder here nor a registered model; those are {names}"
    for action in (lambda: requests.show(name), lambda: asked(name), lambda: asked(name, task="embed", size=8)):
        with pytest.raises(UsageError) as caught:
            action()
        assert str(caught.value) == message
    with pytest.raises(
        UsageError, match=f"no model '{name}'; known are efficientnet-b0, .*, efficientnet-b7_auto_aug$"
    ):
        requests.standin(name, None, "/to", 0)


def test_a_folder_that_is_no_bundle(tmp_path: Path):
    with pytest.raises(UsageError, match=f"{tmp_path} is no bundle: there is no {tmp_path}/model.json; make one"):
        requests.show(str(tmp_path))


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
def test_what_is_asked_for(source: str, options: dict[str, Any], spec: ModelSpec, where: str):
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
def test_a_name_from_the_source(source: str, name: str):
    assert asked(source, task="embed", size=8)[0].name == name


@pytest.mark.parametrize("name", ["efficientnet-b7", "efficientnet-b0"])
def test_a_name_of_two_models_needs_a_task(name: str):
    message = f"{name} is there for classify and embed: say which with --task"
    for action in (
        lambda: asked(name),
        lambda: asked("/models/b7", name=name),
        lambda: requests.standin(name, None, "/to", 0),
    ):
        with pytest.raises(UsageError) as caught:
            action()
        assert str(caught.value) == message


def test_a_name_that_is_there_for_the_other_task():
    for action in (
        lambda: asked("efficientnet-b7_auto_aug", task="embed"),
        lambda: asked("/models/b7", name="efficientnet-b7_auto_aug", task="embed"),
        lambda: requests.standin("efficientnet-b7_auto_aug", "embed", "/to", 0),
    ):
        with pytest.raises(UsageError, match="no model 'efficientnet-b7_auto_aug' to embed with; known are efficient"):
            action()


def test_a_source_that_is_for_the_other_task():
    with pytest.raises(UsageError, match=f"{B7.source} is a model to classify with; leave --task embed out"):
        asked(str(B7.source), task="embed")


def test_a_model_that_is_published_nowhere():
    with pytest.raises(UsageError) as caught:
        asked("efficientnet-b7_auto_aug")
    assert str(caught.value) == (
        "efficientnet-b7_auto_aug is published nowhere any more; give the path of its files, "
        "and --name efficientnet-b7_auto_aug"
    )


@pytest.mark.parametrize("options", [{}, {"task": "embed"}, {"size": 320}, {"name": "birds", "size": 320}])
def test_a_model_of_ones_own_needs_task_and_size(options: dict[str, Any]):
    with pytest.raises(UsageError) as caught:
        asked("gs://models/birds", **options)
    assert str(caught.value) == (
        "gs://models/birds is no registered model: say --task classify|embed and --size PIXELS, "
        "or --name with the registered model that it is"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "my birds"}, "model name 'my birds': use letters"),
        ({"size": 9000}, "model birds: input size 9000 is not within 1..8192 pixels"),
        ({"value_range": (1.0, 0.0)}, "model birds: value range 1..0 is none"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        asked("gs://models/birds", **{"task": "embed", "size": 320} | options)


# --- staging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["disk", "gs"])
@pytest.mark.parametrize("data", [b"\xef\xbb\xbfm\xc3\xb6we\r\nowl\r\n", b"m\xc3\xb6we\nowl\n"])
def test_stage_with_labels(tmp_path: Path, bucket: Bucket, where: str, data: bytes):
    (tmp_path / "labels.txt").write_bytes(data)
    bucket.put("labels.txt", data)
    model = saved_models.save(tmp_path / "birds", width=2)
    to = tmp_path / "bundle"
    made = requests.stage(
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


def test_stage_to_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved_models.save(tmp_path / "birds")
    monkeypatch.chdir(tmp_path)
    made = requests.stage(StageOptions("birds", "bundle", task="embed", size=8))
    assert (made.spec.name, made.source) == ("birds", "birds")
    assert bundle.read(str(tmp_path / "bundle")) == made


def test_labels_that_are_no_text(tmp_path: Path):
    (tmp_path / "labels.txt").write_bytes("möwe\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"--labels .*/labels.txt is no text in UTF-8 .*; save it as that"):
        requests.stage(StageOptions("/m", "/to", task="classify", size=8, labels=str(tmp_path / "labels.txt")))


def test_labels_that_are_not_there(tmp_path: Path):
    with pytest.raises(NotFound, match="there is no file"):
        requests.stage(StageOptions("/m", "/to", task="classify", size=8, labels=str(tmp_path / "labels.txt")))


def test_standin(tmp_path: Path):
    made = requests.standin("efficientnet-b0", "embed", str(tmp_path / "bundle"), 7)
    spec = registry.get("efficientnet-b0", "embed")
    assert made == bundle.read(str(tmp_path / "bundle"))
    assert made.spec == replace(spec, name="efficientnet-b0-standin", source=None)
    assert made.source == "stand-in for efficientnet-b0, seed 7: meaningless weights"
