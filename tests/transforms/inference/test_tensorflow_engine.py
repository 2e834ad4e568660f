from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import saved_models
from saved_models import SHARD, SIZE, features, weights

from transforms.errors import EngineError, ModelError, NonFinite, OutOfMemory, Refused
from transforms.imaging import drawn
from transforms.inference import engine
from transforms.inference.libraries import tensorflow
from transforms.inference.spec import ModelSpec
from transforms.inference.tensorflow_engine import TensorFlowEngine

SPEC = ModelSpec(name="tiny", task="embed", size=SIZE, width=5, output="features")


def pictures(number: int, side: int = SIZE) -> engine.Pixels:
    return np.stack([drawn.draw(seed, side, side) for seed in range(number)])


def loaded(
    folder: Path, forward: saved_models.Forward = features, *, batch: int = 4, **options: Any
) -> TensorFlowEngine:
    return TensorFlowEngine(saved_models.save(folder / "model", forward, **options), SPEC, batch=batch)


@pytest.mark.parametrize("number", [1, 3, 4, 5, 8, 11])
def test_any_number_of_pictures(tmp_path: Path, number: int) -> None:
    outputs = loaded(tmp_path).infer(pictures(number))
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, saved_models.expected(pictures(number), weights(5)), atol=1e-5)


def test_every_call_is_a_full_batch(tmp_path: Path) -> None:
    tf = tensorflow()
    sizes = []

    def watched(images: Any, kernel: Any) -> Any:
        def see(values: Any) -> Any:
            sizes.append(len(values))
            return np.float32(0)

        return features(images, kernel) + tf.py_function(see, [images], tf.float32)

    assert loaded(tmp_path, watched).infer(pictures(9)).shape == (9, 5)
    assert sizes == [4, 4, 4]


@pytest.mark.parametrize("output", ["classification", "feature_vector"])
def test_equals_a_few_lines_of_tensorflow(shared_dir: Path, output: str) -> None:
    tf = tensorflow()
    folder = shared_dir / "models" / "mobilenet_v1_025_224" / output
    pixels = pictures(5, 224)

    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    (expected,) = signature(image_input=tf.constant(pixels, tf.float32) / 255).values()

    task, kind, width = (
        ("embed", "features", 256) if output == "feature_vector" else ("classify", "probabilities", 1000)
    )
    spec = ModelSpec(name="mobilenet", task=task, size=224, width=width, output=kind)  # type: ignore[arg-type]
    for batch in (1, 2, 8):
        np.testing.assert_allclose(
            TensorFlowEngine(folder, spec, batch=batch).infer(pixels), expected, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_value_range(tmp_path: Path, low: float, high: float) -> None:
    folder = saved_models.save(tmp_path / "model", features)
    spec = ModelSpec(name="tiny", task="embed", size=SIZE, width=5, output="features", value_range=(low, high))
    outputs = TensorFlowEngine(folder, spec).infer(pictures(3))
    np.testing.assert_allclose(outputs, saved_models.expected(pictures(3), weights(5), low, high), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("order", "expected"), [("rgb", [1, 0.2, 0]), ("bgr", [0, 0.2, 1])])
def test_channel_order(tmp_path: Path, order: Any, expected: list[float]) -> None:
    folder = saved_models.save(tmp_path / "model", features, kernel=np.eye(3, dtype=np.float32))
    spec = ModelSpec(name="tiny", task="embed", size=2, width=3, output="features", channel_order=order)
    orange = np.broadcast_to(np.array([255, 51, 0], np.uint8), (1, 2, 2, 3))
    np.testing.assert_allclose(TensorFlowEngine(folder, spec).infer(orange), [expected], atol=1e-6)


def test_one_call_at_a_time_from_many_threads(tmp_path: Path) -> None:
    tf = tensorflow()
    lock, now, peak = threading.Lock(), 0, 0

    def watched(images: Any, kernel: Any) -> Any:
        def see(_: Any) -> Any:
            nonlocal now, peak
            with lock:
                now += 1
                peak = max(peak, now)
            time.sleep(0.01)
            with lock:
                now -= 1
            return np.float32(0)

        return features(images, kernel) + tf.py_function(see, [images], tf.float32)

    model = loaded(tmp_path, watched)
    pixels = pictures(12)
    with ThreadPoolExecutor(12) as pool:
        outputs = list(pool.map(lambda index: model.infer(pixels[index : index + 1]), range(12)))
    assert peak == 1
    np.testing.assert_allclose(np.concatenate(outputs), saved_models.expected(pixels, weights(5)), atol=1e-5)


def greedy(above: int) -> saved_models.Forward:
    """Runs out of memory in batches of more than ``above``, in the middle of the graph."""
    tf = tensorflow()

    def hoard(values: Any) -> Any:
        if len(values) > above:
            raise MemoryError("nothing left")  # which py_function gives on as ResourceExhaustedError
        return np.float32(0)

    return lambda images, kernel: features(images, kernel) + tf.py_function(hoard, [images], tf.float32)


def test_the_batch_is_halved_when_memory_runs_out_and_stays_so(tmp_path: Path) -> None:
    model = loaded(tmp_path, greedy(above=2), batch=11)
    np.testing.assert_allclose(model.infer(pictures(13)), saved_models.expected(pictures(13), weights(5)), atol=1e-5)
    assert model.batch == 2  # 11, 5, 2
    model.infer(pictures(9))
    assert model.batch == 2


def test_no_memory_for_a_single_picture(tmp_path: Path) -> None:
    model = loaded(tmp_path, greedy(above=0))
    with pytest.raises(OutOfMemory, match="not enough memory for a batch of 1: MemoryError: nothing left"):
        model.infer(pictures(3))
    assert model.batch == 1


def test_a_picture_that_the_graph_refuses_is_found(tmp_path: Path) -> None:
    def squeamish(images: Any, kernel: Any) -> Any:
        tf = tensorflow()
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_max(images) < 1, ["too bright"], summarize=1)]):
            return features(images, kernel)

    pixels = np.full((5, SIZE, SIZE, 3), 100, np.uint8)
    pixels[3] = 255
    results = engine.infer_each(loaded(tmp_path, squeamish), list(pixels), SPEC)
    assert [type(result) for result in results] == [np.ndarray] * 3 + [Refused, np.ndarray]
    assert str(results[3]) == "tiny refuses this image: assertion failed: [too bright]"


def test_a_picture_that_gives_nan_is_found(tmp_path: Path) -> None:
    def dividing(images: Any, kernel: Any) -> Any:
        tf = tensorflow()
        return features(images, kernel) / tf.reduce_max(images, axis=[1, 2, 3])[:, None]

    pixels = np.full((3, SIZE, SIZE, 3), 100, np.uint8)
    pixels[1] = 0
    results = engine.infer_each(loaded(tmp_path, dividing), list(pixels), SPEC)
    assert [type(result) for result in results] == [np.ndarray, NonFinite, np.ndarray]


WAYS = [("serving_default",), ("__call__",), ("serving_default", "__call__", "other")]


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("key", [None, "top_pool"])
def test_signatures_and_calls(tmp_path: Path, ways: tuple[str, ...], key: str | None) -> None:
    model = loaded(tmp_path, lambda images, kernel: _under(key, features(images, kernel)), ways=ways)
    np.testing.assert_allclose(model.infer(pictures(2)), saved_models.expected(pictures(2), weights(5)), atol=1e-5)


def _under(key: str | None, value: Any) -> Any:
    return value if key is None else {key: value}


@pytest.mark.parametrize("ways", [("serving_default",), ("__call__",)])
def test_of_several_outputs_the_one_of_the_specs_width(tmp_path: Path, ways: tuple[str, ...]) -> None:
    def several(images: Any, kernel: Any) -> Any:
        return {"map": images, "logits": tensorflow().zeros([4, 7]), "pool": features(images, kernel)}

    model = loaded(tmp_path, several, ways=ways)
    np.testing.assert_allclose(model.infer(pictures(4)), saved_models.expected(pictures(4), weights(5)), atol=1e-5)


def test_of_several_outputs_in_a_row_the_one_of_the_specs_width(tmp_path: Path) -> None:
    model = loaded(tmp_path, lambda images, kernel: (images, features(images, kernel)), ways=("__call__",))
    np.testing.assert_allclose(model.infer(pictures(2)), saved_models.expected(pictures(2), weights(5)), atol=1e-5)


@pytest.mark.parametrize(
    ("names", "width", "shapes"),
    [
        (["a", "b"], 5, r"a \(None, 5\), b \(None, 5\); exactly one must be \[N, 5\]"),
        (["a", "b"], 7, r"a \(None, 5\), b \(None, 5\); exactly one must be \[N, 7\]"),
        (["a", "b"], 0, r"a \(None, 5\), b \(None, 5\); exactly one must be \[N, width\]"),
    ],
)
def test_outputs_that_cannot_be_told_apart(tmp_path: Path, names: list[str], width: int, shapes: str) -> None:
    folder = saved_models.save(
        tmp_path / "model", lambda images, kernel: {name: features(images, kernel) for name in names}
    )
    spec = ModelSpec(name="tiny", task="embed", size=SIZE, width=width, output="features")
    with pytest.raises(ModelError, match=f"outputs are {shapes}"):
        TensorFlowEngine(folder, spec).infer(pictures(1))


def test_an_output_of_another_rank(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"outputs are output_0 \(None, 8, 8, 3\); exactly one must be"):
        loaded(tmp_path, lambda images, kernel: images + kernel[0, 0]).infer(pictures(1))
    with pytest.raises(EngineError, match=r"tiny gives shape \[4, 8, 8, 3\] for a batch of 4"):
        loaded(tmp_path / "call", lambda images, kernel: images + kernel[0, 0], ways=("__call__",)).infer(pictures(1))


def test_an_output_for_the_whole_batch_is_none_for_each_picture(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"tiny gives shape \[1, 5\] for a batch of 4"):
        loaded(tmp_path, lambda *both: tensorflow().reduce_mean(features(*both), 0, keepdims=True)).infer(pictures(1))


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    tf = tensorflow()
    module = tf.Module()
    images = tf.TensorSpec([None, None, None, 3], tf.float32)
    both = tf.function(lambda left, right: tf.reduce_mean(left + right, [1, 2]), input_signature=[images, images])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=both)
    with pytest.raises(ModelError, match=r"'serving_default' takes \['left', 'right'\]; it must take one batch"):
        TensorFlowEngine(tmp_path / "model", SPEC)


def test_neither_signature_nor_call_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no signature 'serving_default' and cannot be called; export it with one"):
        loaded(tmp_path, ways=("other",))


@pytest.mark.parametrize("ways", [("serving_default",), ("__call__",)])
@pytest.mark.parametrize(("options", "word"), [({"side": 9}, "9"), ({"dtype": "uint8"}, "uint8")])
def test_inputs_of_another_size_or_type(
    tmp_path: Path, ways: tuple[str, ...], options: dict[str, Any], word: str
) -> None:
    model = loaded(tmp_path, lambda images, kernel: features(_floats(images), kernel), ways=ways, **options)
    with pytest.raises(EngineError) as caught:
        model.infer(pictures(1))
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "{{" not in str(caught.value)


def _floats(images: Any) -> Any:
    return tensorflow().cast(images, "float32")


@pytest.mark.parametrize("file", ["saved_model.pb", SHARD, "variables/variables.index"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "garbage"])
def test_what_cannot_be_loaded(tmp_path: Path, file: str, damage: str) -> None:
    folder = saved_models.save(tmp_path / "model")
    path = folder / file
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "garbage": b"\xff" * len(data)}[damage])
    with pytest.raises(ModelError, match=r"TensorFlow cannot load .* as a SavedModel: ") as caught:
        TensorFlowEngine(folder, SPEC)
    assert "\n" not in str(caught.value)


def run(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A new Python, in which nothing is imported so far; ``path`` goes before all else."""
    root = Path(__file__).parents[3]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    environment["PYTHONPATH"] = os.pathsep.join(str(part) for part in (path, root) if part)
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


def test_the_import_prints_nothing() -> None:
    code = "from transforms.inference.libraries import tensorflow as t; print(t().constant(3).numpy(), t() is t())"
    done = run(code)
    assert (done.stdout, done.stderr, done.returncode) == ("3 True\n", "", 0)


def test_stderr_works_after_the_import() -> None:
    code = "import os; from transforms.inference.libraries import tensorflow; tensorflow(); os.write(2, b'seen')"
    assert run(code).stderr == "seen"


def test_an_import_that_fails_shows_what_was_held_back(tmp_path: Path) -> None:
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text("import os; os.write(2, b'no AVX here\\n'); raise ImportError('broken')\n")
    code = """
from transforms.inference.libraries import tensorflow
try:
    tensorflow()
except ImportError as error:
    print(error)
"""
    done = run(code, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("broken\n", "no AVX here\n", 0)
