# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import asdict

import pytest
import torch

from backend.generator.body_pose import PoseBranch, is_left, mirror_label, mirror_pose
from backend.generator.pose_predictor import PosePredictor, PosePredictorConfig, expected_shapes, is_used
from tests.unit.parity import FOLDER, fixtures

SMALL = PosePredictorConfig(16, 8, channel_base=64, channel_max=6, head_widths=(12, 8))


def label_at(x):
    label = torch.randn(1, 25)
    label[0, 3] = x
    return label


@pytest.mark.parametrize("path", fixtures(lambda meta: "discriminator_tensors" in meta, FOLDER.parent / "state_dicts"))
def test_published_discriminators_have_what_the_predictor_loads(path):
    meta = json.loads(path.read_text())
    side = meta["init_kwargs"]["img_resolution"]
    published = {name: tuple(value["shape"]) for name, value in meta["discriminator_tensors"].items()}
    used = {name: shape for name, shape in published.items() if is_used(name)}
    assert expected_shapes(PosePredictorConfig(image_resolution=side)) == used


def test_a_mirrored_photo_gives_the_mirrored_pose():
    torch.manual_seed(0)
    predictor = PosePredictor(SMALL).requires_grad_(False)
    image, mask, label = torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16), label_at(0.7)
    # The camera enters the last layers as it is, so only a label without it shows the symmetry.
    predictor.pose_branch.net[0].weight[:, -25:] = 0
    pose = predictor(image, mask, label)
    other = predictor(image.flip(3), mask.flip(3), mirror_label(label))
    torch.testing.assert_close(other, mirror_pose(pose))


def test_drawn_poses_of_mirrored_cameras_are_mirrored():
    torch.manual_seed(1)
    branch, z, label = PoseBranch(4 + 25, (6,)).requires_grad_(False), torch.randn(1, 4), label_at(0.3)
    torch.testing.assert_close(branch.drawn(z, mirror_label(label)), mirror_pose(branch.drawn(z, label)))


def test_mirroring_a_label_changes_sides_and_undoes_itself():
    label = label_at(0.5)
    mirrored = mirror_label(label)
    assert is_left(label)
    assert not is_left(mirrored)
    assert torch.equal(mirror_label(mirrored), label)
    rotation, other = label[0, :16].reshape(4, 4)[:3, :3], mirrored[0, :16].reshape(4, 4)[:3, :3]
    flip = torch.diag(torch.tensor([-1.0, 1, 1]))
    assert torch.equal(flip @ rotation @ flip, other)


def test_a_blurred_even_picture_stays_even_inside():
    predictor = PosePredictor(PosePredictorConfig(32, 32, channel_base=64, channel_max=6, blur_sigma=1.5))
    blurred = predictor.as_rendered(torch.ones(1, 1, 32, 32))
    torch.testing.assert_close(blurred[..., 6:-6, 6:-6], torch.ones(1, 1, 20, 20))
    assert blurred[0, 0, 0, 0] < 0.5


def test_a_configuration_survives_json():
    assert PosePredictorConfig.from_dict(json.loads(json.dumps(asdict(SMALL)))) == SMALL
