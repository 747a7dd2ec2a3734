# SPDX-License-Identifier: Apache-2.0
"""Cameras of synthetic portraits: where the photographer stands, the lens, the tilt, and the crop around the head."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from backend.camera import Camera, look_at_camera, project

HEAD_CENTRE_M = np.array([0.0, 0.0, 0.03])
FILM_M = 0.024  # Short side of a small-format picture, to which focal lengths refer.
LENSES_MM = (35.0, 135.0)
WIDEST_FRAME_M = 0.44  # A wider crop would show that there are no arms.


@dataclass(frozen=True)
class Framing:
    """How a portrait is taken.

    Args:
        yaw_deg: 0 is in front; positive moves the camera to the subject's left.
        pitch_deg: Positive moves the camera up.
        roll_deg: Positive turns the camera clockwise, so that the picture turns the other way.
        distance_m: From the head's centre.
        frame_m: Width of the scene at the head that the crop shows.
        aim: Where in the whole photo the head was, in widths of the crop from the photo's centre.
        shift: Where in the crop the head's centre lies, in widths of the crop from its centre.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float = 0.0
    distance_m: float = 1.2
    frame_m: float = 0.40
    aim: tuple[float, float] = (0.0, 0.0)
    shift: tuple[float, float] = (0.0, 0.0)

    def camera(self) -> Camera:
        """The camera of the crop: its principal point is where the whole photo's centre was."""
        focal = self.distance_m / self.frame_m
        level = look_at_camera(
            yaw_deg=self.yaw_deg, pitch_deg=self.pitch_deg, distance=self.distance_m, focal=focal,
            target=HEAD_CENTRE_M,
        )  # fmt: skip
        # Turned about its own centre so that the head lies at ``aim``, then rolled.
        towards = np.array([*self.aim, focal])
        turned = level.cam2world.copy()
        turned[:3, :3] = level.cam2world[:3, :3] @ _turn_to(towards).T @ _roll(self.roll_deg)
        intrinsics = level.intrinsics.copy()
        head, _ = project(Camera(turned, intrinsics), HEAD_CENTRE_M[None])
        intrinsics[:2, 2] += 0.5 + np.array(self.shift) - head[0]
        return Camera(turned, intrinsics)


def lens_distance(lens_mm: float, photo_m: float) -> float:
    """How far away a small-format lens shows ``photo_m`` metres on the short side of the picture."""
    return lens_mm / 1000 / FILM_M * photo_m


def sample_framing(rng: np.random.Generator) -> Framing:
    """A portrait as people take them: mostly from in front, now and then from the side, seldom upside down."""
    kind = rng.choice(3, p=[0.55, 0.35, 0.10])
    yaw = (rng.normal(0, 15), rng.uniform(-60, 60), rng.uniform(-110, 110))[kind]
    steep = rng.random() < 0.1
    low, high = np.log(LENSES_MM)
    photo_m = float(rng.uniform(0.45, 0.9))
    distance = lens_distance(float(np.exp(rng.uniform(low, high))), photo_m)
    return Framing(
        yaw_deg=float(yaw),
        pitch_deg=float(np.clip(rng.normal(0, 22 if steep else 9), -45, 45)),
        roll_deg=float(np.clip(rng.normal(0, 20 if rng.random() < 0.12 else 6), -60, 60)),
        distance_m=max(distance, 0.45),
        frame_m=float(np.clip(np.exp(rng.normal(np.log(0.35), 0.14)), 0.24, WIDEST_FRAME_M)),
        aim=_pair(rng.normal(0, 0.22, 2)),
        shift=_pair(rng.normal(0, 0.03, 2)),
    )


def studio_framing(yaw_deg: float, pitch_deg: float = 0.0) -> Framing:
    """The plain framing of turntables."""
    return replace(Framing(yaw_deg, pitch_deg), distance_m=2.0)


def _pair(values: Float[np.ndarray, "2"]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _roll(degrees: float) -> Float[np.ndarray, "3 3"]:
    """Camera axes turned clockwise as seen from behind the camera."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _turn_to(towards: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The shortest rotation that carries the optical axis to a direction (Rodrigues)."""
    goal = towards / np.linalg.norm(towards)
    axis = np.cross([0.0, 0.0, 1.0], goal)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + goal[2])
