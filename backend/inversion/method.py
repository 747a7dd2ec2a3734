# SPDX-License-Identifier: Apache-2.0
"""What every inversion method takes and gives: a task with portraits and a model, and an inversion.

A method only needs planes, pictures of them and the field behind them, so that all methods run on every generator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.face_mesh_points import MIRROR
from backend.generator.plane_generator import Images
from backend.inversion.budget import Budget
from backend.inversion.cameras import Cameras
from backend.inversion.perception import Distance, FeatureMap, patch_features, picture_distance

Step = Callable[[float], None]
MIXED = 0.8  # A pixel that shows less of the head is mixed with background.


@runtime_checkable
class HeadField(Protocol):
    """A head as density and colour, in a space where it mirrors onto itself."""

    def to_canonical(self, points: Float[Tensor, "1 n 3"]) -> Float[Tensor, "1 n 3"]:
        """World points in the space where every head is upright and mirrors across x = 0."""

    def to_world(self, points: Float[Tensor, "1 n 3"]) -> Float[Tensor, "1 n 3"]:
        """The inverse of ``to_canonical``."""

    def decode(self, points: Float[Tensor, "1 n 3"]) -> tuple[Float[Tensor, "1 n"], Float[Tensor, "1 n 3"]]:
        """Density per world unit and sRGB colour in about [0, 1] of points in canonical space."""


@runtime_checkable
class Head(HeadField, Protocol):
    """One head of a model: its planes, and what else the model needs to show them."""

    @property
    def planes(self) -> Float[Tensor, "1 3 cd r r"]:
        """Features of the head."""

    def moved(self, plane_offset: Float[Tensor, "1 3 cd r r"]) -> "Head":
        """With an offset added to the planes."""

    def on_mirrored_body(self) -> "Head":
        """The same planes where the world's way to canonical space is mirrored.

        What shows a photo on its own body shows the photo's mirror image there, if the planes are symmetric. Itself
        where world and canonical space are the same.
        """

    def render(self, cameras: Cameras, *, size_px: int, superresolve: bool = True) -> Images:
        """Pictures in about [-1, 1], one per camera.

        Args:
            cameras: Any number.
            size_px: Side of the rendering.
            superresolve: Whether ``image`` is the model's final picture; else it is the raw one.
        """


@runtime_checkable
class Model(Protocol):
    """A generator as methods see it."""

    @property
    def network(self) -> nn.Module:
        """All weights, for methods that tune them."""

    @property
    def side(self) -> float:
        """Edge of the canonical cube, world units."""

    @property
    def size_px(self) -> int:
        """Side at which the model renders at its best."""

    @property
    def opacity_is_matte(self) -> bool:
        """Whether opacity is that of the head alone; else the background is part of the volume."""

    @property
    def is_light(self) -> bool:
        """Whether a step takes tenths of a second on a CPU, so that the published numbers of steps can be made."""

    @property
    def likely_weight(self) -> float:
        """What searched codes pay for the squared distance from the average, in spreads; 0 as published."""

    @property
    def mean_ws(self) -> Float[Tensor, "1 num_ws w_dim"]:
        """Average codes."""

    @property
    def ws_std(self) -> float:
        """Spread of the codes around them, one number."""

    def head(self, ws: Float[Tensor, "1 num_ws w_dim"]) -> Head:
        """The head of some codes."""

    def noise(self) -> dict[str, Float[Tensor, "r r"]]:
        """The stored noise of the planes, by name in ``network``."""

    def copied(self) -> "Model":
        """A model whose weights can be changed without changing this one's."""


@dataclass(frozen=True)
class PosedPortrait:
    """A portrait and where its camera stands.

    Args:
        image: sRGB in [-1, 1].
        mask: Share of the head in each pixel.
        trust: 1 where the photo shows something, 0 where its border was only drawn on.
        cameras: One camera, in the model's frame.
        landmarks: Of the face mesh, portrait widths; without them facial regions are not singled out.
    """

    image: Float[Tensor, "1 3 s s"]
    mask: Float[Tensor, "1 1 s s"]
    trust: Float[Tensor, "1 1 s s"]
    cameras: Cameras
    landmarks: Float[Tensor, "478 2"] | None = None

    @property
    def shown(self) -> Float[Tensor, "1 1 s s"]:
        """How much each pixel tells of the head: nothing where background shines through.

        A pixel at the edge of the matte has the background's colour in it; shown to a method, it would become a halo.
        """
        return ((self.mask - MIXED) / (1 - MIXED)).clamp(0, 1) * self.trust

    def mirrored(self) -> "PosedPortrait":
        """The portrait of the mirrored head."""
        landmarks = None
        if self.landmarks is not None:
            order = torch.from_numpy(MIRROR).to(self.landmarks.device)
            landmarks = self.landmarks[order] * self.landmarks.new_tensor([-1, 1]) + self.landmarks.new_tensor([1, 0])
        image, mask, trust = (values.flip(3) for values in (self.image, self.mask, self.trust))
        return PosedPortrait(image, mask, trust, self.cameras.mirrored(), landmarks)

    def resized(self, size_px: int) -> "PosedPortrait":
        """At another resolution; no colour of the background mixes into a pixel that shows some of the head."""
        if self.image.shape[-1] == size_px:
            return self
        mask, trust, shown, lit, image = (
            functional.interpolate(values, (size_px, size_px), mode="area")
            for values in (self.mask, self.trust, self.shown, self.image * self.shown, self.image)
        )
        image = torch.where(shown > 0, lit / shown.clamp(min=1e-6), image)
        return PosedPortrait(image, mask, trust, self.cameras, self.landmarks)

    def to(self, device: torch.device) -> "PosedPortrait":
        """The same on a device."""
        landmarks = None if self.landmarks is None else self.landmarks.to(device)
        image, mask, trust = (values.to(device) for values in (self.image, self.mask, self.trust))
        return PosedPortrait(image, mask, trust, self.cameras.to(device), landmarks)


@dataclass(frozen=True)
class Start:
    """Codes to begin with.

    Args:
        ws: Style codes.
        plane_offset: Added to the planes; None for nothing.
        color_offset: Added to them for colours alone; None for nothing.
    """

    ws: Float[Tensor, "1 num_ws w_dim"]
    plane_offset: Float[Tensor, "1 3 cd r r"] | None = None
    color_offset: Float[Tensor, "1 3 cd r r"] | None = None


# From a model and a portrait to codes, as a trained encoder gives them.
Encoder = Callable[[Model, PosedPortrait], Start]


@dataclass(frozen=True)
class Perception:
    """How pictures are compared beyond their pixels. Users who own LPIPS, VGG or ArcFace weights put them here.

    Args:
        distance: Between pictures.
        region_features: Features of facial regions, for the contextual loss.
    """

    distance: Distance = picture_distance
    region_features: FeatureMap = patch_features


@dataclass(frozen=True)
class Task:
    """What a method works on.

    Args:
        model: Its weights stay as they are.
        portraits: Of one person, at least one.
        budget: How long and how fine.
        random: Of every random choice; on the CPU.
        step: Called with the done share at every step; may raise ``Cancelled``.
        encoder: When one is installed for this model.
        start: Codes known from elsewhere; the encoder's or the average ones when omitted.
        perception: How pictures are compared.
        is_symmetric: Whether what is shown mirrors onto itself across x = 0, as heads do.
    """

    model: Model
    portraits: list[PosedPortrait]
    budget: Budget
    random: torch.Generator
    step: Step = lambda done: None
    encoder: Encoder | None = None
    start: Start | None = None
    perception: Perception = field(default_factory=Perception)
    is_symmetric: bool = True


@dataclass(frozen=True)
class Inversion:
    """A head that shows the portraits.

    Args:
        ws: Codes.
        plane_offset: Added to the planes; None for nothing.
        tuned: What was added to the model's weights, by name; None for nothing.
        losses: Last value of each term.
        agreement: How well the portraits are met, 0 to 1.
        color_offset: Added to the planes for colours alone; None for nothing.
    """

    ws: Float[Tensor, "1 num_ws w_dim"]
    plane_offset: Float[Tensor, "1 3 cd r r"] | None = None
    tuned: Mapping[str, Tensor] | None = None
    losses: Mapping[str, float] = field(default_factory=dict)
    agreement: float = 0.0
    color_offset: Float[Tensor, "1 3 cd r r"] | None = None


Method = Callable[[Task], Inversion]


def part(task: Task, begin: float, end: float) -> Step:
    """The step of a stage that takes this share of the whole task."""
    return lambda done: task.step(begin + (end - begin) * done)
