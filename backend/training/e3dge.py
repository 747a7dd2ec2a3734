# SPDX-License-Identifier: Apache-2.0
"""Trains the geometry-aware encoder's two stages, one after the other; resumable to the same result.

Source:
    METHODS section 1.2: stage 1 (codes and geometry), then stage 2 with the first frozen (detail, judged by other views
    of the same head).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.e3dge import DetailBranch, Seen
from backend.starter import Starter
from backend.starter_encoder import CodeEncoder, EncoderConfig
from backend.training.e3dge_examples import example, view_points
from backend.training.e3dge_head import ShapedHead, ShapeSpace
from backend.training.e3dge_losses import (
    DETAIL_WEIGHTS,
    GEOMETRY_WEIGHTS,
    detail_losses,
    geometry_losses,
    weighted,
)
from backend.training.e3dge_pairs import Pair, first_colors
from backend.training.e3dge_samples import Sample
from backend.training.encoder import statistics
from backend.training.encoder_losses import Measures, code_losses, measures, total
from backend.training.encoder_run import EncoderRun
from backend.training.run import RunConfig

SURFACE_POINTS, NEAR_POINTS, FREE_POINTS, SLOPED_POINTS = 600, 300, 100, 96
NEAR_STD_M = (0.006, 0.02)  # In turns: our heads are about a sixth of E3DGE's unit across; hair ends anywhere.
COLOR_POINTS, COLOR_HEADS, COLOR_SAMPLES = 1500, 1, 8


@dataclass(frozen=True)
class StageTraining(RunConfig):
    """One run of either stage: short, on few samples."""

    warmup_steps: int = 10
    decay_from: float = 0.4
    average_half_steps: float = 15.0
    log_steps: int = 10
    checkpoint_s: float = 60.0


@dataclass(frozen=True)
class GlobalTraining(StageTraining):
    """One run of the global stage.

    Args:
        views_per_step: Batch size.
        fields_per_step: Heads of the batch whose geometry is compared.
    """

    learning_rate: float = 5e-4
    views_per_step: int = 12
    fields_per_step: int = 3


@dataclass(frozen=True)
class DetailTraining(StageTraining):
    """One run of the local stage.

    Args:
        pairs_per_step: Batch size.
        novel_points: Of another view of each.
    """

    learning_rate: float = 3e-3
    pairs_per_step: int = 2
    novel_points: int = 1200


class GlobalTrainer(EncoderRun[CodeEncoder]):
    """The global stage under way.

    Args:
        starter: Its weights stay.
        space: What shape and expression do to points.
        samples: To learn from.
        config: The run.
        folder: For ``checkpoint.pt`` and ``log.jsonl``.
        sizes: Of the encoder.
        first: Weights to begin with; random ones when omitted.
    """

    def __init__(
        self,
        starter: Starter,
        space: ShapeSpace,
        samples: list[Sample],
        *,
        config: GlobalTraining,
        folder: Path,
        sizes: EncoderConfig,
        first: CodeEncoder | None = None,
    ) -> None:
        self.starter, self.space, self.samples, self.config = starter, space, samples, config
        self.device = space.moves.device
        torch.manual_seed(config.seed)
        self.encoder = CodeEncoder(sizes).to(self.device)
        if first is None:
            self.encoder.standardise(*statistics(self._numbers(), self.encoder))
        else:
            own = self.encoder.state_dict()
            self.encoder.load_state_dict({name: value for name, value in first.state_dict().items() if name in own})
        self.spread = {name: row[0] for name, row in self.encoder.by_name(self.encoder.spread[None]).items()}
        self.known = self._measures()
        super().__init__(self.encoder, "encoder", config=config, folder=folder)

    def next_step(self) -> dict[str, float]:
        """One step on views that follow from the step's number."""
        self.encoder.train()
        rng = np.random.default_rng([self.config.seed, self.step])
        chosen = [self.samples[number] for number in rng.integers(len(self.samples), size=self.config.views_per_step)]
        truth = batch_of(chosen, rng, size_px=self.encoder.config.size_px, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            encoding = self.encoder(truth["picture"], truth["landmarks"])
        codes = code_losses(encoding, truth, known=self.known, generator=self.starter.generator, spread=self.spread)
        fields = chosen[: self.config.fields_per_step]
        geometry = head_losses(self.starter, self.space, encoding.means, samples=fields, rng=rng)
        self.descend(total(codes) + weighted(geometry, GEOMETRY_WEIGHTS))
        return {name: value.item() for name, value in (codes | geometry).items()}

    def _numbers(self) -> dict[str, np.ndarray]:
        """What the encoder tells of every sample, for averages and spreads."""
        rng = np.random.default_rng(self.config.seed)
        truth = batch_of(self.samples, rng, size_px=self.encoder.config.size_px, device=self.device)
        return {name: truth[name].cpu().numpy() for name in self.encoder.config.sizes}

    def _measures(self) -> Measures:
        """What codes do to heads, at places where heads are seen."""
        rng = np.random.default_rng(self.config.seed)
        picked = self.samples[:COLOR_SAMPLES]
        surface = np.stack([_surface(sample, rng, COLOR_POINTS // len(picked)) for sample in picked])
        with torch.no_grad():
            heads = sample_heads(self.starter, self.space, picked)
            points = heads.to_canonical(torch.from_numpy(surface).to(self.device)).flatten(0, 1)
        return measures(self.starter, points, heads=COLOR_HEADS)


class DetailTrainer(EncoderRun[DetailBranch]):
    """The local stage under way.

    Args:
        starter: Its weights stay.
        pairs: First reconstructions of samples; see ``e3dge_pairs``.
        config: The run.
        folder: For ``checkpoint.pt`` and ``log.jsonl``.
        branch: Trained in place.
    """

    def __init__(
        self, starter: Starter, pairs: list[Pair], *, config: DetailTraining, folder: Path, branch: DetailBranch
    ) -> None:
        self.starter, self.pairs, self.config, self.branch = starter, pairs, config, branch
        super().__init__(branch, "branch", config=config, folder=folder)

    def next_step(self) -> dict[str, float]:
        """One step on pairs that follow from the step's number."""
        self.branch.train()
        rng = np.random.default_rng([self.config.seed, self.step])
        chosen = [self.pairs[number] for number in rng.integers(len(self.pairs), size=self.config.pairs_per_step)]
        losses = pair_losses(self.starter, self.branch, chosen, rng, novel=self.config.novel_points)
        self.descend(weighted(losses, DETAIL_WEIGHTS))
        return {name: value.item() for name, value in losses.items()}


def batch_of(
    samples: list[Sample], rng: np.random.Generator, *, size_px: int, device: torch.device, view: int | None = None
) -> dict[str, Tensor]:
    """One view of each sample, any of its views unless one is named, as the encoder gets them."""
    picked = [int(rng.integers(len(sample["depth"]))) if view is None else view for sample in samples]
    rows = [example(sample, number, rng, size_px=size_px) for sample, number in zip(samples, picked, strict=True)]
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])).float().to(device) for name in rows[0]}


def sample_heads(starter: Starter, space: ShapeSpace, samples: list[Sample]) -> ShapedHead:
    """The samples' heads themselves."""
    codes = {
        name: torch.from_numpy(np.stack([sample[name] for sample in samples])).to(space.moves.device)
        for name in ("z", "shape", "expression")
    }
    return ShapedHead.of(starter.generator, space, **codes)


def head_losses(
    starter: Starter, space: ShapeSpace, means: dict[str, Tensor], *, samples: list[Sample], rng: np.random.Generator
) -> dict[str, Tensor]:
    """Geometry of the first told heads of a batch against the samples."""
    told = {name: means[name][: len(samples)] for name in ("z", "shape", "expression")}
    with torch.no_grad():
        true = sample_heads(starter, space, samples)
    surface = np.stack([_surface(sample, rng, SURFACE_POINTS) for sample in samples])
    spread = np.resize(NEAR_STD_M, NEAR_POINTS)[:, None]
    near = surface[:, :NEAR_POINTS] + spread * rng.normal(size=surface[:, :NEAR_POINTS].shape)
    free = rng.uniform(-space.side / 2, space.side / 2, (len(samples), FREE_POINTS, 3))
    near = np.concatenate([near, free], axis=1).astype(np.float32)
    points = {"surface": surface, "near": near, "sloped": surface[:, -SLOPED_POINTS:]}
    placed = {name: torch.from_numpy(value).to(space.moves.device) for name, value in points.items()}
    return geometry_losses(ShapedHead.of(starter.generator, space, **told), true, **placed)


def _surface(sample: Sample, rng: np.random.Generator, count: int) -> Float[np.ndarray, "n 3"]:
    """Points that any view of a head shows, metres."""
    points = np.concatenate([view_points(sample, view).reshape(-1, 3) for view in range(len(sample["depth"]))])
    known = points[np.isfinite(points).all(1)]
    return known[rng.integers(len(known), size=count)].astype(np.float32)


def pair_losses(
    starter: Starter, branch: DetailBranch, pairs: list[Pair], rng: np.random.Generator, *, novel: int
) -> dict[str, Tensor]:
    """The local stage on pairs.

    Args:
        starter: Its weights stay.
        branch: The stage.
        pairs: A batch.
        rng: Chooses points of the other views.
        novel: How many.
    """
    generator = starter.generator
    device = generator.mean_planes.device
    rows = [rng.integers(len(pair["novel_points"]), size=novel) for pair in pairs]
    parts = {
        name: np.stack([pair[name] for pair in pairs]) for name in ("z", "photo", "clean", "points", "depth", "shown")
    }
    for name in ("novel_points", "novel_color"):
        parts[name] = np.stack([pair[name][row] for pair, row in zip(pairs, rows, strict=True)])
    truth = {name: torch.from_numpy(value).to(device).float() for name, value in parts.items()}
    with torch.no_grad():
        head = generator.planes(generator.map(truth["z"]))
        seen = Seen(
            photo=truth["photo"].permute(0, 3, 1, 2) / 255,
            depth=truth["depth"][:, None],
            shown=truth["shown"][:, None],
            points=truth["points"].permute(0, 3, 1, 2),
            **first_colors(starter, head, truth["points"]),
        )
    return detail_losses(
        generator,
        branch,
        head,
        seen,
        clean=truth["clean"].permute(0, 3, 1, 2) / 255,
        novel_points=truth["novel_points"],
        novel_color=truth["novel_color"] / 255,
    )
