# SPDX-License-Identifier: Apache-2.0
"""Points near a posed body carried to where they are on the body at rest, by the body's nearest triangle.

3DPortraitGAN's planes hold a head at rest. The body mesh of a pose comes from a body model (`body_model`) that the
user brings: the published one is SMPL, whose files are licensed to their user and not part of this project. Without
it the generator renders and meshes the head at rest.

Source:
    Wu et al. 2023, 3DPortraitGAN, arXiv:2307.14770, section 3.2 (mesh-guided deformation).
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

# Triangles per point that are measured before the search widens to all of them.
_CANDIDATES = 16
_PAIRS_PER_CHUNK = 2**15  # So few that they stay in the processor's cache.
# Squared distances that differ by less are equal: a point's nearest corner or edge belongs to several triangles.
_TIE = 1e-13


def faces_within(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], side: float
) -> Bool[np.ndarray, "f"]:
    """Which triangles have all corners inside a cube around the origin."""
    is_inside = (np.abs(vertices) < side / 2).all(axis=1)
    return is_inside[faces].all(axis=1)


class MeshDeformation:
    """From the space of posed bodies to that of the body at rest, for a batch of heads.

    Args:
        posed: Vertices in the pose, world units.
        rest: The same vertices at rest.
        faces: Triangles that carry points; see `faces_within`.
        reach: Points farther from the posed mesh stay where they are, world units.
    """

    def __init__(
        self,
        posed: Float[Tensor, "b v 3"],
        rest: Float[Tensor, "b v 3"],
        faces: Int[Tensor, "f 3"],
        *,
        reach: float,
    ) -> None:
        self.posed, self.rest, self.faces, self.reach = posed, rest, faces.long(), reach

    def __call__(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        """Where posed points are at rest."""
        return self.carried(points, self.nearest(points))

    def nearest(self, points: Float[Tensor, "b n 3"]) -> Int[Tensor, "b n"]:
        """The triangle that carries each point; -1 for those out of reach."""
        pairs = zip(points, self.posed, strict=True)
        return torch.stack([nearest_faces(*pair, self.faces, reach=self.reach) for pair in pairs])

    def carried(self, points: Float[Tensor, "b n 3"], index: Int[Tensor, "b n"]) -> Float[Tensor, "b n 3"]:
        """Points carried along by the given triangles; those of index -1 stay."""
        corners = self.faces[index.clamp(min=0)]
        rows = torch.arange(len(points), device=points.device)[:, None, None]
        posed, posed_origin = triangle_frames(self.posed[rows, corners])
        rest, rest_origin = triangle_frames(self.rest[rows, corners])
        local = (posed.mT @ (points - posed_origin)[..., None]).squeeze(-1)
        carried = (rest @ local[..., None]).squeeze(-1) + rest_origin
        return torch.where(index[..., None] < 0, points, carried)


class LatticeDeformation:
    """A deformation read from a lattice of its displacements: quick on any device, and without steps.

    The nearest triangle of millions of points takes many seconds, at every look at the head. Between its steps the
    map is rigid, so that interpolation is exact there; at the steps it is smoothed over one cell.

    Args:
        exact: Of one head.
        side: Edge of the lattice's cube around the origin, world units; points outside stay.
        nodes: Along an edge.
    """

    def __init__(self, exact: MeshDeformation, *, side: float, nodes: int) -> None:
        self.side = side
        steps = torch.linspace(-side / 2, side / 2, nodes)
        z, y, x = torch.meshgrid(steps, steps, steps, indexing="ij")
        places = torch.stack([x, y, z], dim=-1).reshape(1, -1, 3)
        moves = exact(places.to(exact.posed.dtype)) - places
        self._moves = moves[0].T.reshape(1, 3, nodes, nodes, nodes).float()

    def __call__(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        """Where posed points are at rest."""
        self._moves = self._moves.to(points.device)
        grid = points.detach().reshape(1, -1, 1, 1, 3).float() * (2 / self.side)
        moves = functional.grid_sample(self._moves, grid, padding_mode="border", align_corners=True)
        is_inside = (points.abs() <= self.side / 2).all(-1, keepdim=True)
        return points + torch.where(is_inside, moves.reshape(3, -1).T.reshape(points.shape), 0).to(points)


def triangle_frames(
    corners: Float[Tensor, "*n 3 3"],
) -> tuple[Float[Tensor, "*n 3 3"], Float[Tensor, "*n 3"]]:
    """Axes (as columns: along the first edge, along the normal, and across both) and origin of triangles."""
    first, second, third = corners.unbind(-2)
    along = functional.normalize(second - first, dim=-1)
    normal = functional.normalize(torch.linalg.cross(second - first, third - first, dim=-1), dim=-1)
    return torch.stack([along, normal, torch.linalg.cross(along, normal, dim=-1)], dim=-1), first


@torch.no_grad()
def nearest_faces(
    points: Float[Tensor, "n 3"], vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], *, reach: float
) -> Int[Tensor, "n"]:
    """The triangle nearest to each point, of equally near ones the first; -1 where none is within reach.

    A few triangles whose centres are nearest are measured first. Another one can only be nearer if its centre is
    nearer than the best distance and the largest triangle's radius together; points for which that is possible are
    measured against more and more triangles.
    """
    corners = vertices.double().cpu()[faces.cpu()]
    queries = points.double().cpu()
    centres = corners.mean(1)
    radius = float((corners - centres[:, None]).norm(dim=-1).max())
    tree = cKDTree(centres.numpy())
    squared, index = (
        torch.full((len(queries),), torch.inf, dtype=torch.float64),
        torch.zeros(len(queries), dtype=torch.long),
    )
    unsure, count = torch.arange(len(queries)), _CANDIDATES
    while len(unsure):
        count = min(count, len(centres))
        to_centre, candidates = tree.query(queries[unsure].numpy(), k=[*range(1, count + 1)])
        # In rising order, so that the first of equally near triangles is kept.
        best, found = _nearest_of(queries[unsure], corners, torch.from_numpy(np.sort(candidates, axis=1)))
        squared[unsure], index[unsure] = best, found
        beyond = torch.from_numpy(to_centre[:, -1]) - radius
        unsure = unsure[(best.sqrt() >= beyond) & (beyond < reach)] if count < len(centres) else unsure[:0]
        count *= 4
    return torch.where(squared < reach**2, index, -1).to(points.device)


def _nearest_of(
    points: Float[Tensor, "n 3"], corners: Float[Tensor, "f 3 3"], candidates: Int[Tensor, "n k"]
) -> tuple[Float[Tensor, "n"], Int[Tensor, "n"]]:
    best, index = [], []
    step = max(1, _PAIRS_PER_CHUNK // candidates.shape[1])
    for chunk, chosen in zip(points.split(step), candidates.split(step), strict=True):
        squared = squared_distances(chunk[:, None], corners[chosen])
        is_least = squared <= squared.amin(1, keepdim=True) + _TIE
        least = is_least.int().argmax(1, keepdim=True)
        best.append(squared.gather(1, least)[:, 0])
        index.append(chosen.gather(1, least)[:, 0])
    return torch.cat(best), torch.cat(index)


def squared_distances(points: Float[Tensor, "*n 3"], corners: Float[Tensor, "*m 3 3"]) -> Float[Tensor, "*k"]:
    """Squared distance from points to triangles of equally many dimensions, broadcast against each other.

    Source:
        Ericson 2005, Real-Time Collision Detection, section 5.1.5: the plane where the foot of the perpendicular
        lies inside, else the nearest edge.
    """
    first, second, third = corners.unbind(-2)
    edges = torch.minimum(
        torch.minimum(_to_segment(points, first, second), _to_segment(points, second, third)),
        _to_segment(points, third, first),
    )
    normal = torch.linalg.cross(second - first, third - first, dim=-1)
    is_over = torch.ones_like(edges, dtype=torch.bool)
    for start, end in ((first, second), (second, third), (third, first)):
        is_over &= (torch.linalg.cross(end - start, points - start, dim=-1) * normal).sum(-1) >= 0
    height = ((points - first) * normal).sum(-1)
    area = normal.square().sum(-1)
    is_over &= area > 0
    return torch.where(is_over, height.square() / torch.where(area > 0, area, 1.0), edges)


def _to_segment(points: Tensor, start: Tensor, end: Tensor) -> Tensor:
    along = end - start
    length = along.square().sum(-1).clamp(min=torch.finfo(points.dtype).tiny)
    share = (((points - start) * along).sum(-1) / length).clamp(0, 1)
    return (points - start - share[..., None] * along).square().sum(-1)
