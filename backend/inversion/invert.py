# SPDX-License-Identifier: Apache-2.0
"""Fitted portraits of one person to the head's codes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from backend.alignment import Portrait
from backend.camera import Camera
from backend.config import Quality, SurfaceConfig
from backend.directions import Codes
from backend.face_mesh_points import CHIN
from backend.generator.starter import StarterField, StarterGenerator
from backend.inversion.detail import refine_detail
from backend.inversion.lifting import encode_portrait, lifted_offset
from backend.inversion.method import Inversion, Step
from backend.inversion.refine import Likely, RefineConfig, choice_number, choose_start, refine
from backend.inversion.view import PhotoRays, photo_rays
from backend.starter import Starter
from backend.starter_encoder import StarterEncoder
from backend.surface import extract_surface
from backend.template import Deformation

# Rays of all photos around a head's surface, so many along an edge.
Views = Callable[[StarterField, int], list[PhotoRays]]

START_RAYS_PX, REFINE_RAYS_PX, DETAIL_RAYS_PX = 48, 96, 128
GUIDE_SURFACE = SurfaceConfig(resolution=73, faces=8000, smoothing_steps=2)
REFINEMENT: dict[Quality, RefineConfig] = {
    "draft": RefineConfig(code_steps=0, offset_steps=0, detail_steps=0),
    "balanced": RefineConfig(code_steps=30, offset_steps=25, detail_steps=50),
    "best": RefineConfig(code_steps=120, offset_steps=160, detail_steps=100),
}
START_SHARE, DETAIL_SHARE = 0.2, 0.2
LEAST_SPREAD = 0.05  # Of a number of the description, in what is likely.


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
    step: Step,
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
    views = _views_of(starter, photos)
    start, likely = _start(starter, photos, views, encoder, step=lambda done: step(START_SHARE * done))
    config = REFINEMENT[quality]
    before = _field(generator, Inversion(generator.map(start)))
    if not config.code_steps:
        offset = None
        if encoder is not None:
            offset = lifted_offset(generator, encoder.lift, before.head, views(before, REFINE_RAYS_PX))
        return _codes(Inversion(generator.map(start), offset), photos), {}
    random = torch.Generator().manual_seed(seed)
    inversion = refine(
        generator,
        start,
        starter.candidates.to(start.device),
        likely,
        views(before, REFINE_RAYS_PX),
        config=config,
        random=random,
        step=lambda done: step(START_SHARE + (1 - START_SHARE - DETAIL_SHARE) * done),
    )
    refined = _field(generator, inversion)
    color_offset = refine_detail(
        generator,
        refined.head,
        views(refined, DETAIL_RAYS_PX),
        steps=config.detail_steps,
        random=random,
        step=lambda done: step(1 - DETAIL_SHARE * (1 - done)),
    )
    codes = _codes(replace(inversion, color_offset=color_offset), photos)
    return codes, {name: round(value, 5) for name, value in inversion.losses.items()}


def _views_of(starter: Starter, photos: Sequence[FittedPhoto]) -> Views:
    """What samples the photos' rays around the surface of a head."""
    generator, template = starter.generator, starter.template
    deformations = [
        Deformation(template, template.offsets(photo.codes.shape, photo.codes.expression), generator.config.side)
        for photo in photos
    ]

    @torch.no_grad()
    def views(field: StarterField, size_px: int) -> list[PhotoRays]:
        guide = extract_surface(field, GUIDE_SURFACE)
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

    return views


def _start(
    starter: Starter, photos: Sequence[FittedPhoto], views: Views, encoder: StarterEncoder | None, *, step: Step
) -> tuple[Float[Tensor, "1 z_dim"], Likely]:
    """The description to begin with, and which ones are likely: the encoder's, else those of the starter's heads."""
    generator = starter.generator
    candidates = starter.candidates.to(generator.mean_planes.device)
    heads, likely = candidates, Likely(candidates.mean(0), candidates.std(0).clamp(min=LEAST_SPREAD))
    if encoder is not None:
        told, doubt = _told(encoder, photos)
        heads = told.clamp(candidates.amin(0), candidates.amax(0))
        likely = Likely(told[0], doubt)
    first = _field(generator, Inversion(generator.map(heads[:1])))
    chosen = choice_number(generator, candidates)
    return choose_start(generator, heads, views(first, START_RAYS_PX), step, chosen=chosen), likely


@torch.no_grad()
def _field(generator: StarterGenerator, inversion: Inversion) -> StarterField:
    return generator.field(inversion.ws, inversion.plane_offset)


def _told(
    encoder: StarterEncoder, photos: Sequence[FittedPhoto]
) -> tuple[Float[Tensor, "k z_dim"], Float[Tensor, "z_dim"]]:
    """The heads that the encoder tells of, that of all photos together and then that of each, and its mean doubt."""
    encodings = [encode_portrait(encoder, photo.portrait, photo.mask) for photo in photos]
    told = torch.cat([encoding.means["z"] for encoding in encodings])
    doubt = torch.cat([encoding.deviations["z"] for encoding in encodings]).mean(0).clamp(min=LEAST_SPREAD)
    if len(photos) == 1:
        return told, doubt
    weights = told.new_tensor([photo.weight for photo in photos])[:, None]
    return torch.cat([(weights * told).sum(0, keepdim=True) / weights.sum(), told]), doubt


def _codes(inversion: Inversion, photos: Sequence[FittedPhoto]) -> list[Codes]:
    """Codes of the person as in each photo."""
    offset, colors = (
        None if one is None else one[0].detach().cpu().numpy()
        for one in (inversion.plane_offset, inversion.color_offset)
    )
    ws = inversion.ws[0].detach().cpu().numpy()
    return [replace(photo.codes, ws=ws, plane_offset=offset, color_offset=colors) for photo in photos]
