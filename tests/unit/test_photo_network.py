# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from backend.errors import ModelError
from backend.folders import PHOTO_MODELS, model_path
from backend.models import write_weights
from backend.photo_network import load_network, run_operation
from backend.tflite import Operation
from tests.portraits import needs_photo_models

BOX = {
    "left_rotation_idx": 0,
    "right_rotation_idx": 1,
    "subset_idxs": [0, 1, 2, 3],
    "output_width": 16,
    "output_height": 8,
    "scale_x": 1.5,
    "scale_y": 2.0,
}


@pytest.mark.parametrize("turn_deg", [0.0, 30.0, -120.0])
def test_the_attention_box_follows_the_landmarks(turn_deg):
    turn = math.radians(turn_deg)
    axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    box = np.array([[-4.0, 0], [4, 0], [0, -1], [0, 1]]) @ axes + [20, 30]
    landmarks = torch.from_numpy(np.column_stack([box, np.zeros(4)])).float()[None]
    matrix = run_operation(Operation("landmarks_to_matrix", [0], 1, BOX), landmarks)
    # The grid's corners lie at the box's corners, 1.5 and 2 times as far from its centre.
    grid = np.array([[0, 0, 0, 1], [16, 0, 0, 1], [8, 4, 0, 1], [16, 8, 0, 1]])
    places = (matrix[0].numpy() @ grid.T)[:2].T
    expected = np.array([[-6.0, -2], [6, -2], [0, 0], [6, 2]]) @ axes + [20, 30]
    np.testing.assert_allclose(places, expected, atol=1e-4)


def test_a_warp_by_the_identity_copies_and_outside_is_zero():
    features = torch.randn(1, 3, 8, 8)
    warp = Operation("warp_tensor", [0, 1], 2, {"output_height": 8, "output_width": 8})
    torch.testing.assert_close(run_operation(warp, features, torch.eye(4)[None]), features)
    shifted = torch.eye(4)[None].clone()
    shifted[0, 0, 3] = 2
    warped = run_operation(warp, features, shifted)
    torch.testing.assert_close(warped[..., :6], features[..., 2:])
    assert (warped[..., 6:] == 0).all()


def test_reshaping_counts_channels_last():
    image = torch.arange(12.0).reshape(1, 3, 2, 2)
    flat = run_operation(Operation("reshape", [0], 1, {"shape": [4, 3]}), image)
    assert flat[0, 0].tolist() == [0, 4, 8]
    assert flat[0, 3].tolist() == [3, 7, 11]


@needs_photo_models
@pytest.mark.parametrize(("name", "size"), [("face_detector", 128), ("face_mesh", 192), ("person_mask", 256)])
def test_a_batch_gives_what_single_images_give_and_gradients_are_finite(name, size):
    net = load_network(name)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    together = net(images)
    for number in range(2):
        for joint, single in zip(together, net(images[number : number + 1]), strict=True):
            torch.testing.assert_close(joint[number], single[0], rtol=1e-3, atol=1e-3)
    sum(output.float().mean() for output in together).backward()
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().max() > 0


def test_missing_networks_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    for name in PHOTO_MODELS:
        with pytest.raises(ModelError, match="fetch_photo_models") as raised:
            load_network(name)
        assert raised.value.code == "model_missing"


def test_weights_of_another_kind_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    write_weights(model_path("face_mesh"), {"a": torch.zeros(1)}, {})
    with pytest.raises(ModelError, match="not a photo network"):
        load_network("face_mesh")
