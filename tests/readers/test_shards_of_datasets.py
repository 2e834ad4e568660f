"""Parquet files that Hugging Face datasets writes, in the environment that ``make readers`` creates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pictures import sample
from shard_files import content

_WRITE = """
import sys
from pathlib import Path
import datasets
first, second = sys.argv[2:]
features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
data = {"image": [{"bytes": Path(first).read_bytes(), "path": None}, second], "label": [0, 1]}
datasets.Dataset.from_dict(data, features).to_parquet(sys.argv[1])
"""


def test_datasets_writes_what_is_read(tmp_path: Path) -> None:
    python = Path(sys.prefix) / "readers" / "python" / "bin" / "python"
    if not python.exists():
        pytest.skip("no environment for python: make readers")
    image = sample("interlaced gif")
    names = [str(tmp_path / "embedded.gif"), str(tmp_path / "named.gif")]  # datasets stores a path without its bytes
    for name in names:
        Path(name).write_bytes(image)
    shard = tmp_path / "train-00000-of-00001.parquet"
    subprocess.run([python, "-c", _WRITE, shard, *names], check=True, env={"HOME": str(tmp_path)})
    found = content(shard)
    assert found.images == {"0": image}
    assert found.faults.keys() == {"1"}
    assert f"its path is {names[1]!r}, and only bytes are read" in found.faults["1"]
