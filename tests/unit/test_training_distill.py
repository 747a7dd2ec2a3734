# SPDX-License-Identifier: Apache-2.0
"""A tiny student in EG3D's layout of a tiny starter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.camera import look_at_camera
from backend.catalogue import find_generator
from backend.checkpoint.install import add_model
from backend.checkpoint.loading import load_generator
from backend.errors import ModelError, SettingsError
from backend.generator.config import RenderConfig, SuperResolutionConfig
from backend.generator.layers import binomial_filter, upsample2
from backend.generator.volume import activate_density
from backend.training import distill_pictures
from backend.training.distill import distill, new_student, save_student
from backend.training.distill_config import STUDENT, DistillConfig
from backend.training.distill_pictures import teach_pictures
from backend.training.distill_planes import (
    HIGHEST,
    LOWEST,
    _moved_out,
    coarse_student,
    density_loss,
    target_density,
    teach_planes,
)
from backend.training.distill_teacher import NUMBERS, UNIT_M, Teacher, TeacherHead, numbers_of, to_eg3d
from tests.small_starter import IDENTITY, small_starter

TINY = replace(
    STUDENT,
    w_dim=64,
    channel_base=128,
    channel_max=16,
    plane_resolution=32,
    neural_resolution=16,
    render=RenderConfig(coarse_samples=8, fine_samples=8),
    superresolution=SuperResolutionConfig(kind="4X", input_resolution=16, channels=(8, 8)),
)
RUN = DistillConfig(seconds=0.5, heads=3, points=500, pool=3000, points_per_head=256, pictures=1, picture_steps=3)


@pytest.fixture(scope="module")
def starter():
    return small_starter()


@pytest.fixture(scope="module")
def teacher(starter):
    return Teacher(starter, seed=0, pool_points=3000)


def test_half_of_a_ray_s_light_is_gone_at_the_surface():
    step = 1e-5
    distance = torch.arange(0.1, 0.0, -step, dtype=torch.float64)
    absorbed = (activate_density(target_density(distance)) * step).sum()
    assert float(torch.exp(-absorbed)) == pytest.approx(0.5, abs=0.03)


def test_the_eyes_lie_where_eg3d_s_portraits_have_them(starter):
    template = starter.template
    corners = template.faces[template.landmark_faces[[33, 133, 362, 263]]]
    eyes = np.einsum(
        "nci,nc->ni", (template.vertices + template.neutral)[corners], template.landmark_weights[[33, 133, 362, 263]]
    ).mean(0)
    placed = to_eg3d(eyes[None], template)[0]
    np.testing.assert_allclose(placed, [0.0, 0.006 + 0.0293 / UNIT_M, 0.161 + 0.0067 / UNIT_M], atol=1e-9)
    up = to_eg3d(eyes[None] + [0, 0.01, 0], template)[0]
    np.testing.assert_allclose(up - placed, [0, 0.01 / UNIT_M, 0], atol=1e-9)


def test_points_carry_the_head_s_own_distance(teacher):
    numbers = np.zeros((1, NUMBERS))
    heads = teacher.points(numbers, 400)
    vertices = teacher.head(numbers[0]).vertices
    nearest = np.linalg.norm(heads.places[0].numpy()[:, None] - vertices[None], axis=-1).min(1)
    near = heads.distance[0].abs().numpy() < 0.02
    # A tiny head's waves bend space, and its lattice is coarse.
    assert near.sum() > 50
    assert np.median(np.abs(nearest - heads.distance[0].abs().numpy())[near]) < 0.02


def test_codes_of_a_head_are_linear_in_its_numbers(teacher):
    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, NUMBERS))
    both = teacher.codes((one + other) / 2)
    halves = (teacher.codes(one).shape + teacher.codes(other).shape) / 2
    np.testing.assert_allclose(both.shape, halves)


def test_most_points_lie_about_the_features_of_the_face(starter, teacher):
    template, heads = starter.template, teacher.points(np.zeros((1, NUMBERS)), 1500)
    corners = (template.vertices + template.neutral)[template.faces[template.landmark_faces]]
    marks = to_eg3d(np.einsum("nci,nc->ni", corners, template.landmark_weights), template)
    nearest = np.linalg.norm(heads.places[0].numpy()[:, None] - marks, axis=-1).min(1) * UNIT_M
    assert (nearest < 0.015).mean() > 0.4


def test_all_heads_wear_the_same_hair_style():
    starter = small_starter()
    styled = replace(starter.generator.config, choices=((1, 2),))
    starter.generator.config = styled
    starter.candidates[:] = torch.randn(starter.candidates.shape, generator=torch.Generator().manual_seed(0))
    teacher = Teacher(starter, seed=0, pool_points=500)
    described = []
    starter.generator.map = lambda z: (described.append(z[0].numpy()), torch.zeros(1, 2, styled.w_dim))[1]
    for _ in range(3):
        teacher.codes(np.random.default_rng(len(described)).normal(size=NUMBERS))
    mean, described = starter.candidates.mean(0).numpy(), np.stack(described)
    np.testing.assert_allclose(described[:, 1:3] - mean[1:3], 0, atol=1e-5)
    assert described[:, 0].std() > 0.01


def test_a_picture_has_the_field_s_own_colour_where_rays_meet_the_mesh():
    # A square before the camera, whose canonical place is turned against the world's.
    corners = np.array([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0]])
    canonical = corners[:, [1, 0, 2]] + 0.5

    class Waves:
        level = side = 1.0

        def density(self, points):
            raise AssertionError("a picture asks for colours only")

        def color(self, points):
            return 0.5 + 0.5 * torch.sin(40 * points)

    head = TeacherHead(Waves(), np.array([[0, 1, 2], [0, 2, 3]]), canonical, corners)
    camera = look_at_camera(yaw_deg=0, pitch_deg=0, distance=2.0, focal=5.0)
    picture = head.picture(camera, 64).permute(1, 2, 0).numpy()
    place = ((np.arange(64) + 0.5) / 64 - 0.5) * 2.0 / 5.0
    x, y = np.meshgrid(place, -place)
    seen = np.sin(40 * np.stack([y + 0.5, x + 0.5, np.full_like(x, 0.5)], axis=-1))
    is_hit = np.maximum(abs(x), abs(y)) < 0.1
    np.testing.assert_allclose(picture[is_hit], seen[is_hit], atol=1e-3)
    np.testing.assert_array_equal(picture[~is_hit], -1.0)


def test_coarse_planes_are_those_of_the_whole_student_until_finer_blocks_learn():
    student = new_student(TINY, seed=0).requires_grad_(False)
    coarse, z, label = coarse_student(student, 8).requires_grad_(False), torch.randn(2, 512), torch.zeros(2, 25)
    planes = coarse.make_planes(coarse.make_ws(z, label), noise="none").flatten(1, 2)
    for _ in range(2):
        planes = upsample2(planes, binomial_filter())
    whole = student.make_planes(student.make_ws(z, label), noise="none").flatten(1, 2)
    torch.testing.assert_close(whole, planes)
    coarse.backbone.synthesis.b4.const += 1  # One weight, two networks.
    assert not torch.allclose(student.make_planes(student.make_ws(z, label), noise="none").flatten(1, 2), planes)


def test_points_are_moved_out_of_the_cube_along_one_axis():
    places = torch.rand((2, 300, 3), generator=torch.Generator().manual_seed(0)) - 0.5
    out = _moved_out(places, 1.0, torch.Generator().manual_seed(1))
    moved = out != places
    assert (moved.sum(-1) == 1).all() and not moved[..., 0].any() and moved[..., 1].any() and moved[..., 2].any()
    assert ((out[moved].abs() >= 0.5) & (out[moved].abs() <= 0.75)).all() and (out[moved] < 0).any()


def test_w_holds_the_numbers_and_no_camera():
    student = new_student(TINY, seed=0).requires_grad_(False)
    z = torch.randn(200, 512)
    w = student.make_ws(z, torch.zeros(200, 25))[:, 0].double().numpy()
    np.testing.assert_allclose(student.make_ws(z, torch.randn(200, 25))[:, 0].numpy(), w, atol=1e-6)
    # A pair of opposite projections, through the leaky layers, tells its projection exactly.
    half = TINY.w_dim // 2
    assert half > NUMBERS
    projected = np.linalg.lstsq(numbers_of(z), w[:, :half] - w[:, half:], rcond=None)[0]
    np.testing.assert_allclose(numbers_of(z) @ projected, w[:, :half] - w[:, half:], atol=1e-4)
    assert np.linalg.matrix_rank(projected) == NUMBERS


def test_a_trained_student_is_added_like_any_checkpoint(starter, monkeypatch, tmp_path):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "home"))
    said, kept = [], []
    student = distill(starter, RUN, said.append, student=TINY, keep=kept.append)
    assert any("pictures" in line for line in said)
    assert student in kept
    file = tmp_path / "student.safetensors"
    save_student(file, student, IDENTITY)
    added = add_model(file, accept=lambda licence: licence.name == IDENTITY["licence"])
    loaded = load_generator(find_generator("student")).generator
    assert added.family == "eg3d" and loaded.config == TINY
    assert find_generator("student").commercial_use == "yes"
    z, label = torch.randn(1, 512), torch.zeros(1, 25)
    torch.testing.assert_close(loaded.make_ws(z, label), student.make_ws(z, label), atol=0.02, rtol=0.01)


def test_training_brings_the_student_nearer_to_the_teacher(teacher):
    student, run = new_student(TINY, seed=0), replace(RUN, seconds=5.0, heads=2, learning_rate=0.01)
    z = torch.zeros(2, 512)
    heads = teacher.points(numbers_of(z), 500)
    said = []
    before = _error(student, heads)
    teach_planes(student, heads, z, run, torch.Generator().manual_seed(0), log=said.append, keep=lambda: None)
    assert _error(student, heads) < 0.7 * before


def test_a_loss_that_is_no_number_stops_at_once(teacher, monkeypatch):
    z, random, said = torch.zeros(1, 512), torch.Generator(), []
    heads = teacher.points(numbers_of(z), 500)
    nowhere = replace(heads, distance=torch.full_like(heads.distance, float("nan")))
    shown = (torch.zeros(1, 2, TINY.w_dim), torch.zeros(1, 32, 16, 16), torch.tensor(float("nan")))
    monkeypatch.setattr(distill_pictures, "_lesson", lambda *_: shown)
    teachings = {
        "at step 0": lambda student: teach_planes(student, nowhere, z, RUN, random, log=said.append, keep=lambda: None),
        "at step 1": lambda student: teach_pictures(teacher, student, z, RUN, random, said.append),
    }
    for place, teach in teachings.items():
        student = new_student(TINY, seed=0)
        before = {name: value.clone() for name, value in student.state_dict().items()}
        with pytest.raises(ModelError, match=f"diverged {place}.*--seed") as caught:
            teach(student)
        assert caught.value.code == "training_diverged"
        assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


@torch.no_grad()
def _error(student, heads):
    ws = student.make_ws(torch.zeros(1, 512), torch.zeros(1, 25))
    raw, _ = student.raw_field(student.make_planes(ws), heads.places[:1])
    return float(density_loss(raw, target_density(heads.distance[:1])))


def test_emptier_than_empty_is_right_but_emptier_than_solid_is_not():
    raw = torch.tensor([[LOWEST - 50.0]], requires_grad=True)
    assert float(density_loss(raw, torch.tensor([[LOWEST]])).detach()) == 0
    loss = density_loss(raw, torch.tensor([[HIGHEST]]))
    loss.backward()
    assert float(loss.detach()) > 5 and float(raw.grad) < -0.01


def test_a_bare_state_dict_is_recognised_too(monkeypatch, tmp_path):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "home"))
    # Without a header, only the published sizes of super-resolution are known.
    tiny = replace(TINY, superresolution=STUDENT.superresolution)
    save_student(tmp_path / "bare.pth", new_student(tiny, seed=0), IDENTITY)
    added = add_model(tmp_path / "bare.pth", accept=lambda _: True)
    config = load_generator(find_generator("bare")).generator.config
    assert added.family == "eg3d" and any("no options" in remark for remark in added.remarks)
    sizes = ("w_dim", "channel_base", "channel_max", "plane_resolution")
    assert [getattr(config, name) for name in sizes] == [getattr(tiny, name) for name in sizes]
    assert config.superresolution == tiny.superresolution


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(SettingsError):
        save_student(tmp_path / "student.zip", new_student(TINY, seed=0), IDENTITY)
    assert not list(tmp_path.iterdir())
