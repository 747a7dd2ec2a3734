# SPDX-License-Identifier: Apache-2.0
"""Where the camera of a picture stands that shows no human face: searched around the subject, then refined with it.

Nothing but the generator itself tells how the subject is turned: its average is looked at from all sides that it was
trained on, and from the best of them camera and code are found together, by the picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from backend.generator.config import CameraConfig
from backend.inversion.cameras import Cameras
from backend.inversion.codes import RATE
from backend.inversion.descent import Descent, descend, ramped
from backend.inversion.method import Perception, PosedPortrait
from backend.inversion.photo_terms import looks, photo_terms
from backend.inversion.plane_model import PlaneHead, PlaneModel

SIZE_PX = 32  # Of the looks; enough to see how something is turned.
STEPS = 30
HURRY = 6.0  # A code goes so much faster than in its own search, which has ten times the steps.
ANGLE_STEP, SHIFT_STEP = 0.03, 0.01
# Where a careful crop leaves the camera: roll in radians, shifts in picture widths, zoom as a logarithm.
USUAL_ROLL, USUAL_SHIFT, USUAL_ZOOM = 0.15, 0.05, 0.1
CAREFUL = 0.01


@dataclass(frozen=True)
class Found:
    """A camera and the code of the subject it sees.

    Args:
        cameras: One, in the generator's world.
        ws: Style codes.
        yaw_deg: From the front, positive towards +x.
        pitch_deg: Positive upwards.
    """

    cameras: Cameras
    ws: Float[Tensor, "1 num_ws w_dim"]
    yaw_deg: float
    pitch_deg: float


def search_camera(
    model: PlaneModel,
    picture: PosedPortrait,
    place: CameraConfig,
    *,
    yaws_deg: Sequence[float],
    pitches_deg: Sequence[float],
) -> Found:
    """The camera that sees the subject as the picture shows it.

    Args:
        model: The generator.
        picture: Its own cameras are not looked at; on the model's device.
        place: The generator's cameras: their distance and lens.
        yaws_deg: Where the search looks from.
        pitches_deg: Where the search looks from.
    """
    turns = [(math.radians(yaw), math.radians(pitch)) for pitch in pitches_deg for yaw in yaws_deg]
    like = model.mean_ws
    orbits = [orbit(like.new_tensor([*turn, 0, 0, 0, 0]), place) for turn in turns]
    with torch.no_grad():
        average = model.head(like)
        misses = [float(torch.stack([*_terms(average, picture, cameras).values()]).sum()) for cameras in orbits]
    first = like.new_tensor([*turns[misses.index(min(misses))], 0, 0, 0, 0])
    rate = HURRY * RATE * model.ws_std / math.sqrt(like.shape[-1])
    steps = like.new_tensor([ANGLE_STEP, ANGLE_STEP, ANGLE_STEP, SHIFT_STEP, SHIFT_STEP, SHIFT_STEP]) / rate
    moves = torch.zeros_like(first).requires_grad_(True)
    row = like.mean(1, keepdim=True).clone().requires_grad_(True)
    usual = like.new_tensor([USUAL_ROLL, USUAL_SHIFT, USUAL_SHIFT, USUAL_ZOOM])

    def terms(_: int) -> dict[str, Tensor]:
        seen = first + steps * moves
        found = _terms(model.head(row.expand_as(like)), picture, orbit(seen, place))
        return {**found, "careful": CAREFUL * (seen[2:] / usual).square().sum()}

    descend([moves, row], terms, Descent(STEPS, ramped(rate)), step=lambda _: None)
    seen = (first + steps * moves).detach()
    yaw, pitch = (math.degrees(float(angle)) for angle in seen[:2])
    return Found(orbit(seen, place), row.detach().expand_as(like).clone(), yaw, pitch)


def _terms(head: PlaneHead, picture: PosedPortrait, cameras: Cameras) -> dict[str, Tensor]:
    """How far the picture is from what cameras see of a head."""
    posed = PosedPortrait(picture.image, picture.mask, picture.trust, cameras)
    size_px = min(SIZE_PX, head.generator.config.neural_resolution)
    return photo_terms(looks(head, [posed], size_px=size_px, superresolve=False), [posed], Perception())


def orbit(turn: Float[Tensor, "6"], place: CameraConfig) -> Cameras:
    """A camera that looks at the world's origin; differentiable.

    Args:
        turn: Yaw, pitch and roll, radians; shift of the picture to the right and down, picture widths; logarithm of
            the zoom.
        place: Distance and lens.
    """
    yaw, pitch, roll, right_shift, down_shift, zoom = turn
    zero = torch.zeros_like(yaw)
    backward = torch.stack([yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()])
    right = torch.stack([yaw.cos(), zero, -yaw.sin()])
    down = torch.linalg.cross(-backward, right)
    axes = [roll.cos() * right + roll.sin() * down, roll.cos() * down - roll.sin() * right, -backward]
    rows = torch.stack([*axes, place.radius * backward], dim=1)
    last = turn.new_tensor([[0.0, 0.0, 0.0, 1.0]])
    focal = place.focal * zoom.exp()
    one = torch.ones_like(zero)
    lens = torch.stack([focal, zero, 0.5 + right_shift, zero, focal, 0.5 + down_shift, zero, zero, one])
    return Cameras(torch.cat([rows, last])[None], lens.reshape(1, 3, 3))
