"""Which days a night does."""
