"""Decoding in a child process: the same answers, and a crash or too much memory end the child only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import fragile_decoder
import numpy as np
import pytest

from beamsight.models import registry
from transforms.errors import Corrupt, DecodeError, Fatal, Stopped
from transforms.imaging import drawn, opening
from transforms.imaging.isolated import IsolatedDecoder
from transforms.imaging.opening import Opened

SPECS = {"p": registry.get("efficientnet-b7", "classify"), "e": registry.get("efficientnet-b6", "embed")}
MAX_PIXELS = 10_000_000
PHOTO = drawn.encode(drawn.draw(1, 700, 650))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedDecoder]:
    with pytest.MonkeyPatch.context() as patch, IsolatedDecoder(MAX_PIXELS) as fragile:
        fragile_decoder.install(tmp_path_factory.mktemp("site") / "packages", patch)
        yield fragile


def open_with(decoder: IsolatedDecoder, data: bytes) -> Opened:
    return decoder(data, SPECS, MAX_PIXELS)


def require_same_as_here(decoder: IsolatedDecoder) -> None:
    there, here = open_with(decoder, PHOTO), opening.open_image(PHOTO, SPECS, MAX_PIXELS)
    assert (there.width, there.height, there.tally.keys()) == (here.width, here.height, here.tally.keys())
    for table in SPECS:
        np.testing.assert_array_equal(there.pixels[table], here.pixels[table])


def test_an_image_is_the_same_as_in_this_process(decoder: IsolatedDecoder) -> None:
    require_same_as_here(decoder)


def test_an_error_is_the_same_as_in_this_process(decoder: IsolatedDecoder) -> None:
    with pytest.raises(DecodeError) as there:
        open_with(decoder, PHOTO[:300])
    with pytest.raises(DecodeError) as here:
        opening.open_image(PHOTO[:300], SPECS, MAX_PIXELS)
    assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))
    assert not there.value.retryable


def test_a_crash_ends_only_the_child(decoder: IsolatedDecoder) -> None:
    with pytest.raises(Fatal, match="SIGABRT") as caught:
        open_with(decoder, PHOTO + b"abort here")
    assert not caught.value.retryable
    require_same_as_here(decoder)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits the memory of a process")
def test_too_much_memory_is_refused(decoder: IsolatedDecoder) -> None:
    with pytest.raises(Fatal, match="memory") as caught:
        open_with(decoder, PHOTO + b"allocate here")  # 2 GB, where 400 MB are allowed
    assert not caught.value.retryable
    require_same_as_here(decoder)


def test_a_child_that_is_stopped_blames_no_image(decoder: IsolatedDecoder) -> None:
    with pytest.raises(Stopped):
        open_with(decoder, PHOTO + b"stop here")
    require_same_as_here(decoder)


def test_a_closed_decoder_starts_no_child() -> None:
    with IsolatedDecoder(MAX_PIXELS) as decoder:
        pass
    with pytest.raises(Stopped):
        open_with(decoder, PHOTO)


def test_a_child_that_cannot_start_blames_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(7)", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with IsolatedDecoder(MAX_PIXELS) as decoder, pytest.raises(RuntimeError, match="exit code 7"):
        open_with(decoder, PHOTO)


def test_errors_of_images_can_be_sent() -> None:
    import pickle

    error = Corrupt("bad", version="3")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.version, copy.retryable) == (Corrupt, "bad", "3", False)
