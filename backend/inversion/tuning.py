# SPDX-License-Identifier: Apache-2.0
"""Methods that tune a copy of the generator around found codes: PTI, and SPI with its facial symmetry prior.

Source:
    Roich et al. 2021, Pivotal tuning, arXiv:2106.05744; Yin et al. 2023, SPI, CVPR.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.inversion.codes import CodeConfig, search_codes
from backend.inversion.descent import Descent, descend, hurried, steady
from backend.inversion.method import Head, Inversion, Model, PosedPortrait, Step, Task, part
from backend.inversion.photo_terms import agreement, looks, photo_terms
from backend.inversion.pseudo_views import PseudoViews, adjacent_loss, mirrored_loss, shape_loss
from backend.inversion.silhouette import SILHOUETTE_WEIGHT, matte_terms
from backend.inversion.symmetry import mirror_weight

TUNING_RATE, USUAL_STEPS = 3e-4, 350
# Auxiliary terms are rendered at four cameras in every fourth step, and count four times there.
AUXILIARY_EVERY, AUXILIARY_CAMERAS = 4, 4


@dataclass(frozen=True)
class Auxiliary:
    """What SPI adds to pivotal tuning; all zero is pivotal tuning.

    Args:
        mirror: Factor on the mirrored portrait's weight in the search of codes.
        adjacent: Of the portrait warped to cameras beside its own.
        mirrored: Of the mirrored portrait warped likewise; only where its weight in the search is not 0.
        shape: Of the change of depth and opacity.
    """

    mirror: float = 1.0
    adjacent: float = 0.1
    mirrored: float = 0.05
    shape: float = 1.0


NONE = Auxiliary(0.0, 0.0, 0.0, 0.0)


def pti(task: Task) -> Inversion:
    """Codes, then all weights of a copy, at the portraits' cameras only."""
    return tune(task, NONE)


def spi(task: Task) -> Inversion:
    """The same with mirrored and warped portraits as further views, and a shape that may not run away."""
    return tune(task, Auxiliary() if task.is_symmetric else Auxiliary(mirror=0.0, mirrored=0.0))


def tune(task: Task, auxiliary: Auxiliary) -> Inversion:
    """Search codes on a copy of the model, then tune its weights."""
    share = task.budget.code_steps / max(1, task.budget.code_steps + task.budget.tune_steps)
    model = task.model.copied()
    config = CodeConfig(
        with_noise=True,
        mirror_weight=[auxiliary.mirror * mirror_weight(float(one.cameras.yaw()[0])) for one in task.portraits],
    )
    ws, losses = search_codes(task, config, step=part(task, 0, share), model=model)
    tuning = Tuning(task, model, ws, auxiliary)
    losses |= tuning.run(part(task, share, 1))
    with torch.no_grad():
        agreed = agreement(model.head(ws), task.portraits, size_px=tuning.size_px)
    return Inversion(ws, tuned=changes(task.model, model), losses=losses, agreement=agreed)


class Tuning:
    """The second stage under way.

    Args:
        task: What is shown.
        model: Its weights are changed.
        ws: The pivot, kept.
        auxiliary: Weights of the further terms.
        rate: Learning rate; fitted to the number of steps when omitted.
        pixel_weight: Of squared pixel differences.
        silhouette_weight: Of the outline, for a model that shows the head alone.
    """

    def __init__(
        self,
        task: Task,
        model: Model,
        ws: Tensor,
        auxiliary: Auxiliary,
        *,
        rate: float | None = None,
        pixel_weight: float = 1.0,
        silhouette_weight: float = SILHOUETTE_WEIGHT,
    ) -> None:
        self.size_px = min(task.budget.size_px, model.size_px)
        self._task, self._model, self._ws, self._auxiliary = task, model, ws, auxiliary
        fitted = hurried(TUNING_RATE, usual_steps=USUAL_STEPS, steps=task.budget.tune_steps)
        self._rate, self._pixel_weight, self._silhouette_weight = rate or fitted, pixel_weight, silhouette_weight
        self._views = PseudoViews(model.side, self.size_px, AUXILIARY_CAMERAS, task.random)
        self._before: Head | None = None

    def run(self, step: Step) -> dict[str, float]:
        """Tune; returns the terms of the loss."""
        if self._auxiliary.shape:
            with torch.no_grad():
                self._before = self._model.copied().head(self._ws)
        network = self._model.network.requires_grad_(True)
        descent = Descent(
            self._task.budget.tune_steps,
            steady(self._rate),
            judged_by=("pixels", "perceptual", "silhouette"),
            patience=self._task.budget.patience,
        )
        try:
            return descend(list(network.parameters()), self._terms, descent, step=step)
        finally:
            network.requires_grad_(False)

    def _terms(self, number: int) -> dict[str, Tensor]:
        task, head = self._task, self._model.head(self._ws)
        pictures = looks(head, task.portraits, size_px=self.size_px)
        terms = photo_terms(pictures, task.portraits, task.perception, pixel_weight=self._pixel_weight)
        terms |= matte_terms(pictures, task.portraits, self._model, weight=self._silhouette_weight)
        is_due = number % AUXILIARY_EVERY == AUXILIARY_EVERY - 1 and self._auxiliary != NONE
        if is_due and torch.is_grad_enabled():
            chosen = int(torch.randint(len(task.portraits), (), generator=task.random))
            terms |= self._auxiliary_terms(head, task.portraits[chosen])
        return terms

    def _auxiliary_terms(self, head: Head, portrait: PosedPortrait) -> dict[str, Tensor]:
        weights, views, perception = self._auxiliary, self._views, self._task.perception
        terms = {}
        if weights.adjacent:
            terms["adjacent"] = weights.adjacent * adjacent_loss(head, portrait, perception, views)
        if weights.mirrored and mirror_weight(float(portrait.cameras.yaw()[0])):
            terms["mirrored"] = weights.mirrored * mirrored_loss(head, portrait, perception, views)
        if weights.shape and self._before is not None:
            terms["shape"] = weights.shape * shape_loss(head, self._before, portrait, views)
        return {name: AUXILIARY_EVERY * term for name, term in terms.items()}


def changes(before: Model, after: Model) -> dict[str, Tensor]:
    """What was added to the weights, by name, where anything was."""
    old, new = before.network.state_dict(), after.network.state_dict()
    return {name: value - old[name] for name, value in new.items() if not torch.equal(value, old[name])}
