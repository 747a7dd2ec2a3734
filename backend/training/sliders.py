# SPDX-License-Identifier: Apache-2.0
"""Makes the starter generator's sliders from its known codes.

Shape: each slider changes one measure of the head by a standard deviation and leaves the others nearly alone.
Expression: the template's own, combined and one by one. Pose: the template's neck. Person: see ``person``.

Source:
    METHODS section 4, the covariance construction; the shape codes are white, so that their covariance is 1.
"""

import numpy as np

from backend.directions import Direction
from backend.generator.starter import StarterGenerator
from backend.head import Slider
from backend.skeleton import POSE_SIZE
from backend.template import Template
from backend.training.measures import MEASURES, measure_gradients, shape_moves
from backend.training.person import Population, person_directions

SHAPE_RANGE = 2.5
# A head further than this from the mean, in standard deviations over all codes, is a caricature.
FARTHEST = 6.0
EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "Mouth open": ("jawOpen",),
    "Smile": ("mouthSmileLeft", "mouthSmileRight"),
    "Frown": ("mouthFrownLeft", "mouthFrownRight"),
    "Pucker": ("mouthPucker",),
    "Blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "Squint": ("eyeSquintLeft", "eyeSquintRight"),
    "Eyes wide": ("eyeWideLeft", "eyeWideRight"),
    "Brows up": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    "Brows down": ("browDownLeft", "browDownRight"),
    "Sneer": ("noseSneerLeft", "noseSneerRight"),
    "Look left": ("eyeLookOutLeft", "eyeLookInRight"),
    "Look right": ("eyeLookInLeft", "eyeLookOutRight"),
    "Look up": ("eyeLookUpLeft", "eyeLookUpRight"),
    "Look down": ("eyeLookDownLeft", "eyeLookDownRight"),
}
# Axis of the rotation vector; one unit is shared by neck and head.
TURNS = {"Head nod": 0, "Head turn": 1, "Head tilt": 2}
TURN_DEG = 10.0


def build_directions(template: Template, generator: StarterGenerator, population: Population) -> list[Direction]:
    """All sliders, shape first."""
    return [
        *shape_directions(template, generator.config.w_dim),
        *expression_directions(template, generator.config.w_dim),
        *pose_directions(template, generator.config.w_dim),
        *person_directions(template, generator, population),
    ]


def shape_directions(template: Template, w_dim: int) -> list[Direction]:
    """One slider per measure, in its standard deviations; the range ends before heads turn into caricatures."""
    moves = shape_moves(measure_gradients(template))
    still = np.zeros(len(template.expression))
    directions = []
    for name, move in zip(MEASURES, moves, strict=True):
        reach = min(SHAPE_RANGE, np.floor(4 * FARTHEST / np.linalg.norm(move)) / 4)
        directions.append(Direction(Slider(name, "Shape", -reach, reach), np.zeros(w_dim), move, still))
    return directions


def expression_directions(template: Template, w_dim: int) -> list[Direction]:
    """Everyday names for a few expressions together, then each expression by its ARKit name."""
    directions = []
    still = np.zeros(len(template.shape))
    singles = {name: (name,) for name in template.expression_names}
    for group, sliders in (("Expression", EXPRESSIONS), ("ARKit", singles)):
        for name, parts in sliders.items():
            expression = np.array([float(part in parts) for part in template.expression_names])
            directions.append(Direction(Slider(name, group, 0.0, 1.0), np.zeros(w_dim), still, expression))
    return directions


def pose_directions(template: Template, w_dim: int) -> list[Direction]:
    """Turns of the head, half of each in the neck; a template with a stiff neck has none."""
    if not len(template.joint_shares):
        return []
    directions = []
    for name, axis in TURNS.items():
        pose = np.zeros(POSE_SIZE)
        pose[[axis, axis + 3]] = np.radians(TURN_DEG) / 2
        codes = np.zeros(w_dim), np.zeros(len(template.shape)), np.zeros(len(template.expression))
        directions.append(Direction(Slider(name, "Pose", -1.0, 1.0), *codes, pose))
    return directions
