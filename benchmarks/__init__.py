"""Benchmarks of beamsight; see README.md. Not packaged."""
