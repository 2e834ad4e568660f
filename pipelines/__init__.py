"""The Beam graph."""
