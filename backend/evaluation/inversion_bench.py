# SPDX-License-Identifier: Apache-2.0
"""The comparison of inversion methods as jobs: each entry on each photo, with all that entries share made once."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from backend import __version__
from backend.config import Settings, SurfaceConfig
from backend.directions import Codes
from backend.errors import SettingsError
from backend.evaluation.cost import Cost, measured
from backend.evaluation.field_head import FieldHead
from backend.evaluation.held_out import HeldOutHead, HeldOutList
from backend.evaluation.inversion_items import FURTHER_YAWS_DEG, Entry, item_name, seen_from
from backend.evaluation.inversion_scores import (
    STUDIO_YAWS_DEG,
    KnownPerson,
    KnownPhoto,
    head_scores,
    photo_scores,
    real_photo_scores,
    shown,
)
from backend.evaluation.prepared import Prepared, as_photo, prepare
from backend.evaluation.protocol import hash_notes
from backend.evaluation.registration import Similarity
from backend.evaluation.run import Job, Measured
from backend.evaluation.single_photo import Scores, template_similarity
from backend.evaluation.truth import GREY, TruthHead, open_truth
from backend.folders import starter_e3dge_path, starter_encoder_path, starter_path
from backend.inversion.methods import STARTER_METHODS
from backend.photo import read_photo
from backend.portrait_model.opening import open_model
from backend.portrait_model.starter import StarterModel
from backend.training.portrait_source import PortraitSource

MEASURES = 1  # Raised when scores change their meaning, so that older results are not mixed in.
NODES = 129  # Of the lattice that a field is meshed from; finished heads have more, for their eyelids.


@dataclass(frozen=True)
class InversionBench:
    """What all items share.

    Args:
        model: The starter.
        seed: Of every random choice of a method.
        source: Of the held-out people; asked when the first of them is worked on.
    """

    model: StarterModel
    seed: int
    source: Callable[[], PortraitSource]
    _places: dict[bytes, Similarity] = field(default_factory=dict)

    @staticmethod
    def open(seed: int, source: Callable[[], PortraitSource]) -> "InversionBench":
        """With the installed starter.

        Raises:
            ModelError: It is missing or damaged.
        """
        model = open_model(Settings())
        if not isinstance(model, StarterModel):
            raise SettingsError("Inversion methods are compared on the starter model, and another one is installed.")
        return InversionBench(model, seed, source)

    @property
    def surface(self) -> SurfaceConfig:
        """How fields are meshed."""
        return replace(self.model.surface, resolution=NODES)

    def weights(self, method: str) -> str:
        """Hash of the files behind a method's results: the model's, and those of the encoders it may ask."""
        paths = [starter_path(), starter_encoder_path(), *([starter_e3dge_path()] if method in STARTER_METHODS else [])]
        return sha256(b"".join(path.read_bytes() for path in paths if path.is_file())).hexdigest()

    def check(self, entries: Sequence[Entry]) -> None:
        """Say at once which entries the model cannot do.

        Raises:
            SettingsError: It does not know one of the methods.
        """
        unknown = sorted({entry.method for entry in entries} - set(self.model.methods))
        if unknown:
            known = ", ".join(self.model.methods)
            raise SettingsError(f"The starter does not know {', '.join(unknown)}; --methods can name {known}.")

    def invert(self, entry: Entry, prepared: Prepared) -> tuple[Codes, Cost]:
        """The codes an entry finds, and what that cost."""
        settings = Settings(method=entry.method, quality=entry.quality, seed=self.seed)  # type: ignore[arg-type]
        (codes, _), cost = measured(
            lambda: self.model.invert(prepared.fit, prepared.photos, settings=settings, step=_silent)
        )
        return codes[0], cost

    def to_truth(self, truth: TruthHead, codes: Codes) -> Similarity:
        """What brings the fitted template's face to the true one; found once for all methods that keep the fit."""
        key = b"".join(
            array.tobytes() for array in (truth.landmarks, truth.camera.cam2world, codes.shape, codes.expression)
        )
        if key not in self._places:
            template = self.model.starter.template
            vertices = template.vertices + template.offsets(codes.shape, codes.expression)
            self._places[key] = template_similarity(truth, template, vertices)
        return self._places[key]

    def fingerprint(self, item: dict[str, Any], entry: Entry) -> dict[str, Any]:
        """What a result depends on, and what it is about."""
        return {
            "item": item, "entry": asdict(entry), "seed": self.seed, "version": __version__, "measures": MEASURES,
            "weights": self.weights(entry.method),
        }  # fmt: skip


def head_jobs(
    bench: InversionBench, held_out: HeldOutList, heads: Sequence[HeldOutHead], entries: Sequence[Entry]
) -> list[Job]:
    """Each entry on each photo of the held-out people; entries that need other photos are left out.

    Args:
        bench: Shared.
        held_out: Whose people.
        heads: The photos in their order.
        entries: In theirs.
    """

    @lru_cache(maxsize=1)
    def person(number: int) -> KnownPerson:
        head = next(head for head in held_out.heads if head.number == number)
        return KnownPerson(open_truth(bench.source(), held_out, head))

    @lru_cache(maxsize=1)
    def photo(head: HeldOutHead) -> TruthHead:
        return replace(person(head.number).truth, item=head)

    @lru_cache(maxsize=1)
    def prepared(head: HeldOutHead, count: int) -> Prepared:
        others = [photo_of(person(head.number), seen_from(head, yaw)) for yaw in FURTHER_YAWS_DEG[: count - 1]]
        return prepare(bench.model, [as_photo(one.photo, item_name(one.item)) for one in (photo(head), *others)])

    @lru_cache(maxsize=1)
    def known(head: HeldOutHead, count: int) -> KnownPhoto:
        return KnownPhoto(person(head.number), photo(head), FURTHER_YAWS_DEG[: count - 1])

    def work(head: HeldOutHead, entry: Entry) -> Measured:
        return invert_head(bench, entry, prepared(head, entry.photos), known(head, entry.photos))

    return [
        Job(
            f"{item_name(head)}-{entry.label.replace(' ', '-')}",
            bench.fingerprint({"name": item_name(head), "subject": head.name, "yaw_deg": head.yaw_deg}, entry),
            lambda head=head, entry=entry: work(head, entry),  # type: ignore[misc]
        )
        for head in heads
        for entry in entries
        if entry.can_do(head.yaw_deg)
    ]


def photo_of(person: KnownPerson, head: HeldOutHead) -> TruthHead:
    """The person with another photo's camera."""
    return replace(person.truth, item=head)


def invert_head(bench: InversionBench, entry: Entry, prepared: Prepared, known: KnownPhoto) -> Measured:
    """One entry on one photo of a held-out person."""
    codes, cost = bench.invert(entry, prepared)
    made = FieldHead.of(bench.model, codes, bench.surface)
    scores, picture = photo_scores(prepared.photos[0], prepared.fit.cameras[0], made)
    more, pictures = head_scores(known, made.placed(bench.to_truth(known.truth, codes)))
    true = [known.person.views[yaw].color for yaw in STUDIO_YAWS_DEG]
    rows = [[shown(prepared.photos[0]), *true], [picture, *pictures]]
    item = known.truth.item
    notes = hash_notes(item, known.truth.photo_sha256) if item.sha256 else []
    return Measured({**_costs(prepared, cost), **scores, **more}, rows, notes)


def real_photo_jobs(bench: InversionBench, photos: Sequence[Path], entries: Sequence[Entry]) -> list[Job]:
    """Each entry that needs one photo on each file."""

    @lru_cache(maxsize=1)
    def prepared(photo: Path) -> Prepared:
        return prepare(bench.model, [read_photo(photo)])

    def item(photo: Path) -> dict[str, Any]:
        hashed = sha256(photo.read_bytes()).hexdigest()
        return {"name": photo.stem, "subject": photo.stem, "yaw_deg": None, "sha256": hashed}

    return [
        Job(
            f"photo-{photo.stem}-{entry.label.replace(' ', '-')}",
            bench.fingerprint(item(photo), entry),
            lambda photo=photo, entry=entry: invert_photo(bench, entry, prepared(photo)),  # type: ignore[misc]
        )
        for photo in photos
        for entry in entries
        if entry.can_do(None)
    ]


def invert_photo(bench: InversionBench, entry: Entry, prepared: Prepared) -> Measured:
    """One entry on one real photo."""
    codes, cost = bench.invert(entry, prepared)
    made = FieldHead.of(bench.model, codes, bench.surface)
    photo, camera = prepared.photos[0], prepared.fit.cameras[0]
    scores, picture = photo_scores(photo, camera, made)
    more, pictures = real_photo_scores(photo, camera, made)
    unknown = np.full_like(picture, GREY)
    rows = [[shown(photo), *[unknown] * len(pictures)], [picture, *pictures]]
    return Measured({**_costs(prepared, cost), **scores, **more}, rows, [])


def _costs(prepared: Prepared, cost: Cost) -> Scores:
    return {
        "seconds_prepare": prepared.cost.seconds_cpu, "seconds_cpu": cost.seconds_cpu,
        "seconds_wall": cost.seconds_wall, "peak_mb": cost.peak_mb,
    }  # fmt: skip


def _silent(_: float) -> None:
    """Hears nothing."""
