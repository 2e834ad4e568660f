"""Pillow, warnings and logging belong to the whole process: decoding leaves them as other code has set them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import LOSSLESS, LOSSY, chunk, png, sample, tiff
from PIL import Image, PngImagePlugin

from transforms.imaging import opening
from transforms.inference.spec import ModelSpec

SPEC = ModelSpec("m", "classify", 32, 10, "probabilities")
ODD = {
    "png of large text": png(1, 1, 8, 0, b"\0\x07", chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2 << 20)))),
    "png of broken animation": png(1, 1, 8, 0, b"\0\x07", chunk(b"acTL", struct.pack(">2I", 0, 0))),
    "tiff of broken pixels": tiff({259: 8, 258: 8}, b"\x07\xff" * 50, 8, 8),
    "tiff of too many samples": tiff({277: 100}, bytes(100), 8, 8),
}

CHILD = """
import ctypes, importlib, json, logging, pkgutil, sys, warnings
from pathlib import Path
import apache_beam, numpy, pillow_heif  # which add filters of their own
from PIL import Image, ImageCms, _imaging

Image.init()

def handler():
    library = ctypes.CDLL(_imaging.__file__)
    library.TIFFSetErrorHandler.argtypes = [ctypes.c_void_p]
    library.TIFFSetErrorHandler.restype = ctypes.c_void_p
    value = library.TIFFSetErrorHandler(None)
    library.TIFFSetErrorHandler(value)
    return value

def state():
    values = {"warnings": repr(warnings.filters), "root": repr([logging.root.level, logging.root.handlers])}
    values["libtiff"] = repr(handler())
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.split(".")[0] in ("PIL", "pillow_heif"):
            values[f"logger {name}"] = repr([logger.level, logger.handlers, logger.filters, logger.disabled])
    for name in before_modules:
        for key, value in vars(sys.modules[name]).items():
            values[f"{name}.{key}"] = repr(value)
    return values

before_modules = [name for name in sys.modules if name.split(".")[0] in ("PIL", "pillow_heif")]
before = state()
import transforms.imaging
for module in pkgutil.iter_modules(transforms.imaging.__path__, "transforms.imaging."):
    importlib.import_module(module.name)
from transforms.errors import DecodeError
from transforms.imaging import decode

results = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        results[path.name] = decode.decode_image(path.read_bytes()).width
    except DecodeError as error:
        results[path.name] = type(error).__name__
after = state()
changed = {key: [before.get(key), after.get(key)] for key in before | after if before.get(key) != after.get(key)}
print(json.dumps({"changed": changed, "results": results, "limit": Image.MAX_IMAGE_PIXELS}))
"""


def test_decoding_changes_nothing_for_the_process(tmp_path: Path) -> None:
    for name in (*LOSSLESS, *LOSSY):
        (tmp_path / name).write_bytes(sample(name))
    for name, data in ODD.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    printed = json.loads(done.stdout)
    assert printed["changed"] == {}
    assert printed["limit"]  # Pillow's own
    assert printed["results"] == {
        **dict.fromkeys(LOSSLESS, 48),
        **dict.fromkeys(LOSSY, 96),
        "png of large text": 1,
        "png of broken animation": 1,
        "tiff of broken pixels": "Corrupt",
        "tiff of too many samples": "Corrupt",
    }
    assert done.stderr == ""


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_limits_that_other_code_sets_are_not_applied(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sample(name)
    want = opening.open_image(data, {"t": SPEC}, 1_000_000).pixels["t"]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1)
    np.testing.assert_array_equal(opening.open_image(data, {"t": SPEC}, 1_000_000).pixels["t"], want)
