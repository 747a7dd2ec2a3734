# SPDX-License-Identifier: Apache-2.0
"""Sliders of the person: age, gender, skin, hair and beard, from what the generator shows for known people.

Each person of the population is measured in the generator's own field; a slider then moves ``w`` so that its measure
changes by a standard deviation, while the measures it must leave alone stay.

Source:
    METHODS section 4: ``d = S B (B' S B)^-1 e`` with the covariance S of ``w`` and the measures' regression B.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from backend.directions import Direction
from backend.generator.starter import StarterGenerator
from backend.head import Slider
from backend.template import Template
from backend.training.dataset import TrainingHead
from backend.training.heads import Identity
from backend.training.measures import MEASURES, measure_gradients, shape_moves

PERSON_RANGE = 2.0
SURFACE_PARTS = 6  # Principal components of how hair and clothes lie, which sliders of colour leave alone.
W_PARTS = 48
RIDGE = 0.02
CHEEKS = (50, 280, 205, 425, 118, 347)
BEARD_PLACES = (164, 200, 175, 152, 172, 397, 136, 365)
CROWN_REGION_M = 0.03  # Canonical height above which a template vertex behind the face lies under hair.
HAIR_DEPTH_M, AROUND_HAIR_M = 0.004, 0.018
HAIR_PLACES = 160
LUMA = np.array([0.2126, 0.7152, 0.0722])
COLOURS = ("skin", "hair", "beard")
TRAITS = ("age", "gender", *COLOURS, "volume")
# Slider: the trait it moves in ``w``; all other traits are held. Sliders but ``Hair volume`` hold the surface too.
SLIDERS = {
    "Age": "age", "Gender": "gender", "Skin tone": "skin", "Hair colour": "hair", "Beard": "beard",
    "Hair volume": "volume",
}  # fmt: skip
# MakeHuman's weight hardly shows in the face; these measures go with it.
WITH_WEIGHT = {"Cheek fullness": 0.6, "Jaw width": 0.5, "Neck width": 0.4}
SHAPED = {"Age": 0, "Gender": 1, "Weight": 2}  # Sliders that regress the shape, by column of ``known_traits``.


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

    @property
    def known_traits(self) -> Float[np.ndarray, "s 3"]:
        """Age, gender and weight of each head."""
        return np.array([[one.age, one.gender, one.weight] for one in self.identities])


def shape_code(template: Template, vertices: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "k"]:
    """Shape code of a head at rest, standard deviations.

    Args:
        template: Its shapes are orthogonal.
        vertices: The template's vertices on the head, metres.
    """
    basis = template.shape.reshape(len(template.shape), -1)
    offsets = (vertices - template.vertices - template.neutral).ravel()
    return basis @ offsets / (basis**2).sum(1)


def person_directions(template: Template, generator: StarterGenerator, population: Population) -> list[Direction]:
    """The sliders of group ``Person``."""
    w = map_heads(generator, population.heads)
    colors, surface = measure_people(template, generator, w)
    traits = np.column_stack([population.known_traits[:, :2], colors])
    moves = w_moves(w, traits, principal_parts(surface, SURFACE_PARTS))
    slopes = regression_slopes(population.known_traits, population.shape)
    measures = dict(zip(MEASURES, shape_moves(measure_gradients(template)), strict=True))
    slopes[SHAPED["Weight"]] += sum(share * measures[name] for name, share in WITH_WEIGHT.items())
    still = np.zeros(len(template.expression))
    directions = []
    for name in ("Age", "Gender", "Weight", "Skin tone", "Hair colour", "Hair volume", "Beard"):
        w_move = moves[SLIDERS[name]] if name in SLIDERS else np.zeros(w.shape[1])
        shape = slopes[SHAPED[name]] if name in SHAPED else np.zeros(len(template.shape))
        slider = Slider(name, "Person", -PERSON_RANGE, PERSON_RANGE)
        directions.append(Direction(slider, w_move, shape, still, recolors=name in SLIDERS and name != "Hair volume"))
    return directions


@torch.no_grad()
def map_heads(generator: StarterGenerator, heads: list[TrainingHead]) -> Float[np.ndarray, "s w_dim"]:
    """The ``w`` of each head."""
    z = torch.from_numpy(np.stack([head.z for head in heads])).float()
    return generator.map(z)[:, 0].numpy().astype(np.float64)


@torch.no_grad()
def measure_people(
    template: Template, generator: StarterGenerator, w: Float[np.ndarray, "s w_dim"]
) -> tuple[Float[np.ndarray, "s 4"], Float[np.ndarray, "s d"]]:
    """What the generator shows: skin and hair lightness, darkness of the beard, hair volume; and the outer surface.

    Args:
        template: With landmarks.
        generator: Asked once for each row.
        w: Of each person.

    Returns:
        The last four of ``TRAITS``, and signed distances around hair and neck, metres.
    """
    skin, beard = (template.landmarks(template.vertices, list(numbers)) for numbers in (CHEEKS, BEARD_PLACES))
    scalp, outwards = _scalp(template)
    hair, around = scalp + HAIR_DEPTH_M * outwards, scalp + AROUND_HAIR_M * outwards
    points = torch.from_numpy(np.concatenate([skin, beard, hair])).float()
    rows, surface = [], []
    for row in w:
        ws = torch.from_numpy(row).float().expand(1, generator.num_ws, -1)
        field = generator.field(ws)
        light = field.color(points).numpy() @ LUMA
        cheeks, chin, strands = np.split(light, [len(skin), len(skin) + len(beard)])
        distance = field.signed_distance(torch.from_numpy(around).float()).numpy().astype(np.float64)
        rows.append([cheeks.mean(), strands.mean(), cheeks.mean() - chin.mean(), -distance.mean()])
        surface.append(distance)
    return np.array(rows), np.stack(surface)


def w_moves(
    w: Float[np.ndarray, "s w_dim"], traits: Float[np.ndarray, "s t"], surface: Float[np.ndarray, "s p"]
) -> dict[str, Float[np.ndarray, "w_dim"]]:
    """For each of ``TRAITS``, the likeliest move of ``w`` that changes it alone, by a standard deviation.

    Args:
        w: Of each person.
        traits: Columns as in ``TRAITS``.
        surface: More measures, which all but the volume's move leave alone.
    """
    centred = w - w.mean(0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    parts = min(W_PARTS, int((singular > 1e-6 * singular[0]).sum()))
    scores = centred @ axes[:parts].T / (singular[:parts] / np.sqrt(len(w)))  # Of covariance 1.
    moves = {}
    for number, name in enumerate(TRAITS):
        held = [column for column in range(len(TRAITS)) if column != number]
        measures = np.column_stack([traits[:, [number, *held]], surface[:, : 0 if name == "volume" else None]])
        measures = (measures - measures.mean(0)) / np.maximum(measures.std(0), 1e-12)
        slopes = np.linalg.solve(scores.T @ scores + RIDGE * len(w) * np.eye(parts), scores.T @ measures)
        gram = slopes.T @ slopes
        goal = np.linalg.solve(gram + 1e-6 * np.trace(gram) * np.eye(len(gram)), np.eye(len(gram))[0])
        moves[name] = (slopes @ goal * singular[:parts] / np.sqrt(len(w))) @ axes[:parts]
    return moves


def principal_parts(values: Float[np.ndarray, "s d"], count: int) -> Float[np.ndarray, "s p"]:
    """Scores of the first principal components."""
    u, singular, _ = np.linalg.svd(values - values.mean(0), full_matrices=False)
    return u[:, :count] * singular[:count]


def regression_slopes(traits: Float[np.ndarray, "s t"], values: Float[np.ndarray, "s k"]) -> Float[np.ndarray, "t k"]:
    """Change of each value per standard deviation of each trait, the other traits held."""
    scaled = (traits - traits.mean(0)) / traits.std(0)
    return np.linalg.lstsq(np.column_stack([scaled, np.ones(len(scaled))]), values, rcond=None)[0][:-1]


def _scalp(template: Template) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 3"]]:
    """Template vertices where hair grows, spread evenly, and the directions away from the head's middle."""
    vertices = template.vertices
    grown = vertices[(vertices[:, 1] > CROWN_REGION_M) & (vertices[:, 2] < 0.2 * vertices[:, 1])]
    chosen = grown[np.linspace(0, len(grown) - 1, HAIR_PLACES).astype(int)]
    away = chosen - np.array([0.0, 0.03, 0.0])
    return chosen, away / np.linalg.norm(away, axis=1, keepdims=True)
