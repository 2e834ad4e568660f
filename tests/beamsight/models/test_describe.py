from __future__ import annotations

from pathlib import Path

import irs
import pytest
import saved_models
from gcs_server import Bucket

from beamsight.models import describe, make_bundle, registry
from beamsight.models.options import StageOptions
from transforms.errors import UsageError
from transforms.inference.spec import ModelSpec

B7 = registry.get("efficientnet-b7", "classify")
B6 = registry.get("efficientnet-b6", "embed")
AUTO_AUG = registry.get("efficientnet-b7_auto_aug", "classify")
KAGGLE_B6 = "tensorflow/efficientnet/tensorFlow2/b6-feature-vector/1"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def table() -> dict[tuple[str, str], list[str]]:
    """The cells of the printed models, by name and task."""
    lines = describe.list_models().splitlines()
    rows = [line.split() for line in lines[1 : lines.index("")]]
    return {(row[0], row[1]): row[2:] for row in rows}


def test_the_list_has_a_line_for_each_model() -> None:
    rows = table()
    assert list(rows) == [(spec.name, spec.task) for spec in registry.MODELS]
    assert [row[:2] for row in rows.values()] == [[str(spec.size), str(spec.width)] for spec in registry.MODELS]
    assert {len(row) for row in rows.values()} == {10}


def test_the_list_shows_facts_and_marks_estimates() -> None:
    cells = {key: " ".join(row) for key, row in table().items()}
    assert cells["efficientnet-b7", "classify"] == "600 1000 66.2 77.6 265 84.3 2.0 4.0 5.2 no"
    assert cells["efficientnet-b7_auto_aug", "classify"] == "600 1000 66.2 77.6 - 84.7 ~1.9 ~3.7 ~4.9 no"
    assert cells["efficientnet-b6", "embed"] == "528 2304 40.7 38.8 163 - 4.0 7.4 9.4 no"
    assert cells["efficientnet-b0", "embed"] == "224 1280 4.0 0.8 16 - ~190 ~360 ~480 no"
    assert "~ marks an estimate" in describe.list_models()
    assert "estimated as float32 parameters" in describe.list_models()


def test_the_list_is_aligned_and_narrow() -> None:
    lines = describe.list_models().splitlines()
    assert max(map(len, lines)) <= 130
    assert len({line.index(task) for line in lines[1:18] for task in ("classify", "embed") if task in line}) == 1


def test_the_list_shows_which_models_are_on_this_machine(cache: Path) -> None:
    folder = cache / "models" / "efficientnet-b6-embed"
    folder.mkdir(parents=True)
    assert table()["efficientnet-b6", "embed"][-1] == "no", "staging was interrupted"
    (folder / "model.json").touch()
    assert [key for key, row in table().items() if row[-1] == "yes"] == [("efficientnet-b6", "embed")]
    assert describe.show("efficientnet-b6").endswith(f"local bundle  {folder}")


def test_show_a_registered_model() -> None:
    assert describe.show("efficientnet-b7_auto_aug") == (
        "name          efficientnet-b7_auto_aug\n"
        "task          classify\n"
        "input         central 600x600 bicubic bgr 0..255\n"
        "output        1000 logits\n"
        "source        no download; stage your own files\n"
        "parameters    66.2 M\n"
        "operations    77.6 GFLOP an image\n"
        "download      -\n"
        "accuracy      84.7 % top-1 on ImageNet, as published\n"
        "images/s      ~1.9 (f32), ~3.7 (bf16), ~4.9 (int8) on one CPU core, estimated from the operations\n"
        "local bundle  none"
    )


def test_show_a_name_of_two_models() -> None:
    assert describe.show("efficientnet-b6") == (
        "name          efficientnet-b6\n"
        "task          classify\n"
        "input         square 528x528 bicubic rgb 0..1\n"
        "output        1000 probabilities\n"
        "source        https://tfhub.dev/tensorflow/efficientnet/b6/classification/1\n"
        "parameters    43.0 M\n"
        "operations    38.8 GFLOP an image\n"
        "download      about 172 MB, estimated as float32 parameters\n"
        "accuracy      84.0 % top-1 on ImageNet, as published\n"
        "images/s      4.0 (f32), 7.4 (bf16), 9.4 (int8) on one CPU core, measured\n"
        "local bundle  none\n"
        "\n"
        "name          efficientnet-b6\n"
        "task          embed\n"
        "input         square 528x528 bicubic rgb 0..1\n"
        "output        2304 features\n"
        "source        https://tfhub.dev/tensorflow/efficientnet/b6/feature-vector/1\n"
        "parameters    40.7 M\n"
        "operations    38.8 GFLOP an image\n"
        "download      about 163 MB, estimated as float32 parameters\n"
        "accuracy      -\n"
        "images/s      4.0 (f32), 7.4 (bf16), 9.4 (int8) on one CPU core, measured\n"
        "local bundle  none"
    )


@pytest.mark.parametrize("ways", [("serving_default",), ("__call__",)])
def test_show_a_bundle(tmp_path: Path, bucket: Bucket, ways: tuple[str, ...]) -> None:
    model = saved_models.save(tmp_path / "model", saved_models.features, ways=ways)
    for to in (str(tmp_path / "bundle"), bucket.uri("bundle")):
        made = make_bundle.stage(
            StageOptions(str(model), to, name="birds", task="embed", size=8, value_range=(0.0, 255.0))
        )
        shown = {
            key.strip(): value.strip()
            for key, _, value in (line.partition("  ") for line in describe.show(to).splitlines())
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


def test_show_a_bundle_from_an_ir(tmp_path: Path) -> None:
    spec = ModelSpec(name="birds", task="embed", size=12, width=5, output="features", layout="nchw")
    source = irs.save(tmp_path / "birds.xml", spec)
    made = make_bundle.stage(StageOptions(str(source), str(tmp_path / "bundle"), task="embed", size=12, layout="nchw"))
    assert made.spec == spec
    assert describe.show(str(tmp_path / "bundle")) == (
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


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{tmp_path} is not a bundle: there is no {tmp_path}/model.json; create a"):
        describe.show(str(tmp_path))
