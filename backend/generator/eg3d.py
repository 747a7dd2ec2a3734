# SPDX-License-Identifier: Apache-2.0
"""The tri-plane generator of EG3D, whole: from a random vector to planes, images and a field to mesh.

Source:
    Chan et al. 2022, Efficient Geometry-aware 3D Generative Adversarial Networks, arXiv:2112.07945.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from backend.generator.config import GeneratorConfig, RenderConfig
from backend.generator.decoder import Decoder
from backend.generator.layers import NoiseMode
from backend.generator.mapping import MappingNetwork
from backend.generator.planes import sample_planes
from backend.generator.rays import camera_rays, cube_limits
from backend.generator.superresolution import SuperResolution
from backend.generator.synthesis import SynthesisNetwork, channel_table
from backend.generator.volume import Rays, Rendering, activate_density, render_rays


class Backbone(nn.Module):
    """Mapping and synthesis, under the names of the published weights."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.synthesis = SynthesisNetwork(
            w_dim=config.w_dim,
            resolution=config.plane_resolution,
            image_channels=3 * config.plane_channels * config.plane_depth,
            channels=channel_table(config.plane_resolution, base=config.channel_base, largest=config.channel_max),
        )
        self.mapping = MappingNetwork(
            z_dim=config.z_dim,
            c_dim=config.c_dim,
            w_dim=config.w_dim,
            num_ws=self.synthesis.num_ws,
            num_layers=config.mapping_layers,
        )


@dataclass(frozen=True)
class Images:
    """Views of a batch of heads.

    Args:
        image: Final picture; the raw one when there is no super-resolution.
        image_raw: As rendered, before super-resolution.
        depth: Distance along the ray, world units.
        opacity: Light absorbed, in [0, 1].
    """

    image: Float[Tensor, "b 3 side side"]
    image_raw: Float[Tensor, "b 3 r r"]
    depth: Float[Tensor, "b 1 r r"]
    opacity: Float[Tensor, "b 1 r r"]


class EG3DGenerator(nn.Module):
    """A generator that reads published EG3D weights with `load_state_dict`.

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
        )
        if config.superresolution is not None:
            self.superresolution = SuperResolution(
                config.superresolution, features=config.decoder_outputs, w_dim=config.w_dim
            )

    def make_ws(
        self,
        z: Float[Tensor, "b z_dim"],
        label: Float[Tensor, "b c_dim"],
        *,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> Float[Tensor, "b num_ws w_dim"]:
        """Style codes.

        Args:
            z: Standard normal.
            label: Camera that conditions the head, as `eg3d_camera.label_of` writes it.
            truncation: 1 leaves the codes alone, 0 gives the average code.
            cutoff: How many rows are truncated; None for all.
        """
        scaled = label * self.config.conditioning_scale
        return self.backbone.mapping(z, scaled, truncation=truncation, cutoff=cutoff)

    def make_planes(
        self, ws: Float[Tensor, "b num_ws w_dim"], *, noise: NoiseMode = "const"
    ) -> Float[Tensor, "b 3 cd r r"]:
        """Feature planes of style codes."""
        return self.backbone.synthesis(ws, noise=noise).unflatten(1, (3, -1))

    def raw_field(
        self, planes: Float[Tensor, "b 3 cd r r"], points: Float[Tensor, "b n 3"]
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n c"]]:
        """Density before activation and colour features of points, world units."""
        return self.decoder(_sample(self.config, planes, points))

    def render(
        self,
        planes: Float[Tensor, "b 3 cd r r"],
        cam2world: Float[Tensor, "b 4 4"],
        intrinsics: Float[Tensor, "b 3 3"],
        *,
        size_px: int,
        jitter: Float[Tensor, "b n s"] | None = None,
        u: Float[Tensor, "b n f"] | None = None,
    ) -> Rendering:
        """What square cameras see of the planes; see `volume.render_rays` for `jitter` and `u`."""
        rays = make_rays(self.config, cam2world, intrinsics, size_px)
        return render_rays(lambda points: self.raw_field(planes, points), rays, self.config.render, jitter=jitter, u=u)

    def view(
        self,
        ws: Float[Tensor, "b num_ws w_dim"],
        rendering: Rendering,
        *,
        noise: NoiseMode = "none",
    ) -> Images:
        """The pictures of a rendering.

        Args:
            ws: Style of the super-resolution.
            rendering: Of a square image.
            noise: Of the super-resolution.
        """
        features = signed_features(rendering, self.config.render)
        features, depth, opacity = (_to_image(x) for x in (features, rendering.depth, rendering.opacity))
        raw = features[:, :3]
        has_more = self.config.superresolution is not None
        image = self.superresolution(raw, features, ws, noise=noise) if has_more else raw
        return Images(image, raw, depth, opacity)

    def forward(
        self,
        ws: Float[Tensor, "b num_ws w_dim"],
        cam2world: Float[Tensor, "b 4 4"],
        intrinsics: Float[Tensor, "b 3 3"],
        *,
        size_px: int = 128,
        noise: NoiseMode = "const",
    ) -> Images:
        """Pictures of style codes through cameras.

        Args:
            ws: As `make_ws` gives them.
            cam2world: Camera axes and centre.
            intrinsics: In image widths.
            size_px: Side of the rendering, before super-resolution.
            noise: Of the planes.
        """
        planes = self.make_planes(ws, noise=noise)
        return self.view(ws, self.render(planes, cam2world, intrinsics, size_px=size_px))

    def field(
        self, ws: Float[Tensor, "1 num_ws w_dim"], plane_offset: Float[Tensor, "1 3 cd r r"] | None = None
    ) -> "EG3DField":
        """One head as density and colour, to mesh and to texture.

        Args:
            ws: Of one head.
            plane_offset: Added to its planes.
        """
        planes = self.make_planes(ws)
        return EG3DField(self, planes if plane_offset is None else planes + plane_offset)


class EG3DField:
    """A head of an EG3D generator, as `backend.field.Field` asks.

    Args:
        generator: Decodes the planes.
        planes: Of one head.
        points_per_chunk: Points evaluated at a time; bounds the memory.
    """

    def __init__(
        self, generator: EG3DGenerator, planes: Float[Tensor, "1 3 cd r r"], *, points_per_chunk: int = 2**17
    ) -> None:
        self.planes = planes
        self.side = generator.config.side
        self.level = float(activate_density(torch.tensor(generator.config.raw_level, dtype=torch.float64)))
        self._config = generator.config
        self._decoder = generator.decoder
        self._points_per_chunk = points_per_chunk

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Density after activation, per world unit, not negative; high inside."""
        return activate_density(self._in_chunks(self._decoder.raw_density, points))

    def color(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """sRGB colour in [0, 1]."""
        return self._in_chunks(self._decoder.rgb, points).clamp(0, 1)

    def _in_chunks(self, decode: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
        parts = points.split(self._points_per_chunk)
        return torch.cat([decode(_sample(self._config, self.planes, part[None])[0]) for part in parts])


def make_rays(
    config: GeneratorConfig, cam2world: Float[Tensor, "b 4 4"], intrinsics: Float[Tensor, "b 3 3"], size_px: int
) -> Rays:
    """Rays of square cameras with the configured limits."""
    origins, directions = camera_rays(cam2world, intrinsics, size_px)
    if config.render.near is None or config.render.far is None:
        return Rays(origins, directions, *cube_limits(origins, directions, config.side))
    near = torch.full_like(origins[..., 0], config.render.near)
    return Rays(origins, directions, near, torch.full_like(near, config.render.far))


def signed_features(rendering: Rendering, config: RenderConfig) -> Float[Tensor, "b n c"]:
    """Composite features over the background, in about [-1, 1]."""
    background = 1 - rendering.opacity[..., None] if config.white_back else 0.0
    return 2 * (rendering.features + background) - 1


def _sample(config: GeneratorConfig, planes: Tensor, points: Tensor) -> Tensor:
    return sample_planes(planes, points, side=config.side, axes=config.plane_axes, depth=config.plane_depth)


def _to_image(values: Float[Tensor, "b n *c"]) -> Float[Tensor, "b channel r r"]:
    side = math.isqrt(values.shape[1])
    channels_last = values if values.ndim == 3 else values[..., None]
    return channels_last.transpose(1, 2).unflatten(2, (side, side))
