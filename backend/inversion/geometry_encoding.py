# SPDX-License-Identifier: Apache-2.0
"""E3DGE on the starter: codes and the photo's detail in one pass, the detail in colours alone.

Source:
    Lan et al. 2023, E3DGE (METHODS section 1.2). The detail is laid down in canonical space (``backend/e3dge.py``), so
    that it follows every edit of the head and shows the same from every side.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from backend.e3dge import DetailBranch, Seen
from backend.errors import SettingsError
from backend.inversion.cameras import Cameras, pixel_places
from backend.inversion.losses import mirror_image
from backend.inversion.method import Encoder, Inversion, Model, PosedPortrait, Start, Task
from backend.inversion.photo_terms import agreement, masked_pixels
from backend.inversion.refine import with_each_choice
from backend.inversion.starter_heads import StarterHead, StarterHeads
from backend.plane_lift import upsample_offset
from backend.starter_encoder import CROP_SHARE

SIZE_PX = 96  # As in training.
STYLE_PX = 48
SOLID = 0.5


def geometry_encoder(z: Float[Tensor, "1 z_dim"], branch: DetailBranch, *, chosen: float) -> Encoder:
    """The encoder of one portrait.

    Args:
        z: What the global stage says of it; the photo chooses hair style and top by rendering, which no encoder tells
            well.
        branch: The local stage.
        chosen: Number in a description that stands for a choice.
    """

    @torch.no_grad()
    def encode(model: Model, portrait: PosedPortrait) -> Start:
        if not isinstance(model, StarterHeads):
            raise TypeError(f"the starter's geometry-aware encoder cannot serve a {type(model).__name__}")
        suited = _suited(model, z.to(model.mean_ws), portrait.resized(STYLE_PX), chosen)
        ws = model.network.map(suited).contiguous()
        head = model.head(ws)
        seen = seen_by(head, portrait)
        coarse = branch(head.content, seen, side=head.space.side)
        return Start(ws, color_offset=upsample_offset(coarse, head.planes.shape[-1]))

    return encode


def _suited(
    model: StarterHeads, z: Float[Tensor, "1 z_dim"], portrait: PosedPortrait, chosen: float
) -> Float[Tensor, "1 z_dim"]:
    """The described head with the hair style and the top that look most like the portrait."""

    def unlike(one: Float[Tensor, "z_dim"]) -> float:
        picture = model.head(model.network.map(one[None])).render(portrait.cameras, size_px=STYLE_PX)
        outline = ((picture.opacity - portrait.mask) * portrait.trust).abs().mean() / portrait.mask.mean()
        return float(masked_pixels(picture.image, portrait).sqrt() + outline)

    for first, count in model.network.config.choices:
        heads = with_each_choice(z, first, count, chosen)
        losses = [unlike(one) for one in heads]
        z = heads[losses.index(min(losses)), None]
    return z


def e3dge(task: Task) -> Inversion:
    """Codes and detail as the geometry-aware encoder gives them.

    Raises:
        SettingsError: No such encoder is there for the model.
    """
    if task.encoder is None:
        raise SettingsError(
            "The method e3dge needs a geometry-aware encoder that was trained on this model, and there is none. Choose "
            "another method.",
            code="no_encoder",
        )
    start = task.encoder(task.model, task.portraits[0])
    head = task.model.head(start.ws)
    if isinstance(head, StarterHead) and start.color_offset is not None:
        head = head.recolored(start.color_offset)
    task.step(1.0)
    agreed = agreement(head, task.portraits, size_px=min(task.budget.size_px, task.model.size_px))
    return Inversion(start.ws, color_offset=start.color_offset, agreement=agreed)


def seen_by(head: StarterHead, portrait: PosedPortrait) -> Seen:
    """What a portrait shows of a head, in the crop that the encoder was trained on."""
    crop = _middle(portrait).resized(SIZE_PX)
    picture = head.render(crop.cameras, size_px=SIZE_PX)
    places = pixel_places(SIZE_PX, picture.depth.device)[None]
    points = head.to_canonical(crop.cameras.lift(places, picture.depth.flatten(1)))
    both = torch.cat([points, mirror_image(points)], dim=1)
    colors = head.generator.decode(head.content, both)[1].transpose(1, 2).unflatten(2, (2, SIZE_PX, SIZE_PX))
    far = crop.cameras.cam2world[:, :3, 3].norm(dim=-1)[:, None, None, None]
    shown = ((picture.opacity > SOLID) & (crop.shown > SOLID)).float()
    return Seen(
        photo=(crop.image + 1) / 2,
        first=colors[:, :, 0],
        depth=(picture.depth - far) * shown,
        shown=shown,
        points=points.transpose(1, 2).unflatten(2, (SIZE_PX, SIZE_PX)),
        mirrored=colors[:, :, 1],
    )


def _middle(portrait: PosedPortrait) -> PosedPortrait:
    """The part of a portrait that the starter's encoders look at; see ``starter_encoder.encoder_input``."""
    side = portrait.image.shape[-1]
    edge = round(side * (1 - CROP_SHARE) / 2)
    share = (side - 2 * edge) / side
    image, mask, trust = (
        functional.pad(values, (-edge,) * 4) for values in (portrait.image, portrait.mask, portrait.trust)
    )
    intrinsics = portrait.cameras.intrinsics.clone()
    intrinsics[:, :2, :2] /= share
    intrinsics[:, :2, 2] = 0.5 + (intrinsics[:, :2, 2] - 0.5) / share
    return PosedPortrait(image, mask, trust, Cameras(portrait.cameras.cam2world, intrinsics))
