# SPDX-License-Identifier: Apache-2.0
import numpy as np

from backend.training.rounding import MOST_M, rounded_lattice
from backend.training.solid import distance_lattice
from tests.mean_body import mean_solid, needs_assets


def brow_height(lattice, low, high):
    """Where columns along z leave the brow, metres."""
    z = np.linspace(low[2], high[2], lattice.shape[2])
    last = lattice.shape[2] - 1 - (lattice[:, :, ::-1] < 0).argmax(2)
    before, after = (np.take_along_axis(lattice, (last + step)[..., None], 2)[..., 0] for step in (0, 1))
    return z[last] + before / (before - after) * (z[1] - z[0])


@needs_assets
def test_a_rounded_brow_has_no_facets_and_lies_where_it_was():
    low, high, shape = np.array([-0.024, 0.05, 0.08]), np.array([0.024, 0.08, 0.14]), (33, 21, 41)
    sharp, rounded = (make(mean_solid(), low, high, shape) for make in (distance_lattice, rounded_lattice))
    np.testing.assert_array_equal(rounded, rounded[::-1])
    symmetric = (sharp + sharp[::-1]) / 2
    assert np.abs(rounded - symmetric).max() < 1.001 * MOST_M
    bends = [np.abs(np.diff(brow_height(lattice, low, high), 2, axis=0)) for lattice in (symmetric, rounded)]
    evenness = [np.median(bend) / bend.mean() for bend in bends]  # Facets are flat and bend only where they meet.
    assert evenness[0] < 0.2 and evenness[1] > 0.7, evenness
