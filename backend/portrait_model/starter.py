# SPDX-License-Identifier: Apache-2.0
"""The starter model on the main path: metres, a template behind the codes, sliders that came with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float

from backend.alignment import Portrait, align_portrait
from backend.config import Focus, Settings, SurfaceConfig, TextureConfig
from backend.directions import Codes, move
from backend.e3dge import GeometryEncoder
from backend.generator.starter import StarterField
from backend.head import MorphTarget
from backend.inversion.invert import FittedPhoto, invert_photos
from backend.inversion.lifting import code_prior, encode_portrait
from backend.inversion.methods import METHODS, STARTER_METHODS
from backend.inversion.parametric import Lens, SeenFace, fit_person
from backend.landmarks import Face
from backend.mesh import Mesh
from backend.morph import morph_targets
from backend.photo import Photo
from backend.portrait_model.contract import PORTRAIT_PX, Fit, PersonPhoto, landmark_score
from backend.portrait_model.plane_codes import TUNED
from backend.portrait_model.starter_methods import BEHIND_PLANES, StarterEncoders, invert_by_method, tuned_starter
from backend.pose import initial_focal, principal_point
from backend.reprojection import PhotoView
from backend.skeleton import POSE_SIZE
from backend.starter import Starter
from backend.starter_encoder import StarterEncoder

# Canonical space is the same for all heads, so that eyes, mouth and ears have fixed places in it.
FACE_LATTICE = Focus((0.0, 0.005, 0.1), reach=0.035, gain=4.0)
DETAILS = (
    Focus((0.0, -0.02, 0.11), reach=0.05, gain=8.0),
    Focus((0.031, 0.026, 0.1), reach=0.014, gain=150.0),
    Focus((-0.031, 0.026, 0.1), reach=0.014, gain=150.0),
    Focus((0.0, -0.048, 0.11), reach=0.02, gain=10.0),
    Focus((0.08, 0.0, -0.005), reach=0.025, gain=3.0),
    Focus((-0.08, 0.0, -0.005), reach=0.025, gain=3.0),
)
OFFSETS = ("plane_offset", "color_offset")
# A mesh rounds the lips' edges off, which leaves a slit of teeth between lips that touch.
REST_EXPRESSION = {"mouthClose": 0.1}
STARTER_SURFACE = SurfaceConfig(resolution=185, smoothing_steps=10, lattice_focus=FACE_LATTICE, details=DETAILS)


class StarterModel:
    """The starter as a ``PortraitModel``.

    Args:
        starter: On the device where it computes.
        encoder: Its encoder, on the same device; None where there is none.
        load_geometry: Gives its geometry-aware encoder, likewise; asked when a method needs it, because reading it
            takes time and may fail.
    """

    moved_codes: tuple[str, ...] = ("ws", "shape", "expression", "pose")
    methods: tuple[str, ...] = tuple(METHODS)

    def __init__(
        self,
        starter: Starter,
        encoder: StarterEncoder | None = None,
        load_geometry: Callable[[], GeometryEncoder | None] = lambda: None,
    ) -> None:
        self.starter, self.encoder, self._load_geometry = starter, encoder, load_geometry
        self.identity = starter.identity
        self._rest = np.array([REST_EXPRESSION.get(name, 0.0) for name in starter.template.expression_names])
        self.surface, self.texture = STARTER_SURFACE, TextureConfig()
        config, template = starter.generator.config, starter.template
        self.code_shapes: dict[str, tuple[int, ...]] = {
            "ws": (starter.generator.num_ws, config.w_dim),
            "shape": (len(template.shape),),
            "expression": (len(template.expression),),
            "pose": (POSE_SIZE,),
            **dict.fromkeys(OFFSETS, (3, config.plane_channels, config.plane_resolution, config.plane_resolution)),
        }
        weights = starter.generator.state_dict().items()
        self.code_shapes |= {
            f"{TUNED}{name}": tuple(value.shape) for name, value in weights if name.startswith(BEHIND_PLANES)
        }

    @cached_property
    def geometry(self) -> GeometryEncoder | None:
        """Its geometry-aware encoder; None where there is none."""
        return self._load_geometry()

    def align(self, photo: Photo, face: Face) -> Portrait:
        """The upright head with hair and some shoulder."""
        return align_portrait(photo, face, size_px=PORTRAIT_PX)

    def fit(self, photos: Sequence[PersonPhoto]) -> Fit[Codes]:
        """Shape, expressions and cameras from the landmarks and the encoder; the appearance is an ordinary one."""
        fits = fit_person(self.starter.template, [self._seen_face(photo) for photo in photos])
        with torch.no_grad():
            ws = self.starter.generator.map(self.starter.candidates[:1].to(self._device))[0].cpu().numpy()
        codes = [Codes(ws, fit.shape, fit.expression) for fit in fits]
        scores = {landmark_score(number): round(1000 * fit.residual_m, 3) for number, fit in enumerate(fits)}
        return Fit([fit.camera for fit in fits], codes, scores)

    def _seen_face(self, photo: PersonPhoto) -> SeenFace:
        portrait = photo.portrait
        lens = Lens(initial_focal(photo.photo, portrait), principal_point(photo.photo, portrait))
        prior = None if self.encoder is None else code_prior(encode_portrait(self.encoder, portrait, photo.mask))
        return SeenFace(portrait.landmarks / portrait.size_px, lens, prior, photo.weight)

    def invert(
        self,
        fit: Fit[Codes],
        photos: Sequence[PersonPhoto],
        *,
        settings: Settings,
        step: Callable[[float], None],
    ) -> tuple[list[Codes], dict[str, float]]:
        """The appearance that shows the portraits; shape and expressions stay as fitted, whatever the method."""
        fitted = [
            FittedPhoto(one.portrait, one.mask, camera, codes, one.weight)
            for one, camera, codes in zip(photos, fit.cameras, fit.codes, strict=True)
        ]
        if settings.method != "protome":
            encoders = StarterEncoders(self.encoder, self.geometry if settings.method in STARTER_METHODS else None)
            return invert_by_method(self.starter, encoders, fitted, settings=settings, step=step)
        return invert_photos(
            self.starter,
            fitted,
            quality=settings.quality,
            seed=settings.seed,
            step=step,
            encoder=self.encoder,
        )

    def move(self, codes: Codes, slider_values: Mapping[str, float]) -> Codes:
        """The codes after sliders are moved; see ``directions.move``."""
        return move(codes, self.starter.directions, slider_values)

    def at_rest(self, codes: Codes, seen: Codes) -> Codes:
        """Without the photo's expression; how the head stood is in the camera alone, so the pose is at rest."""
        return replace(codes, expression=codes.expression - seen.expression + self._rest)

    def as_seen(self, codes: Codes, seen: Codes) -> Codes:
        """With the photo's expression."""
        return replace(codes, expression=codes.expression + seen.expression - self._rest)

    def field(self, codes: Codes) -> StarterField:
        """The head in canonical space, metres."""
        ws = torch.from_numpy(codes.ws.astype(np.float32))[None].to(self._device)
        offsets = {
            name: torch.from_numpy(array.astype(np.float32))[None].to(self._device)
            for name, array in _offsets(codes).items()
        }
        with torch.no_grad():
            return tuned_starter(self.starter, codes).generator.field(ws, **offsets)

    def bind(self, surface: Mesh, codes: Codes) -> "TemplateMesh":
        """Let the mesh follow the template."""
        binding = self.starter.template.binding(surface.vertices.astype(np.float64))
        return TemplateMesh(tuned_starter(self.starter, codes), surface, codes, binding)

    def views(self, _: Codes) -> list[PhotoView]:
        """None: the field itself is as sharp as the starter gets."""
        return []

    def metres_per_unit(self, _: Codes) -> float:
        """1: the starter's world is in metres."""
        return 1.0

    def notes(self, _: Codes) -> list[str]:
        """Nothing."""
        return []

    def to_arrays(self, codes: Codes) -> dict[str, np.ndarray]:
        """The codes by name, without the offsets that there are none of."""
        arrays = {"ws": codes.ws, "shape": codes.shape, "expression": codes.expression, "pose": codes.pose}
        arrays |= {f"{TUNED}{name}": change for name, change in codes.tuned.items()}
        return arrays | _offsets(codes)

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> Codes:
        """The inverse of ``to_arrays``."""
        pose = arrays.get("pose", np.zeros(POSE_SIZE))  # Heads of earlier versions looked straight ahead.
        tuned = {name.removeprefix(TUNED): array for name, array in arrays.items() if name.startswith(TUNED)}
        offsets = {name: arrays.get(name) for name in OFFSETS}
        return Codes(arrays["ws"], arrays["shape"], arrays["expression"], pose=pose, tuned=tuned, **offsets)

    @property
    def _device(self) -> torch.device:
        return self.starter.generator.mean_planes.device


def _offsets(codes: Codes) -> dict[str, np.ndarray]:
    """Those of a head's offsets that there are."""
    found = {name: getattr(codes, name) for name in OFFSETS}
    return {name: array for name, array in found.items() if array is not None}


@dataclass(frozen=True)
class TemplateMesh:
    """A canonical mesh whose vertices follow those of the template around them.

    Args:
        starter: The model.
        surface: In canonical space.
        codes: Of the field that was meshed.
        binding: Of the vertices, from ``Template.binding``.
    """

    starter: Starter
    surface: Mesh
    codes: Codes
    binding: sp.csr_matrix

    def vertices(self, codes: Codes) -> Float[np.ndarray, "v 3"]:
        """The vertices as shape, expression and pose place them, metres."""
        template = self.starter.template
        offsets = template.offsets(codes.shape, codes.expression)
        return template.place(self.surface.vertices, self.binding, offsets, codes.pose).astype(np.float32)

    def morph_targets(self, normals: Float[np.ndarray, "v 3"]) -> list[MorphTarget]:
        """One per direction of the starter."""
        return morph_targets(self.starter, self.codes, self.surface, normals=normals, binding=self.binding)
