"""PTransforms that read: the images of sources, and the rows of tables."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam

from pipelines import listing, reading
from runners.jobs import beam_options
from transforms import defaults
from transforms.run_state import make_run_id
from transforms.storage import files


class ListImages(beam.PTransform):
    """Lists the images of some sources, as a PCollection of ``ImageRef``. It is applied to a pipeline.

    Several workers list a large folder on gs://. A URI that several sources name is listed once. A shard, such as a
    tar, is listed as one ref: ``Catalog`` reads the images in it, and ``ProcessImages`` does not.

    Args:
        sources: Files, folders, globs (``*`` within a folder, ``**`` across folders), or manifests (.txt, .csv, .tsv,
            .jsonl, .parquet, also .gz), on a disk, gs://, or another file system of Beam. A single one may be a str.
        uri_column: Column of the manifests that holds the URIs.

    Example:
        >>> with beam.Pipeline() as pipeline:
        ...     refs = pipeline | beamsight.ListImages(str(pathlib.Path(photo).parent))
        ...     _ = refs | beam.Map(lambda ref: print(ref.uri == photo, ref.size == pathlib.Path(photo).stat().st_size))
        True True
    """

    def __init__(self, sources: str | Sequence[str], *, uri_column: str = defaults.URI_COLUMN) -> None:
        super().__init__()
        self._listing = listing.Listing(
            images=(sources,) if isinstance(sources, str) else tuple(sources),
            run_id=make_run_id(),
            uri_column=uri_column,
        )

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        workers = beam_options.workers(pipeline.pipeline.options)
        return pipeline | "List" >> listing.Refs(self._listing, workers)


class ReadCatalog(beam.PTransform):
    """Reads a table of an output, as a PCollection of rows. It is applied to a pipeline.

    All columns together are ``PredictionRow``, ``EmbeddingRow``, or ``FailureRow``. Other choices of columns are
    ``beam.Row`` with a schema. A column that some recipes lack is null there.

    The files are listed when the transform is applied, and their row groups are read by all workers.

    Args:
        output: Folder of the tables, on a disk or gs://.
        table: ``predictions``, ``embeddings`` or ``failures``.
        columns: The columns to read. None for all.
        recipe: The recipe to read, such as ``efficientnet-b7-1a2b3c4d``. None for all.

    Raises:
        UsageError: There is no such table, recipe, or column.

    Example:
        >>> with beam.Pipeline() as pipeline:
        ...     rows = pipeline | beamsight.ReadCatalog(catalog, "predictions", columns=["label", "width"])
        ...     _ = rows | beam.Map(lambda row: print(row.label, row.width))
        blue 32
    """

    def __init__(
        self, output: str, table: str, *, columns: Sequence[str] | None = None, recipe: str | None = None
    ) -> None:
        super().__init__()
        self._read = reading.Read(files.absolute(output), table, recipe=recipe, columns=columns)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return pipeline | "Read" >> self._read
