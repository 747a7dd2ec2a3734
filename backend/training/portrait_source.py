# SPDX-License-Identifier: Apache-2.0
"""People for synthetic portraits, drawn by number: who they are, what they wear and do, and the codes for all that.

Person ``n`` of seed ``s`` has the description of training head ``n`` if ``s`` is the training heads' seed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.progress import Log
from backend.training.appearance import Appearance, sample_appearance
from backend.training.build import Preset
from backend.training.calibrate import calibrated_template
from backend.training.dataset import describe
from backend.training.dressing import Dressing, sample_dressing
from backend.training.expressions import ARKIT_NAMES
from backend.training.glasses import Glasses, sample_glasses
from backend.training.heads import HeadShapes, Identity
from backend.training.motion import FaceMover, Motion, sample_motion
from backend.training.mouth import load_mouth
from backend.training.person import shape_code
from backend.training.portrait_truth import LandmarkAnchors, anchor_landmarks
from backend.training.portraits import PortraitScene, PortraitStudio
from backend.training.prepare import load_heads, prepare
from backend.training.solid import BodySolid
from backend.training.template import TemplateAnchors

GLASSES_NUMBERS = 12


@dataclass(frozen=True)
class Person:
    """Somebody in front of the camera."""

    identity: Identity
    appearance: Appearance
    dressing: Dressing
    motion: Motion
    glasses: Glasses | None


@dataclass(frozen=True)
class PortraitSource:
    """All that makes portraits of numbered people.

    Args:
        heads: Head shapes.
        studio: With a mover.
        anchors: The template on MakeHuman's mesh.
        landmarks: On the studio's body.
    """

    heads: HeadShapes
    studio: PortraitStudio
    anchors: TemplateAnchors
    landmarks: LandmarkAnchors

    def person(self, seed: int, number: int, *, glasses_share: float) -> Person:
        """Person ``number`` of a seed, always the same; so many in one wear glasses."""
        rng = np.random.default_rng([seed, number])
        identity = self.heads.sample(rng)
        appearance = sample_appearance(rng, identity.gender, identity.age, ancestry=identity.ancestry)
        dressing = sample_dressing(rng, appearance)
        rng = np.random.default_rng([seed, number, 1])
        motion = sample_motion(rng)
        wears = rng.random() < glasses_share
        return Person(identity, appearance, dressing, motion, sample_glasses(rng) if wears else None)

    def scene(self, person: Person) -> PortraitScene:
        """The person, ready to be rendered."""
        base = self.heads.build(person.identity)
        return self.studio.scene(base, person.appearance, person.dressing, motion=person.motion, glasses=person.glasses)

    def codes(self, person: Person) -> dict[str, np.ndarray]:
        """What describes a person: ``z``, shape, expression, pose, glasses (first whether there are any)."""
        vertices = self.anchors.read(self.heads.makehuman, self.heads.build(person.identity))
        glasses = np.zeros(GLASSES_NUMBERS, np.float32)
        if person.glasses is not None:
            glasses[0], glasses[1:] = 1, person.glasses.to_vector()
        return {
            "z": describe(person.appearance, person.dressing),
            "shape": shape_code(self.studio.template, vertices).astype(np.float32),
            "expression": np.array([person.motion.expression.get(name, 0.0) for name in ARKIT_NAMES], np.float32),
            "pose": person.motion.pose.astype(np.float32),
            "glasses": glasses,
        }


def open_source(assets: Path, work: Path, *, preset: Preset, log: Log) -> PortraitSource:
    """A source from the assets; slow steps are read from ``work`` where they are done, as training does.

    Args:
        assets: Holds ``makehuman`` (CC0) and ``ict_facekit`` (MIT).
        work: For intermediate results.
        preset: How much stands behind the template and its landmarks.
        log: Hears of every step.

    Raises:
        ModelError: Assets are missing or damaged, or an intermediate result is.
    """
    heads = load_heads(assets)
    mouth = load_mouth(heads.makehuman, assets / "ict_facekit" / "ict_facekit.npz")
    prepared = prepare(heads, work, samples=preset.shapes, components=preset.components, seed=1, log=log)
    solid = BodySolid(heads.makehuman, prepared.parted_base)
    template = calibrated_template(heads, prepared, work, portraits=preset.portraits, log=log)
    studio = PortraitStudio(heads.makehuman, solid, prepared.canonical, template, FaceMover(heads, mouth))
    return PortraitSource(heads, studio, prepared.anchors, anchor_landmarks(template, studio.canvas))
