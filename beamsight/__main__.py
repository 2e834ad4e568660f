"""The command ``beamsight``, and ``python -m beamsight``.

The packages beside this one have common names. A user may have a ``transforms.py`` too, which Python finds first with
``PYTHONPATH=.``. So the command puts the place of this package before all others. Where another distribution has
overwritten one of the packages all the same, the command says which.

Modules that Python has not loaded yet are imported where an interrupt (Ctrl-C) is handled.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

# A module of ours in each package, which a package of somebody else does not have.
_OURS = {"transforms": "errors.py", "pipelines": "catalog.py", "runners": "cli/app.py"}

_RUN_FAILED, _INTERRUPTED = 3, 130


def main() -> None:
    """Run the command and exit. An error that nothing else caught ends it with one line and exit code 3."""
    try:
        import importlib.util
        from pathlib import Path

        _open_streams()
        here = Path(__file__).resolve().parents[1]
        sys.path.insert(0, str(here))
        for name, module in _OURS.items():
            found = importlib.util.find_spec(name)
            if found is None or not Path(found.origin or "").resolve().parent.joinpath(module).is_file():
                print(_explain(name, found.origin if found else None), file=sys.stderr)
                sys.exit(_RUN_FAILED)
        from runners.cli import app

        app.entry()
    except KeyboardInterrupt:
        print("beamsight: interrupted", file=sys.stderr)
        os._exit(_INTERRUPTED)
    except Exception as error:
        if "--verbose" in sys.argv:
            sys.excepthook(type(error), error, error.__traceback__)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"beamsight: cannot start: {text}; add --verbose for the traceback", file=sys.stderr)
        sys.exit(_RUN_FAILED)


class _Unfailing(io.FileIO):
    """A file to which every write succeeds. What cannot be written, for example on a full disk, is lost."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _open_streams() -> None:
    """Open the standard streams that are closed, and let no message stop the command.

    The next file that is opened would otherwise get the number of a closed stream, and libraries write to number 2.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            os.set_inheritable(number, True)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # A name of a file may not be UTF-8.
    messages = io.BufferedWriter(_Unfailing(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(messages, sys.stderr.encoding, "backslashreplace", line_buffering=True)


def _explain(name: str, place: str | None) -> str:
    from importlib import metadata

    owners = {each.name for each in metadata.distributions() for file in each.files or () if file.parts[0] == name}
    others = sorted(owners - {"beamsight"})
    whose = f"belongs to {' and '.join(others)}" if others else f"is {place}" if place else "is missing"
    return (
        f"beamsight: the package {name} {whose}, and not to beamsight; install beamsight in an environment of its own"
    )


if __name__ == "__main__":
    main()
