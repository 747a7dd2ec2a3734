# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from backend.lattice import BLOCK, sparse_lattice, whole_blocks


def bumpy(points):
    return (np.linalg.norm(points, axis=1) - 0.6 + 0.1 * np.sin(9 * points).prod(axis=1)).astype(np.float32)


def even(nodes):
    return (np.linspace(-1, 1, nodes),) * 3


def uneven(nodes):
    unit = np.linspace(-1, 1, nodes)
    return unit**3, unit + 0.2 * np.sin(3 * unit), unit


def dense(function, ticks):
    grid = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1)
    return function(grid.reshape(-1, 3).astype(np.float32)).reshape(grid.shape[:3])


@pytest.mark.parametrize("spaced", [even, uneven])
@pytest.mark.parametrize("nodes", [9, 41])
def test_signs_and_crossed_edges_agree_with_dense_evaluation(nodes, spaced):
    sparse, full = sparse_lattice(bumpy, spaced(nodes)), dense(bumpy, spaced(nodes))
    np.testing.assert_array_equal(sparse < 0, full < 0)
    for axis in range(3):
        ahead = np.arange(1, nodes), np.arange(nodes - 1)
        one, other = (np.take(full, index, axis=axis) for index in ahead)
        crossed = (one < 0) != (other < 0)
        for index, values in zip(ahead, (one, other), strict=True):
            np.testing.assert_array_equal(np.take(sparse, index, axis=axis)[crossed], values[crossed])


def test_far_from_the_level_only_block_corners_are_evaluated():
    points = 0

    def count(where):
        nonlocal points
        points += len(where)
        return bumpy(where)

    sparse_lattice(count, even(81))
    assert points < 0.25 * 81**3


def test_no_node_is_evaluated_twice():
    seen = []

    def remember(where):
        seen.append(where)
        return bumpy(where)

    sparse_lattice(remember, even(41))
    places = np.concatenate(seen)
    assert len(np.unique(places, axis=0)) == len(places)


@pytest.mark.parametrize(("resolution", "nodes"), [(17, 17), (18, 21), (160, 161), (161, 161)])
def test_resolutions_are_rounded_up_to_whole_blocks(resolution, nodes):
    assert whole_blocks(resolution) == nodes


@pytest.mark.parametrize("nodes", [1, 4, 6, BLOCK])
def test_parts_of_blocks_are_refused(nodes):
    with pytest.raises(ValueError, match="multiple"):
        sparse_lattice(bumpy, even(nodes))
