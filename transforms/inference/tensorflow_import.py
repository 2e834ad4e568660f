"""TensorFlow, imported late and without its start-up notes."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transforms.errors import UsageError

_lock = threading.Lock()


def tensorflow() -> Any:
    """The module ``tensorflow``. Takes seconds and 400 MB the first time, so only what runs a model asks for it.

    Its notes on what it was compiled for and on graphics cards that are not there come from C++ before its log
    levels count, and say nothing of the user's job. They are shown only if the import fails. Raises UsageError where
    it is not installed, as on workers that run bundles with OpenVINO.
    """
    with _lock:
        if "tensorflow" in sys.modules:
            return sys.modules["tensorflow"]
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            with _stderr_held_back():
                import tensorflow
        except ModuleNotFoundError as error:
            if error.name != "tensorflow":
                raise
            raise UsageError(
                "TensorFlow is not installed here, and models are staged with it: stage this one where it is, with "
                "`beamsight models stage`, and name the bundle"
            ) from error
        return tensorflow


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(before, notes.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)
