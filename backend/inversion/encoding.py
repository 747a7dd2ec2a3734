# SPDX-License-Identifier: Apache-2.0
"""TriPlaneNet as the encoder that inversion methods ask for."""

from backend.encoder.triplanenet import TriPlaneNet
from backend.inversion.method import Encoder, Model, PosedPortrait, Start


def triplanenet_encoder(network: TriPlaneNet) -> Encoder:
    """The encoder of a network.

    Args:
        network: On the device where the portraits are; its generator has the weights that the methods work on.
    """

    def encode(_: Model, portrait: PosedPortrait) -> Start:
        cameras = portrait.cameras
        encoding = network.encode(portrait.image, cameras.cam2world, cameras.intrinsics)
        return Start(encoding.ws, encoding.plane_offset)

    return encode
