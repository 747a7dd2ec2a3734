# SPDX-License-Identifier: Apache-2.0
"""dlib's face recognition network in torch, and the reader of its weight file.

Source:
    dlib 19, examples/dnn_face_recognition_ex.cpp: the network's definition; dlib/serialize.h: the number format.
    Weights: dlib_face_recognition_resnet_model_v1.dat by Davis King, public domain.
"""

import math
import re

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.errors import ModelError

CHIP_PX = 150
BLOCKS = [(32, 1)] * 3 + [(64, 2)] + [(64, 1)] * 3 + [(128, 2)] + [(128, 1)] * 2 + [(256, 2)] + [(256, 1)] * 2
BLOCKS += [(256, 2)]  # Channels and stride, from the image on.
MEAN_RGB = (122.782, 117.001, 104.298)  # dlib's input_rgb_image_sized<150>.
FINAL_LAYER = b"fc_2"


class AffineConvolution(nn.Module):
    """Convolution followed by a fixed scale and shift per channel."""

    def __init__(self, channels_in: int, channels_out: int, *, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, size, stride, padding)
        self.scale = nn.Parameter(torch.ones(channels_out, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels_out, 1, 1))

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Features after scale and shift."""
        return self.convolution(image) * self.scale + self.shift


class ResidualBlock(nn.Module):
    """Two convolutions and a skip; whatever is smaller is filled up with zeros, as dlib does."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        padding = 1 if stride == 1 else 0
        self.first = AffineConvolution(channels_in, channels_out, size=3, stride=stride, padding=padding)
        self.second = AffineConvolution(channels_out, channels_out, size=3, stride=1, padding=1)
        self.stride = stride

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Features of the larger of both paths' sizes."""
        changed = self.second(functional.relu(self.first(image)))
        kept = functional.avg_pool2d(image, 2, 2) if self.stride == 2 else image
        shape = [max(pair) for pair in zip(changed.shape[1:], kept.shape[1:], strict=True)]
        return functional.relu(_fill_up(changed, shape) + _fill_up(kept, shape))


class IdentityNetwork(nn.Module):
    """Face chip to a descriptor of 128 numbers; two photos of one person lie closer than about 0.6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = AffineConvolution(3, 32, size=7, stride=2, padding=0)
        channels = [32] + [channels for channels, _ in BLOCKS]
        self.blocks = nn.ModuleList(
            ResidualBlock(channels[index], channels_out, stride) for index, (channels_out, stride) in enumerate(BLOCKS)
        )
        self.final = nn.Linear(256, 128, bias=False)

    def forward(self, chip: Float[Tensor, "b 3 150 150"]) -> Float[Tensor, "b 128"]:
        """Descriptors of sRGB chips in 0 to 255."""
        mean = torch.tensor(MEAN_RGB).reshape(1, 3, 1, 1).to(chip)
        features = functional.relu(self.stem((chip - mean) / 256))
        features = functional.max_pool2d(features, 3, 2)
        for block in self.blocks:
            features = block(features)
        return self.final(features.mean((2, 3)))


def _fill_up(image: Tensor, shape: list[int]) -> Tensor:
    channels, rows, columns = (wanted - has for wanted, has in zip(shape, image.shape[1:], strict=True))
    return functional.pad(image, (0, columns, 0, rows, 0, channels))


def read_dlib_weights(data: bytes) -> dict[str, Tensor]:
    """State of an ``IdentityNetwork`` from dlib's weight file.

    Raises:
        ModelError: The file holds other layers.
    """
    layers: dict[bytes, list[np.ndarray]] = {b"con_4": [], b"affine_": [], FINAL_LAYER: []}
    for match in re.finditer(rb"con_4|affine_|fc_2", data):
        position = match.end()
        if match[0] == FINAL_LAYER:  # The counts of outputs and inputs come before the numbers.
            for _ in range(2):
                _, position = _read_integer(data, position)
        layers[match[0]].append(_read_numbers(data, position))
    network = IdentityNetwork()
    stages = [module for module in network.modules() if isinstance(module, AffineConvolution)]
    counts = [len(values) for values in layers.values()]
    if counts != [len(stages), len(stages), 1]:
        raise ModelError("The face recognition file holds other layers. Run scripts/fetch_photo_models.py again.")
    with torch.no_grad():
        for stage, filters, affine in zip(stages, layers[b"con_4"], layers[b"affine_"], strict=True):
            _assign([stage.convolution.weight, stage.convolution.bias], filters)
            _assign([stage.scale, stage.shift], affine)
        network.final.weight.copy_(torch.from_numpy(layers[FINAL_LAYER][0]).reshape(256, 128).T)
    return network.state_dict()


def _assign(parameters: list[Tensor | None], numbers: np.ndarray) -> None:
    """Fills parameters one after the other."""
    start = 0
    for parameter in parameters:
        if parameter is not None:
            parameter.copy_(torch.from_numpy(numbers[start : start + parameter.numel()]).reshape(parameter.shape))
            start += parameter.numel()
    if start != len(numbers):
        raise ModelError("The face recognition file holds other sizes. Run scripts/fetch_photo_models.py again.")


def _read_integer(data: bytes, position: int) -> tuple[int, int]:
    """dlib's integer: a byte with the sign (0x80) and the count of little-endian bytes that follow."""
    count = data[position] & 0x0F
    value = int.from_bytes(data[position + 1 : position + 1 + count], "little")
    return (-value if data[position] & 0x80 else value), position + 1 + count


def _read_numbers(data: bytes, position: int) -> np.ndarray:
    """dlib's tensor: a version, four sizes, then single-precision numbers."""
    version, position = _read_integer(data, position)
    if version != 2:
        raise ModelError("The face recognition file has another format. Run scripts/fetch_photo_models.py again.")
    sizes = []
    for _ in range(4):
        size, position = _read_integer(data, position)
        sizes.append(size)
    return np.frombuffer(data, "<f4", math.prod(sizes), position).copy()
