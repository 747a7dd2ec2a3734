# SPDX-License-Identifier: Apache-2.0
"""3DPortraitGAN's guess of the neck's and head's pose from a photo; the trunk of its discriminator.

Source:
    Wu et al. 2023, 3DPortraitGAN, arXiv:2307.14770; the trunk is the residual one of Karras et al. 2020,
    arXiv:1912.04958, appendix B.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.generator.body_pose import PoseBranch, is_left, mirror_pose
from backend.generator.layers import Activation, bias_act, binomial_filter, upfirdn
from backend.generator.synthesis import channel_table

INPUT_CHANNELS = 7  # The picture, the same as the generator renders it, and the mask of the person.
LABEL_DIM = 25
# Parts of the discriminator's file that only its training needs.
_TRAINING_PARTS = ("mapping.", "b4.fc.", "b4.out.")


@dataclass(frozen=True)
class PosePredictorConfig:
    """Sizes of the predictor; the defaults are the published ones.

    Args:
        image_resolution: Side of the picture, a power of two, pixels.
        neural_resolution: Side of the generator's rendering, pixels; what the picture is blurred to.
        channel_base: Features at a side are `channel_base` / side ...
        channel_max: ... but at most this many.
        head_widths: Of the dense layers at the end.
        clamp: Largest magnitude of the features.
        group: Pictures whose spread is compared.
        blur_sigma: Of the blur that the small picture and the mask get, pixels of the photo.
    """

    image_resolution: int = 512
    neural_resolution: int = 128
    channel_base: int = 32768
    channel_max: int = 512
    head_widths: tuple[int, ...] = (2048, 512, 128, 32)
    clamp: float = 256.0
    group: int = 4
    blur_sigma: float = 0.0

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "PosePredictorConfig":
        """From what `dataclasses.asdict` gives, also after JSON has made lists of the tuples."""
        return PosePredictorConfig(**{**values, "head_widths": tuple(values["head_widths"])})


def is_used(name: str) -> bool:
    """Whether a tensor of the published discriminator is needed for the prediction."""
    return not name.startswith(_TRAINING_PARTS) and not name.endswith("resample_filter")


def expected_shapes(config: PosePredictorConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a predictor of this configuration loads; no memory is used for them."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in PosePredictor(config).state_dict().items()}


class FilteredConv(nn.Module):
    """Convolution, bias and activation, at half the size if wanted; stored weights have variance 1.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        size: Side of the kernel, 1 or 3.
        halve: Whether the output has half the side, filtered against aliasing.
        is_linear: Without bias and activation.
        gain: Factor on the output and on its clamp.
        clamp: Largest magnitude of the output.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        *,
        halve: bool = False,
        is_linear: bool = False,
        gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.halve = halve
        self.gain = gain
        self.clamp = None if clamp is None else clamp * gain
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, size, size))
        self.bias = None if is_linear else nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Float[Tensor, "b in_c h w"]) -> Float[Tensor, "b out_c oh ow"]:
        """Features of this layer."""
        weight = self.weight / math.sqrt(self.weight[0].numel())
        x = halving_conv(x, weight) if self.halve else functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
        activation: Activation = "linear" if self.bias is None else "lrelu"
        return bias_act(x, self.bias, activation=activation, gain=self.gain, clamp=self.clamp)


def halving_conv(
    x: Float[Tensor, "b in_c h w"], weight: Float[Tensor, "out_c in_c k k"]
) -> Float[Tensor, "b out_c oh ow"]:
    """Convolution with a kernel of side 1 or 3 to half the side, filtered against aliasing."""
    fir = binomial_filter().to(x)
    if weight.shape[-1] == 1:
        return functional.conv2d(upfirdn(x, fir, down=2, pad=(1, 1, 1, 1)), weight)
    return functional.conv2d(upfirdn(x, fir, pad=(2, 2, 2, 2)), weight, stride=2)


class ResidualBlock(nn.Module):
    """Two convolutions to half the side beside a linear shortcut.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
        picture_channels: Of the picture that a first block starts from; 0 for the others.
        clamp: Largest magnitude of the features.
    """

    def __init__(self, in_channels: int, out_channels: int, *, picture_channels: int = 0, clamp: float) -> None:
        super().__init__()
        if picture_channels:
            self.fromrgb = FilteredConv(picture_channels, in_channels, 1, clamp=clamp)
        half = math.sqrt(0.5)
        self.has_picture = bool(picture_channels)
        self.conv0 = FilteredConv(in_channels, in_channels, 3, clamp=clamp)
        self.conv1 = FilteredConv(in_channels, out_channels, 3, halve=True, gain=half, clamp=clamp)
        self.skip = FilteredConv(in_channels, out_channels, 1, halve=True, is_linear=True, gain=half)

    def forward(self, x: Float[Tensor, "b in_c h w"]) -> Float[Tensor, "b out_c oh ow"]:
        """Features at half the side."""
        x = self.fromrgb(x) if self.has_picture else x
        return self.skip(x) + self.conv1(self.conv0(x))


class PosePredictor(nn.Module):
    """From a picture of a head and its camera to the body pose that 3DPortraitGAN's generator takes.

    Args:
        config: Sizes.
    """

    def __init__(self, config: PosePredictorConfig) -> None:
        super().__init__()
        self.config = config
        channels = channel_table(config.image_resolution, base=config.channel_base, largest=config.channel_max)
        self.sides = [side for side in reversed(channels) if side > 4]
        for side in self.sides:
            is_first = side == config.image_resolution
            block = ResidualBlock(
                channels[side],
                channels[side // 2],
                picture_channels=INPUT_CHANNELS if is_first else 0,
                clamp=config.clamp,
            )
            self.add_module(f"b{side}", block)
        self.b4 = nn.Module()
        self.b4.conv = FilteredConv(channels[4] + 1, channels[4], 3, clamp=config.clamp)
        self.pose_branch = PoseBranch(channels[4] * 16 + LABEL_DIM, config.head_widths)

    def forward(
        self,
        image: Float[Tensor, "b 3 r r"],
        mask: Float[Tensor, "b 1 r r"],
        label: Float[Tensor, "b 25"],
    ) -> Float[Tensor, "b 6"]:
        """Body poses, radians.

        The spread within a batch is one of the features: pass one picture at a time.

        Args:
            image: In [-1, 1].
            mask: Share of the person, in [0, 1].
            label: Camera, as `eg3d_camera.label_of` writes it.
        """
        raw, small_mask = self.as_rendered(image), self.as_rendered(mask)
        left = is_left(label)
        pictures = [_mirrored(x, left) for x in (image, raw, small_mask)]
        features = torch.cat([self.features(*pictures), label], dim=1)
        pose = self.pose_branch(features)
        return torch.where(left[:, None], mirror_pose(pose), pose)

    def as_rendered(self, image: Float[Tensor, "b c r r"]) -> Float[Tensor, "b c s s"]:
        """A picture as sharp as the generator renders it before super-resolution."""
        return _scaled(_blurred(image, self.config.blur_sigma), self.config.neural_resolution)

    def features(
        self, image: Float[Tensor, "b 3 r r"], raw: Float[Tensor, "b 3 s s"], mask: Float[Tensor, "b 1 s s"]
    ) -> Float[Tensor, "b n"]:
        """What the trunk sees in pictures of heads that all look the same way."""
        size = image.shape[-1]
        x = torch.cat([image, _scaled(raw, size), 2 * _scaled(mask, size) - 1], dim=1)
        for side in self.sides:
            x = cast(ResidualBlock, self.get_submodule(f"b{side}"))(x)
        x = torch.cat([x, _spread(x, self.config.group)], dim=1)
        return cast(FilteredConv, self.b4.conv)(x).flatten(1)


def _mirrored(images: Float[Tensor, "b c h w"], which: Tensor) -> Float[Tensor, "b c h w"]:
    return torch.where(which[:, None, None, None], images.flip(3), images)


def _scaled(image: Float[Tensor, "b c h w"], size_px: int) -> Float[Tensor, "b c s s"]:
    return functional.interpolate(image, (size_px, size_px), mode="bilinear", align_corners=False, antialias=True)


def _blurred(image: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    reach = math.floor(3 * sigma)
    if reach == 0:
        return image
    taps = torch.exp2(-((torch.arange(-reach, reach + 1, device=image.device) / sigma) ** 2))
    taps = (taps / taps.sum()).to(image.dtype).expand(image.shape[1], 1, 1, -1)
    image = functional.conv2d(image, taps, padding=(0, reach), groups=image.shape[1])
    return functional.conv2d(image, taps.transpose(2, 3), padding=(reach, 0), groups=image.shape[1])


def _spread(x: Float[Tensor, "b c h w"], group: int) -> Float[Tensor, "b 1 h w"]:
    """Mean standard deviation of the features within groups of the batch, as one more channel.

    Source:
        Karras et al. 2018, Progressive Growing of GANs, arXiv:1710.10196, section 3.
    """
    group = min(group, len(x))
    members = x.unflatten(0, (group, -1))
    deviation = (members.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    return deviation.repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])
