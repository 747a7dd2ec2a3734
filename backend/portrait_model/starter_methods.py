# SPDX-License-Identifier: Apache-2.0
"""Inversion methods other than Protome's own on the starter: from fitted portraits to codes that a record can keep.

Shape, expression and camera are the parametric fit's for all methods. What pivotal tuning does to weights before the
planes becomes a plane offset; what it does behind them is kept as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.config import Settings
from backend.directions import Codes
from backend.e3dge import GeometryEncoder
from backend.generator.starter import StarterGenerator
from backend.inversion.cameras import cameras_of
from backend.inversion.geometry_encoding import geometry_encoder
from backend.inversion.invert import FittedPhoto
from backend.inversion.lifting import encode_portrait
from backend.inversion.method import Encoder, Inversion, PosedPortrait
from backend.inversion.methods import STARTER_METHODS, invert
from backend.inversion.plane_model import tuned_generator
from backend.inversion.refine import choice_number
from backend.inversion.starter_encoding import starter_encoder
from backend.inversion.starter_heads import StarterHeads
from backend.inversion.starter_space import HeadSpace
from backend.starter import Starter
from backend.starter_encoder import CodeEncoder, StarterEncoder
from backend.template import Deformation

BEHIND_PLANES = ("decoder.", "palette.")


@dataclass(frozen=True)
class StarterEncoders:
    """The encoders of a starter, on its device; None for those that there are not.

    Args:
        usual: Codes and a plane offset.
        geometry: Codes and detail in colours alone.
    """

    usual: StarterEncoder | None
    geometry: GeometryEncoder | None


def heads_of(starter: Starter, codes: Codes) -> StarterHeads:
    """The starter around a fitted body, as methods see it."""
    side = starter.generator.config.side
    offsets = starter.template.offsets(codes.shape, codes.expression)
    deformation = Deformation(starter.template, offsets, side, codes.pose)
    return StarterHeads(starter.generator, HeadSpace.of(starter.generator, deformation), starter.candidates)


def invert_by_method(
    starter: Starter,
    encoders: StarterEncoders,
    photos: Sequence[FittedPhoto],
    *,
    settings: Settings,
    step: Callable[[float], None],
) -> tuple[list[Codes], dict[str, float]]:
    """Codes by the chosen method, one per photo, the last losses and the agreement with the photos.

    All photos are shown with the body of the first: the published methods know one expression only.

    Args:
        starter: The model.
        encoders: Of the starter, for the methods that need one.
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
        encoder=_encoder_for(starter, encoders, photos[0], settings.method),
    )
    found = codes_of(starter.generator, inversion, photos[0].codes)
    losses = {name: round(value, 5) for name, value in inversion.losses.items()}
    codes = [replace(found, expression=one.codes.expression, pose=one.codes.pose) for one in photos]
    return codes, {**losses, "agreement": round(inversion.agreement, 4)}


@torch.no_grad()
def codes_of(generator: StarterGenerator, inversion: Inversion, fitted: Codes) -> Codes:
    """An inversion as codes that show the same head, on the fitted body."""
    offset, tuned = inversion.plane_offset, dict(inversion.tuned or {})
    behind = {name: change for name, change in tuned.items() if name.startswith(BEHIND_PLANES)}
    if len(behind) < len(tuned):
        moved = tuned_generator(generator, tuned).planes(inversion.ws).planes - generator.planes(inversion.ws).planes
        offset = moved if offset is None else moved + offset
    kept, colors = (None if one is None else one[0].cpu().numpy() for one in (offset, inversion.color_offset))
    changes = {name: change.cpu().numpy() for name, change in behind.items()}
    return replace(fitted, ws=inversion.ws[0].cpu().numpy(), plane_offset=kept, tuned=changes, color_offset=colors)


def tuned_starter(starter: Starter, codes: Codes) -> Starter:
    """The starter as it shows a head: with the changes of weights that the head keeps."""
    if not codes.tuned:
        return starter
    changes = {name: torch.from_numpy(change.astype(np.float32)) for name, change in codes.tuned.items()}
    return replace(starter, generator=tuned_generator(starter.generator, changes))


def _encoder_for(starter: Starter, encoders: StarterEncoders, photo: FittedPhoto, method: str) -> Encoder | None:
    """The encoder that a method asks; None where it is not there."""
    if method in STARTER_METHODS:
        geometry = encoders.geometry
        if geometry is None:
            return None
        chosen = choice_number(starter.generator, starter.candidates)
        return geometry_encoder(_told(starter, geometry.codes, photo), geometry.detail, chosen=chosen)
    usual = encoders.usual
    return None if usual is None else starter_encoder(_told(starter, usual, photo), usual.lift)


def _told(starter: Starter, encoder: CodeEncoder, photo: FittedPhoto) -> Float[Tensor, "1 z_dim"]:
    """What an encoder says of a head's appearance, within what heads are like."""
    candidates = starter.candidates.to(encoder.center.device)
    z = encode_portrait(encoder, photo.portrait, photo.mask).means["z"]
    return z.clamp(candidates.amin(0), candidates.amax(0))


def _posed(photo: FittedPhoto) -> PosedPortrait:
    portrait = photo.portrait
    landmarks = torch.from_numpy(portrait.landmarks / portrait.size_px).float()
    return PosedPortrait(portrait.image, photo.mask, portrait.coverage, cameras_of(photo.camera), landmarks)
