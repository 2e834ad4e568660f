"""``python -m beamsight``: the same as the command ``beamsight``."""

from runners.cli import app

if __name__ == "__main__":
    app.entry()
