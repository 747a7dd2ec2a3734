# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch

from backend.training.appearance import sample_appearance
from backend.training.dataset import TrainingHead, describe
from backend.training.dressing import BALD, Dressing
from backend.training.start import part_colors, start_palette
from tests.small_starter import small_generator


def heads(count):
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        appearance = sample_appearance(random, random.random(), 0.6, ancestry=random.dirichlet([1.0, 1.0, 1.0]))
        dressing = Dressing(BALD, 0.0, 0.0, 0.0, 0)
        none = np.zeros((0, 3))
        z = describe(appearance, dressing)
        found.append(TrainingHead(z, appearance, dressing, none.astype(np.float16), none.astype(np.uint8)))
    return found


def test_the_palette_starts_at_the_heads_own_colors():
    """To a few bytes, for heads it was not set from too: the description holds these colours."""
    known, unknown = heads(300), heads(340)[300:]
    generator = small_generator(z_dim=len(known[0].z), parts=16)
    start_palette(generator, known)
    palette = generator.planes(generator.map(torch.from_numpy(np.stack([head.z for head in unknown])))).palette
    truth = np.stack([part_colors(head.appearance) for head in unknown])
    np.testing.assert_allclose(palette.detach().numpy(), truth, atol=0.02)


def test_skin_hair_and_top_are_parts():
    appearance = heads(1)[0].appearance
    colors = part_colors(appearance)
    for color in (appearance.skin_base, appearance.hair_base, np.array(appearance.top_color)):
        assert (np.abs(colors - color).max(1) < 1e-9).any()
