"""The recipes of docs/library.md run as they stand there, with files and small models in place of the names in them."""

from __future__ import annotations

import base64
import importlib
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.testing import test_stream
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from collecting import run
from gcs_server import Bucket
from loopback import JsonHandler, Loopback
from pinned import ROOT

import beamsight

PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
RECIPES = {
    section.partition("\n")[0]: re.findall(r"```(?:python|yaml)\n(.+?)```", section, re.DOTALL)
    for section in PAGE.split("\n## ")[1:]
}
CLASSES = {"burger.jpg": 933, "cat_720p.jpg": 285, "parrot.jpg": 88}

Recipe = Callable[..., dict[str, Any]]


@pytest.fixture
def recipe(tmp_path: Path, trained: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Runs a block of code with other places in it, as a file of its own, and returns its names."""
    monkeypatch.setattr(StandardOptions, "DEFAULT_RUNNER", "FnApiRunner")  # the default one may need the network
    monkeypatch.chdir(tmp_path)
    models = {
        "efficientnet-b7": trained["classification"],
        "efficientnet-b6": trained["feature_vector"],
        "gs://my-bucket/models/b6": trained["feature_vector"],
        "models/b7": trained["classification"],
        "models/b6": trained["feature_vector"],
    }

    def execute(block: str, places: Mapping[str, str] | None = None, name: str = "__main__") -> dict[str, Any]:
        path = tmp_path / "recipe.py"
        path.write_text(fill(block, {**(places or {}), **models, "gs://my-bucket": str(tmp_path)}), encoding="utf-8")
        return runpy.run_path(str(path), run_name=name)

    return execute


def fill(text: str, places: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], text)


@pytest.fixture
def photos(shared_dir: Path, tmp_path: Path) -> list[Path]:
    """The three photos in a folder of their own, and a broken one."""
    (tmp_path / "photos").mkdir()
    for name in CLASSES:
        (tmp_path / "photos" / name).write_bytes((shared_dir / "photos" / name).read_bytes())
    (tmp_path / "photos" / "broken.jpg").write_bytes((shared_dir / "photos" / "parrot.jpg").read_bytes()[:3000])
    return sorted((tmp_path / "photos").iterdir())


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    return [row for path in folder.glob(f"{name}-*") for row in pq.read_table(path).to_pylist()]


def test_there_are_six_recipes() -> None:
    assert len(RECIPES) == 6
    assert all(RECIPES.values())


def test_your_own_source(photos: list[Path], tmp_path: Path, recipe: Recipe) -> None:
    products = [{"id": path.name, "image": base64.b64encode(path.read_bytes()).decode()} for path in photos]
    (tmp_path / "products.jsonl").write_text("\n".join(map(json.dumps, products)))
    recipe(*RECIPES["Your own source"])
    assert {row["uri"]: row["class_id"] for row in read(tmp_path, "classes")} == CLASSES
    assert [row["uri"] for row in read(tmp_path, "failures")] == ["broken.jpg"]


class _Service(JsonHandler):
    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.received += json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, {})


def test_your_own_sink(photos: list[Path], tmp_path: Path, trained: Mapping[str, str], recipe: Recipe) -> None:
    _Service.received = []
    with Loopback(ThreadingHTTPServer(("127.0.0.1", 0), _Service)) as server:
        recipe(RECIPES["Your own sink"][0], {"http://search.example": server.url})
    vectors = {Path(each["id"]).name: np.float32(each["vector"]) for each in _Service.received}
    assert vectors.keys() == CLASSES.keys()
    assert all(np.linalg.norm(vector) == pytest.approx(1, abs=1e-6) for vector in vectors.values())
    assert [Path(row["uri"]).name for row in read(tmp_path, "failures")] == ["broken.jpg"]


def test_a_vector_database(photos: list[Path], tmp_path: Path, trained: Mapping[str, str], recipe: Recipe) -> None:
    qdrant_client = pytest.importorskip("qdrant_client", reason="no qdrant-client; to run this, pip install it")
    embedder = trained["feature_vector"]
    with beam.Pipeline("FnApiRunner") as pipeline:
        catalog = beamsight.Catalog(
            str(tmp_path / "photos"), str(tmp_path / "catalog"), classifier=None, embedder=embedder
        )
        _ = pipeline | catalog
    models = qdrant_client.models
    size = beamsight.load(embedder).spec.width
    client = qdrant_client.QdrantClient(path=str(tmp_path / "qdrant"))
    vectors = {"dense": models.VectorParams(size=size, distance=models.Distance.COSINE)}
    client.create_collection("photos", vectors_config=vectors)
    client.close()
    recipe(RECIPES["Your own sink"][1], {'url="https://qdrant.example:6333"': f"path={str(tmp_path / 'qdrant')!r}"})
    client = qdrant_client.QdrantClient(path=str(tmp_path / "qdrant"))
    assert client.count("photos").count == 3
    client.close()


def test_run_inference(photos: list[Path], tmp_path: Path, trained: Mapping[str, str], recipe: Recipe) -> None:
    (tmp_path / "images.txt").write_text("\n".join(map(str, photos)))
    recipe(*RECIPES["RunInference"])

    def lines(name: str) -> dict[str, str]:
        text = "".join(path.read_text() for path in tmp_path.glob(f"{name}-*"))
        return {Path(uri).name: value for uri, _, value in (line.partition(" ") for line in text.splitlines())}

    vectors = lines("vectors")
    assert vectors.keys() == CLASSES.keys()
    (expected,) = beamsight.load(trained["feature_vector"]).predict([tmp_path / "photos" / "burger.jpg"])
    np.testing.assert_allclose(json.loads(vectors["burger.jpg"]), expected, atol=1e-5)
    assert lines("unreadable").keys() == {"broken.jpg"}
    assert "this JPEG ends" in lines("unreadable")["broken.jpg"]
    assert lines("refused") == {}


def _pass_through_coder(row: Any) -> Any:
    coder = beam.coders.registry.get_coder(type(row))
    return coder.decode(coder.encode(row))


class _Done:
    def wait_until_finish(self) -> None:
        pass


def test_streaming(photos: list[Path], bucket: Bucket, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in photos:
        bucket.put(path.name, path.read_bytes())
    names = recipe(*RECIPES["Streaming from Pub/Sub"], name="recipe")

    def message(name: str, event: str) -> PubsubMessage:
        return PubsubMessage(b"", {"bucketId": bucket.name, "objectId": name, "eventType": event})

    stream = (
        test_stream.TestStream(coder=beam.coders.registry.get_coder(PubsubMessage))
        .advance_watermark_to(0)
        .add_elements([message(path.name, "OBJECT_FINALIZE") for path in photos])
        .advance_processing_time(10)
        .add_elements([message("gone.jpg", "OBJECT_FINALIZE"), message("old.jpg", "OBJECT_DELETE")])
        .advance_watermark_to_infinity()
    )

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        embedded = names["embed_uploads"](pipeline | stream)
        return {
            name: rows | f"Coder {name}" >> beam.Map(_pass_through_coder) | name >> beam.Map(names["to_message"])
            for name, rows in embedded._asdict().items()
        }

    found = {name: list(map(json.loads, rows)) for name, rows in run(build, streaming=True).items()}
    assert {row["uri"] for row in found["rows"]} == {bucket.uri(name) for name in CLASSES}
    assert all(isinstance(row["embedding"][0], float) for row in found["rows"])
    failures = {row["uri"]: row["error"] for row in found["failures"]}
    assert failures == {bucket.uri("broken.jpg"): "Truncated", bucket.uri("gone.jpg"): "NotFound"}

    pipelines: list[beam.Pipeline] = []

    def keep(pipeline: beam.Pipeline, *_: Any) -> _Done:
        pipelines.append(pipeline)
        return _Done()

    monkeypatch.setattr(beam.Pipeline, "run", keep)
    names["main"]()  # it builds the pipeline, which only Pub/Sub can run
    labels = {label.partition("/")[0] for label in pipelines[0].applied_labels}
    assert {"ReadFromPubSub", "Embed", "Publish rows", "Publish failures"} <= labels


def test_rows_can_be_grouped_in_a_window_with_allowed_lateness(photos: list[Path], tiny_embedder: str) -> None:
    stamped = [TimestampedValue(str(path), 5) for path in photos]
    stream = (
        test_stream.TestStream()
        .advance_watermark_to(0)
        .add_elements(stamped)
        .advance_watermark_to(90)
        .advance_watermark_to_infinity()
    )

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        windows = pipeline | stream | beam.WindowInto(FixedWindows(60), allowed_lateness=600)
        rows = (windows | beamsight.EmbedImages(tiny_embedder)).rows
        return {"groups": rows | beam.Map(lambda row: ("", Path(row.uri).name)) | beam.GroupByKey()}

    ((_, names),) = run(build, streaming=True)["groups"]
    assert sorted(names) == sorted(CLASSES)


def test_notebook(photos: list[Path], tmp_path: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    places = {f'"{name}"': repr(str(tmp_path / "photos" / name)) for name in CLASSES}
    names = recipe(*RECIPES["Notebook"], places)
    printed = capsys.readouterr().out
    assert re.search(r"burger.jpg \['cheeseburger (0.99|1.00)'", printed)
    assert re.search(r"parrot.jpg \['macaw 0.99'", printed)
    np.testing.assert_allclose(np.diag(names["similarities"]), 1, atol=1e-6)
    assert names["middle"].shape == (1, names["vectors"].shape[1])


def test_beam_yaml(photos: list[Path], tmp_path: Path, trained: Mapping[str, str]) -> None:
    """The example in the repository has tests of its own. This is the pipeline on the page."""
    pytest.importorskip(
        "jsonschema", reason="no jsonschema, which Beam YAML needs; to run this, pip install 'apache-beam[yaml]'"
    )
    places = {
        "gs://my-bucket/beamsight/provider.yaml": str(ROOT / "examples" / "yaml" / "provider.yaml"),
        "gs://my-bucket": str(tmp_path),
        "efficientnet-b7": trained["classification"],
    }
    (tmp_path / "pipeline.yaml").write_text(fill(RECIPES["Beam YAML"][0], places))
    command = [sys.executable, "-m", "apache_beam.yaml.main", "--runner=FnApiRunner"]
    done = subprocess.run(
        [*command, f"--yaml_pipeline_file={tmp_path / 'pipeline.yaml'}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    classes = "".join(path.read_text() for path in tmp_path.glob("classes-*"))
    assert sorted(re.findall(r"(\w+\.jpg),([\w ]+),", classes)) == [
        ("burger.jpg", "cheeseburger"),
        ("cat_720p.jpg", "Egyptian cat"),
        ("parrot.jpg", "macaw"),
    ]
    failures = [json.loads(path.read_text()) for path in tmp_path.glob("failures-*")]
    assert [Path(failure["uri"]).name for failure in failures] == ["broken.jpg"]


def test_the_providers_name_transforms_that_there_are() -> None:
    (own,) = yaml.safe_load((ROOT / "examples" / "yaml" / "provider.yaml").read_text())
    (package,) = yaml.safe_load(RECIPES["Beam YAML"][1])
    assert package["transforms"].items() <= own["transforms"].items()
    for target in own["transforms"].values():
        module, _, name = target.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), name), beam.PTransform)
    assert package["config"]["packages"] == [
        f"https://packages.example/beamsight-{beamsight.__version__}-py3-none-any.whl"
    ]
