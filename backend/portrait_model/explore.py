# SPDX-License-Identifier: Apache-2.0
"""Sliders for a generator that nobody has measured yet: the directions that its weights amplify most.

Source:
    Shen and Zhou 2021, Closed-form factorization of latent semantics in GANs, arXiv:2007.06600 (SeFa).
"""

import numpy as np
import torch

from backend.generator.plane_generator import PlaneGenerator
from backend.head import Slider
from backend.portrait_model.plane_codes import PlaneDirection

COUNT = 6
COARSE_SHARE = 0.5  # Of the rows of ``ws``; those of coarse layers shape the head.
STRENGTH = 0.5  # One unit of a slider, in spreads of the codes.
RANGE = 2.0


def explore_directions(generator: PlaneGenerator, ws_std: float) -> list[PlaneDirection]:
    """The strongest directions of the coarse layers, without names of their own.

    Args:
        generator: Its style layers tell.
        ws_std: Spread of the codes around the average one.
    """
    num_ws = generator.backbone.synthesis.num_ws
    rows = max(1, round(COARSE_SHARE * num_ws))
    with torch.no_grad():
        weights = torch.cat([layer.double().cpu() for layer in _style_weights(generator)[:rows]])
        strongest = torch.linalg.eigh(weights.T @ weights).eigenvectors.flip(1)[:, :COUNT].T.numpy()
    directions = []
    for number, vector in enumerate(strongest, start=1):
        # A vector's sign means nothing; its largest entry decides, so that it is the same on every machine.
        sign = np.sign(vector[np.abs(vector).argmax()])
        ws = np.zeros((num_ws, len(vector)), np.float32)
        ws[:rows] = STRENGTH * ws_std * sign * vector
        directions.append(PlaneDirection(Slider(f"Explore {number}", "Explore", -RANGE, RANGE), ws))
    return directions


def _style_weights(generator: PlaneGenerator) -> list[torch.Tensor]:
    """Of the convolutions' style layers, coarse to fine."""
    synthesis = generator.backbone.synthesis
    return [
        parameter
        for name, parameter in synthesis.named_parameters()
        if name.endswith("affine.weight") and ".conv" in f".{name}"
    ]
