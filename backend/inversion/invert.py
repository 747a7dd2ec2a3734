# SPDX-License-Identifier: Apache-2.0
"""A fitted portrait to the head's codes."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from backend.alignment import Portrait
from backend.config import Quality, SurfaceConfig
from backend.directions import Codes
from backend.face_mesh_points import CHIN
from backend.inversion.lifting import encode_portrait, lifted_offset
from backend.inversion.parametric import ParametricFit
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


def invert_portrait(
    starter: Starter,
    fit: ParametricFit,
    portrait: Portrait,
    mask: Float[Tensor, "1 1 s s"],
    *,
    quality: Quality,
    seed: int,
    step: Callable[[float], None],
    encoder: StarterEncoder | None = None,
) -> tuple[Codes, dict[str, float]]:
    """Codes that show the portrait from its camera, and the last losses.

    Args:
        starter: The model.
        fit: Shape, expression and camera, kept as they are.
        portrait: The picture.
        mask: The head's matte.
        quality: How much refinement.
        seed: Of the symmetry prior's points.
        step: Called with the done share, often.
        encoder: Describes the head to start from, whose hair style and top the photo chooses; without it, the photo
            chooses one of the starter's varied heads. A draft adds the encoder's plane offset, and nothing else.
    """
    generator = starter.generator
    offsets = starter.template.offsets(fit.shape, fit.expression)
    deformation = Deformation(starter.template, offsets, generator.config.side)
    chin = float(portrait.landmarks[CHIN, 1]) / portrait.size_px

    def view(z: Tensor, size_px: int) -> PhotoRays:
        with torch.no_grad():
            guide = extract_surface(generator.field(generator.map(z)), GUIDE_SURFACE)
        return photo_rays(
            generator,
            deformation,
            guide,
            fit.camera,
            image=portrait.image,
            mask=mask,
            coverage=portrait.coverage,
            chin=chin,
            size_px=size_px,
        )

    candidates = starter.candidates.to(generator.mean_planes.device)
    config = REFINEMENT[quality]
    heads = candidates
    if encoder is not None:
        told = encode_portrait(encoder, portrait, mask).means["z"].to(candidates.device)
        heads = told.clamp(candidates.amin(0), candidates.amax(0))
    start = choose_start(
        generator,
        heads,
        view(heads[:1], START_RAYS_PX),
        lambda done: step(START_SHARE * done),
        chosen=choice_number(generator, candidates),
    )
    if not config.code_steps:
        ws, offset = generator.map(start), None
        if encoder is not None:
            offset = lifted_offset(generator, encoder.lift, generator.planes(ws), view(start, REFINE_RAYS_PX))
        return _codes(ws, offset, fit), {}
    inversion = refine(
        generator,
        start,
        candidates,
        view(start, REFINE_RAYS_PX),
        config=config,
        random=torch.Generator().manual_seed(seed),
        step=lambda done: step(START_SHARE + (1 - START_SHARE) * done),
    )
    codes = _codes(inversion.ws, inversion.plane_offset, fit)
    return codes, {name: round(value, 5) for name, value in inversion.losses.items()}


def _codes(ws: Float[Tensor, "1 n w"], offset: Float[Tensor, "1 3 c r r"] | None, fit: ParametricFit) -> Codes:
    """Codes of a single head."""
    kept = None if offset is None else offset[0].detach().cpu().numpy()
    return Codes(ws[0].detach().cpu().numpy(), fit.shape, fit.expression, kept)
