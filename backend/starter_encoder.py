# SPDX-License-Identifier: Apache-2.0
"""The starter's encoder: a portrait and its landmarks become codes, camera and light in one pass, with their doubt.

Source:
    STARTER design, "Training" 5; Kendall and Gal 2017, arXiv:1703.04977 (predicted uncertainty).
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.alignment import Portrait
from backend.crop_camera import CAMERA_SIZE
from backend.errors import ModelError
from backend.models import read_weights, write_weights
from backend.output import output_errors
from backend.plane_lift import PlaneLift
from backend.skeleton import POSE_SIZE

CROP_SHARE = 0.72  # Of the aligned portrait's width, around its middle: two face heights.
LANDMARKS = 478
LIGHT_SIZE = 15
LEAST_LOG_DOUBT, MOST_LOG_DOUBT = -4.0, 1.5
GROUPS = 8  # Of channels, for normalisation.
LANDMARK_SCALE = 5.0  # Brings landmarks in picture widths to about unit spread.
POOLED, POOLED_CHANNELS, POINT_FEATURES, DOUBT_FEATURES = 4, 64, 192, 128

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder.

    Args:
        z_dim: Numbers of a description.
        shapes: Shape codes.
        expressions: Expressions.
        plane_channels: Of the generator, for the plane offset.
        offset_px: Side of the plane offset, a quarter of the planes'.
        size_px: Side of the picture that the encoder sees.
        channels: Features at a half, a quarter, ... of that side.
        blocks: Residual blocks at each of them.
        hidden: Width of the layer before the answers.
    """

    z_dim: int
    shapes: int
    expressions: int
    plane_channels: int
    offset_px: int
    size_px: int = 128
    channels: tuple[int, ...] = (32, 64, 128, 224)
    blocks: tuple[int, ...] = (0, 1, 2, 2)
    hidden: int = 448

    @property
    def sizes(self) -> dict[str, int]:
        """How many numbers each answer has."""
        return {
            "z": self.z_dim,
            "shape": self.shapes,
            "expression": self.expressions,
            "pose": POSE_SIZE,
            "camera": CAMERA_SIZE,
            "light": LIGHT_SIZE,
        }


@dataclass(frozen=True)
class Encoding:
    """What the encoder says of portraits.

    Args:
        means: ``z``, ``shape`` (standard deviations), ``expression`` (values), ``pose`` (radians), ``camera`` (of
            the encoder's crop, see ``crop_camera``), ``light`` (see ``training.light.Light.to_vector``).
        deviations: How far each number is expected to be off.
    """

    means: dict[str, Float[Tensor, "b _"]]
    deviations: dict[str, Float[Tensor, "b _"]]


class CodeEncoder(nn.Module):
    """A small residual network over the picture, a perceptron over the landmarks, and one answer for each code.

    Args:
        config: Sizes.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        before = 4
        for number, (channels, blocks) in enumerate(zip(config.channels, config.blocks, strict=True)):
            layers.append(_convolution(before, channels, kernel=5 if number == 0 else 3, stride=2))
            layers += [_Residual(channels) for _ in range(blocks)]
            before = channels
        self.picture = nn.Sequential(
            *layers, nn.Conv2d(before, POOLED_CHANNELS, 1), nn.AdaptiveAvgPool2d(POOLED), nn.Flatten()
        )
        self.points = nn.Sequential(nn.Linear(2 * LANDMARKS, 256), nn.SiLU(), nn.Linear(256, POINT_FEATURES), nn.SiLU())
        self.trunk = nn.Sequential(nn.Linear(POOLED_CHANNELS * POOLED**2 + POINT_FEATURES, config.hidden), nn.SiLU())
        total = sum(config.sizes.values())
        self.answer = nn.Linear(config.hidden, total)
        # Untrained, the answer is the average head.
        nn.init.normal_(self.answer.weight, std=1e-3)
        self.doubt = nn.Sequential(
            nn.Linear(config.hidden, DOUBT_FEATURES), nn.SiLU(), nn.Linear(DOUBT_FEATURES, total)
        )
        self.register_buffer("center", torch.zeros(total))
        self.register_buffer("spread", torch.ones(total))

    def forward(self, picture: Float[Tensor, "b 4 s s"], landmarks: Float[Tensor, "b 478 2"]) -> Encoding:
        """Codes, camera and light of portraits; see ``encoder_input``."""
        seen = self.picture(picture)
        # Half precision is good enough to look at pictures with, not to say what is in them.
        with torch.autocast(picture.device.type, enabled=False):
            known = self.points((landmarks - 0.5).flatten(1) * LANDMARK_SCALE)
            features = self.trunk(torch.cat([seen.float(), known], dim=1))
            means = self.center + self.spread * self.answer(features)
            # What is learnt about doubt does not change the answers.
            logs = self.doubt(features.detach()).clamp(LEAST_LOG_DOUBT, MOST_LOG_DOUBT)
        return Encoding(self.by_name(means), self.by_name(self.spread * logs.exp()))

    def by_name(self, numbers: Float[Tensor, "b n"]) -> dict[str, Tensor]:
        """Numbers of all answers, taken apart."""
        sizes = self.config.sizes
        return dict(zip(sizes, numbers.split(list(sizes.values()), dim=1), strict=True))

    @torch.no_grad()
    def standardise(self, center: dict[str, Tensor], spread: dict[str, Tensor]) -> None:
        """Set the average and the spread of every number, by name of the answer."""
        self.center.copy_(torch.cat([center[name] for name in self.config.sizes]))
        self.spread.copy_(torch.cat([spread[name] for name in self.config.sizes]))


class StarterEncoder(CodeEncoder):
    """The encoder with its second stage, the plane offset.

    Args:
        config: Sizes.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.lift = PlaneLift(channels=config.plane_channels, side_px=config.offset_px)


class _Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.second.weight)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        result: Tensor = features + self.second(self.first(features))
        return result


def _convolution(before: int, after: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.GroupNorm(GROUPS, after), nn.SiLU())


def encoder_input(
    portrait: Portrait, mask: Float[Tensor, "1 1 s s"], size_px: int
) -> tuple[Float[Tensor, "1 4 p p"], Float[Tensor, "1 478 2"]]:
    """What the encoder sees of an aligned portrait: its middle over grey, the mask, and landmarks.

    Args:
        portrait: From ``alignment.align_portrait``.
        mask: Share of the person.
        size_px: Side of the encoder's picture.

    Returns:
        Colours in [-1, 1] times the mask with the mask as fourth channel, and landmarks in widths of that picture.
    """
    known = mask * portrait.coverage
    whole = torch.cat([portrait.image * known, known], dim=1)
    edge = round(whole.shape[-1] * (1 - CROP_SHARE) / 2)
    middle = whole[..., edge : whole.shape[-1] - edge, edge : whole.shape[-1] - edge]
    share = middle.shape[-1] / whole.shape[-1]
    picture = functional.interpolate(middle, size=(size_px, size_px), mode="bilinear", antialias=True)
    places = torch.from_numpy(portrait.landmarks / portrait.size_px).float()
    return picture, (0.5 + (places - 0.5) / share)[None]


def save_encoder(path: Path, encoder: StarterEncoder, *, generator_id: str) -> None:
    """Write the encoder in half precision, together with the name of the generator that it was trained for.

    Raises:
        OutputError: The file cannot be written; one that was there before is unchanged.
    """
    write_encoder(path, encoder, encoder.config, {"generator": generator_id})


def load_encoder(path: Path) -> tuple[StarterEncoder, str]:
    """Read what ``save_encoder`` wrote, with the name of its generator.

    Raises:
        ModelError: The file is missing, damaged or no encoder of this version.
    """
    return read_encoder(path, "a starter encoder", lambda config, _: StarterEncoder(config))


def write_encoder(path: Path, encoder: nn.Module, config: EncoderConfig, notes: dict[str, str]) -> None:
    """Write any network around a ``CodeEncoder`` in half precision, the averages and spreads of its answers in full.

    Args:
        path: A ``.safetensors`` file.
        encoder: The network.
        config: Sizes of its ``CodeEncoder``.
        notes: What else its header tells; ``generator`` at least.

    Raises:
        OutputError: The file cannot be written; one that was there before is unchanged.
    """
    state = encoder.state_dict()
    tensors = {name: value if name.endswith(("center", "spread")) else value.half() for name, value in state.items()}
    with output_errors(path):
        write_weights(path, tensors, {"config": json.dumps(asdict(config)), **notes})


def read_encoder(
    path: Path, kind: str, build: Callable[[EncoderConfig, dict[str, str]], NetworkT]
) -> tuple[NetworkT, str]:
    """Read what ``write_encoder`` wrote: the network, in evaluation mode, and the name of its generator.

    Args:
        path: The file.
        kind: What it should be, for the error.
        build: Makes the untrained network of the file's sizes and notes.

    Raises:
        ModelError: The file is missing, damaged or not what it should be.
    """
    tensors, metadata = read_weights(path)
    try:
        config = json.loads(metadata["config"])
        lists = {name: tuple(config[name]) for name in ("channels", "blocks")}
        encoder = build(EncoderConfig(**{**config, **lists}), metadata)
        encoder.load_state_dict({name: value.float() for name, value in tensors.items()})
        return encoder.eval().requires_grad_(False), metadata["generator"]
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        message = f"{path} is not {kind} of this version. Install Protome again."
        raise ModelError(message, code="model_damaged") from error
