"""Importing beamsight is fast, and changes nothing in the process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import beamsight

LIMIT = 0.3  # seconds of CPU time

CHILD = """
import gc, json, locale, logging, os, signal, sys, threading, time, warnings

def state():
    return {
        "warnings": [repr(entry) for entry in warnings.filters],
        "loggers": {name: repr(logger) for name, logger in logging.root.manager.loggerDict.items()},
        "root logger": [logging.root.level, list(map(repr, logging.root.handlers)), logging.root.manager.disable],
        "log records": [logging.raiseExceptions, repr(logging.getLogRecordFactory()), repr(logging.getLoggerClass())],
        "signals": {str(number): repr(signal.getsignal(number)) for number in signal.valid_signals()},
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "finders": [list(map(repr, sys.meta_path)), list(map(repr, sys.path_hooks))],
        "hooks": [repr(sys.excepthook), repr(sys.displayhook), repr(threading.excepthook), repr(sys.unraisablehook)],
        "threads": threading.active_count(),
        "streams": [repr(sys.stdin), repr(sys.stdout), repr(sys.stderr)],
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold(), gc.isenabled()],
        "locale": locale.setlocale(locale.LC_ALL),
        "files": sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else [],
    }

before, modules = state(), set(sys.modules)
start = time.process_time()
import beamsight
seconds = time.process_time() - start
after = state()
changed = [name for name in before if before[name] != after[name]]
listed = dir(beamsight), beamsight.__all__, beamsight.__doc__  # what help() and editors ask for
print(json.dumps([seconds, sorted(set(sys.modules) - modules), changed]))
"""


@pytest.fixture(scope="module")
def measured() -> list[tuple[float, list[str], list[str]]]:
    """Seconds, new modules, and what changed, in some processes of their own."""
    command = [sys.executable, "-c", CHILD]
    return [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]


def test_the_import_changes_nothing_in_the_process(measured: list[tuple[float, list[str], list[str]]]) -> None:
    for _, modules, changed in measured:
        assert changed == []
        other = [name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names]
        assert other == ["beamsight"], "the import loads neither a library nor a module of ours"


def test_the_import_is_fast(measured: list[tuple[float, list[str], list[str]]]) -> None:
    assert min(seconds for seconds, _, _ in measured) < LIMIT


def test_the_import_writes_nothing() -> None:
    done = subprocess.run([sys.executable, "-W", "default", "-c", "import beamsight"], check=True, capture_output=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_the_public_names_are_all_there() -> None:
    assert sorted(dir(beamsight)) == sorted(beamsight.__all__)
    assert all(getattr(beamsight, name) is not None for name in beamsight.__all__)
    assert all(name == "__version__" or getattr(beamsight, name).__doc__ for name in beamsight.__all__)
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        _ = beamsight.unknown
