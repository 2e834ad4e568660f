"""The life of one job on any runner: resolve, start, progress, interruption, end, webhook."""
