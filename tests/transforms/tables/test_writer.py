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
from transforms.tables import layout, reader, schemas, writer

WIDTH = 2304
CLASS = {"class_id": 1, "wnid": None, "label": "b", "score": 0.5}


def embeddings(rows: int) -> pa.Table:
    vectors = np.random.RandomState(0).normal(size=(rows, WIDTH)).astype(np.float32)
    names = [f"gs://b/{number}.jpg" for number in range(rows)]
    columns: dict[str, schemas.Column] = {"uri": names, "version": ["1"] * rows, "sha256": ["ab"] * rows}
    return schemas.to_arrow(columns | {"embedding": vectors}, schemas.embeddings(WIDTH))


def predictions(**changes: object) -> pa.Table:
    row = {"uri": "u", "version": "1", "sha256": "ab", "width": 4, "height": 3, **CLASS, "top_k": [CLASS], **changes}
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
    file = parquet(embeddings(50))
    columns = {
        file.metadata.row_group(0).column(n).path_in_schema: file.metadata.row_group(0).column(n) for n in range(4)
    }
    assert set(columns) == {"uri", "version", "sha256", "embedding.list.element"}
    assert all(column.compression == "ZSTD" for column in columns.values())
    assert "BYTE_STREAM_SPLIT" in columns["embedding.list.element"].encodings
    assert not columns["embedding.list.element"].has_dictionary_page
    assert columns["uri"].has_dictionary_page


def test_predictions_have_dictionaries_on_strings_only() -> None:
    row_group = parquet(predictions(probabilities=[0.5, 0.5])).metadata.row_group(0)
    columns = [row_group.column(number) for number in range(row_group.num_columns)]
    assert {column.path_in_schema for column in columns if column.has_dictionary_page} == {
        *("uri", "version", "sha256", "wnid", "label"),
        *("top_k.list.element.wnid", "top_k.list.element.label"),
    }
    assert [c.path_in_schema for c in columns if "BYTE_STREAM_SPLIT" in c.encodings] == ["probabilities.list.element"]


def test_row_groups_are_small() -> None:
    rows = 10_000
    table = pa.table({"uri": [str(number) for number in range(rows)]})
    file = parquet(table)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [4096, 4096, 1808]


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


@pytest.mark.parametrize("column", ["uri", "version", "sha256", "class_id", "label", "score", "top_k", "width"])
def test_required_columns_are_declared_not_null(column: str) -> None:
    assert not schemas.predictions(2, probabilities=False).field(column).nullable


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
    writer.put(uri, embeddings(0), {})
    assert list(tmp_path.iterdir()) == []
    writer.put(uri, embeddings(2), {})
    assert reader.read(uri, ["uri"]).num_rows == 2
    writer.put(uri, embeddings(0), {})
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


def test_layout() -> None:
    assert (
        layout.unit_file("gs://b/out", "failures", "2026-01-02", "abc")
        == "gs://b/out/failures/dt=2026-01-02/abc.parquet"
    )
    assert layout.folder("/out", "predictions/model=m-1") == "/out/predictions/model=m-1/"
    assert layout.run_report("/out", "r") == "/out/runs/r.json"
