"""Text for people: durations, sizes, counts with the right plural, aligned columns, the nearest name."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence


def duration(seconds: float) -> str:
    """Seconds -> ``48 s``, ``3 min 12 s`` or ``5 h 07 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun -> ``1 image`` or ``1,234 images``. plural: where it does not end in -s alone."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(value: float) -> str:
    """Bytes -> ``12 bytes``, ``1.5 KB`` or ``256 MB``."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, unit
    else:
        unit = "TB"
    return f"{value:,.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"


def columns(rows: Iterable[Sequence[str]], *, right: Iterable[int] = (), indent: str = "") -> str:
    """Rows of cells -> lines of aligned columns, two spaces apart.

    Args:
        rows: The cells. All rows have the same number of cells.
        right: Indices of the columns that are aligned to the right, as numbers are.
        indent: Text before each line.
    """
    cells = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    to_the_right = set(right)

    def cell(index: int, text: str) -> str:
        return text.rjust(widths[index]) if index in to_the_right else text.ljust(widths[index])

    return "\n".join(indent + "  ".join(cell(i, text) for i, text in enumerate(row)).rstrip() for row in cells)


def printable(text: str) -> str:
    r"""Write control characters and text-direction marks as escapes such as ``\u202e``. Other characters stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else f"\\u{ord(char):04x}" for char in text
    )


def nearest(name: str, names: Iterable[str]) -> str:
    """What to append to a message on an unknown name: ``; did you mean 'bf16'?``, or nothing where none is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
