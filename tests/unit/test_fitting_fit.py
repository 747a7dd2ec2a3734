# SPDX-License-Identifier: Apache-2.0
"""Sliders of a tiny generator of random weights, with measures of which the answer is known."""

import csv

import numpy as np
import pytest
import torch

from backend.catalogue import Installed
from backend.errors import ModelError, OutputError, SettingsError
from backend.fitting.attributes import ATTRIBUTES, FIRST_HEADS, Attribute, HeadMeter
from backend.fitting.fit import FitConfig, Fitted, fit_directions, random_codes
from backend.fitting.report import keep_sliders, write_table
from backend.inversion.plane_model import PlaneModel
from backend.portrait_model.slider_file import read_sliders, sliders_path
from tests.unit.test_portrait_model_published import SMALL, small_generator

PLANTED = (
    Attribute("Nose length", "geometry"),
    Attribute("Brightness", "colour", needs_face=False),
    Attribute("Head turn", "nuisance", needs_face=False),
    Attribute("Dice", "geometry", needs_face=False),
)
CONFIG = FitConfig(samples=80, heads=2, explored=2)


@pytest.fixture(scope="module")
def model():
    return PlaneModel(small_generator(), average_samples=50)


@pytest.fixture(scope="module")
def of_noise(model):
    """Sliders of the network's noise pictures, and how often a face was looked for in them."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        # The detector's answer to noise, which takes it seconds.
        patch.setattr("backend.fitting.attributes.detect_faces", lambda pixels: asked.append(pixels) or [])
        fitted = fit_directions(model, HeadMeter(model), FitConfig(samples=16, heads=1, explored=1))
    return fitted, len(asked)


class PlantedMeasure:
    """Linear in the codes: length in the early rows, brightness in the late ones, the turn in all; and a die.

    Args:
        model: Its codes' spread sets the scale.
        faces: Share of heads that show a face.
    """

    def __init__(self, model, faces=1.0):
        random = np.random.default_rng(4)
        self.rows = model.network.backbone.synthesis.num_ws
        self.coefficients = random.normal(size=(SMALL.w_dim, 3))
        # Raw measures overlap, so that each one's own slope moves the others.
        self.coefficients[:, 1:] += 0.6 * self.coefficients[:, :1]
        self.faces, self.random = faces, np.random.default_rng(5)

    def __call__(self, ws):
        rows = ws[0].double().numpy()
        early, late = rows[: self.rows // 2].mean(0), rows[self.rows // 2 :].mean(0)
        length, light, turn = (
            place @ column for place, column in zip((early, late, rows.mean(0)), self.coefficients.T, strict=True)
        )
        has_face = self.random.random() < self.faces
        return np.array([length if has_face else np.nan, light, turn, self.random.normal()])


@pytest.fixture(scope="module")
def fitted(model):
    return fit_directions(model, PlantedMeasure(model), CONFIG, attributes=PLANTED)


def by_name(fitted):
    return {
        direction.slider.name: (direction, score)
        for direction, score in zip(fitted.directions, fitted.scores, strict=True)
    }


def test_each_measure_that_codes_predict_gets_a_slider_and_no_other(fitted):
    names = [one.slider.name for one in fitted.directions]
    assert names[:2] == ["Nose length", "Brightness"]
    assert not any(name in ("Head turn", "Dice") for name in names)
    assert [one.slider.group for one in fitted.directions[:2]] == ["Shape", "Colour"]


def test_a_unit_of_a_slider_is_a_standard_deviation_of_its_measure(model, fitted):
    measure, rows = PlantedMeasure(model), model.network.backbone.synthesis.num_ws
    w = random_codes(model, CONFIG)
    table = np.stack([measure(torch.from_numpy(np.tile(one, (rows, 1)))[None]) for one in w])
    spread = table.std(0)
    at_rest = measure(torch.zeros(1, rows, SMALL.w_dim))
    for own, name in enumerate(("Nose length", "Brightness")):
        direction, score = by_name(fitted)[name]
        change = (measure(torch.from_numpy(direction.ws)[None]) - at_rest) / spread
        assert change[own] == pytest.approx(1, abs=0.02)
        assert score.changes[own] == pytest.approx(1, abs=0.02)
        others = [number for number in range(3) if number != own]
        # The closed form holds the others in first order with all rows; its own rows alone may leave the turn a rest.
        assert np.abs(change[others]).max() < 0.35
        assert score.spearman == pytest.approx(1)
        assert score.explained > 0.95


def test_geometry_moves_early_rows_and_colour_late_ones(model, fitted):
    rows = model.network.backbone.synthesis.num_ws
    assert by_name(fitted)["Nose length"][1].rows == (0, rows // 2 - 1)
    assert by_name(fitted)["Brightness"][1].rows == (rows // 2, rows - 1)


def test_a_slider_that_does_the_opposite_of_its_name_is_left_out(model):
    class Fickle(PlantedMeasure):
        """On heads that are not the random ones of the fit, length goes the other way."""

        calls = 0

        def __call__(self, ws):
            self.calls += 1
            length, *others = super().__call__(ws)
            return np.array([-length if self.calls > CONFIG.samples else length, *others])

    heard = []
    fitted = fit_directions(model, Fickle(model), CONFIG, attributes=PLANTED, log=heard.append)
    assert "Nose length" not in by_name(fitted) and "Brightness" in by_name(fitted)
    assert any(line.startswith("Nose length: Spearman -1.00") and line.endswith("left out") for line in heard)


def test_explored_directions_are_named_after_what_they_change_most(model, fitted):
    explored = [score for score in fitted.scores if score.origin != "measured"]
    assert [score.origin for score in explored] == ["SeFa", "SeFa", "PCA", "PCA"]
    for score in explored:
        assert score.slider.group == "Explore"
        own = next((number for number, one in enumerate(PLANTED) if one.name == score.attribute), None)
        if own is None:
            assert score.slider.name in ("SeFa 1", "SeFa 2", "PCA 1", "PCA 2")
        else:
            assert score.slider.name.endswith(f": {score.attribute.lower()}")
            assert score.changes[own] > 0 or score.attribute == "Dice"


def test_the_same_seed_gives_the_same_sliders(model, fitted):
    again = fit_directions(model, PlantedMeasure(model), CONFIG, attributes=PLANTED)
    assert [one.slider for one in again.directions] == [one.slider for one in fitted.directions]
    for one, other in zip(again.directions, fitted.directions, strict=True):
        np.testing.assert_array_equal(one.ws, other.ws)


def test_without_faces_the_rest_is_measured_and_said(model):
    said = []
    config = FitConfig(samples=40, heads=2, explored=1)
    fitted = fit_directions(model, PlantedMeasure(model, faces=0.1), config, attributes=PLANTED, log=said.append)
    assert "Brightness" in by_name(fitted) and "Nose length" not in by_name(fitted)
    assert any("only" in line and "of 40 heads" in line for line in said)
    assert fitted.faces < 12


def test_heads_without_a_face_do_not_count_where_others_have_one(model):
    config = FitConfig(samples=80, heads=2, explored=0)
    fitted = fit_directions(model, PlantedMeasure(model, faces=0.6), config, attributes=PLANTED)
    assert by_name(fitted)["Nose length"][1].explained > 0.9


def test_random_weights_make_sliders_with_neutral_names_or_measured_ones(of_noise):
    fitted, asked = of_noise
    assert fitted.faces == 0 and asked == FIRST_HEADS
    known = {one.name for one in ATTRIBUTES if not one.needs_face}
    for score in fitted.scores:
        assert score.attribute in known | {""}
    assert {"SeFa 1", "PCA 1"} <= {score.slider.name.split(":")[0] for score in fitted.scores}
    for direction in fitted.directions:
        assert np.isfinite(direction.ws).all() and direction.ws.shape == (6, SMALL.w_dim)
        assert direction.slider.minimum < 0 < direction.slider.maximum


def test_a_generator_of_one_head_is_refused():
    generator = small_generator()
    with torch.no_grad():
        generator.backbone.mapping.fc1.weight.zero_()
    model = PlaneModel(generator, average_samples=10)
    with pytest.raises(ModelError, match="same head") as caught:
        fit_directions(model, PlantedMeasure(model), CONFIG, attributes=PLANTED)
    assert caught.value.code == "no_directions"


@pytest.fixture
def installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    return Installed("tiny", tmp_path / "models" / "tiny.safetensors", {"id": "eg3d-1"})


def test_sliders_are_kept_beside_the_model_and_twice_the_same(fitted, installed):
    path = keep_sliders(fitted, installed)
    assert path == sliders_path("tiny")
    once = path.read_bytes()
    keep_sliders(fitted, installed)
    assert path.read_bytes() == once
    back = read_sliders(path, generator_id="eg3d-1")
    assert [one.slider for one in back] == [one.slider for one in fitted.directions]


def test_a_disk_that_is_full_leaves_the_old_sliders(fitted, installed, monkeypatch):
    path = keep_sliders(fitted, installed)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backend.models._write", fail)
    with pytest.raises(OutputError):
        keep_sliders(Fitted(fitted.directions[:1], fitted.scores[:1], 0), installed)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_no_sliders_are_no_file(installed):
    with pytest.raises(SettingsError, match="No slider"):
        keep_sliders(Fitted([], [], 0), installed)
    assert not sliders_path("tiny").exists()


def test_the_table_has_a_row_per_slider(of_noise, tmp_path):
    fitted, _ = of_noise
    write_table(tmp_path / "sliders.csv", fitted.scores)
    with (tmp_path / "sliders.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["slider"] for row in rows] == [score.slider.name for score in fitted.scores]
    assert all(row["changes: Nose length"] == "" for row in rows)
    assert all(float(row["changes: Brightness"]) is not None for row in rows)
