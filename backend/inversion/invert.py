# SPDX-License-Identifier: Apache-2.0
"""Fitted portraits of one person to the head's codes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.alignment import Portrait
from backend.camera import Camera
from backend.config import Quality, SurfaceConfig
from backend.directions import Codes
from backend.face_mesh_points import CHIN
from backend.inversion.lifting import encode_portrait, lifted_offset
from backend.inversion.refine import RefineConfig, choice_number, choose_start, refine
from backend.inversion.view import PhotoRays, photo_rays
from backend.starter import Starter
from backend.starter_encoder import StarterEncoder
from backend.surface import extract_surface
from backend.template import Deformation

START_RAYS_PX, REFINE_RAYS_PX = 48, 96
GUIDE_SURFACE = SurfaceConfig(resolution=73, faces=8000, smoothing_steps=2)
REFINEMENT: dict[Quality, RefineConfig] = {
    "draft": RefineConfig(code_steps=0, offset_steps=0),
    "balanced": RefineConfig(code_steps=50, offset_steps=50),
    "best": RefineConfig(code_steps=120, offset_steps=160),
}
START_SHARE = 0.2


@dataclass(frozen=True)
class FittedPhoto:
    """A portrait and how the template stands in it.

    Args:
        portrait: The picture.
        mask: The head's matte.
        camera: Of the portrait, in the head's frame, metres.
        codes: Shape and expression there.
        weight: What the photo counts beside others of the person, above 0.
    """

    portrait: Portrait
    mask: Float[Tensor, "1 1 s s"]
    camera: Camera
    codes: Codes
    weight: float = 1.0


def invert_photos(
    starter: Starter,
    photos: Sequence[FittedPhoto],
    *,
    quality: Quality,
    seed: int,
    step: Callable[[float], None],
    encoder: StarterEncoder | None = None,
) -> tuple[list[Codes], dict[str, float]]:
    """Codes that show each portrait from its camera, and the last losses.

    Args:
        starter: The model.
        photos: Of one person, at least one, the main one first; shape, expressions and cameras are kept as they are.
        quality: How much refinement.
        seed: Of the symmetry prior's points.
        step: Called with the done share, often.
        encoder: Describes the head to start from, whose hair style and top the photo chooses; without it, the photo
            chooses one of the starter's varied heads. A draft adds the encoder's plane offset, and nothing else.
    """
    generator = starter.generator
    deformations = [
        Deformation(starter.template, _offsets(starter, photo.codes), generator.config.side) for photo in photos
    ]

    def views(z: Tensor, size_px: int) -> list[PhotoRays]:
        with torch.no_grad():
            guide = extract_surface(generator.field(generator.map(z)), GUIDE_SURFACE)
        return [
            photo_rays(
                generator,
                deformation,
                guide,
                photo.camera,
                image=photo.portrait.image,
                mask=photo.mask,
                coverage=photo.portrait.coverage,
                chin=float(photo.portrait.landmarks[CHIN, 1]) / photo.portrait.size_px,
                size_px=size_px,
                weight=photo.weight,
            )
            for photo, deformation in zip(photos, deformations, strict=True)
        ]

    candidates = starter.candidates.to(generator.mean_planes.device)
    config = REFINEMENT[quality]
    heads = candidates
    if encoder is not None:
        told = _told(encoder, photos).to(candidates.device)
        heads = told.clamp(candidates.amin(0), candidates.amax(0))
    start = choose_start(
        generator,
        heads,
        views(heads[:1], START_RAYS_PX),
        lambda done: step(START_SHARE * done),
        chosen=choice_number(generator, candidates),
    )
    if not config.code_steps:
        ws, offset = generator.map(start), None
        if encoder is not None:
            offset = lifted_offset(generator, encoder.lift, generator.planes(ws), views(start, REFINE_RAYS_PX))
        return _codes(ws, offset, photos), {}
    inversion = refine(
        generator,
        start,
        candidates,
        views(start, REFINE_RAYS_PX),
        config=config,
        random=torch.Generator().manual_seed(seed),
        step=lambda done: step(START_SHARE + (1 - START_SHARE) * done),
    )
    codes = _codes(inversion.ws, inversion.plane_offset, photos)
    return codes, {name: round(value, 5) for name, value in inversion.losses.items()}


def _offsets(starter: Starter, codes: Codes) -> Float[np.ndarray, "n 3"]:
    return starter.template.offsets(codes.shape, codes.expression)


def _told(encoder: StarterEncoder, photos: Sequence[FittedPhoto]) -> Float[Tensor, "k z_dim"]:
    """The heads that the encoder tells of: that of all photos together, then that of each."""
    told = torch.cat([encode_portrait(encoder, photo.portrait, photo.mask).means["z"] for photo in photos])
    if len(photos) == 1:
        return told
    weights = told.new_tensor([photo.weight for photo in photos])[:, None]
    return torch.cat([(weights * told).sum(0, keepdim=True) / weights.sum(), told])


def _codes(
    ws: Float[Tensor, "1 n w"], offset: Float[Tensor, "1 3 c r r"] | None, photos: Sequence[FittedPhoto]
) -> list[Codes]:
    """Codes of the person as in each photo."""
    kept = None if offset is None else offset[0].detach().cpu().numpy()
    found = ws[0].detach().cpu().numpy()
    return [replace(photo.codes, ws=found, plane_offset=kept) for photo in photos]
