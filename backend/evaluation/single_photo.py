# SPDX-License-Identifier: Apache-2.0
"""One held-out head: its photo goes through the main path, and what comes out is held against the truth.

The finished head is brought to the truth by the similarity that fits the faces, so that a wrong guess of lens or
distance, which no photo tells, does not count as a wrong picture; ``camera_deg`` says how far the viewing direction
was off. Pictures are unlit renders of the exported mesh; the truth keeps the light of the photo.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from backend.camera import Camera
from backend.evaluation.geometry_metrics import cloud_distance, depth_error, flatness, normal_error, surface_error
from backend.evaluation.image_metrics import gmsd, ms_ssim, mse, outline, psnr, ssim
from backend.evaluation.made import (
    MadeHead,
    describe,
    identity_distance,
    landmark_percent,
    portrait_camera,
    seven_landmarks,
)
from backend.evaluation.mesh_report import mesh_report
from backend.evaluation.registration import SEVEN_LANDMARKS, Similarity, fit_similarity, register
from backend.evaluation.scores import mean_of
from backend.evaluation.truth import TruthHead, TruthView
from backend.head import Head, in_photo
from backend.template import Template

TURNS_DEG = (0, -40, 40, 180)  # From the photo's camera.
IDENTITY_YAWS_DEG = (0, -15, 15, -30, 30, -60, 60)  # From the front of the face.
VIEW_PX, SCORED_PX = 256, 128
OUTLINE_PX = 3
HEAD_HEIGHT_MM = 240.0
F_SHARES = (0.01, 0.02, 0.05)  # Of the head's height.
PAIRS_DEG = (15, 30, 60)

Scores = dict[str, float | None]


@dataclass(frozen=True)
class Compared:
    """Scores of one head and the pictures of its sheet, row by row."""

    scores: Scores
    pictures: list[list[UInt8[np.ndarray, "s s 3"]]]


def compare(truth: TruthHead, head: Head, template: Template) -> Compared:
    """Everything that is measured of one head.

    Args:
        truth: The person.
        head: What the main path made of the photo.
        template: Of the starter, for the mean head and the fit alone.

    Raises:
        NoFace: The head shows none, so that it cannot be brought to the truth.
    """
    head = in_photo(head)
    found = seven_landmarks(head)
    start = fit_similarity(found, truth.landmarks[list(SEVEN_LANDMARKS)])
    similarity = register(head.mesh.vertices.astype(np.float64), head.mesh.faces, truth.face_scan, start)
    made = MadeHead(head.mesh, head.texture).placed(similarity)
    estimated = similarity.place_camera(portrait_camera(head))
    views = {turn: truth.turned(truth.camera, turn) for turn in TURNS_DEG}
    true_views = {turn: truth.view(camera, VIEW_PX) for turn, camera in views.items()}
    made_views = {turn: made.view(camera, VIEW_PX) for turn, camera in views.items()}
    scores: Scores = {}
    for turn in TURNS_DEG:
        scores |= {
            f"{name}_{turn:+d}": score for name, score in picture_scores(true_views[turn], made_views[turn]).items()
        }
    for name in ("psnr", "psnr_inside", "psnr_head"):
        scores[f"{name}_40"] = mean_of([scores[f"{name}_-40"], scores[f"{name}_+40"]])
    scores |= _surface_scores(truth, made, true_views[0], views[0])
    scores |= _face_scores(truth, made, head, template)
    identity, pictures = _identity_scores(truth, made)
    scores |= identity
    scores["landmark_percent"] = landmark_percent(head)
    scores["camera_deg"] = angle_at(truth.landmarks.mean(0), estimated.position, truth.camera.position)
    scores |= mesh_report(head.mesh, head.texture)
    return Compared(scores, _sheet_rows(truth, made, (true_views, made_views), pictures))


def picture_scores(truth: TruthView, made: UInt8[np.ndarray, "v v 3"]) -> Scores:
    """How alike two pictures are, at the size at which pictures are scored.

    Regions are those of the truth; a pixel counts where all of its parts do.
    """
    first, second = _small(truth.color) / 255, _small(made) / 255
    inside, head = _small(truth.inside) == 1, _small(truth.head) == 1
    return {
        "psnr": psnr(first, second),
        "psnr_inside": _known(psnr(first, second, inside)),
        "psnr_head": _known(psnr(first, second, head)),
        "psnr_outline": _known(psnr(first, second, outline(inside, OUTLINE_PX))),
        "mse": mse(first, second),
        "ssim": ssim(first, second),
        "ms_ssim": ms_ssim(first, second),
        "gmsd": gmsd(first, second),
    }


def angle_at(centre: Float[np.ndarray, "3"], first: Float[np.ndarray, "3"], second: Float[np.ndarray, "3"]) -> float:
    """Angle between the directions from a centre to two places, degrees; roll and distance do not count."""
    one, other = first - centre, second - centre
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _surface_scores(truth: TruthHead, made: MadeHead, view: TruthView, camera: Camera) -> Scores:
    """Depth and normals from the photo's camera; the relief of the face from in front; the whole head."""
    mm = truth.mm_per_m
    depth, normal = made.surface(camera, VIEW_PX)
    on_both = np.isfinite(depth)
    depths = depth_error(mm * view.depth, mm * depth, view.head & on_both)
    normals = normal_error(view.normal, normal, view.face & on_both)
    front = truth.studio_camera(0)
    from_front = truth.view(front, VIEW_PX)
    front_depth, _ = made.surface(front, VIEW_PX)
    relief = flatness(from_front.depth, front_depth, from_front.face & np.isfinite(front_depth))
    vertices, faces = made.mesh.vertices, made.mesh.faces
    own = truth.outer_points(vertices, faces, faces)
    cloud = cloud_distance(mm * truth.head_points, mm * own, [share * HEAD_HEIGHT_MM for share in F_SHARES])
    percents = {f"f_score_{round(100 * share)}": cloud[f"f_{number}"] for number, share in enumerate(F_SHARES)}
    return {
        "depth_l1_mm": depths["l1"],
        "depth_rmse_mm": depths["rmse"],
        "normals_mean_deg": normals["mean"],
        **{f"normals_{name}": value for name, value in normals.items() if name != "mean"},
        "flatness": relief,
        "chamfer_mm": cloud["chamfer"],
        **percents,
    }


def _face_scores(truth: TruthHead, made: MadeHead, head: Head, template: Template) -> Scores:
    """Distance from the scanned face to the head, to the mean head and to the fit of the landmarks alone, mm."""
    error = surface_error(truth.face_scan, made.mesh.vertices, made.mesh.faces)
    mean_head = template_error(truth, template, np.zeros(len(template.shape)), np.zeros(len(template.expression)))
    scores: Scores = {f"face_{name}_mm": truth.mm_per_m * value for name, value in error.items()}
    scores["mean_head_median_mm"] = mean_head
    scores["face_of_mean_head"] = truth.mm_per_m * error["median"] / mean_head
    codes = head.record.codes
    if head.record.generator.get("family") == "starter":
        scores["fit_median_mm"] = template_error(truth, template, codes["photo_shape"], codes["photo_expression"])
    return scores


def template_error(
    truth: TruthHead, template: Template, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"]
) -> float:
    """Median distance from the scanned face to a template head, brought to it in the same way, mm."""
    vertices = template.vertices + template.offsets(shape, expression)
    similarity = template_similarity(truth, template, vertices)
    error = surface_error(truth.face_scan, similarity.place(vertices), template.faces)
    return truth.mm_per_m * error["median"]


def template_similarity(truth: TruthHead, template: Template, vertices: Float[np.ndarray, "v 3"]) -> Similarity:
    """What brings a template head to the scanned face.

    Args:
        truth: The person.
        template: Knows where landmarks are.
        vertices: The template's, shaped.
    """
    seven = list(SEVEN_LANDMARKS)
    start = fit_similarity(template.landmarks(vertices, seven), truth.landmarks[seven])
    return register(vertices, template.faces, truth.face_scan, start)


def _identity_scores(truth: TruthHead, made: MadeHead) -> tuple[Scores, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """Descriptor distances to the photo by yaw, those of the true views, and the difference; and the pictures."""
    photo = describe(truth.photo)
    scores: Scores = {}
    pictures = {}
    for yaw in IDENTITY_YAWS_DEG:
        camera = truth.studio_camera(yaw)
        shown, true = made.view(camera, VIEW_PX), truth.view(camera, VIEW_PX).color
        pictures[yaw] = shown, true
        of_truth = describe(true)
        scores[f"identity_{yaw:+d}"] = distance = identity_distance(photo, describe(shown))
        # Where not even the true view shows a face to the detector, nothing can be said.
        known = None if of_truth is None or photo is None else identity_distance(photo, of_truth)
        scores[f"identity_true_{yaw:+d}"] = known
        scores[f"identity_excess_{yaw:+d}"] = None if known is None else distance - known
    for kind in ("identity", "identity_true", "identity_excess"):
        for yaw in PAIRS_DEG:
            scores[f"{kind}_{yaw}"] = mean_of([scores[f"{kind}_{-yaw:+d}"], scores[f"{kind}_{yaw:+d}"]])
        scores[f"{kind}_0"] = scores.pop(f"{kind}_+0")
    return scores, pictures


def _sheet_rows(
    truth: TruthHead,
    made: MadeHead,
    views: tuple[dict[int, TruthView], dict[int, np.ndarray]],
    pictures: dict[int, tuple[np.ndarray, np.ndarray]],
) -> list[list[np.ndarray]]:
    """Truth, head and bare shape: from the photo's camera, at 0, ±30 and ±60 degrees, and from behind."""
    yaws = (0, -30, 30, -60, 60)
    true_views, made_views = views
    photo = np.rint(shrunk(truth.photo, VIEW_PX)).astype(np.uint8)
    first = [photo, *(pictures[yaw][1] for yaw in yaws), true_views[180].color]
    second = [made_views[0], *(pictures[yaw][0] for yaw in yaws), made_views[180]]
    cameras = [truth.camera, *(truth.studio_camera(yaw) for yaw in yaws), truth.turned(truth.camera, 180)]
    return [first, second, [made.clay(camera, VIEW_PX) for camera in cameras]]


def _small(picture: np.ndarray) -> Float[np.ndarray, "..."]:
    return shrunk(picture, SCORED_PX)


def shrunk(picture: np.ndarray, size_px: int) -> Float[np.ndarray, "..."]:
    """Means of blocks; the size is a whole multiple."""
    block = len(picture) // size_px
    shape = (size_px, block, size_px, block, *picture.shape[2:])
    return picture.astype(np.float64).reshape(shape).mean(axis=(1, 3))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
