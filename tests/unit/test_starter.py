# SPDX-License-Identifier: Apache-2.0
import errno
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from backend import models
from backend.directions import Direction
from backend.errors import ModelError, OutputError
from backend.head import Slider
from backend.landmark_errors import POSE_TERMS, LandmarkErrors
from backend.models import read_weights, write_weights
from backend.skeleton import Skeleton
from backend.starter import PLAIN_ARRAYS, load_starter, save_starter, write_landmark_errors
from tests.small_starter import SHAPES, small_starter


@pytest.fixture(scope="module")
def starter():
    return small_starter(bald=False)


@pytest.fixture(scope="module")
def file(starter, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_starter(path, starter)
    return path


@pytest.fixture(scope="module")
def loaded(file):
    return load_starter(file)


def test_the_networks_come_back_in_half_precision(starter, loaded):
    state = loaded.generator.state_dict()
    for name, value in starter.generator.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-6)
    assert loaded.generator.config == starter.generator.config
    assert not loaded.generator.training
    assert not any(weight.requires_grad for weight in loaded.generator.parameters())


def test_the_same_codes_give_nearly_the_same_head(starter, loaded):
    points = (torch.rand((400, 3), generator=torch.Generator().manual_seed(0)) - 0.5) * 0.4
    z = starter.candidates[:1]
    before, after = starter.generator.field(starter.generator.map(z)), loaded.generator.field(loaded.generator.map(z))
    torch.testing.assert_close(after.color(points), before.color(points), rtol=0, atol=0.01)
    distances = [field.signed_distance(points).clamp(-0.02, 0.02) for field in (before, after)]
    torch.testing.assert_close(distances[1], distances[0], rtol=0, atol=0.003)


def test_distances_near_the_surface_are_right_to_a_micrometre(starter, loaded):
    for name in ("body", "face"):
        truth, found = getattr(starter.generator, name), getattr(loaded.generator, name)
        assert found.shape == truth.shape
        near = truth.abs() < 0.002
        assert near.any()
        assert (found - truth)[near].abs().max() < 1e-6
        torch.testing.assert_close(found, truth, rtol=2**-11, atol=1e-6)
    torch.testing.assert_close(loaded.generator.face_box, starter.generator.face_box)


def test_bases_are_right_to_half_a_step_of_their_own_scale(starter, loaded):
    for name in ("neutral", "shape", "expression"):
        truth, found = getattr(starter.template, name), getattr(loaded.template, name)
        step = np.abs(truth).max(axis=(-2, -1), keepdims=True) / 127
        assert (np.abs(found - truth) <= 0.5 * step * 1.001).all()


def test_the_rest_of_the_template_is_kept(starter, loaded):
    for name in PLAIN_ARRAYS:
        np.testing.assert_allclose(getattr(loaded.template, name), getattr(starter.template, name), rtol=1e-6)
        assert getattr(loaded.template, name).dtype in (np.int64, np.float64)
    assert loaded.template.expression_names == starter.template.expression_names


def test_sliders_candidates_and_identity_are_kept(starter, loaded):
    assert [asdict(one.slider) for one in loaded.directions] == [asdict(one.slider) for one in starter.directions]
    for before, after in zip(starter.directions, loaded.directions, strict=True):
        for part in ("w", "shape", "expression"):
            np.testing.assert_allclose(getattr(after, part), getattr(before, part), rtol=1e-6)
    torch.testing.assert_close(loaded.candidates, starter.candidates)
    assert loaded.identity == starter.identity


def test_a_missing_file_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="missing"):
        load_starter(tmp_path / "none.safetensors")


def test_a_damaged_file_is_a_model_error(file, tmp_path):
    data = bytearray(file.read_bytes())
    for name, content in {"cut": data[: len(data) // 2], "empty": b"", "garbage": b"no model" * 99}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="damaged"):
            load_starter(tmp_path / name)
    data[-100] ^= 0xFF
    (tmp_path / "flipped").write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        load_starter(tmp_path / "flipped")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, metadata: tensors.pop("body_left"),
        lambda tensors, metadata: tensors.pop("network.decoder.first.bias"),
        lambda tensors, metadata: tensors.update({"network.decoder.first.bias": torch.zeros(3)}),
        lambda tensors, metadata: tensors.pop("template.shape.scale"),
        lambda tensors, metadata: metadata.pop("licence"),
        lambda tensors, metadata: metadata.update(config="{"),
        lambda tensors, metadata: metadata.update(config='{"z_dim": 5, "unheard_of": 1, "channels": [8, 8, 8]}'),
        lambda tensors, metadata: metadata.update(config='{"z_dim": 5, "channels": [8, 8]}'),
        lambda tensors, metadata: metadata.update(sliders="[]"),
        lambda tensors, metadata: metadata.update(sliders='[{"name": "Jaw width"}]'),
        lambda tensors, metadata: tensors.update(body_left=torch.zeros(3)),
    ],
)
def test_a_model_of_another_kind_is_a_model_error(change, file, tmp_path):
    tensors, metadata = read_weights(file)
    metadata.pop("sha256")
    change(tensors, metadata)
    path = tmp_path / "other.safetensors"
    write_weights(path, tensors, metadata)
    with pytest.raises(ModelError, match="not a starter model of this version") as caught:
        load_starter(path)
    assert caught.value.code == "model_damaged"


def posed_starter(starter):
    """With a neck, a mirror-image expression and a slider that turns the head."""
    template = starter.template
    right = template.expression[1][template.mirror] * [-1, 1, 1]
    shares = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], len(template.vertices))[:, :2]
    changed = replace(
        template,
        expression=np.concatenate([template.expression, right[None]]),
        expression_names=(*template.expression_names, "mouthSmileRight"),
        skeleton=Skeleton(np.array([[0.0, -0.1, -0.02], [0.0, -0.05, 0.01]])),
        joint_shares=shares,
    )
    longer = [
        replace(one, expression=np.append(one.expression, 0.0), recolors=one.slider.name == "Hair colour")
        for one in starter.directions
    ]
    turn = Direction(
        Slider("Head turn", "Pose", -1.0, 1.0), np.zeros(12), np.zeros(SHAPES), np.zeros(4), np.arange(6) * 0.01
    )
    return replace(starter, template=changed, directions=[*longer, turn])


def test_neck_and_head_come_back(starter, tmp_path):
    posed = posed_starter(starter)
    save_starter(tmp_path / "posed.safetensors", posed)
    found = load_starter(tmp_path / "posed.safetensors")
    np.testing.assert_allclose(found.template.skeleton.joints, posed.template.skeleton.joints, atol=1e-7)
    np.testing.assert_allclose(found.template.joint_shares, posed.template.joint_shares, atol=5e-4)
    for before, after in zip(posed.directions, found.directions, strict=True):
        np.testing.assert_allclose(after.pose, before.pose, atol=1e-7)
        assert after.recolors == before.recolors and after.slider == before.slider


def test_a_mirror_image_is_not_stored_and_comes_back_exactly(starter, tmp_path):
    posed = posed_starter(starter)
    save_starter(tmp_path / "posed.safetensors", posed)
    tensors, _ = read_weights(tmp_path / "posed.safetensors")
    assert len(tensors["template.expression"]) == 3
    found = load_starter(tmp_path / "posed.safetensors").template
    assert found.expression_names == posed.template.expression_names
    np.testing.assert_array_equal(found.expression[3], found.expression[1][found.mirror] * [-1, 1, 1])
    np.testing.assert_array_equal(found.expression[2], load_starter_expression(starter, tmp_path)[2])


def load_starter_expression(starter, folder):
    save_starter(folder / "plain.safetensors", starter)
    return load_starter(folder / "plain.safetensors").template.expression


def test_a_lopsided_lattice_is_stored_as_the_mean_with_its_mirror_image(starter, tmp_path):
    generator = starter.generator
    face = generator.face + torch.linspace(-0.001, 0.001, len(generator.face))[:, None, None]
    try:
        truth, generator.face = generator.face, face
        save_starter(tmp_path / "lopsided.safetensors", starter)
    finally:
        generator.face = truth
    found = load_starter(tmp_path / "lopsided.safetensors").generator.face
    torch.testing.assert_close(found, (face + face.flip(0)) / 2, rtol=2**-11, atol=1e-6)


def test_a_lattice_without_a_middle_plane_is_refused(starter, tmp_path):
    generator = starter.generator
    try:
        truth, generator.face = generator.face, generator.face[:-1]
        with pytest.raises(ValueError, match="odd number of nodes"):
            save_starter(tmp_path / "even.safetensors", starter)
    finally:
        generator.face = truth


@pytest.mark.parametrize("on_eye", [None, np.arange(2562) % 5 == 0])
def test_the_eyeballs_come_back(starter, on_eye, tmp_path):
    looking = replace(starter, template=replace(starter.template, on_eye=on_eye))
    save_starter(tmp_path / "eyes.safetensors", looking)
    found = load_starter(tmp_path / "eyes.safetensors").template.on_eye
    np.testing.assert_array_equal(found, on_eye)


def test_what_is_known_of_landmarks_is_put_into_a_file_and_nothing_else_changes(file, tmp_path):
    random = np.random.default_rng(0)
    errors = LandmarkErrors(
        random.normal(0, 0.001, (POSE_TERMS, 468, 2)), random.normal(0, 0.002, (5, 468, 2)), np.full(468, 0.0003)
    )
    path = tmp_path / "known.safetensors"
    path.write_bytes(file.read_bytes())
    assert load_starter(path).template.landmark_errors is None
    write_landmark_errors(path, errors)
    found = load_starter(path)
    for part in ("bias", "factors", "rest"):
        truth = getattr(errors, part)
        np.testing.assert_allclose(getattr(found.template.landmark_errors, part), truth, rtol=1e-3, atol=1e-8)
    before, after = read_weights(file)[0], read_weights(path)[0]
    assert len(after) == len(before) + 3
    assert all(torch.equal(after[name], value) for name, value in before.items())
    save_starter(tmp_path / "again.safetensors", found)
    again = load_starter(tmp_path / "again.safetensors").template.landmark_errors
    np.testing.assert_array_equal(again.factors, found.template.landmark_errors.factors)


def fill_the_disk(opened, tensors, metadata):
    opened.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_an_output_error_and_leaves_the_file_as_it_was(starter, file, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(file.read_bytes())
    errors = LandmarkErrors(np.zeros((POSE_TERMS, 468, 2)), np.zeros((5, 468, 2)), np.full(468, 0.0003))
    monkeypatch.setattr(models, "_write", fill_the_disk)
    for write in (lambda: save_starter(path, starter), lambda: write_landmark_errors(path, errors)):
        with pytest.raises(OutputError, match=r"model\.safetensors cannot be written: the disk is full") as caught:
            write()
        assert caught.value.code == "disk_full"
    assert path.read_bytes() == file.read_bytes() and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_an_output_error(starter, tmp_path):
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_starter(tmp_path / "models" / "model.safetensors", starter)
