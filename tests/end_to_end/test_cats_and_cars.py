# SPDX-License-Identifier: Apache-2.0
"""A generator of cats from its file to a GLB and on, by the commands that a user types; its weights are random.

No face detection network is installed here: whatever asked for one would fail.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import trimesh
from PIL import Image

from backend import cli
from backend.glb import read_record
from tests.end_to_end.test_published_models import checkpoint
from tests.unit import parity

pytestmark = pytest.mark.skipif(not parity.FOLDER.is_dir(), reason=f"no parity numbers in {parity.FOLDER}")
SETTINGS = ["--quality", "draft", "--device", "cpu", "--faces", "6000", "--texture", "1024"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With an added model of cats and a square picture of one."""
    folder = tmp_path_factory.mktemp("cats")
    (folder / "network.pkl").write_bytes(checkpoint("eg3d_tiny_8xdc"))
    cat = skimage.data.chelsea()
    Image.fromarray(cat).save(folder / "wide.png")
    Image.fromarray(cat[:300, 90:390]).save(folder / "cat.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROTOME_HOME", str(folder / "home"))
        add = ["models", "add", str(folder / "network.pkl"), "--name", "cats", "--subject", "cat", "--accept-licence"]
        assert cli.main(add) == cli.OK
        yield folder


def invert(folder: Path, picture: str) -> int:
    """The exit code."""
    wanted = ["-o", str(folder / "cat.glb"), "--report", str(folder / "report.json")]
    return cli.main(["invert", str(folder / picture), "--model", "cats", *wanted, *SETTINGS])


@pytest.fixture(scope="module")
def made(folder):
    assert invert(folder, "cat.png") == cli.OK
    return folder


def test_a_picture_that_is_not_cropped_is_refused_and_says_how(folder, capfd):
    assert invert(folder, "wide.png") == cli.REFUSED
    assert "Crop it to a square with the cat's face" in capfd.readouterr().err
    assert not (folder / "cat.glb").exists()


def test_a_square_picture_becomes_a_closed_mesh_and_the_report_says_that_no_face_took_part(made):
    report = json.loads((made / "report.json").read_text())
    assert "makes cats" in report["notes"][0] and report["faces"] == []
    assert {"yaw_deg", "pitch_deg", "pixels"} <= set(report["scores"])
    assert not any(name.startswith(("identity", "landmark")) for name in report["scores"])
    assert report["mesh"]["watertight"] and report["mesh"]["manifold"]
    mesh = trimesh.load(made / "cat.glb", force="mesh")
    assert np.isfinite(mesh.vertices).all() and 0.03 < np.ptp(mesh.vertices, axis=0).max() < 0.4  # Metres.


def test_its_sliders_are_directions_of_the_weights_and_can_be_baked_in(made):
    record = read_record(made / "cat.glb")
    assert [slider.name for slider in record.sliders] == [f"Explore {number}" for number in range(1, 7)]
    again = ["resynthesize", str(made / "cat.glb"), "--slider", "Explore 1=1", "-o", str(made / "again.glb")]
    assert cli.main([*again, "--device", "cpu"]) == cli.OK
    assert read_record(made / "again.glb").slider_values == {"Explore 1": 1.0}
