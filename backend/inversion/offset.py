# SPDX-License-Identifier: Apache-2.0
"""Methods that change one head's planes and leave the generator alone: TriPlaneNet's encoder, and Protome's own.

Planes have all the capacity that tuned weights have, a step on them needs no pass through the generator's backbone,
and what sliders and mixing do to codes keeps its meaning.

Source:
    Bhattarai et al. 2023, TriPlaneNet, arXiv:2303.13497; Yin et al. 2023, SPI, CVPR, for the priors; Jiang et al.
    2023, GOAE, for the depth of what is not the head.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from backend.errors import SettingsError
from backend.inversion.codes import CodeConfig, mean, search_codes
from backend.inversion.descent import Descent, descend, hurried, ramped
from backend.inversion.losses import total_variation
from backend.inversion.method import Head, Inversion, Start, Step, Task, part
from backend.inversion.photo_terms import agreement, looks, photo_terms
from backend.inversion.pseudo_views import PseudoViews, adjacent_loss, shape_loss
from backend.inversion.silhouette import SILHOUETTE_WEIGHT, silhouette_loss
from backend.inversion.symmetry import symmetry_loss
from backend.inversion.warp import TOLERANCE

OFFSET_RATE, USUAL_STEPS = 0.03, 100  # Detail of the planes per step.


@dataclass(frozen=True)
class OffsetWeights:
    """What the offset pays for besides the portraits.

    Args:
        adjacent: The portrait warped to cameras beside its own.
        symmetry: Of the hidden side to the seen one.
        shape: Change of depth and opacity from both sides.
        silhouette: Anything of the head outside its matte, and anything missing inside.
        smooth: Steps between neighbouring cells of what is added to the start, in the planes' detail.
        size: Squared size of that, in the planes' detail.
    """

    adjacent: float = 0.1
    symmetry: float = 0.3
    shape: float = 1.0
    silhouette: float = SILHOUETTE_WEIGHT
    smooth: float = 1.0
    size: float = 0.01


def triplanenet(task: Task) -> Inversion:
    """Codes and plane offset as the encoder gives them.

    Raises:
        SettingsError: No encoder is installed for the model.
    """
    if task.encoder is None:
        raise SettingsError(
            "The method triplanenet needs an encoder for this model, and none is installed. Add one with “protome "
            "models add”, or choose another method.",
            code="no_encoder",
        )
    return mean(replace(task, start=task.encoder(task.model, task.portraits[0])))


def protome(task: Task) -> Inversion:
    """The encoder's head, or one from a short search of codes; then a plane offset under priors."""
    found, losses, share = _start(task)
    model = task.model
    with torch.no_grad():
        head = model.head(found.ws)
    weights = OffsetWeights() if task.is_symmetric else OffsetWeights(symmetry=0.0)
    refinement = Refinement(task, head, found, weights)
    losses |= refinement.run(part(task, share, 1))
    agreed = agreement(head.moved(refinement.offset), task.portraits, size_px=refinement.size_px)
    return Inversion(found.ws, refinement.offset, losses=losses, agreement=agreed)


def _start(task: Task) -> tuple[Start, dict[str, float], float]:
    """Where the offset begins, the losses there, and the share of the work that it took."""
    if task.encoder is not None:
        return task.encoder(task.model, task.portraits[0]), {}, 0.0
    share = task.budget.code_steps / max(1, task.budget.code_steps + task.budget.tune_steps)
    ws, losses = search_codes(task, CodeConfig(), step=part(task, 0, share))
    offset = None if task.start is None else task.start.plane_offset
    return Start(ws, offset), losses, share


class Refinement:
    """A plane offset under way.

    Args:
        task: What is shown.
        head: Without any offset.
        start: Its offset is where this one begins.
        weights: Of the priors.
    """

    def __init__(self, task: Task, head: Head, start: Start, weights: OffsetWeights) -> None:
        self.size_px = min(task.budget.size_px, task.model.size_px)
        self._task, self._head, self._weights = task, head, weights
        self._detail = _detail(head.planes)
        first = torch.zeros_like(head.planes) if start.plane_offset is None else start.plane_offset
        self._first = first.detach()
        self._before = head.moved(self._first)
        self._offset = self._first.clone().requires_grad_(True)
        self._views = PseudoViews(task.model.side, self.size_px, 1, task.random, superresolve=False)

    @property
    def offset(self) -> Float[Tensor, "1 3 cd r r"]:
        """As it stands."""
        return self._offset.detach().clone()

    def run(self, step: Step) -> dict[str, float]:
        """Refine; returns the terms of the loss."""
        descent = Descent(
            self._task.budget.tune_steps,
            ramped(hurried(OFFSET_RATE * self._detail, usual_steps=USUAL_STEPS, steps=self._task.budget.tune_steps)),
            judged_by=("pixels", "perceptual", "silhouette"),
            patience=self._task.budget.patience,
        )
        return descend([self._offset], self._terms, descent, step=step)

    def _terms(self, _number: int) -> dict[str, Tensor]:
        task, weights, head = self._task, self._weights, self._head.moved(self._offset)
        pictures = looks(head, task.portraits, size_px=self.size_px, superresolve=task.budget.superresolve)
        terms = photo_terms(pictures, task.portraits, task.perception)
        terms["silhouette"] = weights.silhouette * silhouette_loss(pictures, task.portraits, task.model)
        chosen = int(torch.randint(len(task.portraits), (), generator=task.random))
        portrait, depth = task.portraits[chosen], pictures[chosen].depth.detach()
        terms["adjacent"] = weights.adjacent * adjacent_loss(head, portrait, task.perception, self._views)
        side = task.model.side
        terms["symmetry"] = weights.symmetry * symmetry_loss(
            head, portrait, depth, side=side, tolerance=TOLERANCE * side, random=task.random
        )
        terms["shape"] = weights.shape * shape_loss(head, self._before, portrait, self._views)
        relative = (self._offset - self._first) / self._detail
        terms["smooth"] = weights.smooth * total_variation(relative)
        terms["size"] = weights.size * relative.square().mean()
        return terms


def _detail(planes: Float[Tensor, "1 3 cd r r"]) -> float:
    """The spread of the finest detail in planes: of white noise, its spread.

    A plane's own spread says little: where large even regions differ, it is many times what a face is told by.
    """
    steps = torch.cat([planes.diff(dim=-1).flatten(), planes.diff(dim=-2).flatten()])
    return float(steps.square().mean().sqrt()) / math.sqrt(2)
