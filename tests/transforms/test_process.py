"""A unit, without Beam: what ends where, in bounded memory. The engine is a fake that is handed in."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import fragile_decoder
import numpy as np
import pytest
import tables
from fake_models import CLASSIFIER, EMBEDDER, FakeEngine, model
from PIL import Image

from transforms import counts
from transforms.errors import EngineError, OutOfMemory
from transforms.history.units import make_unit
from transforms.imaging import drawn, fit
from transforms.inference.concurrent import Model
from transforms.inference.engine import Floats, Pixels
from transforms.inference.spec import ModelSpec
from transforms.process import Settings, process_unit
from transforms.records import ImageRef, Unit, Work
from transforms.storage import files
from transforms.tables import layout
from transforms.tables.publish import UnitFile

DAY = "2026-01-02"


def settings(tmp_path: Path) -> Settings:
    return Settings(output=str(tmp_path / "out"), day="2026-01-09", run_id="r1", version="0")


def units_folder(tmp_path: Path) -> Path:
    """The tables of the units that the run has not published yet."""
    return Path(layout.units_folder(str(tmp_path / "out"), "r1"))


def unit_of(folder: Path, models: list[Model], greys: list[int]) -> Unit:
    """A unit of one-colour pictures, ``<number>-<grey>.png``."""
    folder.mkdir(exist_ok=True)
    work = []
    for number, grey in enumerate(greys):
        path = folder / f"{number:03}-{grey:03}.png"
        path.write_bytes(drawn.encode(np.full((32, 32, 3), grey, np.uint8), "png"))
        ref = ImageRef(str(path), files.stat(str(path)).version)
        work.append(Work(ref, tuple(each.recipe.table for each in models)))
    return make_unit(work, DAY)


def test_a_unit_becomes_one_unpublished_file_a_table(tmp_path: Path) -> None:
    models = [model(CLASSIFIER), model(EMBEDDER)]
    unit = unit_of(tmp_path / "in", models, [10 * n for n in range(20)])
    unit_files, tally = process_unit(unit, models, settings(tmp_path))
    for each in models:
        (path,) = tables.files_of(units_folder(tmp_path), each.recipe.table)
        assert path == f"{tmp_path}/out/_work/units/r1/{each.recipe.table}/dt={DAY}/{unit.name}.parquet"
        assert UnitFile(each.recipe.table, DAY, path, Path(path).stat().st_size, 20) in unit_files
        assert tally[counts.key(counts.OK, each.recipe.table)] == 20
    assert len(unit_files) == 2
    predictions = tables.rows(units_folder(tmp_path), "predictions", tmp_path)
    assert [Path(row["uri"]).name for row in predictions] == [f"{n:03}-{10 * n:03}.png" for n in range(20)]
    assert [row["score"] for row in predictions] == pytest.approx([10 * n / 255 for n in range(20)], abs=1e-6)
    embeddings = tables.rows(units_folder(tmp_path), "embeddings", tmp_path)
    assert embeddings[7]["embedding"] == pytest.approx([70 / 255, 0, 0, 0], abs=1e-6)
    assert tables.rows(units_folder(tmp_path), "failures", tmp_path) == []
    assert (tally[counts.IMAGES], tally[counts.UNITS]) == (20, 1)


def test_all_batches_except_the_last_are_full(tmp_path: Path) -> None:
    engine = FakeEngine(3)
    models = [model(CLASSIFIER, engine)]
    process_unit(unit_of(tmp_path / "in", models, [1] * 21), models, settings(tmp_path))
    assert engine.sizes == [8, 8, 5]


def test_the_one_image_that_a_model_refuses_is_found(tmp_path: Path) -> None:
    refuse_200 = FakeEngine(3, lambda means: EngineError("no 200") if (means == 200).any() else None)
    models = [model(CLASSIFIER, refuse_200), model(EMBEDDER)]
    unit = unit_of(tmp_path / "in", models, [1, 2, 200, 4, 5, 6, 7, 8, 9, 200])
    unit_files, tally = process_unit(unit, models, settings(tmp_path))
    assert [(each.table, each.rows) for each in unit_files] == [
        (models[0].recipe.table, 8),
        (models[1].recipe.table, 10),
        (layout.FAILURES, 2),
    ]
    failures = tables.rows(units_folder(tmp_path), "failures", tmp_path)
    assert [(Path(row["uri"]).name, row["stage"], row["error"], row["tables"]) for row in failures] == [
        (name, "classify", "Refused", [models[0].recipe.table]) for name in ("002-200.png", "009-200.png")
    ]
    assert "no 200" in failures[0]["message"]
    assert len(tables.rows(units_folder(tmp_path), "predictions", tmp_path)) == 8
    assert (
        len(tables.rows(units_folder(tmp_path), "embeddings", tmp_path)) == 10
    )  # the other model has nothing against it
    assert counts.family(tally, counts.FAILED) == {"classify": 2}


def test_an_image_that_both_models_refuse_is_one_row(tmp_path: Path) -> None:
    def refuse(means: Floats) -> EngineError | None:
        return OutOfMemory("too bright") if (means == 200).any() else None

    models = [model(CLASSIFIER, FakeEngine(3, refuse)), model(EMBEDDER, FakeEngine(4, refuse))]
    process_unit(unit_of(tmp_path / "in", models, [1, 200]), models, settings(tmp_path))
    (failure,) = tables.rows(units_folder(tmp_path), "failures", tmp_path)
    assert failure["tables"] == [each.recipe.table for each in models]
    assert (failure["stage"], failure["retryable"]) == ("classify", True)


def test_a_broken_engine_stops_the_run_and_blames_no_image(tmp_path: Path) -> None:
    models = [model(CLASSIFIER, FakeEngine(3, lambda _: EngineError("broken")))]
    with pytest.raises(EngineError, match="broken"):
        process_unit(unit_of(tmp_path / "in", models, [1, 2]), models, settings(tmp_path))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_an_image_that_killed_a_worker_of_the_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [model(CLASSIFIER), model(EMBEDDER)]
    unit = unit_of(tmp_path / "in", models, [1, 2, 3])
    culprit = fragile_decoder.poison(Path(unit.work[1].ref.uri))
    work = tuple(item._replace(ref=ImageRef(item.ref.uri)) for item in unit.work)
    unit = replace(unit, work=work)
    fragile_decoder.install(tmp_path / "site", monkeypatch)
    marker = layout.marker(str(tmp_path / "out"), "r1", unit.name)
    files.write(marker, b"")  # as a worker leaves it that dies before it has written the URIs
    process_unit(unit, models, settings(tmp_path))
    (failure,) = tables.rows(units_folder(tmp_path), "failures", tmp_path)
    assert (failure["uri"], failure["stage"], failure["error"]) == (str(culprit), "decode", "Fatal")
    assert (failure["retryable"], failure["tables"]) == (False, [each.recipe.table for each in models])
    assert "SIGABRT" in failure["message"]
    assert len(tables.rows(units_folder(tmp_path), "predictions", tmp_path)) == 2
    assert not files.exists(marker)


def test_only_the_tables_that_lack_an_image_get_it(tmp_path: Path) -> None:
    models = [model(CLASSIFIER), model(EMBEDDER)]
    unit = unit_of(tmp_path / "in", models, [1, 2, 3])
    lacking: tuple[list[str], ...] = [models[0].recipe.table], [models[1].recipe.table], []
    unit = replace(unit, work=tuple(Work(w.ref, tuple(t)) for w, t in zip(unit.work, lacking, strict=True) if t))
    process_unit(unit, models, settings(tmp_path))
    found = [tables.rows(units_folder(tmp_path), table, tmp_path) for table in ("predictions", "embeddings")]
    assert [[Path(row["uri"]).name for row in rows] for rows in found] == [["000-001.png"], ["001-002.png"]]


def test_a_repeated_unit_replaces_the_first_attempt(tmp_path: Path) -> None:
    models = [model(CLASSIFIER), model(EMBEDDER)]
    unit = unit_of(tmp_path / "in", models, [1, 2, 3])
    gone = Path(unit.work[1].ref.uri)
    data, stat = gone.read_bytes(), gone.stat()
    gone.unlink()
    process_unit(unit, models, settings(tmp_path))
    assert [Path(row["uri"]) for row in tables.rows(units_folder(tmp_path), "failures", tmp_path)] == [gone]
    gone.write_bytes(data)
    import os

    os.utime(gone, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    process_unit(unit, models, settings(tmp_path))
    assert tables.rows(units_folder(tmp_path), "failures", tmp_path) == []
    assert len(tables.rows(units_folder(tmp_path), "predictions", tmp_path)) == 3
    first = tables.files_of(units_folder(tmp_path), "predictions")
    process_unit(unit, models, settings(tmp_path))
    assert tables.files_of(units_folder(tmp_path), "predictions") == first  # byte for byte


@pytest.mark.parametrize("images", [40, 160])
def test_pixels_held_are_bounded_whatever_the_number_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    lock = threading.Lock()
    held = most = made = 0

    def released() -> None:
        nonlocal held
        with lock:
            held -= 1

    def counted(picture: Image.Image, spec: ModelSpec) -> Pixels:
        nonlocal held, most, made
        fitted = fit_image(picture, spec)
        with lock:
            held, made = held + 1, made + 1
            most = max(most, held)
        weakref.finalize(fitted, released)
        return fitted

    fit_image = fit.fit_image
    monkeypatch.setattr(fit, "fit_image", counted)
    models = [model(spec, FakeEngine(spec.width, batch=4)) for spec in (CLASSIFIER, EMBEDDER)]
    chosen = replace(settings(tmp_path), window=6, threads=3)
    process_unit(unit_of(tmp_path / "in", models, [5] * images), models, chosen)
    gc.collect()
    assert made == 2 * images
    assert held == 0
    assert most <= len(models) * (6 + 4) + 3 * 4  # window and batch, and the calls that run or wait
