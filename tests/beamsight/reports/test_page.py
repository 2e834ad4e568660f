"""The page shows what the tables and the run reports contain, on a disk and on gs://."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import nights
import pictures
import pytest
import tables
from gcs_server import Bucket
from nights import DAY, Nights
from PIL import Image

from beamsight.reports import make, page, parts, runs, vectors
from beamsight.reports.page import Page
from runners.cli import app, codes
from transforms.errors import UsageError
from transforms.imaging import drawn
from transforms.storage import files
from transforms.storage.base import FileSystem


@pytest.fixture(params=["disk", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | Bucket:
    if request.param == "disk":
        return tmp_path
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket


def new_output(place: Path | Bucket) -> Nights:
    root = f"gs://{place.name}" if isinstance(place, Bucket) else str(place)
    return Nights(f"{root}/out", f"{root}/photos")


def read(output: Nights, day: date | None = None, run_id: str | None = None) -> Page:
    return page.read(output.output, runs.select(output.output, day, run_id), run_id, datetime.now(timezone.utc))


def require_totals(shown: Page, output: Nights, report: dict[str, Any]) -> None:
    assert (shown.totals.new, shown.totals.done, shown.totals.failed) == (33, 31, 2)
    assert shown.totals.skipped == output.done - 33 > 0
    assert shown.totals.rate == pytest.approx(3)
    assert set(shown.totals.steps) == set(report["seconds_by_step"])


def require_classes(shown: Page, rows: tables.Rows, table: str) -> None:
    assert shown.predictions is not None
    tally = shown.predictions.tally
    assert {tally.labels[key]: n for key, n in tally.classes.items()} == Counter(row["label"] for row in rows)
    assert tally.mean == pytest.approx(sum(row["score"] for row in rows) / len(rows), rel=1e-6)
    assert shown.predictions.table == table


def require_failures(shown: Page, photos: str) -> None:
    reasons = {(reason.stage, reason.error): reason.count for reason in shown.reasons}
    assert reasons == {("decode", "NotAnImage"): 1, ("decode", "Truncated"): 1}
    assert shown.reasons[0].examples[0].uri.startswith(photos)


def require_exact_copies(shown: Page, photos: str) -> None:
    assert [copies.uris for copies in shown.exact.groups] == [(f"{photos}/00003.jpg", f"{photos}/copy.jpg")]
    assert (shown.exact.images, shown.exact.copies) == (31, 1)


def require_cards(shown: Page, rows: tables.Rows) -> None:
    by_key = {(row["uri"], row["version"]): row for row in rows}
    assert len(shown.samples.cards) == 12
    for card in shown.samples.cards:
        labels = [top["label"] for top in by_key[card.image.key]["top_k"]]
        assert [best.label for best in card.best] == labels
        assert len(card.neighbours) == 4
        assert card.image.uri not in [other.image.uri for other in card.neighbours]


def test_the_page_agrees_with_the_tables(place: Path | Bucket, tmp_path: Path) -> None:
    output = new_output(place)
    nights.fortnight(output, per_night=5)
    images = nights.pictures(range(30))
    images |= {"copy.jpg": images["00003.jpg"], "text.jpg": b"not an image", "cut.jpg": images["00004.jpg"][:900]}
    report = output.run(images, seconds=11)
    shown = read(output)

    folder = place if isinstance(place, Bucket) else place / "out"
    rows = [row for row in tables.rows(folder, "predictions", tmp_path) if row["uri"].rpartition("/")[2] in images]
    require_totals(shown, output, report)
    require_classes(shown, rows, output.models[0].recipe.table)
    require_failures(shown, output.photos)
    require_exact_copies(shown, output.photos)
    require_cards(shown, rows)


def test_earlier_days(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    nights.fortnight(output, per_night=9)
    output.run(nights.pictures(range(20)))
    shown = read(output)
    days = shown.days
    assert list(days) == [DAY - timedelta(days=back) for back in reversed(range(14))]
    assert [day for day, total in days.items() if total is None] == [DAY - timedelta(days=5)]
    killed = days[DAY - timedelta(days=8)]
    assert killed is not None
    assert (killed.unfinished, killed.new) == (1, 8)  # It wrote one of two units before it was killed.
    assert [finding.text for finding in shown.findings] == ["No run started on 15 November."]
    assert shown.predictions is not None
    shares = shown.predictions.rows[0].shares
    assert len(shares) == 14
    assert shares[-1] == shown.predictions.rows[0].share
    assert shares[-6] is None


def test_equal_vectors_of_equal_pictures_are_copies_and_no_error(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    images = nights.pictures(range(12))
    comment = b"\xff\xfe\x00\x07saved"  # a segment of a JPEG, as EXIF data are
    images["again.jpg"] = images["00003.jpg"][:2] + comment + images["00003.jpg"][2:]
    pixels = drawn.draw(70, 96, 72)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    images["upright.png"] = pictures.save(Image.fromarray(pixels), "png")
    images["turned.png"] = pictures.save(Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90), "png", exif=exif)
    output.run(images)
    shown = read(output)
    assert shown.findings == ()
    assert shown.exact.copies == 0
    names = {frozenset(image.uri.rpartition("/")[2] for image, _ in group.members) for group in shown.samples.near}
    assert {frozenset({"00003.jpg", "again.jpg"}), frozenset({"upright.png", "turned.png"})} <= names
    assert "2 images in the sample repeat the vector of an image with other bytes" in make.to_html(shown)


def test_several_runs_on_one_day(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    output.run(nights.pictures(range(10)), hour=1, state="failed", error="the disk is full", unit_size=5)
    output.run(nights.pictures(range(10, 18)), hour=3)
    both = read(output)
    assert (both.totals.runs, both.totals.new, both.totals.unfinished) == (2, 13, 1)
    assert both.predictions is not None
    assert both.predictions.tally.rows == 13
    assert both.findings[0].text == f"Run {output.runs[0]} failed: the disk is full."

    second = read(output, run_id=output.runs[1])
    assert second.predictions is not None
    assert (second.totals.new, second.predictions.tally.rows, second.samples.count, second.exact.images) == (8, 8, 8, 8)
    first = read(output, run_id=output.runs[0])
    assert (first.totals.new, first.samples.count) == (5, 5)
    assert [table.rows for table in first.tables] == [5, 5]


def test_several_recipes(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    output.run(nights.pictures(range(12)), unit_size=4)
    output.run(nights.pictures(range(20, 24)), hour=4, models=[nights.classifier("other"), nights.embedder("third")])
    shown = read(output)
    assert shown.predictions is not None
    assert shown.predictions.table == output.models[0].recipe.table
    assert shown.predictions.tally.rows == 12
    assert shown.embeddings == output.models[1].recipe.table
    assert sorted(table.rows for table in shown.tables) == [4, 4, 12, 12]


def test_vectors_and_predictions_of_two_runs_are_joined(tmp_path: Path) -> None:
    """A later run for a second model has different units. The page still finds the classes of its images."""
    output = new_output(tmp_path)
    output.run(nights.pictures(range(12)), models=[nights.classifier()])
    without = read(output)
    assert without.samples.map is None
    assert without.embeddings is None
    assert all(card.best and not card.neighbours for card in without.samples.cards)
    output.run(nights.pictures(range(12)), hour=3, models=[nights.embedder()], unit_size=5)
    shown = read(output)
    assert all(card.best and len(card.neighbours) == 4 for card in shown.samples.cards)
    assert shown.samples.map is not None
    alone = read(output, run_id=output.runs[1])
    assert alone.predictions is None
    assert alone.samples.map is not None
    assert alone.samples.map.layers == ()
    assert alone.samples.map.other is not None
    assert len(alone.samples.map.other.points) == 12


def test_a_day_without_new_images(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    output.run(nights.pictures(range(12)), DAY - timedelta(days=1))
    output.run({})
    shown = read(output)
    assert (shown.totals.new, shown.totals.skipped, shown.totals.rate) == (0, 12, None)
    assert [finding.text for finding in shown.findings] == ["No new images: 12 listed images skipped."]
    assert (shown.predictions, shown.embeddings, shown.samples.cards, shown.exact.images) == (None, None, (), 0)


def test_changed_and_deleted_images_are_not_shown(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    output.run(nights.pictures(range(6)))
    (tmp_path / "photos" / "00001.jpg").unlink()
    (tmp_path / "photos" / "00002.jpg").write_bytes(nights.pictures([77])["00077.jpg"])
    shown = read(output)
    assert {card.image.uri.rpartition("/")[2] for card in shown.samples.cards} == {
        "00000.jpg",
        "00003.jpg",
        "00004.jpg",
        "00005.jpg",
    }
    assert shown.samples.missing == {"NotFound": 1, "Changed": 1}


def test_requests_stop_when_the_store_is_unavailable(bucket: Bucket, quick_retries: FileSystem) -> None:
    output = new_output(bucket)
    output.run(nights.pictures(range(40)))
    bucket.gcs.faults = lambda _, path: 503 if "photos" in path else None
    shown = read(output)
    assert shown.samples.cards == ()
    assert shown.samples.missing["Unreadable"] <= 10  # 8 parallel requests, and 2 that start before the third failure
    assert shown.samples.missing["not tried"] >= 30
    assert shown.totals.done == 40


def test_a_sample_is_read_from_few_files(bucket: Bucket) -> None:
    output = new_output(bucket)
    for number in range(8):
        output.run(nights.pictures(range(5 * number, 5 * number + 5)))
    uris = parts.list_days(output.output, output.models[1].recipe.table, [DAY])
    assert len(uris) == 8
    bucket.gcs.reset()
    sample = vectors.sample(uris, limit=8)
    assert len(sample.images) == 8
    read_from = {path.partition("?")[0].rpartition("/")[2] for path in bucket.gcs.media()}
    assert len(read_from) == 2
    assert vectors.sample(uris, limit=8).images == sample.images


def test_location_of_the_page(place: Path | Bucket) -> None:
    output = new_output(place)
    output.run(nights.pictures(range(3)))
    default = make.make(output.output)
    assert default == f"{output.output}/reports/{DAY}.html"
    one = make.make(output.output, run_id=output.runs[0])
    assert one == f"{output.output}/reports/{output.runs[0]}.html"
    other = make.make(output.output, day=DAY, to=f"{output.photos}/page.html")
    pages = [files.read(uri)[0].decode() for uri in (default, one, other)]
    assert all(page.startswith("<!doctype html>") and page.endswith("</html>\n") for page in pages)
    assert output.runs[0] in pages[1]
    if isinstance(place, Bucket):  # A browser shows the page instead of downloading it.
        stored = place.gcs.storage.objects[place.name][f"out/reports/{DAY}.html"]
        assert stored["contentType"].startswith("text/html")
    again = make.make(output.output)
    text = files.read(again)[0].decode()
    assert text.partition("<footer>")[0] == pages[0].partition("<footer>")[0]


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_page_of_a_run_by_the_command(
    place: Path | Bucket, tiny_classifier: str, tiny_embedder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = new_output(place)
    for name, data in (nights.pictures(range(6)) | {"text.jpg": b"not an image"}).items():
        files.write(f"{output.photos}/{name}", data)
    models = ["--classifier", tiny_classifier, "--embedder", tiny_embedder]
    run = ["run", "--images", f"{output.photos}/", "--output", output.output, "--max-failures", "1", *models]
    assert app.main(run) == codes.DONE
    assert app.main(run) == codes.DONE
    capsys.readouterr()
    assert app.main(["report", output.output]) == codes.DONE
    uri = capsys.readouterr().out.strip()
    shown = read(output)
    assert uri == f"{output.output}/reports/{shown.selection.day}.html"
    assert (shown.totals.runs, shown.totals.new, shown.totals.done, shown.totals.failed) == (2, 7, 6, 1)
    assert (shown.totals.already_done, shown.totals.failed_before) == (6, 1)
    assert {len(card.best) for card in shown.samples.cards} == {5}
    assert len(shown.samples.cards) == 6
    assert {"fetch", "decode", "classify", "embed", "write"} <= set(shown.totals.steps)
    assert "6 images succeeded, 1 failed, 7 skipped" in files.read(uri)[0].decode()


def test_missing_runs(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    with pytest.raises(UsageError, match="no run report"):
        runs.select(output.output)
    output.run(nights.pictures(range(2)))
    with pytest.raises(UsageError, match=r"--date 2026-11-18: no run.*2026-11-20"):
        runs.select(output.output, DAY - timedelta(days=2))
    with pytest.raises(UsageError, match=rf"--run nine.*{output.runs[0]}"):
        runs.select(output.output, run_id="nine")


def test_a_damaged_run_report_does_not_stop_the_others(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    output.run(nights.pictures(range(2)))
    (tmp_path / "out" / "runs" / "20261119T010000Z-abcdef.json").write_text("{")
    (tmp_path / "out" / "runs" / "notes.json").write_text("{}")
    shown = read(output)
    assert shown.totals.new == 2
    assert sorted(finding.text.split(":")[1].strip() for finding in shown.findings) == [
        "20261119T010000Z-abcdef.json",
        "notes.json",
    ]
