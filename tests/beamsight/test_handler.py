"""Bundles in Beam's own ``RunInference``: the answers of a run, keys, batches, metrics, dead letters."""

from __future__ import annotations

import doctest
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import (
    KeyedModelHandler,
    KeyModelMapping,
    ModelMetadata,
    PredictionResult,
    RunInference,
)
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream
from apache_beam.testing.util import assert_that
from gcs_server import Bucket

import beamsight
from beamsight import handler as handler_module
from transforms.errors import EngineError, ModelError, UsageError
from transforms.imaging import drawn
from transforms.imaging.drawn import Pixels
from transforms.inference.spec import EngineName

KNOWN = {"burger.jpg": 933, "cat_720p.jpg": 285, "parrot.jpg": 88}
Check = Callable[[list[Any]], None]


def run(elements: list[Any], handler: Any, check: Check) -> Any:
    """Run elements through ``RunInference``, check its results, and return the finished pipeline's result."""
    pipeline = beam.Pipeline("FnApiRunner")
    assert_that(pipeline | beam.Create(elements, reshuffle=False) | RunInference(handler), check)
    finished = pipeline.run()
    finished.wait_until_finish()
    return finished


def pictures(number: int, size: int = 16) -> list[Pixels]:
    return [drawn.draw(seed, size, size) for seed in range(number)]


def test_the_example_runs(tiny_classifier: str) -> None:
    bundles = {"classifier": tiny_classifier}
    assert doctest.testmod(handler_module, extraglobs=bundles, raise_on_error=True).attempted


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_pixels_give_the_numbers_of_predict(engine: EngineName, tiny_classifier: str) -> None:
    model = beamsight.load(tiny_classifier, engine=engine)
    images = pictures(7)
    recipe = model.recipe
    expected = {image.tobytes(): row for image, row in zip(images, model.predict_pixels(np.stack(images)), strict=True)}

    def check(results: list[PredictionResult]) -> None:
        assert len(results) == 7
        for example, inference, model_id in results:
            assert (inference.dtype, inference.shape, model_id) == (np.float32, (5,), recipe)
            np.testing.assert_array_equal(inference, expected[example.tobytes()])

    run(images, beamsight.ImageModelHandler(tiny_classifier, engine=engine), check)


@pytest.mark.parametrize("kind", ["path", "URI", "bytes"])
def test_known_photos_come_out_as_what_they_are(kind: str, shared_dir: Path, trained: Mapping[str, str]) -> None:
    photos = sorted((shared_dir / "photos").glob("*.jpg"))
    forms: dict[str, Callable[[Path], str | bytes]] = {
        "path": str,
        "URI": Path.as_uri,
        "bytes": Path.read_bytes,
    }
    elements = [(path.name, forms[kind](path)) for path in photos]
    for form in ("classification", "feature_vector"):
        handler = beamsight.ImageModelHandler(trained[form], drop_examples=True)
        model = beamsight.load(trained[form])
        expected = dict(zip([path.name for path in photos], model.predict(photos), strict=True))
        recipe = model.recipe

        def check(results: list[tuple[str, PredictionResult]]) -> None:
            assert sorted(name for name, _ in results) == sorted(KNOWN)
            for name, (example, inference, model_id) in results:
                assert (example, model_id) == (None, recipe)  # noqa: B023 - called before the loop goes on
                np.testing.assert_array_equal(inference, expected[name])  # noqa: B023
                assert len(inference) != 1000 or inference.argmax() == KNOWN[name]

        run(elements, KeyedModelHandler(handler).with_preprocess_fn(handler.pixels), check)


def test_a_handler_without_keys_takes_files_too(tmp_path: Path, tiny_embedder: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(drawn.encode(drawn.draw(3, 60, 40), "png"))
    handler = beamsight.ImageModelHandler(Path(tiny_embedder))
    (expected,) = beamsight.load(tiny_embedder).predict([path])

    def check(results: list[PredictionResult]) -> None:
        ((example, inference, _),) = results
        assert example.shape == (16, 16, 3)
        np.testing.assert_array_equal(inference, expected)

    run([str(path)], handler.with_preprocess_fn(handler.pixels), check)


def test_several_models_by_key(tiny_classifier: str, tiny_embedder: str) -> None:
    """Each key has its own model. Beam holds these in processes of their own."""
    (image,) = pictures(1)
    handlers = {key: beamsight.ImageModelHandler(uri) for key, uri in (("c", tiny_classifier), ("e", tiny_embedder))}
    expected = {
        key: beamsight.load(uri).predict_pixels(image[None])[0]
        for key, uri in (("c", tiny_classifier), ("e", tiny_embedder))
    }

    def check(results: list[tuple[str, PredictionResult]]) -> None:
        assert sorted(key for key, _ in results) == ["c", "e"]
        for key, result in results:
            np.testing.assert_array_equal(result.inference, expected[key])

    keyed = KeyedModelHandler([KeyModelMapping([key], handler) for key, handler in handlers.items()])
    run([("c", image), ("e", image)], keyed, check)


@pytest.mark.parametrize("options", [{"large_model": True}, {"model_copies": 2}])
def test_processes_can_share_models(options: dict[str, Any], tiny_embedder: str) -> None:
    images = pictures(5)
    handler = beamsight.ImageModelHandler(tiny_embedder, max_batch_size=2, **options)
    assert handler.share_model_across_processes()
    assert handler.model_copies() == options.get("model_copies", 1)
    expected = {
        image.tobytes(): row
        for image, row in zip(images, beamsight.load(tiny_embedder).predict_pixels(np.stack(images)), strict=True)
    }

    def check(results: list[PredictionResult]) -> None:
        assert len(results) == 5
        for result in results:
            np.testing.assert_array_equal(result.inference, expected[result.example.tobytes()])

    run(images, handler, check)


def test_batches_are_bounded_and_measured(tiny_embedder: str) -> None:
    handler = beamsight.ImageModelHandler(tiny_embedder, min_batch_size=3, max_batch_size=4)
    assert handler.batch_elements_kwargs() == {"min_batch_size": 3, "max_batch_size": 4}
    finished = run(pictures(10), handler, lambda results: None)
    found = {
        metric.key.metric.name: metric.result
        for kind in finished.metrics().query(beam.metrics.MetricsFilter().with_namespace("BeamML_beamsight")).values()
        for metric in kind
    }
    assert found["num_inferences"] == 10
    sizes = found["inference_request_batch_size"]
    assert (sizes.sum, sizes.max) == (10, 4)
    assert found["inference_request_batch_byte_size"].sum == 10 * 16 * 16 * 3
    assert found["inference_batch_latency_micro_secs"].count == sizes.count


def test_batches_of_your_own(tiny_embedder: str) -> None:
    images = pictures(5)
    expected = beamsight.load(tiny_embedder).predict_pixels(np.stack(images))

    def check(results: list[PredictionResult]) -> None:
        found = {result.example.tobytes(): result.inference for result in results}
        for image, row in zip(images, expected, strict=True):
            np.testing.assert_array_equal(found[image.tobytes()], row)

    handler = beamsight.ImageModelHandler(tiny_embedder)
    run([images[:2], np.stack(images[2:])], handler.with_no_batching(), check)


def test_the_largest_batch_fits_into_memory(tiny_embedder: str) -> None:
    def limits(**options: Any) -> Mapping[str, Any]:
        return beamsight.ImageModelHandler(tiny_embedder, **options).batch_elements_kwargs()

    assert limits() == {"max_batch_size": 32}
    assert limits(min_batch_size=100) == {"min_batch_size": 100, "max_batch_size": 100}
    assert limits(max_batch_duration_secs=5, max_batch_weight=9, element_size_fn=len) == {
        "max_batch_size": 32,
        "max_batch_duration_secs": 5,
        "max_batch_weight": 9,
        "element_size_fn": len,
    }


def test_a_stream_waits_no_longer_than_asked_for_a_full_batch(tiny_embedder: str) -> None:
    images = pictures(6)
    stream = test_stream.TestStream()
    for image in images:
        # Beam adds the 5 s to the clock of this machine, so the clock of the test has to pass that.
        stream = stream.add_elements([image]).advance_processing_time(4e9)
    handler = beamsight.ImageModelHandler(tiny_embedder, min_batch_size=100, max_batch_duration_secs=5)
    with beam.Pipeline("BundleBasedDirectRunner", options=PipelineOptions([], streaming=True)) as pipeline:
        results = pipeline | stream.advance_watermark_to_infinity() | RunInference(handler)
        examples = results | beam.Map(lambda result: result.example.tobytes())
        expected = sorted(image.tobytes() for image in images)
        assert_that(examples, lambda got: _equal(sorted(got), expected))


def _equal(got: Any, want: Any) -> None:
    assert got == want


def test_a_broken_image_is_a_dead_letter_of_its_own(tmp_path: Path, tiny_embedder: str) -> None:
    good = drawn.encode(drawn.draw(1, 30, 30))
    elements: list[tuple[str, Any]] = [(str(number), good) for number in range(9)]
    elements += [("broken", good[:200]), ("missing", str(tmp_path / "nowhere.jpg")), ("number", 7)]
    handler = beamsight.ImageModelHandler(tiny_embedder)
    keyed = KeyedModelHandler(handler).with_preprocess_fn(handler.pixels)
    with beam.Pipeline("FnApiRunner") as pipeline:
        results, failed = (
            pipeline | beam.Create(elements, reshuffle=False) | RunInference(keyed).with_exception_handling()
        )
        assert_that(results | "Keys" >> beam.Keys(), lambda got: _equal(sorted(got), list("012345678")), "rows")
        (preprocessing,) = failed.failed_preprocessing
        names = preprocessing | beam.MapTuple(lambda element, error: (element[0], error[0].__name__))
        expected = [("broken", "Truncated"), ("missing", "NotFound"), ("number", "UsageError")]
        assert_that(names, lambda got: _equal(sorted(got), expected), "failures")
        assert_that(failed.failed_inferences, lambda got: _equal(got, []), "batches")


def test_a_download_that_fails_once_is_tried_again(bucket: Bucket, tiny_embedder: str) -> None:
    data = [drawn.encode(drawn.draw(seed, 30, 30)) for seed in range(6)]
    for number, each in enumerate(data):
        bucket.put(f"in/{number}.jpg", each)
    failed: set[str] = set()

    def fault(method: str, path: str) -> int | None:
        if "alt=media" not in path or path in failed:
            return None
        failed.add(path)
        return 503

    bucket.gcs.faults = fault
    expected = dict(enumerate(beamsight.load(tiny_embedder).predict(data)))
    handler = beamsight.ImageModelHandler(tiny_embedder)

    def check(results: list[tuple[int, PredictionResult]]) -> None:
        assert sorted(key for key, _ in results) == list(range(6))
        for key, result in results:
            np.testing.assert_array_equal(result.inference, expected[key])

    uris = [(number, bucket.uri(f"in/{number}.jpg")) for number in range(6)]
    run(uris, KeyedModelHandler(handler).with_preprocess_fn(handler.pixels), check)
    assert len(failed) == 6


def test_a_retried_bundle_gives_the_same_results(tiny_embedder: str) -> None:
    images = pictures(6)
    expected = sorted(row.tobytes() for row in beamsight.load(tiny_embedder).predict_pixels(np.stack(images)))
    options = PipelineOptions(["--direct_runner_bundle_repeat=1"])
    with beam.Pipeline("BundleBasedDirectRunner", options=options) as pipeline:
        results = pipeline | beam.Create(images) | RunInference(beamsight.ImageModelHandler(tiny_embedder))
        rows = results | beam.Map(lambda result: result.inference.tobytes())
        assert_that(rows, lambda got: _equal(sorted(got), expected))


class RefusingHandler(beamsight.ImageModelHandler):
    """Its model refuses images whose first pixel is 7."""

    def load_model(self) -> Any:
        model = super().load_model()
        infer = model._engine.infer

        def refuse(pixels: Pixels) -> Any:
            if (pixels[:, 0, 0, 0] == 7).any():
                raise EngineError("broken")
            return infer(pixels)

        model._engine.infer = refuse  # type: ignore[method-assign]
        return model


@pytest.mark.parametrize("shared", [False, True])
def test_a_refused_image_is_named_in_the_dead_letter_of_its_batch(shared: bool, tiny_embedder: str) -> None:
    images = [np.full((16, 16, 3), value, np.uint8) for value in range(12)]
    handler = RefusingHandler(tiny_embedder, min_batch_size=4, max_batch_size=4, large_model=shared)
    with beam.Pipeline("FnApiRunner") as pipeline:
        results, failed = (
            pipeline | beam.Create(images, reshuffle=False) | RunInference(handler).with_exception_handling()
        )
        values = results | beam.Map(lambda result: int(result.example[0, 0, 0]))
        assert_that(values, lambda got: _equal(sorted(got), [0, 1, 2, 3, 8, 9, 10, 11]), "rows")

        def check(batches: list[Any]) -> None:
            ((batch, (kind, text, _)),) = batches
            assert [int(image[0, 0, 0]) for image in batch] == [4, 5, 6, 7]
            assert kind.__name__ == "Refused"
            assert "image 3: tiny refuses this image: broken" in text

        assert_that(failed.failed_inferences, check, "batches")


def test_wrong_examples_are_explained(tiny_embedder: str) -> None:
    handler = beamsight.ImageModelHandler(tiny_embedder)
    model = handler.load_model()
    (good,) = pictures(1)
    for wrong, kind in (
        (np.zeros((16, 17, 3), np.uint8), r"uint8\[16, 17, 3\]"),
        (np.zeros((16, 16, 3), np.float32), r"float32\[16, 16, 3\]"),
        ("gs://bucket/a.jpg", "str"),
    ):
        with pytest.raises(
            UsageError, match=rf"^example 1 of the batch is {kind} and not uint8\[16, 16, 3\], .*pixels"
        ):
            handler.run_inference([good, wrong], model)  # type: ignore[list-item]


def test_the_bundle_is_read_when_the_pipeline_is_built(tmp_path: Path, tiny_embedder: str) -> None:
    pixels = beam.Pipeline("FnApiRunner") | beam.Create(pictures(1))
    missing = beamsight.ImageModelHandler(tmp_path / "nothing")  # reads nothing yet
    with pytest.raises(ModelError, match="nothing is not a bundle"):
        _ = pixels | RunInference(missing)
    with pytest.raises(ModelError, match="has no int8 form"):
        _ = pixels | "int8" >> RunInference(beamsight.ImageModelHandler(tiny_embedder, precision="int8"))
    with pytest.raises(UsageError, match=r"take no inference_args, but RunInference has \['k'\]"):
        _ = pixels | "args" >> RunInference(beamsight.ImageModelHandler(tiny_embedder), inference_args={"k": 1})


def test_workers_refuse_another_model_in_the_place_of_the_bundle(
    tmp_path: Path, tiny_embedder: str, tiny_classifier: str
) -> None:
    bundle = tmp_path / "bundle"
    bundle.symlink_to(tiny_embedder)
    handler = beamsight.ImageModelHandler(bundle)
    handler.validate_inference_args(None)
    on_worker = pickle.loads(pickle.dumps(handler))
    bundle.unlink()
    bundle.symlink_to(tiny_classifier)
    with pytest.raises(ModelError, match="it was changed or damaged"):
        on_worker.load_model()


def test_a_model_is_replaced_while_the_pipeline_runs(tiny_classifier: str, tiny_embedder: str) -> None:
    (image,) = pictures(1)
    model = beamsight.load(tiny_embedder)
    recipe, (expected,) = model.recipe, model.predict_pixels(image[None])
    with beam.Pipeline("FnApiRunner") as pipeline:
        update = pipeline | "New" >> beam.Create([ModelMetadata(f"{tiny_embedder}/model.json", "new")])
        handler = beamsight.ImageModelHandler(tiny_classifier)
        results = pipeline | beam.Create([image]) | RunInference(handler, model_metadata_pcoll=update)

        def check(got: list[PredictionResult]) -> None:
            ((_, inference, model_id),) = got
            assert model_id == recipe
            np.testing.assert_array_equal(inference, expected)

        assert_that(results, check)


def test_a_model_with_another_input_is_no_replacement(tiny_embedder: str, trained: Mapping[str, str]) -> None:
    handler = beamsight.ImageModelHandler(tiny_embedder)
    handler.update_model_path(None)
    handler.update_model_path("")
    with pytest.raises(ModelError, match=r"square 224x224 bicubic.* but .* square 16x16 .* the same input"):
        handler.update_model_path(trained["classification"])
    assert handler.load_model().spec.name == "tiny"
