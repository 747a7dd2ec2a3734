# SPDX-License-Identifier: Apache-2.0
"""Rays of batched cameras and where they cross the cube; `backend.camera` has the single camera of NumPy."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


def camera_rays(
    cam2world: Float[Tensor, "b 4 4"], intrinsics: Float[Tensor, "b 3 3"], size_px: int
) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b n 3"]]:
    """Rays through the pixel centres, row by row from the top left.

    Args:
        cam2world: Camera axes (x right, y down, z forward) and centre.
        intrinsics: In image widths; the last row is (0, 0, 1).
        size_px: Side of the image; n is its square.

    Returns:
        Origins and unit directions in world coordinates.
    """
    grid = torch.arange(size_px, device=cam2world.device, dtype=cam2world.dtype) * (1 / size_px) + 0.5 / size_px
    v, u = (axis.flatten() for axis in torch.meshgrid(grid, grid, indexing="ij"))
    fx, skew, cx = (intrinsics[:, 0, k, None] for k in range(3))
    fy, cy = (intrinsics[:, 1, k, None] for k in (1, 2))
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    points = torch.stack([x, (v - cy) / fy, torch.ones_like(x), torch.ones_like(x)], dim=1)
    origins = cam2world[:, None, :3, 3].expand(-1, len(u), -1)
    # Subtracting the origin again costs digits, but they are the ones that EG3D's renderings have.
    through = (cam2world @ points)[:, :3].transpose(1, 2)
    return origins, functional.normalize(through - origins, dim=-1)


def cross_cube(
    origins: Float[Tensor, "b n 3"], directions: Float[Tensor, "b n 3"], side: float
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """Where rays enter and leave the cube around the origin.

    Returns:
        Distances of entry and exit, and whether the ray hits; the distances of a miss mean nothing.

    Source:
        Kay and Kajiya 1986, Ray tracing complex scenes (the slab test).
    """
    inverse = 1 / torch.where(directions.abs() < 1e-12, 1e-12, directions)
    first, second = (-side / 2 - origins) * inverse, (side / 2 - origins) * inverse
    near = torch.minimum(first, second).amax(-1)
    far = torch.maximum(first, second).amin(-1)
    return near, far, near <= far


def cube_limits(
    origins: Float[Tensor, "b n 3"], directions: Float[Tensor, "b n 3"], side: float
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Distances between which to sample each ray.

    Rays that miss the cube are sampled over the range of the other rays' entries, as EG3D does it; if all miss,
    their limits are -1 and -2.
    """
    near, far, hits = cross_cube(origins, directions, side)
    is_sampled = hits & (far > near)
    if not is_sampled.any():
        return torch.where(hits, near, -1), torch.where(hits, far, -2)
    entries = near[is_sampled]
    return torch.where(is_sampled, near, entries.min()), torch.where(is_sampled, far, entries.max())
