# SPDX-License-Identifier: Apache-2.0
"""Lengths of a head that shape sliders are named after, measured on the template."""

import numpy as np
from jaxtyping import Float

from backend.template import Template

# A place is a face-mesh landmark or the template vertex nearest to a canonical position in metres.
Place = int | tuple[float, float, float]
EAR_TOP, EAR_LOBE = (0.077, 0.060, -0.011), (0.079, -0.022, 0.020)
EAR_RIM, TEMPLE = (0.093, 0.025, 0.001), (0.079, 0.057, 0.014)
NECK_SIDE, BACK, CROWN = (0.060, -0.098, -0.013), (0.0, 0.044, -0.086), (0.0, 0.148, 0.021)
RIDGE = 0.02


def _right(place: tuple[float, float, float]) -> tuple[float, float, float]:
    return (-place[0], place[1], place[2])


# Positive and negative ends, and the axis along which their means are apart.
MEASURES: dict[str, tuple[tuple[Place, ...], tuple[Place, ...], int]] = {
    "Face width": ((454,), (234,), 0),
    "Jaw width": ((397,), (172,), 0),
    "Chin width": ((400,), (176,), 0),
    "Chin height": ((17,), (152,), 1),
    "Chin forward": ((152, 199), (17,), 2),
    "Cheek fullness": ((425, 411), (205, 187), 0),
    "Forehead height": ((10,), (168,), 1),
    "Nose length": ((168,), (2,), 1),
    "Nose width": ((358,), (129,), 0),
    "Nose forward": ((1,), (358, 129), 2),
    "Nose bridge": ((6, 197), (133, 362), 2),
    "Eye width": ((133, 263), (33, 362), 0),
    "Eye height": ((159, 386), (145, 374), 1),
    "Eye spacing": ((362,), (133,), 0),
    "Brow height": ((105, 334), (159, 386), 1),
    "Mouth width": ((291,), (61,), 0),
    "Lip fullness": ((0,), (17,), 1),
    "Ear size": ((EAR_TOP, _right(EAR_TOP)), (EAR_LOBE, _right(EAR_LOBE)), 1),
    "Ears out": ((EAR_RIM, _right(TEMPLE)), (TEMPLE, _right(EAR_RIM)), 0),
    "Head width": ((TEMPLE,), (_right(TEMPLE),), 0),
    "Head depth": ((10,), (BACK,), 2),
    "Head height": ((CROWN,), (168,), 1),
    "Neck width": ((NECK_SIDE,), (_right(NECK_SIDE),), 0),
}


def measure_places(template: Template, vertices: Float[np.ndarray, "*b n 3"]) -> Float[np.ndarray, "*b m"]:
    """Each of ``MEASURES`` on heads, or linear moves of heads, given as template vertices; metres."""
    rows = []
    for plus, minus, axis in MEASURES.values():
        ends = [np.mean([_at(template, vertices, place) for place in end], axis=0)[..., axis] for end in (plus, minus)]
        rows.append(ends[0] - ends[1])
    return np.stack(rows, axis=-1)


def measure_gradients(template: Template) -> Float[np.ndarray, "m k"]:
    """How each of ``MEASURES`` changes with each shape code, metres per standard deviation."""
    return measure_places(template, template.shape).T


def shape_moves(gradients: Float[np.ndarray, "m k"]) -> Float[np.ndarray, "m k"]:
    """For each measure the likeliest move of the codes that changes it by a standard deviation and hardly another."""
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    moves = np.linalg.solve(unit @ unit.T + RIDGE * np.eye(len(unit)), unit)
    return moves / np.einsum("mk,mk->m", moves, unit)[:, None]


def _at(template: Template, vertices: np.ndarray, place: Place) -> np.ndarray:
    if isinstance(place, int):
        return template.landmarks(vertices, [place])[..., 0, :]
    nearest = np.linalg.norm(template.vertices - np.array(place), axis=1).argmin()
    return vertices[..., nearest, :]
