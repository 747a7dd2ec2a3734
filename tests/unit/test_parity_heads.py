# SPDX-License-Identifier: Apache-2.0
"""PanoHead, 3DPortraitGAN and its pose predictor against numbers of the published code, found by their JSON."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from backend.generator.body_pose import is_left
from backend.generator.deformation import MeshDeformation, faces_within, squared_distances
from backend.generator.family import EMPTY, make_rays, without_margin
from backend.generator.plane_generator import Images
from backend.generator.planes import sample_each_plane
from backend.generator.pose_predictor import PosePredictor, _mirrored, is_used
from backend.generator.volume import coarse_depths, fine_depths, segment_weights
from tests.unit.parity import Case, Entries, Fixture, fixtures, predictor_config_of, strided_like

# Stored values that the published code was given; the tests of the deformation read them.
GIVEN = re.compile(r"in\.|deform\.(posed_vertices|canonical_vertices|faces|in_points|thickness|unique)$")


def _is_panohead(meta: dict) -> bool:
    return meta["target"].startswith("PanoHead generator") and "config" in meta


def _is_portrait(meta: dict) -> bool:
    return meta["target"].startswith("3DPortraitGAN generator") and "config" in meta


def _is_predictor(meta: dict) -> bool:
    return meta["target"].startswith("3DPortraitGAN body-pose predictor")


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(Fixture(request.param))


def _mapping(case: Case) -> Entries:
    for key in case.io:
        if match := re.fullmatch(r"mapping\.ws(_pose)?(_none)?(?:_psi([\d.]+))?", key):
            pose = case.io["in.pose"] if match[1] and not match[2] else None
            yield key, case.generator.make_ws(case.z, case.label, pose=pose, truncation=float(match[3] or 1))


def _camera_shift(case: Case) -> Entries:
    for key in case.io:
        if match := re.fullmatch(r"delta_c\.psi([\d.]+)", key):
            yield key, case.generator.camera_shift(case.z, case.label, truncation=float(match[1]))
    if "delta_c.c_new" in case.io:
        shifted = case.label.clone()
        shifted[:, [3, 7, 11]] += case.generator.camera_shift(case.z, case.label)
        yield "delta_c.c_new", shifted


def _drawn_pose(case: Case) -> Entries:
    if case.config.pose_dim:
        branch = case.generator.pose_branch
        yield "g_pose_branch.pose", branch.drawn(case.z, case.label)
        yield "g_pose_branch.raw_no_symmetry", branch(torch.cat([case.z, case.label], dim=1))


def _points(case: Case) -> Entries:
    flat, points = case.planes.flatten(1, 2), case.io["in.points"]
    yield "planes.strided", strided_like(flat, case.io["planes.strided"])
    yield "planes.mean_per_channel", flat.mean((2, 3))
    config = case.config
    options = {"side": config.side, "axes": config.plane_axes, "depth": config.plane_depth}
    yield "planes.features", sample_each_plane(case.planes, points, **options)
    raw, features = case.generator.raw_field(case.planes, points)
    yield "sample_mixed.sigma", raw[..., None]
    yield "sample_mixed.rgb", features
    yield "crop_mask", (without_margin(config, points, raw) == EMPTY)[..., None].to(torch.uint8)


def _rendering(case: Case) -> Entries:
    rendering = case.generator.render(case.planes, *case.cameras, size_px=case.size_px)
    # These renderers leave the scale of colours to their callers.
    background = 1 - rendering.opacity[..., None] if case.config.render.white_back else 0.0
    for name in ("midpoint", "canonical"):
        yield f"render.{name}.features", rendering.features + background
        yield f"render.{name}.depth", rendering.depth[..., None]
        yield f"render.{name}.weight_sum", rendering.opacity[..., None]
    if case.config.render.fine_samples:
        yield "render.midpoint.depths_fine", _fine_depths(case)[..., None]


def _fine_depths(case: Case) -> Tensor:
    render = case.config.render
    rays = make_rays(case.config, *case.cameras, case.size_px)
    depths = coarse_depths(rays.near, rays.far, render.coarse_samples, disparity=render.disparity)
    points = rays.points(depths)
    raw = without_margin(case.config, points, case.generator.raw_field(case.planes, points)[0])
    weights = segment_weights(depths, raw.reshape(depths.shape))
    return fine_depths(depths, weights, torch.linspace(0, 1, render.fine_samples).expand(*depths.shape[:2], -1))


def _named(prefix: str, images: Images) -> Entries:
    yield f"{prefix}.image", images.image
    yield f"{prefix}.image_raw", images.image_raw
    yield f"{prefix}.image_depth", images.depth
    yield f"{prefix}.image_mask", images.mask
    if images.background is not None:
        yield f"{prefix}.image_background", images.background


def _pictures(case: Case) -> Entries:
    generator, ws = case.generator, case.ws
    rendering = generator.render(case.planes, *case.cameras, size_px=case.size_px)
    own, other = generator.make_background(ws), generator.make_background(ws.flip(0))
    if own is not None:
        yield "background.feature_image", own.features
    for name, background in (("canonical", own), ("own_bg", own), ("other_bg", other)):
        yield from _named(f"synthesis.{name}", generator.view(ws, rendering, background=background))


def _shifted_forward(case: Case) -> Entries:
    for psi in {match[1] for key in case.io if (match := re.match(r"forward_with_delta_c\.psi([\d.]+)\.image", key))}:
        truncation = float(psi)
        ws = case.generator.make_ws(case.z, case.label, truncation=truncation)
        cam2world = case.cameras[0].clone()
        cam2world[:, :3, 3] += case.generator.camera_shift(case.z, case.label, truncation=truncation)
        images = case.generator(ws, cam2world, case.cameras[1], size_px=case.size_px)
        yield from _named(f"forward_with_delta_c.psi{psi}", images)


def _deformation(case: Case) -> MeshDeformation:
    kept = case.io["deform.face_mask"].bool()
    meshes = case.io["deform.posed_vertices"], case.io["deform.canonical_vertices"]
    return MeshDeformation(*meshes, case.io["deform.faces"][kept], reach=case.config.deform_reach)


def _deformed(case: Case) -> Entries:
    if "deform.in_points" not in case.io:
        return
    rest, points, deform = case.io["deform.canonical_vertices"], case.io["deform.in_points"], _deformation(case)
    all_faces = case.io["deform.faces"].numpy()
    yield "deform.face_mask", torch.from_numpy(faces_within(rest[0].numpy(), all_faces, case.config.side)).byte()
    index = MeshDeformation(deform.posed, rest, deform.faces, reach=torch.inf).nearest(points)
    yield "deform.face_index_in_masked_list", index
    corners = torch.stack([vertices[deform.faces[i]] for vertices, i in zip(deform.posed, index, strict=True)])
    yield "deform.dist2", squared_distances(points.double(), corners.double())
    stored = case.io["deform.face_index_in_masked_list"].long()
    yield "deform.out_points", deform.carried(points, _chosen(deform.nearest(points), stored))


def _chosen(found: Tensor, stored: Tensor) -> Tensor:
    """The published triangles, which may be others of the equally near ones; what is out of reach we decide."""
    return torch.where(found < 0, -1, stored)


def _posed(case: Case) -> Entries:
    if "deform.in_points" not in case.io:
        return
    deform, found = _deformation(case), []
    names = ("coarse", "fine") if case.config.render.fine_samples else ("coarse",)
    stored = [case.io[f"synthesis.posed.{name}_face_index"].long() for name in names]

    def recorded(points: Tensor) -> Tensor:
        found.append(deform.nearest(points))
        return deform.carried(points, _chosen(found[-1], stored[len(found) - 1]))

    yield from _named("synthesis.posed", _posed_images(case, recorded))
    for name, index in zip(names, found, strict=True):
        yield f"synthesis.posed.{name}_face_index", index


def _posed_images(case: Case, deform: Callable[[Tensor], Tensor]) -> Images:
    return case.generator(case.ws, *case.cameras, size_px=case.size_px, deform=deform)


STAGES = (
    _mapping,
    _camera_shift,
    _drawn_pose,
    _points,
    _rendering,
    _pictures,
    _shifted_forward,
    _deformed,
    _posed,
)
heads = pytest.mark.parametrize("case", fixtures(_is_panohead) + fixtures(_is_portrait), indirect=True)


@heads
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__.strip("_"))
def test_every_stage_agrees(case, stage):
    for key, value in case.entries(stage).items():
        if key in case.io and not key.endswith(("face_index", "face_index_in_masked_list")):
            case.fixture.check(key, value)


@heads
def test_nothing_stored_is_left_out(case):
    ours = {key for stage in STAGES for key in case.entries(stage)}
    left = {key for key in case.io if not GIVEN.match(key)}
    assert left <= ours, sorted(left - ours)


@pytest.mark.parametrize("case", fixtures(_is_portrait), indirect=True)
def test_the_nearest_triangles_are_the_published_ones(case):
    if "deform.unique" not in case.io:
        pytest.skip("this fixture has no body mesh")
    ours, stored = case.entries(_deformed), case.io["deform.face_index_in_masked_list"]
    is_same = ours["deform.face_index_in_masked_list"] == stored
    assert is_same[case.io["deform.unique"].bool()].all()
    # Elsewhere several triangles share the nearest point, and rounding may choose another one.
    assert is_same.double().mean() > 0.98
    for key, index in case.entries(_posed).items():
        if key.endswith("face_index"):
            assert ((index == case.io[key]) | (index < 0)).double().mean() > 0.98, key


@pytest.mark.parametrize("case", fixtures(_is_portrait), indirect=True)
def test_pictures_of_our_own_deformation_are_the_published_ones_but_for_a_few_pixels(case):
    if "deform.unique" not in case.io:
        pytest.skip("this fixture has no body mesh")
    images = _posed_images(case, _deformation(case))
    for key, image in _named("synthesis.posed", images):
        if key.endswith(("image_raw", "image_mask", "image_depth")):
            error = (image - case.io[key]).abs().amax(1) / case.io[key].abs().max()
            assert (error > case.fixture.meta["tensors"][key]["tol_rel"]).double().mean() <= 0.02, key


@pytest.mark.parametrize("path", fixtures(_is_predictor))
def test_predicted_poses_agree(path):
    fixture = Fixture(path)
    io = fixture.io
    predictor = PosePredictor(predictor_config_of(fixture.meta)).requires_grad_(False)
    predictor.load_state_dict({name: value for name, value in fixture.state().items() if is_used(name)})
    image, mask, label = (io[f"in.{name}"] for name in ("image", "mask", "c"))
    small = [predictor.as_rendered(picture) for picture in (image, mask)]
    turned = [_mirrored(picture, is_left(label)) for picture in (image, *small)]
    ours = {
        "mid.image_raw": small[0],
        "mid.mask_raw": small[1],
        "mid.flat_feature": predictor.features(*turned),
        "out.pose": predictor(image, mask, label),
    }
    for key, value in ours.items():
        fixture.check(key, value)
    assert {key for key in io if not key.startswith("in.")} == set(ours)
