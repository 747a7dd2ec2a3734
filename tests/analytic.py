# SPDX-License-Identifier: Apache-2.0
"""Fields and heads with known answers, for the tests of meshing, unwrapping and writing."""

from dataclasses import dataclass

import numpy as np
import torch

from backend.head import Head, HeadRecord, MorphTarget, Slider
from backend.mesh import Mesh, vertex_normals


@dataclass
class DistanceField:
    """A signed distance as a field with and without ``signed_distance``."""

    distance: object
    side: float = 0.42
    level: float = 10.0

    def signed_distance(self, points):
        return self.distance(points)

    def density(self, points):
        return 2 * self.level * torch.sigmoid(-self.distance(points) * 200)

    def color(self, points):
        return (points / self.side + 0.5).clamp(0, 1)


class DensityField:
    """The same field, its signed distance kept back."""

    def __init__(self, field: DistanceField) -> None:
        self.side, self.level, self.density, self.color = field.side, field.level, field.density, field.color


def ball(radius, centre=(0.0, 0.0, 0.0)):
    return lambda points: (points - torch.tensor(centre, device=points.device)).norm(dim=1) - radius


def torus(ring, tube):
    def distance(points):
        across = points[:, [0, 2]].norm(dim=1) - ring
        return torch.stack([across, points[:, 1]], dim=1).norm(dim=1) - tube

    return distance


def capsule(radius, low, high):
    """A vertical rod with round ends."""

    def distance(points):
        nearest = torch.zeros_like(points)
        nearest[:, 1] = points[:, 1].clamp(low, high)
        return (points - nearest).norm(dim=1) - radius

    return distance


def ellipsoid(axes):
    """Exact at the surface, to first order near it."""

    def distance(points):
        scale = torch.tensor(axes, device=points.device)
        reach = (points / scale).norm(dim=1)
        return reach * (reach - 1) / (points / scale**2).norm(dim=1).clamp(min=1e-6)

    return distance


def union(*distances):
    return lambda points: torch.stack([distance(points) for distance in distances]).amin(dim=0)


def hollow(outer, inner):
    return lambda points: torch.maximum(outer(points), -inner(points))


def smooth_union(first, second, radius):
    def distance(points):
        one, two = first(points), second(points)
        closeness = (radius - (one - two).abs()).clamp(min=0) / radius
        return torch.minimum(one, two) - closeness**2 * radius / 4

    return distance


def mannequin():
    """A head with chin, nose, ears, neck and shoulders, canonical metres; about as hard to unwrap as a person's."""
    shape = ellipsoid((0.075, 0.11, 0.095))
    shape = smooth_union(shape, ball(0.035, (0.0, -0.075, 0.055)), 0.03)
    shape = smooth_union(shape, ball(0.016, (0.0, -0.02, 0.1)), 0.02)
    shape = smooth_union(shape, capsule_at(0.055, (0.0, -0.25, -0.02), (0.0, -0.05, -0.02)), 0.02)
    shape = smooth_union(shape, capsule_at(0.06, (-0.2, -0.23, -0.02), (0.2, -0.23, -0.02)), 0.06)
    for side in (-1, 1):
        ear = capsule_at(0.008, (side * 0.088, -0.03, -0.012), (side * 0.096, 0.02, -0.024))
        shape = smooth_union(shape, ear, 0.012)
    return DistanceField(shape)


def capsule_at(radius, start, end):
    """A rod with round ends between two points."""

    def distance(points):
        first, last = (torch.tensor(point, device=points.device) for point in (start, end))
        along = last - first
        share = ((points - first) @ along / (along @ along)).clamp(0, 1)
        return (points - first - share[:, None] * along).norm(dim=1) - radius

    return distance


def box_mesh():
    """A cube of side 2 as 12 triangles with a vertex for each side's corner, and its UV as six tiles."""
    vertices, faces, uv = [], [], []
    for axis in range(3):
        for sign in (-1, 1):
            first, second = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            corners = [sign * np.eye(3)[axis] + a * first + b * second for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            base, tile = len(vertices), np.array([axis, (sign + 1) // 2]) / 3
            quad = [[0, 1, 2], [0, 2, 3]] if sign > 0 else [[0, 2, 1], [0, 3, 2]]
            vertices += corners
            faces += [[base + corner for corner in triangle] for triangle in quad]
            uv += [tile + np.array(corner) / 3 for corner in ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))]
    vertices, faces = np.array(vertices, dtype=np.float32), np.array(faces, dtype=np.int32)
    normals = vertex_normals(vertices, faces)
    return Mesh(vertices, faces, normals=normals, uv=np.array(uv, dtype=np.float32), canonical=vertices)


def example_record():
    random = np.random.default_rng(0)
    return HeadRecord(
        generator={"id": "starter-1", "family": "starter", "licence": "Apache-2.0", "commercial_use": "yes"},
        codes={
            "ws": random.normal(size=(1, 10, 32)).astype(np.float32),
            "shape": random.normal(size=120),
            "plane_offset": random.normal(size=(1, 3, 4, 8, 8)).astype(np.float16).astype(np.float32),
            "parts": np.arange(6, dtype=np.int64).reshape(2, 3),
            "empty": np.zeros((0, 3), dtype=np.float32),
            "scalar": np.array(3.5, dtype=np.float32),
        },
        camera={"cam2world": np.eye(4).tolist(), "intrinsics": [[4.2, 0.0, 0.5], [0.0, 4.2, 0.5], [0.0, 0.0, 1.0]]},
        portrait_jpeg=bytes(range(256)),
        photo_sha256="0" * 64,
        seed=7,
        settings={"quality": "balanced", "faces": 30_000, "face": None},
        sliders=[Slider("Jaw width", "Shape", -2.0, 2.0), Slider("Lächeln", "Expression", 0.0, 1.0)],
        slider_values={"Jaw width": 0.1},
    )


def example_head(mesh=None):
    """A cube of side 0.2 m in world units of 0.1 m, with one slider that moves everything and one that moves a bit."""
    mesh = box_mesh() if mesh is None else mesh
    rows, columns = np.mgrid[:64, :64].astype(np.uint8)
    everything = np.tile(np.array([0.0, 0.5, 0.25], dtype=np.float32), (len(mesh.vertices), 1))
    few = np.zeros_like(everything)
    few[1] = (0.1, 0.0, 0.0)
    few[2] = (0.0, 1e-5, 0.0)
    record = example_record()
    return Head(
        mesh=mesh,
        texture=np.stack([rows * 4, columns * 4, np.full_like(rows, 90)], axis=-1),
        morph_targets=[MorphTarget(record.sliders[0], everything), MorphTarget(record.sliders[1], few)],
        record=record,
        metres_per_unit=0.1,
        report={},
    )
