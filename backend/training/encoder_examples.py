# SPDX-License-Identifier: Apache-2.0
"""From portrait shards to what the starter's encoder learns: aligned, degraded pictures with the truth about them.

The crop is the main path's own, made from landmarks that are off as a detector's are.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter

from backend.alignment import Portrait, align_portrait
from backend.camera import Camera
from backend.crop_camera import before_the_head, to_numbers, zoomed
from backend.errors import ModelError
from backend.landmarks import Face
from backend.photo import Photo
from backend.plane_lift import TRAINED_POINTS
from backend.resample import sample_square, transform
from backend.skeleton import head_motion
from backend.starter_encoder import CROP_SHARE, encoder_input
from backend.template import Template
from backend.training.augment import degrade
from backend.training.backdrop import over_backdrop, sample_backdrop
from backend.training.portrait_shards import NOBODY, PortraitPlan, Shard, expressions_for, read_shard

Example = dict[str, np.ndarray]
USED = (
    "rgba", "canonical", "part", "landmarks", "landmarks_seen", "cam2world", "intrinsics", "light", "person", "z",
    "shape", "expression", "pose", "expression_names",
)  # fmt: skip
DETECTOR_STD_M, DETECTOR_DRIFT_M, UNSEEN_STD_M = 0.0010, 0.0015, 0.003
SOLID_ALPHA = 250
SHARDS_PER_BATCH = 2
SHARDS_KEPT = 100  # In memory, about 3 GB.


@dataclass(frozen=True)
class ExampleMaker:
    """What makes examples of shards.

    Args:
        template: Of the starter, whose landmarks say how far each is from the camera.
        folder: Of the shards.
        plan: Of the shards.
        size_px: Side of the encoder's picture.
        seed: Of all chance.
        is_clean: Photos are not degraded, landmarks and mattes are exact; for tests.
    """

    template: Template
    folder: Path
    plan: PortraitPlan
    size_px: int
    seed: int
    is_clean: bool = False

    def batch(self, step: int, shards: range, count: int) -> Example:
        """The examples of a step, always the same; drawn from some of the shards.

        Raises:
            ModelError: A shard is missing, damaged or of another version.
        """
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(shards), min(SHARDS_PER_BATCH, len(shards)), replace=False)
        examples = []
        for number in range(count):
            shard = _kept_shard(self.folder / f"{self.plan.name(shards[chosen[number % len(chosen)]])}.npz")
            examples.append(self.example(shard, int(rng.integers(len(shard["rgba"]))), rng))
        return {name: np.stack([one[name] for one in examples]) for name in examples[0]}

    def example(self, shard: Shard, row: int, rng: np.random.Generator) -> Example:
        """One portrait as the encoder gets it, and what it should say."""
        rgba, person = shard["rgba"][row], shard["person"][row]
        photo = over_backdrop(rgba, sample_backdrop(rng, len(rgba)))
        photo = photo if self.is_clean else degrade(photo, rng)
        told = {**shard, "expression": expressions_for(self.template, shard)}
        codes = {name: told[name][person].astype(np.float32) for name in ("z", "shape", "expression", "pose")}
        if codes["shape"].shape != self.template.shape.shape[:1]:
            raise ModelError(
                f"Portraits have {len(codes['shape'])} numbers of shape, the starter has {len(self.template.shape)}. "
                "Train the starter with this version first.",
                code="other_version",
            )
        camera = Camera(shard["cam2world"][row].astype(float), shard["intrinsics"][row].astype(float))
        at_rest = before_the_head(camera, self.template.skeleton, codes["pose"].astype(float))
        face = self._detected(shard, row, codes, at_rest, rng)
        portrait = align_portrait(Photo(photo, None, "", ""), face, size_px=round(self.size_px / CROP_SHARE))
        mask = _matte(rgba, portrait)
        mask = mask if self.is_clean else torch.from_numpy(disturbed_matte(mask[0, 0].numpy(), rng))[None, None]
        picture, landmarks = encoder_input(portrait, mask, self.size_px)
        share = self.size_px / portrait.size_px
        exact = transform(portrait.photo_to_portrait, shard["landmarks"][row] * len(rgba)) / portrait.size_px
        turn, _ = head_motion(self.template.skeleton, codes["pose"].astype(float))
        light = shard["light"][row].copy()
        light[:3] = turn.T @ light[:3]
        crop = zoomed(in_portrait(at_rest, portrait, len(rgba)), 1 / share)
        other = _another_view(shard, row, rng)
        return {
            **codes,
            "picture": picture[0].half().numpy(),
            "landmarks": landmarks[0].numpy(),
            "camera": to_numbers(crop).astype(np.float32),
            "light": light,
            "exact_landmarks": (0.5 + (exact - 0.5) / share).astype(np.float32),
            "seen": shard["landmarks_seen"][row].astype(np.float32),
            **_points(shard, row, photo, rng, ""),
            **_points(shard, other, shard["rgba"][other][..., :3], rng, "other_"),
        }

    @cached_property
    def _landmarks(self) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "k n 3"]]:
        """Landmarks of the mean head, and what each shape and expression moves them by; metres."""
        template = self.template
        moves = template.landmarks(np.concatenate([template.shape, template.expression]))
        return template.landmarks(template.vertices + template.neutral), moves

    def _detected(
        self, shard: Shard, row: int, codes: dict[str, np.ndarray], at_rest: Camera, rng: np.random.Generator
    ) -> Face:
        """The landmarks as a detector might give them."""
        size_px = len(shard["rgba"][row])
        rest, moves = self._landmarks
        places = rest + np.tensordot(np.concatenate([codes["shape"], codes["expression"]]), moves, 1)
        depth = (places - at_rest.position) @ at_rest.cam2world[:3, 2]
        px_per_m = at_rest.intrinsics[0, 0] * size_px / depth.mean()
        landmarks = shard["landmarks"][row].astype(np.float64) * size_px
        if not self.is_clean:
            spread = np.where(shard["landmarks_seen"][row], DETECTOR_STD_M, UNSEEN_STD_M)[:, None]
            drift = places[:, :2] @ rng.normal(0, DETECTOR_DRIFT_M / 0.06, (2, 2)) + rng.normal(0, DETECTOR_DRIFT_M, 2)
            landmarks = landmarks + px_per_m * (spread * rng.normal(size=landmarks.shape) + drift)
        return Face(np.zeros(4), 1.0, landmarks, (depth - depth.mean()) * px_per_m)


@lru_cache(maxsize=SHARDS_KEPT)
def _kept_shard(path: Path) -> Shard:
    """What examples need of a shard."""
    return read_shard(path, USED)


def in_portrait(camera: Camera, portrait: Portrait, photo_px: int) -> Camera:
    """The camera of an aligned portrait: a similarity of the picture turns, zooms and shifts.

    Args:
        camera: Of the photo.
        portrait: Cut out of it.
        photo_px: Side of the photo.
    """
    scale_turn = portrait.photo_to_portrait[:2, :2]
    scale = float(np.hypot(*scale_turn[:, 0]))
    turn = np.eye(3)
    turn[:2, :2] = scale_turn / scale
    cam2world, intrinsics = camera.cam2world.copy(), camera.intrinsics.copy()
    cam2world[:3, :3] = camera.cam2world[:3, :3] @ turn.T
    intrinsics[:2, :2] *= scale * photo_px / portrait.size_px
    middle = transform(portrait.photo_to_portrait, camera.intrinsics[None, :2, 2] * photo_px)[0]
    intrinsics[:2, 2] = middle / portrait.size_px
    return Camera(cam2world, intrinsics)


def _matte(rgba: UInt8[np.ndarray, "s s 4"], portrait: Portrait) -> torch.Tensor:
    alpha = np.ascontiguousarray(np.repeat(rgba[..., 3:], 3, axis=2))
    cut = sample_square(alpha, np.linalg.inv(portrait.photo_to_portrait), portrait.size_px, extend=True)
    return (cut[:, :1] + 1) / 2


def disturbed_matte(mask: Float[np.ndarray, "s s"], rng: np.random.Generator) -> Float[np.ndarray, "s s"]:
    """A matte as a network gives it: soft, a little too large or too small, now and then with a bite."""
    side = len(mask)
    soft = gaussian_filter(mask, rng.uniform(0.2, 1.5) * side / 128)
    edge = rng.uniform(0.3, 0.7)
    soft = np.clip((soft - edge) * rng.uniform(1.2, 3.0) + 0.5, 0, 1)
    if rng.random() < 0.15:
        y, x = np.mgrid[:side, :side] / side
        soft[np.hypot(*(np.stack([x, y]) - rng.uniform(0, 1, 2)[:, None, None])) < rng.uniform(0.05, 0.2)] = 0
    return soft.astype(np.float32)


def _another_view(shard: Shard, row: int, rng: np.random.Generator) -> int:
    """Another portrait of the same person; the same one if there is no other."""
    others = np.flatnonzero(shard["person"] == shard["person"][row])
    others = others[others != row]
    return int(rng.choice(others)) if len(others) else row


def _points(
    shard: Shard, row: int, photo: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator, prefix: str
) -> Example:
    """Some of a picture's solid pixels: where they are on the head, their clean colour, and that of the photo."""
    rgba = shard["rgba"][row]
    solid = np.flatnonzero((rgba[..., 3] >= SOLID_ALPHA) & (shard["part"][row] != NOBODY))
    if not len(solid):
        raise ModelError(
            "A portrait shows nobody. Delete the folder of portraits and start again.", code="result_damaged"
        )
    chosen = rng.choice(solid, TRAINED_POINTS, replace=len(solid) < TRAINED_POINTS)
    return {
        f"{prefix}points": shard["canonical"][row].reshape(-1, 3)[chosen].astype(np.float32),
        f"{prefix}clean": rgba[..., :3].reshape(-1, 3)[chosen],
        f"{prefix}photo": photo.reshape(-1, 3)[chosen],
    }
