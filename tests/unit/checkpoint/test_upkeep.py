# SPDX-License-Identifier: Apache-2.0
"""Installed models: looked after, removed and written for other tools."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from backend import models
from backend.catalogue import find_generator
from backend.checkpoint.contents import open_contents
from backend.checkpoint.export import export_eg3d
from backend.checkpoint.identify import identify
from backend.checkpoint.install import add_model
from backend.checkpoint.loading import load_generator
from backend.checkpoint.upkeep import remove_model, verify_model
from backend.errors import ModelError, OutputError, SettingsError
from backend.portrait_model.slider_file import sliders_path
from tests.checkpoints import (
    GRID,
    GRID_OPTIONS,
    SMALL,
    accept,
    folder_names,
    network_pickle,
    network_state,
    refused,
)

# --- upkeep -----------------------------------------------------------------------------------------------------------


def test_verify_notices_changed_values_tensors_and_configuration(file):
    path = add_model(file, accept=accept).path
    assert verify_model(find_generator("network")) == len(network_state())
    tensors, metadata = models.read_weights(path)

    def rewritten(changed: dict, notes: dict) -> str:
        models.write_weights(path, changed, {name: text for name, text in notes.items() if name != "sha256"})
        with pytest.raises(ModelError) as caught:
            verify_model(find_generator("network"))
        return caught.value.code

    name = "decoder.net.0.bias"
    other = json.dumps(replace(SMALL, w_dim=17).to_dict())
    assert rewritten({key: value for key, value in tensors.items() if key != name}, metadata) == "checkpoint_keys"
    assert rewritten(tensors | {name: torch.ones(3)}, metadata) == "checkpoint_shapes"
    assert rewritten(tensors | {name: torch.full((8,), torch.nan)}, metadata) == "checkpoint_values"
    assert rewritten(tensors, metadata | {"config": "{}"}) == "checkpoint_options"
    assert rewritten(tensors, metadata | {"config": "[" * 5}) == "checkpoint_options"
    assert rewritten(tensors, metadata | {"config": other}) == "checkpoint_shapes"
    models.write_weights(path, tensors, metadata)
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        verify_model(find_generator("network"))


def test_the_starter_is_verified_and_stays():
    starter = find_generator("starter")
    assert verify_model(starter) > 10
    with pytest.raises(SettingsError, match="stays"):
        remove_model(starter.path)
    assert starter.path.is_file()


def test_a_removed_model_is_gone_with_its_sliders(file):
    path = add_model(file, accept=accept).path
    models.write_weights(sliders_path("network"), {}, {})
    remove_model(path)
    assert folder_names() == []
    with pytest.raises(SettingsError, match="no model"):
        find_generator("network")
    with pytest.raises(OutputError):
        remove_model(path)


def test_a_model_of_another_version_says_what_to_do(file):
    path = add_model(file, accept=accept).path
    tensors, metadata = models.read_weights(path)
    for config in ('{"wings": 2}', json.dumps(SMALL.to_dict() | {"mapping_layers": 10**9})):
        models.write_weights(path, tensors, metadata | {"config": config})
        for use in (load_generator, verify_model):
            with pytest.raises(ModelError, match=r"another version of Protome|no published network"):
                use(find_generator("network"))
    models.write_weights(path, tensors, metadata | {"config": json.dumps(replace(SMALL, w_dim=17).to_dict())})
    with pytest.raises(ModelError, match="Add it again"):
        load_generator(find_generator("network"))


# --- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_export_gives_the_tensors_back_bit_for_bit(file, tmp_path, suffix):
    add_model(file, accept=accept)
    output = tmp_path / f"out{suffix}"
    remarks = export_eg3d(find_generator("network"), output)
    state = network_state()
    if suffix != ".safetensors":
        loaded = torch.load(output, weights_only=True)
        assert list(loaded) and loaded.keys() == state.keys()
        assert all(torch.equal(loaded[name], state[name]) for name in state)
        assert any("no options" in remark and "near 2.2" in remark for remark in remarks)
    assert any("terms stay" in remark for remark in remarks)
    again = add_model(output, accept=accept, name="again")
    tensors, _ = models.read_weights(again.path)
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    if suffix == ".safetensors":  # It also keeps options and terms.
        before, after = find_generator("network").metadata, find_generator("again").metadata
        assert {name for name in before if before[name] != after.get(name)} <= {
            "licence_accepted", "source_file", "source_sha256",
        }  # fmt: skip


def test_triplanenets_export_is_its_generator(tmp_path, triplanenet):
    save_file(triplanenet, tmp_path / "net.safetensors")
    add_model(tmp_path / "net.safetensors", accept=accept)
    remarks = export_eg3d(find_generator("net"), tmp_path / "out.pth")
    assert any("encoders are left out" in remark for remark in remarks)
    with open_contents(tmp_path / "out.pth") as contents:
        assert identify(contents).family == "eg3d"


def test_models_that_are_no_eg3d_say_what_does_not_map(tmp_path):
    with pytest.raises(ModelError, match="canonical space") as caught:
        export_eg3d(find_generator("starter"), tmp_path / "out.pth")
    assert caught.value.code == "not_exportable"
    (tmp_path / "pano.pkl").write_bytes(network_pickle(network_state(GRID), rendering=GRID_OPTIONS))
    add_model(tmp_path / "pano.pkl", accept=accept)
    with pytest.raises(ModelError, match="three slices"):
        export_eg3d(find_generator("pano"), tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


def test_exports_elsewhere_are_refused_and_nothing_is_left(file, tmp_path):
    add_model(file, accept=accept)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SettingsError, match="must end"):
        export_eg3d(find_generator("network"), tmp_path / "out.glb")
    with pytest.raises(OutputError):
        export_eg3d(find_generator("network"), tmp_path / "missing" / "out.pth")
    assert sorted(tmp_path.iterdir()) == before


def test_a_licence_that_the_file_states_is_believed_and_cannot_steer_a_terminal(tmp_path):
    path = tmp_path / "own.safetensors"
    notes = {"licence": "CC0-1.0\x1b[2J", "licence_text": "Free.\nReally\x07.", "commercial_use": "yes"}
    models.write_weights(path, network_state(), notes | {"config": json.dumps(SMALL.to_dict())})
    added = add_model(path, accept=accept)
    assert (added.licence.name, added.licence.text, added.licence.commercial_use) == (
        "CC0-1.0[2J",
        "Free.\nReally.",
        "yes",
    )
    assert added.remarks == [] and load_generator(find_generator("own")).generator.config == SMALL
    for config in ("[", "{}", "3", json.dumps(SMALL.to_dict() | {"plane_resolution": 2**40})):
        models.write_weights(path, network_state(), {"config": config})
        assert refused(lambda: add_model(path, accept=accept, name="x")).code == "checkpoint_options"
