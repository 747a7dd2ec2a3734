# SPDX-License-Identifier: Apache-2.0
"""A face recognition network's opinion as part of how pictures are compared, for users who own its weights.

What is a loss here is never a score: `backend/likeness.py` judges heads by another network.

Source:
    Bhattarai et al. 2024, TriPlaneNet, arXiv:2303.13497, section 3.4, after Richardson et al. 2021, arXiv:2008.00951.
"""

import torch
from torch import Tensor

from backend.encoder.arcface import ArcFace, identity_loss
from backend.inversion.perception import Distance

IDENTITY_WEIGHT = 0.1  # TriPlaneNet's, beside perceptual distance at 0.8 and pixels at 1.


def with_identity(distance: Distance, network: ArcFace) -> Distance:
    """A distance that also asks whether both pictures show the same person.

    Args:
        distance: Taken as it is.
        network: Frozen; sees the pictures in the crop of FFHQ-type generators.
    """

    def total(image: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            person = network(target)
        return distance(image, target) + IDENTITY_WEIGHT * identity_loss(network(image), person)

    return total
