# SPDX-License-Identifier: Apache-2.0
"""A network that makes no heads is added, listed, verified and removed like a generator, but never offered as one."""

import pytest
import torch

from backend import catalogue
from backend.checkpoint.install import add_model
from backend.checkpoint.upkeep import verify_model
from backend.encoder.arcface import ArcFace, load_arcface
from backend.encoder.config import ArcFaceConfig, BodyConfig
from backend.errors import ModelError, SettingsError
from backend.models import read_weights

SMALL = ArcFaceConfig(BodyConfig(stem=16, widths=(16, 16, 16, 16)), features=8, side_px=32)


@pytest.fixture
def network(tmp_path, monkeypatch) -> ArcFace:
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)
    network = ArcFace(SMALL).eval().requires_grad_(False)
    torch.save(network.state_dict(), tmp_path / "faces.pth")
    return network


def test_added_weights_give_the_same_features(network, tmp_path):
    added = add_model(tmp_path / "faces.pth", accept=lambda _: True)
    assert (added.family, added.licence.commercial_use) == ("arcface", "unknown")
    found = catalogue.find_model("faces")
    assert verify_model(found) == len(network.state_dict())
    picture = torch.rand(1, 3, 256, 256)
    torch.testing.assert_close(load_arcface(read_weights(found.path)[0])(picture), network(picture))


def test_it_is_no_generator(network, tmp_path):
    before = catalogue.installed_models()
    add_model(tmp_path / "faces.pth", accept=lambda _: True)
    assert catalogue.installed_models() == before
    assert [one.name for one in catalogue.installed_helpers()] == ["faces"]
    with pytest.raises(SettingsError, match="no generator"):
        catalogue.find_generator("faces")


def test_the_command_knows_it(network, tmp_path, models):
    assert "helps to invert" in models("add", str(tmp_path / "faces.pth"), "--accept-licence")
    assert "faces  arcface  unknown" in " ".join(models("list").split("\n")[-2].split()).replace(" ", "  ")
    assert "family: arcface" in models("show", "faces")
    assert "whole and unchanged" in models("verify", "faces")
    assert "Removed" in models("remove", "faces", "--yes")
    assert catalogue.installed_helpers() == []


def test_a_file_without_a_layer_is_refused(network, tmp_path):
    weights = network.state_dict()
    del weights["body.7.res_layer.1.weight"]
    torch.save(weights, tmp_path / "faces.pth")
    with pytest.raises(ModelError, match=r"lacks body\.7\.res_layer\.1\.weight"):
        add_model(tmp_path / "faces.pth", accept=lambda _: True)
    weights["body.2.res_layer.3.weight"] = torch.zeros(0, 16, 3, 3)
    torch.save(weights, tmp_path / "faces.pth")
    with pytest.raises(ModelError, match="stages of"):
        add_model(tmp_path / "faces.pth", accept=lambda _: True)
