# SPDX-License-Identifier: Apache-2.0
"""The starter generator around a fitted head, as inversion methods see it.

Shape, expression and camera are the parametric fit's, whichever method follows: methods differ in how they find
appearance, hair and clothes.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from backend.generator.plane_generator import Images
from backend.generator.starter import SHARPNESS_M, HeadPlanes, StarterGenerator, ray_weights
from backend.inversion.cameras import Cameras
from backend.inversion.sampled_model import SampledModel
from backend.inversion.starter_rendering import Samples, place_samples, union_distance
from backend.inversion.starter_space import HeadSpace

SIZE_PX = 128
OUTLINE_SOFTNESS_M = 0.004
FAINT = 1e-4  # Opacity that an empty ray is given, so that it has a depth.


@dataclass(frozen=True)
class StarterHead:
    """One head of the starter generator on a fitted body.

    Args:
        generator: Decodes.
        space: Around the fitted body.
        content: Its planes and palette, a batch of one.
    """

    generator: StarterGenerator
    space: HeadSpace
    content: HeadPlanes

    @property
    def planes(self) -> Float[Tensor, "1 3 c r r"]:
        """Features of the head."""
        return self.content.planes

    def moved(self, plane_offset: Float[Tensor, "1 3 c r r"]) -> "StarterHead":
        """With an offset added to the planes."""
        return replace(self, content=self.content.moved(plane_offset))

    def recolored(self, color_offset: Float[Tensor, "1 3 c r r"]) -> "StarterHead":
        """With an offset added to the planes for colours alone."""
        return replace(self, content=self.content.recolored(color_offset))

    def on_mirrored_body(self) -> "StarterHead":
        """The same planes on the mirrored body."""
        return replace(self, space=self.space.mirrored)

    def to_canonical(self, points: Float[Tensor, "1 n 3"]) -> Float[Tensor, "1 n 3"]:
        """Where the planes hold world points."""
        return self.space.to_canonical(points)

    def to_world(self, points: Float[Tensor, "1 n 3"]) -> Float[Tensor, "1 n 3"]:
        """The inverse of ``to_canonical``."""
        return self.space.to_world(points)

    def decode(self, points: Float[Tensor, "1 n 3"]) -> tuple[Float[Tensor, "1 n"], Float[Tensor, "1 n 3"]]:
        """Density per metre and sRGB colour in about [0, 1] of canonical points."""
        outer, color = self.generator.decode(self.content, points)
        distance = union_distance(self.generator, outer[0], points[0])
        return torch.sigmoid(-distance / SHARPNESS_M)[None] / SHARPNESS_M, color

    def render(self, cameras: Cameras, *, size_px: int, superresolve: bool = True) -> Images:
        """Pictures over mid grey, one per camera; there is no super-resolution. See ``method.Head``."""
        del superresolve
        samples = place_samples(self.generator, self.content, self.space, cameras=cameras, size_px=size_px)
        shown = torch.zeros(len(cameras) * size_px**2, 5, device=samples.points.device)
        far = cameras.cam2world[:, :3, 3].norm(dim=-1).repeat_interleave(size_px**2) + self.space.side / 2
        shown[:, 4] = far
        shown = shown.index_put((samples.ray,), self._seen(samples, far[samples.ray]))
        picture = shown.unflatten(0, (len(cameras), size_px, size_px)).permute(0, 3, 1, 2)
        image, opacity, depth = picture.split([3, 1, 1], dim=1)
        return Images(image, image, depth, opacity)

    def _seen(self, samples: Samples, far: Float[Tensor, "k"]) -> Float[Tensor, "k 5"]:
        """Colour in [-1, 1] times opacity, opacity and depth of each ray.

        The opacity's slope is that of a softer outline, from the smallest distance along the ray, so that a silhouette
        that is off by more than the density's width can still move. Source: Yariv et al. 2020, arXiv:2003.09852,
        equation 7.
        """
        flat = samples.points.flatten(0, 1)
        outer, color = self.generator.decode(self.content, flat[None])
        distance = union_distance(self.generator, outer[0], flat).reshape(samples.along.shape)
        weights = ray_weights(distance, samples.spacing)
        lit = (weights[..., None] * (2 * color.reshape(samples.points.shape) - 1)).sum(1)
        opacity = weights.sum(-1)
        depth = ((weights * samples.along).sum(-1) + FAINT * far) / (opacity + FAINT)
        soft = torch.sigmoid(-distance.amin(-1) / OUTLINE_SOFTNESS_M)
        opacity = soft + (opacity - soft).detach()
        return torch.cat([lit, opacity[:, None], depth[:, None]], dim=1)


class StarterHeads(SampledModel[StarterGenerator]):
    """The starter generator around one fitted body; see ``method.Model``.

    Args:
        generator: Its weights are never changed.
        space: Around the fitted body.
        candidates: Descriptions of varied heads: their codes are what is usual.
    """

    opacity_is_matte = True
    is_light = True
    # Its codes begin with a description: far from all that it has learnt, hair has holes and lips are green.
    likely_weight = 0.02
    size_px = SIZE_PX

    def __init__(self, generator: StarterGenerator, space: HeadSpace, candidates: Float[Tensor, "k z_dim"]) -> None:
        super().__init__(generator)
        self.side = generator.config.side
        self._space, self._candidates = space, candidates

    def sample_ws(self) -> Float[Tensor, "n num_ws w_dim"]:
        """Codes of the candidates."""
        return self.network.map(self._candidates.to(self.network.mean_planes))

    def head(self, ws: Float[Tensor, "1 num_ws w_dim"]) -> StarterHead:
        """The head of some codes."""
        return StarterHead(self.network, self._space, self.network.planes(ws))

    def noise(self) -> dict[str, Float[Tensor, "r r"]]:
        """Nothing to search: the starter was trained with one noise, which has become part of its heads."""
        return {}
