from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from beamsight.models import registry
from transforms.imaging import decode, drawn, fit
from transforms.inference.spec import Crop, ModelSpec

CROPS: list[Crop] = ["square", "central", "squash", "pad"]


def spec(crop: Crop = "square", size: int = 64) -> ModelSpec:
    return ModelSpec("any", "embed", size, 8, "features", crop=crop)


def ramps(width: int, height: int) -> drawn.Pixels:
    """Red goes from 0 to 255 across, green down: a colour says where it was."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(0, 255, width).round()
    picture[..., 1] = np.linspace(0, 255, height).round()[:, None]
    return picture


@pytest.mark.parametrize(
    ("crop", "size", "width", "height", "box"),
    [
        ("square", 96, 400, 256, (104, 32, 296, 224)),  # 256 * 96 / 128 = 192
        ("square", 96, 128, 300, (16, 102, 112, 198)),  # neither enlarged nor shrunk
        ("square", 224, 64, 64, (4, 4, 60, 60)),
        ("central", 64, 320, 160, (20, 10, 300, 150)),
        ("squash", 64, 321, 123, (0, 0, 321, 123)),
    ],
)
def test_a_box_of_whole_pixels_is_pillows_crop_and_resize(
    crop: Crop, size: int, width: int, height: int, box: tuple[int, int, int, int]
) -> None:
    picture = drawn.draw(1, width, height)
    want = Image.fromarray(picture).crop(box).resize((size, size), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(fit.fit_image(Image.fromarray(picture), spec(crop, size)), np.asarray(want))


def test_a_crop_of_the_models_own_size_is_not_filtered() -> None:
    picture = drawn.draw(1, 128, 128)
    np.testing.assert_array_equal(fit.fit_image(Image.fromarray(picture), spec("square", 96)), picture[16:112, 16:112])


@pytest.mark.parametrize("size", [224, 600])
@pytest.mark.parametrize(("width", "height"), [(1000, 700), (701, 1003)])
@pytest.mark.parametrize("crop", ["square", "central", "squash"])
def test_what_is_seen(crop: Crop, width: int, height: int, size: int) -> None:
    seen = fit.fit_image(Image.fromarray(ramps(width, height)), spec(crop, size)).astype(float)
    across, down = {
        "square": (min(width, height) * size / (size + 32),) * 2,
        "central": (0.875 * width, 0.875 * height),
        "squash": (width, height),
    }[crop]
    for axis, side, part in ((0, width, across), (1, height, down)):
        line = seen[size // 2, :, 0] if axis == 0 else seen[:, size // 2, 1]
        left = (side - part) / 2
        want = 255 * (left + (np.arange(size) + 0.5) * part / size - 0.5) / (side - 1)
        assert np.abs(line - want)[2:-2].max() < 1.2


@pytest.mark.parametrize(("width", "height", "box"), [(300, 150, (0, 16, 64, 48)), (100, 400, (24, 0, 40, 64))])
def test_pad_keeps_the_aspect_in_the_middle_of_black(width: int, height: int, box: tuple[int, int, int, int]) -> None:
    left, upper, right, lower = box
    picture = drawn.draw(2, width, height) | 1  # nowhere quite black
    seen = fit.fit_image(Image.fromarray(picture), spec("pad"))
    inner = Image.fromarray(picture).resize((right - left, lower - upper), Image.Resampling.BICUBIC)
    want = np.zeros((64, 64, 3), np.uint8)
    want[upper:lower, left:right] = np.asarray(inner)
    np.testing.assert_array_equal(seen, want)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("width", "height"), [(1, 5000), (5000, 1), (1, 1), (2, 3), (65_535, 2)])
def test_any_shape_fits(crop: Crop, width: int, height: int) -> None:
    picture = np.full((height, width, 3), (10, 200, 90), np.uint8)
    seen = fit.fit_image(Image.fromarray(picture), spec(crop, 600))
    assert seen.shape == (600, 600, 3)
    assert seen.dtype == np.uint8
    assert seen.flags.c_contiguous
    assert (seen[299, 299] == (10, 200, 90)).all()
    if crop != "pad" or width == height:
        assert (seen == (10, 200, 90)).all()


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(["square", "central", "squash"]), st.integers(1, 80))
@settings(max_examples=150)
def test_a_picture_upside_down_is_seen_upside_down(width: int, height: int, crop: Crop, size: int) -> None:
    picture = drawn.draw(7, width, height)
    seen, turned = (fit.fit_image(Image.fromarray(view), spec(crop, size)) for view in (picture, picture[::-1, ::-1]))
    assert np.abs(seen.astype(int) - turned[::-1, ::-1]).max() <= 4  # boxes are fractions of pixels


def test_the_picture_is_left_alone() -> None:
    pixels = drawn.draw(1, 100, 80)
    picture = Image.fromarray(pixels)
    for crop in CROPS:
        fit.fit_image(picture, spec(crop))
    np.testing.assert_array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize("known", registry.MODELS, ids=lambda known: f"{known.name}-{known.task}")
def test_all_registered_models_share_one_scaled_decode(known: ModelSpec) -> None:
    assert fit.min_side(known) == fit.DRAFT_SIDE


@pytest.mark.parametrize(
    ("crop", "size", "side"), [("square", 800, 832), ("central", 700, 800), ("squash", 800, 800), ("pad", 705, 705)]
)
def test_larger_inputs_need_more(crop: Crop, size: int, side: int) -> None:
    assert fit.min_side(spec(crop, size)) == side


@given(st.integers(1, 2000), st.sampled_from(CROPS))
def test_the_crop_of_a_scaled_decode_is_not_enlarged(size: int, crop: Crop) -> None:
    side = fit.min_side(spec(crop, size))
    across = {"square": side * size / (size + 32), "central": 0.875 * side}.get(crop, side)
    assert across >= size


@pytest.mark.parametrize("size", [224, 528, 600])
@pytest.mark.parametrize("seed", [2, 5, 11])
def test_scaled_decoding_is_not_seen(seed: int, size: int) -> None:
    # Blurred, as a lens does: the finest grain of a drawing is beyond any photo's.
    picture = Image.fromarray(drawn.draw(seed, 1000, 750)).resize((4000, 3000), Image.Resampling.BICUBIC)
    data = drawn.encode(np.asarray(picture), quality=90)
    whole = decode.decode_image(data)
    scaled = decode.decode_image(data, min_side=fit.min_side(spec("square", size)))
    assert scaled.pixels.shape == (750, 1000, 3)
    seen = [fit.fit_image(decoded.image, spec("square", size)).astype(int) for decoded in (whole, scaled)]
    assert np.abs(seen[0] - seen[1]).mean() < 3  # levels of 255
