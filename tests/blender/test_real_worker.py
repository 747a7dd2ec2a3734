# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on with the backend's own worker: first with a pipeline of a tetrahedron, then with the real one."""

import pytest
from conftest import ROOT
from headless import MODULE, begin, bpy, pump

PYTHON = ROOT / ".venv" / "bin" / "python"
WEIGHTS = ROOT / "backend" / "weights" / "starter.safetensors"

pytestmark = pytest.mark.skipif(not PYTHON.is_file(), reason="needs the worker's environment in .venv")


@pytest.fixture
def backend_with_a_small_pipeline(addon, tmp_path):
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec "{PYTHON}" "{ROOT / "tests" / "fake_worker.py"}"\n')
    program.chmod(0o755)
    bpy.context.preferences.addons[MODULE].preferences.python = str(program)
    return addon


def test_invert_and_resynthesize_through_the_backend_s_worker(backend_with_a_small_pipeline, photo):
    assert bpy.ops.protome.invert(filepath=photo("Ümläut")) == {"FINISHED"}
    head = bpy.context.object
    keys = head.data.shape_keys.key_blocks
    assert head.name == "Ümläut" and keys["Jaw width"].slider_max == 2
    keys["Jaw width"].value = 1.5
    assert bpy.ops.protome.resynthesize() == {"FINISHED"}
    assert '"Jaw width":1.5' in head["protome_record"]


def test_a_failure_of_the_backend_is_its_own_sentence(backend_with_a_small_pipeline, photo):
    with pytest.raises(RuntimeError, match=r"noface\.png shows no face\. Choose another photo\."):
        bpy.ops.protome.invert(filepath=photo("noface"))
    with pytest.raises(RuntimeError, match=r"The worker stopped unexpectedly \(status 9\)"):
        bpy.ops.protome.invert(filepath=photo("exit"))
    assert bpy.ops.protome.invert(filepath=photo("good")) == {"FINISHED"}


def test_the_backend_s_worker_can_be_cancelled(backend_with_a_small_pipeline, photo):
    addon = backend_with_a_small_pipeline
    begin(addon, photo("slow"))
    pump(addon, lambda: addon.job.session.job.progress)
    process = addon.job.session.worker.process
    bpy.ops.protome.cancel()
    pump(addon, lambda: not addon.job.session.job, timeout_s=2)
    assert addon.job.session.notice == "Cancelled." and process.poll() is None


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the starter weights are not there")
@pytest.mark.skipif(not (ROOT / "backend" / "pipeline.py").is_file(), reason="the pipeline is not there")
def test_a_real_portrait_becomes_a_head_that_can_be_resynthesized(addon):
    """From the installed zip, so that it also proves the zip to be complete."""
    portrait = next((ROOT / ".venv").glob("lib/python*/site-packages/skimage/data/astronaut.png"))
    bpy.context.preferences.addons[MODULE].preferences.python = str(PYTHON)
    assert bpy.ops.protome.invert(filepath=str(portrait), quality="draft", texture="1024") == {"FINISHED"}
    head = bpy.context.object
    keys = head.data.shape_keys.key_blocks
    assert len(keys) > 8 and 28_000 < len(head.data.polygons) <= 30_000
    assert 0.2 < head.dimensions.z < 0.6  # Metres: head, neck and the beginning of the shoulders.
    slider = keys[1]
    slider.value = slider.slider_max
    moved = max((a.co - b.co).length for a, b in zip(slider.data, keys[0].data, strict=True))
    assert moved > 1e-4
    record = head["protome_record"]
    assert bpy.ops.protome.resynthesize() == {"FINISHED"}
    assert head["protome_record"] != record and head.data.shape_keys.key_blocks[1].value == 0
