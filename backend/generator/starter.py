# SPDX-License-Identifier: Apache-2.0
"""The starter generator: tri-planes over a canonical head whose bare skin is known in closed form.

The planes hold colour and the *outer* surface: hair and clothes. The body's signed distance is a stored lattice, so
that no refinement can dent a face; the head is the union of both. World and canonical units are metres.
"""

from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.generator.layers import FullyConnected, binomial_filter, upsample2
from backend.generator.planes import sample_each_plane
from backend.generator.synthesis import SynthesisNetwork, num_ws_of

# The density falls from inside to outside over about four times this distance; colours are only known so near the skin.
SHARPNESS_M = 0.0008
OUTER_SCALE_M = 0.01  # One unit of the decoder's first output.
FACE_BLEND_M = 0.006
LOGIT_SCALE = 3.0
SHADE_RANGE = 0.7
REST_RANGE = 0.3
# How much finer than at the edge the planes are in the middle: x and y crowd the face, z is even.
WARP = (1.2, 0.8, 0.0)


@dataclass(frozen=True)
class StarterConfig:
    """Sizes of the starter generator.

    Args:
        z_dim: Numbers that describe appearance, hair and top.
        w_dim: Size of a row of ``ws``.
        mapping_layers: Dense layers from ``z`` to ``w``.
        plane_resolution: Side of a plane, pixels.
        plane_channels: Features of a point.
        channels: Synthesis features at sides 4, 8, ... up to half the plane's.
        basis: Planes of a quarter of its side that ``w`` mixes linearly.
        parts: Colours that ``w`` sets for a whole head, such as those of skin, lips, hair and clothes.
        decoder_hidden: Width of the decoder.
        choices: Runs of numbers in ``z``, first and count, of which one stands for a chosen kind: hair style, top.
        side: Edge of the canonical cube, metres.
    """

    z_dim: int
    w_dim: int = 192
    mapping_layers: int = 3
    plane_resolution: int = 128
    plane_channels: int = 16
    channels: tuple[int, ...] = (64, 128, 128, 96, 64)
    basis: int = 32
    parts: int = 16
    decoder_hidden: int = 64
    choices: tuple[tuple[int, int], ...] = ()
    side: float = 0.42

    def to_dict(self) -> dict[str, object]:
        """For the header of the weights."""
        return asdict(self)


@dataclass(frozen=True)
class HeadPlanes:
    """What the decoder needs of a batch of heads.

    Args:
        planes: Features over three planes.
        palette: Colour of each part, sRGB, about [0, 1].
        color_offset: Added to the planes where colours are read; the outer surface never sees it. None for nothing.
    """

    planes: Float[Tensor, "b 3 c r r"]
    palette: Float[Tensor, "b p 3"]
    color_offset: Float[Tensor, "b 3 c r r"] | None = None

    def moved(self, offset: Float[Tensor, "b 3 c r r"]) -> "HeadPlanes":
        """With an offset added to the planes."""
        return replace(self, planes=self.planes + offset)

    def recolored(self, offset: Float[Tensor, "b 3 c r r"]) -> "HeadPlanes":
        """With an offset added that changes colours alone."""
        return replace(self, color_offset=offset if self.color_offset is None else self.color_offset + offset)


class PartDecoder(nn.Module):
    """From a point's features to the outer surface, and to colour as a mixture of the head's part colours.

    Args:
        features: Of a point.
        hidden: Width of the hidden layer.
        parts: Colours in the palette.
    """

    def __init__(self, features: int, *, hidden: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.first = FullyConnected(features, hidden)
        self.second = FullyConnected(hidden, hidden)
        # Outer surface, the part's logits, shade, and what colour is left over.
        self.last = FullyConnected(hidden, 1 + parts + 1 + 3)
        # All parts start alike: a part that chance puts far behind would never be chosen.
        with torch.no_grad():
            self.last.weight[1:] = 0

    def forward(
        self, features: Float[Tensor, "b n c"], palette: Float[Tensor, "b p 3"]
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 3"]]:
        """Raw outer distance and colour of points."""
        output = self.last(functional.silu(self.second(functional.silu(self.first(features)))))
        outer, logits, shade, rest = output.split([1, self.parts, 1, 3], dim=-1)
        mixed = torch.softmax(logits * LOGIT_SCALE, dim=-1) @ palette
        return outer.squeeze(-1), mixed * (1 + SHADE_RANGE * shade.tanh()) + REST_RANGE * rest.tanh()


class DescriptionMapping(nn.Module):
    """From a description ``z`` to ``w``, which begins with ``z`` itself and goes on with features learnt from it.

    What follows linearly from the description, such as the colours of skin and hair, does so from ``w`` too, exactly.

    Args:
        z_dim: Numbers of the description.
        w_dim: Size of ``w``, more than ``z_dim``.
        layers: Dense layers.
    """

    def __init__(self, z_dim: int, w_dim: int, layers: int) -> None:
        super().__init__()
        sizes = [z_dim, *[w_dim] * (layers - 1), w_dim - z_dim]
        self.layers = nn.Sequential(
            *(
                FullyConnected(size, following, activation="linear" if number == layers - 1 else "lrelu")
                for number, (size, following) in enumerate(pairwise(sizes))
            )
        )

    def forward(self, z: Float[Tensor, "b z_dim"]) -> Float[Tensor, "b w_dim"]:
        """One row per description."""
        return torch.cat([z, self.layers(z)], dim=1)


class StarterGenerator(nn.Module):
    """From codes to planes, and from planes to a field.

    The features of the three planes stand side by side instead of being averaged, so that front and back of a head,
    which share one plane, can differ.

    Args:
        config: Sizes.
        body: Signed distance of the bare head on the cube's lattice, metres, indexed x, y, z.
        face: The same on a finer lattice.
        face_box: Low and high corner of that lattice, metres.
    """

    resample_filter: Tensor
    body: Tensor
    face: Tensor
    face_box: Tensor

    def __init__(
        self,
        config: StarterConfig,
        *,
        body: Float[Tensor, "r r r"],
        face: Float[Tensor, "fx fy fz"],
        face_box: Float[Tensor, "2 3"],
    ) -> None:
        super().__init__()
        self.config = config
        self.mapping = DescriptionMapping(config.z_dim, config.w_dim, config.mapping_layers)
        sides = [4 * 2**i for i in range(len(config.channels))]
        features = 3 * config.plane_channels
        self.synthesis = SynthesisNetwork(
            w_dim=config.w_dim,
            resolution=sides[-1],
            image_channels=features,
            channels=dict(zip(sides, config.channels, strict=True)),
        )
        shape = (1, 3, config.plane_channels, config.plane_resolution, config.plane_resolution)
        self.mean_planes = nn.Parameter(torch.zeros(shape))
        self.basis = nn.Parameter(torch.zeros(config.basis, features, sides[-1] // 2, sides[-1] // 2))
        self.basis_weights = FullyConnected(config.w_dim, config.basis)
        self.palette = FullyConnected(config.w_dim, 3 * config.parts, bias_init=0.5)
        self.decoder = PartDecoder(features, hidden=config.decoder_hidden, parts=config.parts)
        self.register_buffer("resample_filter", binomial_filter(), persistent=False)
        self.register_buffer("body", body, persistent=False)
        self.register_buffer("face", face, persistent=False)
        self.register_buffer("face_box", face_box, persistent=False)

    @property
    def num_ws(self) -> int:
        """Rows of ``ws``."""
        return num_ws_of(self.synthesis.resolution)

    def map(self, z: Float[Tensor, "b z_dim"]) -> Float[Tensor, "b num_ws w_dim"]:
        """Codes of described heads."""
        w: Tensor = self.mapping(z)
        return w[:, None].expand(-1, self.num_ws, -1)

    def planes(
        self, ws: Float[Tensor, "b num_ws w_dim"], plane_offset: Float[Tensor, "b 3 c r r"] | None = None
    ) -> HeadPlanes:
        """Feature planes of a batch of codes, moved by ``plane_offset``, and their palette."""
        weights = self.basis_weights(ws[:, 0])
        mixed = (weights @ self.basis.flatten(1).to(weights.dtype)).unflatten(1, self.basis.shape[1:])
        coarse = self.synthesis(ws) + self._twice(mixed)
        planes = self._twice(coarse).unflatten(1, (3, self.config.plane_channels)) + self.mean_planes
        palette = self.palette(ws[:, -1]).unflatten(1, (-1, 3))
        return HeadPlanes(planes if plane_offset is None else planes + plane_offset, palette)

    def _twice(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        return upsample2(image, self.resample_filter)

    def decode(
        self, heads: HeadPlanes, points: Float[Tensor, "b n 3"]
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 3"]]:
        """Signed distance of hair and clothes, metres, and sRGB colour in about [0, 1], at canonical points."""
        points = warp(points.to(heads.planes.device), self.config.side)
        outer, color = self._read(heads.planes, heads.palette, points)
        if heads.color_offset is not None:
            _, color = self._read(heads.planes + heads.color_offset, heads.palette, points)
        return outer * OUTER_SCALE_M, color

    def _read(self, planes: Tensor, palette: Tensor, points: Float[Tensor, "b n 3"]) -> tuple[Tensor, Tensor]:
        """Raw outer distance and colour at warped points."""
        features = sample_each_plane(planes.float(), points, side=self.config.side, axes="corrected")
        outer, color = self.decoder(features.permute(0, 2, 1, 3).flatten(2), palette.float())
        return outer, color

    def body_distance(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Signed distance of the bare head at canonical points, metres."""
        points = points.to(self.body.device)
        half = self.config.side / 2
        low = torch.tensor([-half] * 3, device=points.device)
        coarse = _sample_lattice(self.body, points, torch.stack([low, -low]))
        fine = _sample_lattice(self.face, points, self.face_box)
        edge = torch.minimum(points - self.face_box[0], self.face_box[1] - points).amin(-1)
        return torch.lerp(coarse, fine, (edge / FACE_BLEND_M).clamp(0, 1))

    def field(
        self,
        ws: Float[Tensor, "1 num_ws w_dim"],
        plane_offset: Float[Tensor, "1 3 c r r"] | None = None,
        color_offset: Float[Tensor, "1 3 c r r"] | None = None,
    ) -> "StarterField":
        """The head of one code."""
        head = self.planes(ws, plane_offset)
        return StarterField(self, head if color_offset is None else head.recolored(color_offset))


class StarterField:
    """A head as density and colour in canonical space, differentiable in the planes.

    Args:
        generator: Decodes.
        head: Its planes and palette, a batch of one.
    """

    level = 0.5 / SHARPNESS_M

    def __init__(self, generator: StarterGenerator, head: HeadPlanes) -> None:
        self.generator = generator
        self.head = head
        self.side = generator.config.side
        # Each question asks the decoder once, though it has other planes to read for colours.
        self._shaped = replace(head, color_offset=None)
        self._painted = self._shaped if head.color_offset is None else self._shaped.moved(head.color_offset)

    def signed_distance(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Distance to skin, hair or clothes, whichever is outermost, metres, negative inside."""
        outer, _ = self.generator.decode(self._shaped, points[None])
        return torch.minimum(self.generator.body_distance(points), outer[0])

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Density per metre; ``level`` on the surface.

        Source:
            Yariv et al. 2021, arXiv:2106.12052 (VolSDF), with a logistic instead of a Laplace distribution.
        """
        return torch.sigmoid(-self.signed_distance(points) / SHARPNESS_M) / SHARPNESS_M

    def color(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """sRGB colour in [0, 1]."""
        _, color = self.generator.decode(self._painted, points[None])
        return color[0].clamp(0, 1)


def ray_weights(distance: Float[Tensor, "*n s"], spacing: Float[Tensor, "*n s"]) -> Float[Tensor, "*n s"]:
    """Share of a ray's light that each of its samples contributes, in [0, 1].

    Args:
        distance: Signed distance of the head at the samples, metres.
        spacing: Length of each sample's segment, metres.

    Source:
        Mildenhall et al. 2020, arXiv:2003.08934, equation 3; density from distance as in ``StarterField``.
    """
    depth = torch.sigmoid(-distance / SHARPNESS_M) / SHARPNESS_M * spacing
    before = depth.cumsum(-1) - depth
    return torch.exp(-before) * (1 - torch.exp(-depth))


def warp(points: Float[Tensor, "*n 3"], side: float) -> Float[Tensor, "*n 3"]:
    """Canonical points to plane coordinates: the same cube, stretched in its middle where the face is."""
    gain = torch.tensor(WARP, device=points.device)
    unit = points * (2 / side)
    return unit * (1 + gain) / (1 + gain * unit.abs()) * (side / 2)


def _sample_lattice(
    lattice: Float[Tensor, "x y z"], points: Float[Tensor, "n 3"], box: Float[Tensor, "2 3"]
) -> Float[Tensor, "n"]:
    """Trilinear values at points; beyond the box the nearest ones."""
    unit = (points - box[0]) / (box[1] - box[0]) * 2 - 1
    # grid_sample runs its first coordinate along the last axis.
    volume = lattice.permute(2, 1, 0)[None, None]
    values = functional.grid_sample(
        volume, unit[None, None, None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return values.reshape(-1)
