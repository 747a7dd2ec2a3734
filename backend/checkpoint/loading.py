# SPDX-License-Identifier: Apache-2.0
"""Installed weights as networks, ready to compute."""

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.catalogue import Installed
from backend.checkpoint.identify import DECODER, own_config
from backend.checkpoint.pose_prediction import PREFIX, predictor_config
from backend.encoder.triplanenet import TriPlaneNet, load_triplanenet, published_sampling
from backend.errors import ModelError
from backend.generator.config import GeneratorConfig
from backend.generator.plane_generator import PlaneGenerator
from backend.generator.pose_predictor import PosePredictor
from backend.models import read_weights


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator of the EG3D family.

    Args:
        generator: In evaluation mode, frozen, on the CPU.
        identity: ``id``, ``family``, ``licence`` and ``commercial_use``, for the record.
        encoder: TriPlaneNet around the same weights, where the file holds one.
        pose_predictor: From pictures to the body poses that the generator takes, where the file holds one.
    """

    generator: PlaneGenerator
    identity: dict[str, str]
    encoder: TriPlaneNet | None = None
    pose_predictor: PosePredictor | None = None


def load_generator(installed: Installed) -> LoadedGenerator:
    """The networks of an installed model.

    Raises:
        ModelError: The file is missing, damaged, or of another version of Protome.
    """
    tensors, metadata = read_weights(installed.path)
    try:
        config = own_config(metadata["config"])
        identity = {key: installed.metadata[key] for key in ("id", "family", "licence", "commercial_use")}
        if metadata["family"] == "triplanenet":
            # The encoder compares the photo with renderings as fine as the published script's.
            encoder = load_triplanenet(tensors, published_sampling(config))
            own = {name.removeprefix(DECODER): one for name, one in tensors.items() if name.startswith(DECODER)}
            return LoadedGenerator(_generator(config, own), identity, encoder)
        return LoadedGenerator(_generator(config, tensors), identity, pose_predictor=_pose_predictor(config, tensors))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"The model “{installed.name}” does not fit this version of Protome. Add it again from its own file.",
            code="model_damaged",
        ) from error


def _generator(config: GeneratorConfig, tensors: dict[str, Tensor]) -> PlaneGenerator:
    """Made without memory of its own; the tensors as read become its weights."""
    with torch.device("meta"):
        generator = PlaneGenerator(config)
    generator.load_state_dict(
        {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}, assign=True
    )
    return generator.eval().requires_grad_(False)


def _pose_predictor(config: GeneratorConfig, tensors: dict[str, Tensor]) -> PosePredictor | None:
    sizes = predictor_config({name: tuple(tensor.shape) for name, tensor in tensors.items()}, config)
    if sizes is None:
        return None
    with torch.device("meta"):
        predictor = PosePredictor(sizes)
    own = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    predictor.load_state_dict(own, assign=True)
    return predictor.eval().requires_grad_(False)
