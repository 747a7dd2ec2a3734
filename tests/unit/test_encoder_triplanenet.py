# SPDX-License-Identifier: Apache-2.0
"""The whole TriPlaneNet on a tiny generator: what follows from its parts, and which files it refuses."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from backend.camera import Camera, look_at_camera, project
from backend.encoder.triplanenet import (
    at_side,
    differences,
    expected_shapes,
    load_triplanenet,
    mirrored_pose,
    published_sampling,
    read_config,
)
from backend.errors import ModelError
from tests.small_triplanenet import GENERATOR, front_cameras, small_config, small_triplanenet


def test_codes_are_counted_from_the_average_one():
    network, photo = small_triplanenet(), torch.rand(1, 3, 32, 32) * 2 - 1
    encoding = network.encode(photo, *front_cameras())
    torch.testing.assert_close(encoding.ws, network.psp_encoder(photo) + network.latent_avg)


@pytest.mark.parametrize("version", [1, 2])
def test_a_silent_second_branch_leaves_the_generators_own_head(version):
    network = small_triplanenet(version)
    head = network.triplanenet_encoder.final_head if version == 1 else network.triplanenet_encoder.final_head_two
    head[-1].weight.zero_()
    head[-1].bias.zero_()
    encoding = network.encode(torch.rand(1, 3, 32, 32), *front_cameras())
    assert not encoding.plane_offset.any()
    image = network.decoder(encoding.ws, *front_cameras()).image
    seen = network.look(encoding.ws, network.decoder.make_planes(encoding.ws), *front_cameras())
    torch.testing.assert_close(seen, functional.adaptive_avg_pool2d(image, 32))


def test_a_second_pass_starts_from_the_first_ones_picture_and_replaces_its_offset():
    network, photo, cameras = small_triplanenet(), torch.rand(1, 3, 32, 32), front_cameras()
    once, twice = (network.encode(photo, *cameras, passes=passes) for passes in (1, 2))
    planes = network.decoder.make_planes(once.ws)
    picture = network.look(once.ws, planes + once.plane_offset, *cameras)
    expected = network.triplanenet_encoder(torch.cat([picture, photo - picture], 1), planes.flatten(1, 2))
    torch.testing.assert_close(twice.plane_offset.flatten(1, 2), expected)


@pytest.mark.parametrize(("version", "passes"), [(1, 0), (2, 2)])
def test_numbers_of_passes_that_do_not_exist_are_refused(version, passes):
    with pytest.raises(ValueError, match="passes"):
        small_triplanenet(version).encode(torch.rand(1, 3, 32, 32), *front_cameras(), passes=passes)


def test_the_second_version_compares_the_mirrored_photo_with_the_mirrored_camera():
    network, photo, (pose, lens) = small_triplanenet(2), torch.rand(1, 3, 32, 32), front_cameras()
    seen = []
    network.triplanenet_encoder.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    ws = network.encode(photo, pose, lens).ws
    planes = network.decoder.make_planes(ws)
    mirrored = network.look(ws, planes, mirrored_pose(pose), lens)
    torch.testing.assert_close(seen[0][:, 6:], photo.flip(3) - mirrored)


def test_differences_begin_with_the_first_rendering():
    photo, seen, mirrored, seen_mirrored = torch.rand(4, 1, 3, 2, 2)
    joined = differences([(photo, seen), (mirrored, seen_mirrored)])
    torch.testing.assert_close(joined, torch.cat([seen, photo - seen, mirrored - seen_mirrored], dim=1))


def test_a_mirrored_camera_sees_the_mirrored_head_mirrored():
    camera = look_at_camera(yaw_deg=25, pitch_deg=10, distance=2.7, focal=4.0, target=np.array([0.1, 0.2, 0.0]))
    pose = mirrored_pose(torch.tensor(camera.cam2world)[None])
    points = np.random.default_rng(0).normal(size=(20, 3)) * 0.2
    here, depth = project(camera, points)
    there, mirrored_depth = project(Camera(pose[0].numpy(), camera.intrinsics), points * [-1, 1, 1])
    np.testing.assert_allclose(there, here * [-1, 1] + [1, 0], atol=1e-12)
    np.testing.assert_allclose(mirrored_depth, depth)
    torch.testing.assert_close(mirrored_pose(pose)[0], torch.tensor(camera.cam2world))


def test_half_the_side_is_the_mean_of_two_by_two_pixels():
    photo = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(at_side(photo, 8), functional.avg_pool2d(photo, 2))
    torch.testing.assert_close(at_side(photo, 16), photo)


def test_published_sampling_doubles_both_passes():
    render = published_sampling(GENERATOR).render
    assert (render.coarse_samples, render.fine_samples) == (8, 8)


@pytest.mark.parametrize("version", [1, 2])
def test_a_network_comes_back_from_its_own_weights(version):
    network = small_triplanenet(version)
    weights = network.state_dict()
    loaded = load_triplanenet(weights, GENERATOR)
    assert loaded.config == network.config == read_config({key: tuple(x.shape) for key, x in weights.items()})
    assert loaded.psp_encoder.latlayer1.weight.data_ptr() == network.psp_encoder.latlayer1.weight.data_ptr()
    photo = torch.rand(1, 3, 64, 64)
    expected, found = (one.encode(photo, *front_cameras()) for one in (network, loaded))
    torch.testing.assert_close(found.plane_offset, expected.plane_offset)
    torch.testing.assert_close(found.ws, expected.ws)


def test_expected_names_are_those_of_both_branches():
    names = {
        key for key in small_triplanenet().state_dict() if key.startswith(("psp_encoder.", "triplanenet_encoder."))
    }
    assert expected_shapes(small_config(1)).keys() == names


def test_the_average_code_may_be_one_row_or_the_generators_own():
    weights = small_triplanenet().state_dict()
    own = load_triplanenet({key: x for key, x in weights.items() if key != "latent_avg"}, GENERATOR).latent_avg
    torch.testing.assert_close(own, weights["decoder.backbone.mapping.w_avg"].expand(8, -1))
    row = torch.randn(16)
    torch.testing.assert_close(load_triplanenet(weights | {"latent_avg": row}, GENERATOR).latent_avg, row.expand(8, -1))


def test_missing_counters_of_batch_norms_do_not_matter():
    weights = {key: x for key, x in small_triplanenet().state_dict().items() if not key.endswith("num_batches_tracked")}
    assert not load_triplanenet(weights, GENERATOR).training


def test_files_that_do_not_fit_are_refused_with_names():
    weights = small_triplanenet().state_dict()
    without = {key: x for key, x in weights.items() if key != "psp_encoder.body.5.res_layer.2.weight"}
    with pytest.raises(ModelError, match=r"psp_encoder.body.5.res_layer.2.weight is missing"):
        load_triplanenet(without, GENERATOR)
    with pytest.raises(ModelError, match="extra is unknown"):
        load_triplanenet(weights | {"extra": torch.zeros(1)}, GENERATOR)
    with pytest.raises(ModelError, match=r"latlayer2.bias is \[3\] and should be \[16\]"):
        load_triplanenet(weights | {"psp_encoder.latlayer2.bias": torch.zeros(3)}, GENERATOR)
    nameless = {key: x for key, x in without.items() if key not in ("latent_avg", "decoder.backbone.mapping.w_avg")}
    with pytest.raises(ModelError, match="no average code"):
        load_triplanenet(nameless, GENERATOR)
