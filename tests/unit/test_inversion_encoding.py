# SPDX-License-Identifier: Apache-2.0
import torch

from backend.inversion.cameras import Cameras
from backend.inversion.encoding import triplanenet_encoder
from backend.inversion.method import PosedPortrait
from backend.inversion.plane_model import PlaneModel
from tests.small_triplanenet import front_cameras, small_triplanenet


def test_the_encoder_starts_where_the_network_says():
    network, (pose, lens) = small_triplanenet(), front_cameras()
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    ones = torch.ones(1, 1, 64, 64)
    portrait = PosedPortrait(image, ones, ones, Cameras(pose, lens))
    start = triplanenet_encoder(network)(PlaneModel(network.decoder, average_samples=2), portrait)
    expected = network.encode(image, pose, lens)
    torch.testing.assert_close(start.ws, expected.ws)
    torch.testing.assert_close(start.plane_offset, expected.plane_offset)
    assert start.plane_offset.any()
