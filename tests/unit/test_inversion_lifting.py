# SPDX-License-Identifier: Apache-2.0
"""How inversion uses the starter's encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.directions import Codes
from backend.inversion import invert
from backend.inversion.invert import FittedPhoto, invert_photos
from backend.inversion.lifting import WIDENED, code_prior, encode_portrait
from backend.inversion.refine import RefineConfig
from backend.starter_encoder import StarterEncoder
from backend.training.encoder import encoder_config
from tests.portraits_of_eggs import CAMERA, portrait_of
from tests.small_starter import EXPRESSIONS, SHAPES, small_starter

FITTED = Codes(np.zeros((1, 1)), np.zeros(SHAPES), np.zeros(len(EXPRESSIONS)))


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module")
def portrait(starter):
    """The egg in the colours of a description that is no candidate."""
    return portrait_of(starter, torch.tensor([[0.3, -0.6, 0.9, 0.3, -0.2]]))


def encoder_that_says(starter, z):
    """An encoder whose answer for ``z`` is always the same."""
    torch.manual_seed(0)
    config = replace(encoder_config(starter, 32), channels=(16, 16), blocks=(0, 0), hidden=16)
    encoder = StarterEncoder(config).eval()
    center = {name: torch.zeros(size) for name, size in config.sizes.items()}
    encoder.standardise({**center, "z": z[0]}, {name: torch.full((size,), 1e-6) for name, size in config.sizes.items()})
    return encoder.requires_grad_(False)


def inverted(starter, portrait, encoder, quality="draft"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            invert.REFINEMENT, "balanced", RefineConfig(code_steps=1, offset_steps=0, detail_steps=2, code_rate=0.0)
        )
        patch.setattr(invert, "REFINE_RAYS_PX", 48)
        photos = [FittedPhoto(*portrait, CAMERA, FITTED)]
        (codes,), _ = invert_photos(starter, photos, quality=quality, seed=0, step=lambda done: None, encoder=encoder)
    return codes


TRUTH = torch.tensor([[0.3, -0.6, 0.9, 0.3, -0.2]])


def test_a_draft_is_what_the_encoder_says(starter, portrait):
    codes = inverted(starter, portrait, encoder_that_says(starter, TRUTH))
    np.testing.assert_allclose(codes.ws, starter.generator.map(TRUTH)[0].numpy(), atol=1e-4)
    # An untrained second stage changes nothing.
    assert codes.plane_offset is None


def test_a_second_stage_counts_only_if_it_shows_the_photo_better(starter, portrait):
    """A random second stage can hardly show a photo better every time."""
    encoder = encoder_that_says(starter, torch.zeros(1, 5))
    is_taken = []
    for seed in range(3):
        torch.manual_seed(seed)
        torch.nn.init.normal_(encoder.lift.spread[-1].weight, std=0.3)
        is_taken.append(inverted(starter, portrait, encoder).plane_offset is not None)
    assert not all(is_taken)


def test_refinement_starts_at_what_the_encoder_says_within_the_range_of_known_heads(starter, portrait):
    good, wild = (inverted(starter, portrait, encoder_that_says(starter, z), "balanced") for z in (TRUTH, 40 * TRUTH))
    nearest = (40 * TRUTH).clamp(starter.candidates.amin(0), starter.candidates.amax(0))
    for codes, wanted in ((good, TRUTH), (wild, nearest)):
        np.testing.assert_allclose(codes.ws, starter.generator.map(wanted)[0].numpy(), atol=0.01)


def test_the_prior_is_the_encoder_s_answer_with_a_wider_doubt(starter, portrait):
    encoder = encoder_that_says(starter, TRUTH)
    encoding = encode_portrait(encoder, *portrait)
    encoding.means["shape"][:] = torch.tensor([9.0, -1.0, 0.5, 0.0])
    encoding.means["expression"][:] = torch.tensor([-0.5, 0.4, 2.0])
    prior = code_prior(encoding)
    np.testing.assert_allclose(prior.shape, [4, -1, 0.5, 0])
    np.testing.assert_allclose(prior.expression, [0, 0.4, 1], atol=1e-6)
    np.testing.assert_allclose(prior.shape_deviation, WIDENED * encoding.deviations["shape"][0].numpy(), rtol=1e-6)
