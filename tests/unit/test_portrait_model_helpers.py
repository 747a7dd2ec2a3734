# SPDX-License-Identifier: Apache-2.0
"""Networks that users bring along reach the inversion: TriPlaneNet as the start, ArcFace as a term."""

import json

import pytest
import torch

from backend.checkpoint.install import add_model
from backend.config import Settings
from backend.encoder.arcface import ArcFace
from backend.encoder.config import ArcFaceConfig, BodyConfig
from backend.inversion.perception import picture_distance
from backend.models import write_weights
from backend.portrait_model import opening
from tests.small_triplanenet import GENERATOR, small_triplanenet

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "home"))
    return tmp_path


def _add_faces(folder) -> None:
    torch.manual_seed(0)
    network = ArcFace(ArcFaceConfig(BodyConfig(stem=16, widths=(16, 16, 16, 16)), features=8, side_px=32))
    torch.save(network.state_dict(), folder / "faces.pth")
    add_model(folder / "faces.pth", accept=lambda _: True)


def test_without_a_recognition_network_pictures_are_compared_as_ever():
    assert opening._perception("eg3d", CPU) is None


def test_an_added_recognition_network_is_asked_where_it_knows_the_crop(folder):
    _add_faces(folder)
    assert opening._perception("panohead", CPU) is None
    first, second = torch.rand(2, 1, 3, 64, 64)
    distance = opening._perception("eg3d", CPU).distance
    assert distance(first, second) > picture_distance(first, second) + 1e-4


def test_an_added_triplanenet_encodes(folder):
    notes = {"config": json.dumps(GENERATOR.to_dict()), "licence": "none"}
    write_weights(folder / "net.safetensors", small_triplanenet(2).state_dict(), notes)
    added = add_model(folder / "net.safetensors", accept=lambda _: True)
    assert added.family == "triplanenet"
    model = opening.open_model(Settings(model="net", method="triplanenet", device="cpu"))
    assert model._encoder is not None
    torch.testing.assert_close(
        model.generator.state_dict()["decoder.net.0.weight"], small_triplanenet(2).decoder.decoder.net[0].weight
    )
