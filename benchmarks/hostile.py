"""Measure the peak memory and the CPU time of files that ask for far more than their size suggests.

Each file is drawn, then decoded at the default limits in a process of its own. The memory is the peak above the idle
process. The files are those of the tests (``tests/hostile_images.py``).
"""

from __future__ import annotations

import sys

from benchmarks import common
from benchmarks.common import Figures

sys.path.insert(0, str(common.ROOT / "tests"))
import hostile_images


def main() -> None:
    """Print one row for each file."""
    arguments = common.parser(__doc__).parse_args()
    figures = Figures(arguments)
    results = {}
    for name, draw in hostile_images.CORPUS.items():
        data = draw()
        measured = hostile_images.measure([(name, data)])[name]
        figures.add(name, "size of the file", len(data) / 1e6, "MB")
        figures.add(name, "peak memory", measured["peak"] / 1e6, "MB")
        figures.add(name, "CPU time", measured["seconds"], "s")
        results[name] = measured["result"]
    figures.write(results=results)


if __name__ == "__main__":
    main()
