"""The Parquet tables: their paths, their schemas, and how they are read and written."""
