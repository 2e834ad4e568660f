"""Runs that are killed at any change of a file, with a reader that looks at the tables all the time.

It never sees a key twice, a row vanish, or a file that is not whole.
"""

from __future__ import annotations

import io
import os
import random
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tables
from gcs_server import Bucket
from killed_runs import Runs

from runners.cli import app, codes
from transforms.imaging import drawn
from transforms.tables import publish

KILLS = int(os.environ.get("BEAMSIGHT_TEST_KILLS", "6"))  # set it to 30 for a thorough test
UNITS, PUBLISH = r"/_work/(units|started)/", r"/_work/index/|/(predictions|embeddings|failures)/"
TABLES = ("predictions", "embeddings", "failures")


class Reader(threading.Thread):
    """Reads all tables in a loop, as somebody does who only globs."""

    def __init__(self, output: Path | Bucket) -> None:
        super().__init__(daemon=True)
        self._output = output
        self._ended = threading.Event()
        self.seen: dict[str, set[tuple[str, str | None]]] = {table: set() for table in TABLES}
        self.passes = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._ended.wait(0.02):
                self._look()
                self.passes += 1
        except BaseException as error:
            self.error = error

    def _look(self) -> None:
        for table in TABLES:
            keys: list[tuple[str, str | None]] = []
            for name, data in tables.files_of(self._output, table).items():
                if not name.rpartition("/")[2].startswith("."):
                    rows = pq.ParquetFile(io.BytesIO(data)).read(["uri", "version"]).to_pylist()
                    keys += [(row["uri"], row["version"]) for row in rows]
            assert len(keys) == len(set(keys)), f"{table} has a key twice"
            assert self.seen[table] <= set(keys), f"rows of {table} vanished"
            self.seen[table] = set(keys)

    def stop(self) -> None:
        self._ended.set()
        self.join()


class Place:
    """Images and tables on a disk or in a bucket."""

    def __init__(self, where: Path | Bucket) -> None:
        self.output = where if isinstance(where, Bucket) else where / "out"
        self.name = where.uri("") if isinstance(where, Bucket) else f"{where}/"
        self._where = where
        self.images = 0

    def add(self, number: int) -> None:
        """Add some images. Each fifth is broken."""
        for _ in range(number):
            data = drawn.encode(drawn.draw(self.images, 32, 32))
            name, data = f"in/{self.images:03}.jpg", data[:200] if self.images % 5 == 0 else data
            if isinstance(self._where, Bucket):
                self._where.put(name, data)
            else:
                path = self._where / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
            self.images += 1


@pytest.fixture(params=["disk", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> Place:
    return Place(tmp_path if request.param == "disk" else bucket)


def test_killed_at_any_change_of_a_file(place: Place, tmp_path: Path, tiny_classifier: str, tiny_embedder: str) -> None:
    seed = random.randrange(1 << 30)
    chosen = random.Random(seed)
    arguments = ["run", "--images", f"{place.name}in/", "--output", f"{place.name}out", "--unit-size", "2"]
    arguments += ["--classifier", tiny_classifier, "--embedder", tiny_embedder, "--max-failures", "100%"]
    reader = Reader(place.output)
    reader.start()
    killed = {UNITS: 0, PUBLISH: 0}
    with Runs() as runs:
        for number in range(KILLS):
            place.add(3)
            pattern = (UNITS, PUBLISH)[number % 2]
            code, at = runs.run(arguments, (pattern, chosen.randint(1, 12), chosen.random() < 0.5))
            assert code in (-9, codes.DONE), f"seed {seed}"
            assert reader.error is None, f"seed {seed}: {at}: {reader.error}"
            killed[pattern] += code == -9
        assert runs.run(arguments)[0] == codes.DONE
    reader.stop()
    assert reader.error is None, f"seed {seed}: {reader.error}"
    assert reader.passes > KILLS
    assert sum(killed.values()) >= KILLS // 2, f"seed {seed}: {killed}"  # some runs end before their kill
    found = {table: tables.by_uri(tables.rows(place.output, table, tmp_path)) for table in TABLES}
    assert len(found["failures"]) == sum(1 for image in range(place.images) if image % 5 == 0)
    assert len(found["predictions"]) == len(found["embeddings"]) == place.images - len(found["failures"])
    assert app.main(["tables", f"{place.name}out", "--check"]) == codes.DONE
    assert not publish.list_leftovers(f"{place.name}out")
