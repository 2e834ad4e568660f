"""Fuzz the decoder with Atheris: python tests/fuzz_decode.py SECONDS

Any bytes must decode, or raise a ``DecodeError``, within 2 GB and 30 seconds. The seeds are the drawn files of all
formats and the small hostile files. libFuzzer follows the branches of Pillow's parsers in Python; the C libraries are
not instrumented. It keeps inputs of new branches, and those that fail, in the folder ``.fuzz``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # not in the requirements: `make fuzz` installs it

with atheris.instrument_imports(include=["PIL", "pillow_heif", "transforms.imaging"]):
    from transforms.errors import DecodeError
    from transforms.imaging import decode, slots

import hostile_images
from pictures import LOSSLESS, LOSSY, sample

FOLDER = Path(".fuzz")
MAX_PIXELS = 1_000_000
SEED_BYTES = 64 << 10  # larger hostile files have the same structures as smaller ones


def decode_or_refuse(data: bytes) -> None:
    """Decode a file. An exception other than a ``DecodeError`` ends the fuzzing."""
    slots.pixels_in_memory(data, 32)
    try:
        image = decode.decode_image(data, min_side=32, max_pixels=MAX_PIXELS)
    except DecodeError:
        return
    assert image.width * image.height <= MAX_PIXELS
    assert image.pixels.shape[2] == 3


def main() -> None:
    """Write the seeds, then fuzz for the seconds given."""
    seeds = FOLDER / "seeds"
    seeds.mkdir(parents=True, exist_ok=True)
    drawn = {name: sample(name) for name in (*LOSSLESS, *LOSSY)}
    for name in hostile_images.SMALL:
        drawn[name] = hostile_images.CORPUS[name]()
    for name, data in drawn.items():
        if len(data) <= SEED_BYTES:
            (seeds / name.replace(" ", "-")).write_bytes(data)
    options = [f"-max_total_time={sys.argv[1]}", "-rss_limit_mb=2048", "-timeout=30", f"-max_len={SEED_BYTES}"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={FOLDER}/", str(FOLDER), str(seeds)], decode_or_refuse)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
