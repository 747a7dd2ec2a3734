# SPDX-License-Identifier: Apache-2.0
"""3DPortraitGAN with its pose predictor and a user's body model, from the files to a head in the photo's pose.

The network's weights are random and the body is a ball on an ellipsoid; prediction, camera, deformation, meshing,
painting, sliders and record are not.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
import trimesh
from PIL import Image

from backend import jobs, likeness
from backend.checkpoint.install import add_model
from backend.checkpoint.upkeep import remove_model
from backend.folders import PHOTO_MODELS, model_path
from backend.generator.body_pose import mirror_pose
from backend.generator.pose_predictor import PosePredictor, PosePredictorConfig
from backend.glb import read_record
from backend.protocol import Invert, Resynthesize
from tests.bodies import as_published, body_arrays, python2_pickle
from tests.checkpoints import accept
from tests.end_to_end.test_published_models import checkpoint, pytestmark  # noqa: F401 - the same reasons to skip

SETTINGS = {"quality": "draft", "device": "cpu", "faces": 6_000, "texture_px": 1024, "model": "portrait"}
POSE = np.array([0.1, 0.3, 0.0, -0.1, 0.1, 0.0])


def predictor() -> dict[str, torch.Tensor]:
    """Random, but for an answer that is close to ``POSE``."""
    torch.manual_seed(0)
    state = PosePredictor(PosePredictorConfig(32, 64, channel_base=96, channel_max=6, head_widths=(8, 7))).state_dict()
    state["pose_branch.net.2.weight"] *= 0.02
    state["pose_branch.net.2.bias"] = torch.from_numpy(POSE).float()
    return state


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the head and its report."""
    folder = tmp_path_factory.mktemp("posed")
    (folder / "home" / "models").mkdir(parents=True)
    for name in PHOTO_MODELS:
        shutil.copy(model_path(name), folder / "home" / "models")
    (folder / "portrait.pkl").write_bytes(checkpoint("portrait3d_tiny", D_ema=predictor()))
    (folder / "SMPL_NEUTRAL.pkl").write_bytes(python2_pickle(as_published(body_arrays()), 0))
    photo = folder / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(photo)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROTOME_HOME", str(folder / "home"))
        patch.setattr(likeness, "TURNS_DEG", (0,))
        for name in ("portrait", "SMPL_NEUTRAL"):
            add_model(folder / f"{name}.pkl", accept=accept)
        wanted = Invert(str(photo), str(folder / "head.glb"), SETTINGS, str(folder / "report.json"), None)
        jobs.invert_photo(wanted, lambda _: None, load_pipeline=jobs.load_pipeline)
        yield folder


def size(path: Path) -> np.ndarray:
    """Of the mesh, metres."""
    return np.ptp(trimesh.load(path, force="mesh").vertices, axis=0)


def test_the_predicted_pose_is_in_report_and_record_and_the_mesh_is_whole(folder):
    report = json.loads((folder / "report.json").read_text())
    assert "the installed body model carried the head along" in report["notes"][0]
    assert report["scores"]["neck_deg"] == pytest.approx(np.degrees(np.linalg.norm(POSE[:3])), abs=3)
    assert report["mesh"]["watertight"]
    # The photo is nearly frontal: a degree of its camera decides whether the predictor sees it mirrored.
    mirrored = mirror_pose(torch.from_numpy(POSE)[None])[0].numpy()
    pose = read_record(folder / "head.glb").codes["pose"]
    np.testing.assert_allclose(pose, mirrored if pose[1] < 0 else POSE, atol=0.05)


def test_without_the_body_the_head_goes_on_at_rest_and_says_so(folder):
    remove_model(model_path("SMPL_NEUTRAL"))
    record = jobs.read_record_file(folder / "head.glb")
    again = Resynthesize(record, {}, str(folder / "again.glb"), {"device": "cpu"})
    result = jobs.resynthesize_head(again, lambda _: None, load_pipeline=jobs.load_pipeline)
    assert "no body model is installed" in result["report"]["notes"][0]
    assert np.abs(size(folder / "again.glb") - size(folder / "head.glb")).max() > 0.003
