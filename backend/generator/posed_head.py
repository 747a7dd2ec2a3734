# SPDX-License-Identifier: Apache-2.0
"""A body whose neck and head have turned, in 3DPortraitGAN's world: its neck joint at the origin, metres.

Source:
    Wu et al. 2023, 3DPortraitGAN, arXiv:2307.14770, section 3.2.
"""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.errors import ModelError
from backend.generator.body_model import HEAD, NECK, BodyModel
from backend.generator.deformation import LatticeDeformation, MeshDeformation, faces_within, nearest_faces

LATTICE_NODES = 48  # 21 mm of SMPL's metre: less than a millimetre off between the map's own steps.
FAR = 10.0  # Metres; every point of a head has a nearest triangle.


class PosedHead:
    """The mean body with a pose of neck and head.

    Args:
        body: As users bring it.
        pose: Axis and angle of the neck joint, then of the head joint, radians.
        side: Edge of the cube that the planes span, metres.
        reach: How far the body's mesh carries points along, metres.

    Raises:
        ModelError: Nothing of the body lies within the cube.
    """

    def __init__(self, body: BodyModel, pose: Float[np.ndarray, "6"], *, side: float, reach: float) -> None:
        joints = torch.zeros(len(body.parents), 3, dtype=torch.float64)
        joints[[NECK, HEAD]] = torch.from_numpy(pose).double().reshape(2, 3)
        posed, rest = body.posed(joints), body.shaped()
        self.neck = body.joints(rest)[NECK]
        self.rest, self.posed = rest - self.neck, posed.vertices - self.neck
        self.faces = body.faces[torch.from_numpy(faces_within(self.rest.numpy(), body.faces.numpy(), side))]
        if not len(self.faces):
            raise ModelError(
                "The installed body model has no triangles around its neck; its unit is none of metres. Remove it with "
                "`protome models remove` and add SMPL's own file.",
                code="model_damaged",
            )
        self._weights, self._transforms = body.weights, posed.transforms
        self._side, self._reach = side, reach

    @cached_property
    def deformation(self) -> LatticeDeformation:
        """From the space of the posed body to that of the body at rest, where the planes hold the head."""
        exact = MeshDeformation(self.posed[None], self.rest[None], self.faces, reach=self._reach)
        return LatticeDeformation(exact, side=self._side, nodes=LATTICE_NODES)

    @property
    def head_motion(self) -> Float[np.ndarray, "4 4"]:
        """What the pose does to all that goes with the head, as a homogeneous matrix."""
        return self._about_neck(self._transforms[HEAD]).numpy()

    def motions(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4 4"]:
        """What the pose does to points near the body at rest: the same as to the skin nearest to them.

        This is the inverse of ``deformation`` but for the folds of the skin, and it has no steps.
        """
        places = torch.from_numpy(points).double()
        index = nearest_faces(places, self.rest, self.faces, reach=FAR).clamp(min=0)
        weights = self._weights_at(places, self.faces[index])
        return torch.einsum("nk,kij->nij", weights, self._about_neck(self._transforms)).numpy()

    def _weights_at(self, points: Float[Tensor, "n 3"], corners: Int[Tensor, "n 3"]) -> Float[Tensor, "n k"]:
        shares = barycentric(points, self.rest[corners])
        return (shares[..., None] * self._weights[corners]).sum(1)

    def _about_neck(self, transforms: Float[Tensor, "*k 4 4"]) -> Float[Tensor, "*k 4 4"]:
        """The same motions of points that are counted from the neck joint."""
        moved = transforms.clone()
        moved[..., :3, 3] += (transforms[..., :3, :3] @ self.neck) - self.neck
        return moved


def barycentric(points: Float[Tensor, "n 3"], corners: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3"]:
    """Shares of a triangle's corners in the place on it below a point; on the triangle, if not quite the nearest."""
    first, second, third = corners.unbind(1)
    along, across = second - first, third - first
    normal = torch.linalg.cross(along, across)
    area = normal.square().sum(-1).clamp(min=torch.finfo(points.dtype).tiny)
    offset = points - first
    shares = torch.stack([torch.linalg.cross(offset, across), torch.linalg.cross(along, offset)], dim=1)
    inner = (shares * normal[:, None]).sum(-1) / area[:, None]
    both = torch.cat([1 - inner.sum(1, keepdim=True), inner], dim=1).clamp(min=0)
    return both / both.sum(1, keepdim=True)
