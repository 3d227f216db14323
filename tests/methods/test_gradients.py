"""The gradient of every loss against differences, in a random direction."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wsss.masks.pairs import affinity_loss, boundary_affinities, pair_affinities, pair_labels, pair_offsets
from wsss.methods.distillation import subcategory_distillation
from wsss.methods.losses import classification_loss, concentration, entropy, mask_loss

STEP = 1e-2


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SOFT = random(3, 4, seed=1).sigmoid()
PARENT = torch.tensor([0, 0, 1, 2, 2, 2])
TARGETS = (random(3, 3, seed=2) > 0).float()
SIMILARITY = random(3, 6, seed=3).tanh()
IDS = torch.randint(0, 5, (2, 8, 8), generator=torch.Generator().manual_seed(4)).to(torch.uint8)
IDS[0, :2] = 255
OFFSETS = pair_offsets(3)
GRID = torch.randint(0, 3, (2, 6, 7), generator=torch.Generator().manual_seed(5)).to(torch.uint8)
PAIRS = pair_labels(GRID, OFFSETS)

# All maps are positive, so that no step crosses the kink of a rectifier.
LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "classification": (lambda z: classification_loss(z, SOFT), random(3, 4)),
    "masks": (lambda m: mask_loss(m, IDS), random(2, 4, 4, 4)),
    "entropy, bernoulli": (lambda z: entropy(z), random(3, 4)),
    "entropy, softmax": (lambda z: entropy(z, "softmax"), random(3, 4)),
    **{
        f"concentration, {kind}": (
            lambda m, kind=kind: 10 * concentration(m, SOFT[:2], kind).sum(),
            0.5 + random(2, 4, 6, 5).sigmoid(),
        )
        for kind in ("unit", "pixel", "scops", "legacy")
    },
    "distillation": (
        lambda z: subcategory_distillation(z, SIMILARITY, TARGETS, PARENT, temperature=2.0, scale=5.0).sum(),
        random(3, 6),
    ),
    "affinity": (lambda f: affinity_loss(pair_affinities(f, OFFSETS), PAIRS), 3 * random(2, 4, 6, 7)),
    "boundary": (
        lambda b: affinity_loss(boundary_affinities(b, OFFSETS), PAIRS),
        # Well apart, so that a step changes no maximum.
        (torch.randperm(84, generator=torch.Generator().manual_seed(6)).float() / 100 + 0.1).view(2, 6, 7),
    ),
}  # fmt: skip
"""Name → a loss, and where its gradient is checked."""


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_the_slope(name: str) -> None:
    loss, place = LOSSES[name]
    step = 1e-3 if name in ("affinity", "boundary") else STEP
    for seed in range(3):
        direction = random(*place.shape, seed=10 + seed)
        direction /= direction.abs().max()
        x = place.clone().requires_grad_()
        value = loss(x)
        (gradient,) = torch.autograd.grad(value, x)
        slope = float((gradient * direction).sum())
        with torch.no_grad():
            difference = float(loss(place + step * direction) - loss(place - step * direction)) / (2 * step)
        size = float(gradient.norm() * direction.norm())
        assert size > 1e-5, "a loss without a gradient teaches nothing"
        assert slope == pytest.approx(difference, abs=0.01 * size)
