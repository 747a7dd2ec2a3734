# SPDX-License-Identifier: Apache-2.0
"""The starter's encoder as inversion methods ask for it: codes, then a plane offset from the photo's residual.

Source:
    Bhattarai et al. 2023, TriPlaneNet v2, arXiv:2303.13497 (METHODS section 1.3): the second stage sees the photo, the
    first reconstruction and, where the face is turned, the mirrored photo's residual.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from backend.inversion.cameras import pixel_places
from backend.inversion.losses import mirror_image
from backend.inversion.method import Encoder, Model, PosedPortrait, Start
from backend.inversion.photo_terms import masked_pixels
from backend.inversion.starter_heads import StarterHead, StarterHeads
from backend.inversion.symmetry import mirror_weight
from backend.inversion.warp import TOLERANCE, is_hidden
from backend.plane_lift import TRAINED_POINTS, PlaneLift, upsample_offset

SIZE_PX = 64
SOLID = 0.5


def starter_encoder(z: Float[Tensor, "1 z_dim"], lift: PlaneLift) -> Encoder:
    """The encoder of one portrait.

    Args:
        z: What the first stage says of the portrait.
        lift: The second stage.
    """

    @torch.no_grad()
    def encode(model: Model, portrait: PosedPortrait) -> Start:
        if not isinstance(model, StarterHeads):
            raise TypeError(f"the starter's encoder cannot serve a {type(model).__name__}")
        ws = model.network.map(z.to(model.mean_ws)).contiguous()
        head = model.head(ws)
        offset = _offset(head, lift, portrait.resized(SIZE_PX))
        return Start(ws, offset)

    return encode


def _offset(head: StarterHead, lift: PlaneLift, portrait: PosedPortrait) -> Float[Tensor, "1 3 c r r"] | None:
    """From the photo's residual; None where it would show the photo worse than none."""
    picture = head.render(portrait.cameras, size_px=SIZE_PX)
    solid = (picture.opacity > SOLID) & (portrait.shown > SOLID)
    if not solid.any():
        return None
    places = pixel_places(SIZE_PX, picture.depth.device)[None, solid.flatten()]
    points = head.to_canonical(portrait.cameras.lift(places, picture.depth.flatten(1)[:, solid.flatten()]))
    photo = (portrait.image.flatten(2).transpose(1, 2)[:, solid.flatten()] + 1) / 2
    weight = torch.full_like(points[..., 0], TRAINED_POINTS / points.shape[1])
    share = mirror_weight(float(portrait.cameras.yaw()[0]))
    if share:
        other = mirror_image(points)
        hidden = is_hidden(head.to_world(other), portrait, picture.depth, tolerance=TOLERANCE * head.space.side)
        points, photo = torch.cat([points, other], dim=1), photo.repeat(1, 2, 1)
        weight = torch.cat([weight, share * hidden * weight], dim=1)
    first = head.generator.decode(head.content, points)[1]
    coarse = lift(head.content, points, photo, weight, first=first, side=head.space.side)
    offset = upsample_offset(coarse, head.planes.shape[-1])
    moved = head.moved(offset).render(portrait.cameras, size_px=SIZE_PX)
    return offset if masked_pixels(moved.image, portrait) < masked_pixels(picture.image, portrait) else None
