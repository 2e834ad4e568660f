"""Refs less what the tables hold -> units."""
