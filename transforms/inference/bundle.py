"""A bundle: a folder, on a disk or gs://, with a model and ``model.json``, which says all about it.

Workers load bundles and nothing else. A bundle is known by its content hash, over its files' hashes and names, and one
whose files have other hashes is refused: loading a SavedModel runs what its graph says.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock

from transforms.errors import FetchError, ModelError, NotFound, UsageError
from transforms.inference import labels
from transforms.inference.spec import ModelSpec, Precision
from transforms.storage import files, local

MODEL_JSON = "model.json"
SAVED_MODEL = "saved_model"
LABELS = "labels.txt"
OPENVINO = "openvino"  # f32.xml and f32.bin, which bf16 runs too; int8.xml and int8.bin where they were made

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Bundle:
    """What ``model.json`` says.

    source: where the model came from, as it was given. files: path within the bundle -> sha256, 64 hex digits.
    made_with: versions of the software that staged it. checks: what was measured when a form of the model was made from
    another, by the form's precision, see ``conversion.agreement``.
    """

    spec: ModelSpec
    source: str
    files: dict[str, str]
    made_with: dict[str, str]
    checks: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """64 hex digits over the names and hashes of what the model was staged from.

        What was made from that, by whichever version of a converter, does not make it another model.
        """
        made = f"{OPENVINO}/" if self.has_saved_model else f"{OPENVINO}/int8."
        return _hash({path: digest for path, digest in self.files.items() if not path.startswith(made)})

    @property
    def files_hash(self) -> str:
        """64 hex digits over the names and hashes of all files."""
        return _hash(self.files)

    @property
    def has_saved_model(self) -> bool:
        """Whether TensorFlow can run it."""
        return any(path.startswith(f"{SAVED_MODEL}/") for path in self.files)

    def ir(self, precision: Precision) -> str | None:
        """The path of the IR for a precision, where the bundle holds it."""
        path = f"{OPENVINO}/{'int8' if precision == 'int8' else 'f32'}.xml"
        return path if path in self.files else None

    def only(self, form: str) -> Bundle:
        """Without the files of the other form. ``form`` is ``SAVED_MODEL`` or ``OPENVINO``, as an engine needs it."""
        other = {SAVED_MODEL: OPENVINO, OPENVINO: SAVED_MODEL}[form]
        return replace(
            self, files={path: made for path, made in self.files.items() if not path.startswith(f"{other}/")}
        )

    def quantized_hash(self) -> str:
        """64 hex digits over the int8 form, which depends on the pictures that it was calibrated with."""
        return _hash({path: digest for path, digest in self.files.items() if path.startswith(f"{OPENVINO}/int8.")})

    def to_json(self) -> str:
        """The text of ``model.json``."""
        values = {
            "format": _FORMAT,
            **asdict(self),
            "spec": self.spec.to_json(),
            "content_hash": self.content_hash,
        }
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, uri: str) -> Bundle:
        """The inverse of ``to_json``. Raises ModelError for what is no ``model.json`` of this version."""
        try:
            values = json.loads(text)
            version = values["format"]
            if version != _FORMAT:
                raise ModelError(f"bundle format {version} is not {_FORMAT}, this version's; stage the model again")
            spec = ModelSpec.from_json(values["spec"])
            bundle = cls(spec, values["source"], values["files"], values["made_with"], values["checks"])
            expected, actual = values["content_hash"], bundle.content_hash
        except UsageError as error:
            raise ModelError(f"{uri}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{uri} is not a whole {MODEL_JSON} ({error!r}); stage the model again") from error
        _require(actual, expected, uri)
        return bundle


def read(uri: str) -> Bundle:
    """A bundle's folder -> what it says of itself. Raises ModelError where there is no bundle."""
    path = files.join(uri, MODEL_JSON)
    try:
        data, _ = files.read(path)
    except NotFound as error:
        raise ModelError(f"{uri} is no bundle: there is no {path}; make one with `beamsight models stage`") from error
    except FetchError as error:
        raise ModelError(f"bundle {uri} cannot be read: {error}") from error
    return Bundle.from_json(data, path)


def write(bundle: Bundle, folder: Path, to: str) -> None:
    """Put a folder that holds the files of ``bundle`` at ``to``, as a bundle that is seen whole or not at all.

    ``model.json`` makes it one and goes last; what a killed upload left behind is put over by the next.
    """
    for path in sorted(bundle.files):
        files.write(files.join(to, path), (folder / path).read_bytes())
    files.write(files.join(to, MODEL_JSON), bundle.to_json().encode())


def localize(uri: str, content_hash: str, *, quantized: str | None = None, form: str | None = None) -> Path:
    """A bundle -> its folder on this disk, as it was when its hash was ``content_hash``.

    One on gs:// is copied once a machine, under a lock against the other processes, and its files' hashes are
    checked. One that lies on this disk is used where it is. Raises ModelError.
    quantized: what its int8 form's hash must be too. form: ``SAVED_MODEL`` or ``OPENVINO`` leaves the other one out.
    """
    bundle = read(uri)
    _require(bundle.content_hash, content_hash, uri)
    if quantized is not None:
        _require(bundle.quantized_hash(), quantized, f"{uri}, int8")
    if files.is_local(uri):
        return Path(local.path_of(uri))
    if form is not None:
        bundle = bundle.only(form)
    target = cache_dir() / "bundles" / bundle.files_hash
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                copy = Path(scratch, "bundle")
                try:
                    download(uri, sorted(bundle.files), copy)
                except FetchError as error:
                    raise ModelError(f"bundle {uri} cannot be copied to this machine: {error}") from error
                verify(copy, bundle, uri)
                copy.rename(target)
    return target


def download(uri: str, paths: list[str], to: Path) -> None:
    """Copy files below a folder at ``uri`` to a folder on this disk, a piece at a time."""
    for path in paths:
        target = to / path
        if ".." in target.parts or not target.is_relative_to(to):
            raise ModelError(f"{uri} names a file {path!r} outside of itself; do not trust it")
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.open(files.join(uri, path)) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)


def verify(folder: Path, bundle: Bundle, uri: str | None = None) -> None:
    """Raises ModelError for a file that is missing or is not what ``model.json`` says.

    uri: what the message calls the bundle, where ``folder`` is a copy of it.
    """
    uri = uri or str(folder)
    for path in bundle.files:
        if not (folder / path).is_file():
            raise ModelError(f"bundle {uri} lacks {path}; stage the model again")
    with ThreadPoolExecutor() as pool:
        for path, actual in zip(bundle.files, pool.map(sha256, map(folder.joinpath, bundle.files)), strict=True):
            _require(actual, bundle.files[path], files.join(uri, path))


def sha256(path: Path) -> str:
    """64 hex digits over a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while piece := source.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def cache_dir() -> Path:
    """Where this machine keeps bundles: $BEAMSIGHT_CACHE, else ``beamsight`` in the user's cache folder."""
    own = os.environ.get("BEAMSIGHT_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "beamsight")


def load_labels(folder: Path, spec: ModelSpec) -> tuple[labels.Label, ...]:
    """The classes of a bundle on this disk; none for an embedder."""
    if spec.task == "embed":
        return ()
    return labels.parse((folder / LABELS).read_text(encoding="utf-8"), str(folder / LABELS))


def _hash(digests: Mapping[str, str]) -> str:
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _require(actual: str, expected: str, what: str) -> None:
    if actual != expected:
        raise ModelError(
            f"{what}: its hash is {actual[:16]}… where {expected[:16]}… is expected; it was changed or damaged: "
            "stage the model again"
        )
