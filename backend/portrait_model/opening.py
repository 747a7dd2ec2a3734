# SPDX-License-Identifier: Apache-2.0
"""From an installed weight file to a model that the main path can use."""

from typing import Any

import torch

from backend.catalogue import STARTER, SUBJECTS, Installed, find_generator, installed_generators, installed_helpers
from backend.checkpoint.loading import LoadedGenerator, load_generator
from backend.config import Settings
from backend.device import choose_device
from backend.e3dge import GeometryEncoder, load_e3dge
from backend.encoder.arcface import load_arcface
from backend.errors import RecordError, SettingsError
from backend.folders import starter_e3dge_path, starter_encoder_path, starter_path
from backend.generator.body_model import BodyModel
from backend.generator.config import Family
from backend.head import HeadRecord
from backend.inversion.encoding import triplanenet_encoder
from backend.inversion.identity_term import with_identity
from backend.inversion.method import Perception
from backend.inversion.perception import picture_distance
from backend.models import read_weights
from backend.portrait_model.bodies import Bodies
from backend.portrait_model.contract import PortraitModel
from backend.portrait_model.cropped import CroppedModel
from backend.portrait_model.published import PublishedModel
from backend.portrait_model.slider_file import read_sliders, sliders_path
from backend.portrait_model.starter import StarterModel
from backend.starter import Starter, load_starter
from backend.starter_encoder import StarterEncoder, load_encoder


def open_model(settings: Settings) -> PortraitModel[Any]:
    """The chosen model on the chosen device.

    Raises:
        SettingsError: No such model is installed, it makes no heads or does not know the method, or there is no such
            device.
        ModelError: Its weights are missing or damaged.
    """
    model = _open(find_generator(settings.model), settings)
    if settings.method not in model.methods:
        known = ", ".join(model.methods)
        raise SettingsError(
            f"The model “{settings.model}” does not know the method {settings.method}; it knows {known}.",
            code="unknown_method",
        )
    return model


def open_model_of(record: HeadRecord, settings: Settings) -> PortraitModel[Any]:
    """The model that a head was made with, under whatever name it is installed now, on the chosen device.

    Raises:
        RecordError: It is not installed.
        ModelError: Its weights are damaged.
    """
    wanted = record.generator.get("id")
    for installed in installed_generators():
        if installed.metadata.get("id") == wanted:
            return _open(installed, settings)
    remedy = "Create the head again from its photo."
    if record.generator.get("family") != STARTER:
        remedy = "Add it with `protome models add`, or create the head again from its photo."
    raise RecordError(
        f"This head was made with the model “{wanted}”, which is not installed. {remedy}", code="other_model"
    )


def _open(installed: Installed, settings: Settings) -> PortraitModel[Any]:
    device = choose_device(settings.device)
    if installed.family == STARTER:
        starter = load_starter(installed.path)
        starter.generator.to(device)
        return StarterModel(starter, _encoder_of(starter, device), lambda: _geometry_encoder_of(starter, device))
    loaded = load_generator(installed)
    # The mean face comes with Protome, whichever generator makes the heads.
    template = load_starter(starter_path()).template
    if installed.subject != SUBJECTS[0]:
        return CroppedModel(loaded.generator.to(device), loaded.identity, template, subject=installed.subject)
    encoder = None if loaded.encoder is None else triplanenet_encoder(loaded.encoder.to(device))
    perception = _perception(loaded.generator.config.family, device)
    bodies = _bodies(loaded, device) if loaded.generator.config.family == "portrait3d" else None
    sliders = sliders_path(installed.name)
    directions = read_sliders(sliders, generator_id=loaded.identity["id"]) if sliders.is_file() else None
    return PublishedModel(
        loaded.generator.to(device),
        loaded.identity,
        template,
        directions=directions,
        encoder=encoder,
        perception=perception,
        bodies=bodies,
    )


def _encoder_of(starter: Starter, device: torch.device) -> StarterEncoder | None:
    """The encoder that came with the program; None if it did not come, or was trained for another starter."""
    path = starter_encoder_path()
    if not path.is_file():
        return None
    encoder, generator_id = load_encoder(path)
    return encoder.to(device) if generator_id == starter.identity["id"] else None


def _geometry_encoder_of(starter: Starter, device: torch.device) -> GeometryEncoder | None:
    """The geometry-aware encoder that came with the program, likewise."""
    path = starter_e3dge_path()
    if not path.is_file():
        return None
    encoder, generator_id = load_e3dge(path)
    return encoder.to(device) if generator_id == starter.identity["id"] else None


def _bodies(loaded: LoadedGenerator, device: torch.device) -> Bodies:
    """The pose predictor that came with the generator, and the user's body model: a neutral one if there is one."""
    predictor = None if loaded.pose_predictor is None else loaded.pose_predictor.to(device)
    helpers = sorted(installed_helpers("smpl-body"), key=lambda one: "neutral" not in one.name.casefold())
    body = BodyModel.from_tensors(read_weights(helpers[0].path)[0]) if helpers else None
    return Bodies(loaded.generator.config, predictor, body)


def _perception(family: Family, device: torch.device) -> Perception | None:
    """With the face recognition network that the user has added; it knows the crop of EG3D's portraits only."""
    helpers = installed_helpers("arcface")
    if not helpers or family != "eg3d":
        return None
    network = load_arcface(read_weights(helpers[0].path)[0]).to(device)
    return Perception(with_identity(picture_distance, network))
