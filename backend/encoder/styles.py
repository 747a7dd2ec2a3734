# SPDX-License-Identifier: Apache-2.0
"""The first branch of TriPlaneNet: a photo becomes one style code per layer of the generator.

Source:
    Richardson et al. 2021, Encoding in Style (pSp), arXiv:2008.00951, section 3; Bhattarai et al. 2024, TriPlaneNet,
    arXiv:2303.13497, section 3.2.
"""

import re

from jaxtyping import Float
from torch import Tensor, nn, stack
from torch.nn import functional

from backend.encoder.body import STAGE_ENDS, Body, read_body_config
from backend.encoder.config import StyleEncoderConfig
from backend.encoder.layout import Shapes, shape_at
from backend.generator.layers import FullyConnected

COARSE_ROWS = 3  # Of `ws`; they read the deepest features.
MIDDLE_ROWS = 4


class StyleHead(nn.Module):
    """Halves features until they are one code; see `StyleEncoderConfig`."""

    def __init__(self, channels: int, w_dim: int, *, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(halvings):
            layers += [nn.Conv2d(w_dim if index else channels, w_dim, 3, 2, padding=1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = FullyConnected(w_dim, w_dim)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b w_dim"]:
        """One code; the convolutions leave one pixel."""
        return self.linear(self.convs(x).flatten(1))


class StyleEncoder(Body):
    """Photo to style codes, counted from the generator's average code.

    Args:
        config: Sizes.
    """

    def __init__(self, config: StyleEncoderConfig) -> None:
        super().__init__(config.body)
        fine, middle, coarse = config.body.widths[1:]
        self.latlayer1 = nn.Conv2d(middle, coarse, 1)
        self.latlayer2 = nn.Conv2d(fine, coarse, 1)
        self.styles = nn.ModuleList(StyleHead(coarse, config.w_dim, halvings=count) for count in config.halvings)

    def forward(self, photo: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b num_ws w_dim"]:
        """Offsets from the average code.

        Args:
            photo: Aligned, in [-1, 1], of the side that the heads' halvings ask: 256 for published weights.
        """
        fine, middle, coarse = self.features_after(photo, STAGE_ENDS[1:])
        middle = _enlarged(coarse, middle) + self.latlayer1(middle)
        fine = _enlarged(middle, fine) + self.latlayer2(fine)
        sources = [coarse] * COARSE_ROWS + [middle] * MIDDLE_ROWS
        sources = [*sources, *[fine] * (len(self.styles) - len(sources))][: len(self.styles)]
        return stack([head(source) for head, source in zip(self.styles, sources, strict=True)], dim=1)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear with the corner pixels' centres on each other, as the published weights were trained."""
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


def read_style_config(shapes: Shapes) -> StyleEncoderConfig:
    """Sizes of a first branch, its names without prefix.

    Raises:
        ModelError: A tensor that tells a size is missing or has another rank.
    """
    matches = [re.fullmatch(r"styles\.(\d+)\.convs\.\d+\.weight", key) for key in shapes]
    rows = [int(match[1]) for match in matches if match]
    halvings = tuple(rows.count(row) for row in range(len(set(rows))))
    return StyleEncoderConfig(read_body_config(shapes), shape_at(shapes, "styles.0.linear.weight", 2)[0], halvings)
