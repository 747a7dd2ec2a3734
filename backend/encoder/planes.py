# SPDX-License-Identifier: Apache-2.0
"""The second branch of TriPlaneNet: what the style codes missed in the photo becomes feature planes.

Source:
    Bhattarai et al. 2024, TriPlaneNet, arXiv:2303.13497, section 3.3.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.encoder.body import STAGE_ENDS, Body, read_body_config
from backend.encoder.config import PlaneEncoderConfig
from backend.encoder.layout import Shapes, shape_at

# End of stages 1 to 3, then the first unit of stage 4, then its last one.
SKIPS_AND_BOTTOM = (*STAGE_ENDS[:3], STAGE_ENDS[2] + 1, STAGE_ENDS[3])


class DoubleConvolution(nn.Module):
    """Batch norm and two convolutions; the published network activates the last one twice."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels, 3, padding=1),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.PReLU(channels),
            nn.PReLU(channels),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Features of the same side."""
        return self.double_conv(x)


class Up(nn.Module):
    """Joins enlarged features to those of the trunk.

    Args:
        skip: Channels of the trunk.
        channels_in: Of the features once enlarged.
        channels: Of the result.
    """

    def __init__(self, skip: int, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = DoubleConvolution(skip + channels_in, channels)

    def forward(self, skip: Float[Tensor, "b s h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Features of the same side; the trunk's channels come first."""
        return self.conv(torch.cat([skip, x], dim=1))


class PlaneEncoder(Body):
    """Difference pictures to feature planes.

    Args:
        config: Sizes and version.
    """

    def __init__(self, config: PlaneEncoderConfig) -> None:
        super().__init__(config.body)
        self.config = config
        share = 4 if config.shuffles_pixels else 1
        first, second, third, last = config.body.widths
        self.up1 = Up(last, last, config.ups[0])
        self.up2 = Up(third, config.ups[0] // share, config.ups[1])
        self.up3 = Up(second, config.ups[1] // share, config.ups[2])
        self.up4 = Up(first, config.ups[2] // share, config.ups[3])
        decoded = config.ups[3] // share
        if config.reads_planes:
            self.final_head_two = _head(config.planes + decoded, config.planes)
        else:
            self.final_head = _head(decoded, config.planes)

    def forward(
        self, differences: Float[Tensor, "b c s s"], planes: Float[Tensor, "b p s s"]
    ) -> Float[Tensor, "b p s s"]:
        """What to add to the planes of the style codes.

        Args:
            differences: Picture of the style codes, photo minus it and, for version 2, the same minus at the mirrored
                camera for the mirrored photo; see `triplanenet.differences`.
            planes: Of the style codes, all channels in a row; version 1 does not look at them.
        """
        *skips, x = self.features_after(differences, SKIPS_AND_BOTTOM)
        x = self.up1(skips.pop(), x)
        for up in (self.up2, self.up3, self.up4):
            x = up(skips.pop(), self._enlarged(x))
        x = self._enlarged(x)
        return self.final_head_two(torch.cat([planes, x], dim=1)) if self.config.reads_planes else self.final_head(x)

    def _enlarged(self, x: Tensor) -> Tensor:
        if self.config.shuffles_pixels:
            return functional.pixel_shuffle(x, 2)
        return functional.interpolate(x, scale_factor=2, mode="nearest")


def _head(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1),
        nn.PReLU(channels),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.PReLU(channels),
        nn.Conv2d(channels, channels, 1),
    )


def read_plane_config(shapes: Shapes) -> PlaneEncoderConfig:
    """Sizes and version of a second branch, its names without prefix.

    Raises:
        ModelError: A tensor that tells a size is missing or has another rank.
    """
    body = read_body_config(shapes)
    ups = [shape_at(shapes, f"up{step}.conv.double_conv.3.weight", 4)[0] for step in (1, 2, 3, 4)]
    joined = shape_at(shapes, "up2.conv.double_conv.0.weight", 1)[0]
    reads_planes = "final_head_two.0.weight" in shapes
    head = "final_head_two" if reads_planes else "final_head"
    return PlaneEncoderConfig(
        body,
        (ups[0], ups[1], ups[2], ups[3]),
        planes=shape_at(shapes, f"{head}.4.weight", 4)[0],
        shuffles_pixels=joined != body.widths[2] + ups[0],
        reads_planes=reads_planes,
    )
