# SPDX-License-Identifier: Apache-2.0
"""What each slider does to the vertices of a finished mesh."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float

from backend.directions import Codes, Direction
from backend.generator.starter import StarterGenerator
from backend.head import MorphTarget, Slider
from backend.mesh import Mesh
from backend.starter import Starter

MOST_M = 0.02  # A linear step further than this says nothing about the true surface.
STILL_M = 2e-5


def morph_targets(
    starter: Starter, codes: Codes, surface: Mesh, *, normals: Float[np.ndarray, "v 3"], binding: sp.csr_matrix
) -> list[MorphTarget]:
    """One morph target per direction, for the vertices where they are.

    Shape and expression are exact, because the template is linear in them. A turn of the head is exact at both ends
    but for the arc: a straight way between them leads the far side out of the circle by 1.5 % at 10 degrees. A
    direction of ``w`` moves the surface of hair and clothes; vertices follow along their normal by the change of the
    signed distance.

    Args:
        starter: The model; its field is asked once for each direction that moves the surface by ``w``.
        codes: Of the head.
        surface: The mesh in canonical space.
        normals: Unit, of the vertices in the world.
        binding: Of the vertices, from ``Template.binding``.
    """
    template, generator = starter.template, starter.generator
    points = torch.from_numpy(surface.vertices.astype(np.float32))
    here = _distance(generator, codes, points)
    shaped = surface.vertices + binding @ template.offsets(codes.shape, codes.expression)
    shares = template.point_shares(binding)
    targets = []
    for direction in starter.directions:
        moved = np.tensordot(direction.shape, template.shape, 1)
        moved += np.tensordot(direction.expression, template.expression, 1)
        forth = template.skeleton.place(shaped + binding @ moved, shares, codes.pose + direction.pose)
        back = template.skeleton.place(shaped - binding @ moved, shares, codes.pose - direction.pose)
        offsets = (forth - back) / 2
        if direction.w.any() and not direction.recolors:
            there = _distance(generator, replace(codes, ws=codes.ws + direction.w), points)
            outwards = np.clip(here - there, -MOST_M, MOST_M)
            offsets = offsets + outwards[:, None] * normals
        offsets[np.linalg.norm(offsets, axis=1) < STILL_M] = 0
        targets.append(MorphTarget(slider_for(direction, codes), offsets.astype(np.float32)))
    return targets


def slider_for(direction: Direction, codes: Codes) -> Slider:
    """The slider with the range that is left on this head: an expression at 0.3 may go from -0.3 to 0.7."""
    slider = direction.slider
    used = np.flatnonzero(direction.expression > 0)
    if not len(used):
        return slider
    value = float(codes.expression[used].min())
    highest = float((1 - codes.expression[used]).min())
    return Slider(slider.name, slider.group, round(slider.minimum - value, 3), round(max(highest, 0.05), 3))


@torch.no_grad()
def _distance(generator: StarterGenerator, codes: Codes, points: torch.Tensor) -> Float[np.ndarray, "v"]:
    device = generator.mean_planes.device
    ws = torch.from_numpy(codes.ws.astype(np.float32))[None].to(device)
    offset = None if codes.plane_offset is None else torch.from_numpy(codes.plane_offset.astype(np.float32))[None]
    field = generator.field(ws, None if offset is None else offset.to(device))
    return field.signed_distance(points).cpu().numpy().astype(np.float64)
