# SPDX-License-Identifier: Apache-2.0
import pytest

from backend import catalogue
from backend.config import Settings
from backend.errors import ModelError
from backend.portrait_model import opening
from backend.portrait_model.contract import Fit
from backend.starter import save_starter
from tests.small_starter import small_starter


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A starter beside a damaged geometry-aware encoder."""
    save_starter(tmp_path / "small.safetensors", small_starter())
    (tmp_path / "e3dge.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr(catalogue, "starter_path", lambda: tmp_path / "small.safetensors")
    monkeypatch.setattr(opening, "starter_e3dge_path", lambda: tmp_path / "e3dge.safetensors")


def test_a_damaged_encoder_stops_only_the_method_that_asks_it(installed):
    model = opening.open_model(Settings(device="cpu"))
    fit, nobody = Fit([], [], {}), []
    with pytest.raises(ModelError, match="e3dge"):
        model.invert(fit, nobody, settings=Settings(method="e3dge"), step=lambda _: None)
    with pytest.raises(IndexError):  # It gets as far as looking at the photos.
        model.invert(fit, nobody, settings=Settings(method="mean"), step=lambda _: None)
