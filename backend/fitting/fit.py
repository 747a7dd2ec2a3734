# SPDX-License-Identifier: Apache-2.0
"""Finds sliders in a generator that nobody has labelled: random heads are measured, and codes regressed on measures.

Each measure that codes predict becomes a slider that moves it alone. The directions that the weights amplify most
(SeFa) and along which codes vary most (PCA) become further ones, named after what they change most.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import spearmanr
from torch import Tensor

from backend.errors import ModelError
from backend.fitting.attributes import ATTRIBUTES, Attribute, Kind
from backend.fitting.construction import Parts, fit_slopes, principal_parts, single_moves
from backend.generator.eg3d_camera import label_of
from backend.head import Slider
from backend.inversion.plane_model import PlaneModel, front_camera
from backend.portrait_model.explore import explore_directions
from backend.portrait_model.plane_codes import PlaneDirection
from backend.progress import Log

GROUPS: dict[Kind, str] = {"geometry": "Shape", "colour": "Colour", "nuisance": "Explore"}
EXPLORE = "Explore"
FEWEST_FACES = 12  # With fewer, nothing is measured on faces.
EXPLAINED = 0.2  # Share of a measure's variance from which a slider of it is honest.
NAMED = 0.4  # Standard deviations of a measure per unit from which an explored direction is called after it.
EXPLORED_REACH = 2.0
REACH, FARTHEST = 2.5, 5.0  # Largest slider value; a code further from the mean is a caricature; standard deviations.
EARLY_SHARE = 0.5  # Of the rows of codes: those shape the head, the others paint it.
KEPT_EFFECT = 0.4  # Of a direction's effect that its own rows must keep to be used alone, and heads show at all.
LEAST_RANK = 0.8  # A slider that does less of what its name says on one of the heads is none.
LEAKS_MORE = 0.1  # Of other measures, over the own one's change, that its own rows may leak more than all rows.
LOGGED = 25
STEPS = 5  # Slider values at which a slider is judged.

Measure = Callable[[Tensor], Float[np.ndarray, "a"]]


@dataclass(frozen=True)
class FitConfig:
    """One fit.

    Args:
        samples: Random heads that are measured.
        heads: Of them, on which sliders are calibrated and judged.
        explored: Directions of SeFa, and as many of PCA.
        seed: Of the heads.
    """

    samples: int = 96
    heads: int = 3
    explored: int = 3
    seed: int = 0


@dataclass(frozen=True)
class SliderScore:
    """How good a slider is.

    Args:
        slider: Name and range.
        origin: ``measured``, ``SeFa`` or ``PCA``.
        attribute: What it is named after; empty for none.
        rows: First and last row of ``ws`` that it moves.
        explained: Share of the attribute's variance that codes tell; NaN where it was not asked.
        spearman: Rank correlation of slider and attribute, the lowest over the heads; NaN without an attribute.
        changes: Of each of the attributes per unit, standard deviations; NaN where it could not be measured.
    """

    slider: Slider
    origin: str
    attribute: str
    rows: tuple[int, int]
    explained: float
    spearman: float
    changes: Float[np.ndarray, "a"]


@dataclass(frozen=True)
class Fitted:
    """Sliders and what is known of them, in the same order.

    Args:
        directions: The sliders.
        scores: Of each.
        faces: In how many of the random heads a face was found.
    """

    directions: list[PlaneDirection]
    scores: list[SliderScore]
    faces: int


def fit_directions(
    model: PlaneModel,
    measure: Measure,
    config: FitConfig,
    *,
    attributes: Sequence[Attribute] = ATTRIBUTES,
    log: Log = lambda _: None,
) -> Fitted:
    """Sliders of a generator.

    Args:
        model: With its codes' statistics.
        measure: Of one head, as ``attributes.HeadMeter``; NaN where an attribute cannot be measured.
        config: Numbers of heads and directions.
        attributes: What is measured.
        log: Called with lines of text.

    Raises:
        ModelError: The generator makes one and the same head from any random vector.
        ValueError: There are fewer samples than a regression needs.
    """
    w = random_codes(model, config)
    if not w.std(0).any():
        raise ModelError("This generator makes the same head from every random vector.", code="no_directions")
    table = _measure_all(model, measure, w, log)
    chosen, used = _usable(attributes, table)
    faces = int((~np.isnan(table[:, [one.needs_face for one in attributes]])).all(1).sum())
    if faces < FEWEST_FACES:
        log(f"A face was found in {faces} of {len(w)} heads only: colours and outlines are measured, no features.")
    bench = _Bench(model, measure, attributes, chosen, table, w[used][: config.heads])
    parts = principal_parts(w)
    found = _measured_sliders(bench, parts, w[used], log)
    found += _explored_sliders(bench, parts, config.explored, log)
    return Fitted([direction for direction, _ in found], [score for _, score in found], faces)


@torch.no_grad()
def random_codes(model: PlaneModel, config: FitConfig) -> Float[np.ndarray, "s w_dim"]:
    """One row of the codes of random heads, all conditioned on the same camera in front of them."""
    network, weight = model.network, next(model.network.parameters())
    random = torch.Generator().manual_seed(config.seed)
    z = torch.randn((config.samples, network.config.z_dim), generator=random).to(weight)
    label = torch.from_numpy(label_of(front_camera(network))).to(weight).expand(len(z), -1)
    w: Float[np.ndarray, "s w_dim"] = network.make_ws(z, label)[:, 0].double().cpu().numpy()
    return w


class _Bench:
    """Measures what moves of the codes do to some heads, in the measures' standard deviations."""

    def __init__(
        self,
        model: PlaneModel,
        measure: Measure,
        attributes: Sequence[Attribute],
        chosen: Bool[np.ndarray, "a"],
        table: Float[np.ndarray, "s a"],
        heads: Float[np.ndarray, "h w_dim"],
    ) -> None:
        self.model, self.attributes, self.chosen = model, attributes, chosen
        self.rows = model.network.backbone.synthesis.num_ws
        used = ~np.isnan(table[:, chosen]).any(1)
        self.mean, self.spread = (np.where(chosen, of(table[used], axis=0), np.nan) for of in (np.mean, np.std))
        self.standard: Float[np.ndarray, "s m"] = ((table[used] - self.mean) / self.spread)[:, chosen]
        self._measure, self._heads = measure, heads

    def along(
        self, ws_move: Float[np.ndarray, "n w_dim"], values: Float[np.ndarray, "k"]
    ) -> Float[np.ndarray, "h k a"]:
        """What each head measures with the move added so many times; NaN for what was not chosen."""
        moved = [
            [self._measure(_tensor(self.model, head + value * ws_move)) for value in values] for head in self._heads
        ]
        return (np.array(moved) - self.mean) / self.spread

    def changes(self, ws_move: Float[np.ndarray, "n w_dim"]) -> Float[np.ndarray, "a"]:
        """Change of each measure for one unit of a move, from one below to one above, the mean of the heads."""
        ends = self.along(ws_move, np.array([-1.0, 1.0]))
        return _mean((ends[:, 1] - ends[:, 0]) / 2)


def _measured_sliders(
    bench: _Bench, parts: Parts, w: Float[np.ndarray, "s w_dim"], log: Log
) -> list[tuple[PlaneDirection, SliderScore]]:
    """One per measure that codes predict."""
    slopes = fit_slopes(parts.scores(w), bench.standard)
    numbers = np.flatnonzero(bench.chosen).tolist()
    told = slopes.explained > EXPLAINED
    named = [bench.attributes[number].kind != "nuisance" for number in numbers]
    movable = np.flatnonzero(told & np.array(named, bool))
    if not len(movable):
        log("No measure follows from the codes; only unnamed directions are kept.")
        return []
    # What codes do not tell cannot be held still either.
    held = np.flatnonzero(told)
    moves = single_moves(slopes.per_part[:, held], np.searchsorted(held, movable))
    found = []
    for column, move in zip(movable, moves, strict=True):
        attribute = bench.attributes[numbers[column]]
        ws_move, change = _restricted(bench, move @ parts.axes, numbers[column], np.array(numbers)[held])
        scale = 1 / change if change > KEPT_EFFECT else 1.0
        reach = _reach(float(np.linalg.norm(move)) * scale)
        slider = Slider(attribute.name, GROUPS[attribute.kind], -reach, reach)
        direction = PlaneDirection(slider, (scale * ws_move).astype(np.float32))
        score = _score(bench, direction, "measured", numbers[column])
        change = score.changes[numbers[column]]
        is_true = score.spearman >= LEAST_RANK and change >= KEPT_EFFECT
        if is_true:
            found.append((direction, replace(score, explained=float(slopes.explained[column]))))
        ending = "" if is_true else "; left out"
        log(f"{slider.name}: Spearman {score.spearman:.2f}, {change:.2f} sd per unit{ending}")
    return found


def _restricted(
    bench: _Bench, w_move: Float[np.ndarray, "w_dim"], own: int, held: Int[np.ndarray, "m"]
) -> tuple[Float[np.ndarray, "n w_dim"], float]:
    """The move in the rows of its kind alone, unless held measures then change more; and its own measure's change."""
    early = max(1, round(EARLY_SHARE * bench.rows))
    is_own = np.arange(bench.rows) < early
    if bench.attributes[own].kind == "colour":
        is_own = ~is_own
    candidates = [np.where(rows[:, None], w_move, 0.0) for rows in (np.ones(bench.rows, bool), is_own)]
    everywhere, restricted = (bench.changes(candidate) for candidate in candidates)
    others = held[held != own]
    keeps = restricted[own] > KEPT_EFFECT * max(everywhere[own], KEPT_EFFECT)
    if keeps and _impurity(restricted, own, others) < _impurity(everywhere, own, others) + LEAKS_MORE:
        return candidates[1], float(restricted[own])
    return candidates[0], float(everywhere[own])


def _impurity(changes: Float[np.ndarray, "a"], own: int, others: Int[np.ndarray, "m"]) -> float:
    """Mean change of other measures, over that of the own one."""
    if not len(others):
        return 0.0
    return float(np.nan_to_num(_mean(np.abs(changes[others])))) / max(abs(float(changes[own])), 1e-9)


def _explored_sliders(bench: _Bench, parts: Parts, count: int, log: Log) -> list[tuple[PlaneDirection, SliderScore]]:
    """Directions of SeFa and PCA, each named after the measure that it changes most."""
    sefa = [one.ws.astype(np.float64) for one in explore_directions(bench.model.network, bench.model.ws_std)[:count]]
    pca = [np.broadcast_to(axis, (bench.rows, len(axis))) for axis in parts.axes[:count]]
    is_nuisance = [one.kind == "nuisance" for one in bench.attributes]
    found = []
    for origin, moves in (("SeFa", sefa), ("PCA", pca)):
        for number, ws_move in enumerate(moves, start=1):
            changes = np.where(is_nuisance, 0.0, np.nan_to_num(bench.changes(ws_move)))
            own = int(np.abs(changes).argmax())
            spread = float(np.linalg.norm(parts.scores(parts.mean + ws_move[:1])))
            reach, name = min(EXPLORED_REACH, _reach(spread)), f"{origin} {number}"
            is_named = abs(changes[own]) >= NAMED
            if is_named:
                name = f"{name}: {bench.attributes[own].name.lower()}"
            signed = np.copysign(1.0, changes[own]) * ws_move
            direction = PlaneDirection(Slider(name, EXPLORE, -reach, reach), signed.astype(np.float32))
            found.append((direction, _score(bench, direction, origin, own if is_named else None)))
            log(name)
    return found


def _score(bench: _Bench, direction: PlaneDirection, origin: str, own: int | None) -> SliderScore:
    slider = direction.slider
    values = np.linspace(slider.minimum, slider.maximum, STEPS)
    tables = bench.along(direction.ws.astype(np.float64), values)
    # The values are symmetric around 0, so that this is the regression's slope.
    changes = _mean(np.einsum("k,hka->ha", values, tables) / (values**2).sum())
    ranks = [] if own is None else [_rank(values, table[:, own]) for table in tables]
    moved = np.flatnonzero(direction.ws.any(1))
    rows = (int(moved[0]), int(moved[-1])) if len(moved) else (0, 0)
    attribute = "" if own is None else bench.attributes[own].name
    return SliderScore(slider, origin, attribute, rows, np.nan, min(ranks, default=np.nan), changes)


def _rank(values: Float[np.ndarray, "k"], measures: Float[np.ndarray, "k"]) -> float:
    """Rank correlation over what could be measured; 0 for a measure that does not change."""
    seen = ~np.isnan(measures)
    if seen.sum() < 3 or np.ptp(measures[seen]) == 0:
        return 0.0
    return float(spearmanr(values[seen], measures[seen]).statistic)


def _reach(spread: float) -> float:
    """Largest safe value of a slider that moves codes by so many standard deviations per unit; quarters."""
    return float(max(0.5, min(REACH, np.floor(4 * FARTHEST / max(spread, 1e-9)) / 4)))


def _usable(
    attributes: Sequence[Attribute], table: Float[np.ndarray, "s a"]
) -> tuple[Bool[np.ndarray, "a"], Bool[np.ndarray, "s"]]:
    """Which attributes differ between enough heads, and which heads have all of these."""
    seen = ~np.isnan(table)
    chosen = seen.sum(0) >= [FEWEST_FACES if one.needs_face else len(table) for one in attributes]
    used = seen[:, chosen].all(1)
    chosen[chosen] = table[used][:, chosen].std(0) > 1e-7
    return chosen, used


def _measure_all(
    model: PlaneModel, measure: Measure, w: Float[np.ndarray, "s w_dim"], log: Log
) -> Float[np.ndarray, "s a"]:
    table = []
    for number, one in enumerate(w, start=1):
        table.append(measure(_tensor(model, np.tile(one, (model.network.backbone.synthesis.num_ws, 1)))))
        if number % LOGGED == 0:
            log(f"{number} of {len(w)} heads measured")
    return np.stack(table)


def _tensor(model: PlaneModel, ws: Float[np.ndarray, "n w_dim"]) -> Float[Tensor, "1 n w_dim"]:
    return torch.from_numpy(ws).to(next(model.network.parameters()))[None]


def _mean(values: Float[np.ndarray, "n *a"]) -> Float[np.ndarray, "*a"]:
    """Over the first axis without NaN; NaN where there is nothing else."""
    count = (~np.isnan(values)).sum(0)
    return np.where(count, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)
