"""A run over the hostile files: each ends as a row of the table or as a failure.

Of the pictures of 100 million pixels, which ``test_hostile`` decodes, two are enough to wait for each other here.
"""

from __future__ import annotations

from pathlib import Path

import hostile_images
import tables

from runners.cli import app, codes

LARGE = ("png of 100 million RGBA pixels", "jpeg of 100 million progressive CMYK pixels")
NAMES = [name for name in hostile_images.CORPUS if name in LARGE or ("million" not in name and "65,500" not in name)]


def test_every_hostile_file_is_a_row_or_a_failure(tmp_path: Path, tiny_classifier: str, tiny_embedder: str) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    paths = set()
    for name in NAMES:
        path = folder / f"{name.replace(' ', '-')}.{name.split()[0]}"
        path.write_bytes(hostile_images.CORPUS[name]())
        paths.add(str(path))
    models = ["--classifier", tiny_classifier, "--embedder", tiny_embedder]
    command = ["run", "--images", str(folder), "--output", str(output), *models]

    assert app.main([*command, "--max-failures", "100%"]) == codes.DONE

    rows = [row["uri"] for table in ("predictions", "failures") for row in tables.rows(output, table, tmp_path)]
    assert sorted(rows) == sorted(paths)
    assert len(tables.rows(output, "failures", tmp_path)) > 10
