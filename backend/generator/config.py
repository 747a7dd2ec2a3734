# SPDX-License-Identifier: Apache-2.0
"""Sizes and constants of a generator; the defaults are those of the published ffhq512-128 weights of EG3D."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from backend.generator.layers import NoiseMode
from backend.generator.planes import PlaneAxes

Family = Literal["eg3d", "panohead", "portrait3d"]
FeatureActivation = Literal["sigmoid", "none", "lrelu"]
SuperResolutionKind = Literal["8XDC", "8X", "4X", "2X"]


@dataclass(frozen=True)
class RenderConfig:
    """How rays are sampled.

    Args:
        near: Distance of the first sample, world units; None, like `far`, takes the cube's own limits.
        far: Distance of the last sample, world units.
        coarse_samples: Per ray, evenly spread; at least 4 when there are fine samples.
        fine_samples: Per ray, spread by the weights of the coarse ones; 0 for none.
        disparity: Whether coarse samples are evenly spread in inverse distance.
        white_back: Whether the background is white; else it is black.
        points_per_chunk: Points evaluated at a time; bounds the memory, without effect on the result.
    """

    near: float | None = 2.25
    far: float | None = 3.3
    coarse_samples: int = 48
    fine_samples: int = 48
    disparity: bool = False
    white_back: bool = False
    points_per_chunk: int = 2**17


@dataclass(frozen=True)
class SuperResolutionConfig:
    """How a rendered feature image becomes the final picture.

    Args:
        kind: 8X variants enlarge twice, the others once; 8XDC has twice the channels.
        input_resolution: Side that the feature image is brought to first, pixels.
        channels: Features of the two blocks.
        antialias: Whether that first step filters when it shrinks.
        clamp: Largest magnitude of features.
        noise: What is added to features when nothing else is asked for.
    """

    kind: SuperResolutionKind = "8XDC"
    input_resolution: int = 128
    channels: tuple[int, int] = (256, 128)
    antialias: bool = True
    clamp: float | None = 256.0
    noise: NoiseMode = "none"

    @property
    def upsamples_twice(self) -> bool:
        """Whether the first block doubles the side, as the second always does."""
        return self.kind in ("8XDC", "8X")

    @property
    def output_resolution(self) -> int:
        """Side of the final picture, pixels."""
        return self.input_resolution * (4 if self.upsamples_twice else 2)


@dataclass(frozen=True)
class CameraConfig:
    """The cameras that the published weights were trained with.

    Args:
        radius: Distance from the origin, world units.
        pivot: What a camera looks at, world units.
        focal: Image widths.
    """

    radius: float = 2.7
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)
    focal: float = 4.2647


@dataclass(frozen=True)
class GeneratorConfig:
    """One generator.

    Args:
        family: Whose published weights it reads.
        z_dim: Size of the random vector.
        c_dim: Size of the label that conditions the mapping; 25 for a camera.
        pose_dim: Numbers of a body pose that follow the label; 0 without one.
        w_dim: Size of a row of `ws`.
        mapping_layers: Dense layers of the mapping network.
        conditioning_scale: Factor on the label; 0 switches the conditioning off.
        channel_base: Features at a side are `channel_base` / side ...
        channel_max: ... but at most this many.
        clamp: Largest magnitude of the backbone's features.
        plane_resolution: Side of a plane, a power of two, pixels.
        plane_channels: Features of a point.
        plane_depth: Slices of a plane; 1 for tri-planes, more for tri-grids.
        plane_axes: Which coordinates span the planes.
        decoder_hidden: Width of the decoder.
        decoder_outputs: Colour features of a point; the first three are RGB unless `has_torgb`.
        decoder_lr_multiplier: Of the decoder's layers.
        feature_activation: Of the colour features.
        side: Edge of the cube that the planes span, world units.
        empty_margin: Width of the strip inside the cube's side walls, |x| and |z|, that renders as empty, world
            units; None renders all.
        mesh_share: Edge of the cube that is meshed, over `side`.
        raw_level: Density before activation at which the published tools mesh.
        background_resolution: Side of the feature image behind the head; None without one.
        has_torgb: Whether a layer turns the rendered features into RGB.
        has_camera_shift: Whether a network moves the camera.
        deform_reach: How far a body's mesh carries points along, world units.
        neural_resolution: Side that the weights were trained to render, before super-resolution, pixels.
        render: How rays are sampled.
        superresolution: Of the rendered image; None for none.
        camera: Where cameras stand.
    """

    family: Family = "eg3d"
    z_dim: int = 512
    c_dim: int = 25
    pose_dim: int = 0
    w_dim: int = 512
    mapping_layers: int = 2
    conditioning_scale: float = 1.0
    channel_base: int = 32768
    channel_max: int = 512
    clamp: float | None = None
    plane_resolution: int = 256
    plane_channels: int = 32
    plane_depth: int = 1
    plane_axes: PlaneAxes = "eg3d"
    decoder_hidden: int = 64
    decoder_outputs: int = 32
    decoder_lr_multiplier: float = 1.0
    feature_activation: FeatureActivation = "sigmoid"
    side: float = 1.0
    empty_margin: float | None = None
    mesh_share: float = 1.0
    raw_level: float = 10.0
    background_resolution: int | None = None
    has_torgb: bool = False
    has_camera_shift: bool = False
    deform_reach: float = 0.25
    neural_resolution: int = 128
    render: RenderConfig = field(default_factory=RenderConfig)
    superresolution: SuperResolutionConfig | None = field(default_factory=SuperResolutionConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)

    def to_dict(self) -> dict[str, Any]:
        """For the header of a weight file; JSON keeps it."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "GeneratorConfig":
        """The inverse of `to_dict`, also after JSON has made lists of the tuples.

        Raises:
            TypeError: A key is unknown.
        """
        plain = dict(values)
        render = RenderConfig(**plain.pop("render"))
        enlarged = plain.pop("superresolution")
        if enlarged is not None:
            enlarged = SuperResolutionConfig(**(enlarged | {"channels": tuple(enlarged["channels"])}))
        camera = plain.pop("camera")
        camera = CameraConfig(**(camera | {"pivot": tuple(camera["pivot"])}))
        return GeneratorConfig(**plain, render=render, superresolution=enlarged, camera=camera)
