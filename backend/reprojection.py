# SPDX-License-Identifier: Apache-2.0
"""What a photo shows of a surface: colours, and how far each can be trusted."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from scipy.ndimage import distance_transform_edt, grey_opening

from backend.camera import Camera, project, rays
from backend.mesh import vertex_normals
from backend.raycast import Caster, sample_bilinear

MAP_PX = 1024  # Side of the maps of depth and trust; about half a millimetre of a portrait.
MASK_EDGE = 0.75  # Below this the matte lets background through.
MARGIN = (0.004, 0.024)  # Portrait widths from an edge where trust starts and where it is full.
FACING = (0.18, 0.5)  # Cosine to the camera where trust starts and where it is full.
OPENING = 0.06  # Portrait widths: an opening no wider, such as a mouth, shows what belongs there.
GAP = 0.08  # A jump in depth that hides something behind, in radii of the mesh; a nose over its lip is none.
FAR = 1e9  # Stands for infinity where differences are taken.
POINTS_PER_BLOCK = 1 << 20  # Keeps temporary arrays small.
BIAS = 0.004  # Tolerance of the depth test, in radii of the mesh.


@dataclass(frozen=True)
class PhotoView:
    """A photo and how it was taken.

    Args:
        pixels: The whole photo, sRGB.
        photo_to_portrait: Takes photo pixels (x right, y down, first centre at 0.5) to pixels of the square crop.
        portrait_px: Side of that crop.
        camera: Of the crop; its world is that of the vertices as they were in the photo.
        mask: The head's matte in the crop, 0 to 1, of any size.
        vertices: The surface as it was in this photo, where it was not as in the main one.
        weight: What it counts beside the person's other photos, above 0; the best of them has 1.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    photo_to_portrait: Float[np.ndarray, "3 3"]
    portrait_px: int
    camera: Camera
    mask: Float[np.ndarray, "m m"]
    vertices: Float[np.ndarray, "v 3"] | None = None
    weight: float = 1.0


class Reprojection:
    """Looks up surface points in a photo.

    Args:
        photo: The photo and its camera.
        vertices: The surface as it was in the photo.
        faces: Of that surface.
        uv_area_px: Area of each face in the texture, texels; the photo is resampled to about one pixel a texel.
    """

    def __init__(
        self,
        photo: PhotoView,
        vertices: Float[np.ndarray, "v 3"],
        faces: Int[np.ndarray, "f 3"],
        uv_area_px: Float[np.ndarray, "f"],
    ) -> None:
        self.camera = photo.camera
        self.portrait_px = photo.portrait_px
        caster = Caster(vertices, faces)
        self.bias = BIAS * caster.radius
        self.depth = _depth_map(caster, photo.camera)
        self.trust = _trust_map(photo, self.depth, GAP * caster.radius)
        scale = _pixels_per_texel(photo, vertices, faces, uv_area_px)
        self.picture, self.portrait_to_picture = _resample(photo, scale)

    def sample(
        self, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
        """Colours of surface points, sRGB in [0, 1], and their trust in [0, 1]; both 0 where the photo sees nothing.

        Args:
            points: In the world of the photo's camera.
            normals: Outward, of any length.
        """
        colors, trust = np.zeros((len(points), 3), np.float32), np.zeros(len(points), np.float32)
        for first in range(0, len(points), POINTS_PER_BLOCK):
            block = slice(first, first + POINTS_PER_BLOCK)
            cosine = _cosine(self.camera.position, points[block], normals[block])
            facing = np.flatnonzero(cosine > FACING[0])
            place, is_seen = self._places(points[block][facing], cosine[facing])
            seen, place = facing[is_seen], place[is_seen]
            steady = sample_bilinear(self.trust[..., None], place[:, 0] * MAP_PX, place[:, 1] * MAP_PX)[:, 0]
            trust[block][seen] = steady * ramp(cosine[seen], FACING)
            spot = _transform(self.portrait_to_picture, place * self.portrait_px)
            colors[block][seen] = sample_bilinear(self.picture, spot[:, 0], spot[:, 1]) / 255
        return colors, trust

    def facing(self, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """How squarely surface points stand before the camera: the cosine, 0 where they look away."""
        return np.maximum(_cosine(self.camera.position, points, normals), 0).astype(np.float32)

    def _places(
        self, points: Float[np.ndarray, "n 3"], cosine: Float[np.ndarray, "n"]
    ) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, "n"]]:
        """Where points appear in the crop, image widths, and whether they do, with nothing before them."""
        place, depth = project(self.camera, points.astype(np.float64))
        is_seen = (depth > 0) & (place > 0).all(axis=1) & (place < 1).all(axis=1)
        row, column = (place[is_seen, ::-1] * MAP_PX).astype(np.int64).T
        # A depth map's pixel spans more depth on a steep surface.
        pixel = depth / (self.camera.intrinsics[0, 0] * MAP_PX)
        tolerance = self.bias + 1.5 * pixel * np.sqrt(1 - cosine**2) / cosine
        is_seen[is_seen] = (depth - tolerance)[is_seen] <= self.depth[row, column]
        return place, is_seen


def _cosine(
    eye: Float[np.ndarray, "3"], points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n"]:
    to_eye = eye.astype(np.float32) - points
    lengths = np.linalg.norm(to_eye, axis=1) * np.linalg.norm(normals, axis=1)
    return np.clip(np.einsum("na,na->n", to_eye, normals) / np.maximum(lengths, 1e-12), -1, 1)


def ramp(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """0 below the limits, 1 above, smooth between."""
    share = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1)
    return share * share * (3 - 2 * share)


def _depth_map(caster: Caster, camera: Camera) -> Float[np.ndarray, "m m"]:
    """Depth along the optical axis of the first surface, infinite where there is none."""
    origin, directions = rays(camera, MAP_PX)
    flat = directions.reshape(-1, 3)
    distance = caster.first_hit(origin[None], flat)[2]
    return (distance * (flat @ camera.cam2world[:3, 2])).reshape(MAP_PX, MAP_PX)


def _trust_map(photo: PhotoView, depth: Float[np.ndarray, "m m"], gap: float) -> Float[np.ndarray, "m m"]:
    """Trust of each place in the crop: small near whatever may hide the surface or show something else."""
    grid = (np.arange(MAP_PX) + 0.5) / MAP_PX
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    side = len(photo.mask)
    matte = sample_bilinear(photo.mask[..., None], x * side, y * side).reshape(MAP_PX, MAP_PX)
    spot = _transform(np.linalg.inv(photo.photo_to_portrait), np.stack([x, y], axis=1) * photo.portrait_px)
    height, width = photo.pixels.shape[:2]
    is_outside = ((spot < 0) | (spot > (width, height))).any(axis=1).reshape(MAP_PX, MAP_PX)
    is_edge = (matte < MASK_EDGE) | is_outside | _has_gap(depth, gap)
    # The frame's border counts as an edge: beyond it nothing is known.
    distance = distance_transform_edt(np.pad(~is_edge, 1))[1:-1, 1:-1] / MAP_PX
    return (ramp(distance, MARGIN) * np.clip(matte, 0, 1)).astype(np.float32)


def _has_gap(depth: Float[np.ndarray, "m m"], gap: float) -> np.ndarray:
    """Where the surface ends or jumps to another depth; both sides of the jump.

    The jump into a small opening is none: lids and lips fit the eyes and teeth that the photo shows between them.
    """
    is_miss = ~np.isfinite(depth)
    far = np.where(is_miss, FAR, depth)
    closed = grey_opening(far, size=round(OPENING * len(depth)))
    is_edge = is_miss
    for axis in (0, 1):
        jump = np.abs(np.diff(closed, axis=axis)) > gap
        before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        before[axis], after[axis] = (0, 1), (1, 0)
        is_edge = is_edge | np.pad(jump, before) | np.pad(jump, after)
    return is_edge


def _transform(matrix: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    return homogeneous[:, :2] / homogeneous[:, 2:]


def _pixels_per_texel(
    photo: PhotoView,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    uv_area_px: Float[np.ndarray, "f"],
) -> float:
    """Photo pixels along a texel's side, the median over faces turned to the camera."""
    eye = photo.camera.position
    is_facing = (_cosine(eye, vertices, vertex_normals(vertices, faces)) > FACING[1])[faces].all(axis=1)
    is_facing &= uv_area_px > 0
    place, depth = project(photo.camera, vertices.astype(np.float64))
    spots = _transform(np.linalg.inv(photo.photo_to_portrait), place * photo.portrait_px)
    corners = spots[faces[is_facing & (depth[faces] > 0).all(axis=1)]]
    areas = uv_area_px[is_facing & (depth[faces] > 0).all(axis=1)]
    if not len(areas):
        return 1.0
    ab, ac = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    photo_area = np.abs(ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]) / 2
    return float(np.sqrt(np.median(photo_area / areas)))


def _resample(photo: PhotoView, pixels_per_texel: float) -> tuple[UInt8[np.ndarray, "a b 3"], np.ndarray]:
    """The part of the photo that the crop shows, resized to about one pixel a texel, and the way there."""
    side = float(photo.portrait_px)
    square = np.array([[0.0, 0.0], [side, 0.0], [side, side], [0.0, side]])
    portrait_to_photo = np.linalg.inv(photo.photo_to_portrait)
    corners = _transform(portrait_to_photo, square)
    height, width = photo.pixels.shape[:2]
    low = np.clip(np.floor(corners.min(axis=0)), 0, (width - 1, height - 1))
    high = np.clip(np.ceil(corners.max(axis=0)), low + 1, (width, height))
    scale = np.clip(1 / max(pixels_per_texel, 1e-6), 1 / 64, 4)
    size = np.maximum(np.rint((high - low) * scale), 1).astype(int)
    box = (*low, *high)
    picture = Image.fromarray(photo.pixels).resize(tuple(size), Image.Resampling.BICUBIC, box=box)
    to_picture = np.diag([*(size / (high - low)), 1.0])
    to_picture[:2, 2] = -to_picture[[0, 1], [0, 1]] * low
    return np.asarray(picture), to_picture @ portrait_to_photo
