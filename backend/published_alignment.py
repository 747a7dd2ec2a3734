# SPDX-License-Identifier: Apache-2.0
"""Photos as the published generators were trained to see them: their crop, and the camera that labels it.

How to call it, for one face of a photo:

    portrait = align_eg3d(photo, face)                       # EG3D and TriPlaneNet; the picture, and photo <-> crop
    head = fit_template(template, portrait.landmarks / portrait.size_px, Lens(camera_config.focal)).camera
    camera = published_camera(head, template, "eg3d", camera_config)  # in the generator's world; see label_of

`published_camera` serves the other families too; only the crop differs.

Source:
    EG3D.md sections 1, 2.12, 4.5 and 5. The published reference points and the networks behind the published labels
    are licensed; our own mean face and our own fit of the pose take their place.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from backend import face_mesh_points as points
from backend.alignment import Portrait, cut_portrait
from backend.camera import Camera
from backend.generator.config import CameraConfig, Family
from backend.generator.eg3d_camera import pose_looking
from backend.landmarks import Face
from backend.photo import Photo
from backend.template import Template

EYE_CORNERS = [points.RIGHT_EYE_OUTER, points.RIGHT_EYE_INNER, points.LEFT_EYE_OUTER, points.LEFT_EYE_INNER]

# Pixels of the published chain: the photo is brought to 300 for each unit of the reference face, its square of
# 700 is kept and brought to 512.
UNIT_PX, FRAME_PX, KEPT_PX, CROP_PX = 300, 1024, 700, 512

# Both eyes, nose tip and mouth corners as a viewer reads them, from the left; decimetres. The starter's mean face,
# with the origin where the published example of TriPlaneNet has it: 29 mm below and 7 mm behind the eyes.
REFERENCE_DM = np.array(
    [
        [-0.312, 0.293, 0.067],
        [0.312, 0.293, 0.067],
        [0.0, -0.117, 0.398],
        [-0.252, -0.433, 0.147],
        [0.252, -0.433, 0.147],
    ]
)
# From the middle between the eyes: to that origin, and to the neck joint, which is 3DPortraitGAN's; metres.
EYES_TO_FACE_M = np.array([0.0, -0.0293, -0.0067])
EYES_TO_NECK_M = np.array([0.0, -0.16, -0.10])

# From the reference face's frame, decimetres, to EG3D's world.
DM_PER_M = 10
UNITS_PER_DM = 0.27
FACE_ORIGIN = np.array([0.0, 0.006, 0.161])


@dataclass(frozen=True)
class CropWindow:
    """The published square around a face, in a photo brought to another size.

    Args:
        photo_size: Width and height of the photo, pixels.
        resized: The same after the change; whole pixels, so the sides' ratio may change a little.
        corner: Left and top of the square, pixels of the changed photo; may lie outside it.
    """

    photo_size: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]

    @property
    def photo_to_crop(self) -> Float[np.ndarray, "3 3"]:
        """From photo pixels to pixels of the final crop."""
        to_crop = CROP_PX / KEPT_PX
        scale = np.array(self.resized) / np.array(self.photo_size)
        matrix = np.diag([*(scale * to_crop), 1.0])
        matrix[:2, 2] = -np.array(self.corner) * to_crop
        return matrix


def align_eg3d(photo: Photo, face: Face) -> Portrait:
    """The portrait of 512 pixels that EG3D's FFHQ generators and TriPlaneNet ask for.

    The face stays as it leans. Where the square leaves the photo, the photo's border goes on.
    """
    height, width = photo.pixels.shape[:2]
    scale, offset = fit_five_points(_y_up(five_points(face), height), REFERENCE_DM)
    window = crop_window((width, height), scale, offset)
    portrait = cut_portrait(photo, face, np.linalg.inv(window.photo_to_crop), size_px=CROP_PX)
    pixels = cut_window(photo.pixels, window, extend=True)
    image = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    return replace(portrait, image=image)


def five_points(face: Face) -> Float[np.ndarray, "5 2"]:
    """Where a face has the points of `REFERENCE_DM`, photo pixels."""
    eyes = face.landmarks[EYE_CORNERS].reshape(2, 2, 2).mean(1)
    return np.vstack([eyes, face.landmarks[[points.NOSE_TIP, points.MOUTH_RIGHT, points.MOUTH_LEFT]]])


def fit_five_points(
    points_up: Float[np.ndarray, "n 2"], reference: Float[np.ndarray, "n 3"]
) -> tuple[float, Float[np.ndarray, "2"]]:
    """Size and place of a face in a photo: the affine map from the reference that fits best.

    Args:
        points_up: Photo pixels with y upwards, the centre of the lowest left pixel at (0, 0).
        reference: The same points of a reference face.

    Returns:
        Pixels per unit of the reference, and where its origin lies.
    """
    design = np.column_stack([reference, np.ones(len(reference))])
    solution = np.linalg.lstsq(design, points_up, rcond=None)[0]
    return float(np.linalg.norm(solution[:3], axis=0).mean()), solution[3]


def crop_window(photo_size: tuple[int, int], scale: float, offset: Float[np.ndarray, "2"]) -> CropWindow:
    """The published square for a face of this size and place.

    Args:
        photo_size: Width and height, pixels.
        scale: As `fit_five_points` gives it.
        offset: As `fit_five_points` gives it.
    """
    factor = UNIT_PX / scale
    width, height = photo_size
    resized = int(width * factor), int(height * factor)
    left = int(resized[0] / 2 - FRAME_PX / 2 + (offset[0] - width / 2) * factor)
    top = int(resized[1] / 2 - FRAME_PX / 2 + (height / 2 - offset[1]) * factor)
    margin = (FRAME_PX - KEPT_PX) // 2
    return CropWindow(photo_size, resized, (left + margin, top + margin))


def cut_window(
    pixels: UInt8[np.ndarray, "h w 3"], window: CropWindow, *, extend: bool
) -> UInt8[np.ndarray, "512 512 3"]:
    """The crop with the published filters: bicubic to the window's scale, then Lanczos.

    Args:
        pixels: The photo.
        window: Meets the photo.
        extend: Outside the photo the border pixels go on; otherwise it is black there, as published.
    """
    low = np.clip(window.corner, 0, window.resized)
    high = np.clip(np.array(window.corner) + KEPT_PX, 0, window.resized)
    # Only the part that is kept is resized: the whole photo could be huge at this scale.
    to_photo = np.array(window.photo_size) / np.array(window.resized)
    box = (*(low * to_photo), *(high * to_photo))
    part = Image.fromarray(pixels).resize(tuple(high - low), Image.Resampling.BICUBIC, box=box)
    before, after = low - window.corner, np.array(window.corner) + KEPT_PX - high
    border = ((before[1], after[1]), (before[0], after[0]), (0, 0))
    square = np.pad(np.asarray(part), border, mode="edge" if extend else "constant")
    return np.asarray(Image.fromarray(square).resize((CROP_PX, CROP_PX), Image.Resampling.LANCZOS))


def published_camera(head_camera: Camera, template: Template, family: Family, config: CameraConfig) -> Camera:
    """The camera that a family's labels give to a portrait.

    Published labels know one distance and one lens; what the head's own distance was is in the crop. And they look
    through the crop's middle, so that their turn is a little beside that of the photo's own axis.

    Args:
        head_camera: Fitted to the portrait in the template's frame, metres, with the family's lens.
        template: What it was fitted with.
        family: Whose labels.
        config: The family's radius, look-at point and lens.
    """
    pose, eyes = head_camera.cam2world, _eyes(template)
    if family == "eg3d":
        face = _shifted(pose, -(eyes + EYES_TO_FACE_M))
        face[:3, 3] *= DM_PER_M
        pose = at_radius(eg3d_pose(face), config.radius)
    elif family == "panohead":
        pose = pose.copy()
        pose[:3, 3] = -config.radius * pose[:3, 2]
    else:
        position = at_radius(_shifted(pose, -(eyes + EYES_TO_NECK_M)), config.radius)[:3, 3]
        pose = _looking_at(pose, position, np.array(config.pivot))
    intrinsics = np.array([[config.focal, 0, 0.5], [0, config.focal, 0.5], [0, 0, 1]])
    return Camera(pose, intrinsics)


def eg3d_pose(face_camera: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """A camera of the reference face's frame, decimetres, in EG3D's world, at its own distance still."""
    pose = face_camera.copy()
    pose[:3, 3] = UNITS_PER_DM * face_camera[:3, 3] + FACE_ORIGIN
    return pose


def at_radius(pose: Float[np.ndarray, "4 4"], radius: float) -> Float[np.ndarray, "4 4"]:
    """The camera moved straight to or from the world's origin until it is so far away."""
    moved = pose.copy()
    moved[:3, 3] *= radius / np.linalg.norm(pose[:3, 3])
    return moved


def mirrored(camera: Camera) -> Camera:
    """The camera of the mirrored portrait."""
    flip = np.diag([-1.0, 1, 1, 1])
    return Camera(flip @ camera.cam2world @ flip, camera.intrinsics)


def _y_up(points_px: Float[np.ndarray, "n 2"], height: int) -> Float[np.ndarray, "n 2"]:
    """Our pixel positions, y down and first centre at (0.5, 0.5), as the published fit counts them."""
    return np.column_stack([points_px[:, 0] - 0.5, height - 0.5 - points_px[:, 1]])


def _eyes(template: Template) -> Float[np.ndarray, "3"]:
    """The middle between the mean head's eye corners, template's frame."""
    return template.landmarks(template.vertices + template.neutral, EYE_CORNERS).mean(0)


def _shifted(pose: Float[np.ndarray, "4 4"], shift: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    moved = pose.copy()
    moved[:3, 3] += shift
    return moved


def _looking_at(
    pose: Float[np.ndarray, "4 4"], position: Float[np.ndarray, "3"], pivot: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "4 4"]:
    """A camera at a position that looks at the pivot and leans as the given one does."""
    level, before = pose_looking(pivot - position, position), pose_looking(pose[:3, 2], position)
    level[:3, :3] = level[:3, :3] @ before[:3, :3].T @ pose[:3, :3]
    return level
