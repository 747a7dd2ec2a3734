# SPDX-License-Identifier: Apache-2.0
"""EG3D's generator against numbers that its published code produced, found by what their JSON says.

A fixture holds many stored tensors. Each stage computes ours under the same names, and one test sees to it that no
stored output is left out.
"""

import math
import re

import mcubes
import pytest
import torch
from torch import Tensor

from backend.generator import volume
from backend.generator.family import make_rays, signed_features
from backend.generator.plane_generator import PlaneGenerator
from backend.generator.planes import sample_each_plane
from backend.generator.rays import camera_rays, cross_cube
from tests.unit.parity import Case, Entries, Fixture, fixtures, strided_like

# Stored values that the published code drew or was given.
GIVEN = re.compile(
    r"in\.|mapping\.truncation_cutoff|backbone\.plane_stride|.*\.u_(stratified|importance)$|sr\..*\.in_x$"
)


def _is_reduced(meta: dict) -> bool:
    return meta["target"].startswith("EG3D TriPlaneGenerator")


def _is_published_size(meta: dict) -> bool:
    return "generator at the REAL" in meta["target"]


def _is_published_classes(meta: dict) -> bool:
    return "expected_G_ema" in meta


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(Fixture(request.param))


def _mapping(case: Case) -> Entries:
    for key in case.io:
        if match := re.fullmatch(r"mapping\.ws(?:_psi([\d.]+?))?(_cutHALF)?", key):
            cutoff = int(case.io["mapping.truncation_cutoff_used"]) if match[2] else None
            yield key, case.generator.make_ws(case.z, case.label, truncation=float(match[1] or 1), cutoff=cutoff)


def _blocks(case: Case) -> Entries:
    synthesis, ws = case.generator.backbone.synthesis, case.ws
    x = image = None
    row, side = 0, 4
    while f"backbone.b{side}.x" in case.io:
        block = synthesis.get_submodule(f"b{side}")
        x, image = block(x, image, ws[:, row : row + block.num_convs + 1])
        yield f"backbone.b{side}.x", x
        yield f"backbone.b{side}.img", image
        row, side = row + block.num_convs, side * 2


def _planes(case: Case) -> Entries:
    strides = case.io["backbone.plane_stride_const_none"].tolist()
    for noise, stride in zip(("const", "none"), strides, strict=True):
        planes = case.generator.make_planes(case.ws, noise=noise).flatten(1, 2)
        yield f"backbone.planes_noise_{noise}.strided", planes[:1, :, ::stride, ::stride]
        yield f"backbone.planes_noise_{noise}.mean_per_channel", planes.mean((2, 3))


def _points(case: Case) -> Entries:
    points, generator = case.io["in.points"], case.generator
    yield "planes.features", sample_each_plane(case.planes, points, side=case.config.side)
    raw, colors = generator.raw_field(case.planes, points)
    for name in ("decoder", "sample_mixed"):
        yield f"{name}.sigma", raw[..., None]
        yield f"{name}.rgb", colors
    ws = generator.make_ws(case.z, case.label, truncation=0.7)
    yield "sample_psi0.7.sigma", generator.raw_field(generator.make_planes(ws), points)[0][..., None]


def _rays(case: Case) -> Entries:
    origins, directions = camera_rays(*case.cameras, case.size_px)
    near, far, hits = cross_cube(origins, directions, case.config.side)
    yield "rays.origins", origins[:, :1]
    yield "rays.directions", directions
    yield "rays.box_near", torch.where(hits, near, -1)[..., None]
    yield "rays.box_far", torch.where(hits, far, -2)[..., None]


def _injected(case: Case, mode: str) -> dict[str, Tensor]:
    if mode == "midpoint":
        return {}
    jitter = case.io["render.inject.u_stratified"].squeeze(-1)
    if not case.config.render.fine_samples:
        return {"jitter": jitter}
    return {"jitter": jitter, "u": case.io["render.inject.u_importance"].reshape(*jitter.shape[:2], -1)}


def _steps(case: Case, mode: str) -> Entries:
    render, samples = case.config.render, _injected(case, mode)
    rays = make_rays(case.config, *case.cameras, case.size_px)
    limits = rays.near, rays.far, render.coarse_samples
    depths = volume.coarse_depths(*limits, jitter=samples.get("jitter"), disparity=render.disparity)
    raw = case.generator.raw_field(case.planes, rays.points(depths))[0].reshape(depths.shape)
    weights = volume.segment_weights(depths, raw)
    yield f"render.{mode}.depths_coarse", depths[..., None]
    yield f"render.{mode}.sigma_coarse", raw[..., None]
    yield f"render.{mode}.weights_coarse", weights[..., None]
    if render.fine_samples:
        u = samples.get("u", torch.linspace(0, 1, render.fine_samples).expand(*depths.shape[:2], -1))
        fine = volume.fine_depths(depths, weights, u)
        fine_raw = case.generator.raw_field(case.planes, rays.points(fine))[0].reshape(fine.shape)
        yield f"render.{mode}.depths_fine", fine[..., None]
        depths, order = torch.cat([depths, fine], -1).sort(dim=-1)
        raw = torch.cat([raw, fine_raw], -1).gather(-1, order)
    yield f"render.{mode}.depths_sorted", depths[..., None]
    yield f"render.{mode}.weights_final", volume.segment_weights(depths, raw)[..., None]


def _pictures(case: Case, mode: str) -> Entries:
    rendering = case.generator.render(case.planes, *case.cameras, size_px=case.size_px, **_injected(case, mode))
    yield f"render.{mode}.features", signed_features(rendering, case.config)
    yield f"render.{mode}.depth", rendering.depth[..., None]
    yield f"render.{mode}.weight_sum", rendering.opacity[..., None]
    images = case.generator.view(case.ws, rendering)
    yield f"synthesis.{mode}.image", images.image
    yield f"synthesis.{mode}.image_raw", images.image_raw
    yield f"synthesis.{mode}.image_depth", images.depth


def _midpoint(case: Case) -> Entries:
    yield from _steps(case, "midpoint")
    yield from _pictures(case, "midpoint")


def _inject(case: Case) -> Entries:
    if "render.inject.u_stratified" in case.io:
        yield from _steps(case, "inject")
        yield from _pictures(case, "inject")


def _superresolution(case: Case) -> Entries:
    ws = case.ws[:1]
    for key in case.io:
        if match := re.fullmatch(r"sr\.(\w+)\.noise_(\w+)", key):
            features = case.io[f"sr.{match[1]}.in_x"]
            yield key, case.generator.superresolution(features[:, :3], features, ws, noise=match[2])


def _forward(case: Case) -> Entries:
    for key in case.io:
        if match := re.fullmatch(r"forward\.midpoint\.psi([\d.]+)\.image", key):
            ws = case.generator.make_ws(case.z, case.label, truncation=float(match[1]))
            yield key, case.generator(ws, *case.cameras, size_px=case.size_px).image


def _sheared_grid(nodes: int, side: float) -> Tensor:
    """The published tool's lattice, whose index arithmetic does not round down."""
    i = torch.arange(nodes**3, dtype=torch.float64)
    x, y, z = i // nodes**2, i // nodes % nodes, i % nodes
    index = torch.stack([x + y / nodes + z / nodes**2, y + z / nodes, z], dim=1)
    return (index * (side / (nodes - 1)) - side / 2).float()


def _shape(case: Case) -> Entries:
    nodes, side = len(case.io["shape.clean_grid.sigma_xyz"]), case.config.side
    sheared = _sheared_grid(nodes, side)
    yield "shape.official_grid.samples_first_row", sheared[: len(case.io["shape.official_grid.samples_first_row"])]
    axis = torch.linspace(-side / 2, side / 2, nodes)
    clean = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    for name, points in (("official", sheared), ("clean", clean)):
        raw = case.generator.raw_field(case.planes[:1], points[None])[0]
        yield f"shape.{name}_grid.sigma_xyz", raw.reshape(nodes, nodes, nodes)


STAGES = (_mapping, _blocks, _planes, _points, _rays, _midpoint, _inject, _superresolution, _forward, _shape)
reduced = pytest.mark.parametrize("case", fixtures(_is_reduced), indirect=True)


@reduced
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__.strip("_"))
def test_every_stage_agrees(case, stage):
    for key, value in case.entries(stage).items():
        if key in case.io:
            case.fixture.check(key, value)


@reduced
def test_nothing_stored_is_left_out(case):
    ours = {key for stage in STAGES for key in case.entries(stage)}
    left = {key for key in case.io if not GIVEN.match(key) and not key.startswith("shape.mesh.")}
    assert left <= ours, sorted(left - ours)


def _trimmed(case: Case) -> Tensor:
    """Our densities where the published tool evaluates them, its border emptied."""
    values, pad = case.entries(_shape)["shape.official_grid.sigma_xyz"], int(case.io["shape.mesh.pad"])
    kept = slice(pad, len(values) - pad)
    inner = torch.full_like(values, -1000.0)
    inner[kept, kept, kept] = values[kept, kept, kept]
    return inner


@reduced
def test_the_published_mesh_comes_out_of_our_density(case):
    measure = pytest.importorskip("skimage.measure")
    volume_as_stored = _trimmed(case).flip(0).permute(2, 1, 0).contiguous().numpy()
    vertices, faces, _, _ = measure.marching_cubes(volume_as_stored, float(case.io["shape.mesh.level"]))
    case.fixture.check("shape.mesh.vertices_ply", torch.from_numpy(vertices.copy()))
    assert torch.equal(torch.from_numpy(faces.copy()), case.io["shape.mesh.faces_ply"])
    a, b, c = torch.from_numpy(vertices.copy()).unbind(1)
    step = case.config.side / (len(volume_as_stored) - 1)
    world = torch.stack([(len(volume_as_stored) - 1 - c), b, a], dim=1) * step - case.config.side / 2
    case.fixture.check("shape.mesh.vertices_world", world)


@reduced
def test_our_surface_is_the_published_one(case):
    inner, level = _trimmed(case).double(), float(case.io["shape.mesh.level"])
    # The library behind `backend/surface.py`, without what the surface does to keep triangles from having no area.
    index, _ = mcubes.marching_cubes((inner - level).numpy(), 0.0)
    spacing = case.config.side / (len(inner) - 1)
    vertices = torch.from_numpy(index) * spacing - case.config.side / 2
    expected = case.io["shape.mesh.vertices_world"].double()
    gaps = torch.cdist(vertices, expected)
    tolerance = case.fixture.meta["tensors"]["shape.mesh.vertices_world"]["tol_rel"] * float(expected.abs().max())
    assert gaps.amin(1).max() < tolerance
    # Lewiner's variant, which the published tool uses, adds a vertex inside a few ambiguous cells; others are on edges.
    steps = (expected + case.config.side / 2) / spacing
    is_on_edge = ((steps - steps.round()).abs() < 1e-3).sum(1) >= 2
    assert is_on_edge.double().mean() > 0.9
    assert gaps.amin(0)[is_on_edge].max() < tolerance


@reduced
def test_the_field_is_the_published_one_after_activation(case):
    points = case.io["in.points"][0]
    raw, colors = case.generator.raw_field(case.planes[:1], points[None])
    field = case.generator.field(case.ws[:1])
    torch.testing.assert_close(field.density(points), volume.activate_density(raw[0]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(field.color(points), colors[0, :, :3].clamp(0, 1), rtol=1e-4, atol=1e-4)
    assert math.isclose(field.level, math.log1p(math.exp(9)), rel_tol=1e-6)


@pytest.mark.parametrize("case", fixtures(_is_published_classes), indirect=True)
def test_published_classes_with_tiny_widths_agree(case):
    ours = dict(_published_classes(case.generator, case))
    for key, value in ours.items():
        case.fixture.check(key, value)
    assert {key for key in case.io if not GIVEN.match(key)} == set(ours)


def _published_classes(generator: PlaneGenerator, case: Case) -> Entries:
    ws = generator.make_ws(case.z, case.label, truncation=0.7)
    planes = generator.make_planes(ws)
    raw, colors = generator.raw_field(planes, case.io["in.points"])
    yield "out.ws_psi0.7", ws[:, :1]
    yield "out.sigma", raw[..., None]
    yield "out.rgb", colors
    size = int(next(re.search(r"image_raw_nrr(\d+)", key)[1] for key in case.io if "image_raw_nrr" in key))
    images = generator(ws, *case.cameras, size_px=size)
    yield f"out.image_raw_nrr{size}", images.image_raw
    yield "out.image", strided_like(images.image, case.io["out.image"])


@pytest.mark.slow
@pytest.mark.parametrize("case", fixtures(_is_published_size), indirect=True)
def test_published_size_agrees(case):
    ours = {key: value for key, value in _published_size(case.generator, case) if key in case.io}
    for key, value in ours.items():
        case.fixture.check(key, value)
    assert {key for key in case.io if not GIVEN.match(key)} == set(ours)


def _published_size(generator: PlaneGenerator, case: Case) -> Entries:
    z, label = case.z, case.label
    ws = generator.make_ws(z, label)
    yield "mapping.ws", ws[:, 0]
    for key in case.io:
        if match := re.fullmatch(r"mapping\.ws_psi([\d.]+)_cut(\d+)(?:\.row(\d+)_row(\d+))?", key):
            rows = [int(row) for row in match.groups()[2:] if row] or [0]
            yield key, generator.make_ws(z, label, truncation=float(match[1]), cutoff=int(match[2]))[:, rows]
    planes = generator.make_planes(ws)
    flat = planes.flatten(1, 2)
    yield "planes.mean_per_channel", flat.mean((2, 3))
    yield "planes.std_per_channel", flat.std((2, 3))
    raw, colors = generator.raw_field(planes, case.io["in.points"])
    yield "sample_mixed.sigma", raw[..., None]
    yield "sample_mixed.rgb", colors[..., :: colors.shape[-1] // case.io["sample_mixed.rgb"].shape[-1]]
    for key in case.io:
        if match := re.fullmatch(r"planes\.strided(\d+)", key):
            yield key, flat[:, :, :: int(match[1]), :: int(match[1])]
    background = generator.make_background(ws)
    for size in {int(match[1]) for key in case.io if (match := re.match(r"synthesis(\d+)\.", key))}:
        images = generator.view(ws, generator.render(planes, *case.cameras, size_px=size), background=background)
        yield f"synthesis{size}.image.mean_std", torch.stack([images.image.mean((2, 3)), images.image.std((2, 3))])
        pictures = {"image": images.image, "image_raw": images.image_raw, "image_depth": images.depth}
        yield from _strided(case.io, f"synthesis{size}", pictures | {"image_mask": images.mask})


def _strided(io: dict[str, Tensor], prefix: str, pictures: dict[str, Tensor]) -> Entries:
    """Pictures of which every so many-th pixel is stored; the name need not say how many."""
    for key, stored in io.items():
        if match := re.fullmatch(rf"{prefix}\.(\w+)\.strided(\d*)", key):
            picture, step = pictures[match[1]], int(match[2] or 0)
            yield key, picture[:, :, ::step, ::step] if step else strided_like(picture, stored)
