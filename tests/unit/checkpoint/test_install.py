# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to an installed model and back."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from backend import models
from backend.catalogue import find_generator, installed_generators, read_header
from backend.checkpoint.contents import Contents
from backend.checkpoint.identify import identify
from backend.checkpoint.install import add_model
from backend.checkpoint.licences import PUBLISHED
from backend.checkpoint.loading import load_generator
from backend.checkpoint.options import family_of_shapes, options_of_shapes
from backend.checkpoint.pose_prediction import predictor_config, predictor_shapes
from backend.checkpoint.upkeep import verify_model
from backend.encoder.triplanenet import read_config
from backend.generator import official
from backend.generator.config import RenderConfig
from backend.generator.pose_predictor import PosePredictor, PosePredictorConfig, is_used
from tests.checkpoints import (
    FACES,
    GRID,
    GRID_OPTIONS,
    INIT,
    PORTRAIT,
    accept,
    network_file,
    network_pickle,
    network_state,
    placeholder,
    portrait_pickle,
    portrait_state,
    refused,
    saved,
)
from tests.unit.parity import FOLDER, Fixture, fixtures

# --- conversion -------------------------------------------------------------------------------------------------------


def test_an_official_pickle_becomes_a_model_with_its_own_options(tmp_path):
    file = tmp_path / "network.pkl"
    file.write_bytes(network_pickle())
    shown = []
    added = add_model(file, accept=lambda licence: not shown.append(licence))
    assert (added.name, added.family, added.remarks) == ("network", "eg3d", [])
    assert shown == [PUBLISHED["eg3d"]]
    loaded = load_generator(find_generator("network"))
    config = loaded.generator.config
    assert (config.side, config.camera.radius, config.camera.pivot, config.neural_resolution) == (
        1.1,
        2.6,
        (0, 0, 0.1),
        64,
    )
    assert (config.render.near, config.render.coarse_samples, config.render.fine_samples) == (2.2, 12, 8)
    state, expected = loaded.generator.state_dict(), network_state()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert not loaded.generator.training
    assert not any(parameter.requires_grad for parameter in loaded.generator.parameters())


def test_rendering_options_that_nobody_knows_are_remarked(tmp_path):
    file = network_file(tmp_path, rendering=FACES | {"fog": 3, "density_reg": 0.25})
    (remark,) = add_model(file, accept=accept).remarks
    assert remark.endswith("leaves them out: fog.")


def test_the_header_says_where_a_model_comes_from_and_under_what_terms(file):
    add_model(file, accept=accept, name="Büste 2")
    one = find_generator("Büste 2")
    assert one.metadata["source_file"] == "network.pth"
    assert one.metadata["source_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert one.licence == PUBLISHED["eg3d"].name and one.commercial_use == "no"
    assert one.metadata["licence_text"] == PUBLISHED["eg3d"].text
    assert one.metadata["licence_accepted"][:2] == "20"
    assert one.metadata["id"].startswith("eg3d-") and len(one.metadata["id"]) == len("eg3d-") + 16
    assert [model.name for model in installed_generators()][-1] == "Büste 2"
    elements = {place.element for place in read_header(one.path).tensors.values()}
    assert elements == {"F32"}


def test_the_same_weights_have_the_same_id_under_any_name(file):
    ids = set()
    for name in ("one", "two"):
        add_model(file, accept=accept, name=name)
        ids.add(find_generator(name).metadata["id"])
    assert len(ids) == 1


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_bare_tensors_get_the_published_options_and_the_remark_says_so(tmp_path, suffix):
    path = tmp_path / f"bare.{suffix}"
    (torch.save if suffix == "pt" else save_file)(network_state(), path)
    added = add_model(path, accept=accept)
    assert "no options" in added.remarks[0] and added.licence.commercial_use == "unknown"
    config = load_generator(find_generator("bare")).generator.config
    assert config.render == RenderConfig() and config.side == 1.0
    assert (config.z_dim, config.w_dim, config.plane_resolution) == (12, 16, 8)


def test_half_and_double_precision_become_single(tmp_path):
    state = network_state()
    converted = {name: value.half() if "conv" in name else value.double() for name, value in state.items()}
    add_model(saved(tmp_path, converted), accept=accept)
    tensors, _ = models.read_weights(find_generator("state").path)
    assert {value.dtype for value in tensors.values()} == {torch.float32}
    assert all(torch.equal(tensors[name], converted[name].float()) for name in state)


def test_panoheads_pickle_is_told_from_eg3ds(tmp_path):
    path = tmp_path / "pano.pkl"
    path.write_bytes(network_pickle(network_state(GRID), init=INIT | {"architecture": "skip"}, rendering=GRID_OPTIONS))
    added = add_model(path, accept=accept)
    assert (added.family, added.licence) == ("panohead", PUBLISHED["panohead"])
    loaded = load_generator(find_generator("pano"))
    assert loaded.generator.config.plane_depth == 3 and loaded.generator.config.has_camera_shift
    verify_model(find_generator("pano"))


def test_triplanenet_is_kept_with_its_generator_and_average(tmp_path, triplanenet):
    checkpoint = saved(tmp_path, {"state_dict": triplanenet, "opts": {"x": 1}, "step": 3}, "net.pt")
    average = torch.randn(1, 16)
    decoder = {
        name.removeprefix("decoder."): value for name, value in triplanenet.items() if name.startswith("decoder.")
    }
    options = INIT | {
        "rendering_kwargs": FACES | {"superresolution_module": "models.eg3d.sr.SuperresolutionHybrid8XDC"}
    }
    generator = saved(tmp_path, {"G_ema": decoder, "init_kwargs": options, "latent_avg": average}, "ffhq.pth")
    added = add_model(checkpoint, accept=accept, generator=generator)
    assert (added.family, added.licence, added.remarks) == ("triplanenet", PUBLISHED["triplanenet"], [])
    loaded = load_generator(find_generator("net"))
    assert torch.equal(loaded.encoder.latent_avg, average.expand(8, 16))
    weights = [one.decoder.net[0].weight.data_ptr() for one in (loaded.generator, loaded.encoder.decoder)]
    assert weights[0] == weights[1] and loaded.generator.config.render.near == 2.2
    # The published script samples the encoder's renderings twice as often.
    assert (loaded.generator.config.render.coarse_samples, loaded.encoder.decoder.config.render.coarse_samples) == (
        12,
        24,
    )
    assert verify_model(find_generator("net")) == len(triplanenet) + 1
    own = add_model(checkpoint, accept=accept, name="own average")
    assert len(own.remarks) == 2
    loaded = load_generator(find_generator("own average"))
    assert torch.equal(loaded.encoder.latent_avg[0], decoder["backbone.mapping.w_avg"])


def test_3dportraitgan_brings_its_pose_predictor(tmp_path):
    sizes = PosePredictorConfig(32, 64, channel_base=96, channel_max=6, head_widths=(8, 7))
    predictor = PosePredictor(sizes).state_dict()
    path = tmp_path / "portrait.pkl"
    path.write_bytes(portrait_pickle(predictor))
    added = add_model(path, accept=accept)
    assert (added.family, added.remarks) == ("portrait3d", [])
    loaded = load_generator(find_generator("portrait"))
    assert loaded.pose_predictor.config == sizes
    state = loaded.pose_predictor.state_dict()
    assert all(torch.equal(state[name], predictor[name]) for name in predictor)
    stored = read_header(added.path).tensors
    left_out = ("renderer.", "pose_predictor.mapping.", "pose_predictor.b4.fc.", "pose_predictor.b4.out.")
    assert not any(name.startswith(left_out) for name in stored)
    assert verify_model(find_generator("portrait")) == len(network_state(PORTRAIT)) + len(predictor)


def test_3dportraitgans_bare_tensors_come_without_a_pose_predictor(tmp_path):
    added = add_model(saved(tmp_path, portrait_state()), accept=accept)
    assert added.family == "portrait3d" and "D_ema" in added.remarks[1]
    assert load_generator(find_generator("state")).pose_predictor is None


@pytest.mark.parametrize("path", fixtures(lambda meta: "pose_branch_widths" in meta))
def test_a_pose_predictors_sizes_are_read_from_its_tensors(path):
    fixture = Fixture(path)
    meta = fixture.meta
    found = {f"pose_predictor.{name}": tuple(value.shape) for name, value in fixture.state().items() if is_used(name)}
    config = predictor_config(found, replace(PORTRAIT, neural_resolution=meta["neural_rendering_resolution"]))
    assert (config.image_resolution, config.head_widths) == (meta["img_resolution"], tuple(meta["pose_branch_widths"]))
    assert predictor_shapes(config) == found


def test_triplanenets_generator_file_alone_is_an_eg3d_generator(tmp_path):
    content = {
        "G_ema": network_state(),
        "init_kwargs": INIT | {"rendering_kwargs": FACES},
        "latent_avg": torch.zeros(16),
    }
    added = add_model(saved(tmp_path, content), accept=accept)
    assert (added.family, added.licence.commercial_use, added.remarks) == ("eg3d", "no", [])


def test_a_generator_in_another_file_is_for_triplanenet_only(file):
    assert refused(lambda: add_model(file, accept=accept, generator=file)).code == "checkpoint_network"


# --- published sizes --------------------------------------------------------------------------------------------------


def published(name: str) -> dict:
    path = FOLDER.parent / "state_dicts" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no list of published tensors in {path.parent} (set PROTOME_PARITY_DIR)")
    return json.loads(path.read_text())


def shapes_of(tensors: dict) -> dict:
    return {name: tuple(entry["shape"]) for name, entry in tensors.items() if not official.is_ignored(name)}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("eg3d_ffhq512-128", "eg3d"),
        ("panohead_512", "panohead"),
        ("portrait3d_512", "portrait3d"),
        ("portrait3d_256", "portrait3d"),
    ],
)
def test_published_networks_are_known_by_their_tensors_alone(name, family):
    listed = published(name)
    shapes = shapes_of(listed["tensors"])
    assert family_of_shapes(shapes) == family
    from_shapes = official.config_of(*options_of_shapes(shapes, family), family=family, shapes=shapes)
    stated = official.config_of(listed["init_kwargs"], family=family, shapes=shapes)
    assert from_shapes == stated
    assert official.expected_shapes(from_shapes) == shapes


@pytest.mark.parametrize("kind", ["8X", "4X", "2X"])
def test_published_super_resolutions_are_told_apart(kind):
    listed = published("eg3d_ffhq512-128")
    shapes = {name: shape for name, shape in shapes_of(listed["tensors"]).items() if not name.startswith("superres")}
    variant = listed["superresolution_variants"][f"SuperresolutionHybrid{kind}"]
    shapes |= {f"superresolution.{name}": tuple(entry["shape"]) for name, entry in variant.items()}
    config = official.config_of(*options_of_shapes(shapes, "eg3d"), family="eg3d", shapes=shapes)
    assert config.superresolution.kind == kind and official.expected_shapes(config) == shapes
    assert config.render.white_back == (kind == "2X")  # The only published 2X generator shows cars on white.


@pytest.mark.parametrize(
    ("name", "version"), [("triplanenet_v1", 1), ("triplanenet_v2", 2), ("triplanenet_v2_upsample", 2)]
)
def test_published_triplanenets_are_whole(name, version):
    shapes = shapes_of(published(name)["tensors"])
    if "upsample" in name:  # Its list has only what differs from version 2.
        kept = shapes_of(published("triplanenet_v2")["tensors"])
        kept = {key: shape for key, shape in kept.items() if ".up" not in key and "final_head" not in key}
        shapes = kept | shapes
    generator = shapes_of(published("eg3d_ffhq512-128")["tensors"])
    shapes |= {f"decoder.{key}": shape for key, shape in generator.items()}
    found = identify(Contents({key: placeholder(shape) for key, shape in shapes.items()}))
    assert found.family == "triplanenet" and found.tensors.keys() == shapes.keys()
    assert read_config(shapes).version == version
