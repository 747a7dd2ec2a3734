# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.recolor import recolor
from tests.painted_head import painted_head


class PlainField:
    """One colour everywhere."""

    side, level = 2.6, 1.0

    def __init__(self, *color):
        self.value = torch.tensor(color)

    def density(self, points):
        return torch.zeros(len(points))

    def color(self, points):
        return self.value.expand(len(points), 3)


class SplitField(PlainField):
    """Another colour on the left half."""

    def __init__(self, right, left):
        self.right, self.left = torch.tensor(right), torch.tensor(left)

    def color(self, points):
        return torch.where(points[:, :1] > 0, self.left, self.right)


@pytest.fixture(scope="module")
def mesh():
    return painted_head()


def photo(size=200):
    return np.random.default_rng(0).integers(60, 180, (size, size, 3)).astype(np.uint8)


def test_the_difference_of_two_plain_colors_is_added_exactly(mesh):
    texture = photo()
    changed = recolor(texture, mesh, before=PlainField(0.5, 0.4, 0.3), after=PlainField(0.6, 0.4, 0.1))
    expected = texture.astype(int) + np.rint(np.array([0.1, 0.0, -0.2]) * 255).astype(int)
    assert np.abs(changed.astype(int) - expected).max() <= 1


def test_no_change_leaves_the_texture_as_it_is(mesh):
    texture = photo()
    np.testing.assert_array_equal(
        recolor(texture, mesh, before=PlainField(0.2, 0.3, 0.4), after=PlainField(0.2, 0.3, 0.4)), texture
    )


def test_there_and_back_is_where_it_was(mesh):
    texture, one, other = photo(), PlainField(0.5, 0.5, 0.5), PlainField(0.7, 0.4, 0.45)
    back = recolor(recolor(texture, mesh, before=one, after=other), mesh, before=other, after=one)
    assert np.abs(back.astype(int) - texture.astype(int)).max() <= 2


def test_colors_end_at_black_and_white(mesh):
    texture = photo()
    assert (recolor(texture, mesh, before=PlainField(0.0, 0.0, 0.0), after=PlainField(1.0, 1.0, 1.0)) == 255).all()
    assert (recolor(texture, mesh, before=PlainField(1.0, 1.0, 1.0), after=PlainField(0.0, 0.0, 0.0)) == 0).all()


def test_each_side_gets_its_own_change(mesh):
    """In the painted head's texture, u runs from the back over the right side to the face, and over the left back."""
    texture = np.full((256, 256, 3), 128, np.uint8)
    changed = recolor(
        texture, mesh, before=PlainField(0.5, 0.5, 0.5), after=SplitField([0.7, 0.5, 0.5], [0.5, 0.5, 0.3])
    )
    right, left = changed[64:192, 20:118].reshape(-1, 3), changed[64:192, 138:236].reshape(-1, 3)
    assert (np.abs(right.astype(int) - [179, 128, 128]) <= 1).all()
    assert (np.abs(left.astype(int) - [128, 128, 77]) <= 1).all()


def test_a_mesh_without_uv_or_canonical_positions_is_refused(mesh):
    plain = PlainField(0.5, 0.5, 0.5)
    for bare in (replace(mesh, uv=None), replace(mesh, canonical=None)):
        with pytest.raises(ValueError, match="uv and canonical"):
            recolor(photo(), bare, before=plain, after=plain)
