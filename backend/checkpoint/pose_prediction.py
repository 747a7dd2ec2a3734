# SPDX-License-Identifier: Apache-2.0
"""The part of 3DPortraitGAN's averaged discriminator that predicts a body's pose: its tensors, and its sizes from them.

Source:
    EG3D.md section 4.4.
"""

from collections.abc import Mapping

import torch

from backend.checkpoint.plain import LazyTensor
from backend.errors import ModelError
from backend.generator.config import GeneratorConfig
from backend.generator.pose_predictor import PosePredictor, PosePredictorConfig, is_used

Shapes = Mapping[str, tuple[int, ...]]

PREFIX = "pose_predictor."  # Where a model's file keeps it, beside its generator.


def predictor_tensors(discriminator: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Those of a discriminator's tensors that the prediction needs, as a model's file names them."""
    return {f"{PREFIX}{name}": tensor for name, tensor in discriminator.items() if is_used(name)}


def predictor_config(found: Shapes, generator: GeneratorConfig) -> PosePredictorConfig | None:
    """Sizes of the predictor in a model's file; None where there is none.

    Args:
        found: All tensors of the file.
        generator: Of the same file; pictures are blurred to what it renders.

    Raises:
        ModelError: A tensor that tells a size is missing.
    """
    shapes = {name.removeprefix(PREFIX): shape for name, shape in found.items() if name.startswith(PREFIX)}
    if not shapes:
        return None
    try:
        largest = shapes["b4.conv.weight"][0]
        side = 8
        while f"b{side}.fromrgb.weight" not in shapes:
            side = _next_side(shapes, side)
        layers = sum(name.startswith("pose_branch.net.") and name.endswith(".weight") for name in shapes)
        widths = tuple(shapes[f"pose_branch.net.{layer}.weight"][0] for layer in range(layers - 1))
        return PosePredictorConfig(
            image_resolution=side,
            neural_resolution=generator.neural_resolution,
            channel_base=_channel_base(shapes, side, largest),
            channel_max=largest,
            head_widths=widths,
        )
    except (KeyError, IndexError) as error:
        raise ModelError(
            f"The pose predictor lacks its tensor {error} or has it in another shape. Choose another file.",
            code="checkpoint_keys",
        ) from error


def predictor_shapes(config: PosePredictorConfig) -> dict[str, tuple[int, ...]]:
    """Names, as in a model's file, and shapes of all its tensors."""
    with torch.device("meta"):
        state = PosePredictor(config).state_dict()
    return {f"{PREFIX}{name}": tuple(value.shape) for name, value in state.items()}


def _next_side(shapes: Shapes, side: int) -> int:
    if f"b{side}.conv0.weight" not in shapes:
        raise KeyError(f"b{side}.conv0.weight")
    return 2 * side


def _channel_base(shapes: Shapes, side: int, largest: int) -> int:
    """Features at the first side below the limit times that side; at the picture's side if the limit holds for all."""
    features = {8: largest}
    for inner in range(3, side.bit_length() - 1):
        features[2**inner] = shapes[f"b{2**inner}.conv0.weight"][0]
    features[side] = shapes[f"b{side}.fromrgb.weight"][0]
    below = [at for at in sorted(features) if features[at] < largest]
    return features[below[0]] * below[0] if below else largest * side
