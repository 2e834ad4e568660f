"""Readers of images and of shards that abort their process, for child processes.

No image is known that crashes the decoders in use. Damaged Parquet files crash pyarrow, but each version at others.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_POISON = b"abort here"

# Python imports this module when it starts.
_SITECUSTOMIZE = f"""
import os
from transforms.imaging import decode

decode_image = decode.decode_image

def fragile(data, *limits, **named):
    if data.endswith({_POISON!r}):
        os.abort()
    if data.endswith(b"allocate here"):
        bytearray(1 << 31)
    if data.endswith(b"stop here"):
        os.kill(os.getpid(), 15)
    return decode_image(data, *limits, **named)

decode.decode_image = fragile

from transforms.shards.tar import TarShard
members = TarShard.members

def fragile_members(shard):
    if "abort" in shard._source.uri:
        os.abort()
    return members(shard)

TarShard.members = fragile_members
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the decoder of all child processes fragile."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def poison(image: Path) -> Path:
    """Change an image so that the fragile decoder aborts."""
    image.write_bytes(image.read_bytes() + _POISON)
    return image
