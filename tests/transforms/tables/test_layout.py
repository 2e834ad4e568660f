"""layout: the paths below the output, and what they say."""

from __future__ import annotations

import pytest

from transforms.tables import layout
from transforms.tables.layout import TablePath, UnitPath

P = "predictions/model=m-12345678"
DAY = "2026-01-02"
OUTPUTS = ["/out", "/out/", "gs://b/out", "out"]


@pytest.mark.parametrize("output", OUTPUTS)
def test_paths(output: str) -> None:
    top = output.rstrip("/")
    assert layout.folder(output, P) == f"{top}/{P}/"
    assert layout.table_file(output, P, DAY, "abc") == f"{top}/{P}/dt={DAY}/abc.parquet"
    assert layout.table_file(output, layout.FAILURES, DAY, "abc") == f"{top}/failures/dt={DAY}/abc.parquet"
    assert layout.unit_file(output, "r", P, DAY, "abc") == f"{top}/_work/units/r/{P}/dt={DAY}/abc.parquet"
    assert layout.units_folder(output, "r") == f"{top}/_work/units/r/"
    assert layout.index_folder(output, P) == f"{top}/_work/index/{P}/"
    assert layout.run_report(output, "r") == f"{top}/runs/r.json"
    assert layout.lock(output) == f"{top}/lock.json"
    assert layout.marker(output, "r", "abc") == f"{top}/_work/started/r-abc.json"
    assert layout.relative(output, f"{top}/{P}/a") == f"{P}/a"


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("table", [P, "embeddings/model=m-12345678", layout.FAILURES])
def test_paths_are_parsed(output: str, table: str) -> None:
    published = layout.table_file(output, table, DAY, "abc")
    unit = layout.unit_file(output, "r", table, DAY, "abc")
    assert layout.parse_table_file(output, published) == TablePath(table, DAY)
    assert layout.parse_unit_file(output, unit) == UnitPath("r", table, DAY)
    assert layout.parse_table_file(output, unit) is None
    assert layout.parse_unit_file(output, published) is None


@pytest.mark.parametrize(
    "path",
    [
        "runs/r.json",
        f"{P}/a.parquet",
        f"{P}/dt=today/a.parquet",
        f"{P}/dt={DAY}/a.parquet.crc",
        f"{P}/dt={DAY}/more/a.parquet",
        f"predictions/dt={DAY}/a.parquet",
        f"other/model=m/dt={DAY}/a.parquet",
        "_work/units/r/a.parquet",
        f"_work/units/r/{P}/dt={DAY}/a.txt",
        f"_work/index/{P}/a.parquet",
    ],
)
def test_other_files_are_no_part_of_a_table(path: str) -> None:
    assert layout.parse_table_file("/out", f"/out/{path}") is None
    assert layout.parse_unit_file("/out", f"/out/{path}") is None


def test_all_files_of_an_output_are_its_own() -> None:
    own = layout.own_files("gs://b/out")
    for uri in (
        layout.table_file("gs://b/out", P, DAY, "a"),
        layout.table_file("gs://b/out", layout.FAILURES, DAY, "a"),
        layout.unit_file("gs://b/out", "r", P, DAY, "a"),
        f"{layout.index_folder('gs://b/out', P)}a.json",
        layout.run_report("gs://b/out", "r"),
        layout.lock("gs://b/out"),
        layout.marker("gs://b/out", "r", "u"),
    ):
        assert uri.startswith(own), uri
    assert not "gs://b/out/photos/a.jpg".startswith(own)
