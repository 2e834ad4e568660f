"""Find the column of a Parquet file that has the bytes of images."""

from __future__ import annotations

from typing import Literal, NamedTuple

import pyarrow as pa

from transforms.errors import UsageError


class Column(NamedTuple):
    """A column of images.

    Attributes:
        name: Its name.
        parts: The paths of what is to be read of it, in the notation of pyarrow.
        is_struct: Whether it is a struct with the bytes in ``bytes``, as Hugging Face writes it.
    """

    name: str
    parts: tuple[str, ...]
    is_struct: bool


def image_column(schema: pa.Schema, wanted: str | None = None) -> Column:
    """Return the column of images: a struct with binary ``bytes``, or a binary column.

    Args:
        schema: The schema of the file.
        wanted: The name of the column. None for the only such column.

    Raises:
        UsageError: There is no such column, or more than one.
    """
    names = image_columns(schema)
    chosen = names if wanted is None else [name for name in names if name == wanted]
    if len(chosen) == 1:
        return _column(schema, chosen[0])
    if wanted is not None and wanted not in schema.names:
        reason = f"there is no column {wanted!r}"
    elif wanted is not None:
        reason = f"the column {wanted!r} has no bytes" if not chosen else f"there are {len(chosen)} columns {wanted!r}"
    else:
        reason = f"{len(names)} columns have bytes ({_listed(names)})" if names else "no column has bytes of images"
    raise UsageError(
        f"{reason}; the columns are {_described(schema)}; pass the one with the images with --image-column"
    )


def describe(schema: pa.Schema, uri_column: str, image_column_: str | None = None) -> Literal["manifest", "shard"]:
    """Return whether a Parquet file names images by their URIs, or has their bytes.

    Args:
        schema: The schema of the file.
        uri_column: The column of the URIs in a manifest.
        image_column_: The column of the bytes that the user named. None if he did not.

    Raises:
        UsageError: The file has both columns or neither, or several columns of bytes.
    """
    if image_column_ is not None:
        image_column(schema, image_column_)
        return "shard"
    images = image_columns(schema)
    has_uris = uri_column in schema.names and uri_column not in images
    if has_uris and images:
        raise UsageError(
            f"the file has URIs in {uri_column!r} and bytes in {_listed(images)}; pass --image-column {images[0]} to "
            "read its bytes; to read the URIs, write them to a file of their own"
        )
    if has_uris:
        return "manifest"
    if not images:
        raise UsageError(
            f"there is no column {uri_column!r} with URIs, and no column has bytes of images; the columns are "
            f"{_described(schema)}; pass the one with the URIs with --uri-column"
        )
    image_column(schema)
    return "shard"


def image_columns(schema: pa.Schema) -> list[str]:
    """Return the names of the columns that can hold the bytes of images."""
    return [field.name for field in schema if _is_binary(field.type) or _bytes_type(field.type) is not None]


def _column(schema: pa.Schema, name: str) -> Column:
    stored = schema.field(name).type
    if _is_binary(stored):
        return Column(name, (name,), False)
    parts = tuple(
        f"{name}.{part.name}"
        for part in stored
        if part.name == "bytes" or (part.name, part.type) == ("path", pa.string())
    )
    return Column(name, parts, True)


def _bytes_type(stored: pa.DataType) -> pa.DataType | None:
    """Return the type of the bytes in a struct. None if there are none."""
    if not pa.types.is_struct(stored):
        return None
    return next((part.type for part in stored if part.name == "bytes" and _is_binary(part.type)), None)


def _is_binary(stored: pa.DataType) -> bool:
    if pa.types.is_dictionary(stored):
        stored = stored.value_type
    is_view = getattr(pa.types, "is_binary_view", None)  # from pyarrow 16
    return pa.types.is_binary(stored) or pa.types.is_large_binary(stored) or bool(is_view and is_view(stored))


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:20]))[:1000]


def _described(schema: pa.Schema) -> str:
    more = ", ..." if len(schema) > 20 else ""
    return ", ".join(f"{field.name} ({field.type})" for field in list(schema)[:20])[:1000] + more
