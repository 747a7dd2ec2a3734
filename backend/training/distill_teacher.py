# SPDX-License-Identifier: Apache-2.0
"""Heads of the starter as coloured points in EG3D's world, each told by a few normal numbers.

The starter's field lies in a canonical space that a template deforms. Points are drawn there, and carried with what
the field says of them to where EG3D's portraits have the face.

Source:
    EG3D.md section 2.12 for the place and scale of faces in EG3D's world; see ``published_alignment``.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from backend.camera import Camera, rays
from backend.config import SurfaceConfig
from backend.directions import Codes
from backend.field import Field
from backend.generator.config import GeneratorConfig
from backend.generator.mapping import normalize_power
from backend.portrait_model.placement import PLACEMENTS
from backend.published_alignment import EYE_CORNERS, EYES_TO_FACE_M, FACE_ORIGIN
from backend.raycast import Caster
from backend.starter import Starter
from backend.surface import extract_surface
from backend.template import Template

UNIT_M = PLACEMENTS["eg3d"].metres_per_unit
SPREAD = 0.75  # Of the described heads that are drawn, over that of the varied heads stored with the starter.
APPEARANCES, SHAPES = 6, 4
EXPRESSIONS = (("jawOpen",), ("mouthSmileLeft", "mouthSmileRight"))
NUMBERS = APPEARANCES + SHAPES + len(EXPRESSIONS)
FACE_SHARE, SKIN_SHARE, SHELL_SHARE = 0.4, 0.2, 0.2  # Of the pool; the rest is anywhere in the cube.
FACE_M, SKIN_M, SHELL_M = 0.006, 0.005, (-0.015, 0.06)  # Landmarks crowd where a face has its features.
NEAR_M = 0.006  # Points this near to a surface are drawn half as often as those on it ...
FURTHEST_M = 0.02  # ... and those further than this as often as here: emptiness must be learned too.
MESH = SurfaceConfig(faces=30_000, resolution=129)
FAR = 1.0  # Distance of points beyond the planes, where nothing can be, units.
EMPTY = -1.0  # Black, behind heads.


@dataclass(frozen=True)
class HeadPoints:
    """Points of some heads.

    Args:
        places: In EG3D's world, units.
        distance: To skin, hair or clothes, whichever is outermost; units, negative inside.
        colors: sRGB, right near the surface.
    """

    places: Float[Tensor, "b n 3"]
    distance: Float[Tensor, "b n"]
    colors: UInt8[Tensor, "b n 3"]


class Teacher:
    """The starter's heads by ``NUMBERS`` normal numbers: appearance, shape, mouth open, smile.

    Args:
        starter: Its varied heads span the appearances.
        seed: Of the points.
        pool_points: Canonical points that all heads share.
    """

    def __init__(self, starter: Starter, *, seed: int, pool_points: int) -> None:
        self.starter, self._random = starter, np.random.default_rng(seed)
        described = starter.candidates.double().numpy()
        self._mean = described.mean(0)
        # Half of one hair style and half of another is neither; all heads wear the same.
        for first, count in starter.generator.config.choices:
            described[:, first : first + count] = self._mean[first : first + count]
        _, singular, axes = np.linalg.svd(described - self._mean, full_matrices=False)
        # A vector's sign means nothing; its largest entry decides, so that it is the same on every machine.
        axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
        self._axes = (SPREAD * singular / np.sqrt(len(described)))[:APPEARANCES, None] * axes[:APPEARANCES]
        self._points = _pool(starter.template, starter.generator.config.side, pool_points, self._random)
        self._binding = starter.template.binding(self._points)
        self._body = starter.generator.body_distance(torch.from_numpy(self._points).float())

    def codes(self, numbers: Float[np.ndarray, "k"]) -> Codes:
        """The starter's codes of a head."""
        template = self.starter.template
        described = self._mean + numbers[: len(self._axes)] @ self._axes
        with torch.no_grad():
            ws = self.starter.generator.map(torch.from_numpy(described).float()[None])[0]
        shape = np.zeros(len(template.shape))
        count = min(SHAPES, len(shape))
        shape[:count] = numbers[APPEARANCES : APPEARANCES + count]
        expression = np.zeros(len(template.expression))
        for names, value in zip(EXPRESSIONS, numbers[-len(EXPRESSIONS) :], strict=True):
            at = [template.expression_names.index(name) for name in names if name in template.expression_names]
            expression[at] = np.clip(0.5 * value, 0, 1)
        return Codes(ws.numpy().astype(np.float64), shape, expression)

    @torch.no_grad()
    def points(self, numbers: Float[np.ndarray, "b k"], count: int) -> HeadPoints:
        """Points of heads, more of them near surfaces."""
        rows = [self._one(row, count) for row in numbers]
        places, distance, colors = (torch.stack(part) for part in zip(*rows, strict=True))
        return HeadPoints(places, distance, colors)

    def _one(self, numbers: Float[np.ndarray, "k"], count: int) -> tuple[Tensor, Tensor, Tensor]:
        codes, generator = self.codes(numbers), self.starter.generator
        planes = generator.planes(torch.from_numpy(codes.ws).float()[None])
        outer, color = generator.decode(planes, torch.from_numpy(self._points).float()[None])
        distance = torch.minimum(outer[0], self._body)
        chance = 1 / (NEAR_M + distance.abs().clamp(max=FURTHEST_M).double().numpy())
        chosen = self._random.choice(len(chance), count, replace=False, p=chance / chance.sum())
        offsets = self.starter.template.offsets(codes.shape, codes.expression)
        placed = self.starter.template.place(self._points[chosen], self._binding[chosen], offsets, codes.pose)
        units = torch.from_numpy(to_eg3d(placed, self.starter.template)).float()
        is_beyond = (units.abs() > GeneratorConfig().side / 2).any(-1)
        in_bytes = (color[0][chosen].clamp(0, 1) * 255).round().byte()
        return units, torch.where(is_beyond, FAR, distance[chosen] / UNIT_M), in_bytes

    @torch.no_grad()
    def head(self, numbers: Float[np.ndarray, "k"]) -> "TeacherHead":
        """A head to take pictures of."""
        codes, template = self.codes(numbers), self.starter.template
        field: Field = self.starter.generator.field(torch.from_numpy(codes.ws).float()[None])
        surface = extract_surface(field, MESH)
        canonical = surface.vertices.astype(np.float64)
        offsets = template.offsets(codes.shape, codes.expression)
        placed = template.place(canonical, template.binding(canonical), offsets, codes.pose)
        return TeacherHead(field, surface.faces, canonical, to_eg3d(placed, template))


@dataclass(frozen=True)
class TeacherHead:
    """A head as a mesh that its field colours.

    Args:
        field: In canonical space.
        faces: Triangles.
        canonical: Vertices there, metres.
        vertices: The same in EG3D's world, units.
    """

    field: Field
    faces: np.ndarray
    canonical: Float[np.ndarray, "v 3"]
    vertices: Float[np.ndarray, "v 3"]

    @torch.no_grad()
    def picture(self, camera: Camera, size_px: int) -> Float[Tensor, "3 s s"]:
        """What a camera sees, without any light, before black; as sharp as the field."""
        origin, directions = rays(camera, size_px)
        triangle, weights, _ = Caster(self.vertices, self.faces).first_hit(origin[None], directions.reshape(-1, 3))
        hits = (self.canonical[self.faces[triangle]] * weights[..., None]).sum(1)
        seen = self.field.color(torch.from_numpy(hits).float()) * 2 - 1
        seen[torch.from_numpy(triangle < 0)] = EMPTY
        return seen.reshape(size_px, size_px, 3).permute(2, 0, 1).clamp(-1, 1)


def to_eg3d(points: Float[np.ndarray, "n 3"], template: Template) -> Float[np.ndarray, "n 3"]:
    """From the starter's world, metres, to where EG3D's portraits have the face, units."""
    eyes = template.landmarks(template.vertices + template.neutral, EYE_CORNERS).mean(0)
    return (points - eyes - EYES_TO_FACE_M) / UNIT_M + FACE_ORIGIN


def numbers_of(z: Tensor) -> Float[np.ndarray, "b k"]:
    """What a student's mapping makes of a batch of ``z``: the numbers that tell the teacher's heads."""
    return normalize_power(z)[:, :NUMBERS].double().numpy()


def _pool(template: Template, side: float, count: int, random: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Canonical points about the landmarks, on the skin, around it, and anywhere, metres."""
    face, skin, shell = (int(share * count) for share in (FACE_SHARE, SKIN_SHARE, SHELL_SHARE))
    marks = template.landmarks(template.vertices)
    about = marks[random.integers(len(marks), size=face)] + random.normal(0, FACE_M, (face, 3))
    corners = template.vertices[template.faces[random.integers(len(template.faces), size=skin + shell)]]
    weights = random.dirichlet((1.0, 1.0, 1.0), skin + shell)
    on_skin = (corners * weights[..., None]).sum(1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    away = np.concatenate([random.normal(0, SKIN_M, skin), random.uniform(*SHELL_M, shell)])
    anywhere = random.uniform(-side / 2, side / 2, (count - face - skin - shell, 3))
    return np.concatenate([about, on_skin + away[:, None] * normals, anywhere])
