from __future__ import annotations

import pytest

from beamsight.models import registry
from transforms.errors import UsageError
from transforms.inference.spec import ModelSpec

HUB = "https://tfhub.dev/tensorflow/efficientnet"
SIZES = {0: 224, 1: 240, 2: 260, 3: 300, 4: 380, 5: 456, 6: 528, 7: 600}
WIDTHS = {0: 1280, 1: 1280, 2: 1408, 3: 1536, 4: 1792, 5: 2048, 6: 2304, 7: 2560}


@pytest.mark.parametrize("variant", SIZES)
def test_classifiers(variant: int) -> None:
    assert registry.get(f"efficientnet-b{variant}", "classify") == ModelSpec(
        name=f"efficientnet-b{variant}",
        task="classify",
        size=SIZES[variant],
        width=1000,
        output="probabilities",
        crop="square",
        value_range=(0.0, 1.0),
        channel_order="rgb",
        source=f"{HUB}/b{variant}/classification/1",
    )


@pytest.mark.parametrize("variant", SIZES)
def test_embedders(variant: int) -> None:
    assert registry.get(f"efficientnet-b{variant}", "embed") == ModelSpec(
        name=f"efficientnet-b{variant}",
        task="embed",
        size=SIZES[variant],
        width=WIDTHS[variant],
        output="features",
        crop="square",
        value_range=(0.0, 1.0),
        channel_order="rgb",
        source=f"{HUB}/b{variant}/feature-vector/1",
    )


def test_auto_aug_is_as_the_open_model_zoo_had_it() -> None:
    assert registry.get("efficientnet-b7_auto_aug", "classify") == ModelSpec(
        name="efficientnet-b7_auto_aug",
        task="classify",
        size=600,
        width=1000,
        output="logits",
        crop="central",
        value_range=(0.0, 255.0),
        channel_order="bgr",
        source=None,
    )


def test_all_registered_models() -> None:
    b0_to_b7 = [f"efficientnet-b{variant}" for variant in range(8)]
    assert registry.names("classify") == [*b0_to_b7, "efficientnet-b7_auto_aug"]
    assert registry.names("embed") == b0_to_b7
    assert len({(spec.name, spec.task) for spec in registry.MODELS}) == len(registry.MODELS) == 17


def test_unknown_names_are_none_or_an_error_that_lists_the_names() -> None:
    assert registry.find("efficientnet-b8", "embed") is None
    assert registry.find("efficientnet-b7_auto_aug", "embed") is None
    with pytest.raises(UsageError) as caught:
        registry.get("efficientnet-b8", "embed")
    names = ", ".join(f"efficientnet-b{variant}" for variant in range(8))
    assert str(caught.value) == (
        f"'efficientnet-b8' is not a registered model for task embed ({names}); did you mean 'efficientnet-b7'?"
    )


@pytest.mark.parametrize(
    ("hub_url", "handle"),
    [
        (f"{HUB}/b7/classification/1", "tensorflow/efficientnet/tensorFlow2/b7-classification/1"),
        (f"{HUB}/b6/feature-vector/1", "tensorflow/efficientnet/tensorFlow2/b6-feature-vector/1"),
    ],
)
def test_kaggle_handles(hub_url: str, handle: str) -> None:
    assert registry.kaggle_handle(hub_url) == handle
    assert registry.find_source(handle) == registry.find_source(hub_url)
    assert registry.find_source(handle.lower()) == registry.find_source(hub_url)


@pytest.mark.parametrize("spec", [spec for spec in registry.MODELS if spec.source], ids=lambda spec: spec.source)
def test_every_source_finds_its_model(spec: ModelSpec) -> None:
    assert registry.find_source(str(spec.source)) == spec
    assert registry.find_source(registry.kaggle_handle(str(spec.source))) == spec


@pytest.mark.parametrize("source", ["", "None", f"{HUB}/b8/classification/1", "efficientnet-b7", f"{HUB}/"])
def test_other_sources_find_none(source: str) -> None:
    assert registry.find_source(source) is None
