"""Vectors in the databases that Beam's sinks write: Postgres with pgvector and Qdrant run for real."""

from __future__ import annotations

import doctest
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import postgres_server
import pytest
import tables
from apache_beam.ml.rag.ingestion.base import VectorDatabaseWriteTransform
from apache_beam.ml.rag.ingestion.jdbc_common import ConnectionConfig
from apache_beam.ml.rag.ingestion.postgres import PostgresVectorWriterConfig
from apache_beam.ml.rag.types import EmbeddableItem

import beamsight
from beamsight import embeddable
from runners.cli import app, codes
from transforms.errors import UsageError

ROW = {
    "uri": "gs://bucket/cat.jpg",
    "version": "1732579200000000",
    "sha256": "0" * 64,
    "recipe": "efficientnet-b6-1a2b3c4d",
    "embedding": [0.5, -0.25],
}


class Row(NamedTuple):
    uri: str
    version: str
    sha256: str
    recipe: str
    run_id: str
    embedding: Any


def test_the_example_runs() -> None:
    assert doctest.testmod(embeddable, raise_on_error=True).attempted


def test_rows_of_any_kind_give_the_same_item() -> None:
    vector = np.asarray(ROW["embedding"], np.float32)
    kinds = [
        ROW,
        ROW | {"run_id": "r", "embedding": vector},
        beam.Row(**ROW),
        beam.Row(**ROW | {"embedding": tuple(ROW["embedding"])}),
        Row(**ROW | {"run_id": "r", "embedding": vector}),  # type: ignore[arg-type]
    ]
    items = [beamsight.to_embeddable_item(row) for row in kinds]
    assert items == [items[0]] * len(kinds)
    (item, *_) = items
    assert item.content_string == item.content.image == ROW["uri"]
    assert item.metadata == {name: ROW[name] for name in ("uri", "version", "sha256", "recipe")}
    assert json.loads(json.dumps(item.metadata)) == item.metadata
    assert item.dense_embedding == [0.5, -0.25]
    assert all(type(value) is float for value in item.dense_embedding or [])


def test_the_id_is_that_of_the_row() -> None:
    ids = {
        beamsight.to_embeddable_item(ROW | change).id
        for change in ({}, {"uri": "b"}, {"version": "2"}, {"recipe": "c"}, {"sha256": "1"}, {"embedding": [1.0]})
    }
    assert len(ids) == 4, "uri, version and recipe make the id, and nothing else"
    assert {str(uuid.UUID(name)) for name in ids} == ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": None}, "a row has no 'embedding'; pass rows of embeddings"),
        ({"recipe": None}, "a row has no 'recipe'"),
        ({"embedding": [0.5, float("nan")]}, r"the embedding of gs://bucket/cat.jpg is float64\[2\] and not"),
        ({"embedding": []}, r"is float64\[0\] and not a vector"),
        ({"embedding": [[0.5]]}, r"is float64\[1, 1\] and not a vector"),
        ({"embedding": "0.5"}, r"and not a vector of finite numbers"),
    ],
)
def test_what_is_no_row_of_embeddings_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        beamsight.to_embeddable_item(ROW | change)
    with pytest.raises(UsageError, match="a row has no 'uri'"):
        beamsight.to_embeddable_item(("a", 1))


def test_bigquery_takes_an_item() -> None:
    from apache_beam.ml.rag.ingestion import bigquery

    row = bigquery._default_embeddable_to_dict_fn(beamsight.to_embeddable_item(ROW))
    assert row["content"] == ROW["uri"]
    assert row["embedding"] == ROW["embedding"]
    assert {"key": "recipe", "value": ROW["recipe"]} in row["metadata"]
    names = [field["name"] for field in bigquery._default_schema()["fields"]]
    assert sorted(names) == sorted(row)


@pytest.fixture(scope="module")
def rows(shared_dir: Path, trained: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> tables.Rows:
    """The rows of embeddings that a run writes for the three photos."""
    folder = tmp_path_factory.mktemp("embeddings")
    command = ["run", "--images", str(shared_dir / "photos"), "--output", str(folder / "out"), "--classifier", "none"]
    assert app.main([*command, "--embedder", trained["feature_vector"]]) == codes.DONE
    found = tables.rows(folder / "out", "embeddings", folder)
    assert len(found) == 3
    return found


def write(rows: tables.Rows, config: Any) -> None:
    with beam.Pipeline("FnApiRunner") as pipeline:
        items = pipeline | beam.Create(rows) | beam.Map(beamsight.to_embeddable_item)
        _ = items | VectorDatabaseWriteTransform(config)


class DirectPostgres(PostgresVectorWriterConfig):
    """Beam's sink for Postgres and AlloyDB, with its records and its statement, without JDBC in Java."""

    def __init__(self, socket: str, table: str) -> None:
        super().__init__(ConnectionConfig("", "postgres", ""), table)
        self.socket = socket

    def create_write_transform(self) -> beam.PTransform:
        statement, convert = self.query_builder.build_insert(), self.query_builder.create_converter()
        return beam.ParDo(_Insert(self.socket, statement, convert))


class _Insert(beam.DoFn):
    def __init__(self, socket: str, statement: str, convert: Callable[[EmbeddableItem], Any]) -> None:
        self.socket, self.statement, self.convert = socket, statement, convert

    def process(self, item: EmbeddableItem) -> Iterator[None]:
        execute(self.socket, self.statement, tuple(self.convert(item)))
        yield from ()


def execute(socket: str, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
    from pg8000 import dbapi

    with closing(dbapi.connect("postgres", unix_sock=socket)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement.replace("?", "%s"), values)  # placeholders are those of JDBC
        return list(cursor.fetchall()) if cursor.description else []


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    pytest.importorskip("pg8000", reason="no pg8000, which comes with apache-beam[gcp]")
    programs = postgres_server.programs()
    if programs is None:
        pytest.skip(f"no Postgres with pgvector; to run this, {postgres_server.HOW_TO_INSTALL}")
    with postgres_server.postgres(programs) as socket:
        execute(socket, "CREATE EXTENSION vector")
        yield socket


def test_postgres_finds_the_nearest_photo(postgres: str, rows: tables.Rows) -> None:
    width = len(rows[0]["embedding"])
    execute(
        postgres, f"CREATE TABLE photos (id text PRIMARY KEY, embedding vector({width}), content text, metadata jsonb)"
    )
    for _ in range(2):  # a second run writes nothing twice
        write(rows, DirectPostgres(postgres, "photos"))
    stored = execute(postgres, "SELECT content, metadata, embedding::text FROM photos ORDER BY content")
    assert [content for content, _, _ in stored] == [row["uri"] for row in rows]
    for (_, metadata, embedding), row in zip(stored, rows, strict=True):
        assert metadata == {name: row[name] for name in ("uri", "version", "sha256", "recipe")}
        np.testing.assert_array_equal(np.asarray(json.loads(embedding), np.float32), np.float32(row["embedding"]))
    for row in rows:
        nearest = "SELECT content, embedding <-> ?::vector FROM photos ORDER BY 2 LIMIT 1"
        ((content, distance),) = execute(postgres, nearest, (json.dumps(row["embedding"]),))
        assert (content, distance) == (row["uri"], 0)


def test_qdrant_finds_the_nearest_photo(rows: tables.Rows, tmp_path: Path) -> None:
    """The client's own engine, in a folder. It is the code path of a server up to the transport."""
    qdrant_client = pytest.importorskip("qdrant_client", reason="no qdrant-client; to run this, pip install it")
    from apache_beam.ml.rag.ingestion.qdrant import QdrantConnectionParameters, QdrantWriteConfig

    models = qdrant_client.models
    folder = str(tmp_path / "qdrant")
    client = qdrant_client.QdrantClient(path=folder)
    vectors = {"dense": models.VectorParams(size=len(rows[0]["embedding"]), distance=models.Distance.COSINE)}
    client.create_collection("photos", vectors_config=vectors)
    client.close()
    for _ in range(2):  # a second run overwrites the same points
        write(rows, QdrantWriteConfig(QdrantConnectionParameters.local(folder), "photos"))
    client = qdrant_client.QdrantClient(path=folder)
    try:
        assert client.count("photos").count == 3
        for row in rows:
            (best, second, _) = client.query_points("photos", query=row["embedding"], using="dense").points
            assert best.payload == {name: row[name] for name in ("uri", "version", "sha256", "recipe")}
            assert best.id == beamsight.to_embeddable_item(row).id
            assert best.score == pytest.approx(1, abs=1e-6)
            assert second.score < 0.99
    finally:
        client.close()
