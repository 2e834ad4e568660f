"""Sources, as ``--images`` names them, -> refs."""
