# SPDX-License-Identifier: Apache-2.0
"""How far two pictures are apart for the eye, without any downloaded network; and doors for those who have one.

Source:
    Wang et al. 2004, Image quality assessment: from error visibility to structural similarity (SSIM);
    Mechrez et al. 2018, The contextual loss, arXiv:1803.02077.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

# Pictures (b, 3, s, s) in [-1, 1], both masked alike, to one number.
Distance = Callable[[Tensor, Tensor], Tensor]
# A picture (b, 3, s, s) in [-1, 1] to a map of features (b, c, h, w).
FeatureMap = Callable[[Tensor], Tensor]

SCALES = 4
SMALLEST_PX = 8
GRADIENT_WEIGHT, STRUCTURE_WEIGHT = 1.0, 0.5
SSIM_WINDOW = 7
# Wang et al.'s constants for pictures that span 2.
SSIM_LUMINANCE, SSIM_CONTRAST = (0.01 * 2) ** 2, (0.03 * 2) ** 2
CONTEXT_BANDWIDTH, CONTEXT_LIMIT = 0.5, 10.0


def picture_distance(image: Float[Tensor, "b 3 s s"], target: Float[Tensor, "b 3 s s"]) -> Float[Tensor, ""]:
    """Mean over scales of colour, gradient and structure differences.

    Colour tells how bright, gradients where edges are, structure whether local patterns agree whatever their
    contrast. Coarse scales pull parts into place, fine ones sharpen them.
    """
    total = image.new_zeros(())
    count = 0
    for _ in range(SCALES):
        total = total + (image - target).abs().mean() + GRADIENT_WEIGHT * _gradient_difference(image, target)
        total = total + STRUCTURE_WEIGHT * (1 - structural_similarity(image + 1, target + 1).mean())
        count += 1
        if image.shape[-1] < 2 * SMALLEST_PX:
            break
        image, target = functional.avg_pool2d(image, 2), functional.avg_pool2d(target, 2)
    return total / count


def _gradient_difference(image: Tensor, target: Tensor) -> Tensor:
    difference = image - target
    return (difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()) / 2


def structural_similarity(
    image: Float[Tensor, "b c s s"], target: Float[Tensor, "b c s s"]
) -> Float[Tensor, "b c h w"]:
    """SSIM of each whole window, 1 where both are alike.

    Args:
        image: In [0, 2].
        target: In [0, 2].
    """
    window = min(SSIM_WINDOW, image.shape[-1])

    def mean(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, window, stride=1)

    a, b = mean(image), mean(target)
    variance = mean(image.square()) - a.square() + mean(target.square()) - b.square()
    covariance = mean(image * target) - a * b
    luminance = (2 * a * b + SSIM_LUMINANCE) / (a.square() + b.square() + SSIM_LUMINANCE)
    return luminance * (2 * covariance + SSIM_CONTRAST) / (variance + SSIM_CONTRAST)


def feature_distance(features: Callable[[Tensor], Tensor], *, size_px: int = 256) -> Distance:
    """The squared distance in a network's features, such as those of an LPIPS network.

    Args:
        features: Takes pictures (b, 3, s, s) in [0, 255] and gives (b, n), weighted as the distance needs.
        size_px: Larger pictures are shrunk to this side first.
    """

    def prepared(image: Tensor) -> Tensor:
        image = (image + 1) * (255 / 2)
        return functional.interpolate(image, (size_px, size_px), mode="area") if image.shape[-1] > size_px else image

    def distance(image: Tensor, target: Tensor) -> Tensor:
        difference = features(prepared(image)) - features(prepared(target))
        return difference.square().sum() / len(image)

    return distance


def patch_features(image: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
    """Every pixel's neighbourhood of 3 x 3 at half the resolution, as the contextual loss compares them."""
    small = functional.avg_pool2d(image, 2)
    return functional.unfold(small, 3).unflatten(2, (small.shape[-2] - 2, small.shape[-1] - 2))


def contextual_loss(features: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """How much of the target's features is found anywhere among the features; blind to where.

    Source:
        Mechrez et al. 2018, equations 1 to 5.
    """
    centre = target.mean((0, 2, 3), keepdim=True)
    a, b = (functional.normalize((x - centre).flatten(2), dim=1, eps=1e-6) for x in (features, target))
    distance = (1 - a.transpose(1, 2) @ b).clamp(min=0)
    relative = (distance / (distance.amin(2, keepdim=True) + 1e-5)).clamp(max=CONTEXT_LIMIT)
    similarity = torch.softmax((1 - relative) / CONTEXT_BANDWIDTH, dim=2)
    return -similarity.amax(1).mean(1).clamp(min=1e-8).log().mean()
