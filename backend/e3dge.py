# SPDX-License-Identifier: Apache-2.0
"""The geometry-aware encoder: a global stage that tells a head's codes, and a local one that adds the photo's detail.

What E3DGE keeps as features of a photo, to be asked again at every picture, is laid down once in an offset of the
planes that colours alone see. It lives in canonical space: a slider moves the head and its details together, and no
detail can dent it.

Source:
    Lan et al. 2023, E3DGE (METHODS section 1.2), stages 1 and 2; Peng et al. 2020, arXiv:2003.04618, section 3.1
    (features of points laid onto planes).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.generator.starter import HeadPlanes, warp
from backend.plane_lift import laid_on_planes, upsample_offset
from backend.starter_encoder import CodeEncoder, EncoderConfig, read_encoder, write_encoder

DETAIL_SCALE = 2  # Planes' pixels per pixel of the offset.
FEATURES = 24  # Of a pixel.
WIDTHS = (32, 48, 64)  # Of the pixel network, at the picture's side, a half and a quarter.
PLANE_FEATURES = 48
PICTURE_CHANNELS = 11  # Photo, first reconstruction, residual, depth and trust.
FREQUENCIES = 4  # Of a place's sines and cosines.
DEPTH_UNIT_M = 0.1


@dataclass(frozen=True)
class Seen:
    """What a photo shows of a first reconstruction, pixel by pixel.

    Args:
        photo: sRGB in [0, 1].
        first: The reconstruction's colours.
        depth: Distance along the ray less that of the head's origin, metres.
        shown: Trust in a pixel: 1 where the head is met and the photo shows it.
        points: Canonical places of what is met, metres; anything elsewhere.
        mirrored: The reconstruction's colours across the head's middle plane.
    """

    photo: Float[Tensor, "b 3 s s"]
    first: Float[Tensor, "b 3 s s"]
    depth: Float[Tensor, "b 1 s s"]
    shown: Float[Tensor, "b 1 s s"]
    points: Float[Tensor, "b 3 s s"]
    mirrored: Float[Tensor, "b 3 s s"]


class GeometryEncoder(nn.Module):
    """Both stages.

    Args:
        config: Sizes of the global stage.
        plane_px: Side of the generator's planes.
    """

    def __init__(self, config: EncoderConfig, *, plane_px: int) -> None:
        super().__init__()
        self.config, self.plane_px = config, plane_px
        self.codes = CodeEncoder(config)
        self.detail = DetailBranch(channels=config.plane_channels, side_px=plane_px // DETAIL_SCALE)


class DetailBranch(nn.Module):
    """From a photo's residual to an offset of the planes for colours.

    Args:
        channels: Features of a plane.
        side_px: Of the offset.
    """

    def __init__(self, *, channels: int, side_px: int) -> None:
        super().__init__()
        self.channels, self.side_px = channels, side_px
        self.pixels = _PixelNetwork()
        self.align = _HybridAlignment()
        self.planes = _PlaneNetwork(channels)

    def forward(self, head: HeadPlanes, seen: Seen, *, side: float) -> Float[Tensor, "b 3 c k k"]:
        """The offset, to be enlarged as in ``upsample_offset``.

        Every pixel lays its features down where the head is met there. The head's other side, which the photo may hide,
        gets those of its mirror image, changed by how much the reconstruction differs between the two.

        Args:
            head: The first reconstruction.
            seen: What the photo shows of it.
            side: Edge of the canonical cube, metres.
        """
        residual = seen.photo - seen.first
        picture = torch.cat([seen.photo, seen.first, residual, seen.depth / DEPTH_UNIT_M], dim=1) * seen.shown
        features = _rows(self.pixels(torch.cat([picture, seen.shown], dim=1)))
        place = warp(_rows(seen.points), side) * (2 / side)
        across = place * place.new_tensor([-1.0, 1.0, 1.0])
        trust = _rows(seen.shown)[..., 0]
        turned = self.align(features, across, _rows(torch.cat([seen.first, seen.mirrored], dim=1)))
        context = functional.adaptive_avg_pool2d(head.planes.flatten(1, 2), self.side_px)
        own = laid_on_planes(place, features, trust, self.side_px)
        other = laid_on_planes(across, turned, trust, self.side_px)
        parts = [own, other, context.unflatten(1, (3, self.channels))]
        result: Tensor = self.planes(torch.cat(parts, dim=2))
        return result


class _PixelNetwork(nn.Module):
    """A small hourglass: features of each pixel that know what is around it."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = WIDTHS
        self.enter = nn.Conv2d(PICTURE_CHANNELS, fine, 3, padding=1)
        self.down = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.bottom = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.around = nn.Conv2d(coarse, coarse, 3, padding=2, dilation=2)
        self.up = nn.Conv2d(coarse + middle, middle, 3, padding=1)
        self.leave = nn.Conv2d(middle + fine, FEATURES, 3, padding=1)

    def forward(self, picture: Float[Tensor, "b c s s"]) -> Float[Tensor, "b f s s"]:
        fine = functional.silu(self.enter(picture))
        middle = functional.silu(self.down(fine))
        coarse = functional.silu(self.bottom(middle))
        coarse = coarse + functional.silu(self.around(coarse))
        middle = functional.silu(self.up(torch.cat([_enlarged(coarse, middle), middle], dim=1)))
        result: Tensor = self.leave(torch.cat([_enlarged(middle, fine), fine], dim=1))
        return result


class _HybridAlignment(nn.Module):
    """Features for a place across the head's middle plane: those of the seen place, scaled and shifted.

    Source:
        METHODS section 1.2, stage 2.2 (a spatial feature transform); what E3DGE's network learns to warp between views,
        where a place lies in another one, canonical space knows.
    """

    def __init__(self) -> None:
        super().__init__()
        inputs = FEATURES + 6 + 6 * FREQUENCIES
        self.hidden = nn.Sequential(nn.Linear(inputs, 64), nn.SiLU())
        self.change = nn.Linear(64, 2 * FEATURES)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)  # Untrained, both sides are alike.

    def forward(
        self, features: Float[Tensor, "b n f"], place: Float[Tensor, "b n 3"], colors: Float[Tensor, "b n 6"]
    ) -> Float[Tensor, "b n f"]:
        angles = place[..., None] * (torch.pi * 2.0 ** torch.arange(FREQUENCIES, device=place.device))
        encoded = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
        scale, shift = self.change(self.hidden(torch.cat([features, colors, encoded], dim=-1))).chunk(2, dim=-1)
        return features + features * scale + shift


class _PlaneNetwork(nn.Module):
    """Laid features to an offset: each plane by itself in detail, all three together at half the side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        wide = 3 * PLANE_FEATURES
        self.enter = nn.Conv2d(3 * (2 * (FEATURES + 1) + channels), wide, 3, padding=1, groups=3)
        self.down = nn.Conv2d(wide, wide, 3, stride=2, padding=1)
        self.around = nn.Conv2d(wide, wide, 3, padding=2, dilation=2)
        self.far = nn.Conv2d(wide, wide, 3, padding=4, dilation=4)
        self.up = nn.Conv2d(2 * wide, wide, 3, padding=1, groups=3)
        self.leave = nn.Conv2d(wide, 3 * channels, 1, groups=3, bias=False)
        nn.init.zeros_(self.leave.weight)  # Untrained, there is no offset.

    def forward(self, laid: Float[Tensor, "b 3 g k k"]) -> Float[Tensor, "b 3 c k k"]:
        fine = functional.silu(self.enter(laid.flatten(1, 2)))
        coarse = functional.silu(self.down(fine))
        for layer in (self.around, self.far):
            coarse = coarse + functional.silu(layer(coarse))
        # Channels of one plane stand together, as grouped convolutions want them.
        both = torch.stack([part.unflatten(1, (3, -1)) for part in (fine, _enlarged(coarse, fine))], dim=2)
        offset: Tensor = self.leave(functional.silu(self.up(both.flatten(1, 3))))
        return offset.unflatten(1, (3, self.channels))


def _enlarged(features: Float[Tensor, "b c h w"], like: Float[Tensor, "b d H W"]) -> Float[Tensor, "b c H W"]:
    return functional.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _rows(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n c"]:
    """Pixels one after another."""
    return image.flatten(2).transpose(1, 2)


def detailed(branch: DetailBranch, head: HeadPlanes, seen: Seen, *, side: float) -> HeadPlanes:
    """The head with the photo's detail; its surface is untouched."""
    coarse = branch(head, seen, side=side)
    return head.recolored(upsample_offset(coarse, head.planes.shape[-1]))


def save_e3dge(path: Path, encoder: GeometryEncoder, *, generator_id: str) -> None:
    """Write the encoder in half precision, together with the name of the generator that it was trained on.

    Raises:
        OutputError: The file cannot be written; one that was there before is unchanged.
    """
    write_encoder(path, encoder, encoder.config, {"plane_px": str(encoder.plane_px), "generator": generator_id})


def load_e3dge(path: Path) -> tuple[GeometryEncoder, str]:
    """Read what ``save_e3dge`` wrote, with the name of its generator.

    Raises:
        ModelError: The file is missing, damaged or no encoder of this version.
    """

    def build(config: EncoderConfig, notes: dict[str, str]) -> GeometryEncoder:
        return GeometryEncoder(config, plane_px=int(notes["plane_px"]))

    return read_encoder(path, "a geometry-aware encoder", build)
