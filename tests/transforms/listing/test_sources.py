"""sources: files, folders, globs and manifests on a disk and on gs://, and what is refused before a run."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket

from transforms.errors import Unreadable, UsageError
from transforms.listing import sources
from transforms.listing.sources import Chunk
from transforms.records import ImageRef
from transforms.storage import files
from transforms.tables import layout


def listed(source: str | Path, **options: Any) -> tuple[list[ImageRef], int]:
    """All refs of a source, sorted, and how many files were left alone."""
    chunks = list(sources.list_images(str(source), **options))
    refs: list[ImageRef] = sorted(ref for chunk in chunks for ref in chunk.refs)
    return refs, sum(chunk.ignored for chunk in chunks)


def uris(source: str | Path) -> list[str]:
    return [ref.uri for ref in listed(source)[0]]


def filled(path: Path, data: bytes = b"x") -> ImageRef:
    """Make a file; -> how it is listed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return ImageRef(str(path), version_of(path), len(data))


def version_of(path: Path) -> str:
    status = path.stat()
    return f"{status.st_mtime_ns}-{status.st_size}"


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = filled(tmp_path / "a photo", b"abc")
    assert listed(ref.uri) == ([ref], 0)
    assert listed(f"file://{ref.uri}") == ([ref._replace(uri=f"file://{ref.uri}")], 0)
    monkeypatch.chdir(tmp_path)
    assert listed("a photo") == listed("./a photo") == ([ref], 0)


def test_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.txt", "b.csv", "c", "jpg", "deep/d.mp4", "Thumbs.db"):
        filled(tmp_path / "photos" / name)
    filled(tmp_path / "photos/.hidden.jpg")
    filled(tmp_path / "photos2/other.jpg")
    refs = [
        filled(tmp_path / "photos" / name)
        for name in ("a.jpg", "B.JPEG", "c.PnG", "deep/er/d.webp", "e.tif", "f.heic", "g.avif", "h.txt.gif")
    ]
    monkeypatch.chdir(tmp_path)
    for source in ("photos", "photos/", tmp_path / "photos", f"{tmp_path}/photos/"):
        assert listed(source) == (sorted(refs), 6)
    assert [ref.uri for ref in listed(f"file://{tmp_path}/photos")[0]] == [f"file://{ref.uri}" for ref in sorted(refs)]


def test_a_glob(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPG", "c.bin", "d/a.jpg", "d/e/a.jpg"):
        filled(tmp_path / name)
    assert uris(tmp_path / "*.jpg") == [f"{tmp_path}/a.jpg"]
    assert uris(tmp_path / "?.[Jj][Pp][Gg]") == [f"{tmp_path}/a.jpg", f"{tmp_path}/b.JPG"]
    assert uris(tmp_path / "*/a.jpg") == [f"{tmp_path}/d/a.jpg"]
    assert uris(tmp_path / "**/a.jpg") == [f"{tmp_path}/{name}" for name in ("a.jpg", "d/a.jpg", "d/e/a.jpg")]
    assert listed(tmp_path / "*.bin") == ([ImageRef(f"{tmp_path}/c.bin", version_of(tmp_path / "c.bin"), 1)], 0)
    assert uris(tmp_path / "*.png") == []


@pytest.mark.parametrize("name", ["photo[1].jpg", "what?.jpg", "*.jpg", "**"])
def test_a_literal_name_takes_precedence_over_a_pattern(tmp_path: Path, name: str) -> None:
    filled(tmp_path / "photo1.jpg")
    ref = filled(tmp_path / name)
    assert listed(ref.uri) == ([ref], 0)


def test_a_literal_folder_takes_precedence_over_a_pattern(tmp_path: Path) -> None:
    ref = filled(tmp_path / "May [1]/a.jpg")
    filled(tmp_path / "May 1")
    assert listed(tmp_path / "May [1]") == listed(f"{tmp_path}/May [1]/") == ([ref], 0)


def test_a_name_that_is_not_utf8_is_a_fault(tmp_path: Path) -> None:
    good = filled(tmp_path / "ä.jpg")
    bad = filled(tmp_path / os.fsdecode(b"\xe4.jpg"))
    assert listed(tmp_path) == (
        [
            ImageRef(
                f"{tmp_path}/\\udce4.jpg",
                bad.version,
                1,
                "the file name is not UTF-8, which the tables need; rename the file",
            ),
            good,
        ],
        0,
    )


def test_a_manifest_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / os.fsdecode(b"\xe4.txt"), b"a.jpg\n")
    with pytest.raises(UsageError, match=r"/\\udce4\.txt is not UTF-8"):
        listed(tmp_path / "*.txt")


def test_gcs(bucket: Bucket) -> None:
    generations = {name: bucket.put(name, b"x" * size) for size, name in enumerate(["a.jpg", "p/b.JPG", "p/q/c.png"])}
    bucket.put("p/", b"")
    notes = ImageRef(bucket.uri("p/notes.txt"), bucket.put("p/notes.txt", b"no manifest here"), 16)
    bucket.put("p2/d.jpg", b"")
    a, b, c = (ImageRef(bucket.uri(name), version, i) for i, (name, version) in enumerate(generations.items()))
    assert listed(a.uri) == ([a], 0)
    for folder in ("p", "p/"):
        assert listed(bucket.uri(folder)) == ([b, c], 1)
    assert listed(bucket.uri("p/*.JPG")) == ([b], 0)
    assert listed(bucket.uri("p/**/*.[pJ]*")) == ([b, c], 0)
    assert listed(bucket.uri("p/**.???")) == ([b, notes, c], 0)  # a glob takes what it matches, as an image
    assert listed(bucket.uri("**/c.png")) == ([c], 0)


@pytest.mark.parametrize("end", ["", "/", "/**"])
def test_a_whole_bucket(bucket: Bucket, end: str) -> None:
    generation = bucket.put("p/a.jpg", b"x")
    assert listed(f"gs://{bucket.name}{end}") == ([ImageRef(bucket.uri("p/a.jpg"), generation, 1)], 0)


@pytest.mark.parametrize("name", ["photo[1].jpg", "#1?.jpg", "100%.jpg", "ä b.jpg"])
def test_any_name_on_gcs(bucket: Bucket, name: str) -> None:
    generation = bucket.put(name, b"x")
    assert listed(bucket.uri(name)) == ([ImageRef(bucket.uri(name), generation, 1)], 0)


OWN = (
    "predictions/model=b7-1/dt=2026-11-20/a.parquet",
    "embeddings/model=b6-1/dt=2026-11-20/a.jpg",
    "failures/dt=2026-11-20/a.parquet",
    "runs/20261120.json",
    "reports/page.html",
    "reports/thumbnails/a.jpg",
    "_work/units/a.parquet",
    "lock.json",
)
MINE = ("a.jpg", "predictions.jpg", "lock.json.jpg", "deep/reports/b.jpg")


@pytest.mark.parametrize("output", ["", "catalog", "deep/er/catalog", "catalog/"])
@pytest.mark.parametrize("source", ["", "/", "/**", "/**/*"])
@pytest.mark.parametrize("where", ["disk", "gcs"])
def test_files_of_the_output_are_not_listed(
    tmp_path: Path, bucket: Bucket, where: str, source: str, output: str
) -> None:
    root = str(tmp_path) if where == "disk" else f"gs://{bucket.name}"
    own = [files.join(root, output, name) for name in OWN]
    mine = [*(f"{root}/{name}" for name in MINE), files.join(root, output, "c.jpg")]
    for uri in own + mine:
        files.write(uri, b"x")
    leave_out = layout.own_files(files.join(root, output))
    assert {ref.uri for ref in listed(root + source)[0]} > set(mine)
    refs, ignored = listed(root + source, leave_out=leave_out)
    assert ([ref.uri for ref in refs], ignored) == (sorted(mine), 0)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("photos", "photos/catalog"),
        ("photos/**", "./photos/../photos/catalog/"),
        ("link/**", "photos/catalog"),
        ("photos", "link/catalog"),
        ("photos/../link", "out"),
        ("photos/**", "out"),
        ("file://{0}/photos/**", "photos/catalog"),
        ("photos", "file://{0}/link/catalog"),
        ("out/../catalog/..", "photos/catalog"),
    ],
)
def test_links_and_dots_lead_to_the_same_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, output: str
) -> None:
    filled(tmp_path / "photos/a.jpg")
    for name in OWN:
        filled(tmp_path / "photos/catalog" / name)
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "out").symlink_to("photos/catalog")
    monkeypatch.chdir(tmp_path)
    leave_out = layout.own_files(output.format(tmp_path))
    refs, ignored = listed(source.format(tmp_path), leave_out=leave_out)
    names = [ref.uri.rpartition("/")[2] for ref in refs]
    assert (set(names), ignored) == ({"a.jpg"}, 0)


def test_images_inside_the_output_are_listed(bucket: Bucket) -> None:
    bucket.put("photos/a.jpg", b"x")
    bucket.put("predictions/a.parquet", b"x")
    assert [ref.uri for ref in listed(bucket.uri("photos/**"), leave_out=layout.own_files(bucket.uri("")))[0]] == [
        bucket.uri("photos/a.jpg")
    ]


def test_manifests_in_the_output_are_read(tmp_path: Path) -> None:
    """As where a run tries the images of the failures table again."""
    folder = tmp_path / "out/failures/dt=2026-11-20"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"uri": ["/a.jpg"]}), folder / "a.parquet")
    refs, _ = listed(tmp_path / "out/failures/**.parquet", leave_out=layout.own_files(f"{tmp_path}/out"))
    assert refs == [ImageRef("/a.jpg")]


@pytest.mark.parametrize("source", ["out/predictions", "out/runs/**"])
def test_check_refuses_a_source_with_files_of_the_output_only(tmp_path: Path, source: str) -> None:
    for name in OWN:
        filled(tmp_path / "out" / name)
    with pytest.raises(UsageError, match="it has only files of --output, which are never listed; choose the folder"):
        sources.check([f"{tmp_path}/{source}"], leave_out=layout.own_files(f"{tmp_path}/out"))


def test_chunks(tmp_path: Path) -> None:
    refs = [filled(tmp_path / "p" / f"{i}.jpg") for i in range(3)]
    filled(tmp_path / "p/readme")
    chunks = list(sources.list_images(f"{tmp_path}/p", chunk=2))
    assert [len(chunk.refs) + chunk.ignored for chunk in chunks] == [2, 2]
    assert sorted(ref for chunk in chunks for ref in chunk.refs) == refs
    filled(tmp_path / "m.txt", b"/a\n/b\n/c\n")
    assert list(sources.list_images(f"{tmp_path}/m.txt", chunk=2)) == [
        Chunk([ImageRef("/a"), ImageRef("/b")], 0),
        Chunk([ImageRef("/c")], 0),
    ]


PATHS = [
    # in the manifest, and seen from its folder /f/g or gs://b/f/g
    ("a.jpg", "{0}/f/g/a.jpg"),
    ("deep/a b.jpg", "{0}/f/g/deep/a b.jpg"),
    ("./a.jpg", "{0}/f/g/a.jpg"),
    ("../a.jpg", "{0}/f/a.jpg"),
    ("../../x/../a.jpg", "{0}/a.jpg"),
    ("../../../../a.jpg", "{0}/a.jpg"),  # as on the web: above the root is the root
    ("a..jpg", "{0}/f/g/a..jpg"),
    (".a.jpg", "{0}/f/g/.a.jpg"),
    ("a./b.jpg", "{0}/f/g/a./b.jpg"),
    ("a//b.jpg", "{0}/f/g/a//b.jpg"),
    ("*.jpg", "{0}/f/g/*.jpg"),
    ("a:b.jpg", "{0}/f/g/a:b.jpg"),
    ("a/gs://b.jpg", "{0}/f/g/a/gs://b.jpg"),
    ("~/a.jpg", "{0}/f/g/~/a.jpg"),
    ("/a/./b.jpg", "/a/./b.jpg"),
    ("file:///a.jpg", "file:///a.jpg"),
    ("FILE:///a.jpg", "FILE:///a.jpg"),
    ("gs://bucket/a/../b.jpg", "gs://bucket/a/../b.jpg"),
    ("GS://bucket/b.jpg", "GS://bucket/b.jpg"),
]


def test_paths_in_a_manifest_on_a_bucket(bucket: Bucket) -> None:
    bucket.put("f/g/m.txt", "\n".join(path for path, _ in PATHS).encode())
    assert list(sources.list_images(bucket.uri("f/g/m.txt"))) == [
        Chunk([ImageRef(seen.format(f"gs://{bucket.name}")) for _, seen in PATHS], 0)
    ]
    bucket.put("m.txt", b"a.jpg\n../b.jpg\n")
    assert uris(bucket.uri("m.txt")) == [bucket.uri("a.jpg"), bucket.uri("b.jpg")]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_paths_in_a_manifest_on_a_disk(tmp_path: Path, scheme: str) -> None:
    paths = [(path, seen) for path, seen in PATHS if not path.startswith("../../")]
    filled(tmp_path / "f/g/m.txt", "\n".join(path for path, _ in paths).encode())
    assert list(sources.list_images(f"{scheme}{tmp_path}/f/g/m.txt")) == [
        Chunk([ImageRef(seen.format(f"{scheme}{tmp_path}")) for _, seen in paths], 0)
    ]


def test_a_relative_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "lists/m.csv", b"uri\n../a.jpg\n")
    monkeypatch.chdir(tmp_path / "lists")
    assert uris("m.csv") == uris("./m.csv") == uris("../lists/m.csv") == uris("*.csv") == [f"{tmp_path}/a.jpg"]


@pytest.mark.parametrize("name", ["m.txt", "m.csv", "m.tsv.gz", "m.jsonl", "m.parquet"])
def test_a_manifest_of_each_kind_by_its_name_and_by_a_glob(tmp_path: Path, name: str) -> None:
    path = tmp_path / "lists" / name
    if name.endswith(".parquet"):
        path.parent.mkdir()
        pq.write_table(pa.table({"uri": ["/a.jpg", "/b.jpg"]}), path)
    else:
        head, line = ("", '{{"uri": "{}"}}\n') if ".jsonl" in name else ("" if ".txt" in name else "uri\n", "{}\n")
        data = f"{head}{line.format('/a.jpg')}{line.format('/b.jpg')}".encode()
        filled(path, gzip.compress(data) if name.endswith(".gz") else data)
    for source in (path, tmp_path / "lists" / f"*{name[1:]}"):
        assert listed(source) == ([ImageRef("/a.jpg"), ImageRef("/b.jpg")], 0)


def test_the_column_that_is_asked_for(tmp_path: Path) -> None:
    filled(tmp_path / "m.csv", b"uri,url\n/no,/a.jpg\n")
    assert listed(tmp_path / "m.csv", uri_column="url") == ([ImageRef("/a.jpg")], 0)


def test_bad_lines_are_faults_and_other_lines_are_read(tmp_path: Path) -> None:
    manifest = filled(
        tmp_path / "m.csv",
        b'id,uri\n1,/a.jpg\n2,\n3\n4,\xff.jpg\n5,ftp://h/a.jpg\n6,https://u:p@h/a.jpg\n7,gs://b\n8,"/c\n9,/d.jpg\n',
    )
    refs = [ref for chunk in sources.list_images(manifest.uri) for ref in chunk.refs]
    good = [ref for ref in refs if ref.fault is None]
    assert good == [ImageRef("/a.jpg"), ImageRef("/d.jpg")]
    faults = [ref for ref in refs if ref.fault is not None]
    assert [(ref.uri, ref.version, ref.size) for ref in faults] == [
        (f"{manifest.uri}:{number}", manifest.version, None) for number in (3, 4, 5, 6, 7, 8, 9)
    ]
    empty, short, text, ftp, web, bucket, quote = (ref.fault for ref in faults)
    assert empty == "line 3 is empty and names no image"
    assert short == "line 4 has only 1 column, but 'uri' is column 2"
    assert text == "line 5 is not UTF-8"
    assert ftp is not None
    assert ftp.startswith("line 6 names 'ftp://h/a.jpg': ftp://h/a.jpg: ftp:// is not supported; use a local path, ")
    assert web == (
        "line 7 names 'https://…@h/a.jpg': https://…@h/a.jpg has a user name or a password, which tables and logs "
        "would show; remove them"
    )
    assert bucket == "line 8 names 'gs://b': gs://b names a bucket but no object; write gs://b/NAME"
    assert quote == "line 9 is not a valid row: unexpected end of data; check for a quote that is not closed"


def test_check_accepts_sources_with_images(tmp_path: Path, bucket: Bucket) -> None:
    filled(tmp_path / "a.jpg")
    filled(tmp_path / "m.txt", b"/nowhere.jpg\n")
    filled(tmp_path / "bad.txt", b"ftp://h/a.jpg\n")
    filled(tmp_path / "m.csv.gz", gzip.compress(b"url\n/nowhere.jpg\n"))
    bucket.put("p/a.jpg", b"")
    sources.check([str(tmp_path), f"{tmp_path}/*.jpg", f"{tmp_path}/m.txt", f"{tmp_path}/bad.txt", bucket.uri("p")])
    sources.check([f"{tmp_path}/m.csv.gz"], "url")


REFUSED = [
    ("", "--images '' is empty"),
    ("none.jpg", "--images {0}/none.jpg: there is no such file"),
    ("none.csv", "--images {0}/none.csv: there is no such file"),
    ("none.json", "--images {0}/none.json: there is no such file"),
    ("none", "--images {0}/none: there is no such file"),
    ("empty", "--images {0}/empty: the folder has no files; files whose names start with a dot are not listed"),
    ("empty/", "--images {0}/empty/: the folder has no files"),
    ("empty/**", "--images {0}/empty/**: no file matches"),
    (
        "list.json",
        "{0}/list.json is neither an image, a shard nor a manifest; write one JSON object a line, and name the file",
    ),
    ("LIST.JSON.gz", "{0}/LIST.JSON.gz is neither an image, a shard nor a manifest; write one JSON object a line"),
    ("*.json", "{0}/*.json is neither an image, a shard nor a manifest; write one JSON object a line"),
    (
        "photos.tar.bz2",
        "{0}/photos.tar.bz2 is neither an image, a shard nor a manifest; unpack it, and pass the folder",
    ),
    ("photos.rar", "{0}/photos.rar is neither an image, a shard nor a manifest; unpack it, and pass the folder"),
    (
        "photos.html",
        "{0}/photos.html is neither an image, a shard nor a manifest; write the URIs of the images to a .txt",
    ),
    ("*.png", "--images {0}/*.png: no file matches; '*' matches within a folder, '**' also in all folders below it"),
    ("*.tsv", "--images {0}/*.tsv: no file matches"),
    ("texts/", "--images {0}/texts/: no file among 2 has an image suffix; to include all files, pass '{0}/texts/**'"),
    ("empty.txt", "--images {0}/empty.txt: the manifest names no images"),
    ("empty.csv", "--images {0}/empty.csv: the manifest names no images"),
    ("header.csv", "--images {0}/header.csv: the manifest names no images"),
    ("comments.txt", "--images {0}/comments.txt: the manifest names no images"),
    ("other.csv", "{0}/other.csv has no column 'uri'; its columns are 'url', 'id'; pass one with --uri-column"),
    ("cut.txt.gz", "{0}/cut.txt.gz cannot be read to its end"),
    ("c*.txt.gz", "{0}/cut.txt.gz cannot be read to its end"),
    ("damaged.parquet", "{0}/damaged.parquet is not a Parquet file"),
    ("a.jpg/", "--images {0}/a.jpg/: there is no such file"),
]


@pytest.mark.parametrize("where", ["disk", "gcs"])
@pytest.mark.parametrize(("name", "message"), REFUSED, ids=[name for name, _ in REFUSED])
def test_check_refuses(tmp_path: Path, bucket: Bucket, where: str, name: str, message: str) -> None:
    for path, data in {
        "a.jpg": b"",
        "texts/a": b"",
        "texts/b.txt": b"",
        "empty.txt": b"",
        "empty.csv": b"",
        "header.csv": b"uri\n",
        "comments.txt": b"# a\n\n",
        "other.csv": b"url,id\na.jpg,1\n",
        "cut.txt.gz": gzip.compress(b"".join(b"/%x.jpg\n" % (i * i) for i in range(20_000)))[:-5],
        "damaged.parquet": b"PAR1" + bytes(50) + b"PAR1",
        **dict.fromkeys(("list.json", "LIST.JSON.gz", "photos.tar.bz2", "photos.rar", "photos.html"), b"{}"),
        **({"empty/": b""} if where == "gcs" else {}),
    }.items():
        filled(tmp_path / path, data) if where == "disk" else bucket.put(path, data)
    (tmp_path / "empty").mkdir()
    root = str(tmp_path) if where == "disk" else f"gs://{bucket.name}"
    with pytest.raises(UsageError) as caught:
        sources.check([f"{root}/a.jpg", f"{root}/{name}" if name else ""])
    assert str(caught.value).startswith(message.format(root))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("https://h/a.jpg", "name the images in a manifest"),
        ("https://h/*.jpg", "name the images in a manifest"),
        ("HTTP://h/list.csv", "name the images in a manifest"),
        ("ftp://h/a.jpg", "ftp:// is not supported; use a local path, "),
        ("ftp://h/m.csv", "ftp:// is not supported"),
        ("gs://", "gs:// names no bucket"),
        ("file://h/a.jpg", "write file:///h/a.jpg"),
        ("/x/[z-a].jpg", "/x/[z-a].jpg is not a valid pattern"),
        ("/x\0", "is not a valid file name"),
    ],
)
def test_check_refuses_unsupported_sources(gcs: object, source: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        sources.check([source])
    assert message in str(caught.value)


def test_check_refuses_a_missing_or_empty_bucket(bucket: Bucket) -> None:
    with pytest.raises(UsageError, match=r"^--images gs://no-such-bucket/a: there is no gs://no-such-bucket/a/"):
        sources.check(["gs://no-such-bucket/a"])
    with pytest.raises(UsageError, match=rf"^--images gs://{bucket.name}: the bucket has no files$"):
        sources.check([f"gs://{bucket.name}"])


def test_a_missing_file_is_neither_a_file_nor_a_folder(tmp_path: Path, bucket: Bucket) -> None:
    bucket.put("a.jpg", b"")
    with pytest.raises(UsageError, match=rf"^--images {tmp_path}/none: there is no such file or folder$"):
        sources.check([f"{tmp_path}/none"])
    with pytest.raises(UsageError, match=r"/none: there is no such file, and no folder of that name with files$"):
        sources.check([bucket.uri("none")])


@pytest.mark.parametrize("name", ["archive.zip/a.jpg", "a.json/b.jpg"])
def test_a_folder_may_have_any_name(tmp_path: Path, bucket: Bucket, name: str) -> None:
    filled(tmp_path / name)
    bucket.put(name, b"")
    sources.check([str((tmp_path / name).parent), bucket.uri(name.partition("/")[0])])


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"pipe is not a regular file but a fifo"):
        sources.check([f"{tmp_path}/pipe"])


def test_check_looks_only_at_the_beginning(bucket: Bucket) -> None:
    for name in ("a", "b", "c"):
        bucket.put(f"lists/{name}.txt", b"/a.jpg\n")
    sources.check([bucket.uri("lists/*.txt")])
    assert [path for path in bucket.gcs.media() if "b.txt" in path or "c.txt" in path] == []
    assert len(bucket.gcs.media()) == 1


@pytest.mark.parametrize(("source", "names"), [("p", 2_500), ("p/*.jpg", 2_500), ("**/*.jpg", 2_500)])
def test_check_of_a_large_source_is_one_small_page(bucket: Bucket, source: str, names: int) -> None:
    for i in range(names):
        bucket.put(f"p/{i:05}.{'jpg' if i % 2 else 'txt'}", b"")
    sources.check([bucket.uri(source)])
    listings = [path for _, path in bucket.gcs.requests if path.partition("?")[0].endswith("/o")]
    assert len(listings) == 1
    assert "maxResults=1000" in listings[0]


def test_check_leaves_it_open_whether_images_follow_after_the_first_page(bucket: Bucket) -> None:
    for i in range(1_000):
        bucket.put(f"p/{i:05}.txt", b"")
    uri = bucket.uri("p/")
    sources.check([uri])
    reason = sources.explain_empty(uri)
    assert reason is not None
    assert reason.startswith("no file among 1000 has an image suffix")
    bucket.delete("p/00999.txt")
    with pytest.raises(UsageError, match="no file among 999 has an image suffix"):
        sources.check([uri])


def test_a_server_error_is_not_an_empty_listing(bucket: Bucket, quick_retries: object) -> None:
    bucket.put("p/a.jpg", b"")
    bucket.gcs.faults = lambda method, path: 403
    with pytest.raises(Unreadable, match=r"roles/storage\.objectViewer"):
        listed(bucket.uri("p"))
    with pytest.raises(UsageError, match=r"^--images gs://.*/p/\*: .*objectViewer"):
        sources.check([bucket.uri("p/*")])


def test_look_up(tmp_path: Path, bucket: Bucket) -> None:
    here = filled(tmp_path / "a.jpg", b"abc")
    generation = bucket.put("a.jpg", b"de")
    there = ImageRef(bucket.uri("a.jpg"), generation, 2)
    kept = [
        ImageRef(bucket.uri("a.jpg"), "7", 9),
        ImageRef(f"{tmp_path}/none.jpg"),
        ImageRef(bucket.uri("none.jpg")),
        ImageRef("gs://no-such-bucket/a.jpg"),
        ImageRef("file://host/a.jpg"),
        ImageRef(here.uri, None, None, "line 2 names no image"),
    ]
    assert sources.look_up([ImageRef(there.uri), kept[0], ImageRef(here.uri), *kept[1:]]) == [
        there,
        kept[0],
        here,
        *kept[1:],
    ]
    assert sources.look_up([]) == []


def test_look_up_requests_only_missing_versions_concurrently(bucket: Bucket) -> None:
    names = [f"{i:02}.jpg" for i in range(40)]
    generations = [bucket.put(name, b"x") for name in names]
    bucket.gcs.gather = 20
    refs = [ImageRef(bucket.uri(name), None if i % 2 else "1") for i, name in enumerate(names)]
    assert sources.look_up(refs) == [
        ImageRef(ref.uri, generations[i], 1) if i % 2 else ref for i, ref in enumerate(refs)
    ]
    assert len(bucket.gcs.requests) == 20
    assert bucket.gcs.peak >= 20
