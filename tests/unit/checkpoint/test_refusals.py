# SPDX-License-Identifier: Apache-2.0
"""Every way in which nothing is installed."""

import os

import pytest
import torch

from backend import models
from backend.catalogue import find_generator
from backend.checkpoint import install
from backend.checkpoint.contents import Contents
from backend.checkpoint.identify import identify
from backend.checkpoint.install import add_model
from backend.checkpoint.plain import LazyTensor, Storage
from backend.errors import ModelError, OutputError, SettingsError
from tests.checkpoints import (
    FACES,
    INIT,
    accept,
    folder_names,
    network_file,
    network_state,
    placeholder,
    refused,
    saved,
)


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
    assert refused(lambda: add_model(path, accept=accept)).code.startswith("checkpoint_")


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
        assert refused(lambda: add_model(path, accept=accept)).code.startswith("checkpoint_")


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
