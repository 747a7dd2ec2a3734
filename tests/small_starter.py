# SPDX-License-Identifier: Apache-2.0
"""A starter model small enough to be made in a test: an egg for a head, smooth random bases, untrained networks."""

from dataclasses import replace

import numpy as np
import torch
import trimesh
from scipy.spatial import cKDTree

from backend.directions import Direction
from backend.generator.starter import StarterConfig, StarterGenerator
from backend.head import Slider
from backend.starter import Starter
from backend.template import Template

SIDE = 0.42
AXES = np.array([0.075, 0.11, 0.095])
EXPRESSIONS = ("jawOpen", "mouthSmileLeft", "eyeBlinkLeft")
SHAPES = 4
LANDMARKS = 478
IDENTITY = {"id": "small-1", "family": "starter", "licence": "CC0-1.0", "commercial_use": "yes"}


def egg_distance(points):
    """Signed distance to the egg, exact at its surface and to first order near it."""
    reach = np.linalg.norm(points / AXES, axis=-1)
    return reach * (reach - 1) / np.maximum(np.linalg.norm(points / AXES**2, axis=-1), 1e-6)


def lattice(low, high, nodes, distance=egg_distance):
    axes = [np.linspace(a, b, n) for a, b, n in zip(low, high, nodes, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return torch.from_numpy(distance(points.reshape(-1, 3)).reshape(points.shape[:3]).astype(np.float32))


def front_points(count, seed=1):
    """Random points on the egg's face, as seen from +z."""
    random = np.random.default_rng(seed)
    place = random.uniform(-0.7, 0.7, (count, 2)) * AXES[:2]
    depth = AXES[2] * np.sqrt(1 - ((place / AXES[:2]) ** 2).sum(1))
    return np.column_stack([place, depth])


def small_template(landmarks=None, seed=0, subdivisions=4):
    """An egg whose bases are slow waves of a few millimetres.

    Args:
        landmarks: Points near the surface that the landmarks are; random ones on the face when omitted.
        seed: Of the bases.
        subdivisions: Of an icosphere.
    """
    random = np.random.default_rng(seed)
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    vertices = np.asarray(sphere.vertices) * AXES
    _, mirror = cKDTree(vertices).query(vertices * [-1, 1, 1])

    def waves(count, amplitude_m):
        frequency = random.normal(0, 25, (count, 3, 3))
        phase = random.uniform(0, 2 * np.pi, (count, 1, 3))
        return amplitude_m * np.sin(np.einsum("kij,nj->kni", frequency, vertices) + phase)

    template = Template(
        vertices=vertices,
        faces=np.asarray(sphere.faces).astype(np.int64),
        mirror=mirror,
        neutral=waves(1, 0.001)[0],
        shape=waves(SHAPES, 0.003),
        expression=waves(len(EXPRESSIONS), 0.004),
        expression_names=EXPRESSIONS,
        landmark_faces=np.zeros(0, np.int64),
        landmark_weights=np.zeros((0, 3)),
        landmark_noise=np.zeros(0),
    )
    face, weights, _ = template.closest(front_points(LANDMARKS) if landmarks is None else landmarks)
    noise = random.uniform(0.0005, 0.002, len(face))
    return replace(template, landmark_faces=face, landmark_weights=weights, landmark_noise=noise)


def small_generator(seed=0, *, bald=True, distance=egg_distance, z_dim=5, parts=3):
    """A generator with random weights around the egg.

    Args:
        seed: Of the weights.
        bald: Keep hair and clothes 5 cm away from everything.
        distance: Of the body.
        z_dim: Numbers of a description.
        parts: Colours of the palette.
    """
    torch.manual_seed(seed)
    low, high = np.array([-0.06, -0.06, 0.03]), np.array([0.06, 0.06, 0.12])
    generator = StarterGenerator(
        StarterConfig(
            z_dim=z_dim, w_dim=z_dim + 7, mapping_layers=2, plane_resolution=16, plane_channels=4, channels=(8, 8),
            basis=3, parts=parts, decoder_hidden=16,
        ),
        body=lattice([-SIDE / 2] * 3, [SIDE / 2] * 3, (49,) * 3, distance),
        face=lattice(low, high, (49, 49, 37), distance),
        face_box=torch.tensor(np.stack([low, high]), dtype=torch.float32),
    )  # fmt: skip
    with torch.no_grad():  # Untrained, all colours would be alike.
        generator.decoder.last.weight.normal_()
        generator.basis.normal_(0, 0.1)
        generator.palette.weight *= 0.15
        if bald:
            generator.decoder.last.bias[0] = 5.0
            generator.decoder.last.weight[0] *= 0.1
    return generator.eval()


def plain_head(generator):
    """Planes of the head whose five numbers are zero."""
    return generator.planes(generator.map(torch.zeros((1, 5))))


def small_directions():
    """A shape slider, two expressions and one that moves ``w``."""
    random = np.random.default_rng(3)
    still_w, still_shape, still_expression = np.zeros(12), np.zeros(SHAPES), np.zeros(len(EXPRESSIONS))
    return [
        Direction(Slider("Jaw width", "Shape", -2.5, 2.5), still_w, random.normal(size=SHAPES), still_expression),
        Direction(Slider("Mouth open", "Expression", 0.0, 1.0), still_w, still_shape, np.array([1.0, 0.0, 0.0])),
        Direction(Slider("Smile", "Expression", 0.0, 1.0), still_w, still_shape, np.array([0.0, 1.0, 1.0])),
        Direction(Slider("Hair colour", "Person", -2.0, 2.0), random.normal(size=12), still_shape, still_expression),
    ]


def small_starter(landmarks=None, *, bald=True, distance=egg_distance):
    candidates = torch.randn((6, 5), generator=torch.Generator().manual_seed(4))
    generator = small_generator(bald=bald, distance=distance).requires_grad_(False)
    return Starter(generator, small_template(landmarks), small_directions(), candidates, dict(IDENTITY))
