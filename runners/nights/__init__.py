"""The days of a nightly run."""
