# SPDX-License-Identifier: Apache-2.0
"""Measures of what one inversion found: against the photo it saw, and against the truth from everywhere.

Through the photo's estimated camera, which all methods share, the head is held against the portrait. For all other
views it is brought to the truth by the fitted template's face, which all methods share too, so that only what a method
found makes a difference.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from backend.camera import Camera
from backend.evaluation.field_head import FieldHead, FieldView
from backend.evaluation.geometry_metrics import cloud_distance, depth_error, normal_error, surface_error
from backend.evaluation.image_metrics import WINDOW_RADIUS, cut_out, ms_ssim, mse, ssim
from backend.evaluation.made import describe, front_camera, identity_distance
from backend.evaluation.scores import mean_of
from backend.evaluation.single_photo import F_SHARES, HEAD_HEIGHT_MM, VIEW_PX, Scores, shrunk
from backend.evaluation.truth import TruthHead, TruthView
from backend.face_mesh_points import CHIN
from backend.likeness import turned
from backend.portrait_model.contract import PersonPhoto

STUDIO_YAWS_DEG = (0, -30, 30, -60, 60, 180)  # In the order of the sheet's columns.
SIDES_DEG = (-60, 60)
FACES_DEG = (0, -30, 30, -60, 60)
SEEN_DEG = 25.0  # A view is unseen if every photo was taken from farther off.
# The head fills less of a portrait than of a studio view.
SCORED_PX, PORTRAIT_SCORED_PX = 128, 256
WHOLE = 0.99


@dataclass(frozen=True)
class KnownPerson:
    """What is true of a person, whichever photo is inverted.

    Args:
        truth: The person; the photo's camera does not count.
    """

    truth: TruthHead

    @cached_property
    def views(self) -> dict[int, TruthView]:
        """From the studio's cameras, by yaw."""
        return {yaw: self.truth.view(self.truth.studio_camera(yaw), VIEW_PX) for yaw in STUDIO_YAWS_DEG}

    @cached_property
    def faces(self) -> dict[int, Float[np.ndarray, "128"] | None]:
        """Descriptors of those views."""
        return {yaw: describe(self.views[yaw].color) for yaw in FACES_DEG}


@dataclass(frozen=True)
class KnownPhoto:
    """A photo of a person whose truth is known.

    Args:
        person: Whom it shows.
        truth: The person with the photo's camera.
        further_yaws_deg: Of further photos of the person that a method was given too.
    """

    person: KnownPerson
    truth: TruthHead
    further_yaws_deg: tuple[float, ...] = ()

    @cached_property
    def view(self) -> TruthView:
        """From the photo's camera."""
        return self.truth.view(self.truth.camera, VIEW_PX)

    @cached_property
    def face(self) -> Float[np.ndarray, "128"] | None:
        """Descriptor of the photo."""
        return describe(self.truth.photo)

    @property
    def unseen(self) -> list[int]:
        """Views of the face that no photo shows."""
        seen = (self.truth.item.yaw_deg, *self.further_yaws_deg)
        return [yaw for yaw in FACES_DEG if all(abs(yaw - other) >= SEEN_DEG for other in seen)]


def photo_scores(photo: PersonPhoto, camera: Camera, made: FieldHead) -> tuple[Scores, UInt8[np.ndarray, "v v 3"]]:
    """How much a head looks like the portrait it was made from, inside the head, and its picture.

    Args:
        photo: The portrait and its matte.
        camera: As fitted, in the model's world.
        made: There.
    """
    picture = made.view(camera, 2 * PORTRAIT_SCORED_PX).color
    return likeness_scores(portrait_pixels(photo), picture, _head_pixels(photo), "input"), _sheet_size(picture)


def likeness_scores(
    truth: UInt8[np.ndarray, "s s 3"], made: UInt8[np.ndarray, "v v 3"], head: Bool[np.ndarray, "c c"], name: str
) -> Scores:
    """``mse_``, ``ssim_`` and ``ms_ssim_`` inside a region; None where it is too small.

    Args:
        truth: Of any whole multiple of the size at which pictures are scored.
        made: Likewise.
        head: The region, in that size.
        name: Ends the scores' names.
    """
    first, second = shrunk(truth, len(head)) / 255, shrunk(made, len(head)) / 255
    if not head.any() or min(cut_out(first, head).shape[:2]) <= 2 * WINDOW_RADIUS:
        return {f"{kind}_{name}": None for kind in ("mse", "ssim", "ms_ssim")}
    return {
        f"mse_{name}": mse(first, second, head),
        f"ssim_{name}": ssim(first, second, head),
        f"ms_ssim_{name}": ms_ssim(cut_out(first, head), cut_out(second, head)),
    }


def head_scores(known: KnownPhoto, made: FieldHead) -> tuple[Scores, list[UInt8[np.ndarray, "v v 3"]]]:
    """Everything that the truth tells of one head, and its pictures from ``STUDIO_YAWS_DEG``.

    Scores without a yaw in their name are means: ``_unseen`` over views of the face that no photo shows, ``_60`` over
    those of them from 60 degrees.

    Args:
        known: The photo that it was made from.
        made: Brought to the truth.
    """
    truth, unseen = known.truth, known.unseen
    views = {yaw: made.view(truth.studio_camera(yaw), VIEW_PX) for yaw in STUDIO_YAWS_DEG}
    scores: Scores = {}
    for yaw, view in views.items():
        true = known.person.views[yaw]
        scores |= likeness_scores(true.color, view.color, shrunk(true.head, SCORED_PX) == 1, f"{yaw:+d}")
        scores |= _shape_scores(truth, true, view, f"{yaw:+d}")
    scores |= _identity_scores(known, views)
    for kind in ("mse", "ssim", "ms_ssim", "depth_mm", "normals_deg", "identity", "identity_excess"):
        scores[f"{kind}_unseen"] = mean_of([scores[f"{kind}_{yaw:+d}"] for yaw in unseen])
        scores[f"{kind}_60"] = mean_of([scores[f"{kind}_{yaw:+d}"] for yaw in SIDES_DEG if yaw in unseen])
    scores |= _shape_scores(truth, known.view, made.view(truth.camera, VIEW_PX), "input")
    scores |= _surface_scores(truth, made)
    return scores, [views[yaw].color for yaw in STUDIO_YAWS_DEG]


def real_photo_scores(
    photo: PersonPhoto, camera: Camera, made: FieldHead
) -> tuple[Scores, list[UInt8[np.ndarray, "v v 3"]]]:
    """Descriptor distances to the photo as its camera is turned, and pictures from ``STUDIO_YAWS_DEG``."""
    face = describe(portrait_pixels(photo))
    scores: Scores = {
        f"identity_{turn:+d}": identity_distance(face, describe(made.view(turned(camera, turn), VIEW_PX).color))
        for turn in FACES_DEG
    }
    scores["identity_60"] = mean_of([scores[f"identity_{turn:+d}"] for turn in SIDES_DEG])
    return scores, [made.view(front_camera(1.0, yaw), VIEW_PX).color for yaw in STUDIO_YAWS_DEG]


def portrait_pixels(photo: PersonPhoto) -> UInt8[np.ndarray, "s s 3"]:
    """The portrait as a picture."""
    image = (photo.portrait.image[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5
    return image.round().byte().numpy()


def shown(photo: PersonPhoto) -> UInt8[np.ndarray, "v v 3"]:
    """The portrait for a sheet."""
    return _sheet_size(portrait_pixels(photo))


def _sheet_size(pixels: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "v v 3"]:
    return np.asarray(Image.fromarray(pixels).resize((VIEW_PX, VIEW_PX), Image.Resampling.LANCZOS))


def _head_pixels(photo: PersonPhoto) -> Bool[np.ndarray, "c c"]:
    """Pixels that the person fills, down to the chin."""
    portrait = photo.portrait
    whole = shrunk((photo.mask * portrait.coverage)[0, 0].numpy(), PORTRAIT_SCORED_PX) > WHOLE
    chin = portrait.landmarks[CHIN, 1] / portrait.size_px
    return whole & ((np.arange(PORTRAIT_SCORED_PX) + 0.5) / PORTRAIT_SCORED_PX < chin)[:, None]


def _shape_scores(truth: TruthHead, true: TruthView, view: FieldView, name: str) -> Scores:
    """Depth, after the scale and shift that fit best, and normals, inside the head."""
    where = true.head & np.isfinite(view.depth)
    if where.sum() < 2:
        return {f"depth_mm_{name}": None, f"normals_deg_{name}": None}
    mm = truth.mm_per_m
    return {
        f"depth_mm_{name}": depth_error(mm * true.depth, mm * view.depth, where)["rmse"],
        f"normals_deg_{name}": normal_error(true.normal, view.normal, where)["mean"],
    }


def _surface_scores(truth: TruthHead, made: FieldHead) -> Scores:
    """Distance from the scanned face to the head; of the whole head with its hair, both ways."""
    mm, vertices, faces = truth.mm_per_m, made.mesh.vertices, made.mesh.faces
    face = surface_error(truth.face_scan, vertices, faces)
    own = truth.outer_points(vertices, faces, faces, made.caster)
    cloud = cloud_distance(mm * truth.head_points, mm * own, [share * HEAD_HEIGHT_MM for share in F_SHARES])
    return {"face_median_mm": mm * face["median"], "face_mean_mm": mm * face["mean"], "chamfer_mm": cloud["chamfer"]}


def _identity_scores(known: KnownPhoto, views: dict[int, FieldView]) -> Scores:
    """Descriptor distances to the photo, and how much farther they are than those of the true views."""
    scores = Scores()
    for yaw in FACES_DEG:
        distance, true = identity_distance(known.face, describe(views[yaw].color)), known.person.faces[yaw]
        # Where not even the true view shows a face to the detector, nothing can be said.
        excess = None if known.face is None or true is None else distance - identity_distance(known.face, true)
        scores |= {f"identity_{yaw:+d}": distance, f"identity_excess_{yaw:+d}": excess}
    return scores
