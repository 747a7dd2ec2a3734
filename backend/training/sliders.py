# SPDX-License-Identifier: Apache-2.0
"""Makes the starter generator's sliders from its known codes.

Shape: each slider changes one measure of the face by a standard deviation and leaves the others nearly alone.
Expression: the template's own. Person: what age, weight or hair colour mean for shape and ``w`` on average.

Source:
    METHODS section 4, the covariance construction; the shape codes are white, so that its covariance is 1.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from backend.directions import Direction
from backend.generator.starter import StarterGenerator
from backend.head import Slider
from backend.template import Template
from backend.training.appearance import NAMES
from backend.training.dataset import TrainingHead
from backend.training.heads import Identity

# Face-mesh landmarks: positive and negative ends, and the axis along which they are apart.
MEASURES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "Face width": ((454,), (234,), 0),
    "Jaw width": ((397,), (172,), 0),
    "Chin height": ((17,), (152,), 1),
    "Chin forward": ((152, 199), (17,), 2),
    "Cheek fullness": ((425, 411), (205, 187), 0),
    "Nose length": ((168,), (2,), 1),
    "Nose width": ((358,), (129,), 0),
    "Nose forward": ((1,), (358, 129), 2),
    "Nose bridge": ((6, 197), (133, 362), 2),
    "Eye width": ((133, 263), (33, 362), 0),
    "Eye height": ((159, 386), (145, 374), 1),
    "Brow height": ((105, 334), (159, 386), 1),
    "Mouth width": ((291,), (61,), 0),
    "Lip fullness": ((0,), (17,), 1),
    "Forehead height": ((10,), (168,), 1),
}
SHAPE_RANGE = 2.5
RIDGE = 0.05
EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "Mouth open": ("jawOpen",),
    "Smile": ("mouthSmileLeft", "mouthSmileRight"),
    "Frown": ("mouthFrownLeft", "mouthFrownRight"),
    "Pucker": ("mouthPucker",),
    "Blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "Squint": ("eyeSquintLeft", "eyeSquintRight"),
    "Brows up": ("browInnerUpLeft", "browInnerUpRight", "browOuterUpLeft", "browOuterUpRight"),
    "Brows down": ("browDownLeft", "browDownRight"),
}
PERSON_RANGE = 2.0
JACOBIAN_HEADS = 64


@dataclass(frozen=True)
class Population:
    """Heads with all their numbers, as the sampler made them.

    Args:
        identities: Of each head.
        shape: Its shape codes.
        heads: Its appearance and dressing.
    """

    identities: list[Identity]
    shape: Float[np.ndarray, "s k"]
    heads: list[TrainingHead]


def build_directions(template: Template, generator: StarterGenerator, population: Population) -> list[Direction]:
    """All sliders, shape first."""
    return [
        *_shape_directions(template, generator.config.w_dim),
        *_expression_directions(template, generator.config.w_dim),
        *_person_directions(template, generator, population),
    ]


def measure_gradients(template: Template) -> Float[np.ndarray, "m k"]:
    """How each of ``MEASURES`` changes with each shape code, metres per standard deviation."""
    corners = template.faces[template.landmark_faces]
    moves = np.einsum("knci,nc->kni", template.shape[:, corners], template.landmark_weights)
    rows = [
        moves[:, list(plus), axis].mean(1) - moves[:, list(minus), axis].mean(1)
        for plus, minus, axis in MEASURES.values()
    ]
    return np.stack(rows)


def _shape_directions(template: Template, w_dim: int) -> list[Direction]:
    gradients = measure_gradients(template)
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    gram = unit @ unit.T
    inverse = np.linalg.inv(gram + RIDGE * np.eye(len(gram)))
    moves = inverse @ unit
    moves /= np.einsum("mk,mk->m", moves, unit)[:, None]
    still = np.zeros(len(template.expression))
    return [
        Direction(Slider(name, "Shape", -SHAPE_RANGE, SHAPE_RANGE), np.zeros(w_dim), move, still)
        for name, move in zip(MEASURES, moves, strict=True)
    ]


def _expression_directions(template: Template, w_dim: int) -> list[Direction]:
    directions = []
    still = np.zeros(len(template.shape))
    singles = {name: (name,) for name in template.expression_names}
    for name, parts in {**EXPRESSIONS, **singles}.items():
        expression = np.array([float(part in parts) for part in template.expression_names])
        directions.append(Direction(Slider(name, "Expression", 0.0, 1.0), np.zeros(w_dim), still, expression))
    return directions


def _person_directions(template: Template, generator: StarterGenerator, population: Population) -> list[Direction]:
    z = np.stack([head.z for head in population.heads])
    traits = np.array([[one.age, one.gender, one.weight] for one in population.identities])
    z_slopes, shape_slopes = _slopes(traits, z), _slopes(traits, population.shape)
    appearance = len(NAMES)
    z_slopes[:, appearance:] = 0
    none = np.zeros(len(template.shape))
    moves = {
        "Age": (z_slopes[0], shape_slopes[0]),
        "Gender": (z_slopes[1], shape_slopes[1]),
        "Weight": (np.zeros(z.shape[1]), shape_slopes[2]),
        "Skin tone": (_group_move(z, "skin_base"), none),
        "Hair colour": (_group_move(z, "hair_base"), none),
        "Beard": (_named_move(z, ("beard_regions_lip", "beard_regions_chin", "beard_regions_cheek")), none),
        "Hair volume": (_volume_move(z), none),
    }
    directions = []
    for name, (z_move, shape_move) in moves.items():
        w = _w_move(generator, z, z_move) if z_move.any() else np.zeros(generator.config.w_dim)
        slider = Slider(name, "Person", -PERSON_RANGE, PERSON_RANGE)
        directions.append(Direction(slider, w, shape_move, np.zeros(len(template.expression))))
    return directions


def _slopes(traits: Float[np.ndarray, "s t"], values: Float[np.ndarray, "s k"]) -> Float[np.ndarray, "t k"]:
    """Regression of values on traits: change of each value per standard deviation of each trait."""
    scaled = (traits - traits.mean(0)) / traits.std(0)
    return np.linalg.lstsq(np.column_stack([scaled, np.ones(len(scaled))]), values, rcond=None)[0][:-1]


def _group_move(z: np.ndarray, group: str) -> np.ndarray:
    """One standard deviation towards lighter in a colour of three numbers, along its main axis."""
    columns = [number for number, name in enumerate(NAMES) if name.startswith(group)]
    _, singular, axes = np.linalg.svd(z[:, columns] - z[:, columns].mean(0), full_matrices=False)
    move = np.zeros(z.shape[1])
    move[columns] = axes[0] * np.sign(axes[0].sum()) * singular[0] / np.sqrt(len(z))
    return move


def _named_move(z: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    move = np.zeros(z.shape[1])
    for name in names:
        move[NAMES.index(name)] = z[:, NAMES.index(name)].std()
    return move


def _volume_move(z: np.ndarray) -> np.ndarray:
    """The hair's volume is the third number from the end of ``z``."""
    move = np.zeros(z.shape[1])
    move[-3] = z[:, -3].std()
    return move


@torch.no_grad()
def _w_move(generator: StarterGenerator, z: np.ndarray, move: np.ndarray) -> Float[np.ndarray, "w_dim"]:
    """What a move of ``z`` does to ``w``, averaged over heads."""
    start = torch.from_numpy(z[:JACOBIAN_HEADS]).float()
    step = torch.from_numpy(move).float()
    return ((generator.mapping(start + step) - generator.mapping(start - step)) / 2).mean(0).numpy().astype(np.float64)
