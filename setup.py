"""What Dataflow's ``--setup_file`` needs; everything else stands in pyproject.toml."""

from setuptools import setup

setup()
