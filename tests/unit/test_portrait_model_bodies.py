# SPDX-License-Identifier: Apache-2.0
"""A photo's pose of neck and head: asked of the generator's own predictor, and carried to the mesh by a body model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from torch import nn

from backend.alignment import Portrait
from backend.camera import look_at_camera, project
from backend.checkpoint.install import add_model
from backend.config import Settings
from backend.generator import posed_head
from backend.generator.body_model import BodyModel
from backend.generator.eg3d_camera import label_of
from backend.generator.pose_predictor import PosePredictor, PosePredictorConfig
from backend.inversion.method import Inversion
from backend.inversion.plane_model import PlaneModel
from backend.mesh import Mesh
from backend.photo import Photo
from backend.portrait_model import opening, published
from backend.portrait_model.bodies import ROUNDS, Bodies
from backend.portrait_model.contract import PersonPhoto
from backend.portrait_model.framing import Framing
from backend.portrait_model.plane_codes import PlaneCodes
from backend.portrait_model.published import PublishedModel
from tests.bodies import as_published, body_arrays, python2_pickle, small_body
from tests.checkpoints import accept, portrait_pickle
from tests.small_starter import small_template
from tests.unit.test_portrait_model_published import IDENTITY, SMALL, small_generator

POSE = np.array([0.1, 0.3, 0.0, -0.2, 0.1, 0.05])
CONFIG = replace(SMALL, family="portrait3d", pose_dim=6, plane_depth=3, plane_axes="corrected")
CAMERA = look_at_camera(yaw_deg=20.0, pitch_deg=5.0, distance=2.7, focal=6.5, target=np.array([0, 0.0649, 0]))
IMAGE, MASK = torch.rand(1, 3, 64, 64) * 2 - 1, torch.rand(1, 1, 64, 64)
PHOTO = Photo(np.zeros((64, 64, 3), np.uint8), None, "", "photo.png")
SIZES = PosePredictorConfig(32, 16, channel_base=96, channel_max=6, head_widths=(8, 7))


class Told(PosePredictor):
    """A predictor that says what it was told to, and remembers what it was asked."""

    def __init__(self, pose):
        super().__init__(SIZES)
        self.pose = nn.Parameter(torch.from_numpy(pose).float(), requires_grad=False)
        self.asked = []

    def forward(self, image, mask, label):
        self.asked.append((image, mask, label))
        return self.pose[None]


@pytest.fixture(autouse=True)
def quick_lattice(monkeypatch):
    monkeypatch.setattr(posed_head, "LATTICE_NODES", 9)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return small_body()


def test_the_predictor_is_asked_with_picture_mask_and_camera():
    predictor = PosePredictor(SIZES).eval().requires_grad_(False)
    predictor.pose_branch.net[-1].weight *= 0.1
    pose, camera = Bodies(CONFIG, predictor).fit(IMAGE, MASK, CAMERA)
    small = [torch.nn.functional.interpolate(one, (32, 32), mode="bilinear", antialias=True) for one in (IMAGE, MASK)]
    label = torch.from_numpy(label_of(CAMERA)).float()[None]
    np.testing.assert_allclose(pose, predictor(*small, label)[0], atol=1e-6)
    assert camera is CAMERA and np.abs(pose).max() > 1e-3


def test_with_a_body_the_camera_turns_so_that_the_head_stays_where_the_photo_shows_it(body):
    predictor = Told(POSE)
    bodies = Bodies(CONFIG, predictor, body)
    pose, camera = bodies.fit(IMAGE, MASK, CAMERA)
    np.testing.assert_allclose(pose, POSE, atol=1e-7)
    motion = bodies.posed(pose).head_motion
    points = np.random.default_rng(0).normal(0, 0.1, (20, 3)) + np.array([0, 0.2, 0])
    seen, _ = project(camera, points @ motion[:3, :3].T + motion[:3, 3])
    np.testing.assert_allclose(seen, project(CAMERA, points)[0], atol=1e-9)
    labels = [asked[2][0].numpy() for asked in predictor.asked]
    assert len(labels) == ROUNDS
    np.testing.assert_allclose(labels[0], label_of(CAMERA), atol=1e-6)
    np.testing.assert_allclose(labels[-1], label_of(camera), atol=1e-6)


@pytest.mark.parametrize("pose", [np.full(6, 2.0), np.full(6, np.nan)])
def test_a_pose_that_no_neck_can_take_is_left_out_and_said(body, pose):
    bodies = Bodies(CONFIG, Told(pose), body)
    assert bodies.fit(IMAGE, MASK, CAMERA) == (None, CAMERA)
    assert "no pose that a neck can take" in bodies.notes(None)[0]


def test_what_is_missing_is_said(body):
    assert "no pose predictor" in Bodies(CONFIG, None, body).notes(None)[0]
    (note,) = Bodies(CONFIG, Told(POSE)).notes(POSE)
    assert "18 and 13 degrees" in note and "no body model is installed" in note and "at rest" in note
    assert "carried the head along" in Bodies(CONFIG, Told(POSE), body).notes(POSE)[0]


def model_with(bodies: Bodies) -> PublishedModel:
    identity = IDENTITY | {"family": "portrait3d"}
    return PublishedModel(small_generator(CONFIG), identity, small_template(subdivisions=2), bodies=bodies)


def portrait() -> Portrait:
    return Portrait(IMAGE, np.eye(3), np.full((478, 2), 30.0), np.zeros(478), torch.ones_like(MASK))


@pytest.fixture
def inverted(monkeypatch):
    """The models that were inverted with."""
    models = []

    def invert(method, model, portraits, **_):
        models.append(model)
        return Inversion(model.mean_ws)

    monkeypatch.setattr(published, "invert", invert)
    monkeypatch.setattr(published, "metres_per_unit", lambda *_, usual: usual)
    monkeypatch.setattr(Framing, "fit", lambda *_: (CAMERA, 0.001))
    return models


@pytest.mark.parametrize("with_body", [False, True])
def test_the_predicted_pose_arrives_in_the_inversion(inverted, body, with_body):
    model = model_with(Bodies(CONFIG, Told(POSE), body if with_body else None))
    fit = model.fit([PersonPhoto(PHOTO, portrait(), MASK)])
    (codes,), _ = model.invert(fit, [PersonPhoto(PHOTO, portrait(), MASK)], settings=Settings(), step=lambda _: None)
    (used,) = inverted
    torch.testing.assert_close(used.mean_ws, PlaneModel(model.generator, pose=torch.tensor(POSE)[None]).mean_ws)
    assert (used.mean_ws - model.plane_model.mean_ws).abs().max() > 1e-4
    np.testing.assert_allclose(codes.pose, POSE, atol=1e-7)
    assert fit.scores["neck_deg"] == pytest.approx(np.degrees(np.linalg.norm(POSE[:3])), abs=0.01)
    points = torch.tensor([[[0.05, 0.2, 0.1], [-0.08, 0.3, 0.0]]])
    carried = used.head(used.mean_ws).to_canonical(points)
    assert (torch.equal(carried, points)) is not with_body


def test_without_a_predictor_all_is_as_before(inverted, body):
    model = model_with(Bodies(CONFIG, None, body))
    fit = model.fit([PersonPhoto(PHOTO, portrait(), MASK)])
    model.invert(fit, [PersonPhoto(PHOTO, portrait(), MASK)], settings=Settings(), step=lambda _: None)
    assert fit.codes[0].pose is None and inverted == [model.plane_model]


def test_the_mesh_is_made_at_rest_and_stands_as_in_the_photo(body):
    model = model_with(Bodies(CONFIG, Told(POSE), body))
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.12)
    surface = Mesh((ball.vertices + np.array([0, 0.06, 0.03])).astype(np.float32), ball.faces.astype(np.int32))
    still = PlaneCodes(model.plane_model.mean_ws[0].numpy(), 1.0)
    posed = replace(still, pose=POSE)
    np.testing.assert_array_equal(model.bind(surface, still).vertices(still), surface.vertices)
    torch.testing.assert_close(
        model.field(posed).density(torch.from_numpy(surface.vertices)),
        model.field(still).density(torch.from_numpy(surface.vertices)),
    )
    bound = model.bind(surface, posed)
    motion = model._body(POSE).head_motion
    upper = surface.vertices[:, 1] > 0.1
    head = np.array(model.placement.head)
    expected = (surface.vertices[upper] + head) @ motion[:3, :3].T + motion[:3, 3] - head
    np.testing.assert_allclose(bound.vertices(posed)[upper], expected, atol=1e-5)
    targets = bound.morph_targets(surface.vertices)
    resting = model.bind(surface, still).morph_targets(surface.vertices)
    np.testing.assert_allclose(targets[0].offsets[upper], resting[0].offsets[upper] @ motion[:3, :3].T, atol=1e-5)


def test_the_pose_survives_in_the_record(body):
    codes = PlaneCodes(np.zeros((4, 3), np.float32), 1.0, pose=POSE)
    np.testing.assert_array_equal(PlaneCodes.from_arrays(codes.to_arrays()).pose, POSE)
    assert PlaneCodes.from_arrays({"ws": codes.ws, "metres_per_unit": np.array(1.0)}).pose is None


def test_an_installed_predictor_and_body_are_opened_with_the_generator(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "home"))
    predictor = PosePredictor(SIZES).state_dict()
    (tmp_path / "portrait.pkl").write_bytes(portrait_pickle(predictor))
    for name in ("a male one", "neutral"):
        (tmp_path / "body.pkl").write_bytes(python2_pickle(as_published(body_arrays(subdivisions=len(name) % 3)), 2))
        add_model(tmp_path / "body.pkl", accept=accept, name=name)
    add_model(tmp_path / "portrait.pkl", accept=accept)
    bodies = opening.open_model(Settings(model="portrait", device="cpu"))._bodies
    assert torch.equal(bodies.predictor.state_dict()["b4.conv.weight"], predictor["b4.conv.weight"])
    assert len(bodies.body.template) == len(body_arrays(subdivisions=len("neutral") % 3)["v_template"])
