# SPDX-License-Identifier: Apache-2.0
import pytest

from backend.inversion.budget import budget_for
from backend.inversion.methods import METHODS


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("method", METHODS)
def test_more_quality_is_more_work(method, device):
    budgets = [budget_for(method, quality, device) for quality in ("draft", "balanced", "best")]
    for name in ("code_steps", "tune_steps", "size_px"):
        values = [getattr(budget, name) for budget in budgets]
        assert values == sorted(values) and values[0] > 0


def test_the_best_on_a_gpu_is_what_the_papers_ran():
    pti, spi = budget_for("pti", "best", "cuda"), budget_for("spi", "best", "cuda")
    assert (pti.code_steps, pti.tune_steps) == (500, 350)
    assert (spi.code_steps, spi.tune_steps) == (500, 1000)


def test_a_light_model_runs_what_the_papers_ran_on_a_cpu_too():
    pti, spi = (budget_for(method, "best", "cpu", is_light=True) for method in ("pti", "spi"))
    assert (pti.code_steps, pti.tune_steps) == (500, 350)
    assert (spi.code_steps, spi.tune_steps) == (500, 1000)
