# SPDX-License-Identifier: Apache-2.0
"""The photo of a held-out head with what makes portraits difficult in it: a hand, a hat, another person, side light.

They are drawn, not photographed: coarse, but what is hidden of the person stays known.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

from backend.camera import project
from backend.evaluation.truth import TruthHead
from backend.training.backdrop import over_backdrop, sample_backdrop
from backend.training.glasses import sample_glasses
from backend.training.portrait_source import PortraitSource
from backend.training.render import render_portrait

HAT_BRIM, HAT_CROWN = (52, 40, 30), (64, 50, 38)
EDGE_PX = 0.7  # Blur of what is drawn, as soft as the photo's own edges.
WISPS, WISP_STEPS, FINER = 140, 9, 4
SIDE_LIGHT = (0.1, 1.15, 11.0)  # Least, most beyond it, and how fast it rises across the face.
SEED = 5


@dataclass(frozen=True)
class Sitting:
    """Who is photographed.

    Args:
        truth: The person.
        company: Somebody else.
        source: Knows how the person looks with glasses.
    """

    truth: TruthHead
    company: TruthHead
    source: PortraitSource

    @property
    def photo(self) -> Image.Image:
        """Without any difficulty."""
        return Image.fromarray(self.truth.photo)

    def face_box(self, truth: TruthHead) -> Float[np.ndarray, "4"]:
        """Left, top, width and height of a person's face in the person's own photo, pixels."""
        places, _ = project(truth.camera, truth.landmarks)
        low, high = places.min(0) * truth.size_px, places.max(0) * truth.size_px
        return np.concatenate([low, high - low])


def _plain(sitting: Sitting) -> Image.Image:
    return sitting.photo


def _hand(sitting: Sitting) -> Image.Image:
    """A palm on the cheek, and the arm down to the edge."""
    left, top, width, height = sitting.face_box(sitting.truth)
    cheek = sitting.truth.photo[
        int(top + 0.5 * height) : int(top + 0.6 * height), int(left + 0.3 * width) : int(left + 0.4 * width)
    ]
    skin = np.median(cheek.reshape(-1, 3), axis=0)
    drawn = sitting.photo
    draw = ImageDraw.Draw(drawn)
    x, y = left + 0.86 * width, top + 0.72 * height
    draw.line([(x, y), (x + 0.35 * width, drawn.height)], fill=_shade(skin, 0.9), width=int(0.32 * width))
    draw.ellipse([x - 0.2 * width, y - 0.22 * height, x + 0.2 * width, y + 0.22 * height], fill=_shade(skin, 1.0))
    for finger in range(4):
        start, end = x + (0.09 * finger - 0.12) * width, x + (0.1 * finger - 0.2) * width
        shade = _shade(skin, 0.85 + 0.05 * finger)
        draw.line([(start, y), (end, y - 0.42 * height)], fill=shade, width=int(0.085 * width))
    return _softened(sitting.photo, drawn)


def _hat(sitting: Sitting) -> Image.Image:
    left, top, width, height = sitting.face_box(sitting.truth)
    drawn, middle = sitting.photo, left + width / 2
    draw = ImageDraw.Draw(drawn)
    brim = [middle - 1.05 * width, top - 0.14 * height, middle + 1.05 * width, top + 0.14 * height]
    crown = [middle - 0.6 * width, top - 0.75 * height, middle + 0.6 * width, top]
    draw.ellipse(brim, fill=HAT_BRIM)
    draw.rounded_rectangle(crown, radius=int(0.2 * width), fill=HAT_CROWN)
    return _softened(sitting.photo, drawn)


def _second_person(sitting: Sitting) -> Image.Image:
    """Somebody as large beside the face, cut off by the edge."""
    left, top, width, height = sitting.face_box(sitting.truth)
    company, photo = sitting.company, sitting.photo
    picture = render_portrait(company.scene.subject, company.camera, sitting.truth.light, size_px=company.size_px)
    other_left, other_top, _, other_height = sitting.face_box(company)
    scale = height / other_height
    other = Image.fromarray(picture.rgba, "RGBA").resize((int(company.size_px * scale),) * 2)
    at = int(left + 1.75 * width - scale * other_left), int(top + 0.1 * height - scale * other_top)
    photo.paste(other, at, other)
    return photo


def _wisps(sitting: Sitting) -> Image.Image:
    """Single hairs that stand off the head."""
    left, top, width, height = sitting.face_box(sitting.truth)
    scalp = sitting.truth.photo[
        max(0, int(top - 0.25 * height)) : max(1, int(top - 0.1 * height)),
        int(left + 0.4 * width) : int(left + 0.6 * width),
    ]
    color = _shade(np.median(scalp.reshape(-1, 3), axis=0), 1.0)
    photo, rng = sitting.photo, np.random.default_rng(SEED)
    fine = photo.resize((FINER * photo.width, FINER * photo.height))
    draw = ImageDraw.Draw(fine)
    centre, size = np.array([left + width / 2, top + 0.4 * height]), np.array([width, height])
    for _ in range(WISPS):
        angle, root = rng.uniform(-np.pi, 0), rng.uniform(0.7, 0.9)
        angles = angle + np.cumsum(rng.normal(0, 0.07, WISP_STEPS))
        away = root + np.linspace(0, rng.uniform(0.25, 0.55), WISP_STEPS)
        path = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * size * away[:, None]
        draw.line([tuple(FINER * place) for place in path], fill=color, width=int(rng.integers(2, 7)))
    return fine.resize(photo.size, Image.Resampling.LANCZOS)


def _side_light(sitting: Sitting) -> Image.Image:
    """One side of the face in the dark."""
    left, _, width, _ = sitting.face_box(sitting.truth)
    least, more, steepness = SIDE_LIGHT
    across = (np.arange(sitting.truth.size_px) + 0.5 - left - width / 2) / width
    light = least + more / (1 + np.exp(-steepness * across))
    return Image.fromarray(np.clip(sitting.truth.photo * light[:, None], 0, 255).astype(np.uint8))


def _glasses(sitting: Sitting) -> Image.Image:
    truth = sitting.truth
    person = sitting.source.person(truth.seed, truth.item.number, glasses_share=0.0)
    person = replace(person, glasses=sample_glasses(np.random.default_rng(SEED)))
    scene = sitting.source.scene(person)
    picture = render_portrait(scene.subject, truth.camera, truth.light, size_px=truth.size_px)
    backdrop = sample_backdrop(np.random.default_rng([truth.seed, truth.item.number, 3]), truth.size_px)
    return Image.fromarray(over_backdrop(picture.rgba, backdrop))


def _softened(photo: Image.Image, drawn: Image.Image) -> Image.Image:
    """What is drawn, with soft edges; the rest of the photo stays."""
    is_drawn = (np.asarray(photo) != np.asarray(drawn)).any(-1)
    edge = Image.fromarray(255 * is_drawn.astype(np.uint8)).filter(ImageFilter.GaussianBlur(EDGE_PX))
    return Image.composite(drawn, photo, edge)


def _shade(color: Float[np.ndarray, "3"], share: float) -> tuple[int, int, int]:
    red, green, blue = (int(min(255.0, value * share)) for value in color)
    return red, green, blue


DIFFICULTIES: dict[str, Callable[[Sitting], Image.Image]] = {
    "plain": _plain,
    "glasses": _glasses,
    "hair wisps": _wisps,
    "hand": _hand,
    "hat": _hat,
    "second person": _second_person,
    "side light": _side_light,
}


def difficult_photo(sitting: Sitting, difficulty: str) -> UInt8[np.ndarray, "s s 3"]:
    """A photo of a sitting.

    Args:
        sitting: Who is photographed.
        difficulty: One of ``DIFFICULTIES``.
    """
    return np.asarray(DIFFICULTIES[difficulty](sitting).convert("RGB"))
