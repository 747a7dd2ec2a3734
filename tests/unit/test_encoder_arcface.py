# SPDX-License-Identifier: Apache-2.0
"""Identity features: the crop, the vectors and the loss."""

import pytest
import torch

from backend.encoder.arcface import ArcFace, expected_shapes, face_crop, identity_loss, load_arcface, read_config
from backend.encoder.config import ArcFaceConfig, BodyConfig
from backend.encoder.layout import shapes_of
from backend.errors import ModelError

SMALL = ArcFaceConfig(BodyConfig(stem=16, widths=(16, 16, 16, 16)), features=8, side_px=32)


@pytest.fixture(scope="module")
def network() -> ArcFace:
    torch.manual_seed(0)
    return ArcFace(SMALL).eval().requires_grad_(False)


def test_the_crop_is_rows_35_to_222_and_columns_32_to_219():
    rows = torch.arange(256.0).reshape(1, 1, -1, 1)
    columns = torch.arange(256.0).reshape(1, 1, 1, -1)
    places = torch.cat([rows.expand(1, 1, 256, 256), columns.expand(1, 1, 256, 256), torch.zeros(1, 1, 256, 256)], 1)
    crop = face_crop(places, 188)
    assert crop[0, 0, :, 0].tolist() == list(range(35, 223))
    assert crop[0, 1, 0].tolist() == list(range(32, 220))
    torch.testing.assert_close(face_crop(places, 1)[0, :2, 0, 0], torch.tensor([128.5, 125.5]))


def test_a_larger_portrait_is_cropped_at_the_same_place():
    small = torch.rand(1, 3, 256, 256)
    torch.testing.assert_close(
        face_crop(small.repeat_interleave(2, 2).repeat_interleave(2, 3), 32), face_crop(small, 32)
    )


def test_vectors_have_length_one(network):
    torch.testing.assert_close(network(torch.rand(3, 3, 256, 256)).norm(dim=1), torch.ones(3))


def test_the_same_face_costs_nothing_and_the_opposite_one_two():
    vectors = torch.nn.functional.normalize(torch.randn(4, 8))
    torch.testing.assert_close(identity_loss(vectors, vectors), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(identity_loss(vectors, -vectors), torch.tensor(2.0))


def test_the_loss_reaches_the_picture(network):
    picture = torch.rand(1, 3, 256, 256).requires_grad_()
    identity_loss(network(picture), network(torch.rand(1, 3, 256, 256))).backward()
    assert picture.grad[:, :, 35:223, 32:220].abs().max() > 0
    assert not picture.grad[:, :, :35].any()


def test_a_network_comes_back_from_its_own_weights(network):
    shapes = shapes_of(network)
    assert read_config(shapes) == SMALL
    assert expected_shapes(SMALL) == shapes
    picture = torch.rand(1, 3, 256, 256)
    torch.testing.assert_close(load_arcface(network.state_dict())(picture), network(picture))


def test_weights_of_something_else_are_refused(network):
    with pytest.raises(ModelError, match=r"input_layer\.0\.weight is missing"):
        load_arcface({"conv1.weight": torch.zeros(1)})
    with pytest.raises(ModelError, match="is unknown"):
        load_arcface(network.state_dict() | {"head": torch.zeros(1)})
