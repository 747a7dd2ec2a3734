# SPDX-License-Identifier: Apache-2.0
"""A generator of the EG3D family as inversion methods see it."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.camera import Camera
from backend.generator.eg3d_camera import label_of, orbit_pose
from backend.generator.family import signed_colors
from backend.generator.plane_generator import Deform, Images, PlaneGenerator
from backend.generator.volume import activate_density
from backend.inversion.cameras import Cameras
from backend.inversion.losses import mirror_image
from backend.inversion.sampled_model import NetworkT, SampledModel

AVERAGE_SAMPLES, AVERAGE_SEED = 600, 123
FRONT = 3.14 / 2  # As the published loops round a quarter turn; it moves the average code in the fourth digit.


@dataclass(frozen=True)
class PlaneHead:
    """One head of a plane generator.

    Args:
        generator: Shows the planes.
        ws: Style of what follows the planes.
        planes: Features.
        deform: From the world to canonical space; None where they are the same.
    """

    generator: PlaneGenerator
    ws: Float[Tensor, "1 num_ws w_dim"]
    planes: Float[Tensor, "1 3 cd r r"]
    deform: Deform | None = None

    def moved(self, plane_offset: Float[Tensor, "1 3 cd r r"]) -> "PlaneHead":
        """With an offset added to the planes."""
        return replace(self, planes=self.planes + plane_offset)

    def on_mirrored_body(self) -> "PlaneHead":
        """The same planes in the mirrored pose; itself for a generator without poses."""
        deform = self.deform
        if deform is None:
            return self
        return replace(self, deform=lambda points: mirror_image(deform(mirror_image(points))))

    def render(self, cameras: Cameras, *, size_px: int, superresolve: bool = True) -> Images:
        """Pictures, one per camera; see ``method.Head``."""
        count = len(cameras)
        ws, planes = self.ws.expand(count, -1, -1), self.planes.expand(count, -1, -1, -1, -1)
        rendering = self.generator.render(
            planes, cameras.cam2world, cameras.intrinsics, size_px=size_px, deform=self.deform
        )
        background = self.generator.make_background(self.ws)
        if background is not None:
            features, w = background.features.expand(count, -1, -1, -1), background.w.expand(count, -1)
            background = replace(background, features=features, w=w)
        return self.generator.view(ws, rendering, background=background, superresolve=superresolve)

    def to_canonical(self, points: Float[Tensor, "1 n 3"]) -> Float[Tensor, "1 n 3"]:
        """Where the planes hold world points."""
        return points if self.deform is None else self.deform(points)

    def to_world(self, points: Float[Tensor, "1 n 3"]) -> Float[Tensor, "1 n 3"]:
        """The inverse of ``to_canonical`` to first order, which is good for a slightly turned head."""
        return points if self.deform is None else 2 * points - self.deform(points)

    def decode(self, points: Float[Tensor, "1 n 3"]) -> tuple[Float[Tensor, "1 n"], Float[Tensor, "1 n 3"]]:
        """Density per world unit and sRGB colour in about [0, 1] of canonical points."""
        raw, features = self.generator.raw_field(self.planes, points)
        return activate_density(raw), (self._signed_rgb(features) + 1) / 2

    def _signed_rgb(self, features: Float[Tensor, "1 n c"]) -> Float[Tensor, "1 n 3"]:
        if not self.generator.config.has_torgb:
            return signed_colors(features[..., :3], self.generator.config)
        pixels = features.transpose(1, 2)[..., None]
        rgb: Tensor = self.generator.torgb(pixels, self.ws[:, -1])
        return rgb[..., 0].transpose(1, 2)


class PlaneModel(SampledModel[PlaneGenerator]):
    """A plane generator with the statistics of its codes.

    Args:
        generator: Its weights are never changed.
        pose: Of the body, for families that have one: conditions the codes.
        deform: From that body's space to the canonical one, for pictures.
        average_samples: Random heads behind the average code.
    """

    is_light = False
    likely_weight = 0.0

    def __init__(
        self,
        generator: PlaneGenerator,
        *,
        pose: Float[Tensor, "1 pose_dim"] | None = None,
        deform: Deform | None = None,
        average_samples: int = AVERAGE_SAMPLES,
    ) -> None:
        super().__init__(generator)
        self.side = generator.config.side
        self.size_px = generator.config.neural_resolution
        self.opacity_is_matte = generator.config.background_resolution is not None
        self._pose, self._deform = pose, deform
        self._average_samples = average_samples

    def sample_ws(self) -> Float[Tensor, "n num_ws w_dim"]:
        """Codes of random heads seen from the front, as the published loops draw them."""
        config, weight = self.network.config, next(self.network.parameters())
        random = np.random.RandomState(AVERAGE_SEED)
        z = torch.from_numpy(random.randn(self._average_samples, config.z_dim)).to(weight)
        label = torch.from_numpy(label_of(front_camera(self.network))).to(weight).expand(len(z), -1)
        pose = None if self._pose is None else self._pose.to(weight).expand(len(z), -1)
        return self.network.make_ws(z, label, pose=pose)

    def head(self, ws: Float[Tensor, "1 num_ws w_dim"]) -> PlaneHead:
        """The head of some codes."""
        return PlaneHead(self.network, ws, self.network.make_planes(ws), self._deform)

    def noise(self) -> dict[str, Float[Tensor, "r r"]]:
        """The stored noise of the planes, by name in ``network``."""
        buffers = self.network.named_buffers()
        return {
            name: value
            for name, value in buffers
            if name.startswith("backbone.synthesis.") and name.endswith(".noise_const")
        }


def front_camera(generator: PlaneGenerator) -> Camera:
    """The camera in front of the face, in the middle of those that the generator was trained with."""
    place = generator.config.camera
    cam2world = orbit_pose(FRONT, FRONT, pivot=np.array(place.pivot), radius=place.radius)
    intrinsics = np.array([[place.focal, 0, 0.5], [0, place.focal, 0.5], [0, 0, 1]])
    return Camera(cam2world, intrinsics)


def tuned_generator(generator: NetworkT, tuned: Mapping[str, Tensor]) -> NetworkT:
    """A copy of the generator, of whatever kind, with what an ``Inversion`` added to its weights."""
    copy = deepcopy(generator)
    state = copy.state_dict()
    with torch.no_grad():
        for name, change in tuned.items():
            state[name] += change.to(state[name])
    return copy
