# SPDX-License-Identifier: Apache-2.0
"""Sizes of the encoders; the defaults are those of the published networks."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class BodyConfig:
    """The IR-SE50 trunk that all these networks share.

    Args:
        in_channels: Of the picture, or of several pictures one behind the other.
        stem: Channels after the first convolution.
        widths: Channels of the four stages; each stage halves the picture.
    """

    in_channels: int = 3
    stem: int = 64
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)


@dataclass(frozen=True)
class StyleEncoderConfig:
    """The first branch: photo to style codes.

    Args:
        body: Its trunk.
        w_dim: Size of a row of `ws`.
        halvings: For each row of `ws`, how often its head halves the features' side. The first three rows read the
            deepest features, the next four the middle ones, all others the finest.
    """

    body: BodyConfig = field(default_factory=BodyConfig)
    w_dim: int = 512
    halvings: tuple[int, ...] = (4,) * 3 + (5,) * 4 + (6,) * 7


@dataclass(frozen=True)
class PlaneEncoderConfig:
    """The second branch: what the first one missed, to feature planes.

    Args:
        body: Its trunk; 6 input channels for version 1, 9 for version 2.
        ups: Channels after each of the four steps back to the input's side.
        planes: Channels of all planes together.
        shuffles_pixels: Whether a step enlarges by moving channels into space; else it repeats pixels.
        reads_planes: Whether the planes of the style codes are a second input, as in version 2.
    """

    body: BodyConfig = field(default_factory=lambda: BodyConfig(in_channels=6))
    ups: tuple[int, int, int, int] = (512, 384, 256, 96)
    planes: int = 96
    shuffles_pixels: bool = True
    reads_planes: bool = False


@dataclass(frozen=True)
class TriPlaneNetConfig:
    """Both branches; the generator between them has its own `GeneratorConfig`.

    Args:
        styles: First branch.
        planes: Second branch.
    """

    styles: StyleEncoderConfig = field(default_factory=StyleEncoderConfig)
    planes: PlaneEncoderConfig = field(default_factory=PlaneEncoderConfig)

    @property
    def version(self) -> int:
        """1 or 2: the second version also looks at the mirrored photo and at the planes."""
        return 2 if self.planes.reads_planes else 1


@dataclass(frozen=True)
class ArcFaceConfig:
    """A face recognition network.

    Args:
        body: Its trunk.
        features: Length of an identity vector.
        side_px: Of the face crop; a multiple of 16.
    """

    body: BodyConfig = field(default_factory=BodyConfig)
    features: int = 512
    side_px: int = 112
