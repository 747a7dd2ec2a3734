# SPDX-License-Identifier: Apache-2.0
"""What 16-bit features cost: the tolerances that Protome states for them, against full precision and published numbers.

Full precision is the default everywhere; these are for a GPU, and for processors with bfloat16 arithmetic.
"""

import pytest
import torch

from backend.generator.layers import modulated_conv
from tests.unit.parity import Fixture, fixtures

# Largest error of a super-resolved picture whose blocks compute with so few bits, over the picture's largest value.
HALF_TOLERANCES = {torch.bfloat16: 0.03, torch.float16: 0.005}
# The same for the root mean square, when all convolutions do (torch.autocast).
AUTOCAST_TOLERANCE = 0.06


def _has_picture(meta: dict) -> bool:
    return "config" in meta and "sr_size" in meta["config"]


class Case:
    def __init__(self, path):
        self.fixture = Fixture(path)
        self.generator, self.cameras = self.fixture.generator(), self.fixture.cameras()
        self.ws, self.size_px = self.fixture.io["in.ws"], self.fixture.meta["config"]["nrr"]
        self.planes = self.generator.make_planes(self.ws)
        self.background = self.generator.make_background(self.ws)

    def rendering(self, planes=None):
        planes = self.planes if planes is None else planes
        return self.generator.render(planes, *self.cameras, size_px=self.size_px)


@pytest.fixture(scope="module", params=fixtures(_has_picture))
def case(request):
    return Case(request.param)


def relative(error, expected):
    return float(error / expected)


@pytest.mark.parametrize("half", HALF_TOLERANCES, ids=str)
def test_pictures_in_half_precision_are_close_to_the_published_ones(case, half):
    names = ("midpoint", "own_bg", "canonical")
    published = next(case.fixture.io[key] for name in names if (key := f"synthesis.{name}.image") in case.fixture.io)
    image = case.generator.view(case.ws, case.rendering(), background=case.background, half=half).image
    assert image.dtype == torch.float32
    assert relative((image - published).abs().max(), published.abs().max()) < HALF_TOLERANCES[half]


@pytest.mark.parametrize("half", HALF_TOLERANCES, ids=str)
def test_one_picture_in_half_precision_is_that_of_a_batch(case, half):
    features = case.generator.config.decoder_outputs
    side = case.generator.config.superresolution.input_resolution
    x = torch.rand(2, features, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    both, one = (
        case.generator.superresolution(x[:count, :3], x[:count], case.ws[:count], half=half) for count in (2, 1)
    )
    assert relative((both[:1] - one).abs().max(), one.abs().max()) < 2 * HALF_TOLERANCES[half]


def test_inside_an_autocast_only_convolutions_are_short(case):
    io, generator = case.fixture.io, case.generator
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(generator.make_ws(io["in.z"], io["in.c"]), generator_ws(case))
        inside = case.rendering()
        images = generator(case.ws, *case.cameras, size_px=case.size_px)
    outside = case.rendering()
    assert torch.equal(inside.features, outside.features)
    assert torch.equal(inside.depth, outside.depth)
    expected = generator(case.ws, *case.cameras, size_px=case.size_px)
    for short, full in ((images.image, expected.image), (images.image_raw, expected.image_raw)):
        assert short.dtype == torch.float32
        error = (short - full).square().mean().sqrt()
        assert 0 < relative(error, full.square().mean().sqrt()) < AUTOCAST_TOLERANCE


def generator_ws(case):
    with torch.autocast("cpu", enabled=False):
        return case.generator.make_ws(case.fixture.io["in.z"], case.fixture.io["in.c"])


def test_sums_of_large_features_and_styles_stay_finite_in_float16():
    random = torch.Generator().manual_seed(1)
    x = torch.full((2, 64, 8, 8), 256.0)
    weight, style = torch.randn(16, 64, 3, 3, generator=random), 50 * torch.rand(2, 64, generator=random)
    full = modulated_conv(x, weight, style)
    short = modulated_conv(x.half(), weight, style)
    assert short.isfinite().all()
    assert relative((short.float() - full).abs().max(), full.abs().max()) < HALF_TOLERANCES[torch.float16]
