# SPDX-License-Identifier: Apache-2.0
"""Sparse evaluation of a function on an axis-aligned lattice, coarse to fine; its planes need not be evenly spaced.

A lattice of ``n`` nodes an edge is cut into blocks of 4 x 4 x 4 cells. The blocks' corners are evaluated first, then
every node of the blocks that the surface crosses. Where it leaves such a block through a side, the neighbour is
evaluated too, until it leaves none: the zero level of each found part is followed to its end, at the cost of the
surface's area and not of the cube's volume.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

BLOCK = 4
Evaluate = Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n"]]
Ticks = tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]


def whole_blocks(resolution: int) -> int:
    """The smallest number of nodes, at least ``resolution``, that whole blocks fill."""
    return BLOCK * -(-(resolution - 1) // BLOCK) + 1


def sparse_lattice(evaluate: Evaluate, ticks: Ticks) -> Float[np.ndarray, "n n n"]:
    """Values at the nodes of a box, exact at both ends of every edge that the zero level crosses.

    Args:
        evaluate: The function; called with some thousand points at a time or more.
        ticks: Ascending positions of the nodes on x, y and z; ``BLOCK * k + 1`` each, as many on all three.

    Returns:
        Indexed ``[i, j, k]`` for x, y, z. Nodes of blocks away from the zero level hold the value of a block corner.
    """
    nodes = len(ticks[0])
    if nodes < BLOCK + 1 or (nodes - 1) % BLOCK:
        raise ValueError(f"nodes must be a multiple of {BLOCK} plus 1, got {nodes}")
    known = np.zeros((nodes, nodes, nodes), dtype=bool)
    known[::BLOCK, ::BLOCK, ::BLOCK] = True
    corners = evaluate(_points(ticks, known)).reshape((nodes - 1) // BLOCK + 1, (nodes - 1) // BLOCK + 1, -1)
    values = _spread(corners)
    crossed = _crossed_blocks(values)
    while crossed.any():
        wanted = _nodes_of(crossed) & ~known
        if not wanted.any():
            break
        values[wanted] = evaluate(_points(ticks, wanted))
        known |= wanted
        crossed = _crossed_blocks(values)
    return values


def _points(ticks: Ticks, chosen: Bool[np.ndarray, "n n n"]) -> Float[np.ndarray, "m 3"]:
    """Positions of the chosen nodes."""
    places = [axis[index] for axis, index in zip(ticks, np.nonzero(chosen), strict=True)]
    return np.stack(places, axis=1).astype(np.float32)


def _spread(corners: Float[np.ndarray, "c c c"]) -> Float[np.ndarray, "n n n"]:
    """Every node takes the value of the nearest lower block corner."""
    values = corners.astype(np.float32)
    for axis in range(3):
        repeats = [BLOCK] * (values.shape[axis] - 1) + [1]
        values = np.repeat(values, repeats, axis=axis)
    return values


def _crossed_blocks(values: Float[np.ndarray, "n n n"]) -> Bool[np.ndarray, "b b b"]:
    """Blocks, their borders included, with nodes of both signs."""
    inside = values < 0
    some, every = inside, inside
    for axis in range(3):
        some, every = _over_blocks(some, np.logical_or, axis=axis), _over_blocks(every, np.logical_and, axis=axis)
    return some & ~every


def _over_blocks(flags: np.ndarray, reduce: np.ufunc, *, axis: int) -> np.ndarray:
    """Reduce along one axis over the 5 nodes of each block; neighbours share their border."""
    last = flags.shape[axis] - 1
    by_block = reduce.reduceat(flags, np.arange(0, last, BLOCK), axis=axis)
    return reduce(by_block, np.take(flags, np.arange(BLOCK, last + 1, BLOCK), axis=axis))


def _nodes_of(blocks: Bool[np.ndarray, "b b b"]) -> Bool[np.ndarray, "n n n"]:
    """Nodes of the chosen blocks, borders included."""
    nodes = blocks
    for axis in range(3):
        inner = np.repeat(nodes, BLOCK, axis=axis)
        pad = [(0, 0)] * 3
        pad[axis] = (0, 1)
        ends = np.zeros(inner.shape[axis] + 1, dtype=bool)
        ends[BLOCK::BLOCK] = True
        shape = [1, 1, 1]
        shape[axis] = len(ends)
        grown = np.pad(inner, pad)
        before = np.roll(grown, 1, axis=axis)
        nodes = grown | (before & ends.reshape(shape))
    return nodes
