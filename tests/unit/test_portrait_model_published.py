# SPDX-License-Identifier: Apache-2.0
"""A published generator behind the main path's protocol, with a tiny network of random weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from backend.camera import look_at_camera, project
from backend.generator.config import GeneratorConfig, RenderConfig, SuperResolutionConfig
from backend.generator.plane_generator import PlaneGenerator
from backend.inversion.cameras import cameras_of
from backend.inversion.method import Inversion
from backend.inversion.plane_model import tuned_generator
from backend.mesh import Mesh
from backend.portrait_model.contract import BoundMesh, PortraitModel
from backend.portrait_model.explore import COUNT, explore_directions
from backend.portrait_model.kept import KeptHead, from_record, to_record_codes
from backend.portrait_model.plane_codes import PlaneCodes
from backend.portrait_model.published import PublishedModel
from backend.portrait_model.starter import StarterModel
from backend.portrait_record import MASK_PX, KeptPortrait
from tests.analytic import example_head
from tests.small_starter import small_starter, small_template

SMALL = GeneratorConfig(
    z_dim=8,
    w_dim=16,
    channel_base=64,
    channel_max=8,
    plane_resolution=16,
    plane_channels=8,
    decoder_hidden=16,
    neural_resolution=16,
    render=RenderConfig(coarse_samples=12, fine_samples=12),
    superresolution=SuperResolutionConfig(input_resolution=16, channels=(8, 8)),
)
IDENTITY = {"id": "tiny-1", "family": "eg3d", "licence": "Research", "commercial_use": "no"}


def small_generator(config=SMALL):
    torch.manual_seed(0)
    generator = PlaneGenerator(replace(config, decoder_outputs=config.plane_channels))
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
        generator.decoder.net[2].weight[0] *= 10
    return generator.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model():
    return PublishedModel(small_generator(), IDENTITY, small_template(subdivisions=2))


@pytest.fixture(scope="module")
def codes(model):
    offset = np.random.default_rng(1).normal(0, 0.1, model.code_shapes["plane_offset"]).astype(np.float32)
    return PlaneCodes(model.plane_model.mean_ws[0].numpy(), 0.4, offset)


def test_both_families_keep_the_protocol(model):
    assert isinstance(model, PortraitModel) and isinstance(StarterModel(small_starter()), PortraitModel)


def test_the_field_is_the_generator_s_own(model, codes):
    points = torch.rand((50, 3)) * 0.6 - 0.3
    offset = torch.from_numpy(codes.plane_offset)[None]
    plain = model.generator.field(torch.from_numpy(codes.ws)[None], offset)
    torch.testing.assert_close(model.field(codes).density(points), plain.density(points))
    torch.testing.assert_close(model.field(codes).color(points), plain.color(points))


def test_canonical_space_has_its_origin_in_the_head_of_a_body():
    config = replace(SMALL, family="portrait3d", pose_dim=6, plane_depth=3, plane_axes="corrected")
    body = PublishedModel(small_generator(config), IDENTITY | {"family": "portrait3d"}, small_template(subdivisions=2))
    codes = PlaneCodes(body.plane_model.mean_ws[0].numpy(), 1.0)
    points = torch.rand((50, 3)) * 0.4 - 0.2
    shift = torch.tensor(body.placement.head)
    plain = body.generator.field(torch.from_numpy(codes.ws)[None])
    torch.testing.assert_close(body.field(codes).density(points), plain.density(points + shift))
    # What the generator's camera sees at a place, the moved camera sees there too.
    camera = body._around((20.0,))[0]
    seen, _ = project(camera, points.double().numpy())
    there, _ = project(body._to_generator(camera), (points + shift).double().numpy())
    np.testing.assert_allclose(seen, there, atol=1e-6)
    middle, _ = project(body._to_generator(camera), np.array([[0.0, SMALL.camera.pivot[1], 0.0]]))
    np.testing.assert_allclose(middle, [[0.5, 0.5]], atol=1e-12)


def test_its_pictures_come_from_all_asked_sides_with_their_cameras(model, codes):
    views = model.views(codes)
    yaws = [np.degrees(np.arctan2(*view.camera.position[[0, 2]])) for view in views]
    np.testing.assert_allclose(yaws, model.placement.yaws_deg, atol=1e-9)
    side = model.generator.config.superresolution.output_resolution
    assert all(view.pixels.shape == (side, side, 3) and view.portrait_px == side for view in views)
    front = model.plane_model.head(torch.from_numpy(codes.ws)[None]).moved(torch.from_numpy(codes.plane_offset)[None])
    image = front.render(cameras_of(views[0].camera), size_px=16).image[0].permute(1, 2, 0)
    np.testing.assert_allclose(views[0].pixels, (image.clamp(-1, 1).numpy() + 1) * 127.5, atol=0.51)


def test_tuned_weights_are_kept_as_a_plane_offset_and_what_lies_behind_the_planes(model):
    ws = model.plane_model.mean_ws
    random = torch.Generator().manual_seed(2)
    names = ["backbone.synthesis.b8.conv0.weight", "decoder.net.0.weight", "superresolution.block1.torgb.weight"]
    state = model.generator.state_dict()
    tuned = {name: 0.1 * torch.randn(state[name].shape, generator=random) for name in names}
    codes = model._codes_of(Inversion(ws, None, tuned))
    assert set(codes.tuned) == set(names[1:])
    assert set(codes.to_arrays()) <= set(model.code_shapes)
    whole = tuned_generator(model.generator, tuned)
    camera = look_at_camera(yaw_deg=10.0, pitch_deg=0.0, distance=2.7, focal=4.2647)
    pose, lens = (torch.from_numpy(part)[None].float() for part in (camera.cam2world, camera.intrinsics))
    expected = whole(ws, pose, lens).image
    kept = model._images(model._head(codes), camera).image
    torch.testing.assert_close(kept, expected, atol=1e-4, rtol=1e-3)


def test_a_head_is_taken_up_again_as_it_was(model, codes):
    record = example_head().record
    portrait = from_record_portrait()
    moved = model.move(codes, {"Explore 2": 1.5})
    arrays = to_record_codes(model, KeptHead(moved, [codes], [portrait]))
    back = from_record(model, replace(record, generator=IDENTITY, codes=arrays))
    np.testing.assert_array_equal(back.codes.ws, moved.ws)
    np.testing.assert_array_equal(back.seen[0].ws, codes.ws)
    np.testing.assert_array_equal(back.seen[0].plane_offset, codes.plane_offset)
    assert back.codes.metres_per_unit == 0.4


def from_record_portrait():
    camera = look_at_camera(yaw_deg=0.0, pitch_deg=0.0, distance=2.7, focal=4.0)
    return KeptPortrait(b"", np.zeros((MASK_PX, MASK_PX), np.uint8), camera)


def test_explore_directions_are_the_strongest_of_the_coarse_style_layers(model):
    directions = explore_directions(model.generator, 2.0)
    assert [direction.slider.name for direction in directions] == [
        f"Explore {number}" for number in range(1, COUNT + 1)
    ]
    rows = np.stack([direction.ws[0] for direction in directions])
    np.testing.assert_allclose(rows @ rows.T, np.eye(COUNT), atol=1e-5)  # Half of the spread 2 is 1.
    synthesis = model.generator.backbone.synthesis
    layers = [synthesis.b4.conv1, synthesis.b8.conv0, synthesis.b8.conv1]
    styles = torch.cat([layer.affine.weight for layer in layers]).numpy()
    strengths = np.linalg.norm(rows @ styles.T, axis=1)
    assert (np.diff(strengths) < 1e-5).all()
    np.testing.assert_allclose(strengths[0], np.linalg.svd(styles, compute_uv=False)[0], rtol=1e-4)
    coarse = [direction.ws[:3] for direction in directions]
    assert all((direction.ws[3:] == 0).all() for direction in directions) and np.ptp(coarse, axis=1).max() == 0


def test_morph_targets_are_where_the_moved_codes_take_the_mesh(model, codes):
    """On any mesh; here one of points on a sphere."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.2)
    surface = Mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32))
    bound = model.bind(surface, codes)
    assert isinstance(bound, BoundMesh)
    np.testing.assert_array_equal(bound.vertices(codes), surface.vertices)
    targets = bound.morph_targets(surface.vertices)
    assert [target.slider.name for target in targets] == [one.slider.name for one in model.directions]
    moved = bound.vertices(model.move(codes, {"Explore 1": 1.0}))
    offsets = moved - surface.vertices
    shown = np.linalg.norm(offsets, axis=1) * 0.4 >= 2e-5
    np.testing.assert_allclose(targets[0].offsets[shown], offsets[shown], atol=1e-7)
