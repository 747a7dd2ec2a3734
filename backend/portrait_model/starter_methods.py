# SPDX-License-Identifier: Apache-2.0
"""Inversion methods other than Protome's own on the starter: from fitted portraits to codes that a record can keep.

Shape, expression and camera are the parametric fit's for all methods. What pivotal tuning does to weights before the
planes becomes a plane offset; what it does behind them is kept as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from backend.config import Settings
from backend.directions import Codes
from backend.generator.starter import StarterGenerator
from backend.inversion.cameras import cameras_of
from backend.inversion.invert import FittedPhoto
from backend.inversion.lifting import encode_portrait
from backend.inversion.method import Encoder, Inversion, PosedPortrait
from backend.inversion.methods import invert
from backend.inversion.plane_model import tuned_generator
from backend.inversion.starter_encoding import starter_encoder
from backend.inversion.starter_heads import StarterHeads
from backend.inversion.starter_space import HeadSpace
from backend.starter import Starter
from backend.starter_encoder import StarterEncoder
from backend.template import Deformation

BEHIND_PLANES = ("decoder.", "palette.")


def heads_of(starter: Starter, codes: Codes) -> StarterHeads:
    """The starter around a fitted body, as methods see it."""
    side = starter.generator.config.side
    offsets = starter.template.offsets(codes.shape, codes.expression)
    deformation = Deformation(starter.template, offsets, side, codes.pose)
    return StarterHeads(starter.generator, HeadSpace.of(starter.generator, deformation), starter.candidates)


def invert_by_method(
    starter: Starter,
    encoder: StarterEncoder | None,
    photos: Sequence[FittedPhoto],
    *,
    settings: Settings,
    step: Callable[[float], None],
) -> tuple[list[Codes], dict[str, float]]:
    """Codes by the chosen method, one per photo, the last losses and the confidence.

    All photos are shown with the body of the first: the published methods know one expression only.

    Args:
        starter: The model.
        encoder: Of the starter, for the method that needs one.
        photos: Of one person, the main one first.
        settings: Method, quality and seed are used.
        step: Called with the done share, often.

    Raises:
        SettingsError: The method needs an encoder that is not installed.
    """
    inversion = invert(
        settings.method,
        heads_of(starter, photos[0].codes),
        [_posed(one) for one in photos],
        quality=settings.quality,
        seed=settings.seed,
        step=step,
        encoder=None if encoder is None else _encoder_for(starter, encoder, photos[0]),
    )
    found = codes_of(starter.generator, inversion, photos[0].codes)
    losses = {name: round(value, 5) for name, value in inversion.losses.items()}
    codes = [replace(found, expression=one.codes.expression, pose=one.codes.pose) for one in photos]
    return codes, {**losses, "confidence": round(inversion.confidence, 4)}


@torch.no_grad()
def codes_of(generator: StarterGenerator, inversion: Inversion, fitted: Codes) -> Codes:
    """An inversion as codes that show the same head, on the fitted body."""
    offset, tuned = inversion.plane_offset, dict(inversion.tuned or {})
    behind = {name: change for name, change in tuned.items() if name.startswith(BEHIND_PLANES)}
    if len(behind) < len(tuned):
        moved = tuned_generator(generator, tuned).planes(inversion.ws).planes - generator.planes(inversion.ws).planes
        offset = moved if offset is None else moved + offset
    kept = None if offset is None else offset[0].cpu().numpy()
    changes = {name: change.cpu().numpy() for name, change in behind.items()}
    return replace(fitted, ws=inversion.ws[0].cpu().numpy(), plane_offset=kept, tuned=changes)


def tuned_starter(starter: Starter, codes: Codes) -> Starter:
    """The starter as it shows a head: with the changes of weights that the head keeps."""
    if not codes.tuned:
        return starter
    changes = {name: torch.from_numpy(change.astype(np.float32)) for name, change in codes.tuned.items()}
    return replace(starter, generator=tuned_generator(starter.generator, changes))


def _encoder_for(starter: Starter, encoder: StarterEncoder, photo: FittedPhoto) -> Encoder:
    candidates = starter.candidates.to(encoder.center.device)
    z = encode_portrait(encoder, photo.portrait, photo.mask).means["z"]
    return starter_encoder(z.clamp(candidates.amin(0), candidates.amax(0)), encoder.lift)


def _posed(photo: FittedPhoto) -> PosedPortrait:
    portrait = photo.portrait
    landmarks = torch.from_numpy(portrait.landmarks / portrait.size_px).float()
    return PosedPortrait(portrait.image, photo.mask, portrait.coverage, cameras_of(photo.camera), landmarks)
