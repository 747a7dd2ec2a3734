# SPDX-License-Identifier: Apache-2.0
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from backend import face_mesh_points as points
from backend.errors import ModelError
from backend.folders import model_path
from backend.identity import SAME_PERSON, descriptor, descriptor_distance, fit_similarity
from backend.identity_network import AffineConvolution, IdentityNetwork, read_dlib_weights
from backend.landmarks import detect_face
from backend.models import write_weights
from backend.photo import read_photo
from tests.portraits import astronaut, astronaut_face, needs_photo_models


def dlib_integer(value):
    """dlib's integer: a byte with the count of bytes, then the bytes."""
    size = (abs(value).bit_length() + 7) // 8
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def dlib_tensor(*arrays):
    numbers = np.concatenate([array.detach().numpy().ravel() for array in arrays]).astype("<f4")
    sizes = b"".join(dlib_integer(size) for size in (len(numbers), 1, 1, 1))
    return dlib_integer(2) + sizes + numbers.tobytes()


def dlib_file(network):
    """What dlib would write of a network, apart from everything its reader skips."""
    stages = [module for module in network.modules() if isinstance(module, AffineConvolution)]
    data = b"some header"
    for stage in stages:
        data += b"con_4" + dlib_tensor(stage.convolution.weight, stage.convolution.bias) + struct.pack("<i", 3)
        data += b"affine_" + dlib_tensor(stage.scale, stage.shift)
    return data + b"fc_2" + dlib_integer(128) + dlib_integer(256) + dlib_tensor(network.final.weight.T)


def test_dlibs_file_gives_the_network_back():
    torch.manual_seed(0)
    network = IdentityNetwork()
    state = read_dlib_weights(dlib_file(network))
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(state[name], weight, rtol=0, atol=0)


def test_another_dlib_file_is_refused():
    with pytest.raises(ModelError, match="other layers"):
        read_dlib_weights(b"nothing of the kind")


def test_the_network_gives_128_numbers_per_chip():
    assert IdentityNetwork()(torch.rand(2, 3, 150, 150) * 255).shape == (2, 128)


def test_the_similarity_is_recovered_and_never_mirrors():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(5, 2))
    matrix = np.array([[0.6, -1.7, 20], [1.7, 0.6, -3], [0, 0, 1]])
    target = source @ matrix[:2, :2].T + matrix[:2, 2]
    np.testing.assert_allclose(fit_similarity(source, target), matrix, atol=1e-12)
    assert np.linalg.det(fit_similarity(source, target * [-1, 1])) > 0


def changed(pixels):
    """The same photo in ways that leave the person."""
    image = Image.fromarray(pixels)
    rng = np.random.default_rng(0)
    return {
        "blurred": np.asarray(image.filter(ImageFilter.GaussianBlur(1))),
        "darker": (pixels * 0.6).astype(np.uint8),
        "grey": np.asarray(image.convert("L").convert("RGB")),
        "noisy": np.clip(pixels + rng.normal(0, 12, pixels.shape), 0, 255).astype(np.uint8),
    }


@needs_photo_models
@pytest.mark.parametrize("change", ["blurred", "darker", "grey", "noisy"])
def test_the_same_photo_stays_the_same_person(change):
    pixels, landmarks = astronaut().pixels, astronaut_face().landmarks
    distance = descriptor_distance(descriptor(pixels, landmarks), descriptor(changed(pixels)[change], landmarks))
    assert 0 < distance < 0.35


@needs_photo_models
def test_mirror_image_and_size_hardly_matter():
    pixels, landmarks = astronaut().pixels, astronaut_face().landmarks
    reference = descriptor(pixels, landmarks)
    mirrored = landmarks[points.MIRROR] * [-1, 1] + [512, 0]
    assert descriptor_distance(reference, descriptor(np.ascontiguousarray(pixels[:, ::-1]), mirrored)) < 0.12
    large = np.asarray(Image.fromarray(pixels).resize((1024, 1024), Image.Resampling.BICUBIC))
    assert descriptor_distance(reference, descriptor(large, landmarks * 2)) < 0.12


@needs_photo_models
def test_another_person_is_somebody_else():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib's package holds the second portrait")
    picture = Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    photo = read_photo(picture)  # US Navy, public domain.
    other = descriptor(photo.pixels, detect_face(photo).landmarks)
    assert descriptor_distance(descriptor(astronaut().pixels, astronaut_face().landmarks), other) > SAME_PERSON


@needs_photo_models
def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path))
    write_weights(model_path("face_identity"), {"stem.scale": torch.zeros(3)}, {})
    with pytest.raises(ModelError, match="another network"):
        descriptor(astronaut().pixels, np.random.default_rng(0).uniform(100, 300, (points.COUNT, 2)))
