"""An image that kills its process does so once; the next run finds it. Deaths for other reasons blame no image."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import fragile_decoder
import picture_shards
import pytest
import tables

from runners.cli import app, codes
from transforms.imaging import drawn
from transforms.storage import files
from transforms.tables import layout

IMAGES = 12


def add_images(folder: Path, first: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(first, first + IMAGES):
        (folder / f"{number:02}.jpg").write_bytes(drawn.encode(drawn.draw(number, 40, 40)))


def words(tmp_path: Path, classifier: str, *options: str) -> list[str]:
    """The words of a run."""
    places = ["--images", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    return ["run", *places, "--classifier", classifier, "--embedder", "none", "--max-failures", "100%", *options]


def test_an_image_that_kills_the_process_is_found_by_the_next_run(
    tmp_path: Path, tiny_classifier: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fragile_decoder.install(tmp_path / "site", monkeypatch)
    add_images(tmp_path / "in", 0)
    culprits = {str(fragile_decoder.poison(tmp_path / "in" / name)) for name in ("03.jpg", "08.jpg")}
    command = [sys.executable, "-m", "beamsight", *words(tmp_path, tiny_classifier)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGABRT
    assert len(list(files.walk(layout.markers(str(tmp_path / "out"))))) == 1

    add_images(tmp_path / "in", IMAGES)  # so that the images are in other units
    assert app.main(words(tmp_path, tiny_classifier, "--unit-size", "5")) == codes.DONE
    failures = tables.by_uri(tables.rows(tmp_path / "out", "failures", tmp_path))
    assert failures.keys() == culprits
    assert {(row["stage"], row["error"], row["retryable"]) for row in failures.values()} == {("decode", "Fatal", False)}
    assert len(tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))) == 2 * IMAGES - 2
    assert not list(files.walk(layout.markers(str(tmp_path / "out"))))

    capsys.readouterr()
    assert app.main(words(tmp_path, tiny_classifier, "--json")) == codes.DONE
    assert '"failed_before": 2' in capsys.readouterr().out


def test_a_marker_without_a_culprit_blames_no_image(tmp_path: Path, tiny_classifier: str) -> None:
    add_images(tmp_path / "in", 0)
    uris = ", ".join(f'"{path}"' for path in sorted((tmp_path / "in").iterdir()))
    marker = layout.marker(str(tmp_path / "out"), "20260101T000000Z-abcdef", "0123")
    files.write(marker, f"[{uris}]".encode())
    assert app.main(words(tmp_path, tiny_classifier)) == codes.DONE
    assert len(tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))) == IMAGES
    assert tables.rows(tmp_path / "out", "failures", tmp_path) == []
    assert not files.exists(marker)


def test_a_shard_that_kills_the_process_is_found_by_the_next_run(
    tmp_path: Path, tiny_classifier: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fragile_decoder.install(tmp_path / "site", monkeypatch)
    (tmp_path / "in").mkdir()
    pictures = {f"{number}.jpg": drawn.encode(drawn.draw(number, 40, 40)) for number in range(4)}
    for name in ("good", "abort", "other"):
        (tmp_path / f"in/{name}.tar").write_bytes(picture_shards.make_tar(pictures))
    command = [sys.executable, "-m", "beamsight", *words(tmp_path, tiny_classifier)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGABRT

    assert app.main(words(tmp_path, tiny_classifier)) == codes.DONE
    failures = tables.by_uri(tables.rows(tmp_path / "out", "failures", tmp_path))
    assert {uri: (row["error"], row["retryable"]) for uri, row in failures.items()} == {
        f"{tmp_path}/in/abort.tar": ("Fatal", False)
    }
    assert len(tables.by_uri(tables.rows(tmp_path / "out", "predictions", tmp_path))) == 8
    assert not list(files.walk(layout.markers(str(tmp_path / "out"))))

    capsys.readouterr()
    assert app.main(words(tmp_path, tiny_classifier, "--json")) == codes.DONE
    assert '"shards_already_done": 3' in capsys.readouterr().out
