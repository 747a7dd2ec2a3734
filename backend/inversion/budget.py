# SPDX-License-Identifier: Apache-2.0
"""How long a method may work, and how fine it looks: by quality, by processor and by the size of the model."""

from dataclasses import dataclass

from backend.config import Quality


@dataclass(frozen=True)
class Budget:
    """Steps and resolution.

    Args:
        code_steps: On ``ws``.
        tune_steps: On the model's weights or the plane offset.
        size_px: Side of the renderings; never more than the model's own.
        superresolve: Whether codes and plane offsets are judged on the final picture; else on the raw rendering,
            which spares most of a step's time on a CPU. Tuned weights are always judged on the final one.
        patience: A stage ends when this many steps brought nothing.
    """

    code_steps: int
    tune_steps: int
    size_px: int
    superresolve: bool = True
    patience: int = 80


# The published loops have 500 steps on codes and 350 (PTI) or 1000 (SPI) on weights; "best" is that where it can be.
_CUDA: dict[Quality, Budget] = {
    "draft": Budget(80, 40, 64),
    "balanced": Budget(250, 150, 128),
    "best": Budget(500, 350, 128),
}
# A step of a full-size network takes several seconds on two cores, of a small one a tenth of that.
_CPU: dict[Quality, Budget] = {
    "draft": Budget(15, 10, 32, superresolve=False),
    "balanced": Budget(60, 40, 48, superresolve=False),
    "best": Budget(150, 120, 64),
}
# The starter's take a quarter of a second.
_LIGHT_CPU: dict[Quality, Budget] = {
    "draft": Budget(50, 30, 48),
    "balanced": Budget(200, 120, 64),
    "best": Budget(500, 350, 96),
}
_SPI_BEST_TUNING = 1000


def budget_for(method: str, quality: Quality, device: str, *, is_light: bool = False) -> Budget:
    """The budget of a method.

    Args:
        method: Name in ``METHODS``.
        quality: As the user chose.
        device: Type of the torch device.
        is_light: Whether a step of the model takes tenths of a second on a CPU.
    """
    on_cpu = _LIGHT_CPU if is_light else _CPU
    budget = (on_cpu if device == "cpu" else _CUDA)[quality]
    if method == "spi" and quality == "best" and (device != "cpu" or is_light):
        return Budget(budget.code_steps, _SPI_BEST_TUNING, budget.size_px)
    return budget
