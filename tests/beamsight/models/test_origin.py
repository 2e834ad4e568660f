from __future__ import annotations

import io
import random
import re
import socket
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import saved_models
from gcs_server import Bucket
from hub_server import Answer, HubServer
from saved_models import SHARD

from beamsight.models import origin
from transforms.errors import ModelError, UsageError

NOISE = 100_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete SavedModel that tests must not change. Its archive starts with ``NOISE`` incompressible bytes."""
    folder = saved_models.save(tmp_path_factory.mktemp("origin") / "model")
    (folder / "assets" / "noise").write_bytes(random.Random(0).randbytes(NOISE))
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for proxy in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    with HubServer() as server:
        yield server


def put_folder(bucket: Bucket, folder: Path, prefix: str) -> str:
    for name, data in saved_models.contents(folder).items():
        bucket.put(f"{prefix}/{name}", data)
    return bucket.uri(prefix)


def same(folder: Path, model: Path) -> bool:
    return saved_models.contents(folder) == saved_models.contents(model)


# --- folders and archives -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "file://", "file://localhost"])
def test_a_folder_on_this_disk_is_used_in_place(model: Path, scratch: Path, prefix: str) -> None:
    assert origin.fetch(f"{prefix}{model}", scratch) == model
    assert origin.fetch(f"{prefix}{model}/", scratch) == model
    assert list(scratch.iterdir()) == []


def test_a_relative_folder(model: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    assert origin.fetch("model", scratch) == model


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_on_gs(model: Path, scratch: Path, bucket: Bucket, slash: str) -> None:
    source = put_folder(bucket, model, "models/birds")
    assert same(origin.fetch(source + slash, scratch), model)


@pytest.mark.parametrize("top", [".", "birds", "models/birds/1"])
@pytest.mark.parametrize("name", ["birds.tar.gz", "birds.tgz", "birds.tar"])
def test_an_archive_on_this_disk(model: Path, scratch: Path, tmp_path: Path, top: str, name: str) -> None:
    (tmp_path / name).write_bytes(saved_models.archive(model, top))
    assert same(origin.fetch(str(tmp_path / name), scratch), model)


@pytest.mark.parametrize("top", [".", "birds"])
def test_an_archive_on_gs(model: Path, scratch: Path, bucket: Bucket, top: str) -> None:
    bucket.put("birds.tar.gz", saved_models.archive(model, top))
    assert same(origin.fetch(bucket.uri("birds.tar.gz"), scratch), model)


def members(**contents: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../x", "model/../../x"])
def test_an_archive_that_reaches_out_of_its_folder(scratch: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / "evil.tar.gz"
    source.write_bytes(members(**{"saved_model.pb": b"", name: b"evil"}))
    with pytest.raises(ModelError, match=f"{source} holds a file that must not be unpacked .*; do not trust it"):
        origin.fetch(str(source), scratch)
    assert not list(tmp_path.rglob("x"))


def test_an_archive_with_a_link_out_of_its_folder(scratch: Path, tmp_path: Path) -> None:
    source = tmp_path / "evil.tar.gz"
    with tarfile.open(source, "w:gz") as tar:
        link = tarfile.TarInfo("saved_model.pb")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ModelError, match="holds a file that must not be unpacked"):
        origin.fetch(str(source), scratch)


def test_an_archive_of_several_models(model: Path, scratch: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.tar.gz"
    with tarfile.open(both, "w:gz") as tar:
        tar.add(model, "birds/1")
        tar.add(model, "birds/2")
    with pytest.raises(ModelError, match=r"holds several SavedModels \(birds/1, birds/2\); unpack it and pass"):
        origin.fetch(str(both), scratch)


@pytest.mark.parametrize("length", [0, 10, NOISE // 2])
def test_an_archive_that_was_cut_off(model: Path, scratch: Path, tmp_path: Path, length: int) -> None:
    source = tmp_path / "cut.tar.gz"
    source.write_bytes(saved_models.archive(model)[:length])
    with pytest.raises(ModelError, match=f"{source} cannot be unpacked .*; check that the .tar.gz is complete"):
        origin.fetch(str(source), scratch)


def test_an_archive_that_is_none(scratch: Path, tmp_path: Path) -> None:
    source = tmp_path / "page.tar.gz"
    source.write_text("<html>please log in</html>" * 100)
    with pytest.raises(ModelError, match="cannot be unpacked"):
        origin.fetch(str(source), scratch)


def test_an_archive_of_something_else(scratch: Path, tmp_path: Path) -> None:
    source = tmp_path / "photos.tar.gz"
    source.write_bytes(members(**{"a.jpg": b"a", "b.jpg": b"b"}))
    with pytest.raises(ModelError) as caught:
        origin.fetch(str(source), scratch)
    assert str(caught.value) == (
        f"{source} is not a complete SavedModel (missing: saved_model.pb); "
        "pass a complete SavedModel: a folder with saved_model.pb in it, or its .tar.gz"
    )


def test_a_missing_source(scratch: Path, tmp_path: Path, bucket: Bucket) -> None:
    for source, message in {
        f"{tmp_path}/none": "is not a folder; pass a complete SavedModel",
        f"{tmp_path}/none.tar.gz": "cannot be read: there is no file",
        bucket.uri("none"): "is not a complete SavedModel (missing: saved_model.pb)",
        bucket.uri("none.tar.gz"): "cannot be read: there is no gs://",
        "gs://no-such-bucket/none": "cannot be read: there is no gs://",
        "gs://no-such-bucket/none.tar.gz": "cannot be read: there is no gs://",
    }.items():
        with pytest.raises(ModelError, match=f"^{re.escape(f'{source} {message}')}"):
            origin.fetch(source, scratch)


def test_a_file_that_is_no_archive(scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "model.h5").touch()
    with pytest.raises(ModelError, match=r"model\.h5 is not a folder; pass a complete SavedModel: a folder with"):
        origin.fetch(str(tmp_path / "model.h5"), scratch)


@pytest.fixture
def ir(tmp_path: Path) -> Path:
    """Two files with the names of an IR."""
    for name, data in IR.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path / "b7.xml"


IR = {"b7.xml": b"<net/>", "b7.bin": b"weights"}


def test_an_ir_on_a_disk_is_used_in_place(ir: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ir.parent)
    for source in (str(ir), f"file://{ir}", "b7.xml", "./b7.xml"):
        assert origin.fetch(source, scratch) == ir
    assert list(scratch.iterdir()) == []


def test_an_ir_on_gs(scratch: Path, bucket: Bucket) -> None:
    for name, data in IR.items():
        bucket.put(f"zoo/{name}", data)
    path = origin.fetch(bucket.uri("zoo/b7.xml"), scratch)
    assert (path.name, saved_models.contents(path.parent)) == ("b7.xml", IR)


@pytest.mark.parametrize("where", ["disk", "gs"])
@pytest.mark.parametrize(("missing", "lacking"), [(["b7.bin"], "b7.bin"), (["b7.xml", "b7.bin"], "b7.xml, b7.bin")])
def test_an_ir_that_is_not_whole(
    ir: Path, scratch: Path, bucket: Bucket, where: str, missing: list[str], lacking: str
) -> None:
    for name, data in IR.items():
        bucket.put(name, data)
    for name in missing:
        (ir.parent / name).unlink()
        bucket.delete(name)
    source = str(ir) if where == "disk" else bucket.uri("b7.xml")
    with pytest.raises(ModelError) as caught:
        origin.fetch(source, scratch)
    folder = source.removesuffix("b7.xml")
    assert str(caught.value) == f"{source} is not a complete IR (missing in {folder}: {lacking}); put both files there"


def test_an_ir_on_a_host_that_does_not_exist(scratch: Path) -> None:
    with pytest.raises(UsageError, match=r"^https://zoo.invalid/b7.xml cannot be read: .*NameResolutionError"):
        origin.fetch("https://zoo.invalid/b7.xml", scratch)


def test_a_bucket_that_does_not_answer(scratch: Path, bucket: Bucket, quick_retries: object) -> None:
    bucket.gcs.faults = lambda method, path: 503
    with pytest.raises(ModelError, match=r"b7.xml cannot be read: "):
        origin.fetch(bucket.uri("b7.xml"), scratch)


@pytest.mark.parametrize(
    ("missing", "lacking"),
    [
        (["saved_model.pb"], "saved_model.pb"),
        ([SHARD], "1 of 1 variables/variables.data-*"),
        (["variables/variables.index"], "variables/variables.index"),
        (["saved_model.pb", "variables/variables.index"], "saved_model.pb, variables/variables.index"),
    ],
)
def test_a_folder_that_is_not_whole(
    model: Path, scratch: Path, bucket: Bucket, missing: list[str], lacking: str
) -> None:
    source = put_folder(bucket, model, "birds")
    for name in missing:
        bucket.delete(f"birds/{name}")
    with pytest.raises(ModelError) as caught:
        origin.fetch(source, scratch)
    assert str(caught.value).startswith(
        f"{source} is not a complete SavedModel (missing: {lacking}); pass a complete SavedModel"
    )


def test_shards_that_are_missing_are_counted(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "m" / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00001-of-00003"):
        (tmp_path / "m" / name).touch()
    with pytest.raises(ModelError, match=r"missing: 2 of 3 variables/variables.data-\*"):
        origin.fetch(str(tmp_path / "m"), scratch)


def test_a_model_without_variables_is_whole(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "saved_model.pb").touch()
    assert origin.fetch(str(tmp_path / "m"), scratch) == tmp_path / "m"


# --- TF-Hub and Kaggle ----------------------------------------------------------------------------------------------


def test_a_hub_url(model: Path, scratch: Path, hub: HubServer, hub_cache: Path) -> None:
    url = hub.put("/birds/1", Answer(saved_models.archive(model)))
    before = socket.getdefaulttimeout()
    for _ in range(2):
        folder = origin.fetch(url, scratch)
        assert folder.parent == hub_cache
        assert same(folder, model)
    assert hub.requests == ["/birds/1?tf-hub-format=compressed"]
    assert socket.getdefaulttimeout() == before


@pytest.mark.parametrize("status", [401, 403])
def test_a_hub_that_refuses(scratch: Path, hub: HubServer, status: int) -> None:
    url = hub.put("/birds/1", Answer(b"go away", status))
    with pytest.raises(ModelError) as caught:
        origin.fetch(url, scratch)
    reason = {401: "Unauthorized", 403: "Forbidden"}[status]
    assert str(caught.value) == (
        f"{url} answers {status} {reason}; Kaggle, which now hosts TF-Hub's models, refuses some networks: "
        "download the archive in a browser and stage the .tar.gz"
    )


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (500, "Internal Server Error")])
def test_a_model_that_the_hub_does_not_have(scratch: Path, hub: HubServer, status: int, reason: str) -> None:
    url = hub.put("/birds/1", Answer(b"what?", status))
    with pytest.raises(ModelError) as caught:
        origin.fetch(url, scratch)
    assert str(caught.value) == f"{url} answers {status} {reason}; check the address in a browser"


def test_a_hub_that_cannot_be_reached(scratch: Path, hub: HubServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # It does not listen.
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/birds/1"
        with pytest.raises(ModelError) as caught:
            origin.fetch(url, scratch)
    assert str(caught.value) == (
        f"{url} cannot be downloaded ([Errno 111] Connection refused); check the network, or download the model "
        "elsewhere and stage its folder or .tar.gz"
    )


def test_a_hub_that_never_answers(scratch: Path, hub: HubServer) -> None:
    url = hub.put("/birds/1", Answer(silent=True))
    before = socket.getdefaulttimeout()
    since = time.monotonic()
    with pytest.raises(ModelError, match=f"{url} cannot be downloaded .*timed out.*; check the network"):
        origin.fetch(url, scratch, timeout=0.2)
    assert time.monotonic() - since < 30
    assert socket.getdefaulttimeout() == before


def test_a_hub_that_sends_a_page(scratch: Path, hub: HubServer) -> None:
    url = hub.put("/birds/1", Answer(b"<html>please log in</html>" * 100))
    with pytest.raises(ModelError, match=f"{url} cannot be downloaded .*does not appear to be a valid module"):
        origin.fetch(url, scratch)


def test_a_hub_that_sends_links(scratch: Path, hub: HubServer) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        link = tarfile.TarInfo("saved_model.pb")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    url = hub.put("/birds/1", Answer(buffer.getvalue()))
    with pytest.raises(ModelError, match=f"{url} cannot be downloaded .*Unexpected object type"):
        origin.fetch(url, scratch)


@pytest.mark.parametrize("length", [0, 10, NOISE // 2])
def test_a_connection_that_breaks_off_leaves_nothing_behind(
    model: Path, scratch: Path, hub: HubServer, length: int
) -> None:
    whole = saved_models.archive(model)
    url = hub.put("/birds/1", Answer(whole[:length], length=len(whole)))
    with pytest.raises(ModelError, match=f"{url} cannot be downloaded"):
        origin.fetch(url, scratch)
    hub.put("/birds/1", Answer(whole))
    assert same(origin.fetch(url, scratch), model)


@pytest.mark.parametrize("url", ["http://[birds/1", "http://", "https://a b/1"])
def test_an_address_that_is_none(scratch: Path, hub_cache: Path, url: str) -> None:
    with pytest.raises(ModelError, match="cannot be downloaded"):
        origin.fetch(url, scratch)


def test_a_cache_that_cannot_be_written(
    scratch: Path, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "file" / "hub"))
    with pytest.raises(ModelError, match="cannot be downloaded"):
        origin.fetch(hub.put("/birds/1", Answer()), scratch)


@pytest.mark.parametrize("missing", ["saved_model.pb", SHARD, "variables/variables.index"])
def test_a_cache_that_was_half_downloaded(model: Path, scratch: Path, hub: HubServer, missing: str) -> None:
    url = hub.put("/birds/1", Answer(saved_models.archive(model)))
    folder = origin.fetch(url, scratch)
    (folder / missing).unlink()
    with pytest.raises(ModelError) as caught:
        origin.fetch(url, scratch)
    lacking = "1 of 1 variables/variables.data-*" if missing == SHARD else missing
    assert str(caught.value) == (
        f"{url} is not a complete SavedModel (missing: {lacking}); "
        f"if the download was cut off, remove {folder} and stage the model again"
    )


def test_a_hub_is_asked_once_by_many(model: Path, scratch: Path, hub: HubServer) -> None:
    url = hub.put("/birds/1", Answer(saved_models.archive(model)))
    origin.fetch(url, scratch)
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: origin.fetch(url, scratch), range(8)))
    assert all(same(folder, model) for folder in folders)
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    ("handle", "url"),
    [
        (
            "tensorflow/efficientnet/tensorFlow2/b7-classification/1",
            "https://www.kaggle.com/models/tensorflow/efficientnet/frameworks/TensorFlow2/variations/b7-classification"
            "/versions/1",
        ),
        (
            "google/mobilenet-v2/TensorFlow2/035-128.classification_x/12",
            "https://www.kaggle.com/models/google/mobilenet-v2/frameworks/TensorFlow2/variations"
            "/035-128.classification_x/versions/12",
        ),
    ],
)
def test_kaggle_handles(handle: str, url: str) -> None:
    found = origin._KAGGLE.fullmatch(handle)
    assert found is not None
    assert origin.kaggle_url(found) == url
    assert origin._url(handle) == url


@pytest.mark.parametrize(
    "source",
    [
        "tensorflow/efficientnet/keras/b7/1",
        "tensorflow/efficientnet/tensorFlow2/b7-classification",
        "tensorflow/efficientnet/tensorFlow2/b7-classification/latest",
        "/tensorflow/efficientnet/tensorFlow2/b7-classification/1",
        "gs://tensorflow/efficientnet/tensorFlow2/b7/1",
    ],
)
def test_what_is_no_kaggle_handle(source: str) -> None:
    assert origin._url(source) is None


def test_a_folder_that_is_called_like_a_handle(
    model: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = "me/birds/tensorflow2/small/1"
    (tmp_path / handle).parent.mkdir(parents=True)
    (tmp_path / handle).symlink_to(model)
    monkeypatch.chdir(tmp_path)
    assert same(origin.fetch(handle, scratch), model)
