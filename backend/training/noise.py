# SPDX-License-Identifier: Apache-2.0
"""Smooth repeatable noise in space: the same point has the same value on every machine."""

import numpy as np
from jaxtyping import Float

# Large odd multipliers for lattice hashing (Teschner et al. 2003, section 4.1) and for mixing bits.
_LATTICE = (np.uint32(73856093), np.uint32(19349663), np.uint32(83492791))
_MIX = (np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35))


def value_noise(points: Float[np.ndarray, "n 3"], seed: int = 0) -> Float[np.ndarray, "n"]:
    """Random values on the integer lattice, smoothly blended between, in [-1, 1].

    Args:
        points: One feature per unit of length.
        seed: Another seed gives unrelated noise.
    """
    corner = np.floor(points)
    within = points - corner
    blend = (within * within * (3 - 2 * within)).astype(np.float32)
    lattice = corner.astype(np.int64)
    low = [lattice[:, axis].astype(np.uint32) * _LATTICE[axis] for axis in range(3)]
    high = [(lattice[:, axis] + 1).astype(np.uint32) * _LATTICE[axis] for axis in range(3)]
    salt = np.uint32((seed * 2654435761) & 0xFFFFFFFF)
    value = np.zeros(len(points), np.float32)
    for number in range(8):
        bits = [(number >> axis) & 1 for axis in range(3)]
        keys = [high[axis] if bits[axis] else low[axis] for axis in range(3)]
        weight = np.ones(len(points), np.float32)
        for axis in range(3):
            weight *= blend[:, axis] if bits[axis] else 1 - blend[:, axis]
        value += weight * _hash(keys[0] ^ keys[1] ^ keys[2] ^ salt)
    return value


def layered_noise(points: Float[np.ndarray, "n 3"], layers: int, seed: int = 0) -> Float[np.ndarray, "n"]:
    """Value noise of doubling frequency and halving strength, in [-1, 1]."""
    total = np.zeros(len(points), np.float32)
    for layer in range(layers):
        total += 0.5**layer * value_noise(points * 2.0**layer, seed + layer)
    return total / (2 - 0.5 ** (layers - 1))


def _hash(key: np.ndarray) -> np.ndarray:
    """Unsigned 32-bit keys to values in [-1, 1) (the finaliser of MurmurHash3, public domain)."""
    key = (key ^ (key >> np.uint32(16))) * _MIX[0]
    key = (key ^ (key >> np.uint32(13))) * _MIX[1]
    key = key ^ (key >> np.uint32(16))
    return key.astype(np.float32) / np.float32(2**31) - np.float32(1)
