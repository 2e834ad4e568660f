"""Default values that the options of the command and the steps of the pipeline share. Imports nothing."""

from __future__ import annotations

URI_COLUMN = "uri"  # of a manifest

IMAGE_FEATURE = "image/encoded"  # of a tf.train.Example, as the datasets of TensorFlow name it

MAX_ATTEMPTS = 5  # an error that lasts five nights is not transient

UNIT_SIZE = 512  # images: 2 minutes of work on 2 cores, so little is lost with a worker, and files exceed 4 MB

THREADS = 12  # concurrent downloads, at least: most of a download is waiting for the network

PER_HOST = 8  # concurrent requests to a host of http(s)://: what a browser would send, and a bit more

FETCH_TIMEOUT = 300.0  # seconds for an image: 12 downloads of 30 MB at once still end on a link of 10 Mbit/s

MAX_BYTES = 128 * 1024 * 1024  # of an image file

MAX_PIXELS = 100_000_000  # of an image

MAX_WAIT = 10.0  # seconds for which an image of a stream waits for others: one call of B7 and B6 takes less than one

# Folders and shards contain other files too, so only files with these suffixes are listed. A glob lists all files
# that match.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k"),
)
