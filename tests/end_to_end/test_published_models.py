# SPDX-License-Identifier: Apache-2.0
"""Published generators from their checkpoint to a GLB and on to a resynthesized head.

The weights are random, so pictures and shapes are noise; crop, camera, inversion, meshing, painting, sliders, record
and licence are not.
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
from backend.catalogue import find_generator
from backend.checkpoint.install import add_model
from backend.folders import PHOTO_MODELS, model_path
from backend.glb import read_record
from backend.protocol import Invert, Resynthesize
from tests.checkpoints import network_pickle
from tests.unit import parity

pytestmark = [
    pytest.mark.skipif(
        not all(model_path(name).is_file() for name in PHOTO_MODELS),
        reason="the photo networks are not installed; run scripts/fetch_photo_models.py",
    ),
    pytest.mark.skipif(not parity.FOLDER.is_dir(), reason=f"no parity numbers in {parity.FOLDER}"),
]
# Fixture and the method that its head is made with.
MODELS = {"eg3d_tiny_8xdc": "spi", "panohead_tiny": "pti", "portrait3d_tiny": "protome"}
SETTINGS = {"quality": "draft", "device": "cpu", "faces": 12_000, "texture_px": 1024}
SOLID = 20.0  # Added to the raw density of a fixture that is nowhere solid.


def checkpoint(name: str, **others: dict[str, torch.Tensor]) -> bytes:
    """A fixture's network as the published tools would have written it.

    Args:
        name: Of the fixture.
        others: Further networks in the file.
    """
    fixture = parity.Fixture(parity.FOLDER / f"{name}.json")
    state = fixture.state()
    if name == "panohead_tiny":
        state["decoder.net.2.bias"] = state["decoder.net.2.bias"] + SOLID * (torch.arange(33) == 0)
    init = {**parity.init_kwargs_of(fixture.meta), "img_resolution": 512, "img_channels": 3}
    options = fixture.meta.get("rendering_kwargs") or fixture.meta["rendering_kwargs_effective"]
    return network_pickle(state, init=init, rendering=options, others=others)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Protome's folder with the photo networks only, where the tests add their models."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "models").mkdir()
    for name in PHOTO_MODELS:
        shutil.copy(model_path(name), folder / "models")
    return folder


@pytest.fixture(scope="module", params=MODELS)
def made(request, home, tmp_path_factory) -> tuple[str, Path]:
    """Name of a model that was added, and a folder with the head and the report that it made of the astronaut."""
    folder = tmp_path_factory.mktemp("head")
    (folder / "network.pkl").write_bytes(checkpoint(request.param))
    photo = folder / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(photo)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROTOME_HOME", str(home))
        patch.setattr(likeness, "TURNS_DEG", (0,))
        added = add_model(folder / "network.pkl", accept=lambda _: True, name=request.param)
        settings = {**SETTINGS, "model": added.name, "method": MODELS[request.param]}
        wanted = Invert(str(photo), str(folder / "head.glb"), settings, str(folder / "report.json"), None)
        jobs.invert_photo(wanted, lambda _: None, load_pipeline=jobs.load_pipeline)
        yield request.param, folder


def test_the_mesh_is_closed_and_has_the_size_of_a_head(made):
    _, folder = made
    report = json.loads((folder / "report.json").read_text())
    assert report["mesh"]["watertight"] and report["mesh"]["manifold"] and report["mesh"]["faces"] <= 12_000
    mesh = trimesh.load(folder / "head.glb", force="mesh")
    assert 0.05 < np.ptp(mesh.vertices, axis=0).max() < 1.0  # Metres.
    assert np.isfinite(mesh.vertices).all()


def test_record_file_and_report_say_that_it_is_not_for_commercial_use(made):
    name, folder = made
    record = read_record(folder / "head.glb")
    metadata = find_generator(name).metadata
    assert record.generator == {key: metadata[key] for key in ("id", "family", "licence", "commercial_use")}
    assert record.generator["commercial_use"] == "no"
    content = (folder / "head.glb").read_bytes()
    extras = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])["nodes"][0]["extras"]
    assert "not for commercial use" in extras["protome_licence"]
    assert json.loads((folder / "report.json").read_text())["licence_note"] == extras["protome_licence"]


def test_only_a_network_of_bodies_has_something_to_note(made):
    name, folder = made
    notes = json.loads((folder / "report.json").read_text())["notes"]
    assert len(notes) == name.startswith("portrait3d") and all("no pose predictor" in note for note in notes)


def test_every_slider_moves_the_mesh(made):
    name, folder = made
    record = read_record(folder / "head.glb")
    assert len(record.sliders) >= 4
    assert record.codes["ws"].shape == record.codes["photo_ws"].shape
    content = (folder / "head.glb").read_bytes()
    gltf = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    targets = gltf["meshes"][0]["primitives"][0]["targets"]
    assert len(targets) == len(record.sliders), name
    reach = [np.abs([*a["min"], *a["max"]]).max() for a in (gltf["accessors"][t["POSITION"]] for t in targets)]
    assert min(reach) > 1e-4 and max(reach) < 0.05


def test_a_slider_is_baked_in_and_the_head_goes_on_from_there(made):
    _, folder = made
    record = jobs.read_record_file(folder / "head.glb")
    slider = read_record(folder / "head.glb").sliders[0].name
    again = Resynthesize(record, {slider: 1.0}, str(folder / "again.glb"), {"device": "cpu"})
    jobs.resynthesize_head(again, lambda _: None, load_pipeline=jobs.load_pipeline)
    before, after = read_record(folder / "head.glb"), read_record(folder / "again.glb")
    assert after.slider_values == {slider: 1.0} and after.generator == before.generator
    np.testing.assert_array_equal(after.codes["photo_ws"], before.codes["ws"])
    assert np.abs(after.codes["ws"] - before.codes["ws"]).max() > 1e-3
    assert set(after.codes) == set(before.codes)
