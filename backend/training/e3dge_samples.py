# SPDX-License-Identifier: Apache-2.0
"""The starter's own heads as training data: random codes, random cameras, and what the generator shows of them.

No portrait is rendered from assets here and no photo is used: the generator teaches its encoder.

Source:
    METHODS section 1.2, stage 1 (E3DGE's self-supervision).
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from backend.alignment import Portrait, align_portrait
from backend.camera import Camera, project, rays
from backend.crop_camera import to_numbers, zoomed
from backend.inversion.refine import choice_number
from backend.landmark_errors import in_image, independent
from backend.landmarks import Face
from backend.photo import Photo
from backend.starter import Starter
from backend.starter_encoder import CROP_SHARE
from backend.template import Template
from backend.training.e3dge_head import ShapedHead, ShapeSpace, is_met
from backend.training.encoder_examples import in_portrait
from backend.training.framing import Framing, sample_framing
from backend.training.kept import content_mark, kept, kept_name

Sample = dict[str, np.ndarray]
HEADS_PER_FILE = 10
JITTER = 0.15  # Of a description's spread.
OWN_STYLE_SHARE = 0.5  # Hair style and top of the first parent; the others wear any.
LARGEST_SHAPE = 3.0
NEUTRAL_SHARE, MOST_EXPRESSIONS, STRONGEST, SYMMETRIC_SHARE = 0.3, 4, 0.9, 0.7
FARTHEST_YAW_DEG = 70.0
PHOTO_PX = 144  # What landmarks are detected in; only their places matter.
DETECTION_STD_M = 0.001  # Of a template whose detector's errors were never measured.
SEEN_M = 0.008  # A landmark so near to the first surface is seen.


@dataclass(frozen=True)
class SamplePlan:
    """How many samples.

    Args:
        heads: All, those held out included.
        views: Of each.
        size_px: Side of the pictures.
        seed: Of all chance.
    """

    heads: int
    views: int
    size_px: int
    seed: int


def make_samples(starter: Starter, space: ShapeSpace, plan: SamplePlan, folder: Path) -> list[Sample]:
    """All heads of a plan; those that were made before are read from their files.

    Returns:
        One sample per head: ``z``, ``shape``, ``expression``, and per view ``color`` (uint8 sRGB), ``depth`` (metres
        along the ray, infinite beside the head), ``cam2world``, ``intrinsics``, ``camera``, ``landmarks`` (noisy) and
        ``exact_landmarks`` in picture widths, ``seen``.

    Raises:
        ModelError: A file is damaged.
        OutputError: A file cannot be written.
    """
    numbers = (plan.views, plan.size_px, plan.seed, starter.identity, content_mark(starter.template))
    samples: list[Sample] = []
    for first in range(0, plan.heads, HEADS_PER_FILE):
        chosen = range(first, min(first + HEADS_PER_FILE, plan.heads))
        name = kept_name("samples", modules=("e3dge_samples", "e3dge_head", "framing"), numbers=(numbers, chosen))
        samples += kept(folder / name, partial(_made, starter, space, plan, chosen))
    return samples


def _made(starter: Starter, space: ShapeSpace, plan: SamplePlan, numbers: range) -> list[Sample]:
    return [_sample(starter, space, plan, number) for number in numbers]


def _sample(starter: Starter, space: ShapeSpace, plan: SamplePlan, number: int) -> Sample:
    rng = np.random.default_rng([plan.seed, number])
    z = draw_description(starter, rng)
    shape = np.clip(rng.normal(size=len(starter.template.shape)), -LARGEST_SHAPE, LARGEST_SHAPE).astype(np.float32)
    expression = draw_expression(starter.template.expression_names, rng)
    with torch.no_grad():
        rows = {"z": z, "shape": shape, "expression": expression}
        codes = {name: torch.from_numpy(row[None]).to(space.moves.device) for name, row in rows.items()}
        head = ShapedHead.of(starter.generator, space, **codes)
    landmarks = starter.template.landmarks(
        starter.template.vertices + starter.template.offsets(shape.astype(float), expression.astype(float))
    )
    views = [_view(starter.template, head, landmarks, plan.size_px, view, rng) for view in range(plan.views)]
    return {"z": z, "shape": shape, "expression": expression} | {
        name: np.stack([view[name] for view in views]) for name in views[0]
    }


def draw_description(starter: Starter, rng: np.random.Generator) -> Float[np.ndarray, "z_dim"]:
    """A head between two of the starter's varied ones, jittered, with the hair style and the top of one or with any."""
    candidates = starter.candidates.numpy()
    one, other = candidates[rng.choice(len(candidates), 2)]
    mixed = one + rng.random() * (other - one) + JITTER * candidates.std(0) * rng.normal(size=len(one))
    for first, count in starter.generator.config.choices:
        kinds = choice_number(starter.generator, starter.candidates) * np.eye(count)
        is_own = rng.random() < OWN_STYLE_SHARE
        mixed[first : first + count] = one[first : first + count] if is_own else kinds[rng.integers(count)]
    return np.clip(mixed, candidates.min(0), candidates.max(0)).astype(np.float32)


def draw_expression(names: tuple[str, ...], rng: np.random.Generator) -> Float[np.ndarray, "e"]:
    """A neutral face, or a few expressions at once; most of those with two sides on both."""
    values = np.zeros(len(names), np.float32)
    if rng.random() < NEUTRAL_SHARE:
        return values
    for number in rng.choice(len(names), rng.integers(1, min(MOST_EXPRESSIONS, len(names)) + 1), replace=False):
        strength = STRONGEST * rng.random()
        values[number] = strength
        if names[number].endswith(("Left", "Right")) and rng.random() < SYMMETRIC_SHARE:
            values[[n for n, name in enumerate(names) if name in _sides(names[number])]] = strength
    return values


def _sides(name: str) -> tuple[str, str]:
    both = name.removesuffix("Left").removesuffix("Right")
    return f"{both}Left", f"{both}Right"


def _view(
    template: Template,
    head: ShapedHead,
    points: Float[np.ndarray, "478 3"],
    size_px: int,
    view: int,
    rng: np.random.Generator,
) -> Sample:
    """What one camera shows of a head, cropped as the main path crops photos, by landmarks as a detector finds them."""
    taken = _framing(view, rng).camera()
    exact, depth = project(taken, points)
    found = exact + _landmark_noise(template, taken, points, rng)
    px_per_m = taken.intrinsics[0, 0] * PHOTO_PX / depth.mean()
    face = Face(np.zeros(4), 1.0, found * PHOTO_PX, (depth - depth.mean()) * px_per_m)
    blank = Photo(np.zeros((PHOTO_PX, PHOTO_PX, 3), np.uint8), None, "", "")
    portrait = align_portrait(blank, face, size_px=round(size_px / CROP_SHARE))
    camera = zoomed(in_portrait(taken, portrait, PHOTO_PX), portrait.size_px / size_px)
    color, far = _picture(head, camera, size_px)
    places, _ = project(camera, points)
    return {
        "color": color,
        "depth": far,
        "cam2world": camera.cam2world,
        "intrinsics": camera.intrinsics,
        "camera": to_numbers(camera).astype(np.float32),
        "landmarks": _in_crop(portrait, size_px).astype(np.float32),
        "exact_landmarks": places.astype(np.float32),
        "seen": _seen(camera, points, places, far).astype(np.float32),
    }


def _framing(view: int, rng: np.random.Generator) -> Framing:
    """The first view as people take portraits, the others from anywhere in front."""
    usual = sample_framing(rng)
    yaw = usual.yaw_deg if view == 0 else rng.uniform(-FARTHEST_YAW_DEG, FARTHEST_YAW_DEG)
    return replace(usual, yaw_deg=float(np.clip(yaw, -FARTHEST_YAW_DEG, FARTHEST_YAW_DEG)))


def _landmark_noise(
    template: Template, camera: Camera, points: Float[np.ndarray, "n 3"], rng: np.random.Generator
) -> Float[np.ndarray, "n 2"]:
    """How far off a detector finds them, picture widths. Irises, whose errors were not measured, as the others."""
    errors = template.landmark_errors
    if errors is None:
        errors = independent(np.full(len(points), DETECTION_STD_M))
    shared = np.tensordot(rng.normal(size=len(errors.factors)), errors.factors, 1)
    off = errors.mean(camera) + shared + errors.rest[:, None] * rng.normal(size=(len(errors.rest), 2))
    left = len(points) - len(off)
    off = np.concatenate([off, errors.rest.mean() * rng.normal(size=(left, 2))])
    return in_image(camera, points, off)


def _in_crop(portrait: Portrait, size_px: int) -> Float[np.ndarray, "478 2"]:
    """A portrait's landmarks in widths of its middle."""
    places = portrait.landmarks / portrait.size_px
    return 0.5 + (places - 0.5) * (portrait.size_px / size_px)


def _picture(head: ShapedHead, camera: Camera, size_px: int) -> tuple[np.ndarray, Float[np.ndarray, "s s"]]:
    """Colours and depths of the first surface."""
    origin, directions = (torch.from_numpy(part).to(head.lattice) for part in rays(camera, size_px))
    depth = head.picture_depth(origin, directions)
    met = is_met(depth)
    color = torch.full((size_px, size_px, 3), 0.5, device=depth.device)
    with torch.no_grad():
        color[met] = head.look((origin + depth[met][:, None] * directions[met])[None])[1][0]
    return (color.clamp(0, 1) * 255).round().byte().cpu().numpy(), depth.cpu().numpy()


def _seen(
    camera: Camera,
    points: Float[np.ndarray, "n 3"],
    places: Float[np.ndarray, "n 2"],
    depth: Float[np.ndarray, "s s"],
) -> np.ndarray:
    """Which points are the first thing that the camera meets."""
    size_px = len(depth)
    column, row = np.clip((places * size_px).astype(int), 0, size_px - 1).T
    return np.abs(np.linalg.norm(points - camera.position, axis=1) - depth[row, column]) < SEEN_M
