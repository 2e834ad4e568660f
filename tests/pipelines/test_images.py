"""Images of a PCollection become typed rows and failures, in any windows, bounded and in a stream."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_stream
from apache_beam.transforms import window
from apache_beam.transforms.window import TimestampedValue
from apache_beam.typehints.schemas import typing_to_runner_api
from apache_beam.utils.timestamp import Timestamp
from collecting import run
from gcs_server import Bucket, GcsServer

import beamsight
from beamsight.models import choose
from pipelines import images
from transforms.errors import UsageError
from transforms.imaging import drawn
from transforms.process_rows import EMBEDDINGS, RowSettings
from transforms.records import ImageRef


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        (folder / f"{number}.png").write_bytes(drawn.encode(drawn.draw(number, 40, 30), "png"))
    return [str(path) for path in sorted(folder.iterdir())]


def names(rows: Iterable[Any]) -> list[str]:
    return sorted(Path(row.uri).name for row in rows)


def test_all_kinds_of_elements_become_the_same_rows(pictures: list[str], tiny_embedder: str) -> None:
    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        kinds = {
            "uris": pictures,
            "refs": [ImageRef(uri) for uri in pictures],
            "rows": [beam.Row(uri=uri, size="large") for uri in pictures],
            "bytes": [(uri, Path(uri).read_bytes()) for uri in pictures],
        }
        return {
            name: (
                pipeline | f"Create {name}" >> beam.Create(values) | name >> beamsight.EmbedImages(tiny_embedder)
            ).rows
            for name, values in kinds.items()
        }

    found = run(build)
    rows = {name: sorted((row.uri, row.sha256, row.embedding, row.recipe) for row in found[name]) for name in found}
    assert len(rows["uris"]) == len(pictures)
    assert rows["uris"] == rows["refs"] == rows["rows"] == rows["bytes"]
    assert all(row.version == row.sha256 for row in found["bytes"])


def test_what_is_no_image_fails_the_pipeline(tiny_embedder: str) -> None:
    with pytest.raises(Exception, match="an element of type int is not an image; pass URIs as str"):
        run(lambda pipeline: {"rows": (pipeline | beam.Create([1]) | beamsight.EmbedImages(tiny_embedder)).rows})


def test_a_bad_image_among_512_is_one_failure(tmp_path: Path, tiny_classifier: str, tiny_embedder: str) -> None:
    data = drawn.encode(drawn.draw(1, 20, 20), "png")
    elements = [(f"{number:03}", data if number != 300 else data[:40]) for number in range(512)]

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        result = (
            pipeline
            | beam.Create(elements)
            | beamsight.ProcessImages(classifier=tiny_classifier, embedder=tiny_embedder)
        )
        return result._asdict()

    found = run(build)
    assert names(found["predictions"]) == names(found["embeddings"]) == [key for key, _ in elements if key != "300"]
    (failure,) = found["failures"]
    assert (failure.uri, failure.stage, failure.error, failure.retryable) == ("300", "decode", "Truncated", False)
    assert [table.partition("/")[0] for table in failure.tables] == ["predictions", "embeddings"]


def test_a_repeated_uri_gets_a_row_each_time(pictures: list[str], tiny_embedder: str) -> None:
    elements = [*pictures[:2], *pictures[:2], "/gone.jpg", "/gone.jpg"]
    found = run(lambda pipeline: (pipeline | beam.Create(elements) | beamsight.EmbedImages(tiny_embedder))._asdict())
    assert names(found["rows"]) == ["0.png", "0.png", "1.png", "1.png"]
    assert names(found["failures"]) == ["gone.jpg", "gone.jpg"]


def test_a_repeated_bundle_gives_the_rows_once(pictures: list[str], tiny_embedder: str) -> None:
    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        rows = (pipeline | beam.Create(pictures) | beamsight.EmbedImages(tiny_embedder)).rows
        return {"number": rows | beam.combiners.Count.Globally()}

    assert run(build, runner=FnApiRunner(bundle_repeat=2))["number"] == [len(pictures)] * 3


def test_a_small_collection_has_a_unit_for_each_worker() -> None:
    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        return {
            "units": pipeline
            | beam.Create(range(8))
            | beam.Map(str)
            | images._CountedUnits(512, 4)
            | beam.MapTuple(_size)
        }

    assert run(build)["units"] == [2, 2, 2, 2]


def test_units_of_bounded_images_are_full_whatever_their_windows() -> None:
    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        stamped = pipeline | beam.Create(range(100)) | beam.Map(lambda n: TimestampedValue(str(n), n))
        windows = stamped | beam.WindowInto(window.FixedWindows(1))
        return {"units": windows | images._CountedUnits(25, 1) | beam.MapTuple(_size)}

    assert run(build)["units"] == [25] * 4


def _size(_: Any, elements: Iterable[Any]) -> int:
    return len(list(elements))


class _Seen(beam.DoFn):
    def process(self, row: Any, timestamp: Any = beam.DoFn.TimestampParam, at: Any = beam.DoFn.WindowParam) -> Any:
        yield Path(row.uri).name, timestamp.micros // 10**6, str(at)


WINDOWS = {
    "global": window.GlobalWindows(),
    "fixed": window.FixedWindows(4),
    "sliding": window.SlidingWindows(4, 2),
    "sessions": window.Sessions(1),
}


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("streaming", [False, True])
def test_rows_keep_timestamp_and_windows(pictures: list[str], tiny_embedder: str, name: str, streaming: bool) -> None:
    stamped = [TimestampedValue(uri, 2 * number) for number, uri in enumerate(pictures)]

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        if streaming:
            stream = (
                test_stream.TestStream().advance_watermark_to(0).add_elements(stamped).advance_watermark_to_infinity()
            )
            source = pipeline | stream
        else:
            source = (
                pipeline | beam.Create(pictures) | beam.Map(lambda uri: TimestampedValue(uri, 2 * int(Path(uri).stem)))
            )
        windows = source | "Windows" >> beam.WindowInto(WINDOWS[name])
        plain = windows | "Plain" >> beam.Map(lambda uri: beam.Row(uri=uri))
        rows = (windows | beamsight.EmbedImages(tiny_embedder)).rows
        assert rows.windowing == windows.windowing
        return {"rows": rows | "Rows" >> beam.ParDo(_Seen()), "plain": plain | "Seen" >> beam.ParDo(_Seen())}

    found = run(build, streaming=streaming)
    assert sorted(found["rows"]) == sorted(found["plain"])
    assert len(found["rows"]) == len(pictures) * (2 if name == "sliding" else 1)


class _Clock:
    """The processing time of a TestStream begins at 0."""

    def __call__(self) -> Timestamp:
        return Timestamp(0)


def test_an_image_of_a_stream_waits_a_bounded_time(pictures: list[str], tiny_embedder: str) -> None:
    """The watermark stands still, so that only the time that passes makes units of the images."""
    uri = choose.find_bundle(tiny_embedder, "embed")
    recipes = (choose.make_recipe(uri, "embed"),)
    stream = (
        test_stream.TestStream()
        .advance_watermark_to(0)
        .add_elements(pictures[:4])
        .advance_processing_time(5)
        .add_elements(pictures[4:5])
        .advance_processing_time(6)  # the limit is 10 s after the first image
        .add_elements(pictures[5:])
        .advance_processing_time(20)
        .advance_watermark_to_infinity()
    )

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        source = pipeline | stream
        units = source | images._TimedUnits(3, 10, _Clock())
        process = images.Process(recipes, RowSettings("r"), unit_size=3, max_wait=10, clock=_Clock())
        return {"units": units | "Sizes" >> beam.ParDo(_Unit()), "rows": (source | process)[EMBEDDINGS]}

    found = run(build, streaming=True)
    assert all(len(stems) <= 3 for stems, _ in found["units"])
    assert sorted(stem for stems, _ in found["units"] for stem in stems) == list("012345")
    assert all(at <= 10 for _, at in found["units"])  # The end of the window did not make them.
    assert names(found["rows"]) == [f"{number}.png" for number in range(6)]


class _Unit(beam.DoFn):
    def process(self, unit: Any, timestamp: Any = beam.DoFn.TimestampParam) -> Any:
        yield [Path(element[0][0]).stem for element in unit[1]], timestamp.micros // 10**6


def test_a_transient_error_that_ends_gives_rows(
    gcs: GcsServer, bucket: Bucket, quick_retries: object, tiny_embedder: str
) -> None:
    for number in range(3):
        bucket.put(f"in/{number}.png", drawn.encode(drawn.draw(number, 40, 30), "png"))
    refused: set[str] = set()

    def once(_: str, path: str) -> int | None:
        if "alt=media" not in path or path in refused:
            return None
        refused.add(path)
        return 503

    gcs.faults = once
    uris = [bucket.uri(f"in/{number}.png") for number in range(3)]
    found = run(lambda pipeline: (pipeline | beam.Create(uris) | beamsight.EmbedImages(tiny_embedder))._asdict())
    assert len(refused) == 3
    assert (names(found["rows"]), found["failures"]) == (["0.png", "1.png", "2.png"], [])


def test_an_outage_fails_the_unit_and_no_image(
    gcs: GcsServer, bucket: Bucket, quick_retries: object, tiny_embedder: str
) -> None:
    uris = [bucket.uri(f"in/{number}.png") for number in range(20)]
    gcs.faults = lambda _, path: 503
    with pytest.raises(Exception, match=f"gs://{bucket.name} does not answer"):
        run(lambda pipeline: (pipeline | beam.Create(uris) | beamsight.EmbedImages(tiny_embedder))._asdict())


def test_a_missing_object_is_a_failure(bucket: Bucket, tiny_embedder: str) -> None:
    uri = bucket.uri("none.png")
    found = run(lambda pipeline: (pipeline | beam.Create([uri]) | beamsight.EmbedImages(tiny_embedder))._asdict())
    ((failure),) = found["failures"]
    assert (failure.uri, failure.stage, failure.error) == (uri, "fetch", "NotFound")


def test_rows_go_to_parquet_as_they_are(
    pictures: list[str], tmp_path: Path, tiny_classifier: str, tiny_embedder: str
) -> None:
    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        process = beamsight.ProcessImages(classifier=tiny_classifier, embedder=tiny_embedder, probabilities=True)
        result = pipeline | beam.Create([*pictures, "/gone.jpg"]) | process
        for name, rows in result._asdict().items():
            _ = rows | name >> beam.io.WriteToParquet(str(tmp_path / name))
        return {"embeddings": result.embeddings}

    (vectors,) = (row for row in run(build)["embeddings"] if row.uri == pictures[0])
    read = {name: pq.read_table(next(tmp_path.glob(f"{name}-*"))) for name in ("predictions", "embeddings", "failures")}
    assert {name: table.num_rows for name, table in read.items()} == {"predictions": 6, "embeddings": 6, "failures": 1}
    (row,) = (row for row in read["embeddings"].to_pylist() if row["uri"] == pictures[0])
    assert row["embedding"] == vectors.embedding
    assert all(len(row["probabilities"]) == 5 for row in read["predictions"].to_pylist())
    assert read["failures"].to_pylist()[0]["error"] == "NotFound"


@pytest.mark.parametrize(
    "kind", ["PredictionRow", "FullPredictionRow", "EmbeddingRow", "FailureRow", "ImageRef", "CatalogCounts"]
)
def test_schemas_have_no_types_of_python(kind: str) -> None:
    text = str(typing_to_runner_api(getattr(beamsight, kind)))
    assert "logical" not in text
    assert "pythonsdk" not in text


def test_constructing_looks_up_nothing_and_applying_does() -> None:
    transform = beamsight.EmbedImages("/no/such/bundle")
    pickle.dumps(transform)
    with pytest.raises(UsageError, match="/no/such/bundle"):
        _ = beam.Pipeline() | beam.Create(["a"]) | transform


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "there is no model; pass classifier, embedder, or both"),
        ({"embedder": "x", "top_k": 0}, "top_k 0 is too small"),
        ({"embedder": "x", "unit_size": 0}, "unit_size 0 is too small"),
        ({"embedder": "x", "max_wait": 0}, "max_wait 0 is too small"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        beamsight.ProcessImages(**options)


def test_a_model_for_the_other_task_is_refused(tiny_embedder: str) -> None:
    with pytest.raises(UsageError, match="the classifier needs one to classify with"):
        _ = beam.Pipeline() | beam.Create(["a"]) | beamsight.ClassifyImages(tiny_embedder)


def test_workers_elsewhere_do_not_see_a_model_of_this_machine(tiny_embedder: str) -> None:
    options = PipelineOptions(runner="DataflowRunner", project="p", region="r", temp_location="gs://b/t")
    pipeline = beam.Pipeline(FnApiRunner(), options=options)
    with pytest.raises(UsageError, match=r"is on this machine.*beamsight models stage"):
        _ = pipeline | beam.Create(["a"]) | beamsight.EmbedImages(tiny_embedder)


def test_known_photos(shared_dir: Path, trained: dict[str, str]) -> None:
    photos = sorted(map(str, (shared_dir / "photos").glob("*.jpg")))

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        return {"rows": (pipeline | beam.Create(photos) | beamsight.ClassifyImages(trained["classification"])).rows}

    classes = {Path(row.uri).name: row.class_id for row in run(build)["rows"]}
    assert classes == {"burger.jpg": 933, "cat_720p.jpg": 285, "parrot.jpg": 88}


def test_numbers_equal_those_of_the_command_to_the_bit(
    shared_dir: Path, trained: dict[str, str], tmp_path: Path
) -> None:
    from runners.cli import app, codes

    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.jpg").write_bytes(drawn.encode(drawn.draw(number, 300 + 7 * number, 260)))
    classifier, embedder = trained["classification_logits"], trained["feature_vector"]
    arguments = ["run", "--images", str(folder), "--output", str(tmp_path / "out"), "--probabilities", "--normalize"]
    arguments += ["--resizer", "pillow"]
    assert app.main([*arguments, "--classifier", classifier, "--embedder", embedder, "--quiet"]) == codes.DONE

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        uris = pipeline | beamsight.ListImages(str(folder))
        process = beamsight.ProcessImages(
            classifier=classifier, embedder=embedder, resizer="pillow", probabilities=True, normalize=True
        )
        result = uris | process
        tables = {
            f"command {table}": pipeline | table >> beamsight.ReadCatalog(str(tmp_path / "out"), table)
            for table in ("predictions", "embeddings")
        }
        # Reshuffle sends the rows through the coder of their schema.
        own = {"predictions": result.predictions, "embeddings": result.embeddings}
        return tables | {name: rows | f"Spread {name}" >> beam.Reshuffle() for name, rows in own.items()}

    found = run(build)
    for table in ("predictions", "embeddings"):
        own, command = ({row.uri: row._replace(run_id="") for row in found[key]} for key in (table, f"command {table}"))
        assert len(own) == 12
        assert own == command
    assert np.linalg.norm(found["embeddings"][0].embedding) == pytest.approx(1, abs=1e-6)


def test_a_faulty_line_of_a_manifest_is_a_failure(tmp_path: Path, pictures: list[str], tiny_embedder: str) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"uri,note\n{pictures[0]},a\n,b\n")

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        return (pipeline | beamsight.ListImages(str(manifest)) | beamsight.EmbedImages(tiny_embedder))._asdict()

    found = run(build)
    assert names(found["rows"]) == ["0.png"]
    ((failure),) = found["failures"]
    assert (failure.stage, failure.error) == ("list", "ListError")


def test_an_image_that_a_model_refuses_is_one_failure(
    pictures: list[str], tiny_classifier: str, tiny_embedder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transforms.errors import EngineError
    from transforms.inference import engines
    from transforms.inference.engine import Floats, Pixels

    load = engines.load

    def load_fussy(*args: Any, **options: Any) -> Any:
        engine = load(*args, **options)
        infer = engine.infer

        def refuse_dark(pixels: Pixels) -> Floats:
            if any(mean < 40 for mean in pixels.mean(axis=(1, 2, 3))):
                raise EngineError("too dark")
            return infer(pixels)

        monkeypatch.setattr(engine, "infer", refuse_dark, raising=False)
        return engine

    monkeypatch.setattr(engines, "load", load_fussy)
    dark = drawn.encode(np.full((32, 32, 3), 10, np.uint8), "png")
    elements = [*((uri, Path(uri).read_bytes()) for uri in pictures), ("dark", dark)]

    def build(pipeline: beam.Pipeline) -> dict[str, Any]:
        process = beamsight.ProcessImages(classifier=tiny_classifier, embedder=tiny_embedder)
        return (pipeline | beam.Create(elements) | process)._asdict()

    found = run(build)
    ((failure),) = found["failures"]
    assert (failure.uri, failure.stage, failure.error, len(failure.tables)) == ("dark", "classify", "Refused", 2)
    assert len(found["predictions"]) == len(found["embeddings"]) == len(pictures)
