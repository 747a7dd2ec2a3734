# SPDX-License-Identifier: Apache-2.0
"""Figures of a training run: curves of its log and sheets of truth beside prediction."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from backend.training.canonical import CanonicalSet
from backend.training.dataset import TrainingHead
from backend.training.kept import write_whole
from backend.training.pictures import SIZE_PX, measure_pictures
from backend.training.starter import Trainer

SMOOTH_LINES = 20
DPI = 120
CURVES = {
    "color": ("colour of points", "tab:orange"),
    "outer": ("outer surface", "tab:blue"),
    "pixel": ("pixels", "tab:green"),
    "edge": ("edges", "tab:red"),
    "coarse": ("coarse pixels", "tab:olive"),
    "critic": ("critic", "tab:purple"),
}


def draw_curves(log: Path, figure: Path) -> None:
    """The losses over the steps, as logged and smoothed, on a logarithmic scale, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [line["step"] for line in lines]
    drawing = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.add_subplot(xlabel="step", ylabel="loss", yscale="log", title="Training of the starter generator")
    for name in (name for name in CURVES if name in lines[0]):
        (label, color), values = CURVES[name], [line[name] for line in lines]
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        axes.plot(steps, _smooth(values), color=color, label=label)
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend()
    write_whole(figure, lambda partial: drawing.savefig(partial, format="png", dpi=DPI))


def _smooth(values: Sequence[float]) -> list[float]:
    """Mean of each value and those shortly before it."""
    return [sum(part) / len(part) for part in (values[max(0, i - SMOOTH_LINES) : i + 1] for i in range(len(values)))]


def show_progress(
    trainer: Trainer, heads: Sequence[TrainingHead], canonical: CanonicalSet, *, size_px: int = SIZE_PX
) -> None:
    """Write the averaged networks' pictures of some heads and the curves to the run's folder.

    Args:
        trainer: Left as it is.
        heads: Not trained on.
        canonical: Lattices of hair and tops.
        size_px: Side of a picture.
    """
    generator = copy.deepcopy(trainer.generator)
    generator.load_state_dict(trainer.average)
    with torch.no_grad():
        scores, sheet = measure_pictures(generator.cpu().eval(), heads, canonical, size_px=size_px)
    name = f"sheet-{trainer.step:06d}"
    write_whole(trainer.folder / f"{name}.png", lambda partial: Image.fromarray(sheet).save(partial, format="png"))
    write_whole(trainer.folder / f"{name}.json", lambda partial: partial.write_text(json.dumps(scores)))
    if (trainer.folder / "log.jsonl").exists():
        draw_curves(trainer.folder / "log.jsonl", trainer.folder / "curves.png")
