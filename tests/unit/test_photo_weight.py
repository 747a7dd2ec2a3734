# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from backend.alignment import Portrait
from backend.photo_weight import LEAST, photo_weights

SIZE = 512


def portrait(*, blur_px=0.0, seed=0):
    """Texture of all scales with a face's landmarks in its middle."""
    random = np.random.default_rng(seed)
    grey = sum(2**k * gaussian_filter(random.normal(size=(SIZE, SIZE)), 2**k) for k in range(6))
    grey = gaussian_filter(grey, blur_px) if blur_px else grey
    image = torch.from_numpy(np.stack([grey / np.abs(grey).max()] * 3)[None]).float()
    landmarks = random.uniform(160, 350, (478, 2))
    return Portrait(image, np.eye(3), landmarks, np.zeros(478), torch.ones((1, 1, SIZE, SIZE)))


def whole():
    return torch.ones((1, 1, SIZE, SIZE))


def test_photos_as_sharp_and_whole_as_each_other_count_the_same():
    assert photo_weights([portrait(seed=1), portrait(seed=2)], [whole(), whole()]) == pytest.approx([1, 1], abs=0.01)


def test_a_blurred_photo_counts_less_the_more_it_is_blurred():
    sharp, soft, softer = photo_weights([portrait(), portrait(blur_px=2.5), portrait(blur_px=8)], [whole()] * 3)
    assert sharp == 1 and 0.9 > soft > 1.5 * softer and softer >= LEAST


def test_a_face_that_is_half_hidden_counts_half():
    half = whole()
    half[..., 255:] = 0
    assert photo_weights([portrait(), portrait()], [whole(), half]) == pytest.approx([1, 0.5], abs=0.06)
    outside = replace(portrait(), coverage=half)
    assert photo_weights([outside, portrait()], [whole(), whole()]) == pytest.approx([0.5, 1], abs=0.06)


def test_the_only_photo_counts_in_full_however_bad():
    assert photo_weights([portrait(blur_px=20)], [0 * whole()]) == [1.0]
