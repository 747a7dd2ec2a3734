# SPDX-License-Identifier: Apache-2.0
"""What the main path needs of a model, whatever its family: the one interface between pipeline and generators."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from backend.alignment import Portrait
from backend.camera import Camera
from backend.config import Settings, SurfaceConfig, TextureConfig
from backend.field import Field
from backend.head import MorphTarget
from backend.landmarks import Face
from backend.mesh import Mesh
from backend.photo import Photo
from backend.reprojection import PhotoView

PORTRAIT_PX = 512  # Side of the portraits that models align.

# One head in a model's latent space; only the model itself looks inside.
CodesT = TypeVar("CodesT")
CodesT_contra = TypeVar("CodesT_contra", contravariant=True)


@dataclass(frozen=True)
class PersonPhoto:
    """A photo and the person in it.

    Args:
        photo: As read.
        portrait: As the model wants it.
        mask: Share of the person in each of the portrait's pixels.
        weight: What it counts beside the person's other photos, above 0; the best of them has 1.
    """

    photo: Photo
    portrait: Portrait
    mask: Float[Tensor, "1 1 s s"]
    weight: float = 1.0


@dataclass(frozen=True)
class Fit(Generic[CodesT]):
    """What the landmarks alone say of a person.

    Args:
        cameras: Of each portrait, in the model's world.
        codes: Where inversion starts: the same person as in each photo, so with its expression.
        scores: For the report; of a face among others ``landmark_score`` of each photo.
    """

    cameras: list[Camera]
    codes: list[CodesT]
    scores: dict[str, float]


def landmark_score(number: int) -> str:
    """Name of the score that says how far, in millimetres, a face's landmarks are from the fitted ones.

    Args:
        number: Of the photo, counted from 0 at the main one.
    """
    return "landmark_mm" if number == 0 else f"landmark_photo_{number + 1}_mm"


@runtime_checkable
class BoundMesh(Protocol[CodesT_contra]):
    """A mesh of a field's surface that follows the codes."""

    def vertices(self, codes: CodesT_contra) -> Float[np.ndarray, "v 3"]:
        """Where the mesh's vertices lie on the head of some codes, world units."""
        ...

    def morph_targets(self, normals: Float[np.ndarray, "v 3"]) -> list[MorphTarget]:
        """What each slider does to the vertices.

        Args:
            normals: Unit, of the vertices in the world; the same for all copies of a vertex.
        """
        ...


@runtime_checkable
class PortraitModel(Protocol[CodesT]):
    """A generator with all that its family knows: how it wants photos, how heads are coded, what its world is like.

    The model's world is right-handed with +y up; the face looks along +z and the origin lies in the head.

    Attributes:
        identity: ``id``, ``family``, ``licence`` and ``commercial_use``, for the record.
        surface: How its fields are meshed; the number of faces is the user's.
        texture: How its heads are painted; the size is the user's.
        code_shapes: Name to shape of the arrays that make up the codes of a head.
        moved_codes: Names of those arrays that sliders change.
        methods: Of inversion that it knows.
    """

    identity: dict[str, str]
    surface: SurfaceConfig
    texture: TextureConfig
    code_shapes: dict[str, tuple[int, ...]]
    moved_codes: tuple[str, ...]
    methods: tuple[str, ...]

    def align(self, photo: Photo, face: Face) -> Portrait:
        """The square that the model wants to see of a face."""
        ...

    def fit(self, photos: Sequence[PersonPhoto], /) -> Fit[CodesT]:
        """The cameras, and a first guess of the head.

        Args:
            photos: Of one person, at least one; the main one first.
        """
        ...

    def invert(
        self,
        fit: Fit[CodesT],
        photos: Sequence[PersonPhoto],
        *,
        settings: Settings,
        step: Callable[[float], None],
    ) -> tuple[list[CodesT], dict[str, float]]:
        """Codes that show each portrait from its camera, and the last losses by name.

        All codes are one person's: only what a face does, such as its expression, differs between them.

        Args:
            fit: The cameras are kept.
            photos: As for the fit.
            settings: The method, one of ``methods``, quality and seed are used.
            step: Called with the done share, often.

        Raises:
            SettingsError: The method needs an encoder that is not installed.
        """
        ...

    def move(self, codes: CodesT, slider_values: Mapping[str, float]) -> CodesT:
        """The codes after sliders are moved.

        Raises:
            SettingsError: A name is no slider of this model.
        """
        ...

    def at_rest(self, codes: CodesT, seen: CodesT, /) -> CodesT:
        """Codes less the expression that the head had in the photo.

        Args:
            codes: Of a head with that expression.
            seen: Of the head as it was in the photo.

        Returns:
            ``codes`` itself where the generator knows no expressions apart from the person.
        """
        ...

    def as_seen(self, codes: CodesT, seen: CodesT, /) -> CodesT:
        """The inverse of ``at_rest``."""
        ...

    def field(self, codes: CodesT) -> Field:
        """The head as density and colour in canonical space."""
        ...

    def bind(self, surface: Mesh, codes: CodesT) -> BoundMesh[CodesT]:
        """Let a mesh of the codes' field follow other codes."""
        ...

    def views(self, codes: CodesT, /) -> list[PhotoView]:
        """The model's own pictures of the head, sharper than its field; the most telling first."""
        ...

    def metres_per_unit(self, codes: CodesT, /) -> float:
        """World unit in metres, so that the head has real size."""
        ...

    def notes(self, codes: CodesT, /) -> list[str]:
        """Sentences for the report on what a reader of it should know of the head."""
        ...

    def to_arrays(self, codes: CodesT) -> dict[str, np.ndarray]:
        """The codes as the record keeps them, by the names of ``code_shapes``; optional ones may be missing."""
        ...

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> CodesT:
        """The inverse of ``to_arrays``.

        Raises:
            KeyError: An array is missing.
        """
        ...


@runtime_checkable
class TakesCropped(Protocol):
    """What a model adds that makes something else than human faces: pictures are taken as they are cropped."""

    def crop(self, photo: Photo) -> tuple[Portrait, Float[Tensor, "1 1 s s"]]:
        """The picture as a portrait without landmarks, and the share of the subject in each pixel.

        Raises:
            PhotoError: It is not cropped as the model expects.
        """
        ...
