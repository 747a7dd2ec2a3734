# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest

from backend.errors import ModelError
from backend.generator import official
from backend.generator.config import GeneratorConfig, SuperResolutionConfig
from backend.generator.plane_generator import PlaneGenerator
from tests.unit.parity import FOLDER, fixtures

INIT = {
    "z_dim": 512,
    "c_dim": 25,
    "w_dim": 512,
    "img_resolution": 512,
    "img_channels": 3,
    "mapping_kwargs": {"num_layers": 2},
    "channel_base": 32768,
    "channel_max": 512,
}
OPTIONS = {
    "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC",
    "c_scale": 1.0,
    "decoder_lr_mul": 1.0,
    "depth_resolution": 48,
    "depth_resolution_importance": 48,
    "ray_start": 2.25,
    "ray_end": 3.3,
    "box_warp": 1,
    "avg_camera_pivot": [0, 0, 0.2],
}

published = pytest.mark.parametrize("path", fixtures(lambda meta: "init_kwargs" in meta, FOLDER.parent / "state_dicts"))


def read(path):
    meta = json.loads(path.read_text())
    shapes = {name: tuple(value["shape"]) for name, value in meta["tensors"].items()}
    return meta, {name: shape for name, shape in shapes.items() if not official.is_ignored(name)}


def config(**options):
    return official.config_of(INIT, OPTIONS | options)


@published
def test_published_weights_have_our_names_and_shapes(path):
    meta, shapes = read(path)
    ours = official.config_of(meta["init_kwargs"])
    assert official.expected_shapes(ours) == shapes
    assert official.resized(ours, shapes) == ours
    variants = meta.get("superresolution_variants", {})
    for module, tensors in variants.items():
        kind, side, channels = official.SUPERRESOLUTIONS[module]
        other = official.expected_shapes(replace(ours, superresolution=SuperResolutionConfig(kind, side, channels)))
        prefix = "superresolution."
        assert {name.removeprefix(prefix): shape for name, shape in other.items() if name.startswith(prefix)} == {
            name: tuple(value["shape"]) for name, value in tensors.items()
        }


@published
def test_the_family_is_found_by_its_options(path):
    meta, _ = read(path)
    init = meta["init_kwargs"]
    expected = {"3DPortraitGAN": "portrait3d", "PanoHead": "panohead", "EG3D": "eg3d"}[
        meta["target"].split(" ")[0].rstrip("0123456789-")
    ]
    assert official.family_of(init, init["rendering_kwargs"]) == expected


def test_the_published_ffhq_options_are_our_defaults():
    assert config() == GeneratorConfig()


def test_options_of_cars_are_read():
    cars = config(
        superresolution_module="training.superresolution.SuperresolutionHybrid2X",
        c_gen_conditioning_zero=True,
        depth_resolution=64,
        depth_resolution_importance=64,
        ray_start=0.1,
        ray_end=2.6,
        box_warp=1.6,
        white_back=True,
        avg_camera_radius=1.7,
        avg_camera_pivot=[0, 0, 0],
    )
    assert (cars.conditioning_scale, cars.side, cars.neural_resolution) == (0.0, 1.6, 64)
    assert (cars.render.near, cars.render.far, cars.render.coarse_samples) == (0.1, 2.6, 64)
    assert cars.render.white_back
    assert cars.superresolution.output_resolution == 128
    assert (cars.camera.radius, cars.camera.pivot) == (1.7, (0.0, 0.0, 0.0))


def test_automatic_ray_limits_are_the_cubes():
    render = config(ray_start="auto", ray_end="auto").render
    assert render.near is None
    assert render.far is None


def test_an_edited_table_counts_more_than_the_constructors():
    init = INIT | {"rendering_kwargs": OPTIONS}
    assert official.config_of(init, OPTIONS | {"ray_start": 2.0}).render.near == 2.0
    assert official.config_of(init).render.near == 2.25


def test_without_a_scale_the_label_is_ignored():
    options = {name: value for name, value in OPTIONS.items() if name != "c_scale"}
    assert official.config_of(INIT, options).conditioning_scale == 0.0


@pytest.mark.parametrize(
    ("init", "options", "named"),
    [
        ({"attention": True}, {}, "attention"),
        ({"architecture": "resnet"}, {}, "resnet"),
        ({"img_channels": 1}, {}, "RGB"),
        ({"mapping_kwargs": {"embed_features": 3}}, {}, "embed_features"),
        ({}, {"clamp_mode": "relu"}, "relu"),
        ({}, {"superresolution_module": "SuperresolutionHybrid16X"}, "16X"),
        ({}, {"ray_start": "auto"}, "auto"),
    ],
)
def test_what_no_published_model_uses_is_refused_by_name(init, options, named):
    with pytest.raises(ModelError, match=named):
        official.config_of(INIT | init, OPTIONS | options)


def test_unknown_rendering_options_are_told_and_change_nothing():
    assert official.unknown_options(OPTIONS) == []
    assert official.unknown_options(OPTIONS | {"fog": 3, "density_reg": 1, "bloom": 1}) == ["bloom", "fog"]
    assert config(fog=3) == config()


def test_a_missing_option_is_named():
    with pytest.raises(ModelError, match="box_warp"):
        official.config_of(INIT, {name: value for name, value in OPTIONS.items() if name != "box_warp"})


def test_sizes_that_the_constructors_do_not_take_come_from_the_tensors():
    small = GeneratorConfig(
        family="panohead",
        z_dim=4,
        w_dim=8,
        channel_base=64,
        channel_max=4,
        plane_resolution=16,
        plane_channels=6,
        plane_depth=3,
        plane_axes="corrected",
        decoder_hidden=5,
        decoder_outputs=7,
        background_resolution=8,
        has_torgb=True,
        has_camera_shift=True,
        superresolution=SuperResolutionConfig("4X", 8, (3, 2)),
    )
    shapes = official.expected_shapes(small)
    published_sizes = replace(
        small,
        plane_resolution=256,
        plane_channels=32,
        decoder_hidden=64,
        decoder_outputs=32,
        background_resolution=128,
        superresolution=SuperResolutionConfig("4X", 128, (128, 64)),
    )
    assert official.resized(published_sizes, shapes) == small


def test_a_configuration_survives_json():
    ours = replace(config(), family="panohead", superresolution=None)
    for one in (ours, config()):
        assert GeneratorConfig.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_expected_shapes_are_those_of_a_real_generator():
    small = GeneratorConfig(z_dim=4, w_dim=8, channel_base=64, channel_max=4, plane_resolution=8, superresolution=None)
    real = PlaneGenerator(small).state_dict()
    assert {name: tuple(value.shape) for name, value in real.items()} == official.expected_shapes(small)
