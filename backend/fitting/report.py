# SPDX-License-Identifier: Apache-2.0
"""Fitted sliders as files: beside the model, and as a table for people."""

import csv
import math
from pathlib import Path

from backend.catalogue import Installed
from backend.errors import SettingsError
from backend.fitting.attributes import ATTRIBUTES
from backend.fitting.fit import Fitted, SliderScore
from backend.output import output_errors
from backend.portrait_model.slider_file import sliders_path, write_sliders
from backend.staging import staging

HEAD = (
    "slider",
    "group",
    "minimum",
    "maximum",
    "origin",
    "attribute",
    "first row",
    "last row",
    "explained",
    "spearman",
)


def keep_sliders(fitted: Fitted, installed: Installed) -> Path:
    """Write the sliders beside the model, whole or not at all; those that were there are replaced.

    Raises:
        SettingsError: There is none.
        OutputError: The file cannot be written.
    """
    if not fitted.directions:
        raise SettingsError("No slider was found; ask for more samples, or explore more.", code="no_directions")
    path = sliders_path(installed.name)
    with output_errors(path):
        write_sliders(path, fitted.directions, generator_id=installed.metadata["id"])
    return path


def write_table(path: Path, scores: list[SliderScore]) -> None:
    """One row per slider, with what a unit of it does to each attribute, standard deviations; empty where unknown.

    Raises:
        OutputError: It cannot be written.
    """

    def write(file: Path) -> None:
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow([*HEAD, *(f"changes: {one.name}" for one in ATTRIBUTES)])
            writer.writerows(_row(score) for score in scores)

    with staging() as stage:
        stage(path, write)


def _row(score: SliderScore) -> list[str]:
    slider = score.slider
    texts = [slider.name, slider.group, f"{slider.minimum:g}", f"{slider.maximum:g}", score.origin, score.attribute]
    numbers = [score.explained, score.spearman, *score.changes]
    return [*texts, *map(str, score.rows), *("" if math.isnan(value) else f"{value:.3f}" for value in numbers)]
