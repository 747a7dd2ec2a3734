# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to an installed model and back, and every way in which nothing is installed."""

import hashlib
import json
import math
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from backend import models
from backend.catalogue import find_generator, installed_generators, read_header
from backend.checkpoint import install
from backend.checkpoint.contents import Contents
from backend.checkpoint.identify import identify
from backend.checkpoint.install import add_model
from backend.checkpoint.licences import PUBLISHED
from backend.checkpoint.loading import load_generator
from backend.checkpoint.options import family_of_shapes, options_of_shapes
from backend.checkpoint.plain import LazyTensor, Storage, contiguous_stride
from backend.checkpoint.pose_prediction import predictor_config, predictor_shapes
from backend.checkpoint.upkeep import verify_model
from backend.encoder.triplanenet import read_config
from backend.errors import ModelError, OutputError, ProtomeError, SettingsError
from backend.folders import models_folder
from backend.generator import official
from backend.generator.config import RenderConfig
from backend.generator.pose_predictor import PosePredictor, PosePredictorConfig, is_used
from tests.checkpoints import (
    FACES,
    GRID,
    GRID_OPTIONS,
    INIT,
    accept,
    network_file,
    network_pickle,
    network_state,
    saved,
    triplanenet_state,
)
from tests.unit.parity import FOLDER, Fixture, fixtures


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTOME_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path):
    """A published generator with its options, in the kind of file that is read fastest."""
    return network_file(tmp_path)


def folder_names() -> list[str]:
    return sorted(path.name for path in models_folder().glob("*")) if models_folder().is_dir() else []


def refused(call, kind: type[ProtomeError] = ModelError) -> ProtomeError:
    """A refusal in one sentence or two, with the models folder as it was."""
    before = folder_names()
    with pytest.raises(kind) as caught:
        call()
    assert folder_names() == before
    assert str(caught.value).endswith(".") and str(caught.value).isprintable()
    return caught.value


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


@pytest.fixture(scope="module")
def triplanenet() -> dict:
    return triplanenet_state()


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
    assert loaded.generator is loaded.encoder.decoder and loaded.generator.config.render.near == 2.2
    assert verify_model(find_generator("net")) == len(triplanenet) + 1
    own = add_model(checkpoint, accept=accept, name="own average")
    assert len(own.remarks) == 2
    loaded = load_generator(find_generator("own average"))
    assert torch.equal(loaded.encoder.latent_avg[0], decoder["backbone.mapping.w_avg"])


PORTRAIT = replace(
    GRID, family="portrait3d", pose_dim=6, has_camera_shift=False, mesh_share=0.8, raw_level=15.0, clamp=None
)


def portrait_state() -> dict:
    """A 3DPortraitGAN generator; the body's arrays, which are SMPL's, are left out."""
    return network_state(PORTRAIT) | {"renderer.shaped_smpl": torch.ones(4, 5, 3)}


def test_3dportraitgan_brings_its_pose_predictor(tmp_path):
    sizes = PosePredictorConfig(32, 64, channel_base=96, channel_max=6, head_widths=(8, 7))
    predictor = PosePredictor(sizes).state_dict()
    training = {"mapping.fc0.weight": torch.ones(2, 2), "b4.fc.weight": torch.ones(2, 2), "b4.out.bias": torch.ones(2)}
    path = tmp_path / "portrait.pkl"
    options = {name: value for name, value in GRID_OPTIONS.items() if name not in ("triplane_size", "trans_reg")}
    init = INIT | {"thickness": 0.25, "explicitly_symmetry": True, "batch_size": 4}
    path.write_bytes(
        network_pickle(portrait_state(), init=init, rendering=options, others={"D_ema": predictor | training})
    )
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


def placeholder(shape: tuple[int, ...]) -> LazyTensor:
    return LazyTensor(Storage(torch.float32, math.prod(shape)), 0, shape, contiguous_stride(shape))


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


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_nothing_is_installed_without_acceptance(file):
    error = refused(lambda: add_model(file, accept=lambda licence: False))
    assert error.code == "licence_not_accepted" and folder_names() == []


def test_missing_unknown_and_misshapen_tensors_are_named(tmp_path):
    state = network_state()
    name = "backbone.synthesis.b4.conv1.weight"
    lacking = {key: value for key, value in state.items() if key != name}
    error = refused(lambda: add_model(saved(tmp_path, lacking), accept=accept))
    assert error.code == "checkpoint_keys" and f"lacks {name}" in str(error)
    error = refused(lambda: add_model(saved(tmp_path, state | {"ema.beta": torch.ones(1)}), accept=accept))
    assert error.code == "checkpoint_keys" and "unknown ema.beta" in str(error)
    error = refused(lambda: add_model(saved(tmp_path, state | {name: torch.ones(8, 8, 3, 5)}), accept=accept))
    assert error.code == "checkpoint_shapes" and f"{name} [8, 8, 3, 5] instead of [8, 8, 3, 3]" in str(error)
    many = state | {f"other.{i}\x1b[31m": torch.ones(1) for i in range(30)}
    error = refused(lambda: add_model(saved(tmp_path, many), accept=accept))
    assert "and 18 more" in str(error) and "\x1b" not in str(error)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_finite_numbers_are_refused(tmp_path, value):
    state = network_state()
    state["decoder.net.0.weight"][0, 0] = value
    error = refused(lambda: add_model(saved(tmp_path, state), accept=accept))
    assert error.code == "checkpoint_values" and "decoder.net.0.weight" in str(error)


def test_doubles_too_large_for_single_precision_are_refused(tmp_path):
    state = network_state()
    state["decoder.net.0.weight"] = torch.full((8, 4), 1e300, dtype=torch.float64)
    assert refused(lambda: add_model(saved(tmp_path, state), accept=accept)).code == "checkpoint_values"


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"synthesis.b4.const": torch.ones(1), "mapping.fc0.weight": torch.ones(1)}, "StyleGAN2"),
        ({"layer1.0.conv1.weight": torch.ones(1)}, "names like layer1.0.conv1.weight"),
        ({"network.a": torch.ones(1)}, "Protome's own"),
    ],
)
def test_other_networks_are_named(tmp_path, state, sentence):
    error = refused(lambda: add_model(saved(tmp_path, state), accept=accept))
    assert error.code == "checkpoint_network" and sentence in str(error)


@pytest.mark.parametrize(
    ("init", "rendering"),
    [
        (INIT | {"z_dim": 10**12}, FACES),
        (INIT | {"mapping_kwargs": {"num_layers": 10**6}}, FACES),
        (INIT | {"z_dim": "twelve"}, FACES),
        (INIT | {"z_dim": -1}, FACES),
        (INIT | {"mapping_kwargs": 3}, FACES),
        (INIT | {"channel_base": float("nan")}, FACES),
        (INIT | {"rotation": 3}, FACES),
        (INIT | {"\x1b[2J\n": 3}, FACES),
        (INIT, FACES | {"box_warp": "wide"}),
        (INIT, FACES | {"box_warp": float("inf")}),
        (INIT, FACES | {"depth_resolution": 10**9}),
        (INIT, FACES | {"depth_resolution": 3}),
        (INIT, FACES | {"depth_resolution": "48"}),
        (INIT, FACES | {"depth_resolution_importance": 100_000}),
        (INIT, FACES | {"box_warp": 0}),
        (INIT, FACES | {"ray_start": 3.3, "ray_end": 2.25}),
        (INIT, FACES | {"avg_camera_radius": -1}),
        (INIT, FACES | {"superresolution_noise_mode": "loud"}),
        (INIT | {"conv_clamp": "x"}, FACES),
        (INIT | {"conv_clamp": -256}, FACES),
        (INIT | {"c_dim": 0}, FACES),
        (INIT | {"w_dim": True}, FACES),
        (INIT | {"mapping_kwargs": {"num_layers": 0}}, FACES),
        (INIT | {"channel_base": 1}, FACES),
        (INIT, FACES | {"avg_camera_pivot": [1]}),
        (INIT, FACES | {"superresolution_module": 7}),
        (INIT, FACES | {"superresolution_module": "os.system"}),
        (INIT, {name: value for name, value in FACES.items() if name != "ray_start"}),
    ],
)
def test_absurd_options_are_refused(tmp_path, init, rendering):
    path = network_file(tmp_path, init, rendering)
    refused(lambda: add_model(path, accept=accept))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("backbone.synthesis.b5.x", (1,)),
        (f"backbone.synthesis.b{2**500}.x", (1,)),
        ("backbone.synthesis.b4.torgb.bias", ()),
        ("decoder.net.0.weight", ()),
        ("decoder.net.0.weight", (2**40, 2**40)),
        ("decoder.net.0.weight", (2**62, 2**62, 2)),
        ("decoder.net.2.weight", (0,)),
        ("superresolution.block1.conv1.noise_const", (2**40, 2**40)),
        ("superresolution.block1.conv1.weight", (2**62, 3)),
    ],
)
@pytest.mark.parametrize("options", [(INIT, FACES), (None, None)], ids=["with options", "bare"])
def test_absurd_sizes_are_refused_before_any_network_is_made(name, shape, options):
    stride = (0,) * len(shape)  # So that hardly any values are needed.
    shapes = {key: tuple(value.shape) for key, value in network_state().items()}
    tensors = {key: placeholder(one) for key, one in shapes.items()}
    tensors[name] = LazyTensor(Storage(torch.float32, 1), 0, shape, stride)
    with pytest.raises(ModelError) as caught:
        identify(Contents(tensors, "TriPlaneGenerator", *options))
    assert caught.value.code.startswith("checkpoint_")


def test_tensors_that_share_their_values_cannot_fill_the_memory(tmp_path):
    state = network_state()
    largest = max(state.values(), key=torch.Tensor.numel).reshape(-1)
    shared = {name: largest[: value.numel()].reshape(value.shape) for name, value in state.items()}
    assert refused(lambda: add_model(saved(tmp_path, shared), accept=accept)).code == "checkpoint_unsafe"


def test_options_that_contradict_the_tensors_are_refused(tmp_path):
    path = network_file(tmp_path, INIT | {"w_dim": 20})
    assert refused(lambda: add_model(path, accept=accept)).code == "checkpoint_shapes"


def test_damaged_encoders_are_refused(tmp_path, triplanenet):
    path = tmp_path / "net.safetensors"
    encoders = {key: value for key, value in triplanenet.items() if not key.startswith("decoder.")}
    changes = [encoders]
    for name in ("psp_encoder.styles.0.linear.weight", "triplanenet_encoder.up2.conv.double_conv.0.weight"):
        changes.append({key: value for key, value in triplanenet.items() if key != name})
        changes.append(triplanenet | {name: torch.ones(2, 3, 4)})
    for state in changes:
        models.write_weights(path, state, {})
        refused(lambda: add_model(path, accept=accept))


@pytest.mark.parametrize(
    "name",
    [
        *["", " ", ".", "..", ".hidden", "a/b", "a\\b", "../x", "C:x", "x.", "a\nb", "\x1b[31m", "a\u202eb"],
        *["starter", "Starter", "face_mesh", "CON", "nul.weights", "lpt1", "x" * 65, "ü" * 40],
        *["-rf", "a*b", 'a"b', "a|b", "con .x", "com¹"],
    ],
)
def test_names_that_are_no_plain_file_names_are_refused(file, name):
    assert refused(lambda: add_model(file, accept=accept, name=name), SettingsError).code == "bad_name"


@pytest.mark.parametrize("name", ["ffhq512-128", "Büste", "頭", "a.b", "My model (2)", "x" * 64])
def test_plain_names_are_taken_as_they_are(file, name):
    assert add_model(file, accept=accept, name=name).path.name == f"{name}.safetensors"


def test_a_taken_name_keeps_the_model_that_has_it(file):
    add_model(file, accept=accept, name="Büste")
    before = find_generator("Büste").path.read_bytes()
    for same in ("Büste", "büste", "Bu\u0308ste"):
        error = refused(lambda same=same: add_model(file, accept=accept, name=same), SettingsError)
        assert error.code == "name_taken"
    assert find_generator("Büste").path.read_bytes() == before


def test_of_two_that_add_one_name_at_a_time_the_first_keeps_it(file):
    def slow_user(_):
        add_model(file, accept=accept, name="one")
        return True

    with pytest.raises(SettingsError, match="already a model") as caught:
        add_model(file, accept=slow_user, name="one")
    assert caught.value.code == "name_taken" and folder_names() == ["one.safetensors"]


def test_a_drive_without_links_is_no_obstacle(file, monkeypatch):
    def unable(path, target):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(install.Path, "hardlink_to", unable)
    add_model(file, accept=accept)
    assert folder_names() == ["network.safetensors"]


@pytest.mark.parametrize("moment", ["accept", "disk_usage", "read", "_write", "content_hash", "replace"])
def test_ctrl_c_at_any_step_leaves_the_folder_as_it_was(file, monkeypatch, moment):
    def stop(*_):
        raise KeyboardInterrupt

    add_model(file, accept=accept, name="before")
    places = {"disk_usage": install.shutil, "read": LazyTensor, "_write": models, "content_hash": models}
    if moment == "replace":
        monkeypatch.setattr(models, "_move_to_free_place", stop)
    elif moment != "accept":
        monkeypatch.setattr(places[moment], moment, stop)
    with pytest.raises(KeyboardInterrupt):
        add_model(file, accept=stop if moment == "accept" else accept)
    assert folder_names() == ["before.safetensors"]


def test_a_full_disk_is_noticed_before_and_while_writing(file, monkeypatch):
    usage = install.shutil.disk_usage(file)
    with monkeypatch.context() as patch:
        patch.setattr(install.shutil, "disk_usage", lambda path: usage._replace(free=1000))
        assert refused(lambda: add_model(file, accept=accept), OutputError).code == "disk_full"

    def fill(opened, tensors, metadata):
        opened.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models, "_write", fill)
    assert refused(lambda: add_model(file, accept=accept), OutputError).code == "disk_full"
    assert folder_names() == []


def test_a_models_folder_that_is_a_file_is_named(file, home):
    home.mkdir()
    (home / "models").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        add_model(file, accept=accept)


def test_a_file_that_changes_meanwhile_installs_nothing(file):
    def slow_user(_):
        os.utime(file, ns=(0, 0))
        return True

    assert refused(lambda: add_model(file, accept=slow_user)).code == "checkpoint_changed"
    assert folder_names() == []
