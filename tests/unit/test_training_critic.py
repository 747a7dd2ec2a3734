# SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch

from backend.errors import ModelError
from backend.training import critic as module
from backend.training.critic import Critic, CriticConfig, squared_slope

CONFIG = CriticConfig(channels=(8, 12), learning_rate=5e-3, penalty_steps=4)


def patches(shade, seed=0):
    noise = torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    return shade + 0.1 * noise


def taught(steps=30):
    critic = Critic(CONFIG)
    for step in range(steps):
        critic.learn(patches(0.8, step), patches(0.2, step + 100), step=step)
    return critic


def test_it_learns_to_tell_true_from_made_and_then_is_fooled_by_what_looks_true():
    critic = taught()
    true, made = critic.network(patches(0.8, 500)).mean(), critic.network(patches(0.2, 501)).mean()
    assert true > made + 1
    assert critic.fooled(patches(0.8)) < critic.fooled(patches(0.2)) - 0.3


def test_its_gradient_leads_the_generator_towards_the_truth():
    critic = taught()
    made = patches(0.3).requires_grad_(True)
    critic.fooled(made).backward()
    assert critic.fooled(made - 5 * made.grad) < critic.fooled(made)
    assert made.grad.mean() < 0  # Brighter is truer.


def test_the_slope_of_a_linear_score_is_its_weights():
    weight = torch.randn((1, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    seen = patches(0.5).requires_grad_(True)
    scores = (weight * seen).sum((1, 2, 3)).reshape(4, 1, 1, 1)
    torch.testing.assert_close(squared_slope(scores, seen), weight.square().sum())


def test_the_penalty_is_made_at_every_so_many_steps(monkeypatch):
    steps = []
    monkeypatch.setattr(module, "squared_slope", lambda scores, true: steps.append(step) or scores.sum() * 0)
    critic = Critic(CONFIG)
    for step in range(9):
        critic.learn(patches(0.8), patches(0.2), step=step)
    assert steps == [0, 4, 8]


def test_the_penalty_flattens_the_scores_around_the_truth():
    flat, steep = (
        Critic(CriticConfig(channels=(8, 12), penalty=300.0, penalty_steps=1)),
        Critic(CriticConfig(channels=(8, 12), penalty=0.0, penalty_steps=1)),
    )
    slopes = []
    for critic in (flat, steep):
        for step in range(30):
            critic.learn(patches(0.8, step), patches(0.2, step), step=step)
        seen = patches(0.8, 900).requires_grad_(True)
        slopes.append(squared_slope(critic.network(seen), seen).item())
    assert slopes[0] < 0.5 * slopes[1]


def test_taken_up_again_it_learns_the_same():
    critic, again = taught(5), Critic(CONFIG)
    again.load_state_dict(copy.deepcopy(critic.state_dict()))
    for each in (critic, again):
        each.learn(patches(0.8), patches(0.2), step=5)
    for one, other in zip(critic.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_patches_that_are_no_numbers_leave_it_as_it_is():
    critic = taught(2)
    before = [value.clone() for value in critic.network.parameters()]
    with pytest.raises(ModelError, match="diverged at step 2") as caught:
        critic.learn(patches(0.8), patches(0.2) * torch.nan, step=2)
    assert caught.value.code == "training_diverged"
    assert all(torch.equal(one, other) for one, other in zip(before, critic.network.parameters(), strict=True))
