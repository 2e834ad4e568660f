"""The files: schema, encodings, footer, and whole or not at all; as pyarrow and DuckDB read them."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.errors import FetchError
from transforms.records import Failure
from transforms.tables import reader, schemas, writer

WIDTH = 2304
CLASS = {"class_id": 1, "wnid": None, "label": "b", "score": 0.5}


def embeddings(rows: int) -> pa.Table:
    vectors = np.random.RandomState(0).normal(size=(rows, WIDTH)).astype(np.float32)
    names = [f"gs://b/{number}.jpg" for number in range(rows)]
    columns: dict[str, schemas.Column] = {
        "uri": names,
        "version": ["1"] * rows,
        "sha256": ["ab"] * rows,
        "recipe": ["m-12345678"] * rows,
        "run_id": ["r"] * rows,
    }
    return schemas.to_arrow(columns | {"embedding": vectors}, schemas.embeddings(WIDTH))


def predictions(**changes: object) -> pa.Table:
    row: dict[str, object] = {
        "uri": "u",
        "version": "1",
        "sha256": "ab",
        "width": 4,
        "height": 3,
        **CLASS,
        "top_k": [CLASS],
    }
    row |= {"recipe": "m-12345678", "run_id": "r", **changes}
    schema = schemas.predictions(2, probabilities="probabilities" in changes)
    return schemas.to_arrow({name: [value] for name, value in row.items()}, schema)


def parquet(table: pa.Table) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(writer.to_parquet(table, {"model": "m", "recipe": "12345678"})))


def test_vectors_come_back_exactly_with_their_width() -> None:
    table = embeddings(5)
    read = parquet(table).read()
    assert read.schema.field("embedding").type == schemas.vector(WIDTH)
    assert not read.schema.field("embedding").nullable
    assert read.to_pylist() == table.to_pylist()


def test_encodings() -> None:
    row_group = parquet(embeddings(50)).metadata.row_group(0)
    columns = {column.path_in_schema: column for column in map(row_group.column, range(row_group.num_columns))}
    assert set(columns) == {"uri", "version", "sha256", "embedding.list.element", "recipe", "run_id"}
    assert all(column.compression == "ZSTD" for column in columns.values())
    assert {name for name, column in columns.items() if not column.has_dictionary_page} == {"embedding.list.element"}


def test_only_encodings_that_every_reader_has() -> None:
    """Spark 3.5 and 4.0 refuse BYTE_STREAM_SPLIT with their default reader."""
    for table in (embeddings(50), predictions(probabilities=[0.5, 0.5])):
        row_group = parquet(table).metadata.row_group(0)
        used = {name for n in range(row_group.num_columns) for name in row_group.column(n).encodings}
        assert used == {"PLAIN", "RLE", "RLE_DICTIONARY"}


def test_predictions_have_dictionaries_on_strings_only() -> None:
    row_group = parquet(predictions(probabilities=[0.5, 0.5])).metadata.row_group(0)
    columns = [row_group.column(number) for number in range(row_group.num_columns)]
    assert {column.path_in_schema for column in columns if column.has_dictionary_page} == {
        *("uri", "version", "sha256", "wnid", "label", "recipe", "run_id"),
        *("top_k.list.element.wnid", "top_k.list.element.label"),
    }


def test_row_groups_have_the_size_that_readers_like() -> None:
    table = embeddings(10_000)  # 92 MB
    metadata = parquet(table).metadata
    sizes = [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]
    assert len(sizes) == 3
    assert all(16 << 20 <= size <= 64 << 20 for size in sizes)
    assert metadata.num_rows == 10_000


def test_pieces_are_collected_into_row_groups() -> None:
    pieces = [embeddings(512).slice(start, 100) for start in (0, 100, 200)] * 50
    sink = io.BytesIO()
    with writer.RowGroups(writer.open_parquet(sink, pieces[0].schema, {})) as groups:
        for piece in pieces:
            groups.add(piece)
    file = pq.ParquetFile(sink)
    sizes = [file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups)]
    assert all(16 << 20 <= size <= 64 << 20 for size in sizes[:-1])
    assert len(sizes) == 5
    assert file.read(["uri"]) == pa.concat_tables(pieces).select(["uri"])


def test_collected_rows_may_be_none() -> None:
    sink = io.BytesIO()
    with writer.RowGroups(writer.open_parquet(sink, embeddings(0).schema, {})) as groups:
        groups.add(embeddings(0))
    assert pq.ParquetFile(sink).read().num_rows == 0


def test_the_footer_contains_the_recipe() -> None:
    metadata = parquet(embeddings(1)).schema_arrow.metadata
    assert metadata[b"beamsight.model"] == b"m"
    assert metadata[b"beamsight.recipe"] == b"12345678"


def test_duckdb_reads_what_pyarrow_wrote(tmp_path: Path) -> None:
    (tmp_path / "e.parquet").write_bytes(writer.to_parquet(embeddings(3), {}))
    (tmp_path / "p.parquet").write_bytes(writer.to_parquet(predictions(), {}))
    ((vector,),) = duckdb.execute(f"select embedding from '{tmp_path}/e.parquet' where uri = 'gs://b/1.jpg'").fetchall()
    assert list(vector) == embeddings(3)["embedding"][1].as_py()
    ((label, best),) = duckdb.execute(f"select label, top_k[1] from '{tmp_path}/p.parquet'").fetchall()
    assert (label, best) == ("b", CLASS)


def test_required_columns_are_declared_not_null() -> None:
    for schema in (schemas.predictions(2, probabilities=True), schemas.embeddings(2)):
        assert [field.name for field in schema if field.nullable] == (["wnid"] if "wnid" in schema.names else [])
    assert [field.name for field in schemas.FAILURES if field.nullable] == ["version"]


def test_no_column_has_the_name_of_a_partition() -> None:
    """BigQuery refuses a table with both."""
    for schema in (schemas.predictions(2, probabilities=True), schemas.embeddings(2), schemas.FAILURES):
        assert not {"model", "dt"} & set(schema.names)


def test_failures(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    failure = Failure("u", None, "fetch", "NotFound", "there is no u", False, ("predictions/model=m-1", "e"), 3)
    uri = str(tmp_path / "f.parquet")
    writer.put(uri, schemas.failures_to_arrow([failure], "r", at), {})
    assert pq.read_table(uri).to_pylist() == [
        {
            "uri": "u",
            "version": None,
            "stage": "fetch",
            "error": "NotFound",
            "message": "there is no u",
            "retryable": False,
            "tables": ["predictions/model=m-1", "e"],
            "attempt": 3,
            "run_id": "r",
            "failed_at": at,
        }
    ]


def test_no_rows_give_no_file(tmp_path: Path) -> None:
    uri = str(tmp_path / "a" / "e.parquet")
    assert writer.put(uri, embeddings(0), {}) == 0
    assert list(tmp_path.iterdir()) == []
    assert writer.put(uri, embeddings(2), {}) == Path(uri).stat().st_size
    assert reader.read(uri, ["uri"]).num_rows == 2
    assert writer.put(uri, embeddings(0), {}) == 0
    assert list((tmp_path / "a").iterdir()) == []


def test_reader_reads_the_requested_columns(tmp_path: Path) -> None:
    uri = str(tmp_path / "e.parquet")
    writer.put(uri, embeddings(2), {})
    assert set(reader.read(uri, ["version", "uri"]).column_names) == {"version", "uri"}
    assert reader.read(uri, ["uri"], younger=["sha256", "later"]).column_names == ["uri", "sha256"]
    (tmp_path / "x.tmp").write_bytes(b"")
    assert list(reader.parts(f"{tmp_path}/")) == [uri]
    assert list(reader.parts(f"{tmp_path}/none/")) == []


@pytest.mark.parametrize("data", [b"", b"PAR1 but not really", b"PAR1"])
def test_reader_errors_name_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "e.parquet"
    path.write_bytes(data)
    with pytest.raises(FetchError, match=r"e\.parquet cannot be read"):
        reader.read(str(path), ["uri"])
