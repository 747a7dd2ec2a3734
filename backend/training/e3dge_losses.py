# SPDX-License-Identifier: Apache-2.0
"""What the geometry-aware encoder pays for beyond its codes: the surface, its normals, the space near it, its colours.

Source:
    METHODS section 1.2, stages 1 and 2. E3DGE's eikonal term asks for slopes of length 1; the starter's distances are
    the frozen generator's, so slopes are held to the true head's instead, in direction and in length.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.e3dge import DetailBranch, Seen, detailed
from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.training.e3dge_head import ShapedHead

GEOMETRY_WEIGHTS = {"surface": 20.0, "near": 20.0, "normal": 4.0, "color": 5.0}
DETAIL_WEIGHTS = {"seen": 1.0, "seen_edges": 4.0, "novel": 1.0, "size": 0.5, "variation": 5.0}
RANGE_M = 0.02  # Farther from the surface, distances are as good as equal.
BEND = 0.05  # Of RANGE_M: where smooth L1 turns from squares to lengths.


def geometry_losses(
    told: ShapedHead,
    true: ShapedHead,
    *,
    surface: Float[Tensor, "b n 3"],
    near: Float[Tensor, "b m 3"],
    sloped: Float[Tensor, "b k 3"],
) -> dict[str, Tensor]:
    """How far told heads are from the true ones; 0 for the same head.

    Args:
        told: From the encoder's codes, with a slope.
        true: The samples.
        surface: Points of the true surface, in the head's frame, metres.
        near: Points around it and anywhere.
        sloped: Points of the surface whose normals are compared.
    """
    distance, color = told.look(surface)
    with torch.no_grad():
        goal_distance, goal_color = true.look(surface)
        goal_near, goal_slope = true.distance(near), true.slope(sloped)
    return {
        "surface": _gap(distance, goal_distance),
        "near": _gap(told.distance(near), goal_near),
        "normal": functional.smooth_l1_loss(told.slope(sloped), goal_slope),
        "color": (color - goal_color).abs().mean(),
        "surface_mm": 1000 * distance.detach().abs().clamp(max=RANGE_M).mean(),
    }


def _gap(distance: Float[Tensor, "b n"], goal: Float[Tensor, "b n"]) -> Float[Tensor, ""]:
    near, wanted = (values.clamp(-RANGE_M, RANGE_M) / RANGE_M for values in (distance, goal))
    return functional.smooth_l1_loss(near, wanted, beta=BEND)


def detail_losses(
    generator: StarterGenerator,
    branch: DetailBranch,
    head: HeadPlanes,
    seen: Seen,
    *,
    clean: Float[Tensor, "b 3 s s"],
    novel_points: Float[Tensor, "b n 3"],
    novel_color: Float[Tensor, "b n 3"],
) -> dict[str, Tensor]:
    """Colours with the photo's detail, where the photo shows the head and where another view does.

    Args:
        generator: Its weights stay.
        branch: The local stage.
        head: The first reconstruction.
        seen: What the photo shows of it.
        clean: What it would show without light and noise.
        novel_points: Canonical points that another view of the same head shows, on the reconstruction.
        novel_color: What that view shows there.
    """
    size = seen.photo.shape[-1]
    points = seen.points.flatten(2).transpose(1, 2)
    moved = detailed(branch, head, seen, side=generator.config.side)
    color = generator.decode(moved, torch.cat([points, novel_points], dim=1))[1]
    shown, novel = color.split([points.shape[1], novel_points.shape[1]], dim=1)
    picture = shown.transpose(1, 2).unflatten(2, (size, size))
    gap, first_gap = ((colors - clean) * seen.shown for colors in (picture, seen.first))
    share = seen.shown.mean().clamp(min=1e-3)
    with torch.no_grad():
        before = generator.decode(head, novel_points)[1]
    offset = moved.color_offset
    assert offset is not None
    return {
        "seen": gap.abs().mean() / share,
        "seen_edges": _steps(gap, seen.shown) / share,
        "novel": (novel - novel_color).abs().mean(),
        "size": offset.square().mean(),
        "variation": offset.diff(dim=-1).square().mean() + offset.diff(dim=-2).square().mean(),
        "seen_before": first_gap.abs().mean() / share,
        "seen_edges_before": _steps(first_gap, seen.shown) / share,
        "novel_before": (before - novel_color).abs().mean(),
    }


def _steps(gap: Float[Tensor, "b 3 s s"], shown: Float[Tensor, "b 1 s s"]) -> Float[Tensor, ""]:
    """Mean difference of neighbouring errors: a picture's edges, wherever its light is off."""
    across = gap.diff(dim=-1).abs() * shown[..., 1:] * shown[..., :-1]
    down = gap.diff(dim=-2).abs() * shown[..., 1:, :] * shown[..., :-1, :]
    return (across.mean() + down.mean()) / 2


def weighted(losses: dict[str, Tensor], weights: dict[str, float]) -> Float[Tensor, ""]:
    """The sum of all that has a weight."""
    return torch.stack([weights[name] * value for name, value in losses.items() if name in weights]).sum()
