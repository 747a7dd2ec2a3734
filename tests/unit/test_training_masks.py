# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.errors import ModelError
from backend.training.masks import MASKS, masks_at_uv

TEXTURES = Path(__file__).resolve().parents[3] / "shared" / "assets" / "makehuman" / "mpfb2" / "textures"


def write_masks(folder, picture):
    for name in MASKS:
        Image.fromarray(picture).save(folder / f"mpfb_{name}.jpg", quality=95)


def test_v_points_up_and_u_to_the_right(tmp_path):
    picture = np.zeros((2048, 2048), np.uint8)
    picture[:1024, 1024:] = 255
    write_masks(tmp_path, picture)
    values = masks_at_uv(tmp_path, np.array([[0.75, 0.75], [0.25, 0.75], [0.75, 0.25]]))
    assert set(values) == set(MASKS)
    np.testing.assert_allclose(values["lips"], [1, 0, 0], atol=0.01)


def test_a_missing_mask_is_named(tmp_path):
    with pytest.raises(ModelError, match="mpfb_lips"):
        masks_at_uv(tmp_path, np.zeros((1, 2)))


@pytest.mark.skipif(not TEXTURES.is_dir(), reason="the MakeHuman textures are not in ../shared")
def test_real_masks_cover_small_parts_of_the_texture():
    u, v = np.meshgrid(np.linspace(0, 1, 400), np.linspace(0, 1, 400))
    covered = {name: value.mean() for name, value in masks_at_uv(TEXTURES, np.stack([u, v], -1).reshape(-1, 2)).items()}
    assert 0 < covered["lips"] < 0.01 and 0 < covered["eyelids"] < 0.01 and 0.02 < covered["face"] < 0.1
