# SPDX-License-Identifier: Apache-2.0
"""Where the camera stood: lens from the photo, pose from landmarks."""

import math

import numpy as np
from jaxtyping import Float

from backend import face_mesh_points as points
from backend.alignment import Portrait
from backend.camera import Camera, look_at_camera
from backend.photo import FULL_FRAME_DIAGONAL_MM, Photo
from backend.resample import transform

EYE_DISTANCE_M = 0.063  # Mean of adults: Dodgson 2004, "Variation and extrema of human interpupillary distance".
ASSUMED_DISTANCE_M = 1.2  # Where people stand for a portrait; nearer, noses grow, farther, faces get small.
MAX_STEPS = 100
CONVERGED = 1e-10  # Step length in radians and relative shifts.
MIN_DAMPING = 1e-9
OUTLIER = 2.5  # Robust weights fall from this many standard deviations on.
MEDIAN_TO_DEVIATION = 1.1774  # Median of the length of a 2D normal vector with deviation 1.
NOISE_FLOOR = 1e-6  # Image widths.


def initial_focal(photo: Photo, portrait: Portrait) -> float:
    """Focal length in portrait widths.

    The photo's metadata give the lens. Without them the eyes, taken as 63 mm apart, are assumed to be 1.2 m away:
    the focal length then follows from their size in the portrait.
    """
    if photo.focal_35mm is None:
        return ASSUMED_DISTANCE_M * _eye_distance_px(portrait) / EYE_DISTANCE_M / portrait.size_px
    height, width = photo.pixels.shape[:2]
    portrait_px_per_photo_px = math.hypot(*portrait.photo_to_portrait[:2, 0])
    focal_px = photo.focal_35mm / FULL_FRAME_DIAGONAL_MM * math.hypot(width, height)
    return focal_px * portrait_px_per_photo_px / portrait.size_px


def principal_point(photo: Photo, portrait: Portrait) -> tuple[float, float]:
    """Where the lens axis meets the portrait, portrait widths.

    That is the photo's middle while the metadata vouch for an uncropped frame, else the portrait's own.
    """
    if photo.focal_35mm is None:
        return 0.5, 0.5
    height, width = photo.pixels.shape[:2]
    x, y = transform(portrait.photo_to_portrait, np.array([[width / 2, height / 2]]))[0] / portrait.size_px
    return float(x), float(y)


def _eye_distance_px(portrait: Portrait) -> float:
    positions = np.column_stack([portrait.landmarks, portrait.depth])
    right = positions[[points.RIGHT_EYE_OUTER, points.RIGHT_EYE_INNER]].mean(0)
    left = positions[[points.LEFT_EYE_OUTER, points.LEFT_EYE_INNER]].mean(0)
    return float(np.linalg.norm(left - right))


def fit_camera(
    points_world: Float[np.ndarray, "n 3"],
    points_portrait: Float[np.ndarray, "n 2"],
    *,
    focal: float | None,
    weights: Float[np.ndarray, "n"] | None = None,
    principal_point: tuple[float, float] = (0.5, 0.5),
) -> Camera:
    """The camera that sees world points at given image places, with outliers weighed down.

    Args:
        points_world: World units; at least 6, not all in a plane.
        points_portrait: In image widths.
        focal: In image widths; None puts the camera 1.2 world units away.
        weights: Trust in each point, not negative.
        principal_point: In image widths.

    Raises:
        ValueError: There are fewer than 6 points.

    Source:
        Start: weak perspective (DeMenthon and Davis 1995); then Levenberg and Marquardt on rotation, image shift and
        log depth, reweighted after Huber 1964.
    """
    if len(points_world) < 6:
        raise ValueError(f"a camera needs at least 6 points, got {len(points_world)}")
    trust = np.ones(len(points_world)) if weights is None else np.asarray(weights, dtype=np.float64)
    centre = trust @ points_world / trust.sum()
    centred = np.asarray(points_world, dtype=np.float64) - centre
    image = np.asarray(points_portrait, dtype=np.float64) - principal_point
    rotation, scale, shift = _weak_perspective(centred, image, trust)
    lens = focal if focal is not None else ASSUMED_DISTANCE_M * scale
    depth = lens / scale
    rotation, translation = _refine(centred, image, trust, lens, rotation, np.array([*(shift / scale), depth]))
    cam2world = np.eye(4)
    cam2world[:3, :3] = rotation.T
    cam2world[:3, 3] = centre - rotation.T @ translation
    intrinsics = np.array([[lens, 0, principal_point[0]], [0, lens, principal_point[1]], [0, 0, 1]], dtype=np.float64)
    return Camera(cam2world, intrinsics)


def head_angles(camera: Camera) -> tuple[float, float, float]:
    """How the camera stands to the head at the world origin: yaw, pitch and roll in degrees.

    Yaw and pitch are those of ``look_at_camera``: positive when the camera stands towards the subject's left (+x)
    and above. Roll is positive when the top of the head leans to the image's right.
    """
    x, y, z = camera.position / np.linalg.norm(camera.position)
    yaw_deg, pitch_deg = math.degrees(math.atan2(x, z)), math.degrees(math.asin(np.clip(y, -1, 1)))
    level = look_at_camera(yaw_deg=yaw_deg, pitch_deg=np.clip(pitch_deg, -89, 89), distance=1, focal=1)
    up = camera.cam2world[:3, :3].T @ -level.cam2world[:3, 1]
    return yaw_deg, pitch_deg, math.degrees(math.atan2(up[0], -up[1]))


def _weak_perspective(
    centred: Float[np.ndarray, "n 3"], image: Float[np.ndarray, "n 2"], trust: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "3 3"], float, Float[np.ndarray, "2"]]:
    """Rotation to camera axes, image widths per world unit, and the image of the points' centre."""
    root = np.sqrt(trust)[:, None]
    design = np.column_stack([centred, np.ones(len(centred))])
    solution = np.linalg.lstsq(design * root, image * root, rcond=None)[0]
    left, stretch, right = np.linalg.svd(solution[:3].T, full_matrices=False)
    first, second = left @ right
    return np.stack([first, second, np.cross(first, second)]), float(stretch.mean()), solution[3]


def _refine(
    centred: Float[np.ndarray, "n 3"],
    image: Float[np.ndarray, "n 2"],
    trust: Float[np.ndarray, "n"],
    lens: float,
    rotation: Float[np.ndarray, "3 3"],
    translation: Float[np.ndarray, "3"],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Least squares on the image distances; depth stays positive because its logarithm moves."""
    damping = 1e-4
    for _ in range(MAX_STEPS):
        residual, jacobian = _linearize(centred, image, lens, rotation, translation)
        weights = trust * _huber_weights(residual, trust)
        normal = np.einsum("n,nki,nkj->ij", weights, jacobian, jacobian)
        gradient = np.einsum("n,nki,nk->i", weights, jacobian, residual)
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
        moved = _rotation(step[:3]) @ rotation, _shifted(translation, step[3:])
        moved_residual = image - _image_of(centred @ moved[0].T + moved[1], lens)
        if weights @ (moved_residual**2).sum(1) > weights @ (residual**2).sum(1):
            damping *= 10
        else:
            rotation, translation = moved
            damping = max(damping / 10, MIN_DAMPING)
        if np.abs(step).max() < CONVERGED:
            break
    return rotation, translation


def _linearize(
    centred: Float[np.ndarray, "n 3"],
    image: Float[np.ndarray, "n 2"],
    lens: float,
    rotation: Float[np.ndarray, "3 3"],
    translation: Float[np.ndarray, "3"],
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2 6"]]:
    """Image residuals, and how the images move with three rotations, two shifts by depth and the log depth."""
    turned = centred @ rotation.T
    camera = turned + translation
    moves = np.zeros((len(centred), 3, 6))
    moves[:, :, :3] = np.cross(np.eye(3)[None], turned[:, None, :]).transpose(0, 2, 1)
    moves[:, 0, 3] = moves[:, 1, 4] = translation[2]
    moves[:, :, 5] = translation
    depth = camera[:, 2, None, None]
    jacobian = lens * (moves[:, :2] / depth - camera[:, :2, None] * moves[:, 2:] / depth**2)
    return image - _image_of(camera, lens), jacobian


def _image_of(points_camera: Float[np.ndarray, "n 3"], lens: float) -> Float[np.ndarray, "n 2"]:
    return lens * points_camera[:, :2] / points_camera[:, 2:]


def _shifted(translation: Float[np.ndarray, "3"], step: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Moves sideways in the image, then along the line of sight."""
    sideways = translation + translation[2] * np.array([step[0], step[1], 0])
    return sideways * math.exp(float(np.clip(step[2], -1, 1)))


def _rotation(axis_angle: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Rodrigues' formula."""
    angle = float(np.linalg.norm(axis_angle))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = axis_angle / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def _huber_weights(residual: Float[np.ndarray, "n 2"], trust: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """1 for inliers, falling with the distance for points farther than ``OUTLIER`` deviations."""
    distance = np.linalg.norm(residual, axis=1)
    deviation = np.median(distance[trust > 0]) / MEDIAN_TO_DEVIATION
    return np.minimum(1, OUTLIER * max(deviation, NOISE_FLOOR) / np.maximum(distance, NOISE_FLOOR))
