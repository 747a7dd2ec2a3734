# SPDX-License-Identifier: Apache-2.0
"""How well the geometry-aware encoder tells heads of the starter that it never saw."""

import numpy as np
import torch

from backend.camera import rays
from backend.e3dge import DetailBranch
from backend.starter import Starter
from backend.starter_encoder import CodeEncoder
from backend.training.e3dge import batch_of, head_losses, pair_losses
from backend.training.e3dge_examples import view_camera
from backend.training.e3dge_head import ShapedHead, ShapeSpace
from backend.training.e3dge_pairs import Pair
from backend.training.e3dge_samples import Sample

SEED = 1
NOVEL_POINTS = 2000
SHOWN = ("seen_before", "seen", "seen_edges_before", "seen_edges", "novel_before", "novel")
FARTHEST_MM = 50.0  # A depth that is off by more counts as so much, and a pixel that is missed too.


@torch.no_grad()
def measure_codes(starter: Starter, space: ShapeSpace, encoder: CodeEncoder, samples: list[Sample]) -> dict[str, float]:
    """Codes and geometry of held-out heads from their first view, and the average head's for comparison.

    Returns:
        ``z``, ``shape`` and ``expression`` (share of the average head's absolute error), ``surface_mm``, ``normal``,
        ``color`` (of the told head at the true one's surface), ``depth_mm`` (median over heads of the mean absolute
        depth error at the photo's camera); the last four with ``average_`` for the average head.
    """
    rng = np.random.default_rng(SEED)
    truth = batch_of(samples, rng, size_px=encoder.config.size_px, device=space.moves.device, view=0)
    means = encoder(truth["picture"], truth["landmarks"]).means
    center = {name: row.expand(len(samples), -1) for name, row in encoder.by_name(encoder.center[None]).items()}
    result = {}
    for name in ("z", "shape", "expression"):
        result[name] = float((means[name] - truth[name]).abs().mean() / (center[name] - truth[name]).abs().mean())
    for prefix, told in (("", means), ("average_", center)):
        losses = head_losses(starter, space, told, samples=samples, rng=np.random.default_rng(SEED))
        result |= {f"{prefix}{name}": float(losses[name]) for name in ("surface_mm", "normal", "color")}
        result[f"{prefix}depth_mm"] = _depth_mm(starter, space, told, samples)
    return {name: round(value, 4) for name, value in result.items()}


def _depth_mm(starter: Starter, space: ShapeSpace, told: dict[str, torch.Tensor], samples: list[Sample]) -> float:
    errors = []
    for number, sample in enumerate(samples):
        codes = {name: told[name][number : number + 1] for name in ("z", "shape", "expression")}
        head = ShapedHead.of(starter.generator, space, **codes)
        true = sample["depth"][0]
        origin, directions = (torch.from_numpy(part) for part in rays(view_camera(sample, 0), len(true)))
        depth = head.picture_depth(origin.to(head.lattice), directions.to(head.lattice)).cpu().numpy()
        seen = np.isfinite(true)
        gap = np.where(np.isfinite(depth[seen]), 1000 * np.abs(depth[seen] - true[seen]), FARTHEST_MM)
        errors.append(np.minimum(gap, FARTHEST_MM).mean())
    return float(np.median(errors))


@torch.no_grad()
def measure_detail(starter: Starter, branch: DetailBranch, pairs: list[Pair]) -> dict[str, float]:
    """Colours of held-out first reconstructions without and with the local stage, mean absolute sRGB.

    Returns:
        ``seen_before`` and ``seen`` in the photo's own view, ``novel_before`` and ``novel`` in other views; of
        neighbouring pixels' errors ``seen_edges_before`` and ``seen_edges``.
    """
    rows = []
    for pair in pairs:
        losses = pair_losses(starter, branch, [pair], np.random.default_rng(SEED), novel=NOVEL_POINTS)
        rows.append({name: float(losses[name]) for name in SHOWN})
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}
