# SPDX-License-Identifier: Apache-2.0
"""IR-SE50, the residual trunk of the encoders and of the face recognition network, under its published names.

Source:
    Deng et al. 2019, ArcFace, arXiv:1801.07698, section 3.1 (the units); Hu et al. 2018, Squeeze-and-Excitation
    Networks, arXiv:1709.01507.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.encoder.config import BodyConfig
from backend.encoder.layout import Shapes, shape_at
from backend.errors import ModelError

UNITS = (3, 4, 14, 3)  # Per stage.
STAGE_ENDS = (2, 6, 20, 23)  # Index of each stage's last unit.
SQUEEZE = 16  # Channels are squeezed by this factor.


class ChannelGate(nn.Module):
    """Scales each channel by what the means of all channels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SQUEEZE, channels, 1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The gated features."""
        squeezed = functional.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * self.fc2(squeezed).sigmoid()


class ResidualUnit(nn.Module):
    """Two convolutions with a gate, added to the input.

    Args:
        channels_in: Of the input.
        channels: Of the output; where they differ, the input passes a 1x1 convolution.
        stride: 2 halves the side.
    """

    def __init__(self, channels_in: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            ChannelGate(channels),
        )
        self.shortcut_layer: nn.Sequential | None = None
        if channels_in != channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """The sum of both ways."""
        kept = x[:, :, :: self.stride, :: self.stride] if self.shortcut_layer is None else self.shortcut_layer(x)
        return kept + self.res_layer(x)


class Body(nn.Module):
    """The trunk; networks inherit from it because the published names have it and their heads side by side.

    Args:
        config: Sizes.
    """

    def __init__(self, config: BodyConfig) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(config.in_channels, config.stem, 3, padding=1, bias=False),
            nn.BatchNorm2d(config.stem),
            nn.PReLU(config.stem),
        )
        units: list[ResidualUnit] = []
        channels = config.stem
        for width, count in zip(config.widths, UNITS, strict=True):
            for index in range(count):
                units.append(ResidualUnit(channels, width, stride=2 if index == 0 else 1))
                channels = width
        self.body = nn.Sequential(*units)

    def features_after(self, x: Float[Tensor, "b c h w"], units: tuple[int, ...]) -> list[Tensor]:
        """Features after the units of these numbers, which rise.

        Args:
            x: Pictures in [-1, 1].
            units: Counted from 0; `STAGE_ENDS` has the last one of each stage.
        """
        x = self.input_layer(x)
        found = []
        for index, unit in enumerate(self.body):
            x = unit(x)
            if index in units:
                found.append(x)
        return found


def read_body_config(shapes: Shapes) -> BodyConfig:
    """Sizes of a trunk, its names without prefix.

    Raises:
        ModelError: A tensor that tells a size is missing, has another rank, or is too small.
    """
    stem, in_channels = shape_at(shapes, "input_layer.0.weight", 4)[:2]
    widths = [shape_at(shapes, f"body.{last}.res_layer.3.weight", 4)[0] for last in STAGE_ENDS]
    if min(stem, in_channels, *(width // SQUEEZE for width in widths)) < 1:
        raise ModelError(
            f"This is no published encoder: it has stages of {widths} channels. Choose another file.",
            code="checkpoint_network",
        )
    return BodyConfig(in_channels, stem, (widths[0], widths[1], widths[2], widths[3]))
