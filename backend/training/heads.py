# SPDX-License-Identifier: Apache-2.0
"""Random head shapes: MakeHuman's macro targets and sliders with ICT's identity modes on top.

Units and frame as in ``makehuman``: decimetres.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

from backend.training.makehuman import EYE_JOINTS, MakeHuman, joint, lower_arms

ANCESTRIES = ("african", "asian", "caucasian")
SLIDER_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "chin", "cheek", "neck", "torso")
# Targets that age, turn or shift the head, or only double others.
SKIPPED = (
    "head-age", "head-trans", "head-angle", "ear-shape", "neck-trans", "head-scale-depth-xx", "eye-push",
    "nose-trans-in", "nose-trans-out", "mouth-trans-in", "mouth-trans-out", "eye-corner-x",
)  # fmt: skip
TORSO = ("measure-shoulder", "scale-horiz", "scale-depth", "vshape")
OPPOSITES = (
    ("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"), ("concave", "convex"),
    ("compress", "uncompress"),
)  # fmt: skip
SLIDER_SPREAD = {"neck": 0.6, "torso": 0.6, "ears": 0.8}
INTEROCULAR_DM = 0.63


@dataclass(frozen=True)
class Identity:
    """The numbers behind one head shape.

    Args:
        gender: 0 female to 1 male.
        age: 0.1875 is a child, 0.5 young, 1 old.
        ancestry: Weights of ``ANCESTRIES``, sum 1.
        muscle: 0 to 1.
        weight: 0 to 1.
        sliders: MakeHuman's sliders, -1 to 1.
        asymmetry: MakeHuman's asymmetry sliders.
        modes: ICT's identity modes, standard deviations.
    """

    gender: float
    age: float
    ancestry: Float[np.ndarray, "3"]
    muscle: float
    weight: float
    sliders: Float[np.ndarray, "s"]
    asymmetry: Float[np.ndarray, "a"]
    modes: Float[np.ndarray, "k"]


class HeadShapes:
    """Samples identities and builds their base meshes.

    Args:
        makehuman: The MakeHuman assets.
        modes: ICT's identity modes on the base mesh, from ``ict.identity_modes``.
        expressions: Face shapes by ARKit name, from ``expressions.arkit_expressions``.
    """

    def __init__(
        self,
        makehuman: MakeHuman,
        modes: Float[np.ndarray, "k 19158 3"],
        expressions: dict[str, Float[np.ndarray, "19158 3"]],
    ) -> None:
        self.makehuman = makehuman
        self.modes = modes
        self.expressions = expressions
        self._macro = _macro_targets(makehuman)
        self.slider_names, self._negative, self._positive = _slider_targets(makehuman)
        folder = makehuman.targets_folder / "asym"
        lefts = sorted(
            path.name.removesuffix(".target.gz")
            for path in folder.glob("*-l.target.gz")
            if "asymm" not in path.name and ("-1-l" in path.name or "-2-l" in path.name)
        )
        self._asymmetry = np.stack(
            [makehuman.target(f"asym/{name}") - makehuman.target(f"asym/{name[:-2]}-r") for name in lefts]
        )

    def sample(self, rng: np.random.Generator) -> Identity:
        """A random identity; the same generator state gives the same one."""
        spread = np.array([0.11 * SLIDER_SPREAD.get(name.split("/")[0], 1.0) for name in self.slider_names])
        one_sided = ~self._negative.any(axis=(1, 2))
        sliders = np.clip(rng.normal(0, spread), -1, 1)
        sliders[one_sided] = np.abs(sliders[one_sided])
        age = rng.choice([rng.uniform(0.38, 0.6), rng.uniform(0.5, 0.8), rng.uniform(0.7, 1.0)], p=[0.5, 0.35, 0.15])
        return Identity(
            gender=float(rng.beta(0.35, 0.35)),
            age=float(age),
            ancestry=rng.dirichlet([0.5, 0.5, 0.6]),
            muscle=float(np.clip(rng.normal(0.5, 0.2), 0, 1)),
            weight=float(np.clip(rng.normal(0.5, 0.22), 0, 1)),
            sliders=sliders,
            asymmetry=np.clip(rng.normal(0, 0.08, len(self._asymmetry)), -0.4, 0.4),
            modes=rng.normal(0, 0.9, len(self.modes)),
        )

    def average(self) -> Identity:
        """The identity in the middle of all."""
        return Identity(
            0.5, 0.55, np.full(3, 1 / 3), 0.5, 0.5,
            np.zeros(len(self.slider_names)), np.zeros(len(self._asymmetry)), np.zeros(len(self.modes)),
        )  # fmt: skip

    def express(
        self, base_dm: Float[np.ndarray, "19158 3"], weights: Mapping[str, float]
    ) -> Float[np.ndarray, "19158 3"]:
        """A head from ``build`` with face shapes added; ``tongueOut`` shows in ``mouth`` alone."""
        return base_dm + sum(
            (weight * self.expressions[name] for name, weight in weights.items() if name != "tongueOut"),
            start=np.zeros_like(base_dm),
        )

    def build(self, identity: Identity) -> Float[np.ndarray, "19158 3"]:
        """The base mesh of an identity, arms lowered, eyes at their fixed place and at their fixed size."""
        offsets = np.tensordot(np.maximum(identity.sliders, 0), self._positive, 1)
        offsets += np.tensordot(np.maximum(-identity.sliders, 0), self._negative, 1)
        offsets += np.tensordot(identity.asymmetry, self._asymmetry, 1)
        offsets += np.tensordot(identity.modes, self.modes, 1)
        for weight, target in self._macro_weights(identity):
            offsets += weight * target
        base = self.makehuman.base.vertices
        head = lower_arms(base + offsets, self.makehuman.arm_weights)
        return _eyes_in_place(head, base)

    def _macro_weights(self, identity: Identity) -> list[tuple[float, np.ndarray]]:
        gender = {"male": identity.gender, "female": 1 - identity.gender}
        age = _three_way(identity.age, ("child", "young", "old"), low=0.1875, middle=0.5)
        muscle = _three_way(identity.muscle, ("min", "average", "max"), low=0.0, middle=0.5)
        weight = _three_way(identity.weight, ("min", "average", "max"), low=0.0, middle=0.5)
        ancestry = dict(zip(ANCESTRIES, identity.ancestry, strict=True))
        weighted = [
            (ancestry[a] * gender[g] * age[y], self._macro[a, g, y]) for a, g, y in product(ancestry, gender, age)
        ]
        weighted += [
            (gender[g] * age[y] * muscle[m] * weight[w], self._macro[g, y, m, w])
            for g, y, m, w in product(gender, age, muscle, weight)
            if (g, y, m, w) in self._macro
        ]
        return [(float(share), target) for share, target in weighted if share > 1e-4]


def _three_way(value: float, names: tuple[str, str, str], *, low: float, middle: float) -> dict[str, float]:
    """Weights of three marks at ``low``, ``middle`` and 1 that interpolate linearly and add up to 1."""
    below = float(np.clip((middle - value) / (middle - low), 0, 1))
    above = float(np.clip((value - middle) / (1 - middle), 0, 1))
    return {names[0]: below, names[1]: 1 - below - above, names[2]: above}


def _eyes_in_place(head: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Scale to the standard interocular distance and move the midpoint between the eyes to its rest place."""
    left, right = (joint(head, eye) for eye in EYE_JOINTS)
    rest = sum(joint(base, eye) for eye in EYE_JOINTS) / 2
    scale = INTEROCULAR_DM / np.linalg.norm(left - right)
    return (head - (left + right) / 2) * scale + rest


def _slider_targets(makehuman: MakeHuman) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names and the offsets at -1 and +1 of every face slider; left and right targets move together."""
    names: list[str] = []
    negative: list[np.ndarray] = []
    positive: list[np.ndarray] = []
    for folder in SLIDER_FOLDERS:
        found = sorted(
            path.name.removesuffix(".target.gz") for path in (makehuman.targets_folder / folder).glob("*.target.gz")
        )
        if folder == "torso":
            found = [name for name in found if any(part in name for part in TORSO)]
        usable = [name for name in found if not any(part in name for part in SKIPPED) and not name.startswith("r-")]
        for low, high in _pairs(usable):
            names.append(f"{folder}/{high}")
            positive.append(_both_sides(makehuman, folder, high))
            negative.append(_both_sides(makehuman, folder, low) if low else np.zeros_like(positive[-1]))
    return names, np.stack(negative), np.stack(positive)


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    """Targets that undo each other as (low, high); a single target has an empty low."""
    pairs: list[tuple[str, str]] = []
    taken: set[str] = set()
    for name in names:
        if name in taken:
            continue
        partner = next(
            (
                (name, name.removesuffix(low) + high)
                for low, high in OPPOSITES
                if name.endswith("-" + low) and name.removesuffix(low) + high in names
            ),
            None,
        )
        if partner:
            pairs.append(partner)
            taken.update(partner)
    return pairs + [("", name) for name in names if name not in taken]


def _both_sides(makehuman: MakeHuman, folder: str, name: str) -> np.ndarray:
    offsets = makehuman.target(f"{folder}/{name}")
    if name.startswith("l-"):
        offsets = offsets + makehuman.target(f"{folder}/r-{name[2:]}")
    return offsets


def _macro_targets(makehuman: MakeHuman) -> dict[tuple[str, ...], np.ndarray]:
    macro: dict[tuple[str, ...], np.ndarray] = {}
    for ancestry, gender, age in product(ANCESTRIES, ("female", "male"), ("child", "young", "old")):
        macro[ancestry, gender, age] = makehuman.target(f"macrodetails/{ancestry}-{gender}-{age}")
    levels = ("min", "average", "max")
    for gender, age, muscle, weight in product(("female", "male"), ("child", "young", "old"), levels, levels):
        name = f"macrodetails/universal-{gender}-{age}-{muscle}muscle-{weight}weight"
        if (makehuman.targets_folder / f"{name}.target.gz").exists():
            macro[gender, age, muscle, weight] = makehuman.target(name)
    return macro
