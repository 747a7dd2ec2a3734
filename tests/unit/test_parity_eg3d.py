# SPDX-License-Identifier: Apache-2.0
"""The generator against numbers that the published EG3D code produced, found by what their JSON says."""

import json
import math
import re
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from backend.generator import volume
from backend.generator.config import GeneratorConfig, SuperResolutionConfig
from backend.generator.official import SUPERRESOLUTIONS
from backend.generator.plane_generator import PlaneGenerator, make_rays, signed_features
from backend.generator.planes import sample_each_plane
from backend.generator.rays import camera_rays, cross_cube
from tests.unit.parity import FOLDER, Fixture, config_of, fixtures


def _is_reduced(meta: dict) -> bool:
    return meta["target"].startswith("EG3D TriPlaneGenerator") and "config" in meta


def _is_published_size(meta: dict) -> bool:
    return meta["target"].startswith("EG3D generator at the REAL") and "init_kwargs" in meta


def _is_published_classes(meta: dict) -> bool:
    return "expected_G_ema" in meta


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> SimpleNamespace:
    fixture = Fixture(request.param)
    state = fixture.state()
    generator = PlaneGenerator(config_of(fixture.meta, state)).eval().requires_grad_(False)
    generator.load_state_dict(state)
    label = fixture.io["in.c"]
    cameras = label[:, :16].reshape(-1, 4, 4), label[:, 16:].reshape(-1, 3, 3)
    return SimpleNamespace(fixture=fixture, io=fixture.io, generator=generator, cameras=cameras)


def _planes(case: SimpleNamespace) -> Tensor:
    if not hasattr(case, "planes"):
        case.planes = case.generator.make_planes(case.io["in.ws"])
    return case.planes


reduced = pytest.mark.parametrize("case", fixtures(_is_reduced), indirect=True)


@reduced
def test_mapping_and_truncation_agree(case):
    z, label = case.io["in.z"], case.io["in.c"]
    cutoff = int(case.io["mapping.truncation_cutoff_used"])
    case.fixture.check("mapping.ws", case.generator.make_ws(z, label))
    case.fixture.check("mapping.ws_psi0.7", case.generator.make_ws(z, label, truncation=0.7))
    case.fixture.check("mapping.ws_psi0.5_cutHALF", case.generator.make_ws(z, label, truncation=0.5, cutoff=cutoff))


@reduced
def test_each_block_of_the_backbone_agrees(case):
    synthesis, ws = case.generator.backbone.synthesis, case.io["in.ws"]
    x = image = None
    row = 0
    for side in (4, 8, 16):
        block = synthesis.get_submodule(f"b{side}")
        x, image = block(x, image, ws[:, row : row + block.num_convs + 1])
        case.fixture.check(f"backbone.b{side}.x", x)
        case.fixture.check(f"backbone.b{side}.img", image)
        row += block.num_convs


@reduced
def test_planes_agree(case):
    strides = case.io["backbone.plane_stride_const_none"].tolist()
    for noise, stride in zip(("const", "none"), strides, strict=True):
        planes = case.generator.make_planes(case.io["in.ws"], noise=noise).flatten(1, 2)
        name = f"backbone.planes_noise_{noise}"
        case.fixture.check(f"{name}.strided", planes[:1, :, ::stride, ::stride])
        case.fixture.check(f"{name}.mean_per_channel", planes.mean((2, 3)))


@reduced
def test_point_features_and_decoder_agree(case):
    points, generator = case.io["in.points"], case.generator
    features = sample_each_plane(_planes(case), points, side=generator.config.side)
    case.fixture.check("planes.features", features)
    raw, colors = generator.raw_field(_planes(case), points)
    case.fixture.check("decoder.sigma", raw[..., None])
    case.fixture.check("decoder.rgb", colors)
    ws = generator.make_ws(case.io["in.z"], case.io["in.c"], truncation=0.7)
    truncated, _ = generator.raw_field(generator.make_planes(ws), points)
    case.fixture.check("sample_psi0.7.sigma", truncated[..., None])


@reduced
def test_the_field_agrees_on_a_grid(case):
    expected = case.io["shape.clean_grid.sigma_xyz"]
    side = case.generator.config.side
    axis = torch.linspace(-side / 2, side / 2, len(expected))
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    raw, colors = case.generator.raw_field(_planes(case)[:1], points[None])
    case.fixture.check("shape.clean_grid.sigma_xyz", raw.reshape(expected.shape))
    field = case.generator.field(case.io["in.ws"][:1])
    torch.testing.assert_close(field.density(points), volume.activate_density(raw[0]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(field.color(points), colors[0, :, :3].clamp(0, 1), rtol=1e-4, atol=1e-4)
    assert math.isclose(field.level, math.log1p(math.exp(9)), rel_tol=1e-6)


@reduced
def test_rays_agree(case):
    size = case.fixture.meta["config"]["nrr"]
    origins, directions = camera_rays(*case.cameras, size)
    case.fixture.check("rays.origins", origins[:, :1])
    case.fixture.check("rays.directions", directions)
    near, far, hits = cross_cube(origins, directions, case.generator.config.side)
    case.fixture.check("rays.box_near", torch.where(hits, near, -1)[..., None])
    case.fixture.check("rays.box_far", torch.where(hits, far, -2)[..., None])


def _injected(case: SimpleNamespace, mode: str) -> dict[str, Tensor]:
    if mode == "midpoint":
        return {}
    jitter = case.io["render.inject.u_stratified"].squeeze(-1)
    return {"jitter": jitter, "u": case.io["render.inject.u_importance"].reshape(*jitter.shape[:2], -1)}


@reduced
@pytest.mark.parametrize("mode", ["midpoint", "inject"])
def test_each_step_along_the_rays_agrees(case, mode):
    config, samples = case.generator.config, _injected(case, mode)
    rays = make_rays(config, *case.cameras, case.fixture.meta["config"]["nrr"])
    depths = volume.coarse_depths(
        rays.near,
        rays.far,
        config.render.coarse_samples,
        jitter=samples.get("jitter"),
        disparity=config.render.disparity,
    )
    case.fixture.check(f"render.{mode}.depths_coarse", depths[..., None])
    raw = case.generator.raw_field(_planes(case), rays.points(depths))[0].reshape(depths.shape)
    weights = volume.segment_weights(depths, raw)
    case.fixture.check(f"render.{mode}.weights_coarse", weights[..., None])
    u = samples.get("u", torch.linspace(0, 1, config.render.fine_samples).expand(*depths.shape[:2], -1))
    fine = volume.fine_depths(depths, weights, u)
    case.fixture.check(f"render.{mode}.depths_fine", fine[..., None])
    if mode == "midpoint":
        case.fixture.check("render.midpoint.sigma_coarse", raw[..., None])
        fine_raw = case.generator.raw_field(_planes(case), rays.points(fine))[0].reshape(fine.shape)
        both, order = torch.cat([depths, fine], -1).sort(dim=-1)
        case.fixture.check("render.midpoint.depths_sorted", both[..., None])
        final = volume.segment_weights(both, torch.cat([raw, fine_raw], -1).gather(-1, order))
        case.fixture.check("render.midpoint.weights_final", final[..., None])


@reduced
@pytest.mark.parametrize("mode", ["midpoint", "inject"])
def test_rendering_and_pictures_agree(case, mode):
    size = case.fixture.meta["config"]["nrr"]
    rendering = case.generator.render(_planes(case), *case.cameras, size_px=size, **_injected(case, mode))
    case.fixture.check(f"render.{mode}.features", signed_features(rendering, case.generator.config))
    case.fixture.check(f"render.{mode}.depth", rendering.depth[..., None])
    case.fixture.check(f"render.{mode}.weight_sum", rendering.opacity[..., None])
    images = case.generator.view(case.io["in.ws"], rendering)
    case.fixture.check(f"synthesis.{mode}.image_raw", images.image_raw)
    case.fixture.check(f"synthesis.{mode}.image_depth", images.depth)
    if mode == "midpoint":
        case.fixture.check("synthesis.midpoint.image", images.image)


@reduced
def test_superresolution_agrees_at_every_size(case):
    ws = case.io["in.ws"][:1]
    for name, _ in case.fixture.meta["config"]["sr_tests"]:
        features = case.io[f"sr.{name}.in_x"]
        for noise in ("none", "const"):
            key = f"sr.{name}.noise_{noise}"
            if key in case.io:
                image = case.generator.superresolution(features[:, :3], features, ws, noise=noise)
                case.fixture.check(key, image)


@reduced
def test_the_whole_forward_pass_agrees(case):
    ws = case.generator.make_ws(case.io["in.z"], case.io["in.c"], truncation=0.7)
    images = case.generator(ws, *case.cameras, size_px=case.fixture.meta["config"]["nrr"])
    case.fixture.check("forward.midpoint.psi0.7.image", images.image)


@pytest.mark.parametrize("case", fixtures(_is_published_classes), indirect=True)
def test_published_classes_with_tiny_widths_agree(case):
    ws = case.generator.make_ws(case.io["in.z"], case.io["in.c"], truncation=0.7)
    case.fixture.check("out.ws_psi0.7", ws[:, :1])
    planes = case.generator.make_planes(ws)
    raw, colors = case.generator.raw_field(planes, case.io["in.points"])
    case.fixture.check("out.sigma", raw[..., None])
    case.fixture.check("out.rgb", colors)
    images = case.generator(ws, *case.cameras, size_px=16)
    case.fixture.check("out.image_raw_nrr16", images.image_raw)
    case.fixture.check("out.image", images.image[:, :, ::2, ::2])


@pytest.mark.slow
@pytest.mark.parametrize("case", fixtures(_is_published_size), indirect=True)
def test_published_size_agrees(case):
    fixture, generator, z, label = case.fixture, case.generator, case.io["in.z"], case.io["in.c"]
    ws = generator.make_ws(z, label)
    fixture.check("mapping.ws", ws[:, 0])
    fixture.check("mapping.ws_psi0.7_cut14", generator.make_ws(z, label, truncation=0.7, cutoff=14)[:, :1])
    fixture.check("mapping.ws_psi0.7_cut5.row4_row5", generator.make_ws(z, label, truncation=0.7, cutoff=5)[:, 4:6])
    planes = generator.make_planes(ws)
    flat = planes.flatten(1, 2)
    fixture.check("planes.strided24", flat[:, :, ::24, ::24])
    fixture.check("planes.mean_per_channel", flat.mean((2, 3)))
    fixture.check("planes.std_per_channel", flat.std((2, 3)))
    raw, colors = generator.raw_field(planes, case.io["in.points"])
    fixture.check("sample_mixed.sigma", raw[..., None])
    fixture.check("sample_mixed.rgb", colors[..., ::4])
    for key in [key for key in case.io if key.endswith(".image.strided8")]:
        size = int(re.match(r"synthesis(\d+)", key)[1])
        images = generator.view(ws, generator.render(planes, *case.cameras, size_px=size))
        step = size // 32
        fixture.check(f"synthesis{size}.image_raw.strided", images.image_raw[:, :, ::step, ::step])
        fixture.check(f"synthesis{size}.image_depth.strided", images.depth[:, :, ::step, ::step])
        fixture.check(key, images.image[:, :, ::8, ::8])
        statistics = torch.stack([images.image.mean((2, 3)), images.image.std((2, 3))])
        fixture.check(f"synthesis{size}.image.mean_std", statistics)


@pytest.mark.parametrize("module", SUPERRESOLUTIONS)
@pytest.mark.parametrize(
    "path", fixtures(lambda meta: "superresolution_variants" in meta, FOLDER.parent / "state_dicts")
)
def test_published_weights_have_our_names_and_shapes(path, module):
    meta = json.loads(path.read_text())
    kind, resolution, channels = SUPERRESOLUTIONS[module]
    config = GeneratorConfig(superresolution=SuperResolutionConfig(kind, resolution, channels))
    with torch.device("meta"):
        state = PlaneGenerator(config).state_dict()
    published = {key: value for key, value in meta["tensors"].items() if not key.startswith("superresolution.")}
    published |= {f"superresolution.{key}": value for key, value in meta["superresolution_variants"][module].items()}
    assert {key: list(value.shape) for key, value in state.items()} == {
        key: value["shape"] for key, value in published.items()
    }
