# SPDX-License-Identifier: Apache-2.0
"""Synthetic portraits in files: shards of pictures with the truth about every pixel, and a sheet of each to look at."""

from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Float16, UInt8
from PIL import Image

from backend.errors import ModelError, SettingsError
from backend.staging import staging
from backend.template import Template
from backend.training.backdrop import over_backdrop, sample_backdrop
from backend.training.expressions import ARKIT_NAMES
from backend.training.framing import Framing, sample_framing
from backend.training.light import sample_light
from backend.training.pieces import PART_NAMES
from backend.training.portrait_source import PortraitSource
from backend.training.portrait_truth import project_landmarks
from backend.training.portraits import PortraitScene
from backend.training.render import contact_sheet, render_portrait
from backend.training.subject import Rendering

Shard = dict[str, np.ndarray]
NOBODY = 255  # Label of the background in pictures of parts.


@dataclass(frozen=True)
class PortraitPlan:
    """Which portraits.

    Args:
        people: How many.
        views: Portraits of each.
        size_px: Side of a portrait.
        seed: Of the people and of all chance.
        glasses_share: Of people who wear some, 0 to 1.
        people_per_shard: Kept in one file.
    """

    people: int
    views: int
    size_px: int
    seed: int
    glasses_share: float
    people_per_shard: int = 16

    def __post_init__(self) -> None:
        if min(self.people, self.views, self.people_per_shard) < 1 or self.size_px < 8:
            raise SettingsError("Portraits need at least 1 person, 1 view and 8 pixels.")
        if not 0 <= self.glasses_share <= 1:
            raise SettingsError(f"The share of people with glasses must lie between 0 and 1, not {self.glasses_share}.")

    @property
    def shards(self) -> range:
        """Numbers of the files."""
        return range(-(-self.people // self.people_per_shard))

    def people_of(self, shard: int) -> range:
        """Numbers of a file's people."""
        first = shard * self.people_per_shard
        return range(first, min(first + self.people_per_shard, self.people))

    def name(self, shard: int) -> str:
        """A file's name without suffix; of other plans it is another one."""
        return f"portraits-{self.seed}-{self.size_px}px-{self.views}views-{self.glasses_share:g}glasses-{shard:05d}"


def render_shard(source: PortraitSource, plan: PortraitPlan, shard: int) -> dict[str, np.ndarray]:
    """Everything that a shard's file holds; the first axis runs over portraits, or over people for codes.

    ``rgba`` (sRGB), ``depth`` (of the optical axis, metres, less ``distance``; 0 on the background), ``normal`` (in
    127ths, world axes), ``part`` (places in ``part_names``, 255 on the background), ``canonical`` (place in canonical
    space, metres; 0 on the background), ``landmarks`` (image widths) and ``landmarks_seen``, ``cam2world``,
    ``intrinsics``, ``light``, ``person`` (row of the codes), ``number`` (of each person), and the codes of
    ``PortraitSource.codes``.
    """
    portraits: list[dict[str, np.ndarray]] = []
    people: list[dict[str, np.ndarray]] = []
    for row, number in enumerate(plan.people_of(shard)):
        person = source.person(plan.seed, number, glasses_share=plan.glasses_share)
        scene = source.scene(person)
        people.append({"number": np.array(number), **source.codes(person)})
        for view in range(plan.views):
            rng = np.random.default_rng([plan.seed, number, 2, view])
            portraits.append({"person": np.array(row), **portrait(source, scene, rng, plan.size_px)})
    together = {name: np.stack([one[name] for one in portraits]) for name in portraits[0]}
    codes = {name: np.stack([one[name] for one in people]) for name in people[0]}
    names = {"part_names": np.array(PART_NAMES), "expression_names": np.array(ARKIT_NAMES)}
    return {**together, **codes, **names}


def portrait(
    source: PortraitSource, scene: PortraitScene, rng: np.random.Generator, size_px: int
) -> dict[str, np.ndarray]:
    """A random portrait of a person with its truth, as in a shard."""
    framing: Framing = sample_framing(rng)
    light = sample_light(rng)
    camera = framing.camera()
    picture = render_portrait(scene.subject, camera, light, size_px=size_px)
    seen = picture.triangle >= 0
    landmarks, landmarks_seen = project_landmarks(scene, source.landmarks.places(scene), camera)
    return {
        "rgba": picture.rgba,
        "depth": np.where(seen, picture.depth - framing.distance_m, 0).astype(np.float16),
        "normal": np.rint(127 * picture.normal).astype(np.int8),
        "part": np.where(seen, scene.part[picture.triangle], NOBODY).astype(np.uint8),
        "canonical": _canonical(scene, picture),
        "landmarks": landmarks.astype(np.float32),
        "landmarks_seen": landmarks_seen,
        "distance": np.float32(framing.distance_m),
        "cam2world": camera.cam2world.astype(np.float32),
        "intrinsics": camera.intrinsics.astype(np.float32),
        "light": light.to_vector(),
    }


def _canonical(scene: PortraitScene, picture: Rendering) -> Float16[np.ndarray, "s s 3"]:
    """Where what each pixel shows lies in canonical space."""
    triangle = picture.triangle.ravel()
    seen = np.flatnonzero(triangle >= 0)
    places = np.zeros((len(triangle), 3), np.float16)
    weights = picture.barycentric.reshape(-1, 3).take(seen, axis=0)
    places[seen] = scene.subject.between_corners(scene.canonical, triangle.take(seen), weights)
    return places.reshape(picture.barycentric.shape)


def write_shard(source: PortraitSource, plan: PortraitPlan, shard: int, folder: Path) -> Path:
    """Render a shard and write ``NAME.npz`` and its sheet ``NAME.png``, both or none.

    Raises:
        OutputError: They cannot be written.
    """
    arrays: dict[str, Any] = render_shard(source, plan, shard)
    path = folder / f"{plan.name(shard)}.npz"
    sheet = Image.fromarray(shard_sheet(arrays["rgba"], plan, shard))
    with staging() as stage:
        stage(path, lambda place: np.savez_compressed(place, **arrays))
        stage(path.with_suffix(".png"), sheet.save)
    return path


def shard_sheet(rgba: UInt8[np.ndarray, "n s s 4"], plan: PortraitPlan, shard: int) -> UInt8[np.ndarray, "H W 3"]:
    """All portraits of a shard before random backdrops, two people in each row."""
    rng = np.random.default_rng([plan.seed, shard, 3])
    shown = [over_backdrop(picture, sample_backdrop(rng, plan.size_px)) for picture in rgba]
    return contact_sheet(shown, 2 * plan.views)


def read_shard(path: Path, names: Collection[str]) -> Shard:
    """Some of a shard's arrays; see ``render_shard``.

    Raises:
        ModelError: The file is missing, damaged or of another version.
    """
    try:
        with np.load(path) as archive:
            return {name: archive[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ModelError(
            f"The portraits {path} are missing, damaged or of another version. Delete the file and start again.",
            code="result_damaged",
        ) from error


def expressions_for(template: Template, shard: Shard) -> Float[np.ndarray, "p e"]:
    """The expression of each person of a shard, in the template's order.

    Raises:
        ModelError: Some of the template's expressions are not in the shard.
    """
    names = list(shard["expression_names"])
    missing = [name for name in template.expression_names if name not in names]
    if missing:
        raise ModelError(
            f"The starter has the expression {missing[0]}, the portraits do not. Render new ones with this version.",
            code="other_version",
        )
    return shard["expression"][:, [names.index(name) for name in template.expression_names]]


def is_done(folder: Path, plan: PortraitPlan, shard: int) -> bool:
    """Whether a shard is there.

    Raises:
        ModelError: Its file is damaged.
    """
    path = folder / f"{plan.name(shard)}.npz"
    return path.exists() and len(read_shard(path, ("rgba",))["rgba"]) == plan.views * len(plan.people_of(shard))


def write_portraits(source: PortraitSource, plan: PortraitPlan, folder: Path, *, workers: int) -> Iterator[Path]:
    """Write all shards that are not there yet; yields each file when it is.

    Raises:
        OutputError: The folder or a file cannot be written.
        ModelError: A shard from before is damaged, or a process was ended from outside.
    """
    missing = [shard for shard in plan.shards if not is_done(folder, plan, shard)]
    if workers <= 1:
        for shard in missing:
            yield write_shard(source, plan, shard, folder)
        return
    # Spawned, not forked: a fork copies torch's threads in whatever state they are.
    with ProcessPoolExecutor(workers, get_context("spawn"), _keep, (source, plan, folder)) as pool:
        try:
            yield from pool.map(_write_kept, missing)
        except BrokenProcessPool as error:
            raise ModelError(
                "A process that rendered portraits was ended from outside, mostly because the memory ran out. "
                "Start again with fewer --workers; finished shards are kept.",
                code="worker_lost",
            ) from error


_kept: list[tuple[PortraitSource, PortraitPlan, Path]] = []  # Of this process.


def _keep(source: PortraitSource, plan: PortraitPlan, folder: Path) -> None:
    _kept[:] = [(source, plan, folder)]


def _write_kept(shard: int) -> Path:
    source, plan, folder = _kept[0]
    return write_shard(source, plan, shard, folder)
