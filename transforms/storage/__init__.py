"""Read and write files by URI: local paths, gs://, and the schemes that Beam supports."""
