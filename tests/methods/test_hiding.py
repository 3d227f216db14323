"""Hide-and-seek and random erasing: what is hidden, how much of it, and from which generator."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from wsss.config.params.methods import expand_method
from wsss.config.params.stages import classifier_params
from wsss.config.parts import HIDINGS
from wsss.methods.hider import Hider
from wsss.models.backbones.torchvision_cpu import transforms

IMAGES = torch.rand(6, 3, 30, 20, generator=torch.Generator().manual_seed(1)) + 0.5


def hide(seed: int = 0, images: torch.Tensor = IMAGES, **groups: Any) -> torch.Tensor:
    hider = Hider(classifier_params().model_validate(groups))
    return hider.hide(images, torch.Generator().manual_seed(seed))


def test_hidden_patches_are_those_below_the_share_in_a_grid_over_the_whole_image() -> None:
    draws = np.array([[0.1, 0.9], [0.6, 0.4]])
    drawn = mock.Mock(random=mock.Mock(return_value=draws), integers=mock.Mock(return_value=0))
    params = HIDINGS["hide_and_seek"].params.model_validate({"grids": [2], "hidden": 0.5})
    found = HIDINGS["hide_and_seek"].hide(params, torch.ones(3, 4, 5), drawn)
    # Five columns by two patches: three and two.
    assert found[0].tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_half_of_the_patches_of_every_grid_are_hidden_on_average() -> None:
    images = torch.ones(400, 1, 28, 28)
    found = hide(images=images, hide_and_seek={"probability": 1.0})[:, 0]
    assert float(found.mean()) == pytest.approx(0.5, abs=0.02)
    grids = [4, 5, 7, 14]
    edges = [{int(k) for k in (np.flatnonzero(np.diff(image.numpy(), axis=1).any(0)) + 1)} for image in found]
    places = [{next(x for x in range(28) if x * n // 28 == k) for k in range(1, n)} for n in grids]
    counts = [0] * 4
    for edge in edges:
        fits = [k for k, place in enumerate(places) if edge <= place]
        assert fits, f"patches end at {edge}"
        counts[fits[0]] += 1
    assert all(70 < count < 130 for count in counts), "each grid is as likely as any other"


def test_the_share_of_images_is_the_probability_and_the_others_are_whole() -> None:
    images = torch.ones(2000, 1, 4, 4)
    for name, group in (("hide_and_seek", {"grids": [4]}), ("random_erasing", {"area": [0.1, 0.2]})):
        found = hide(images=images, **{name: {**group, "probability": 0.3}})
        changed = (found != 1).flatten(1).any(1).float().mean()
        assert float(changed) == pytest.approx(0.3, abs=0.04)


def boxes(found: torch.Tensor) -> list[tuple[int, int]]:
    """Return the height and width of what was erased, checking that it is a whole box."""
    sizes = []
    for before, after in zip(IMAGES.expand_as(found), found, strict=True):
        changed = (before != after).any(0)
        rows, columns = changed.any(1), changed.any(0)
        assert torch.equal(changed, rows[:, None] & columns), "it is a box"
        sizes.append((int(rows.sum()), int(columns.sum())))
    return sizes


def test_random_erasing_fills_a_box_whose_size_and_shape_are_in_range() -> None:
    for seed in range(40):
        sizes = boxes(hide(seed, random_erasing={"probability": 1.0, "area": [0.1, 0.3], "ratio": [0.5, 2]}))
        for height, width in sizes:
            # Sides are rounded to pixels, each by a half at most.
            assert (height - 0.5) * (width - 0.5) <= 0.3 * 600 and (height + 0.5) * (width + 0.5) >= 0.1 * 600
            assert (height - 0.5) / (width + 0.5) <= 2 and (height + 0.5) / (width - 0.5) >= 0.5


def test_erased_pixels_are_the_mean_colour_or_normal_noise() -> None:
    params = {"probability": 1.0, "area": [0.3, 0.4]}
    mean = hide(random_erasing={**params, "fill": "mean"})
    assert set(mean[mean != IMAGES].tolist()) == {0.0}
    large = torch.full((1, 3, 200, 200), 9.0)
    noise = hide(images=large, random_erasing=params)
    assert stats.kstest(noise[noise != 9].numpy(), "norm").pvalue > 1e-3


def test_random_erasing_is_torchvisions_from_a_generator_of_its_own() -> None:
    params = HIDINGS["random_erasing"].params()
    drawn = mock.Mock(integers=mock.Mock(return_value=11))
    before = torch.get_rng_state()
    found = HIDINGS["random_erasing"].hide(params, IMAGES[0], drawn)
    assert torch.equal(torch.get_rng_state(), before), "what the process draws next stays what it was"
    torch.manual_seed(11)
    expected = transforms.RandomErasing(p=1, scale=(0.02, 0.4), ratio=(0.3, 1 / 0.3), value="random")(
        IMAGES[0]
    )
    torch.set_rng_state(before)
    assert torch.equal(found, expected) and not torch.equal(found, IMAGES[0])


@pytest.mark.parametrize("name", ["hide_and_seek", "random_erasing"])
def test_equal_generators_hide_equally_and_images_differ_from_each_other(name: str) -> None:
    group = {name: {"probability": 1.0}}
    images = torch.ones(6, 3, 28, 28)
    found = hide(7, images, **group)
    assert torch.equal(found, hide(7, images, **group)) and not torch.equal(found, hide(8, images, **group))
    assert len(torch.unique((found != 1).flatten(1), dim=0)) > 1
    assert (images == 1).all(), "the images themselves stay"


def test_without_a_way_to_hide_nothing_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert Hider(classifier_params()()).hide(IMAGES, generator) is IMAGES
    assert torch.equal(generator.get_state(), state)


def test_the_methods_are_the_papers() -> None:
    hiding = classifier_params().model_validate(expand_method({"method": "hide_and_seek"}))
    assert hiding.hidings["hide_and_seek"].model_dump() == {
        "probability": 0.8, "grids": (4, 5, 7, 14), "hidden": 0.5,
    }  # fmt: skip
    erasing = classifier_params().model_validate(expand_method({"method": "random_erasing"}))
    assert erasing.hidings["random_erasing"].model_dump() == {
        "probability": 0.5, "area": (0.02, 0.4), "ratio": (0.3, 1 / 0.3), "fill": "noise",
    }  # fmt: skip
    both = {"method": "cutmix", "hide_and_seek": {"probability": 1}}
    assert classifier_params().model_validate(expand_method(both)).method_name == "cutmix+hide_and_seek"


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ({"random_erasing": {"area": [0.4, 0.02]}}, "`area` is [0.4, 0.02], but must be [smallest, largest]"),
        ({"random_erasing": {"ratio": [2, 1]}}, "`ratio` is [2, 1], but must be [smallest, largest]"),
        ({"random_erasing": {"area": [0.1, 1.2]}}, "less than or equal to 1"),
        ({"hide_and_seek": {"grids": []}}, "at least 1 item"),
        ({"hide_and_seek": {"grids": [0]}}, "greater than or equal to 1"),
        (
            {"epochs": 0, "head": "weights", "weights": "a.pth", "hide_and_seek": {"probability": 1}},
            "`hide_and_seek.probability` is a way to train",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(group: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        classifier_params().model_validate(group)
    assert expected in str(caught.value)
