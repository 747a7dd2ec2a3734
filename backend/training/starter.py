# SPDX-License-Identifier: Apache-2.0
"""Trains the starter generator's networks on coloured points; on patches of pictures too, where it is given them.

Phase A knows points alone: ground truth exists in three dimensions. Phase B adds rendered patches, phase C a critic of
patches; see ``phases``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from backend.generator.starter import HeadPlanes, StarterGenerator
from backend.training.canonical import CanonicalSet
from backend.training.critic import Critic
from backend.training.dataset import TrainingHead
from backend.training.dressing import CLAMP_M, DressingShapes
from backend.training.patches import Patches, pixel_losses, render_patches
from backend.training.run import Run, RunConfig

SPACE_SHARE = 0.3  # Of each head's points, for the outer surface alone.
NEAR_SHARE, NEAR_M = 0.7, 0.008  # Of those: drawn around the coloured points, standard deviation.
# Colours count as they are and squared: the latter is what PSNR measures.
SQUARED_WEIGHT = 1.0
OUTER_SOFT_M = 0.002
PALETTE_SHARE, MAPPING_SHARE = 0.02, 0.2  # Of the learning rate.
CLIP = 5.0


@dataclass(frozen=True)
class TrainingConfig(RunConfig):
    """One phase.

    Args:
        heads_per_step: Batch size.
        points_per_head: Points of each head in a step.
        sheets: Sample sheets over the phase.
    """

    heads_per_step: int = 8
    points_per_head: int = 6144
    sheets: int = 6


def _parameter_groups(generator: StarterGenerator) -> list[dict[str, object]]:
    """What all heads share so directly that a full step there would repaint every one of them moves slowly."""
    slow = {id(parameter): PALETTE_SHARE for parameter in generator.palette.parameters()}
    slow |= {id(parameter): MAPPING_SHARE for parameter in generator.mapping.parameters()}
    groups: dict[float, list[Tensor]] = {}
    for parameter in generator.parameters():
        groups.setdefault(slow.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": parameters, "share": share} for share, parameters in groups.items()]


class Trainer(Run):
    """The state of a phase: networks, their average, optimiser, step and random state.

    Args:
        generator: Trained in place, on the device where it is.
        heads: Training heads.
        canonical: Lattices of hair and tops.
        config: The phase.
        folder: For ``checkpoint.pt`` and ``log.jsonl``.
        patches: Of the first heads' pictures; without, points alone are learnt.
        critic: Tells true patches from rendered ones; needs ``patches``.
    """

    def __init__(
        self,
        generator: StarterGenerator,
        heads: Sequence[TrainingHead],
        canonical: CanonicalSet,
        *,
        config: TrainingConfig,
        folder: Path,
        patches: Patches | None = None,
        critic: Critic | None = None,
    ) -> None:
        optimizer = torch.optim.Adam(_parameter_groups(generator), lr=config.learning_rate, betas=(0.9, 0.99))
        super().__init__(generator, optimizer, config=config, folder=folder, clip=CLIP)
        self.generator, self.config = generator, config
        self.patches, self.critic = patches, critic
        # Heads of a batch that are looked at.
        self.seen = min(patches.config.heads_per_step, patches.heads, config.heads_per_step) if patches else 0
        self.device = next(generator.parameters()).device
        self.z = torch.from_numpy(np.stack([head.z for head in heads])).to(self.device)
        self.points = torch.from_numpy(np.stack([head.points for head in heads])).to(self.device)
        self.colors = torch.from_numpy(np.stack([head.colors for head in heads])).to(self.device)
        self.dressings = [head.dressing for head in heads]
        self.shapes = DressingShapes(canonical, self.device)
        # Chance is drawn on the CPU, the same for every device.
        self.random = torch.Generator().manual_seed(config.seed)

    def next_step(self) -> dict[str, float]:
        """One step on heads that chance chooses.

        Raises:
            ModelError: A loss or a gradient is no number; the weights stay as they are.
        """
        chosen = self._choose()
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            planes = self.generator.planes(self.generator.map(self.z[chosen]))
        losses = self._point_losses(planes, chosen)
        if self.patches is None:
            return self._descend(losses)
        patch = self.patches.draw(chosen[: self.seen], self.random)
        looked_at = HeadPlanes(planes.planes[: self.seen], planes.palette[: self.seen])
        made = render_patches(self.generator, looked_at, patch)
        losses |= pixel_losses(made, patch)
        if self.critic is None:
            return self._descend(losses)
        losses["fool"] = self.critic.config.weight * self.critic.fooled(made)
        told = self._descend(losses)
        return told | self.critic.learn(patch.color, made.detach(), step=self.step)

    def _choose(self) -> Int[Tensor, "b"]:
        """Heads of a step; first those that are looked at, which have pictures."""
        count = self.config.heads_per_step
        chosen = torch.randperm(len(self.z), generator=self.random)
        if self.patches is None:
            return chosen[:count]
        seen = torch.randperm(self.patches.heads, generator=self.random)[: self.seen]
        others = chosen[~torch.isin(chosen, seen)]
        return torch.cat([seen, others[: count - self.seen]])

    def _descend(self, losses: dict[str, Tensor]) -> dict[str, float]:
        self.descend(torch.stack(list(losses.values())).sum())
        return {name: value.item() for name, value in losses.items()}

    def _point_losses(self, planes: HeadPlanes, chosen: Tensor) -> dict[str, Tensor]:
        points, colors = self._batch(chosen)
        target = self.shapes.outer([self.dressings[i] for i in chosen], points)
        outer, color = self.generator.decode(planes, points)
        error = color[:, : colors.shape[1]] - colors
        return {
            "color": error.abs().mean() + SQUARED_WEIGHT * error.square().mean(),
            "outer": functional.smooth_l1_loss(outer.clamp(-CLAMP_M, CLAMP_M), target, beta=OUTER_SOFT_M) * 100,
        }

    def _batch(self, chosen: Tensor) -> tuple[Float[Tensor, "b n 3"], Float[Tensor, "b m 3"]]:
        """Points, the coloured ones first, and their colours."""
        count = self.config.points_per_head
        space = int(count * SPACE_SHARE)
        near = int(space * NEAR_SHARE)
        index = torch.randint(0, self.points.shape[1], (len(chosen), count - space), generator=self.random)
        at = self.points[chosen[:, None], index].float()
        colors = self.colors[chosen[:, None], index].float() / 255
        anywhere = (
            torch.rand((len(chosen), space - near, 3), generator=self.random) - 0.5
        ) * self.generator.config.side
        beside = NEAR_M * torch.randn((len(chosen), near, 3), generator=self.random)
        around = at[:, torch.randint(0, at.shape[1], (near,), generator=self.random)] + beside.to(self.device)
        return torch.cat([at, around, anywhere.to(self.device)], dim=1), colors

    def state(self) -> dict[str, object]:
        """Weights and chance, and the critic."""
        critic = {"critic": self.critic.state_dict()} if self.critic else {}
        return {"generator": self.generator.state_dict(), "random": self.random.get_state(), **critic}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave."""
        self.generator.load_state_dict(state["generator"])
        self.random.set_state(state["random"].cpu())
        if self.critic:
            self.critic.load_state_dict(state["critic"])


@torch.no_grad()
def measure(generator: StarterGenerator, heads: Sequence[TrainingHead], canonical: CanonicalSet) -> dict[str, float]:
    """How well described heads are told: colour PSNR over visible points in dB, outer surface error in mm.

    Args:
        generator: In evaluation mode.
        heads: Not trained on.
        canonical: Lattices of hair and tops.
    """
    device = next(generator.parameters()).device
    shapes = DressingShapes(canonical, device)
    squared, distance = [], []
    for head in heads:
        points = torch.from_numpy(head.points).to(device).float()[None]
        target = shapes.outer([head.dressing], points)
        planes = generator.planes(generator.map(torch.from_numpy(head.z).to(device)[None]))
        outer, color = generator.decode(planes, points)
        truth = torch.from_numpy(head.colors).to(device).float() / 255
        squared.append(float((color[0] - truth).square().mean()))
        distance.append(float((outer.clamp(-CLAMP_M, CLAMP_M) - target).abs().mean()))
    return {
        "psnr_db": round(float(-10 * np.log10(np.mean(squared))), 2),
        "outer_mm": round(1000 * float(np.mean(distance)), 3),
    }
