# SPDX-License-Identifier: Apache-2.0
"""Generators of the EG3D family, whole: from a random vector to planes, images and a field to mesh.

One class serves them all; `GeneratorConfig` says what differs. The names of its parts are those of the published
weights, which `load_state_dict` reads as they are.

Source:
    Chan et al. 2022, Efficient Geometry-aware 3D Generative Adversarial Networks, arXiv:2112.07945.
    An et al. 2023, PanoHead, arXiv:2303.13071 (tri-grid, background, camera shift).
    Wu et al. 2023, 3DPortraitGAN, arXiv:2307.14770 (body pose, deformation).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.generator.body_pose import PoseBranch
from backend.generator.config import GeneratorConfig
from backend.generator.decoder import Decoder
from backend.generator.family import (
    full_precision,
    make_rays,
    plane_lookup,
    signed_colors,
    signed_features,
    without_margin,
)
from backend.generator.layers import NoiseMode, ToRGB
from backend.generator.mapping import MappingNetwork
from backend.generator.superresolution import SuperResolution
from backend.generator.synthesis import SynthesisNetwork, channel_table
from backend.generator.volume import Rendering, activate_density, render_rays

# Points where rays sample, world units, to points in the planes' own space.
Deform = Callable[[Tensor], Tensor]


class Backbone(nn.Module):
    """Mapping and synthesis, under the names of the published weights."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.synthesis = SynthesisNetwork(
            w_dim=config.w_dim,
            resolution=config.plane_resolution,
            image_channels=3 * config.plane_channels * config.plane_depth,
            channels=channel_table(config.plane_resolution, base=config.channel_base, largest=config.channel_max),
            clamp=config.clamp,
        )
        self.mapping = MappingNetwork(
            z_dim=config.z_dim,
            c_dim=config.c_dim + config.pose_dim,
            w_dim=config.w_dim,
            num_ws=self.synthesis.num_ws,
            num_layers=config.mapping_layers,
        )


@dataclass(frozen=True)
class Background:
    """What stands behind a batch of heads.

    Args:
        features: As an image.
        w: Style that turns them into RGB where they are shown alone.
    """

    features: Float[Tensor, "b c s s"]
    w: Float[Tensor, "b w_dim"]


@dataclass(frozen=True)
class Images:
    """Views of a batch of heads.

    Args:
        image: Final picture; the raw one when there is no super-resolution.
        image_raw: As rendered, before super-resolution.
        depth: Distance along the ray, world units.
        opacity: Light absorbed, in [0, 1].
        background: What stands behind the head, in the size of the rendering; None for a generator without one.
    """

    image: Float[Tensor, "b 3 side side"]
    image_raw: Float[Tensor, "b 3 r r"]
    depth: Float[Tensor, "b 1 r r"]
    opacity: Float[Tensor, "b 1 r r"]
    background: Float[Tensor, "b 3 r r"] | None = None

    @property
    def mask(self) -> Float[Tensor, "b 1 r r"]:
        """Opacity as the published networks of heads with a background give it, a little wider than [0, 1]."""
        return self.opacity * 1.002 - 0.001


class PlaneGenerator(nn.Module):
    """A generator that reads published weights with `load_state_dict`.

    Args:
        config: Sizes and constants.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.decoder = Decoder(
            config.plane_channels,
            hidden=config.decoder_hidden,
            outputs=config.decoder_outputs,
            lr_multiplier=config.decoder_lr_multiplier,
            activation=config.feature_activation,
        )
        if config.superresolution is not None:
            self.superresolution = SuperResolution(
                config.superresolution, features=config.decoder_outputs, w_dim=config.w_dim
            )
        if config.background_resolution is not None:
            self.bcg_synthesis = _background_network(config, config.background_resolution)
        if config.has_torgb:
            self.torgb = ToRGB(config.decoder_outputs, 3, w_dim=config.w_dim)
        if config.has_camera_shift:
            self.t_mapping = MappingNetwork(
                z_dim=config.z_dim,
                c_dim=config.c_dim,
                w_dim=3,
                num_ws=1,
                num_layers=2,
                lr_multiplier=1.0,
                last_activation="linear",
            )
        if config.pose_dim:
            self.pose_branch = PoseBranch(config.z_dim + config.c_dim, (128, 32))

    def make_ws(
        self,
        z: Float[Tensor, "b z_dim"],
        label: Float[Tensor, "b c_dim"],
        *,
        pose: Float[Tensor, "b pose_dim"] | None = None,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> Float[Tensor, "b num_ws w_dim"]:
        """Style codes.

        Args:
            z: Standard normal.
            label: Camera that conditions the head, as `eg3d_camera.label_of` writes it.
            pose: Of the body; the rest pose when omitted.
            truncation: 1 leaves the codes alone, 0 gives the average code.
            cutoff: How many rows are truncated; None for all.
        """
        if pose is None:
            pose = label.new_zeros(len(label), self.config.pose_dim)
        condition = torch.cat([label, pose], dim=1) * self.config.conditioning_scale
        with full_precision(label):
            return self.backbone.mapping(z, condition, truncation=truncation, cutoff=cutoff)

    def camera_shift(
        self, z: Float[Tensor, "b z_dim"], label: Float[Tensor, "b c_dim"], *, truncation: float = 1.0
    ) -> Float[Tensor, "b 3"]:
        """What PanoHead adds to the place of a head's camera in training, world units; 0 for other families."""
        if not self.config.has_camera_shift:
            return label.new_zeros(len(label), 3)
        return self.t_mapping(z, label * self.config.conditioning_scale, truncation=truncation)[:, 0]

    def make_planes(
        self, ws: Float[Tensor, "b num_ws w_dim"], *, noise: NoiseMode = "const"
    ) -> Float[Tensor, "b 3 cd r r"]:
        """Feature planes of style codes."""
        return self.backbone.synthesis(ws, noise=noise).unflatten(1, (3, -1))

    def make_background(self, ws: Float[Tensor, "b num_ws w_dim"], *, noise: NoiseMode = "const") -> Background | None:
        """What stands behind the heads of these codes; None for a generator without a background."""
        if self.config.background_resolution is None:
            return None
        count = self.bcg_synthesis.num_ws
        missing = max(0, count - ws.shape[1])
        ws = torch.cat([ws[:, :count], ws[:, -1:].expand(-1, missing, -1)], dim=1)
        return Background(self.bcg_synthesis(ws, noise=noise), ws[:, -1])

    def raw_field(
        self, planes: Float[Tensor, "b 3 cd r r"], points: Float[Tensor, "b n 3"]
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n c"]]:
        """Density before activation and colour features of points, world units."""
        with full_precision(planes):
            return self.decoder(plane_lookup(self.config, planes, arrange=False).mean(points))

    def render(
        self,
        planes: Float[Tensor, "b 3 cd r r"],
        cam2world: Float[Tensor, "b 4 4"],
        intrinsics: Float[Tensor, "b 3 3"],
        *,
        size_px: int | None = None,
        jitter: Float[Tensor, "b n s"] | None = None,
        u: Float[Tensor, "b n f"] | None = None,
        deform: Deform | None = None,
    ) -> Rendering:
        """What square cameras see of the planes.

        Args:
            planes: Of a batch of heads.
            cam2world: Camera axes and centre.
            intrinsics: In image widths.
            size_px: Side of the rendering; the trained one when omitted.
            jitter: As `volume.render_rays` takes it.
            u: As `volume.render_rays` takes it.
            deform: From where rays sample to the planes' own space, such as `deformation.MeshDeformation`.
        """
        lookup = plane_lookup(self.config, planes)

        def visible(points: Tensor) -> tuple[Tensor, Tensor]:
            if deform is not None:
                points = deform(points)
            raw, features = self.decoder(lookup.mean(points))
            return without_margin(self.config, points, raw), features

        with full_precision(planes):
            rays = make_rays(self.config, cam2world, intrinsics, size_px or self.config.neural_resolution)
            return render_rays(visible, rays, self.config.render, jitter=jitter, u=u)

    def view(
        self,
        ws: Float[Tensor, "b num_ws w_dim"],
        rendering: Rendering,
        *,
        background: Background | None = None,
        noise: NoiseMode | None = None,
        superresolve: bool = True,
        half: torch.dtype | None = None,
    ) -> Images:
        """The pictures of a rendering.

        Args:
            ws: Style of the super-resolution.
            rendering: Of a square image.
            background: As `make_background` gives it, of these codes or of others.
            noise: Of the super-resolution; the configured one when omitted.
            superresolve: Whether the image is more than the raw one.
            half: As `SuperResolution.forward` takes it.
        """
        depth, opacity = (_to_image(x) for x in (rendering.depth, rendering.opacity))
        features = _to_image(signed_features(rendering, self.config))
        behind = None
        if background is not None:
            resized = _resize(background.features, features.shape[-1])
            features = features + (1 - opacity) * resized
            behind = self._rgb(resized, background.w)
        raw = self._rgb(features, ws[:, -1])
        if self.config.superresolution is None or not superresolve:
            return Images(raw, raw, depth, opacity, behind)
        noise = noise or self.config.superresolution.noise
        image = self.superresolution(raw, features, ws, noise=noise, half=half)
        return Images(image, raw, depth, opacity, behind)

    def forward(
        self,
        ws: Float[Tensor, "b num_ws w_dim"],
        cam2world: Float[Tensor, "b 4 4"],
        intrinsics: Float[Tensor, "b 3 3"],
        *,
        size_px: int | None = None,
        noise: NoiseMode = "const",
        deform: Deform | None = None,
        half: torch.dtype | None = None,
    ) -> Images:
        """Pictures of style codes through cameras.

        Args:
            ws: As `make_ws` gives them.
            cam2world: Camera axes and centre.
            intrinsics: In image widths.
            size_px: Side of the rendering, before super-resolution; the trained one when omitted.
            noise: Of the planes and the background.
            deform: As `render` takes it.
            half: As `SuperResolution.forward` takes it.
        """
        planes = self.make_planes(ws, noise=noise)
        rendering = self.render(planes, cam2world, intrinsics, size_px=size_px, deform=deform)
        return self.view(ws, rendering, background=self.make_background(ws, noise=noise), half=half)

    def field(
        self, ws: Float[Tensor, "1 num_ws w_dim"], plane_offset: Float[Tensor, "1 3 cd r r"] | None = None
    ) -> "PlaneField":
        """One head as density and colour, to mesh and to texture.

        Args:
            ws: Of one head.
            plane_offset: Added to its planes.
        """
        planes = self.make_planes(ws)
        return PlaneField(self, planes if plane_offset is None else planes + plane_offset, ws)

    def _rgb(self, features: Float[Tensor, "b c r r"], w: Float[Tensor, "b w_dim"]) -> Float[Tensor, "b 3 r r"]:
        with full_precision(features):
            return self.torgb(features, w) if self.config.has_torgb else features[:, :3]


class PlaneField:
    """A head of a generator, as `backend.field.Field` asks.

    Args:
        generator: Decodes the planes.
        planes: Of one head.
        ws: Of that head.
        points_per_chunk: Points evaluated at a time; bounds the memory.
    """

    def __init__(
        self,
        generator: PlaneGenerator,
        planes: Float[Tensor, "1 3 cd r r"],
        ws: Float[Tensor, "1 num_ws w_dim"],
        *,
        points_per_chunk: int = 2**17,
    ) -> None:
        config = generator.config
        self.planes = planes
        self.side = config.side * config.mesh_share
        self.level = float(activate_density(torch.tensor(config.raw_level, dtype=torch.float64)))
        self._ws = ws
        self._config = config
        self._generator = generator
        self._points_per_chunk = points_per_chunk
        self._lookup = plane_lookup(config, planes)

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Density after activation, per world unit, not negative; high inside."""
        return torch.cat([self._density(part) for part in points.split(self._points_per_chunk)])

    def color(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """sRGB colour in [0, 1]."""
        return torch.cat([self._color(part) for part in points.split(self._points_per_chunk)])

    def _density(self, points: Tensor) -> Tensor:
        raw = self._generator.decoder.raw_density(self._lookup.mean(points[None]))[0]
        return activate_density(without_margin(self._config, points, raw))

    def _color(self, points: Tensor) -> Tensor:
        features = self._lookup.mean(points[None])
        decoder = self._generator.decoder
        if not self._config.has_torgb:
            rgb = signed_colors(decoder.rgb(features), self._config)[0]
        else:
            pixels = decoder(features)[1].transpose(1, 2)[..., None]
            rgb = self._generator.torgb(pixels, self._ws[:, -1])[0, ..., 0].T
        return ((rgb + 1) / 2).clamp(0, 1)


def _background_network(config: GeneratorConfig, resolution: int) -> SynthesisNetwork:
    return SynthesisNetwork(
        w_dim=config.w_dim,
        resolution=resolution,
        image_channels=config.decoder_outputs,
        channels=channel_table(resolution, base=config.channel_base // 2, largest=config.channel_max),
        clamp=config.clamp,
    )


def _resize(image: Float[Tensor, "b c s s"], size_px: int) -> Float[Tensor, "b c r r"]:
    if image.shape[-1] == size_px:
        return image
    return functional.interpolate(image, (size_px, size_px), mode="bilinear", align_corners=False, antialias=True)


def _to_image(values: Float[Tensor, "b n *c"]) -> Float[Tensor, "b channel r r"]:
    side = math.isqrt(values.shape[1])
    channels_last = values if values.ndim == 3 else values[..., None]
    return channels_last.transpose(1, 2).unflatten(2, (side, side))
