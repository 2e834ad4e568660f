from __future__ import annotations

import logging
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pictures import LOSSLESS, PICTURE, pixels, sample, tiff

from transforms.errors import Corrupt, DecodeError, NotAnImage
from transforms.imaging import prepare
from transforms.imaging.prepare import Failed, Limits
from transforms.inference.spec import ModelSpec
from transforms.records import ImageRef, Work

COMPRESSION = 259
WEBP, JPEG_2000, JPEG_XL = 50001, 34712, 50002
SPEC = ModelSpec("m", "classify", 32, 10, "probabilities")


def odd(compression: int) -> bytes:
    """A TIFF of 8 x 8 grey pixels whose data is none of any compression."""
    return tiff({COMPRESSION: compression, 258: 8}, b"\x07\xff" * 50, 8, 8)


@pytest.mark.parametrize(
    ("code", "name"),
    [(WEBP, "WebP compression"), (JPEG_2000, "JPEG 2000 compression"), (JPEG_XL, "JPEG XL compression")],
)
def test_a_compression_that_cannot_be_read_is_named(code: int, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotAnImage, match=rf"uses {name} \(code {code}\).*does not support; save the image with LZW"):
        pixels(odd(code))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("code", [9, 32766, 65000])
def test_a_compression_without_a_name_is_given_by_its_code(code: int) -> None:
    with pytest.raises(NotAnImage, match=f"uses compression code {code}, which"):
        pixels(odd(code))


def test_the_compression_is_read_in_both_byte_orders_and_in_bigtiff() -> None:
    big_endian = b"MM\0*" + struct.pack(">LH", 8, 1) + struct.pack(">HHLHH", COMPRESSION, 3, 1, WEBP, 0) + bytes(4)
    big_tiff = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1) + struct.pack("<HHQQ", COMPRESSION, 3, 1, WEBP) + bytes(8)
    for data in (big_endian, big_tiff):
        with pytest.raises(NotAnImage, match="WebP"):
            pixels(data)


def test_the_failure_row_says_why(tmp_path: Path) -> None:
    path = tmp_path / "webp.tif"
    path.write_bytes(odd(WEBP))
    result = prepare.prepare(Work(ImageRef(str(path)), ("t",)), {"t": SPEC}, Limits())
    assert isinstance(result, Failed)
    assert (result.failure.stage, result.failure.error, result.failure.retryable) == ("decode", "NotAnImage", False)
    assert result.failure.message.startswith("this TIFF uses WebP compression (code 50001)")


@pytest.mark.parametrize("code", [2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34925, 50000])
def test_libtiff_writes_nothing_on_broken_pixels(code: int, capfd: pytest.CaptureFixture[str]) -> None:
    with suppress(DecodeError):  # a few compressions give pixels for any data
        pixels(odd(code))
    assert capfd.readouterr() == ("", "")


def test_broken_pixels_are_said_to_be_broken() -> None:
    with pytest.raises(Corrupt, match="this TIFF cannot be decoded: its compressed pixels are broken"):
        pixels(odd(8))


def test_pillow_writes_nothing_on_odd_tags(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(Corrupt, match="100 samples per pixel"):
        pixels(tiff({277: 100}, bytes(100), 8, 8))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_tags_that_are_odd_cause_no_warning() -> None:
    width = struct.pack("<2H2I", 256, 4, 1, 8)
    for odd_tag in (
        struct.pack("<2H2I", 256, 4, 2, 8),  # two widths at offset 8, of which the first counts
        struct.pack("<2H2I", 60_000, 7, 1_000_000, 8),  # a value behind the end of the file
        struct.pack("<2H2I", 60_000, 99, 1, 8),  # an unknown type
    ):
        data = tiff({258: 8, 273: 16}, struct.pack("<2I", 8, 9) + bytes(range(64)), 8, 8)
        assert width in data
        data = data.replace(width, odd_tag) if odd_tag[:2] == width[:2] else add_tag(data, odd_tag)
        np.testing.assert_array_equal(pixels(data)[..., 0], np.arange(64).reshape(8, 8))


def add_tag(data: bytes, entry: bytes) -> bytes:
    (at,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, at)
    end = at + 2 + 12 * entries
    return data[:at] + struct.pack("<H", entries + 1) + data[at + 2 : end] + entry + data[end:]


@pytest.mark.parametrize("name", [name for name in LOSSLESS if "tiff" in name])
def test_common_compressions_are_read(name: str) -> None:
    np.testing.assert_array_equal(pixels(sample(name)), PICTURE)
