"""The transforms in Beam YAML: the example as it stands, the names of outputs, and what goes wrong with images."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from collecting import run
from gcs_server import Bucket, GcsServer
from pinned import ROOT

import beamsight
from transforms.errors import EngineError, UsageError
from transforms.imaging import drawn
from transforms.inference import engines
from transforms.inference.engine import Floats, Pixels

pytest.importorskip(
    "apache_beam.yaml.main", reason="no jsonschema or pandas; to run this, pip install 'apache-beam[yaml]'"
)

from apache_beam.yaml import yaml_provider, yaml_transform

# Beam YAML loads all libraries for embeddings that are there. That of Vertex AI takes ten seconds, and none is needed.
sys.modules.setdefault("apache_beam.ml.transforms.embeddings.vertex_ai", None)  # type: ignore[arg-type]

# Another one is tensorflow-hub, which imports pkg_resources.
pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")

EXAMPLE = ROOT / "examples" / "yaml"
PHOTOS = {"burger.jpg": 933, "cat_720p.jpg": 285, "parrot.jpg": 88}


def test_the_example_runs_as_it_stands(shared_dir: Path, trained: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes((shared_dir / "photos" / "parrot.jpg").read_bytes()[:3000])
    photos = [str(shared_dir / "photos" / name) for name in PHOTOS]
    failing = [str(tmp_path / "broken.jpg"), str(tmp_path / "missing.jpg")]
    (tmp_path / "images.csv").write_text("\n".join(["uri,owner", *(f"{uri},me" for uri in [*photos, *failing])]))
    variables = {
        "images": str(tmp_path / "images.csv"),
        "output": str(tmp_path / "out"),
        "classifier": trained["classification"],
        "embedder": trained["feature_vector"],
    }
    command = [sys.executable, "-m", "apache_beam.yaml.main", "--runner=FnApiRunner"]
    arguments = [f"--yaml_pipeline_file={EXAMPLE / 'pipeline.yaml'}", f"--jinja_variables={json.dumps(variables)}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    predictions, embeddings = (
        {row["uri"]: row for path in (tmp_path / "out").glob(f"{table}-*") for row in pq.read_table(path).to_pylist()}
        for table in ("predictions", "embeddings")
    )
    assert {Path(uri).name: row["class_id"] for uri, row in predictions.items()} == PHOTOS
    assert all(len(row["top_k"]) == 3 for row in predictions.values())
    vectors = beamsight.load(trained["feature_vector"]).predict(photos)
    np.testing.assert_array_equal(np.asarray([embeddings[uri]["embedding"] for uri in photos], np.float32), vectors)

    lines = "".join(path.read_text() for path in (tmp_path / "out").glob("failures-*")).splitlines()
    failures = sorted((row["uri"], row["error"], row["tables"][0].split("/")[0]) for row in map(json.loads, lines))
    assert failures == [
        (failing[0], "Truncated", "embeddings"),
        (failing[0], "Truncated", "predictions"),
        (failing[1], "NotFound", "embeddings"),
        (failing[1], "NotFound", "predictions"),
    ]


def expand(pipeline: beam.Pipeline, spec: str) -> Any:
    """Apply a composite transform in YAML with the transforms of the example's provider."""
    providers = yaml_provider.merge_providers(list(yaml_provider.load_providers(str(EXAMPLE / "provider.yaml"))))
    return pipeline | yaml_transform.YamlTransform(spec, providers)


def embed(uris: list[str], model: str, **options: Any) -> dict[str, list[Any]]:
    """The rows and the failures of some images."""
    spec = {
        "type": "composite",
        "transforms": [
            {"type": "Create", "name": "Images", "config": {"elements": [{"uri": uri} for uri in uris]}},
            {"type": "EmbedImages", "name": "Embed", "input": "Images", "config": {"model": model}},
        ],
        "output": {"rows": "Embed.rows", "failures": "Embed.failures"},
    }
    return run(lambda pipeline: expand(pipeline, json.dumps(spec)), **options)


def names(rows: list[Any]) -> list[str]:
    return sorted(Path(row.uri).name for row in rows)


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(drawn.encode(drawn.draw(number, 40, 30), "png"))
    return [str(tmp_path / f"{number}.png") for number in range(4)]


def test_all_transforms_work_in_one_pipeline(
    pictures: list[str], tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    with beam.Pipeline("FnApiRunner") as pipeline:
        models = {"classifier": tiny_classifier, "embedder": None}
        _ = pipeline | beamsight.Catalog(pictures[0], str(tmp_path / "catalog"), **models)
    spec = f"""
        type: composite
        transforms:
          - type: ListImages
            name: List
            config: {{sources: ["{tmp_path}/*.png", "{tmp_path}/gone.txt"]}}
          - type: ProcessImages
            name: Process
            input: List
            config:
              classifier: "{tiny_classifier}"
              embedder: "{tiny_embedder}"
              probabilities: true
              normalize: true
          - type: ClassifyImages
            name: Classify
            input: List
            config: {{model: "{tiny_classifier}", engine: openvino, error_handling: {{output: bad}}}}
          - type: MapToFields
            name: Best
            input: Classify
            config: {{language: python, fields: {{uri: uri, best: label}}}}
          - type: LogForTesting
            input: Classify.bad
          - type: ReadCatalog
            name: Read
            config: {{output: "{tmp_path}/catalog", table: predictions, columns: [uri, label]}}
        output:
          predictions: Process.predictions
          embeddings: Process.embeddings
          failures: Process.failures
          best: Best
          read: Read
    """
    (tmp_path / "gone.txt").write_text(f"{tmp_path}/gone.png\n")
    found = run(lambda pipeline: expand(pipeline, spec))
    assert names(found["predictions"]) == names(found["embeddings"]) == names(found["best"])
    assert names(found["predictions"]) == [f"{number}.png" for number in range(4)]
    assert all(len(row.probabilities) == 5 for row in found["predictions"])
    assert np.linalg.norm(found["embeddings"][0].embedding) == pytest.approx(1, abs=1e-6)
    assert {(row.uri, row.best) for row in found["best"]} == {(row.uri, row.label) for row in found["predictions"]}
    assert names(found["failures"]) == ["gone.png"]
    ((row),) = found["read"]
    assert (row.uri, row.label) in {(each.uri, each.label) for each in found["predictions"]}


def test_broken_and_missing_pictures_are_failures(pictures: list[str], tmp_path: Path, tiny_embedder: str) -> None:
    (tmp_path / "cut.png").write_bytes(Path(pictures[0]).read_bytes()[:60])
    found = embed([*pictures, f"{tmp_path}/cut.png", f"{tmp_path}/gone.png"], tiny_embedder)
    assert names(found["rows"]) == ["0.png", "1.png", "2.png", "3.png"]
    assert sorted((Path(row.uri).name, row.error) for row in found["failures"]) == [
        ("cut.png", "Truncated"),
        ("gone.png", "NotFound"),
    ]


def test_a_transient_error_that_ends_gives_rows(
    gcs: GcsServer, bucket: Bucket, quick_retries: object, tiny_embedder: str
) -> None:
    bucket.put("in/a.png", drawn.encode(drawn.draw(1, 40, 30), "png"))
    answers = iter([503])
    gcs.faults = lambda _, path: next(answers, None) if "alt=media" in path else None
    found = embed([bucket.uri("in/a.png"), bucket.uri("in/gone.png")], tiny_embedder)
    assert list(answers) == []
    assert names(found["rows"]) == ["a.png"]
    assert [row.error for row in found["failures"]] == ["NotFound"]


def test_an_image_that_the_model_refuses_is_one_failure(
    pictures: list[str], tmp_path: Path, tiny_embedder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = engines.load

    def load_fussy(*args: Any, **options: Any) -> Any:
        engine = load(*args, **options)
        infer = engine.infer

        def refuse_black(pixels: Pixels) -> Floats:
            if not pixels.any(axis=(1, 2, 3)).all():
                raise EngineError("too dark")
            return infer(pixels)

        monkeypatch.setattr(engine, "infer", refuse_black, raising=False)
        return engine

    monkeypatch.setattr(engines, "load", load_fussy)
    (tmp_path / "black.png").write_bytes(drawn.encode(np.zeros((32, 32, 3), np.uint8), "png"))
    found = embed([*pictures, f"{tmp_path}/black.png"], tiny_embedder)
    assert len(found["rows"]) == 4
    assert [(Path(row.uri).name, row.error) for row in found["failures"]] == [("black.png", "Refused")]


def test_a_repeated_bundle_gives_the_same_rows(pictures: list[str], tiny_embedder: str) -> None:
    once = embed(pictures, tiny_embedder)["rows"]
    again = embed(pictures, tiny_embedder, runner=FnApiRunner(bundle_repeat=1))["rows"]
    assert {(row.uri, *row.embedding) for row in again} == {(row.uri, *row.embedding) for row in once}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"presicion": "f32"}, "unexpected argument 'presicion'"),
        ({"error_handling": {"output": "rows"}}, "names the output 'rows', which has rows; pass another name"),
        ({"error_handling": {"output": "bad", "threshold": 0.1}}, "pass only output"),
        ({"batch_size": 0}, "batch_size 0 is too small"),
    ],
)
def test_a_wrong_config_is_refused(config: dict[str, Any], message: str, tiny_embedder: str) -> None:
    create = {"type": "Create", "name": "Images", "config": {"elements": [{"uri": "a"}]}}
    step = {"type": "EmbedImages", "name": "Embed", "input": "Images", "config": {"model": tiny_embedder, **config}}
    name = config.get("error_handling", {}).get("output", "failures")
    failures = {"type": "LogForTesting", "input": f"Embed.{name}"}
    with pytest.raises((UsageError, ValueError), match=message):
        expand(beam.Pipeline("FnApiRunner"), json.dumps({"type": "composite", "transforms": [create, step, failures]}))
