# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from backend import preview
from backend.camera import project
from backend.errors import OutputError
from backend.head import PHOTO_EXPRESSION, MorphTarget, Slider
from backend.preview import BACKGROUND, CELL_PX, framing_camera, turntable_images, write_preview
from tests.analytic import example_head
from tests.painted_head import painted_head, painted_texture, true_paint


@pytest.fixture(scope="module")
def head():
    mesh = painted_head()
    plain = example_head(mesh)
    return type(plain)(mesh, painted_texture(mesh, true_paint, 256), [], plain.record, plain.metres_per_unit, {})


def test_the_whole_head_fits_and_fills_the_picture(head):
    for yaw_deg in (0.0, 60.0, 180.0):
        place, depth = project(framing_camera(head.mesh, yaw_deg), head.mesh.vertices.astype(np.float64))
        assert depth.min() > 0
        assert place.min() >= 0.029 and place.max() <= 0.971
        assert np.ptp(place[:, 1]) > 0.9


def test_a_flat_wide_mesh_fits_from_every_side(head):
    mesh = type(head.mesh)(head.mesh.vertices * (3, 0.2, 0.5) + (5, 5, 5), head.mesh.faces)
    for yaw_deg in range(0, 360, 30):
        place, _ = project(framing_camera(mesh, float(yaw_deg)), mesh.vertices)
        assert place.min() >= 0 and place.max() <= 1


def test_turning_shows_the_sides_that_the_yaw_says(head):
    """The eyes are pale: both from the front, the person's left one from 75 degrees, none from behind."""
    front, left, right, back = turntable_images(head, [0.0, 75.0, -75.0, 180.0], 128)
    pale = [
        (np.asarray(image).min(axis=2) > 130) & (image != BACKGROUND).any(axis=2)
        for image in (front, left, right, back)
    ]
    assert pale[0][:, :64].sum() > 10 and pale[0][:, 64:].sum() > 10
    assert pale[1].sum() > 5 and pale[1][:, 64:].sum() == 0
    assert pale[2].sum() > 5 and pale[2][:, :64].sum() == 0
    assert pale[3].sum() == 0


def test_the_sheet_shows_the_photo_first_and_seven_more_pictures(head, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (CELL_PX, CELL_PX, 3)).astype(np.uint8)
    write_preview(tmp_path / "preview.png", head, photo)
    with Image.open(tmp_path / "preview.png") as picture:
        sheet = np.asarray(picture)
    np.testing.assert_array_equal(sheet[:CELL_PX, :CELL_PX], photo)
    rows, columns = sheet.shape[0] // 2, sheet.shape[1] // 4
    for row in range(2):
        for column in range(4):
            cell = sheet[row * rows : row * rows + CELL_PX, column * columns : (column + 1) * columns]
            assert (cell != BACKGROUND).any(axis=2).mean() > 0.2
            caption = sheet[row * rows + CELL_PX : (row + 1) * rows, column * columns : (column + 1) * columns]
            assert caption.max() > 200


def test_a_head_with_an_expression_of_its_own_is_shown_with_and_without_it(head, tmp_path, monkeypatch):
    """Twice as wide with it."""
    monkeypatch.setattr(preview, "CELL_PX", 96)
    slider = Slider(PHOTO_EXPRESSION, "Expression", 0.0, 1.0)
    wider = MorphTarget(slider, head.mesh.vertices * np.float32([1, 0, 0]))
    write_preview(tmp_path / "preview.png", replace(head, morph_targets=[wider]), None)
    with Image.open(tmp_path / "preview.png") as picture:
        cells = np.asarray(picture).reshape(3, -1, 4, 96, 3)[:, :96].transpose(0, 2, 1, 3, 4).reshape(12, 96, 96, 3)
    widths = [(cell != BACKGROUND).any(axis=(0, 2)).sum() for cell in cells]
    heights = [(cell != BACKGROUND).any(axis=(1, 2)).sum() for cell in cells]
    with_it, at_rest = (widths[number] / heights[number] for number in (0, 7))
    assert with_it == pytest.approx(2 * at_rest, rel=0.05)
    assert widths[-1] == 0 < widths[-2]


def test_without_a_photo_and_with_a_small_one_the_sheet_is_written(head, tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "CELL_PX", 48)
    for number, photo in enumerate((None, np.full((50, 50, 3), 255, np.uint8))):
        path = tmp_path / f"blätt {number}.png"
        write_preview(path, head, photo)
        with Image.open(path) as sheet:
            assert sheet.format == "PNG"


def test_a_sheet_that_cannot_be_written_is_an_output_error(head, tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "CELL_PX", 48)
    with pytest.raises(OutputError):
        write_preview(tmp_path / "nowhere" / "preview.png", head, None)
