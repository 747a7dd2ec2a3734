# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from PIL import Image

from backend.errors import OutputError, SettingsError
from backend.export import write_mesh
from backend.glb import read_record
from tests.analytic import example_head


def loaded(path):
    return trimesh.load(path, process=False, maintain_order=True)


@pytest.mark.parametrize("file_format", ["glb", "obj", "ply"])
def test_every_format_holds_the_same_surface_in_metres(tmp_path, file_format):
    head = example_head()
    path = tmp_path / f"Kopf 1.{file_format}"
    write_mesh(path, head, file_format)
    mesh = loaded(path)
    mesh = next(iter(mesh.geometry.values())) if isinstance(mesh, trimesh.Scene) else mesh
    corners = np.asarray(mesh.vertices)[mesh.faces]
    np.testing.assert_allclose(corners, head.mesh.vertices[head.mesh.faces] * 0.1, atol=1e-6)


def test_obj_brings_material_and_texture(tmp_path):
    head = example_head()
    write_mesh(tmp_path / "head.obj", head, "obj")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.mtl", "head.obj", "head.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "head.png")), head.texture)
    mesh = loaded(tmp_path / "head.obj")
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.image.convert("RGB")), head.texture)
    uv = np.asarray(mesh.visual.uv)[mesh.faces] * [1, -1] + [0, 1]
    np.testing.assert_allclose(uv, head.mesh.uv[head.mesh.faces], atol=1e-6)


def test_ply_has_the_textures_colours(tmp_path):
    head = example_head()
    # A texture that rises by 4 a pixel to the right, 64 pixels wide: red is 4 * (64 * row - 0.5), green the same in x.
    write_mesh(tmp_path / "head.ply", head, "ply")
    colours = np.asarray(loaded(tmp_path / "head.ply").visual.vertex_colors)[:, :3]
    expected = 4 * (64 * head.mesh.uv[:, ::-1] - 0.5)
    np.testing.assert_allclose(colours[:, :2], expected, atol=0.51)
    assert (colours[:, 2] == 90).all()


def test_ply_has_normals(tmp_path):
    head = example_head()
    write_mesh(tmp_path / "head.ply", replace(head, mesh=replace(head.mesh, normals=None)), "ply")
    np.testing.assert_allclose(loaded(tmp_path / "head.ply").vertex_normals, head.mesh.normals, atol=1e-6)


def test_only_glb_carries_the_record(tmp_path):
    write_mesh(tmp_path / "head.glb", example_head(), "glb")
    assert read_record(tmp_path / "head.glb").seed == 7


@pytest.mark.parametrize("file_format", ["glb", "obj", "ply"])
def test_an_unwritable_place_is_an_output_error(tmp_path, file_format):
    with pytest.raises(OutputError, match="folder does not exist"):
        write_mesh(tmp_path / "nowhere" / f"head.{file_format}", example_head(), file_format)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="glb, obj, ply"):
        write_mesh(tmp_path / "head.fbx", example_head(), "fbx")


def test_files_without_sliders_hold_the_head_as_it_is_opened(tmp_path):
    head = example_head()
    first, second = head.morph_targets
    opened = replace(head, morph_targets=[replace(first, start=0.5), second])
    for name in ("head.obj", "head.ply"):
        write_mesh(tmp_path / name, opened, name[-3:])
        bounds = loaded(tmp_path / name).bounds
        np.testing.assert_allclose(bounds.mean(0), 0.1 * 0.5 * first.offsets[0], atol=1e-6)
