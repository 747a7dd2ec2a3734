# SPDX-License-Identifier: Apache-2.0
"""Crops and labels: against the published chain's numbers, and against heads whose pose is known."""

import numpy as np
import pytest
import torch

from backend import published_alignment as alignment
from backend.camera import Camera
from backend.generator.config import CameraConfig
from backend.generator.eg3d_camera import label_of
from tests.unit.parity import Fixture, fixtures

FFHQ = CameraConfig()
LENS = np.array([[FFHQ.focal, 0, 0.5], [0, FFHQ.focal, 0.5], [0, 0, 1]])


@pytest.fixture(scope="module", params=fixtures(lambda meta: "photo alignment" in meta["target"]))
def fixture(request) -> Fixture:
    return Fixture(request.param)


def _photos(fixture: Fixture) -> list[str]:
    return sorted(key.partition(".")[0] for key in fixture.io if key.endswith(".in_image"))


def _tensor(value: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(value, dtype=np.float64))


def test_crops_agree(fixture):
    assert _photos(fixture)
    for name in _photos(fixture):
        pixels = fixture.io[f"{name}.in_image"].numpy()
        points = fixture.io[f"{name}.in_lm_yup"].double().numpy()
        size = pixels.shape[1], pixels.shape[0]
        scale, offset = alignment.fit_five_points(points, fixture.io["align.lm3d"].double().numpy())
        fixture.check(f"{name}.pos_s", _tensor([scale]))
        fixture.check(f"{name}.pos_t", _tensor(offset))
        fixture.check(f"{name}.trans_params", _tensor([*size, 300 / scale, *offset]))
        window = alignment.crop_window(size, scale, offset)
        crop = alignment.cut_window(pixels, window, extend=False)
        expected = fixture.io[f"{name}.crop512.strided8"].numpy().astype(int)
        assert np.abs(crop[::8, ::8] - expected).max() <= 1
        # The chain's own landmarks ignore half a photo pixel, and that its windows have whole pixels.
        framed = points * [1, -1] + [0.5, size[1] - 0.5]
        framed = framed @ window.photo_to_crop[:2, :2] + window.photo_to_crop[:2, 2]
        framed = framed * 700 / 512 + 162
        expected = fixture.io[f"{name}.lm_in_1024"].numpy() * [1, -1] + [0, 1024]
        assert np.abs(framed - expected).max() < 0.5 * 300 / scale + 1


def test_labels_agree(fixture):
    angles, trans = (fixture.io[f"cam.{name}"].double().numpy() for name in ("angle", "trans"))
    raw = [alignment.eg3d_pose(alignment.face_pose(*pair)) for pair in zip(angles, trans, strict=True)]
    fixture.check("cam.raw_pose", _tensor(raw))
    cameras = [Camera(alignment.at_radius(pose, FFHQ.radius), LENS) for pose in raw]
    fixture.check("cam.orig", _tensor([label_of(camera) for camera in cameras]))
    fixture.check("cam.orig_mirror", _tensor([label_of(alignment.mirrored(camera)) for camera in cameras]))
    pivot = np.array([0, 0, 0.175])  # What the chain's other mode moves cameras around.
    around = []
    for pose in raw:
        pose[:3, 3] -= pivot
        pose = alignment.at_radius(pose, FFHQ.radius)
        pose[:3, 3] += pivot
        around.append(Camera(pose, LENS))
    fixture.check("cam.cor", _tensor([label_of(camera) for camera in around]))
    fixture.check("cam.cor_mirror", _tensor([label_of(alignment.mirrored(camera)) for camera in around]))
