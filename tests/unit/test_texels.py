# SPDX-License-Identifier: Apache-2.0
import numpy as np

from backend.texels import fill_gaps, rasterize_uv


def random_triangulation(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The unit square cut into a jittered grid of triangles with mixed diagonals."""
    generator = np.random.default_rng(seed)
    count = 9
    grid = np.linspace(0, 1, count)
    x, y = np.meshgrid(grid, grid)
    uv = np.stack([x, y], axis=-1)
    uv[1:-1, 1:-1] += generator.uniform(-0.04, 0.04, (count - 2, count - 2, 2))
    vertex = np.arange(count * count).reshape(count, count)
    a, b, c, d = vertex[:-1, :-1].ravel(), vertex[:-1, 1:].ravel(), vertex[1:, 1:].ravel(), vertex[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return uv.reshape(-1, 2), faces


def test_triangles_that_tile_the_square_cover_each_texel_once():
    for seed in range(3):
        uv, faces = random_triangulation(seed)
        texels = rasterize_uv(uv, faces[:, ::-1] if seed else faces, 64)
        np.testing.assert_array_equal(np.sort(texels.index), np.arange(64 * 64))


def test_edges_through_texel_centres_are_covered_once():
    uv = np.array([[0.5, 0.5], [4.5, 0.5], [4.5, 4.5], [0.5, 4.5]]) / 8
    texels = rasterize_uv(uv, np.array([[0, 1, 2], [0, 2, 3]]), 8)
    assert len(np.unique(texels.index)) == len(texels.index) == 16


def test_barycentric_weights_give_the_texel_centre_back():
    uv, faces = random_triangulation(0)
    texels = rasterize_uv(uv, faces, 50)
    centre = np.stack([texels.index % 50 + 0.5, texels.index // 50 + 0.5], axis=1) / 50
    np.testing.assert_allclose(texels.interpolate(uv), centre, atol=1e-6)
    np.testing.assert_array_equal(texels.corners, faces[texels.triangle])
    assert texels.barycentric.min() > -1e-5


def test_texels_agree_with_a_slow_inside_test():
    uv = np.random.default_rng(4).uniform(-0.2, 1.2, (3, 2))
    size = 24
    found = set(rasterize_uv(uv, np.array([[0, 1, 2]]), size).index)
    expected = set()
    for row in range(size):
        for column in range(size):
            point = np.array([column + 0.5, row + 0.5]) / size
            sides = [np.linalg.det([uv[(k + 1) % 3] - uv[k], point - uv[k]]) for k in range(3)]
            if min(sides) > 0 or max(sides) < 0:
                expected.add(row * size + column)
    assert found == expected


def test_gathering_returns_the_mean_of_a_constant_and_the_share_of_weight():
    uv, faces = random_triangulation(1)
    texels = rasterize_uv(uv, faces, 64)
    is_left = (texels.index % 64 < 32).astype(np.float64)
    means, weight = texels.gather(np.full((len(is_left), 2), 7.0), is_left, len(uv) + 1)
    np.testing.assert_allclose(means[weight > 0], 7.0, rtol=1e-5)
    np.testing.assert_allclose(weight[:-1][uv[:, 0] < 0.3], 1.0, rtol=1e-5)
    np.testing.assert_allclose(weight[:-1][uv[:, 0] > 0.7], 0.0)
    assert weight[-1] == 0


def test_a_linear_field_survives_interpolation_and_gathering_on_average():
    uv, faces = random_triangulation(2)
    texels = rasterize_uv(uv, faces, 128)
    means, weight = texels.gather(texels.interpolate(uv), np.ones(len(texels.index)), len(uv))
    inner = ((uv > 0.2) & (uv < 0.8)).all(axis=1)
    np.testing.assert_allclose(means[inner], uv[inner], atol=0.045)
    np.testing.assert_allclose(weight, 1.0, atol=1e-6)


def test_charts_grow_by_their_own_colour_and_nothing_known_changes():
    image = np.zeros((32, 32, 1), np.float32)
    known = np.zeros((32, 32), bool)
    image[:, :4], known[:, :4] = 1.0, True
    image[:, -4:], known[:, -4:] = 5.0, True
    filled = fill_gaps(image, known, 8)
    np.testing.assert_allclose(filled[:, :12], 1.0)
    np.testing.assert_allclose(filled[:, -12:], 5.0)
    assert filled.min() >= 1 and filled.max() <= 5


def test_an_image_with_one_known_pixel_takes_its_colour_everywhere():
    image, known = np.zeros((13, 7, 3), np.float32), np.zeros((13, 7), bool)
    image[5, 2], known[5, 2] = (0.1, 0.2, 0.3), True
    np.testing.assert_allclose(fill_gaps(image, known, 2), np.broadcast_to([0.1, 0.2, 0.3], (13, 7, 3)), rtol=1e-6)
    np.testing.assert_array_equal(fill_gaps(image, np.zeros_like(known), 2), image)
