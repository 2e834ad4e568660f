"""beamsight classifies and embeds images with EfficientNet on Apache Beam, and writes the results to Parquet."""
