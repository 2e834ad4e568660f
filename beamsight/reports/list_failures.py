"""Print all failures of a run: ``python -m beamsight.reports.list_failures OUTPUT RUN_ID``.

Each line contains the URI, stage, error and message, separated by tabs. The summary of a run names this command.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Print all failures of a run.

    Args:
        arguments: The output and the run ID.

    Returns:
        The exit code: 0, or 2 if there is no such run or the table cannot be read.
    """
    # Google's libraries announce at every start which Python they will not support next year.
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    from beamsight.reports import failures
    from beamsight.text import printable
    from transforms.errors import BeamsightError
    from transforms.storage import files

    if len(arguments) != 2:
        sys.stderr.write("usage: python -m beamsight.reports.list_failures OUTPUT RUN_ID\n")
        return 2
    output, run_id = arguments
    try:
        for row in failures.list_all(files.absolute(output), run_id):
            sys.stdout.write("\t".join(printable(row[name]) for name in ("uri", "stage", "error", "message")) + "\n")
        sys.stdout.flush()
    except BeamsightError as error:
        sys.stderr.write(f"beamsight: {error}\n")
        return 2
    except BrokenPipeError:  # The reader of the pipe, such as `head`, has closed it.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    # The current folder may contain a transforms.py of the user, which Python would import instead of ours.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main(sys.argv[1:]))
