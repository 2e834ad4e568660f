"""The Parquet tables: where they lie, what they hold, how they are written."""
