# SPDX-License-Identifier: Apache-2.0
import json
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from backend.errors import OutputError, RecordError
from backend.glb import glb_bytes, read_record, write_glb
from backend.head import MorphTarget, Slider
from backend.record import KEY, record_to_json
from tests.analytic import example_head

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / ".node" / "node_modules" / "gltf-validator"


def parts(content: bytes):
    """JSON document and binary chunk, read by the specification and not by our reader."""
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    json_length, json_kind = struct.unpack_from("<I4s", content, 12)
    assert json_kind == b"JSON"
    binary_length, binary_kind = struct.unpack_from("<I4s", content, 20 + json_length)
    assert binary_kind == b"BIN\0"
    assert 28 + json_length + binary_length == length
    return json.loads(content[20 : 20 + json_length]), content[28 + json_length :]


def view_bytes(document, binary, index):
    view = document["bufferViews"][index]
    return binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]


def accessor_values(document, binary, index):
    accessor = document["accessors"][index]
    dtype = {5123: "<u2", 5125: "<u4", 5126: "<f4"}[accessor["componentType"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor["type"]]
    values = np.zeros((accessor["count"], width), dtype=dtype)
    if "bufferView" in accessor:
        values[:] = np.frombuffer(view_bytes(document, binary, accessor["bufferView"]), dtype).reshape(-1, width)
    if "sparse" in accessor:
        sparse = accessor["sparse"]
        where = np.frombuffer(view_bytes(document, binary, sparse["indices"]["bufferView"]), "<u4")
        data = np.frombuffer(view_bytes(document, binary, sparse["values"]["bufferView"]), dtype)
        values[where] = data.reshape(sparse["count"], width)
    return values


def large_head():
    mesh = trimesh.creation.icosphere(subdivisions=7)
    assert len(mesh.vertices) > 65_535
    head = example_head()
    vertices = mesh.vertices.astype(np.float32)
    grown = replace(
        head.mesh,
        vertices=vertices,
        faces=mesh.faces.astype(np.int32),
        normals=vertices,
        uv=np.abs(vertices[:, :2]),
        canonical=vertices,
    )
    return replace(head, mesh=grown, morph_targets=[MorphTarget(Slider("Size", "Shape", -1.0, 1.0), 0.1 * vertices)])


def test_sliders_stand_in_the_file_where_they_start():
    head = example_head()
    first, second = head.morph_targets
    document, _ = parts(glb_bytes(replace(head, morph_targets=[first, replace(second, start=0.75)])))
    assert document["meshes"][0]["weights"] == [0.0, 0.75]


def test_trimesh_reads_the_same_mesh_in_metres(tmp_path):
    head = example_head()
    write_glb(tmp_path / "head.glb", head)
    scene = trimesh.load(tmp_path / "head.glb")
    (mesh,) = scene.geometry.values()
    np.testing.assert_allclose(mesh.vertices, head.mesh.vertices * 0.1, atol=1e-7)
    np.testing.assert_array_equal(mesh.faces, head.mesh.faces)
    np.testing.assert_allclose(mesh.extents, 0.2, atol=1e-6)
    assert mesh.volume == pytest.approx(0.008)
    np.testing.assert_allclose(mesh.visual.uv[:, 1], 1 - head.mesh.uv[:, 1], atol=1e-6)


def test_the_texture_survives_up_to_compression(tmp_path):
    head = example_head()
    write_glb(tmp_path / "head.glb", head)
    (mesh,) = trimesh.load(tmp_path / "head.glb").geometry.values()
    texture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"), dtype=int)
    assert np.abs(texture - head.texture).mean() < 2


def test_morph_targets_carry_names_and_offsets_in_metres():
    head = example_head()
    document, binary = parts(glb_bytes(head))
    (mesh,) = document["meshes"]
    assert mesh["extras"]["targetNames"] == ["Jaw width", "Lächeln"]
    assert mesh["weights"] == [0.0, 0.0]
    everything, few = (
        accessor_values(document, binary, target["POSITION"]) for target in mesh["primitives"][0]["targets"]
    )
    np.testing.assert_allclose(everything, head.morph_targets[0].offsets * 0.1, atol=1e-9)
    np.testing.assert_allclose(few[1], [0.01, 0.0, 0.0], atol=1e-9)
    assert not few[2].any(), "a micrometre cannot be seen"


def test_local_morph_targets_are_sparse():
    document, _ = parts(glb_bytes(example_head()))
    first, second = (target["POSITION"] for target in document["meshes"][0]["primitives"][0]["targets"])
    assert "sparse" not in document["accessors"][first]
    assert document["accessors"][second]["sparse"]["count"] == 1


def test_bounds_are_those_of_the_stored_numbers():
    document, binary = parts(glb_bytes(example_head()))
    for index, accessor in enumerate(document["accessors"]):
        if "min" in accessor:
            values = accessor_values(document, binary, index)
            np.testing.assert_array_equal(np.float32(accessor["min"]), values.min(axis=0))
            np.testing.assert_array_equal(np.float32(accessor["max"]), values.max(axis=0))


def test_large_meshes_get_wide_indices():
    head = large_head()
    document, binary = parts(glb_bytes(head))
    indices = accessor_values(document, binary, document["meshes"][0]["primitives"][0]["indices"])
    np.testing.assert_array_equal(indices.reshape(-1, 3), head.mesh.faces)


def test_the_record_comes_back_and_is_one_string(tmp_path):
    head = example_head()
    write_glb(tmp_path / "Kopf größe.glb", head)
    document, _ = parts((tmp_path / "Kopf größe.glb").read_bytes())
    assert document["nodes"][0]["extras"][KEY] == record_to_json(head.record)
    assert record_to_json(read_record(tmp_path / "Kopf größe.glb")) == record_to_json(head.record)


@pytest.mark.parametrize(
    ("commercial_use", "words"), [("yes", "commercial use is allowed"), ("no", "not for commercial"), ("", "not known")]
)
def test_the_licence_stands_beside_the_record_in_words(commercial_use, words):
    head = example_head()
    generator = {"id": "eg3d-1", "family": "eg3d", "licence": "A licence", "commercial_use": commercial_use}
    document, _ = parts(glb_bytes(replace(head, record=replace(head.record, generator=generator))))
    note = document["nodes"][0]["extras"]["protome_licence"]
    assert note.startswith("Made with eg3d-1 (A licence)") and words in note


def glb_of(document: object) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(text), len(text), 0x4E4F534A) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"glTF",
        b"not a GLB at all, but long enough",
        glb_bytes(example_head())[:200],
        glb_of(7),
        glb_of({}),
        glb_of({"nodes": []}),
        glb_of({"nodes": [{"name": "Cube"}]}),
        glb_of({"nodes": [{"extras": [KEY]}]}),
        glb_of({"nodes": [{"extras": {KEY: 3}}]}),
        glb_of({"nodes": 5}),
        glb_of({"nodes": [5]}),
    ],
)
def test_a_file_that_is_no_head_says_so(tmp_path, content):
    path = tmp_path / "other.glb"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"other\.glb is no head") as caught:
        read_record(path)
    assert caught.value.code == "no_record"


def test_a_damaged_record_says_so(tmp_path):
    path = tmp_path / "head.glb"
    path.write_bytes(glb_of({"nodes": [{"extras": {KEY: "{}"}}]}))
    with pytest.raises(RecordError, match="damaged"):
        read_record(path)


@pytest.mark.parametrize("name", ["missing.glb", "."])
def test_a_file_that_cannot_be_read_says_so(tmp_path, name):
    with pytest.raises(RecordError, match="cannot be read"):
        read_record(tmp_path / name)


def test_a_mesh_without_uv_is_a_callers_mistake():
    head = example_head()
    with pytest.raises(ValueError, match="uv"):
        glb_bytes(replace(head, mesh=replace(head.mesh, uv=None)))


def test_an_unwritable_place_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_glb(tmp_path / "nowhere" / "head.glb", example_head())


@pytest.mark.parametrize("head", [example_head(), large_head(), replace(example_head(), morph_targets=[])])
def test_the_khronos_validator_finds_nothing(tmp_path, head):
    if shutil.which("node") is None or not PACKAGE.is_dir():
        pytest.skip("needs node and `npm install --prefix .node gltf-validator`")
    write_glb(tmp_path / "head.glb", head)
    script = ROOT / "tests" / "gltf_validator.mjs"
    done = subprocess.run(
        ["node", script, tmp_path / "head.glb", PACKAGE.parent.parent], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    issues = json.loads(done.stdout)["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
    assert issues["messages"] == []
