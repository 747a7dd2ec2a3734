# SPDX-License-Identifier: Apache-2.0
"""The main job on the public-domain sample photo, through the command line, with the shipped weights."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from backend.folders import PHOTO_MODELS, model_path
from backend.glb import read_record

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not all(model_path(name).is_file() for name in PHOTO_MODELS),
    reason="the photo networks are not installed; run scripts/fetch_photo_models.py",
)


def protome(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "backend", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample's head, report and preview, at the default settings."""
    folder = tmp_path_factory.mktemp("a head with a blank")
    run = protome(
        "invert", "--sample", "-o", folder / "head.glb", "--report", folder / "report.json",
        "--preview", folder / "preview.png",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return folder


def test_the_report_holds_what_scripts_need(sample: Path) -> None:
    report = json.loads((sample / "report.json").read_text())
    assert {"timings_s", "peak_rss_mb", "camera", "faces", "scores", "mesh", "model", "seed"} <= report.keys()
    assert np.array(report["camera"]["cam2world"]).shape == (4, 4)
    assert np.array(report["camera"]["intrinsics"]).shape == (3, 3)
    assert report["camera"]["image_size"] > 0
    assert report["model"]["commercial_use"] == "yes"
    assert report["peak_rss_mb"] < 4096
    assert len(report["faces"]) == 1


def test_the_mesh_is_closed_manifold_and_of_the_chosen_size(sample: Path) -> None:
    mesh = json.loads((sample / "report.json").read_text())["mesh"]
    assert 0.97 * 30_000 <= mesh["faces"] <= 30_000  # Mending takes a few away.
    assert mesh["watertight"]
    assert mesh["manifold"]
    assert mesh["components"] == 1


def test_the_head_looks_like_the_person(sample: Path) -> None:
    # dlib calls two pictures the same person below 0.6; the bounds are those of the main job.
    scores = json.loads((sample / "report.json").read_text())["scores"]
    assert scores["identity_0"] <= 0.55
    assert max(scores["identity_-30"], scores["identity_30"]) <= 0.65


def test_trimesh_opens_the_head_at_real_size(sample: Path) -> None:
    scene = trimesh.load(sample / "head.glb")
    height = float(np.ptp(scene.bounds, axis=0)[1])
    assert 0.25 < height < 0.6
    texture = next(iter(scene.geometry.values())).visual.material.baseColorTexture
    assert texture.size == (2048, 2048)


def test_sliders_move_geometry_and_have_ranges(sample: Path) -> None:
    record = read_record(sample / "head.glb")
    assert {"Shape", "Expression"} <= {slider.group for slider in record.sliders}
    assert all(slider.minimum < slider.maximum for slider in record.sliders)
    content = (sample / "head.glb").read_bytes()
    gltf = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    mesh = gltf["meshes"][0]
    assert mesh["extras"]["targetNames"] == [slider.name for slider in record.sliders]
    reach_mm = {}
    for slider, target in zip(record.sliders, mesh["primitives"][0]["targets"], strict=True):
        accessor = gltf["accessors"][target["POSITION"]]
        reach_mm[slider.name] = 1000 * max(np.abs([*accessor["min"], *accessor["max"]]))
    # A jaw opens by centimetres, a standard deviation of a face's width is millimetres.
    assert reach_mm["Mouth open"] > 10
    assert reach_mm["Face width"] > 1
    assert sum(reach > 0.5 for reach in reach_mm.values()) >= 40
    assert max(reach_mm.values()) < 60


def test_the_preview_is_a_picture(sample: Path) -> None:
    with Image.open(sample / "preview.png") as picture:
        assert picture.width > 1000
        assert np.asarray(picture.convert("L")).std() > 20


def test_resynthesis_widens_the_jaw_and_leaves_the_source_alone(sample: Path, tmp_path: Path) -> None:
    source = sample / "head.glb"
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    run = protome("resynthesize", source, "--slider", "Jaw width=2", "-o", tmp_path / "wider.glb")
    assert run.returncode == 0, run.stderr
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before
    old, new = read_record(source), read_record(tmp_path / "wider.glb")
    assert new.slider_values == {"Jaw width": 2.0}
    assert not np.array_equal(old.codes["shape"], new.codes["shape"])
    np.testing.assert_array_equal(old.codes["photo_shape"], new.codes["photo_shape"])


def test_a_photo_without_a_face_is_one_sentence_and_nothing_is_lost(tmp_path: Path) -> None:
    photo, output = tmp_path / "wall.png", tmp_path / "head.glb"
    Image.new("RGB", (400, 400), (120, 130, 140)).save(photo)
    output.write_bytes(b"an earlier head")
    run = protome("invert", photo, "-o", output)
    assert run.returncode == 2
    assert "No face was found in wall.png" in run.stderr
    assert "Traceback" not in run.stderr
    assert output.read_bytes() == b"an earlier head"


def test_drafts_with_the_same_seed_are_equal(tmp_path: Path) -> None:
    for name in ("a.glb", "b.glb"):
        run = protome("invert", "--sample", "-o", tmp_path / name, "--quality", "draft", "--texture", "1024")
        assert run.returncode == 0, run.stderr
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
