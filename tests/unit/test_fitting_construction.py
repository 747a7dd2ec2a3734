# SPDX-License-Identifier: Apache-2.0
"""Directions from measures, on linear maps whose answer is known."""

import numpy as np
import pytest

from backend.fitting.construction import fit_slopes, principal_parts, single_moves

SAMPLES, W_DIM = 400, 12


def planted(seed=0, noise=0.0):
    """Codes of unequal spread and three overlapping measures of them."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(W_DIM, W_DIM)) * np.geomspace(1, 0.2, W_DIM)[:, None]
    w = random.normal(size=(SAMPLES, W_DIM)) @ mixing + random.normal(size=W_DIM)
    coefficients = random.normal(size=(W_DIM, 3))
    coefficients[:, 1] += 0.7 * coefficients[:, 0]
    measures = w @ coefficients
    standard = (measures - measures.mean(0)) / measures.std(0)
    return w, coefficients / measures.std(0), standard + noise * random.normal(size=standard.shape)


def moves_of(w, standard):
    parts = principal_parts(w)
    slopes = fit_slopes(parts.scores(w), standard)
    return single_moves(slopes.per_part, np.arange(standard.shape[1])) @ parts.axes, slopes, parts


def test_a_planted_direction_moves_its_measure_by_one_and_no_other():
    w, coefficients, standard = planted()
    moves, slopes, _ = moves_of(w, standard)
    np.testing.assert_allclose(moves @ coefficients, np.eye(3), atol=0.03)
    assert (slopes.explained > 0.99).all()


def test_the_regression_direction_itself_would_move_the_others_too():
    w, coefficients, standard = planted()
    _, slopes, parts = moves_of(w, standard)
    plain = slopes.per_part[:, 0] @ parts.axes
    changed = plain @ coefficients
    assert abs(changed[1]) > 0.2 * abs(changed[0])


def test_it_is_the_closed_form_with_the_codes_covariance():
    w, coefficients, standard = planted()
    moves, _, _ = moves_of(w, standard)
    covariance = np.cov(w.T, bias=True)
    inner = np.linalg.inv(coefficients.T @ covariance @ coefficients)
    np.testing.assert_allclose(moves, (covariance @ coefficients @ inner).T, atol=0.05 * np.abs(moves).max())


def test_it_is_the_likeliest_of_all_moves_that_do_the_same():
    w, coefficients, standard = planted()
    moves, _, parts = moves_of(w, standard)
    # Any move that no measure sees may be added without changing what the move does.
    unseen = np.linalg.svd(coefficients.T)[2][3:]
    spread = np.linalg.norm(parts.scores(parts.mean + moves[:1]))
    for other in unseen:
        assert np.linalg.norm(parts.scores(parts.mean + moves[:1] + 0.3 * other)) > spread


def test_the_share_explained_is_that_of_heads_left_out():
    random = np.random.default_rng(3)
    w, _, standard = planted(noise=1.0)
    # Signal and noise have the same variance; pure noise tells nothing, however many components there are.
    standard = np.column_stack([standard / np.sqrt(2), random.normal(size=SAMPLES)])
    explained = fit_slopes(principal_parts(w).scores(w), standard).explained
    np.testing.assert_allclose(explained[:3], 0.5, atol=0.1)
    assert explained[3] < 0.05


def test_leaving_one_out_in_closed_form_is_leaving_one_out():
    random = np.random.default_rng(5)
    scores = random.normal(size=(12, 3))
    scores -= scores.mean(0)
    measures = scores @ random.normal(size=(3, 1)) + 0.3 * random.normal(size=(12, 1))
    measures -= measures.mean(0)
    errors = []
    for ridge in (1e-3, 1e-2, 1e-1, 1.0, 10.0):
        left = []
        for one in range(12):
            kept = np.arange(12) != one
            x, y = scores[kept], measures[kept]
            slope = np.linalg.solve(
                (x - x.mean(0)).T @ (x - x.mean(0)) + 12 * ridge * np.eye(3), (x - x.mean(0)).T @ (y - y.mean(0))
            )
            left.append(measures[one] - y.mean(0) - (scores[one] - x.mean(0)) @ slope)
        errors.append(np.square(left).mean())
    explained = fit_slopes(scores, measures).explained
    np.testing.assert_allclose(explained[0], 1 - min(errors), atol=0.02)


def test_two_measures_that_are_one_give_finite_moves():
    w, _, standard = planted()
    moves, _, parts = moves_of(w, np.column_stack([standard, standard[:, 0]]))
    assert np.isfinite(moves).all()
    assert np.linalg.norm(parts.scores(parts.mean + moves), axis=1).max() < 50


def test_codes_without_spread_are_refused():
    with pytest.raises(ValueError, match="the same"):
        principal_parts(np.ones((8, 3)))
    with pytest.raises(ValueError, match="At least 4"):
        principal_parts(np.ones((3, 3)))


def test_components_are_one_standard_deviation_long():
    w, _, _ = planted()
    scores = principal_parts(w).scores(w)
    np.testing.assert_allclose(scores.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(np.cov(scores.T, bias=True), np.eye(scores.shape[1]), atol=1e-6)
