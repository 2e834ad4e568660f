from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import saved_models
from gcs_server import Bucket

from transforms.errors import ModelError
from transforms.inference import bundle
from transforms.inference.bundle import Bundle
from transforms.inference.labels import Label
from transforms.inference.spec import ModelSpec
from transforms.storage import files

SPEC = ModelSpec(name="birds", task="classify", size=8, width=2, output="probabilities", value_range=(-1.0, 1.0))
FILES = {
    "labels.txt": b"owl\nheron\n",
    "saved_model/saved_model.pb": b"a graph",
    "saved_model/variables/variables.index": bytes(range(256)),
    "saved_model/variables/variables.data-00000-of-00001": b"x" * 3_000_000,  # three pieces of a copy
}
HASHES = {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}
MADE = Bundle(SPEC, "gs://models/birds", HASHES, {"beamsight": "0.1.0", "tensorflow": "2.21.0"}, {"f32": {"top1": 1.0}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a bundle, without its ``model.json``."""
    for path, data in FILES.items():
        (tmp_path / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / path).write_bytes(data)
    return tmp_path / "files"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BEAMSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bundles"


@pytest.fixture
def remote(folder: Path, bucket: Bucket) -> str:
    """The bundle on gs://, and no request so far."""
    uri = bucket.uri("models/birds")
    bundle.write(MADE, folder, uri)
    bucket.gcs.reset()
    return uri


def left_over(cache: Path) -> list[str]:
    """What lies in the cache, without the locks."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_model_json() -> None:
    values = json.loads(MADE.to_json())
    assert len(values.pop("hash")) == 64
    assert values == {
        "format": 1,
        "spec": SPEC.to_json(),
        "source": "gs://models/birds",
        "files": HASHES,
        "made_with": {"beamsight": "0.1.0", "tensorflow": "2.21.0"},
        "checks": {"f32": {"top1": 1.0}},
        "content_hash": MADE.content_hash,
    }
    assert Bundle.from_json(MADE.to_json(), "model.json") == MADE
    assert Bundle.from_json(MADE.to_json().encode(), "model.json") == MADE


def test_the_content_hash_is_over_what_sha256sum_prints() -> None:
    lines = "".join(f"{HASHES[path]}  {path}\n" for path in sorted(HASHES))
    assert MADE.content_hash == hashlib.sha256(lines.encode()).hexdigest()


def test_the_content_hash_is_over_names_and_bytes_and_nothing_else() -> None:
    reordered = replace(MADE, files=dict(reversed(HASHES.items())))
    assert replace(reordered, source="elsewhere", made_with={}).content_hash == MADE.content_hash
    renamed = {path.replace("labels", "names"): digest for path, digest in HASHES.items()}
    changed = HASHES | {"labels.txt": "0" * 64}
    fewer = {path: digest for path, digest in HASHES.items() if path != "labels.txt"}
    hashes = {replace(MADE, files=files_).content_hash for files_ in (HASHES, renamed, changed, fewer)}
    assert len(hashes) == 4


IR = {f"openvino/f32.{suffix}": digit * 64 for suffix, digit in (("xml", "1"), ("bin", "2"))}
INT8 = {f"openvino/int8.{suffix}": digit * 64 for suffix, digit in (("xml", "3"), ("bin", "4"))}


def test_converted_forms_do_not_change_the_content_hash() -> None:
    more = [replace(MADE, files=HASHES | added) for added in (IR, INT8, IR | INT8)]
    assert {made.content_hash for made in more} == {MADE.content_hash}
    assert len({made.files_hash for made in [MADE, *more]}) == 4
    assert MADE.files_hash == MADE.content_hash


def test_what_a_bundle_without_a_saved_model_was_staged_from_is_its_ir() -> None:
    labels = {"labels.txt": HASHES["labels.txt"]}
    first, other = (replace(MADE, files=labels | {**IR, "openvino/f32.bin": digit * 64}) for digit in "25")
    assert first.content_hash != other.content_hash
    assert replace(first, files=first.files | INT8).content_hash == first.content_hash


def test_forms_of_a_bundle() -> None:
    assert (MADE.has_saved_model, MADE.ir("f32"), MADE.ir("bf16"), MADE.ir("int8")) == (True, None, None, None)
    own = replace(MADE, files=IR)
    f32, int8 = "openvino/f32.xml", "openvino/int8.xml"
    assert (own.has_saved_model, own.ir("f32"), own.ir("bf16"), own.ir("int8")) == (False, f32, f32, None)
    assert replace(MADE, files=IR | INT8).ir("int8") == int8


def test_the_int8_form_has_a_hash_of_its_own() -> None:
    made = replace(MADE, files=HASHES | IR | INT8)
    assert made.quantized_hash() == replace(MADE, files=INT8).quantized_hash()
    assert made.quantized_hash() != replace(made, files=made.files | {"openvino/int8.bin": "5" * 64}).quantized_hash()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "x/model.json: bundle format 2 is not supported, only 1 is; stage the model again"),
        ({"content_hash": "0" * 64}, "its hash is .*, but 0000000000000000… is expected; it was changed or damaged"),
        ({"files": HASHES | {"labels.txt": "1" * 64}}, "x/model.json: its hash is .*; stage the model again"),
        ({"files": HASHES | {"more.txt": "1" * 64}}, "x/model.json: its hash is"),
        ({"spec": SPEC.to_json() | {"size": 299}}, "x/model.json: its hash is .*; stage the model again"),
        ({"spec": SPEC.to_json() | {"crop": "pad"}}, "x/model.json: its hash is"),
        ({"source": "gs://models/owls"}, "x/model.json: its hash is"),
        ({"checks": {}}, "x/model.json: its hash is"),
        ({"files": HASHES | {"openvino/f32.xml": "1" * 64}}, "x/model.json: its hash is"),
        ({"hash": "0" * 64}, "x/model.json: its hash is"),
        ({"files": [1, 2]}, "x/model.json is not a complete model.json"),
        ({"spec": None}, "x/model.json is not a complete model.json"),
        ({"spec": []}, "x/model.json is not a complete model.json"),
        ({"spec": {"name": "birds"}}, "x/model.json is not a complete model.json"),
        ({"spec": SPEC.to_json() | {"size": -3}}, "x/model.json: model birds: input size -3 is not within"),
        ({"spec": SPEC.to_json() | {"patch": 16}}, r"the model's specification has unknown fields \['patch'\]"),
    ],
)
def test_a_changed_model_json(changes: dict[str, Any], message: str) -> None:
    text = json.dumps(json.loads(MADE.to_json()) | changes)
    with pytest.raises(ModelError, match=message):
        Bundle.from_json(text, "x/model.json")


def test_a_model_json_that_was_only_formatted_anew() -> None:
    values = dict(reversed(json.loads(MADE.to_json()).items()))
    assert Bundle.from_json(json.dumps(values, indent=8), "x/model.json") == MADE


def test_a_model_json_of_an_earlier_version_has_no_hash() -> None:
    values = json.loads(MADE.to_json())
    del values["hash"]
    assert Bundle.from_json(json.dumps(values), "x/model.json") == MADE


@pytest.mark.parametrize("key", ["format", "spec", "source", "files", "made_with", "checks", "content_hash"])
def test_a_model_json_that_lacks_something(key: str) -> None:
    values = json.loads(MADE.to_json())
    del values[key]
    with pytest.raises(
        ModelError, match=f"x/model.json is not a complete model.json .*'{key}'.*; stage the model again"
    ):
        Bundle.from_json(json.dumps(values), "x/model.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", MADE.to_json()[:-20], b"\xff\xfe"])
def test_an_invalid_model_json(text: str | bytes) -> None:
    with pytest.raises(ModelError, match=r"x/model.json is not a complete model\.json"):
        Bundle.from_json(text, "x/model.json")


def test_write_and_read_on_a_disk(folder: Path, tmp_path: Path) -> None:
    to = tmp_path / "new" / "bundle"
    bundle.write(MADE, folder, str(to))
    assert saved_models.contents(to) == FILES | {"model.json": MADE.to_json().encode()}
    assert bundle.read(str(to)) == bundle.read(f"file://{to}") == MADE


def test_write_and_read_on_gs(remote: str, bucket: Bucket) -> None:
    stored = {name.removeprefix("models/birds/"): bucket.get(name) for name in bucket.names()}
    assert stored == FILES | {"model.json": MADE.to_json().encode()}
    assert bundle.read(remote) == bundle.read(f"{remote}/") == MADE


def test_model_json_goes_last(folder: Path, bucket: Bucket) -> None:
    bundle.write(MADE, folder, bucket.uri("birds"))
    generations = {name: int(files.stat(bucket.uri(name)).version) for name in bucket.names()}
    assert max(generations, key=lambda name: generations[name]) == "birds/model.json"


def test_no_bundle_on_a_disk(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        bundle.read(str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path} is not a bundle: there is no {tmp_path}/model.json; create a bundle with `beamsight models stage`"
    )


def test_no_bundle_on_gs(bucket: Bucket) -> None:
    with pytest.raises(
        ModelError, match=r"^gs://.*/none is not a bundle: there is no gs://.*/none/model.json; create a bundle"
    ):
        bundle.read(bucket.uri("none"))


def test_a_bundle_without_read_permission(remote: str, bucket: Bucket) -> None:
    bucket.gcs.faults = lambda method, path: 403
    with pytest.raises(ModelError, match=f"bundle {remote} cannot be read: .*roles/storage.objectViewer"):
        bundle.read(remote)


@pytest.mark.parametrize("prefix", ["", "file://", "file://localhost"])
def test_localize_uses_a_local_bundle_in_place(folder: Path, cache: Path, prefix: str) -> None:
    bundle.write(MADE, folder, str(folder))
    assert bundle.localize(f"{prefix}{folder}", MADE.content_hash) == folder
    assert not cache.exists()


def test_localize_copies_from_gs(remote: str, cache: Path) -> None:
    local = bundle.localize(remote, MADE.content_hash)
    assert local == cache / MADE.content_hash
    assert saved_models.contents(local) == FILES
    assert left_over(cache) == [MADE.content_hash]


def test_localize_copies_a_new_version_of_a_bundle(remote: str, folder: Path, cache: Path) -> None:
    """Same model, another IR: jobs that run go on with the old files."""
    old = bundle.localize(remote, MADE.content_hash)
    files_ = {path: hashlib.sha256(b"new").hexdigest() for path in IR}
    for path in files_:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(b"new")
    more = replace(MADE, files=HASHES | files_)
    bundle.write(more, folder, remote)
    new = bundle.localize(remote, MADE.content_hash)
    assert (old, new) == (cache / MADE.files_hash, cache / more.files_hash)
    assert saved_models.contents(old) == FILES
    assert saved_models.contents(new) == FILES | dict.fromkeys(IR, b"new")


def with_ir(folder: Path, remote: str) -> bundle.Bundle:
    """The bundle at ``remote`` with an IR in two forms."""
    contents = {path: path.encode() for path in (*IR, "openvino/int8.bin", "openvino/int8.xml")}
    for path, data in contents.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    more = replace(MADE, files=HASHES | {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()})
    bundle.write(more, folder, remote)
    return more


@pytest.mark.parametrize(("form", "other"), [("saved_model", "openvino"), ("openvino", "saved_model")])
def test_localize_copies_what_the_engine_needs(
    remote: str, bucket: Bucket, folder: Path, cache: Path, form: str, other: str
) -> None:
    made = with_ir(folder, remote)
    local = bundle.localize(remote, MADE.content_hash, form=form)
    assert saved_models.contents(local).keys() == {path for path in made.files if not path.startswith(f"{other}/")}
    assert not any(f"/{other}/" in path for path in bucket.gcs.media())
    assert saved_models.contents(bundle.localize(remote, MADE.content_hash)).keys() == made.files.keys()


def test_localize_refuses_another_int8_form(remote: str, folder: Path, cache: Path) -> None:
    made = with_ir(folder, remote)
    bundle.localize(remote, MADE.content_hash, quantized=made.quantized_hash())
    with pytest.raises(ModelError, match=f"{remote}, int8: its hash is {made.quantized_hash()[:16]}…, but 99999999"):
        bundle.localize(remote, MADE.content_hash, quantized="9" * 64)


def test_localize_copies_once(remote: str, bucket: Bucket, cache: Path) -> None:
    bundle.localize(remote, MADE.content_hash)
    bucket.gcs.requests.clear()
    bundle.localize(remote, MADE.content_hash)
    assert [path for path in bucket.gcs.media() if "model.json" not in path] == []


def graphs(bucket: Bucket) -> int:
    """How often the graph was downloaded."""
    return sum("saved_model.pb" in path for path in bucket.gcs.media())


def test_localize_copies_once_for_many_threads(remote: str, bucket: Bucket, cache: Path) -> None:
    bucket.gcs.delay = 0.02
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: bundle.localize(remote, MADE.content_hash), range(4)))
    assert found == [cache / MADE.content_hash] * 4
    assert saved_models.contents(found[0]) == FILES
    assert graphs(bucket) == 1


def test_localize_copies_once_for_many_processes(remote: str, bucket: Bucket, cache: Path) -> None:
    bucket.gcs.delay = 0.1
    code = "import sys; from transforms.inference import bundle; print(bundle.localize(sys.argv[1], sys.argv[2]))"
    command = [sys.executable, "-W", "ignore", "-c", code, remote, MADE.content_hash]
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": root}
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    done = [(*process.communicate(timeout=120), process.returncode) for process in started]
    assert done == [(f"{cache / MADE.content_hash}\n", "", 0)] * 4
    assert saved_models.contents(cache / MADE.content_hash) == FILES
    assert graphs(bucket) == 1


def test_localize_refuses_another_bundle_than_the_one_asked_for(remote: str, folder: Path, cache: Path) -> None:
    bundle.write(MADE, folder, str(folder))
    for uri in (remote, str(folder)):
        with pytest.raises(ModelError, match=f"{uri}: its hash is {MADE.content_hash[:16]}…, but 9999999999999999… is"):
            bundle.localize(uri, "9" * 64)
    assert not cache.exists()


@pytest.mark.parametrize("path", ["saved_model/saved_model.pb", "labels.txt"])
def test_a_damaged_download_leaves_nothing_behind(remote: str, bucket: Bucket, cache: Path, path: str) -> None:
    bucket.put(f"models/birds/{path}", b"changed")
    with pytest.raises(ModelError, match=f"^{remote}/{path}: its hash is .* it was changed or damaged; stage the"):
        bundle.localize(remote, MADE.content_hash)
    assert left_over(cache) == []

    bucket.put(f"models/birds/{path}", FILES[path])
    assert saved_models.contents(bundle.localize(remote, MADE.content_hash)) == FILES


def test_a_file_that_is_missing_leaves_nothing_behind(remote: str, bucket: Bucket, cache: Path) -> None:
    bucket.delete("models/birds/saved_model/saved_model.pb")
    with pytest.raises(
        ModelError, match=f"bundle {remote} cannot be copied to this machine: there is no {remote}/saved"
    ):
        bundle.localize(remote, MADE.content_hash)
    assert left_over(cache) == []


def test_a_download_that_breaks_off_leaves_nothing_behind(
    remote: str, bucket: Bucket, cache: Path, quick_retries: object
) -> None:
    bucket.gcs.faults = lambda method, path: 503 if "variables.index" in path else None
    with pytest.raises(ModelError, match=f"bundle {remote} cannot be copied to this machine: .*503"):
        bundle.localize(remote, MADE.content_hash)
    assert left_over(cache) == []


@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/tmp/evil"])
def test_names_outside_of_the_bundle_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(
        ModelError, match=r"gs://bucket/birds names the file '.*evil' outside its own folder; do not trust"
    ):
        bundle.download("gs://bucket/birds", [path], tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_verify(folder: Path) -> None:
    bundle.verify(folder, MADE)

    (folder / "labels.txt").write_bytes(b"heron\nowl\n")
    with pytest.raises(ModelError, match=f"^{folder}/labels.txt: its hash is .* it was changed or damaged"):
        bundle.verify(folder, MADE)

    (folder / "labels.txt").unlink()
    with pytest.raises(ModelError, match=f"^bundle {folder} lacks labels.txt; stage the model again"):
        bundle.verify(folder, MADE)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert bundle.sha256(tmp_path / "empty") == hashlib.sha256().hexdigest()
    (tmp_path / "large").write_bytes(b"ab" * 700_000)
    assert bundle.sha256(tmp_path / "large") == hashlib.sha256(b"ab" * 700_000).hexdigest()


@pytest.mark.parametrize(
    ("own", "users", "expected"),
    [
        ("/data/cache", "/home/me/.xdg", "/data/cache"),
        (None, "/home/me/.xdg", "/home/me/.xdg/beamsight"),
        (None, None, "/home/me/.cache/beamsight"),
        ("", "", "/home/me/.cache/beamsight"),
    ],
)
def test_cache_dir(own: str | None, users: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in (("BEAMSIGHT_CACHE", own), ("XDG_CACHE_HOME", users)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert bundle.cache_dir() == Path(expected)


def test_load_labels(folder: Path) -> None:
    assert bundle.load_labels(folder, SPEC) == (Label(None, "owl"), Label(None, "heron"))
    assert bundle.load_labels(folder, replace(SPEC, task="embed", output="features")) == ()
