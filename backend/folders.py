# SPDX-License-Identifier: Apache-2.0
"""Protome's own places on this computer; standard library only."""

import os
import sys
from pathlib import Path

PHOTO_MODELS = ("face_detector", "face_mesh", "person_mask", "face_identity")


def home_folder() -> Path:
    """Protome's own folder: ``$PROTOME_HOME``, else the user's data folder of this platform."""
    chosen = os.environ.get("PROTOME_HOME")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Protome"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "Protome"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "protome"


def models_folder() -> Path:
    """Folder of the downloaded and converted weight files."""
    return home_folder() / "models"


def model_path(name: str) -> Path:
    """Where a downloaded model lies, whether it exists or not."""
    return models_folder() / f"{name}.safetensors"


def starter_path() -> Path:
    """The starter generator's weights, which come with the program."""
    return Path(__file__).parent / "weights" / "starter.safetensors"


def starter_encoder_path() -> Path:
    """The starter's encoder, which comes with the program once it has been trained."""
    return Path(__file__).parent / "weights" / "starter_encoder.safetensors"


def starter_e3dge_path() -> Path:
    """The starter's geometry-aware encoder, likewise."""
    return Path(__file__).parent / "weights" / "starter_e3dge.safetensors"
