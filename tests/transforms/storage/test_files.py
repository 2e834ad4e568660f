"""files: schemes, paths and patterns, on a disk and on gs://."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gcs_server import Bucket
from rights import without_root

from transforms.errors import UsageError
from transforms.storage import files, patterns
from transforms.storage.base import Stat

MATCHES = [
    # pattern, URI, whether it matches
    ("a/*.jpg", "a/b.jpg", True),
    ("a/*.jpg", "a/.jpg", True),
    ("a/*.jpg", "a/b/c.jpg", False),
    ("a/*.jpg", "a/bjpg", False),
    ("a/*.jpg", "a/b\n.jpg", True),
    ("a/?.jpg", "a/b.jpg", True),
    ("a/?.jpg", "a/bc.jpg", False),
    ("a?b", "a/b", False),
    ("a/**/b.jpg", "a/b.jpg", True),
    ("a/**/b.jpg", "a/x/b.jpg", True),
    ("a/**/b.jpg", "a/x/y/b.jpg", True),
    ("a/**/b.jpg", "a/xb.jpg", False),
    ("a/**/**/b.jpg", "a/b.jpg", True),
    ("**/b.jpg", "b.jpg", True),
    ("**/b.jpg", "x/y/b.jpg", True),
    ("a/**.jpg", "a/b.jpg", True),
    ("a/**.jpg", "a/x/y/b.jpg", True),
    ("a/**.jpg", "a/x/y/b.png", False),
    ("a/**", "a/x/y", True),
    ("a/**", "ab/x", False),
    ("a/x**/c", "a/xy/b/c", True),
    ("a/x**/c", "a/x/c", True),
    ("a/x**/c", "a/c", False),
    ("a/***", "a/x/y", True),
    ("a[bc]d", "abd", True),
    ("a[bc]d", "aed", False),
    ("a[b-d]e", "ace", True),
    ("a[!b-d]e", "aee", True),
    ("a[!b-d]e", "ace", False),
    ("a[^b]c", "abc", False),
    ("a[!b]c", "a/c", False),
    ("a[+-9]c", "a/c", False),  # the range holds the slash
    ("a[[]b", "a[b", True),
    ("a[]]b", "a]b", True),
    ("a[!]]b", "a]b", False),
    ("a[b^]c", "a^c", True),
    ("a[\\]c", "a\\c", True),
    ("a[b", "a[b", True),  # no set: it is not closed
    ("a[]b", "a[]b", True),
    ("a.b/*", "aXb/c", False),
    ("gs://b+1/(x)/*.jpg", "gs://b+1/(x)/ä 1%#.jpg", True),
    ("*.JPG", "a.jpg", False),
]


@pytest.mark.parametrize(("pattern", "uri", "matches"), MATCHES)
def test_translate(pattern: str, uri: str, matches: bool) -> None:
    assert bool(patterns.translate(pattern).fullmatch(uri)) == matches


def test_translate_refuses_a_range_that_is_none() -> None:
    with pytest.raises(UsageError, match=r"x/\[z-a\].*not a valid pattern"):
        patterns.translate("x/[z-a]")


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("gs://b/a", "gs"),
        ("GS://b/a", "gs"),
        ("s3://b/a", "s3"),
        ("file:///a", "file"),
        ("/a/b", "file"),
        ("a:b", "file"),
        ("a/gs://b", "file"),
        ("", "file"),
    ],
)
def test_scheme(uri: str, scheme: str) -> None:
    assert files.scheme(uri) == scheme
    assert files.is_local(uri) == (scheme == "file")


@pytest.mark.parametrize(
    ("base", "parts", "joined"),
    [
        ("gs://b", ["a"], "gs://b/a"),
        ("gs://b/", ["a", "c.jpg"], "gs://b/a/c.jpg"),
        ("gs://b/a", ["/c"], "gs://b/a/c"),
        ("/", ["a"], "/a"),
        ("", ["a"], "a"),
        ("a", [""], "a/"),
        ("a", [], "a"),
    ],
)
def test_join(base: str, parts: list[str], joined: str) -> None:
    assert files.join(base, *parts) == joined


@pytest.mark.parametrize(
    ("uri", "name"),
    [("gs://b/a/c#1.jpg", "c#1.jpg"), ("gs://b/a/", "a"), ("a.jpg", "a.jpg"), ("/", ""), ("gs://b", "b")],
)
def test_name(uri: str, name: str) -> None:
    assert files.name(uri) == name


def test_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert files.absolute("x/*.jpg") == f"{tmp_path}/x/*.jpg"
    assert files.absolute("./x/../y/") == f"{tmp_path}/y/"
    assert files.absolute("~/photos/**") == "/home/somebody/photos/**"
    for uri in ("/a//b", "gs://b/x", "file:///a"):
        assert files.absolute(uri) == uri


def test_has_magic() -> None:
    assert [patterns.has_magic(uri) for uri in ("a*", "a?", "a[b]", "a{b}", "gs://b/a#%.jpg")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://example.com/a.jpg", r"ftp:// is not supported.*path.*file://.*gs://.*s3://"),
        ("azfs://account/container/a.jpg", r"pip install 'apache-beam\[azure\]'"),
    ],
)
def test_an_unsupported_scheme_is_a_usage_error(uri: str, message: str) -> None:
    for refused in (files.check, files.read, files.stat, files.open, lambda uri: list(files.walk(uri + "/"))):
        with pytest.raises(UsageError, match=message):
            refused(uri)


@pytest.mark.parametrize("uri", ["gs://bucket", "gs://bucket/", "gs://", "file://host/a"])
def test_check_refuses_what_names_no_file(uri: str) -> None:
    with pytest.raises(UsageError, match=uri):
        files.check(uri)


def test_check_accepts_supported_uris() -> None:
    for uri in ("a.jpg", "/a.jpg", "file:///a", "gs://bucket/a"):
        files.check(uri)


TREE = ["a.jpg", "b.png", "x/c.jpg", "x/y/d.jpg", "x/y/e [1].jpg"]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in TREE:
        path = tmp_path / "t" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path / "t"


GLOBS = [
    ("*.jpg", ["a.jpg"]),
    ("**.jpg", ["a.jpg", "x/c.jpg", "x/y/d.jpg", "x/y/e [1].jpg"]),
    ("**/d.jpg", ["x/y/d.jpg"]),
    ("x/**/*.jpg", ["x/c.jpg", "x/y/d.jpg", "x/y/e [1].jpg"]),
    ("**", TREE),
    ("*/*.jpg", ["x/c.jpg"]),
    ("x/*/d.*", ["x/y/d.jpg"]),
    ("x/y/e [[]*", ["x/y/e [1].jpg"]),
    ("x/y/d*", ["x/y/d.jpg"]),
    ("x/c*/**", []),
    ("x**.jpg", ["x/c.jpg", "x/y/d.jpg", "x/y/e [1].jpg"]),
    ("none*.jpg", []),
    ("none/*.jpg", []),
]


def matching(pattern: str) -> list[Stat]:
    return [stat for stat, matches in files.glob(pattern) if matches]


@pytest.mark.parametrize(("pattern", "found"), GLOBS)
def test_glob_on_a_disk(tree: Path, pattern: str, found: list[str]) -> None:
    for base in ("t/", "./t/", f"{tree}/", f"file://{tree}/", "../" + tree.parent.name + "/t/"):
        assert sorted(stat.uri for stat in matching(base + pattern)) == [base + name for name in found]


def test_glob_in_the_folder_we_are_in(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert [stat.uri for stat in matching("*.jpg")] == ["a.jpg"]
    assert sorted(stat.uri for stat in matching("**/*.jpg")) == sorted(n for n in TREE if n.endswith(".jpg"))


@pytest.mark.parametrize(("pattern", "found"), GLOBS)
def test_glob_on_gcs(bucket: Bucket, pattern: str, found: list[str]) -> None:
    for name in TREE:
        bucket.put(f"t/{name}", name.encode())
    bucket.put("tt/a.jpg", b"beside")
    stats = list(matching(bucket.uri("t/") + pattern))
    assert sorted(stat.uri for stat in stats) == [bucket.uri("t/" + name) for name in found]
    assert [files.read(stat.uri, stat.version)[0].decode() for stat in stats] == [
        stat.uri.removeprefix(bucket.uri("t/")) for stat in stats
    ]


def test_a_pattern_for_one_folder_does_not_look_below_it(bucket: Bucket, tree: Path) -> None:
    bucket.put("t/a.jpg", b"")
    bucket.put("t/x/c.jpg", b"")
    assert [stat.uri for stat in matching(bucket.uri("t/*.jpg"))] == [bucket.uri("t/a.jpg")]
    assert "delimiter=%2F" in bucket.gcs.requests[-1][1]
    (tree / "x").chmod(0)
    try:
        with without_root(tree.parent):
            assert [stat.uri for stat in matching("t/*.jpg")] == ["t/a.jpg"]
    finally:
        (tree / "x").chmod(0o700)


@pytest.mark.parametrize("pattern", ["gs://*/a.jpg", "gs://test-*/a.jpg", "gs://buck[e]t/*"])
def test_there_is_no_pattern_for_buckets(bucket: Bucket, pattern: str) -> None:
    with pytest.raises(UsageError, match="no bucket"):
        list(files.glob(pattern))


def test_a_glob_asks_the_server_for_its_literal_prefix(bucket: Bucket) -> None:
    for name in ("20261119_1.jpg", "20261120_1.jpg", "20261120_x/2.jpg", "20261121_1.jpg"):
        bucket.put(name, b"")
    assert [stat.uri for stat, _ in files.glob(bucket.uri("20261120_*"))] == [bucket.uri("20261120_1.jpg")]
    assert [stat.uri for stat, _ in files.glob(bucket.uri("20261120_*/*"))] == [
        bucket.uri("20261120_1.jpg"),
        bucket.uri("20261120_x/2.jpg"),
    ]
    assert all("prefix=20261120_&" in path + "&" for _, path in bucket.gcs.requests)


def test_a_listing_is_lazy(bucket: Bucket) -> None:
    bucket.put("a.jpg", b"1")
    assert next(files.glob(bucket.uri("*")))[0].size == 1
    assert not list(files.glob(bucket.uri("none/**")))


@pytest.mark.parametrize("where", ["disk", "gcs"])
def test_write_read_open_stat_delete(where: str, tmp_path: Path, bucket: Bucket) -> None:
    uri = files.join(str(tmp_path) if where == "disk" else bucket.uri(""), "new", "folder", "a b#?%é.bin")
    data = os.urandom(100_000)
    files.write(uri, data)
    read, stat = files.read(uri)
    assert read == data
    assert stat == files.stat(uri)
    assert [stat] == list(files.walk(uri.rpartition("/")[0] + "/"))
    with files.open(uri) as file:
        assert file.read() == data
    files.delete(uri)
    files.delete(uri)
    assert not files.exists(uri)
