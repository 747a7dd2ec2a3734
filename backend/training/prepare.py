# SPDX-License-Identifier: Apache-2.0
"""Turns the CC0 and MIT assets into what training and the starter generator start from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from backend.template import Template
from backend.training.canonical import CanonicalSet, build_canonical_set
from backend.training.crowd import in_parallel
from backend.training.expressions import arkit_expressions, with_whole_lids
from backend.training.heads import HeadShapes, Identity
from backend.training.ict import identity_modes
from backend.training.kept import kept, kept_name
from backend.training.makehuman import MakeHuman
from backend.training.rounding import rounded_lattice
from backend.training.solid import SIDE, BodySolid
from backend.training.template import (
    TemplateAnchors,
    anchor,
    canonical_base,
    canonical_skeleton,
    expression_basis,
    joint_shares,
    shape_basis,
    template_mesh,
    without_landmarks,
)

BODY_NODES = 129
FACE_LOW = np.array([-0.092, -0.105, -0.030])
FACE_HIGH = np.array([0.092, 0.085, 0.150])
FACE_SPACING_M = 0.0017
# Files of this package that decide a kept result.
TEMPLATE_SOURCES = ("prepare", "makehuman", "ict", "heads", "expressions", "solid", "template")
CANONICAL_SOURCES = ("canonical", "makehuman", "masks", "noise", "paint", "solid")


@dataclass(frozen=True)
class Prepared:
    """The closed-form parts, before any network is trained.

    Args:
        template: Without landmarks.
        anchors: The template on MakeHuman's mesh.
        body_lattice: Signed distance of the mean body over the cube, metres.
        face_lattice: The same over the face's box, finer.
        canonical: Points and lattices for training.
        closed_base: Mean base mesh with closed lips, decimetres.
        parted_base: With parted lips: canonical space.
    """

    template: Template
    anchors: TemplateAnchors
    body_lattice: Float[np.ndarray, "r r r"]
    face_lattice: Float[np.ndarray, "x y z"]
    canonical: CanonicalSet
    closed_base: Float[np.ndarray, "19158 3"]
    parted_base: Float[np.ndarray, "19158 3"]


def load_heads(assets: Path) -> HeadShapes:
    """The shape sampler over the assets folder, which holds ``makehuman`` and ``ict_facekit``."""
    makehuman = MakeHuman(assets / "makehuman")
    ict = assets / "ict_facekit" / "ict_facekit.npz"
    return HeadShapes(makehuman, identity_modes(makehuman, ict), arkit_expressions(makehuman, ict))


def prepare(
    heads: HeadShapes,
    cache: Path,
    *,
    samples: int,
    components: int,
    seed: int,
    log: Callable[[str], None],
    workers: int = 1,
) -> Prepared:
    """Build everything once, or read it from ``cache`` where code and numbers are the same as then.

    Args:
        heads: Samples shapes.
        cache: For intermediate results.
        samples: Head shapes behind the bases.
        components: Shape codes kept.
        seed: Of all chance.
        log: Hears of every step.
        workers: Processes.

    Raises:
        ModelError: The cache is damaged.
        OutputError: The cache cannot be written.
    """
    name = kept_name("template", modules=TEMPLATE_SOURCES, numbers=(samples, components, seed))
    made = kept(cache / name, lambda: _template(heads, (samples, components, seed), workers, log))
    template, anchors, closed, parted = made
    solid = BodySolid(heads.makehuman, parted)
    name = kept_name("canonical", modules=CANONICAL_SOURCES, numbers=(parted.tobytes(), seed))
    canonical = kept(cache / name, lambda: _canonical(heads, solid, parted, seed, workers, log))
    name = kept_name("lattices", modules=("solid", "rounding", "prepare"), numbers=parted.tobytes())
    body, face = kept(cache / name, lambda: _lattices(solid))
    return Prepared(template, anchors, body, face, canonical, closed, parted)


def _template(
    heads: HeadShapes, numbers: tuple[int, int, int], workers: int, log: Callable[[str], None]
) -> tuple[Template, TemplateAnchors, np.ndarray, np.ndarray]:
    """Template and bases with the mean base mesh, lips closed and parted."""
    samples, components, seed = numbers
    rng = np.random.default_rng(seed)
    identities = [heads.sample(rng) for _ in range(samples)]
    bases = list(in_parallel(_build, identities, workers=workers, prepare=_keep_heads, given=(heads,), chunk=20))
    log(f"{samples} head shapes")
    closed, parted = canonical_base(heads, bases)
    solid = BodySolid(heads.makehuman, parted)
    mesh = template_mesh(solid)
    log(f"template of {len(mesh[0])} vertices, {len(mesh[1])} faces")
    anchors = anchor(solid, mesh[0])
    readings = np.stack([anchors.read(heads.makehuman, base) for base in bases]).astype(np.float32)
    template = without_landmarks(
        mesh,
        shape_basis(readings, mesh[2], components),
        expression_basis(
            heads.makehuman,
            with_whole_lids(heads.makehuman, heads.expressions),
            anchors,
            base_dm=closed,
            mirror=mesh[2],
        ),
        (canonical_skeleton(closed), joint_shares(heads.makehuman, anchors, mesh[2])),
        on_eye=anchors.on_eye,
    )
    log("shape and expression bases")
    return template, anchors, closed, parted


_heads: list[HeadShapes] = []  # Of this process.


def _keep_heads(heads: HeadShapes) -> None:
    _heads[:] = [heads]


def _build(identity: Identity) -> Float[np.ndarray, "19158 3"]:
    return _heads[0].build(identity).astype(np.float32)


def _canonical(
    heads: HeadShapes, solid: BodySolid, parted: np.ndarray, seed: int, workers: int, log: Callable[[str], None]
) -> CanonicalSet:
    rng = np.random.default_rng([seed, 1])
    canonical = build_canonical_set(heads.makehuman, solid, parted, rng, workers=workers)
    log("hair, tops and points of canonical space")
    return canonical


def _lattices(solid: BodySolid) -> tuple[Float[np.ndarray, "r r r"], Float[np.ndarray, "x y z"]]:
    """The body's distances over the cube, and finer over the face; both have nodes in the middle plane."""
    half = np.full(3, SIDE / 2)
    x, y, z = (round(extent / FACE_SPACING_M) + 1 for extent in FACE_HIGH - FACE_LOW)
    body = rounded_lattice(solid, -half, half, (BODY_NODES,) * 3)
    return body, rounded_lattice(solid, FACE_LOW, FACE_HIGH, (x | 1, y, z))
