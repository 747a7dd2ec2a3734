# SPDX-License-Identifier: Apache-2.0
import numpy as np

from backend.blend import Layer, Membrane, blend_layers
from backend.texels import rasterize_uv


def strip(columns: int = 80, rows: int = 6, *, contrast: float = 0.0):
    """A flat 8 x 0.5 strip of triangles, dark left of the middle and lighter right of it by the contrast."""
    x, y = np.meshgrid(np.linspace(0, 8, columns + 1), np.linspace(0, 0.5, rows + 1))
    vertices = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    vertex = np.arange(len(vertices)).reshape(rows + 1, columns + 1)
    a, b, c, d = vertex[:-1, :-1].ravel(), vertex[:-1, 1:].ravel(), vertex[1:, 1:].ravel(), vertex[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    colors = np.where(vertices[:, :1] > 4, 0.2 + contrast, 0.2).repeat(3, axis=1)
    return vertices, faces, colors


def spread_from_left_end(contrast: float):
    """Value 1 is known at the left end; returns places and spread values."""
    vertices, faces, colors = strip(contrast=contrast)
    membrane = Membrane(vertices, faces, colors)
    places = vertices[membrane.first]
    known = (places[:, 0] < 0.3).astype(float)
    return places, membrane.spread(known[:, None], known, 0.01)[:, 0]


def test_known_values_stay_and_the_unknown_between_two_ends_is_a_straight_line():
    vertices, faces, colors = strip()
    membrane = Membrane(vertices, faces, colors)
    x = vertices[membrane.first][:, 0]
    is_end = (x == 0) | (x == 8)
    result = membrane.spread(x[:, None] / 8, is_end.astype(float), 1e-4)[:, 0]
    np.testing.assert_allclose(result, x / 8, atol=0.01)


def test_a_constant_is_spread_everywhere():
    places, result = spread_from_left_end(0.0)
    assert result.min() > 0.95 and result.max() < 1.0001
    assert len(places) == len(result)


def test_a_colour_edge_holds_a_tint_back_when_the_other_side_says_otherwise():
    drops = []
    for contrast in (0.0, 0.5):
        vertices, faces, colors = strip(contrast=contrast)
        membrane = Membrane(vertices, faces, colors)
        x = vertices[membrane.first][:, 0]
        known = ((x < 0.3) | (x > 7.7)).astype(float)
        result = membrane.spread((x < 0.3)[:, None].astype(float), known, 0.01)[:, 0]
        drops.append(result[(x > 3.5) & (x < 4)].mean() - result[(x > 4.1) & (x < 4.6)].mean())
    assert drops[0] < 0.1
    assert drops[1] > 0.35


def test_values_never_leave_the_range_of_the_known_ones():
    vertices, faces, colors = strip(contrast=0.3)
    generator = np.random.default_rng(0)
    membrane = Membrane(vertices + generator.normal(0, 0.02, vertices.shape), faces, colors)
    values, weights = generator.uniform(0.2, 1, (membrane.count, 3)), generator.uniform(0, 1, membrane.count) ** 4
    result = membrane.spread(values, weights, 0.05)
    assert result.min() >= 0 and result.max() <= 1


def test_copies_at_a_seam_are_one_place():
    vertices, faces, colors = strip(4, 1)
    torn = np.concatenate([vertices, vertices[faces[0]]])
    torn_faces = faces.copy()
    torn_faces[0] = np.arange(3) + len(vertices)
    membrane = Membrane(torn, torn_faces, np.concatenate([colors, colors[faces[0]]]))
    assert membrane.count == len(vertices)
    values = np.arange(len(torn), dtype=float)[:, None]
    merged = membrane.first_copy(values)[:, 0]
    np.testing.assert_array_equal(merged[-3:], merged[faces[0]])


def flat_texels():
    vertices, faces, colors = strip()
    texels = rasterize_uv(vertices[:, :2] / 8, faces, 256)
    return Membrane(vertices, faces, colors), texels, texels.interpolate(vertices)[:, 0]


def test_a_fully_trusted_look_is_taken_as_it_is_and_no_look_changes_nothing():
    membrane, texels, x = flat_texels()
    generated = np.full((len(x), 3), 0.4, np.float32)
    seen = np.random.default_rng(0).uniform(0, 1, (len(x), 3)).astype(np.float32)
    np.testing.assert_allclose(blend_layers(membrane, texels, generated, []), generated)
    result = blend_layers(membrane, texels, generated, [Layer(seen, np.ones(len(x), np.float32))])
    np.testing.assert_allclose(result, seen, atol=1e-5)
    blind = blend_layers(membrane, texels, generated, [Layer(seen, np.zeros(len(x), np.float32))])
    np.testing.assert_allclose(blind, generated, atol=1e-5)


def test_a_patch_unlike_its_surroundings_does_not_tint_them():
    """A brown look with a black patch at the border of sight: what lies beyond turns brown, not black."""
    membrane, texels, x = flat_texels()
    generated = np.full((len(x), 3), 0.4, np.float32)
    seen = np.full((len(x), 3), 0.5, np.float32)
    seen[(x > 3.8) & (x < 4)] = 0.0
    result = blend_layers(membrane, texels, generated, [Layer(seen, (x < 4).astype(np.float32))])
    np.testing.assert_allclose(result[x > 5], 0.5, atol=0.04)


def test_a_second_look_in_other_light_is_matched_to_the_first():
    membrane, texels, x = flat_texels()
    generated = np.full((len(x), 3), 0.4, np.float32)
    detail = 0.05 * np.sin(30 * x)[:, None].repeat(3, axis=1).astype(np.float32)
    layers = [
        Layer(generated + detail + 0.1, (x < 5).astype(np.float32)),
        Layer(generated + detail - 0.1, (x > 3).astype(np.float32)),
    ]
    result = blend_layers(membrane, texels, generated, layers)
    np.testing.assert_allclose(result, generated + detail + 0.1, atol=0.035)
