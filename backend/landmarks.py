# SPDX-License-Identifier: Apache-2.0
"""Finds the faces of a photo and their 478 landmarks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from backend import face_mesh_points as points
from backend.errors import PhotoError
from backend.face_detector import SAME_FACE_OVERLAP, Candidate, find_candidates, merge_candidates, second_look
from backend.face_mesh import MeshFit, face_square, fit_mesh
from backend.photo import Photo
from backend.photo_network import PhotoNetwork, load_network
from backend.threads import one_thread

MIN_SCORE = 0.5
MIN_PRESENCE = 0.9
MAX_MIRROR_ERROR = 0.12  # In eye distances.
MIN_SECOND_LOOK = 0.78  # 68 true faces, many dark, blurred or tiny, gave 0.84 and more; false hits at most 0.72.
MAX_CANDIDATES = 12  # Per search; each costs about 60 ms.
MIN_EYE_DISTANCE_PX = 24  # A face of about 55 pixels.
MAX_YAW_DEG = 62.0  # Of the mesh: on 16 rendered heads at 60 degrees it says 50 to 61, at 70 degrees 53 to 64.
PROFILE_YAW_DEG = 40.0  # Full profiles fail as faces, but the detector is sure of them and the mesh shows them turned.
PROFILE_SCORE = 0.8

# Searches as (subdivision, turns of the photo in degrees): the first always runs in full, the others only until a
# face is found; they are for faces that lie on their side, and for ever smaller ones.
SEARCHES = (((1, 0), (2, 0)), ((1, 90), (1, 180), (1, 270)), ((4, 0),), ((8, 0),))


@dataclass(frozen=True)
class Face:
    """One face of a photo.

    Args:
        box: Left, top, width and height around the landmarks, photo pixels.
        score: The detector's certainty, 0 to 1.
        landmarks: Photo pixels; ``face_mesh_points`` names them.
        depth: Photo pixels, smaller is nearer to the camera.
    """

    box: Float[np.ndarray, "4"]
    score: float
    landmarks: Float[np.ndarray, "478 2"]
    depth: Float[np.ndarray, "478"]

    @property
    def eye_distance_px(self) -> float:
        """Distance between the eyes' middles in photo pixels, foreshortening undone with the mesh's depth."""
        positions = np.column_stack([self.landmarks, self.depth])
        right = positions[[points.RIGHT_EYE_OUTER, points.RIGHT_EYE_INNER]].mean(0)
        left = positions[[points.LEFT_EYE_OUTER, points.LEFT_EYE_INNER]].mean(0)
        return float(np.linalg.norm(left - right))

    @property
    def yaw_deg(self) -> float:
        """Rough turn to the side from the mesh's depth: positive when the subject's left side is nearer."""
        right, left = [points.RIGHT_EYE_OUTER, points.RIGHT_CHEEK], [points.LEFT_EYE_OUTER, points.LEFT_CHEEK]
        across = np.linalg.norm((self.landmarks[left] - self.landmarks[right]).mean(0))
        nearer = (self.depth[right] - self.depth[left]).mean()
        return float(np.degrees(np.arctan2(nearer, across)))


def detect_face(photo: Photo, face_index: int = 0) -> Face:
    """The face to work on.

    Args:
        photo: As read.
        face_index: 0 is the largest face.

    Raises:
        PhotoError: No face, no face of that number, or one that is too small or seen from the side.
        ModelError: The photo networks are missing.
    """
    return detect_face_among(photo, face_index)[0]


def detect_face_among(photo: Photo, face_index: int = 0) -> tuple[Face, list[Face]]:
    """As ``detect_face``, with all the faces that were found, largest first."""
    faces, profiles = _find(photo.pixels)
    if not faces and profiles:
        raise _seen_from_the_side(photo)
    if not faces:
        raise PhotoError(
            f"No face was found in {photo.name}. Use a sharp, well lit photo that shows the face from the front.",
            code="no_face",
        )
    if not 0 <= face_index < len(faces):
        raise PhotoError(f"{photo.name} has no face {face_index}. Choose from {describe(faces)}.", code="face_index")
    face = faces[face_index]
    if face.eye_distance_px < MIN_EYE_DISTANCE_PX:
        raise PhotoError(
            f"The face in {photo.name} is only about {face.box[2]:.0f} pixels wide. "
            "Use a photo with the face at least 100 pixels wide.",
            code="face_too_small",
        )
    if abs(face.yaw_deg) > MAX_YAW_DEG:
        raise _seen_from_the_side(photo)
    return face, faces


def _seen_from_the_side(photo: Photo) -> PhotoError:
    return PhotoError(
        f"The face in {photo.name} is seen from the side. Use a photo that shows both eyes.", code="face_profile"
    )


def describe(faces: list[Face]) -> str:
    """The faces in one line, for messages."""
    return ", ".join(
        f"{index} ({face.box[2]:.0f} x {face.box[3]:.0f} pixels at {face.box[0]:.0f}, {face.box[1]:.0f})"
        for index, face in enumerate(faces)
    )


def detect_faces(pixels: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
    """All faces, largest first; small ones are searched for only when there is no large one.

    Raises:
        ModelError: The photo networks are missing.
    """
    return _find(pixels)[0]


def _find(pixels: UInt8[np.ndarray, "h w 3"]) -> tuple[list[Face], list[Face]]:
    """All faces, largest first, and rejected ones that look like profiles, of the first search that found either."""
    detector, mesh = load_network("face_detector"), load_network("face_mesh")
    with one_thread():
        for search in SEARCHES:
            fits = [(candidate, fit_mesh(mesh, pixels, candidate)) for candidate in _search(detector, pixels, search)]
            faces = _without_doubles([_face(*pair) for pair in fits if _is_face(detector, pixels, pair[1])])
            profiles = [face for face in (_face(*pair) for pair in fits) if _is_profile(face)]
            if faces or profiles:
                return sorted(faces, key=lambda face: -face.eye_distance_px), profiles
    return [], []


def _search(
    detector: PhotoNetwork, pixels: UInt8[np.ndarray, "h w 3"], search: tuple[tuple[int, int], ...]
) -> list[Candidate]:
    found = []
    for subdivision, roll_deg in search:
        found += find_candidates(detector, pixels, subdivision=subdivision, roll_deg=roll_deg, min_score=MIN_SCORE)
    return merge_candidates(found)[:MAX_CANDIDATES]


def _is_face(detector: PhotoNetwork, pixels: UInt8[np.ndarray, "h w 3"], fit: MeshFit) -> bool:
    """Whether both networks believe in the face, and the mesh says the same of its mirror image."""
    if fit.presence < MIN_PRESENCE or fit.mirror_error > MAX_MIRROR_ERROR:
        return False
    centre, side, roll_deg = face_square(fit.landmarks)
    return second_look(detector, pixels, centre, side, roll_deg=roll_deg) > MIN_SECOND_LOOK


def _is_profile(face: Face) -> bool:
    return face.score > PROFILE_SCORE and abs(face.yaw_deg) > PROFILE_YAW_DEG


def _face(candidate: Candidate, fit: MeshFit) -> Face:
    low, high = fit.landmarks.min(0), fit.landmarks.max(0)
    return Face(np.concatenate([low, high - low]), candidate.score, fit.landmarks, fit.depth)


def _without_doubles(faces: list[Face]) -> list[Face]:
    """Two candidates may lead to one face; the better one stays."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_box_overlap(face.box, other.box) < SAME_FACE_OVERLAP for other in kept):
            kept.append(face)
    return kept


def _box_overlap(first: Float[np.ndarray, "4"], second: Float[np.ndarray, "4"]) -> float:
    """Shared area over joint area of two boxes."""
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[:2] + first[2:], second[:2] + second[2:])
    shared = float(np.maximum(high - low, 0).prod())
    return shared / (float(first[2:].prod() + second[2:].prod()) - shared)
