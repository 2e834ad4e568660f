"""The same job, JPEG files to classes and vectors in Parquet, as users of other tools would write it."""
