"""Read images inside shards: tar, zip, Parquet and TFRecord."""
