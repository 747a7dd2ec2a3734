# SPDX-License-Identifier: Apache-2.0
"""A published generator on the main path: its own crop and camera, planes, pictures of its own for the texture.

Canonical space and world are the generator's own, moved so that the origin lies in the head. 3DPortraitGAN's canonical
space is the rest pose; its world is the photo's pose where a body model is installed (``bodies.py``). The generator's
world keeps its unit, which ``metres_per_unit`` turns into metres.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from backend.alignment import Portrait
from backend.camera import Camera, look_at_camera
from backend.config import Settings, SurfaceConfig, TextureConfig
from backend.generator.plane_generator import Deform, Images, PlaneField, PlaneGenerator
from backend.generator.posed_head import PosedHead
from backend.head import MorphTarget
from backend.inversion.cameras import cameras_of
from backend.inversion.method import Encoder, Inversion, Perception, PosedPortrait, Start
from backend.inversion.methods import METHODS, STARTER_METHODS, invert
from backend.inversion.plane_model import PlaneHead, PlaneModel, tuned_generator
from backend.landmarks import Face
from backend.mesh import Mesh
from backend.photo import Photo
from backend.portrait_model.bodies import Bodies, turns_deg
from backend.portrait_model.contract import PORTRAIT_PX, Fit, PersonPhoto, landmark_score
from backend.portrait_model.explore import explore_directions
from backend.portrait_model.eye_distance import metres_per_unit
from backend.portrait_model.field_mesh import FieldMesh
from backend.portrait_model.framing import Framing
from backend.portrait_model.level import solid_level
from backend.portrait_model.placement import PLACEMENTS, Placement
from backend.portrait_model.plane_codes import TUNED, PlaneCodes, PlaneDirection, move
from backend.reprojection import PhotoView
from backend.template import Template

BACKBONE = "backbone."
LEVEL_YAWS_DEG = (0.0, 60.0, -60.0)
STILL_M = 2e-5


class PublishedModel:
    """A generator of the EG3D family as a ``PortraitModel``.

    Args:
        generator: On the device where it computes.
        identity: For the record.
        template: The mean face that landmarks are compared with.
        directions: The sliders; found in the weights when omitted.
        encoder: Of this generator, when one is installed.
        perception: How pictures are compared; without any network that the user brought when omitted.
        bodies: For a generator of posed heads.
    """

    moved_codes: tuple[str, ...] = ("ws",)
    methods: tuple[str, ...] = tuple(name for name in METHODS if name not in STARTER_METHODS)

    def __init__(
        self,
        generator: PlaneGenerator,
        identity: dict[str, str],
        template: Template,
        *,
        directions: list[PlaneDirection] | None = None,
        encoder: Encoder | None = None,
        perception: Perception | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        config = generator.config
        self.generator, self.identity = generator, identity
        self.placement = PLACEMENTS[config.family]
        self.surface: SurfaceConfig = self.placement.surface
        self.texture = TextureConfig(symmetric_above=self.placement.symmetric_above)
        self._framing = Framing(config.family, config.camera, template)
        self._directions, self._encoder, self._perception = directions, encoder, perception
        self._bodies = bodies
        self._last_body: tuple[bytes, PosedHead | None] = (b"", None)
        planes = (3, config.plane_channels * config.plane_depth, config.plane_resolution, config.plane_resolution)
        weights = {f"{TUNED}{name}": tuple(value.shape) for name, value in generator.state_dict().items()}
        num_ws = generator.backbone.synthesis.num_ws
        self.code_shapes: dict[str, tuple[int, ...]] = {
            **weights, "ws": (num_ws, config.w_dim), "metres_per_unit": (), "plane_offset": planes, "pose": (6,),
        }  # fmt: skip

    @cached_property
    def plane_model(self) -> PlaneModel:
        """The generator as inversion methods see it."""
        return PlaneModel(self.generator)

    @cached_property
    def directions(self) -> list[PlaneDirection]:
        """The sliders."""
        if self._directions is not None:
            return self._directions
        return explore_directions(self.generator, self.plane_model.ws_std)

    def align(self, photo: Photo, face: Face) -> Portrait:
        """The crop that the family was trained on."""
        return self._framing.align(photo, face, size_px=PORTRAIT_PX)

    def fit(self, photos: Sequence[PersonPhoto]) -> Fit[PlaneCodes]:
        """Cameras from the landmarks, the pose of neck and head where the generator knows, and the average head.

        The pose is the main photo's; the other photos' cameras are carried along with that head.
        """
        placed = [self._framing.fit(one.portrait) for one in photos]
        cameras = [camera for camera, _ in placed]
        scores = {landmark_score(number): round(1000 * gap_m, 3) for number, (_, gap_m) in enumerate(placed)}
        pose: Float[np.ndarray, "6"] | None = None
        if self._bodies is not None:
            pose, cameras[0] = self._bodies.fit(photos[0].portrait.image, photos[0].mask, cameras[0])
        body = self._body(pose)
        if body is not None:
            cameras[1:] = [Camera(body.head_motion @ one.cam2world, one.intrinsics) for one in cameras[1:]]
        if pose is not None:
            scores |= dict(zip(("neck_deg", "head_deg"), np.round(turns_deg(pose), 2).tolist(), strict=True))
        ws = self._posed_model(pose).mean_ws[0].cpu().numpy()
        codes = PlaneCodes(ws, self.placement.metres_per_unit, pose=pose)
        return Fit([self._from_generator(camera) for camera in cameras], [codes] * len(photos), scores)

    def invert(
        self,
        fit: Fit[PlaneCodes],
        photos: Sequence[PersonPhoto],
        *,
        settings: Settings,
        step: Callable[[float], None],
    ) -> tuple[list[PlaneCodes], dict[str, float]]:
        """Codes by the chosen method, the same for all photos; then the head is measured, so that it gets real size."""
        first = fit.codes[0]
        portraits = [
            PosedPortrait(
                one.portrait.image,
                one.mask,
                one.portrait.coverage,
                cameras_of(self._to_generator(camera)),
                _landmarks(one.portrait),
            )
            for one, camera in zip(photos, fit.cameras, strict=True)
        ]
        inversion = invert(
            settings.method,
            self._posed_model(first.pose),
            portraits,
            quality=settings.quality,
            seed=settings.seed,
            step=step,
            encoder=self._encoder,
            start=self._start(first),
            is_symmetric=self.placement.is_symmetric,
            perception=self._perception,
        )
        codes = self._measured(replace(self._codes_of(inversion), pose=first.pose))
        losses = {name: round(value, 5) for name, value in inversion.losses.items()}
        return [codes] * len(photos), {**losses, "agreement": round(inversion.agreement, 4)}

    def move(self, codes: PlaneCodes, slider_values: Mapping[str, float]) -> PlaneCodes:
        """The codes after sliders are moved."""
        return move(codes, self.directions, slider_values)

    def at_rest(self, codes: PlaneCodes, _: PlaneCodes) -> PlaneCodes:
        """The codes: expressions are not apart from the person."""
        return codes

    def as_seen(self, codes: PlaneCodes, _: PlaneCodes) -> PlaneCodes:
        """The codes."""
        return codes

    def field(self, codes: PlaneCodes) -> "HeadField":
        """The head in canonical space."""
        head = self._head(codes)
        field = PlaneField(head.generator, head.planes, head.ws)
        side = self.generator.config.side * self.placement.meshed_share
        return HeadField(field, side, self._around(LEVEL_YAWS_DEG), self.placement)

    def bind(self, surface: Mesh, codes: PlaneCodes) -> "FollowingMesh":
        """Let the mesh follow the field along its normals."""
        motions = self._motions(surface.vertices, codes)
        return FollowingMesh(self, FieldMesh(surface, self.field(codes), codes.metres_per_unit), codes, motions)

    def views(self, codes: PlaneCodes) -> list[PhotoView]:
        """Pictures as sharp as the generator makes them, from where it was trained to be seen."""
        head = self._head(codes, is_posed=True)
        return [self._view(head, camera) for camera in self._around(self.placement.yaws_deg)]

    def metres_per_unit(self, codes: PlaneCodes) -> float:
        """As measured on the head in the photo."""
        return codes.metres_per_unit

    def notes(self, codes: PlaneCodes) -> list[str]:
        """On the pose of neck and head, for a generator that has one."""
        return [] if self._bodies is None else self._bodies.notes(codes.pose)

    def to_arrays(self, codes: PlaneCodes) -> dict[str, np.ndarray]:
        """See ``PlaneCodes.to_arrays``."""
        return codes.to_arrays()

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> PlaneCodes:
        """See ``PlaneCodes.from_arrays``."""
        return PlaneCodes.from_arrays(arrays)

    def _body(self, pose: Float[np.ndarray, "6"] | None) -> PosedHead | None:
        """The body in a pose; the last one is kept, because its deformation takes seconds to make."""
        if self._bodies is None or pose is None:
            return None
        if self._last_body[0] != pose.tobytes():
            self._last_body = (pose.tobytes(), self._bodies.posed(pose))
        return self._last_body[1]

    def _posed_model(self, pose: Float[np.ndarray, "6"] | None) -> PlaneModel:
        """The generator as it shows heads of a pose."""
        if pose is None:
            return self.plane_model
        return PlaneModel(self.generator, pose=self._tensor(pose)[None], deform=self._deform(pose))

    def _deform(self, pose: Float[np.ndarray, "6"] | None) -> Deform | None:
        """From the world of a pose to canonical space; None where they are the same."""
        body = self._body(pose)
        return None if body is None else body.deformation

    def _motions(self, places: Float[np.ndarray, "v 3"], codes: PlaneCodes) -> Float[np.ndarray, "v 4 4"] | None:
        """What the pose does to places in canonical space; None where they stay."""
        body = self._body(codes.pose)
        if body is None:
            return None
        there, back = np.eye(4), np.eye(4)
        there[:3, 3], back[:3, 3] = self.placement.head, np.negative(self.placement.head)
        return back @ body.motions(places + np.array(self.placement.head)) @ there

    @torch.no_grad()
    def _head(self, codes: PlaneCodes, *, is_posed: bool = False) -> PlaneHead:
        generator = self.generator
        if codes.tuned:
            changes = {name: torch.from_numpy(change.astype(np.float32)) for name, change in codes.tuned.items()}
            generator = tuned_generator(generator, changes)
        deform = self._deform(codes.pose) if is_posed else None
        head = PlaneModel(generator, deform=deform).head(self._tensor(codes.ws)[None])
        return head if codes.plane_offset is None else head.moved(self._tensor(codes.plane_offset)[None])

    @torch.no_grad()
    def _codes_of(self, inversion: Inversion) -> PlaneCodes:
        """Tuned weights before the planes become a plane offset, so that a record stays small."""
        offset, tuned = inversion.plane_offset, dict(inversion.tuned or {})
        if any(name.startswith(BACKBONE) for name in tuned):
            planes = self.generator.make_planes(inversion.ws)
            moved = tuned_generator(self.generator, tuned).make_planes(inversion.ws) - planes
            offset = moved if offset is None else moved + offset
        behind = {name: change.cpu().numpy() for name, change in tuned.items() if not name.startswith(BACKBONE)}
        plane_offset = None if offset is None else offset[0].detach().cpu().numpy()
        ws = inversion.ws[0].detach().cpu().numpy()
        return PlaneCodes(ws, self.placement.metres_per_unit, plane_offset, behind)

    def _start(self, _: PlaneCodes) -> Start | None:
        """Where the inversion begins, if not with the average head."""
        return None

    def _measured(self, codes: PlaneCodes) -> PlaneCodes:
        """With the scale at which the eyes are as far apart as people's are."""
        camera = self._around((0.0,))[0]
        images = self._images(self._head(codes), camera)
        unit = metres_per_unit(_pixels(images), images.depth[0, 0].cpu().numpy(), camera, usual=codes.metres_per_unit)
        return replace(codes, metres_per_unit=unit)

    def _view(self, head: PlaneHead, camera: Camera) -> PhotoView:
        images = self._images(head, camera)
        pixels, matte = _pixels(images), images.opacity[0, 0].clamp(0, 1).cpu().double().numpy()
        # Where the background is part of the volume, only the mesh tells what is head.
        mask = matte if self.plane_model.opacity_is_matte else np.ones_like(matte)
        return PhotoView(pixels, np.eye(3), len(pixels), camera, mask)

    @torch.no_grad()
    def _images(self, head: PlaneHead, camera: Camera) -> Images:
        cameras = cameras_of(self._to_generator(camera)).to(self._device)
        return head.render(cameras, size_px=self.plane_model.size_px)

    def _around(self, yaws_deg: tuple[float, ...]) -> list[Camera]:
        """Cameras around the head that see it as the generator was trained to be seen."""
        place = self.generator.config.camera
        target, pitch = np.array([0.0, place.pivot[1], 0.0]) - self.placement.head, self.placement.pitch_deg
        return [
            look_at_camera(yaw_deg=yaw, pitch_deg=pitch, distance=place.radius, focal=place.focal, target=target)
            for yaw in yaws_deg
        ]

    def _to_generator(self, camera: Camera) -> Camera:
        return _shifted(camera, np.array(self.placement.head))

    def _from_generator(self, camera: Camera) -> Camera:
        return _shifted(camera, -np.array(self.placement.head))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.generator.parameters()).device


class HeadField:
    """A head of a published generator as ``backend.field.Field`` asks, in canonical space.

    Args:
        field: In the generator's world.
        side: Of the cube that is meshed.
        cameras: From which the head's solid surface is looked for.
        placement: Where the head lies.
    """

    def __init__(self, field: PlaneField, side: float, cameras: list[Camera], placement: Placement) -> None:
        self.side = side
        self._field, self._cameras, self._placement = field, cameras, placement

    @cached_property
    def level(self) -> float:
        """The density at which the head looks solid."""

        @torch.no_grad()
        def density(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
            return self.density(torch.from_numpy(points)).cpu().numpy()

        return solid_level(density, self._cameras, side=self.side, fallback=self._field.level)

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Density per unit, not negative."""
        return self._field.density(self._placed(points))

    def color(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """sRGB colour in [0, 1]."""
        return self._field.color(self._placed(points))

    def _placed(self, points: Tensor) -> Tensor:
        return points.to(self._field.planes.device) + points.new_tensor(self._placement.head).to(
            self._field.planes.device
        )


@dataclass(frozen=True)
class FollowingMesh:
    """A mesh of a published generator's head that follows the codes.

    Args:
        model: Makes the fields of other codes.
        mesh: Follows fields.
        codes: Of the field that was meshed.
        motions: What the body's pose does to each vertex; None for a head at rest.
    """

    model: PublishedModel
    mesh: FieldMesh
    codes: PlaneCodes
    motions: Float[np.ndarray, "v 4 4"] | None = None

    def vertices(self, codes: PlaneCodes) -> Float[np.ndarray, "v 3"]:
        """Where the vertices lie on the head of some codes; on its own head, but for the pose, where they are."""
        is_same = np.array_equal(codes.ws, self.codes.ws)
        places = self.mesh.surface.vertices if is_same else self.mesh.moved_to(self.model.field(codes))
        if self.motions is None:
            return places
        turned = np.einsum("vij,vj->vi", self.motions[:, :3, :3], places) + self.motions[:, :3, 3]
        return turned.astype(np.float32)

    def morph_targets(self, _: Float[np.ndarray, "v 3"]) -> list[MorphTarget]:
        """One per slider: where one unit of it takes the vertices."""
        targets, rest = [], self.vertices(self.codes)
        for direction in self.model.directions:
            offsets = self.vertices(self.model.move(self.codes, {direction.slider.name: 1.0})) - rest
            offsets[np.linalg.norm(offsets, axis=1) * self.codes.metres_per_unit < STILL_M] = 0
            targets.append(MorphTarget(direction.slider, offsets))
        return targets


def _landmarks(portrait: Portrait) -> Float[Tensor, "478 2"] | None:
    """In portrait widths; None where there is no face."""
    return torch.from_numpy(portrait.landmarks / portrait.size_px).float() if len(portrait.landmarks) else None


def _shifted(camera: Camera, by: Float[np.ndarray, "3"]) -> Camera:
    cam2world = camera.cam2world.copy()
    cam2world[:3, 3] += by
    return Camera(cam2world, camera.intrinsics)


def _pixels(images: Images) -> UInt8[np.ndarray, "s s 3"]:
    shown = ((images.image[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return shown.permute(1, 2, 0).contiguous().cpu().numpy()
