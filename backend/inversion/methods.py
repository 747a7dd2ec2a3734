# SPDX-License-Identifier: Apache-2.0
"""All inversion methods by name, and the one call that runs them."""

import torch

from backend.config import Quality
from backend.errors import SettingsError
from backend.inversion import codes, geometry_encoding, offset, tuning
from backend.inversion.budget import budget_for
from backend.inversion.method import Encoder, Inversion, Method, Model, Perception, PosedPortrait, Start, Step, Task

METHODS: dict[str, Method] = {
    "mean": codes.mean,
    "w": codes.w,
    "w+": codes.w_plus,
    "pti": tuning.pti,
    "spi": tuning.spi,
    "e3dge": geometry_encoding.e3dge,
    "triplanenet": offset.triplanenet,
    "protome": offset.protome,
}
# They need what was trained on the starter alone.
STARTER_METHODS = ("e3dge",)


def invert(
    method: str,
    model: Model,
    portraits: list[PosedPortrait],
    *,
    quality: Quality,
    seed: int,
    step: Step,
    encoder: Encoder | None = None,
    start: Start | None = None,
    perception: Perception | None = None,
    is_symmetric: bool = True,
) -> Inversion:
    """A head that shows one person's portraits.

    Args:
        method: Name in ``METHODS``.
        model: Its weights stay as they are; on the device where it computes.
        portraits: At least one, from any device.
        quality: How much work.
        seed: Of every random choice.
        step: Called with the done share at every step; may raise ``Cancelled``.
        encoder: Of this model, when one is installed.
        start: Codes known from elsewhere.
        perception: How pictures are compared; without downloads when omitted.
        is_symmetric: Whether what is shown is as symmetric as a head.

    Raises:
        SettingsError: There is no such method, or it needs an encoder that is not installed.
        ModelError: The model's pictures are not numbers.
    """
    if method not in METHODS:
        raise SettingsError(f"There is no method “{method}”; there are {', '.join(METHODS)}.", code="unknown_method")
    device = next(model.network.parameters()).device
    task = Task(
        model,
        [portrait.to(device) for portrait in portraits],
        budget_for(method, quality, device.type, is_light=model.is_light),
        torch.Generator().manual_seed(seed),
        step,
        encoder=encoder,
        start=start,
        perception=perception or Perception(),
        is_symmetric=is_symmetric,
    )
    return METHODS[method](task)
