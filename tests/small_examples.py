# SPDX-License-Identifier: Apache-2.0
"""Shards of portraits of eggs, drawn without a renderer: the truth about them is exact."""

from dataclasses import replace

import numpy as np
import torch

from backend.camera import project, rays
from backend.training.framing import sample_framing
from backend.training.portrait_shards import NOBODY, PortraitPlan
from tests.small_starter import AXES, EXPRESSIONS, SHAPES, SIDE

PLAN = PortraitPlan(people=6, views=2, size_px=48, seed=3, glasses_share=0.0, people_per_shard=2)


def small_shard(starter, plan, number):
    """What ``render_shard`` would give for eggs in the starter's own colours."""
    people, portraits = [], []
    for row, person in enumerate(plan.people_of(number)):
        rng = np.random.default_rng([plan.seed, person])
        codes = {
            "z": rng.normal(size=starter.generator.config.z_dim).astype(np.float32),
            "shape": rng.normal(size=SHAPES).astype(np.float32),
            "expression": rng.uniform(0, 1, len(EXPRESSIONS)).astype(np.float32),
            "pose": np.zeros(6, np.float32),
        }
        people.append(codes)
        portraits += [{"person": np.array(row), **_portrait(starter, plan, codes, rng)} for _ in range(plan.views)]
    together = {name: np.stack([one[name] for one in portraits]) for name in portraits[0]}
    names = np.array([*EXPRESSIONS, "tongueOut"])
    stacked = {name: np.stack([one[name] for one in people]) for name in people[0]}
    stacked["expression"] = np.pad(stacked["expression"], ((0, 0), (0, 1)))
    return {**together, **stacked, "expression_names": names}


def write_small_shards(folder, starter, plan=PLAN):
    """Every shard of a plan; gives the folder back."""
    for number in plan.shards:
        np.savez_compressed(folder / f"{plan.name(number)}.npz", **small_shard(starter, plan, number))
    return folder


def _portrait(starter, plan, codes, rng):
    template, camera = starter.template, replace(sample_framing(rng), yaw_deg=rng.uniform(-40, 40)).camera()
    size = plan.size_px
    origin, directions = rays(camera, size)
    points, seen = egg_hit(origin, directions)
    z = torch.from_numpy(codes["z"])[None]
    with torch.no_grad():
        planes = starter.generator.planes(starter.generator.map(z))
        color = starter.generator.decode(planes, torch.from_numpy(points.reshape(1, -1, 3)).float())[1]
    bytes_ = np.rint(color[0].clamp(0, 1).numpy().reshape(size, size, 3) * 255) * seen[..., None]
    corners = template.faces[template.landmark_faces]
    offsets = template.offsets(codes["shape"].astype(float), codes["expression"].astype(float))
    placed = np.einsum("nk,nkc->nc", template.landmark_weights, (template.vertices + offsets)[corners])
    image, _ = project(camera, placed)
    return {
        "rgba": np.concatenate([bytes_, 255.0 * seen[..., None]], axis=-1).astype(np.uint8),
        "canonical": np.where(seen[..., None], points, 0).astype(np.float16),
        "part": np.where(seen, 0, NOBODY).astype(np.uint8),
        "landmarks": image.astype(np.float32),
        "landmarks_seen": np.ones(len(image), bool),
        "cam2world": camera.cam2world.astype(np.float32),
        "intrinsics": camera.intrinsics.astype(np.float32),
        "light": np.concatenate([[0, 0, 1], rng.uniform(0, 1, 12)]).astype(np.float32),
    }


def egg_hit(origin, directions):
    """Canonical points where rays meet the egg, exact, and whether they do."""
    start, along = origin / AXES, directions / AXES
    a, b, c = (along**2).sum(-1), (along * start).sum(-1), (start**2).sum() - 1
    root = b**2 - a * c
    distance = (-b - np.sqrt(np.maximum(root, 0))) / a
    points = origin + distance[..., None] * directions
    return np.clip(points, -SIDE / 2, SIDE / 2), root > 0
