# SPDX-License-Identifier: Apache-2.0
"""TriPlaneNet: one pass through two encoders and an EG3D generator inverts a photo.

The whole network has the published names (`psp_encoder`, `triplanenet_encoder`, `decoder`), so published weights load
as they are. `latent_avg`, the generator's average code, is the one tensor that their file lacks; `load_triplanenet`
says where it comes from.

Source:
    Bhattarai, Niessner and Sevastopolsky 2024, TriPlaneNet: An Encoder for EG3D Inversion, arXiv:2303.13497.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.encoder.config import TriPlaneNetConfig
from backend.encoder.layout import Shapes, below, load_frozen, shapes_in, shapes_of
from backend.encoder.planes import PlaneEncoder, read_plane_config
from backend.encoder.styles import StyleEncoder, read_style_config
from backend.errors import ModelError
from backend.generator.config import GeneratorConfig
from backend.generator.plane_generator import Images, PlaneGenerator

# Where the published names begin.
STYLES, PLANES = "psp_encoder.", "triplanenet_encoder."
AVERAGE = "decoder.backbone.mapping.w_avg"


@dataclass(frozen=True)
class Encoding:
    """A head as its generator makes it.

    Args:
        ws: Style codes.
        plane_offset: Added to the planes of `ws`, as in `PlaneGenerator.field`.
    """

    ws: Float[Tensor, "b num_ws w_dim"]
    plane_offset: Float[Tensor, "b 3 cd r r"]


class TriPlaneNet(nn.Module):
    """Both encoders and their generator, frozen.

    Args:
        config: Of the encoders.
        generator: The one that the encoders were trained for; its planes have the side of the encoders' input.
    """

    latent_avg: Tensor

    def __init__(self, config: TriPlaneNetConfig, generator: PlaneGenerator) -> None:
        super().__init__()
        self.config = config
        self.psp_encoder = StyleEncoder(config.styles)
        self.triplanenet_encoder = PlaneEncoder(config.planes)
        self.decoder = generator
        self.register_buffer("latent_avg", torch.zeros(len(config.styles.halvings), config.styles.w_dim))

    @property
    def input_px(self) -> int:
        """Side of the photo that the encoders look at."""
        return self.decoder.config.plane_resolution

    @torch.no_grad()
    def encode(
        self,
        photo: Float[Tensor, "b 3 s s"],
        cam2world: Float[Tensor, "b 4 4"],
        intrinsics: Float[Tensor, "b 3 3"],
        *,
        size_px: int | None = None,
        passes: int = 1,
    ) -> Encoding:
        """Codes and plane offset of aligned photos.

        Args:
            photo: In [-1, 1], cropped as the generator's training photos were; any side.
            cam2world: The photo's camera, in the generator's convention.
            intrinsics: Its lens, in image widths.
            size_px: Side of the renderings before super-resolution; the trained one when omitted.
            passes: Through the second branch; each further one starts from the last one's picture and replaces its
                offset. The published test-time refinement is 2 and exists for version 1.

        Raises:
            ValueError: `passes` is below 1, or above 1 for version 2.
        """
        if passes < 1 or (passes > 1 and self.config.version == 2):
            raise ValueError(f"version {self.config.version} has no {passes} passes")
        photo = at_side(photo, self.input_px)
        ws = self.psp_encoder(photo) + self.latent_avg
        planes = self.decoder.make_planes(ws)
        offset = torch.zeros_like(planes)
        for _ in range(passes):
            pairs = [(photo, self.look(ws, planes + offset, cam2world, intrinsics, size_px=size_px))]
            if self.config.version == 2:
                mirrored = self.look(ws, planes, mirrored_pose(cam2world), intrinsics, size_px=size_px)
                pairs.append((photo.flip(3), mirrored))
            offset = self.triplanenet_encoder(differences(pairs), planes.flatten(1, 2)).view_as(planes)
        return Encoding(ws, offset)

    def look(
        self,
        ws: Float[Tensor, "b num_ws w_dim"],
        planes: Float[Tensor, "b 3 cd r r"],
        cam2world: Float[Tensor, "b 4 4"],
        intrinsics: Float[Tensor, "b 3 3"],
        *,
        size_px: int | None = None,
    ) -> Float[Tensor, "b 3 s s"]:
        """The final picture of planes, brought to the encoders' side."""
        return functional.adaptive_avg_pool2d(
            self.views(ws, planes, cam2world, intrinsics, size_px=size_px).image, self.input_px
        )

    def views(
        self,
        ws: Float[Tensor, "b num_ws w_dim"],
        planes: Float[Tensor, "b 3 cd r r"],
        cam2world: Float[Tensor, "b 4 4"],
        intrinsics: Float[Tensor, "b 3 3"],
        *,
        size_px: int | None = None,
    ) -> Images:
        """All pictures of planes through cameras."""
        return self.decoder.view(ws, self.decoder.render(planes, cam2world, intrinsics, size_px=size_px))


def differences(pairs: list[tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 3 s s"]]]) -> Float[Tensor, "b c s s"]:
    """Input of the second branch: the first pair's rendering, then photo minus rendering of each pair.

    Args:
        pairs: Photo and rendering; for version 2 the mirrored photo and the mirrored camera's rendering follow.
    """
    return torch.cat([pairs[0][1], *(photo - rendering for photo, rendering in pairs)], dim=1)


def at_side(photo: Float[Tensor, "b 3 s s"], side_px: int) -> Float[Tensor, "b 3 t t"]:
    """The photo brought to a side as the published preprocessing does: bilinear, without a filter before.

    Half the side is so the mean of 2 x 2 pixels; more than that would alias.
    """
    return functional.interpolate(photo, (side_px, side_px), mode="bilinear", align_corners=False)


def mirrored_pose(cam2world: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b 4 4"]:
    """The camera that sees a head's mirror image where this one sees the head."""
    flip = torch.tensor([-1.0, 1.0, 1.0, 1.0]).to(cam2world)
    return flip[:, None] * cam2world * flip


def published_sampling(config: GeneratorConfig) -> GeneratorConfig:
    """The generator with twice the samples per ray, as the published inference renders."""
    render = config.render
    doubled = replace(render, coarse_samples=2 * render.coarse_samples, fine_samples=2 * render.fine_samples)
    return replace(config, render=doubled)


def read_config(shapes: Shapes) -> TriPlaneNetConfig:
    """Sizes of both branches of a TriPlaneNet checkpoint.

    Args:
        shapes: Of the tensors below `state_dict`, under their published names; those of the generator
            (`decoder.`) and others may be among them.

    Raises:
        ModelError: A tensor that tells a size is missing or has another rank.
    """
    return TriPlaneNetConfig(read_style_config(below(shapes, STYLES)), read_plane_config(below(shapes, PLANES)))


def expected_shapes(config: TriPlaneNetConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that the two branches load, under its published name; no memory is used for them.

    The generator's come on top: `decoder.` and the names that `backend.generator.official.expected_shapes` gives.
    """
    with torch.device("meta"):
        branches = {STYLES: StyleEncoder(config.styles), PLANES: PlaneEncoder(config.planes)}
    return {prefix + key: shape for prefix, branch in branches.items() for key, shape in shapes_of(branch).items()}


def load_triplanenet(weights: dict[str, Tensor], generator_config: GeneratorConfig) -> TriPlaneNet:
    """The network of published or converted weights, frozen; the tensors are taken, not copied.

    Args:
        weights: Under the published names, the generator's below `decoder.`. `latent_avg`, of one row or of one per
            style code, may be among them; otherwise it is the average code in the generator's own weights.
        generator_config: Of the generator; `published_sampling` doubles its samples.

    Raises:
        ModelError: A tensor is missing, too many or of another shape.
    """
    config = read_config(shapes_in(weights))
    with torch.device("meta"):
        network = TriPlaneNet(config, PlaneGenerator(generator_config))
    average = weights.get("latent_avg", weights.get(AVERAGE))
    if average is None:
        raise ModelError(
            f"The weights hold no average code: neither latent_avg nor {AVERAGE}. Choose another file.",
            code="checkpoint_keys",
        )
    rows = average.expand(network.latent_avg.shape).clone()
    load_frozen(network, {**weights, "latent_avg": rows})
    return network
