"""sources: shards in folders, globs and manifests, and Parquet files that are shards, manifests, or neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket

from transforms.errors import UsageError
from transforms.listing import sources
from transforms.storage import files

IMAGES = {"image": [{"bytes": b"x", "path": "a.jpg"}]}
URIS = {"uri": ["a.jpg"]}


def put(folder: Path, name: str, columns: dict[str, Any] | None = None) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if columns is None:
        path.write_bytes(b"x")
    else:
        pq.write_table(pa.table(columns), path)
    return str(path)


def listed(source: str, **options: Any) -> tuple[list[str], int]:
    chunks = list(sources.list_images(source, **options))
    refs = [ref for chunk in chunks for ref in chunk.refs]
    assert all(ref.fault is None for ref in refs)
    return [ref.uri for ref in refs], sum(chunk.ignored for chunk in chunks)


def test_shards_are_listed_as_images_are(tmp_path: Path) -> None:
    shards = [put(tmp_path, f"in/{name}") for name in ("a.tar", "b.tar.gz", "c.zip", "d.tfrecord", "e-00000-of-00002")]
    image, _ = put(tmp_path, "in/f.jpg"), put(tmp_path, "in/g.txt")
    assert listed(f"{tmp_path}/in") == ([*shards, image], 1)
    assert listed(f"{tmp_path}/in/*.tar") == (shards[:1], 0)
    for shard in shards:
        assert listed(shard) == ([shard], 0)
    assert sources.explain_empty(shards[0]) is None


def test_braces_name_several_shards(tmp_path: Path) -> None:
    shards = [put(tmp_path, f"{number:03}.tar") for number in range(12)]
    assert listed(f"{tmp_path}/{{002..010}}.tar") == (shards[2:11], 0)
    assert listed(f"{tmp_path}/00{{1,7}}.tar") == ([shards[1], shards[7]], 0)
    for pattern in ("{5..3}", "{0..100000}"):
        with pytest.raises(UsageError, match="is not a range of up to"):
            listed(f"{tmp_path}/{pattern}.tar")
    literal = put(tmp_path, "{1,2}.jpg")
    assert listed(literal) == ([literal], 0)


def test_an_image_in_a_shard_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = put(tmp_path, "a.tar")
    monkeypatch.chdir(tmp_path)
    (chunk,) = sources.list_images("tar://b.jpg::a.tar")
    assert [(ref.uri, ref.version) for ref in chunk.refs] == [(f"tar://b.jpg::{shard}", files.stat(shard).version)]


def test_manifests_name_images_in_shards(tmp_path: Path) -> None:
    manifest = tmp_path / "list.txt"
    lines = ["tar://a.jpg::s/a.tar", "zip://a.jpg::gs://bucket/a.zip", "p.parquet#row=3", "b.tar"]
    manifest.write_text("\n".join(lines), encoding="utf-8")
    assert listed(str(manifest))[0] == [
        f"tar://a.jpg::{tmp_path}/s/a.tar",
        "zip://a.jpg::gs://bucket/a.zip",
        f"{tmp_path}/p.parquet#row=3",
        f"{tmp_path}/b.tar",
    ]


def test_parquet_with_bytes_is_a_shard_and_with_uris_a_manifest(tmp_path: Path) -> None:
    shard, manifest = put(tmp_path, "a.parquet", IMAGES), put(tmp_path, "b.parquet", URIS)
    assert listed(shard) == ([shard], 0)
    assert listed(manifest) == ([f"{tmp_path}/a.jpg"], 0)
    assert listed(f"{tmp_path}/*.parquet") == ([shard, manifest], 0)  # one with bytes makes all of them shards


def test_parquet_files_of_a_folder_are_shards_from_the_first_one_with_bytes(tmp_path: Path) -> None:
    _ = put(tmp_path, "a.parquet", URIS), put(tmp_path, "b.parquet", {"year": [1]})
    shard, later = put(tmp_path, "c.parquet", IMAGES), put(tmp_path, "d.parquet", {"year": [1]})
    assert listed(str(tmp_path)) == ([shard, later], 2)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (IMAGES | URIS, "pass --image-column image to"),
        ({"year": [1]}, "'year|year \\(int64\\)"),
        ({"a": [b"x"], "b": [b"y"]}, "2 columns have bytes \\('a', 'b'\\)"),
    ],
)
def test_parquet_with_both_or_neither_is_refused(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    path = put(tmp_path, "a.parquet", columns)
    with pytest.raises(UsageError, match=reason) as error:
        listed(path)
    assert path in str(error.value)
    name = next(iter(columns))
    assert listed(path, image_column=name) == ([path], 0)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a Parquet file"):
        listed(put(tmp_path, "in/a.parquet"))
    assert listed(f"{tmp_path}/in") == ([f"{tmp_path}/in/a.parquet"], 0)  # opening it gives a failure


def test_only_the_end_of_a_parquet_file_on_gs_is_read(bucket: Bucket, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"\0" * 1_000_000 + bytes([n]) for n in range(3)]}), tmp_path / "a.parquet")
    for name in ("a", "b", "c"):
        bucket.put(f"{name}.parquet", (tmp_path / "a.parquet").read_bytes())
    many = pa.table({"image": [b"x"], **{f"a column with a long name {n}": [n] for n in range(2_000)}})
    pq.write_table(many, tmp_path / "many.parquet")
    bucket.put("many.parquet", (tmp_path / "many.parquet").read_bytes())
    bucket.gcs.reset()
    assert listed(bucket.uri("[abc].parquet"))[0] == [bucket.uri(f"{name}.parquet") for name in "abc"]
    assert len(bucket.gcs.media()) == 1  # the first one tells what the others are
    assert listed(bucket.uri("many.parquet"))[0] == [bucket.uri("many.parquet")]
    assert len(bucket.gcs.media()) == 3  # a long footer needs another request
