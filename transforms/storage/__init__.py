"""Bytes in and out by URI: a disk, gs://, and whatever else Beam's file systems know."""
