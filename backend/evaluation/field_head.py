# SPDX-License-Identifier: Apache-2.0
"""A head as a method's codes alone make it, without a photo on it: its surface, and the field's colours there.

The texture of a finished head takes the photo where the photo shows something, whichever method found the codes; that
would hide what methods differ in.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8

from backend.camera import Camera, rays
from backend.config import SurfaceConfig
from backend.evaluation.geometry_metrics import smooth_normals
from backend.evaluation.made import BACKGROUND
from backend.evaluation.registration import Similarity
from backend.field import Field
from backend.mesh import Mesh, vertex_normals
from backend.portrait_model.contract import CodesT, PortraitModel
from backend.raycast import Caster
from backend.surface import extract_surface

POINTS_PER_CALL = 100_000


@dataclass(frozen=True)
class FieldView:
    """A picture of a head.

    Args:
        color: On grey, unlit.
        depth: Along the optical axis, infinite where nothing is seen.
        normal: Unit, world axes, 0 where nothing is seen.
    """

    color: UInt8[np.ndarray, "s s 3"]
    depth: Float[np.ndarray, "s s"]
    normal: Float[np.ndarray, "s s 3"]


@dataclass(frozen=True)
class FieldHead:
    """The surface of a field, where it was made or brought to the truth.

    Args:
        mesh: With its vertices in the field's space too.
        field: Knows the colours.
    """

    mesh: Mesh
    field: Field

    @staticmethod
    def of(model: PortraitModel[CodesT], codes: CodesT, surface: SurfaceConfig) -> "FieldHead":
        """The head of some codes, in the model's world.

        Args:
            model: Whose codes.
            codes: Of the head.
            surface: How the field is meshed.
        """
        field = model.field(codes)
        canonical = extract_surface(field, surface)
        vertices = model.bind(canonical, codes).vertices(codes)
        normals = vertex_normals(vertices, canonical.faces)
        return FieldHead(Mesh(vertices, canonical.faces, normals, None, canonical.vertices), field)

    def placed(self, similarity: Similarity) -> "FieldHead":
        """Somewhere else."""
        return replace(self, mesh=similarity.place_mesh(self.mesh))

    def view(self, camera: Camera, size_px: int) -> FieldView:
        """What a camera sees."""
        origin, directions = rays(camera, size_px)
        flat = directions.reshape(-1, 3)
        triangle, barycentric, distance = self.caster.first_hit(origin[None], flat)
        hit = triangle >= 0
        depth, normal = np.full(len(flat), np.inf), np.zeros((len(flat), 3))
        color = np.full((len(flat), 3), BACKGROUND, np.uint8)
        depth[hit] = distance[hit] * (flat[hit] @ camera.cam2world[:3, 2])
        normal[hit] = smooth_normals(self.mesh, triangle[hit], barycentric[hit])
        color[hit] = self._colors(triangle[hit], barycentric[hit])
        shape = (size_px, size_px)
        return FieldView(color.reshape(*shape, 3), depth.reshape(shape), normal.reshape(*shape, 3))

    @cached_property
    def caster(self) -> Caster:
        """Finds where rays meet the surface."""
        return Caster(self.mesh.vertices, self.mesh.faces)

    @torch.no_grad()
    def _colors(self, triangle: np.ndarray, barycentric: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
        """The field's colours at places on the mesh: what lies between vertices is asked, not interpolated."""
        if self.mesh.canonical is None:
            raise ValueError("a field head needs its vertices in the field's space")
        corners = self.mesh.canonical[self.mesh.faces[triangle]]
        places = torch.from_numpy(np.einsum("nk,nkc->nc", barycentric, corners)).float()
        colors = [self.field.color(block).cpu() for block in places.split(POINTS_PER_CALL) if len(block)]
        found = torch.cat(colors) if colors else places
        return (255 * found).round().byte().numpy()
