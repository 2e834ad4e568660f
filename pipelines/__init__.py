"""What runs: the Beam graph."""
