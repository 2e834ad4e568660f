"""Which versions of what are installed here."""

from __future__ import annotations

from importlib import metadata


def versions(*names: str) -> dict[str, str]:
    """Distributions -> their versions. Those that are not installed are left out: workers have no TensorFlow."""
    return {name: found.version for name in names for found in list(metadata.distributions(name=name))[:1]}
