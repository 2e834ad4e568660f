"""The same job as a user of another tool would write it: JPEG files -> classes and vectors in Parquet."""
