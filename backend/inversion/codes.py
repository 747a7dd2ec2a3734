# SPDX-License-Identifier: Apache-2.0
"""The average head, and the search for codes that show the portraits with the model as it is.

Source:
    Karras et al. 2020, arXiv:1912.04958, appendix D (the search); Abdal et al. 2019, Image2StyleGAN,
    arXiv:1904.03189 (one code per layer).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from backend.inversion.descent import Descent, descend, hurried, ramped
from backend.inversion.method import Head, Inversion, Model, PosedPortrait, Start, Step, Task, part
from backend.inversion.noise import exploration_std, noise_loss, normalize_noise
from backend.inversion.photo_terms import agreement, looks, photo_terms
from backend.inversion.silhouette import SILHOUETTE_WEIGHT, matte_terms

# In spreads of one number of a code; SPI's 0.01 for the published weights, whose numbers spread by about a half.
RATE, USUAL_STEPS = 0.02, 500


@dataclass(frozen=True)
class CodeConfig:
    """How codes are searched; the defaults are SPI's.

    Args:
        rate: Largest learning rate; fitted to the model's codes and the number of steps when omitted.
        pixel_weight: Of squared pixel differences.
        mean_weight: Of the squared distance from the average code.
        noise_weight: Of the correlation in the noise.
        silhouette_weight: Of the outline, for a model that shows the head alone.
        one_row: Whether one code serves all layers.
        with_noise: Whether the planes' noise is searched too; then the model's noise is changed.
        mirror_weight: Of the portraits' mirror images, one weight per portrait; none when empty.
    """

    rate: float | None = None
    pixel_weight: float = 1.0
    mean_weight: float = 0.0
    noise_weight: float = 1e5
    silhouette_weight: float = SILHOUETTE_WEIGHT
    one_row: bool = False
    with_noise: bool = False
    mirror_weight: list[float] = field(default_factory=list)


def mean(task: Task) -> Inversion:
    """The start as it is: the average head, without an encoder."""
    start = first_codes(task)
    head = task.model.head(start.ws)
    if start.plane_offset is not None:
        head = head.moved(start.plane_offset)
    task.step(1.0)
    agreed = agreement(head, task.portraits, size_px=min(task.budget.size_px, task.model.size_px))
    return Inversion(start.ws, start.plane_offset, agreement=agreed)


def w(task: Task) -> Inversion:
    """One code for all layers."""
    return _searched(task, CodeConfig(one_row=True))


def w_plus(task: Task) -> Inversion:
    """One code per layer."""
    return _searched(task, CodeConfig())


def _searched(task: Task, config: CodeConfig) -> Inversion:
    ws, losses = search_codes(task, config, step=part(task, 0, 1))
    agreed = agreement(task.model.head(ws), task.portraits, size_px=min(task.budget.size_px, task.model.size_px))
    return Inversion(ws, losses=losses, agreement=agreed)


def first_codes(task: Task) -> Start:
    """Codes given with the task, else those of the average head."""
    return task.start or Start(task.model.mean_ws)


def search_codes(
    task: Task, config: CodeConfig, *, step: Step, model: Model | None = None
) -> tuple[Float[Tensor, "1 num_ws w_dim"], dict[str, float]]:
    """Codes that show the portraits, and the terms of the loss.

    Args:
        task: Its start is where the search begins.
        config: How.
        step: Called with the share of the search.
        model: Whose noise may be changed; the task's when omitted.
    """
    search = CodeSearch(task, config, model or task.model)
    losses = search.run(step)
    return search.ws, losses


class CodeSearch:
    """A search under way.

    Args:
        task: What is searched for.
        config: How.
        model: Renders.

    Attributes:
        rows: The codes as they are searched: one per layer, or one for all.
    """

    def __init__(self, task: Task, config: CodeConfig, model: Model) -> None:
        self._task, self._config, self._model = task, config, model
        start = first_codes(task).ws.detach()
        rows = start.mean(1, keepdim=True) if config.one_row else start
        self.rows = rows.clone().requires_grad_(True)
        self._num_ws = start.shape[1]
        self._noise = list(model.noise().values()) if config.with_noise else []

    @property
    def ws(self) -> Float[Tensor, "1 num_ws w_dim"]:
        """The codes as they stand."""
        return self.rows.detach().expand(-1, self._num_ws, -1).clone()

    def run(self, step: Step) -> dict[str, float]:
        """Search; returns the terms of the loss."""
        for one in self._noise:
            one.copy_(self.draw(one))
            one.requires_grad_(True)
        descent = Descent(
            self._task.budget.code_steps,
            ramped(self._rate()),
            judged_by=("pixels", "perceptual", "silhouette", "mirror", "mean", "likely"),
        )
        try:
            return descend(
                [self.rows, *self._noise],
                self._terms,
                descent,
                step=step,
                after=lambda: normalize_noise(self._noise),
            )
        finally:
            for one in self._noise:
                one.requires_grad_(False)

    def _rate(self) -> float:
        if self._config.rate is not None:
            return self._config.rate
        spread = self._model.ws_std / math.sqrt(self.rows.shape[-1])
        return hurried(RATE * spread, usual_steps=USUAL_STEPS, steps=self._task.budget.code_steps)

    def draw(self, like: Tensor) -> Tensor:
        """Standard normal numbers in the shape of a tensor."""
        return torch.randn(like.shape, generator=self._task.random).to(like)

    def _terms(self, number: int) -> dict[str, Tensor]:
        task, config = self._task, self._config
        std = exploration_std(self._model.ws_std, number / max(1, task.budget.code_steps))
        explored = self.rows.expand(-1, self._num_ws, -1)
        if std:
            explored = explored + std * self.draw(explored)
        head = self._model.head(explored)
        terms = self._show(head, task.portraits)
        if any(config.mirror_weight):
            terms["mirror"] = self._mirror(head)
        if self._model.likely_weight:
            spread = self._model.ws_std / math.sqrt(self.rows.shape[-1])
            away = ((self.rows - self._model.mean_ws) / spread).square().mean()
            terms["likely"] = self._model.likely_weight * away
        if config.mean_weight:
            terms["mean"] = config.mean_weight * (self.rows - self._model.mean_ws).square().mean()
        if self._noise:
            terms["noise"] = config.noise_weight * noise_loss(self._noise)
        return terms

    def _show(self, head: Head, portraits: Sequence[PosedPortrait]) -> dict[str, Tensor]:
        size_px = min(self._task.budget.size_px, self._model.size_px)
        pictures = looks(head, portraits, size_px=size_px, superresolve=self._task.budget.superresolve)
        terms = photo_terms(pictures, portraits, self._task.perception, pixel_weight=self._config.pixel_weight)
        return terms | matte_terms(pictures, portraits, self._model, weight=self._config.silhouette_weight)

    def _mirror(self, head: Head) -> Tensor:
        """The same terms for mirrored portraits, each with its weight."""
        portraits, weights = self._task.portraits, self._config.mirror_weight
        chosen = [(one.mirrored(), weight) for one, weight in zip(portraits, weights, strict=True) if weight]
        mirrored = head.on_mirrored_body()
        losses = [weight * torch.stack(list(self._show(mirrored, [one]).values())).sum() for one, weight in chosen]
        return torch.stack(losses).sum() / len(portraits)
