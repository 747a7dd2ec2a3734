# SPDX-License-Identifier: Apache-2.0
"""From what a photo shows at canonical points to a plane offset in one pass.

What TriPlaneNet's second encoder learns, where a pixel belongs in the planes, is known here from the fitted head: each
seen point drops its features onto the three planes where it stands, and a small network spreads them, also to the
mirrored place.

Source:
    TriPlaneNet v2 (METHODS section 1.3): photo, first reconstruction and residual in, plane offset out.
    Peng et al. 2020, arXiv:2003.04618, section 3.1 (points pooled onto planes).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.generator.starter import HeadPlanes, warp

POINT_FEATURES, HIDDEN = 24, 48
PLANE_AXES = ((0, 1), (0, 2), (1, 2))  # Which coordinates run along each plane's width and height.
# Planes' pixels along each pixel of an offset: where it is coarse, hair and cloth keep a smooth surface.
OFFSET_SCALE = 4
TRAINED_POINTS = 1536  # Seen points of a portrait in training.
INPUTS = 12  # Place, photo, first reconstruction and residual.


class PlaneLift(nn.Module):
    """Seen points to a coarse plane offset.

    Args:
        channels: Features of a plane.
        side_px: Of the offset.
    """

    def __init__(self, *, channels: int, side_px: int) -> None:
        super().__init__()
        self.channels, self.side_px = channels, side_px
        self.describe = nn.Sequential(nn.Linear(INPUTS, 64), nn.SiLU(), nn.Linear(64, POINT_FEATURES))
        # Of all planes together: own and mirrored point features, how many points, and the generator's planes.
        inputs = 3 * (2 * (POINT_FEATURES + 1) + channels)
        last = nn.Conv2d(3 * HIDDEN, 3 * channels, 1, bias=False)
        nn.init.zeros_(last.weight)  # Untrained, there is no offset.
        self.spread = nn.Sequential(
            nn.Conv2d(inputs, 3 * HIDDEN, 3, padding=1), nn.SiLU(),
            nn.Conv2d(3 * HIDDEN, 3 * HIDDEN, 3, padding=2, dilation=2), nn.SiLU(),
            nn.Conv2d(3 * HIDDEN, 3 * HIDDEN, 3, padding=4, dilation=4), nn.SiLU(),
            last,
        )  # fmt: skip

    def forward(
        self,
        head: HeadPlanes,
        points: Float[Tensor, "b n 3"],
        photo: Float[Tensor, "b n 3"],
        weight: Float[Tensor, "b n"],
        *,
        first: Float[Tensor, "b n 3"],
        side: float,
    ) -> Float[Tensor, "b 3 c k k"]:
        """The offset, to be enlarged as in ``upsample_offset``.

        Args:
            head: The first reconstruction's planes.
            points: Canonical places that the photo shows, metres.
            photo: sRGB in [0, 1] there.
            weight: Trust in each point, 0 for none.
            first: The first reconstruction's colour there.
            side: Edge of the canonical cube, metres.
        """
        place = warp(points, side) * (2 / side)
        features = self.describe(torch.cat([place, photo, first, photo - first], dim=-1))
        mirrored = place * place.new_tensor([-1.0, 1.0, 1.0])
        own, image = (laid_on_planes(where, features, weight, self.side_px) for where in (place, mirrored))
        context = functional.adaptive_avg_pool2d(head.planes.flatten(1, 2), self.side_px)
        offset: Tensor = self.spread(torch.cat([own.flatten(1, 2), image.flatten(1, 2), context], dim=1))
        return offset.unflatten(1, (3, self.channels))


def laid_on_planes(
    place: Float[Tensor, "b n 3"], features: Float[Tensor, "b n f"], weight: Float[Tensor, "b n"], side_px: int
) -> Float[Tensor, "b 3 f1 k k"]:
    """Weighted mean of the features of each cell of the three planes, and as last feature the share of trust in it.

    Args:
        place: In plane coordinates, -1 to 1.
        features: Of the places.
        weight: Trust in each.
        side_px: Cells along a plane's edge.
    """
    cells = ((place + 1) * (side_px / 2)).long().clamp(0, side_px - 1)
    weighted = torch.cat([features * weight[..., None], weight[..., None]], dim=-1)
    batch = torch.arange(len(place), device=place.device)[:, None] * side_px**2
    result = []
    for column, row in PLANE_AXES:
        index = batch + cells[..., row] * side_px + cells[..., column]
        sums = weighted.new_zeros(len(place) * side_px**2, weighted.shape[-1])
        sums = sums.index_add(0, index.flatten(), weighted.flatten(0, 1))
        mean = sums[:, :-1] / sums[:, -1:].clamp(min=1e-3)
        known = sums[:, -1:] / (1 + sums[:, -1:])
        result.append(torch.cat([mean, known], dim=1).unflatten(0, (len(place), side_px, side_px)))
    return torch.stack(result, dim=1).permute(0, 1, 4, 2, 3)


def upsample_offset(coarse: Float[Tensor, "b 3 c k k"], side_px: int) -> Float[Tensor, "b 3 c r r"]:
    """The offset at the planes' own resolution, smooth."""
    size = (side_px, side_px)
    flat = functional.interpolate(coarse.flatten(0, 1), size=size, mode="bicubic", align_corners=False)
    return flat.unflatten(0, coarse.shape[:2])
