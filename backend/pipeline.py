# SPDX-License-Identifier: Apache-2.0
"""The straight line: photos of a person become a textured head with sliders."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from backend import estimate
from backend.alignment import Portrait
from backend.camera import Camera
from backend.config import Settings
from backend.device import choose_device
from backend.errors import PhotoError
from backend.head import PHOTO_EXPRESSION, Head, HeadRecord, MorphTarget, photos_sha256
from backend.inversion.confidence import Evidence, clearest, confidence, confidence_sentence, gather_evidence
from backend.landmarks import Face, detect_face_among
from backend.likeness import likeness, likeness_to_photo
from backend.mask import segment_head, without_others
from backend.mesh import Mesh, mesh_quality, seamless_normals
from backend.photo import Photo, read_photo
from backend.photo_expression import expression_note, first_of_its_group, photo_expression
from backend.photo_weight import photo_weights
from backend.portrait_model.contract import (
    PORTRAIT_PX,
    CodesT,
    Fit,
    PersonPhoto,
    PortraitModel,
    TakesCropped,
    landmark_score,
)
from backend.portrait_model.kept import KeptHead, from_record, to_lists, to_record_codes, to_record_photos
from backend.portrait_model.opening import open_model, open_model_of
from backend.portrait_record import KeptPortrait, keep_portrait
from backend.progress import Report
from backend.recolor import recolor
from backend.surface import extract_surface
from backend.texture import bake_texture
from backend.timing import StageClock
from backend.unwrap import unwrap_uv

# Seconds on two CPU cores; only their ratios matter, and only for the progress bar.
EXPECTED_S = {
    "model": 1.0, "photo": 0.5, "face": 2.0, "fit": 1.5, "refine": 30.0, "surface": 6.0, "unwrap": 1.5,
    "texture": 9.0, "sliders": 4.0, "likeness": 3.0,
}  # fmt: skip
# Reasons of a photo error for which the person's other photos serve without it.
SHOWS_NOBODY = frozenset({"no_face", "face_too_small", "face_profile", "no_person"})
# Before and after a run, see jobs.Pipeline.
forecast, learn = estimate.forecast, estimate.learn


def reconstruct(photo_paths: Sequence[Path], settings: Settings, report: Report) -> Head:
    """Invert photos of one person.

    Args:
        photo_paths: The pictures, at least one. The head gets the expression of the first, the main one.
        settings: The choices; the face is that of the main photo, of each other it is the largest.
        report: Hears of the progress; may raise ``Cancelled``.

    Raises:
        PhotoError: A picture cannot be read, or none shows a usable face.
        ModelError: Weights are missing or damaged.
        SettingsError: A setting cannot work here.
    """
    clock = StageClock(EXPECTED_S, report)
    with clock.stage("model"):
        model = open_model(settings)
    with clock.stage("photo"):
        given = [read_photo(path) for path in photo_paths]
        files, twice_notes = _each_once(given)
    with clock.stage("face"):
        found = _find(model, files, settings)
        photos = found.photos
    with clock.stage("fit"):
        fit = model.fit(photos)
    with clock.stage("refine"):
        seen, losses = model.invert(fit, photos, settings=settings, step=clock.advance)
    portraits = [_keep(*pair) for pair in zip(photos, fit.cameras, strict=True)]
    start = 1.0 if settings.expression == "photo" else 0.0
    kept = KeptHead(model.at_rest(seen[0], seen[0]), seen, portraits, start)
    finished = _finish(model, kept, settings, clock)
    record = HeadRecord(
        generator=model.identity,
        codes=to_record_codes(model, kept),
        camera=to_lists(fit.cameras[0]),
        portrait_jpeg=kept.portraits[0].jpeg,
        photo_sha256=photos_sha256([file.sha256 for file in given]),
        seed=settings.seed,
        settings=asdict(settings),
        sliders=[target.slider for target in finished.morph_targets],
        slider_values=_standing(finished.morph_targets),
        more_photos=to_record_photos(model, kept),
        weight=photos[0].weight,
    )
    scores = {**finished.scores, **fit.scores, **losses}
    evidences = _judge(photos, found.faces, finished.shown, fit)
    if evidences:
        scores["confidence"] = round(confidence(clearest(evidences)), 3)
    head = _complete(finished, record, clock, settings, scores)
    head.report["notes"] = [*finished.notes, *twice_notes, *found.notes]
    head.report["faces"] = [_describe(one) for one in found.among]
    if evidences:
        head.report["evidence"] = asdict(clearest(evidences))
        head.report["confidence_note"] = confidence_sentence(clearest(evidences), photos=len(photos))
    if len(photos) > 1:
        head.report["photos"] = [
            {"name": one.photo.name, "weight": round(one.weight, 3), "confidence": round(confidence(evidence), 3)}
            for one, evidence in zip(photos, evidences, strict=True)
        ]
    return head


def resynthesize(record: HeadRecord, slider_values: dict[str, float], settings: Settings, report: Report) -> Head:
    """Move a head's codes by slider values and make its mesh anew.

    Args:
        record: Of a head that ``reconstruct`` made.
        slider_values: Slider name to value; the result's sliders stand at 0, but for the photo's expression: it is
            not baked in, its slider stands at the value given, else where it stood.
        settings: Faces, texture size and device are used; the model is the head's own.
        report: Hears of the progress; may raise ``Cancelled``.

    Raises:
        RecordError: The head's model is not installed, or the record is damaged.
        ModelError: Weights are damaged.
        SettingsError: A slider is unknown.
    """
    skipped = ("photo", "face", "fit", "refine")
    clock = StageClock({name: time for name, time in EXPECTED_S.items() if name not in skipped}, report)
    with clock.stage("model"):
        model = open_model_of(record, settings)
        before = from_record(model, record)
        baked = {name: value for name, value in slider_values.items() if name != PHOTO_EXPRESSION}
        shown = slider_values.get(PHOTO_EXPRESSION, before.photo_expression)
        kept = replace(before, codes=model.move(before.codes, baked), photo_expression=shown)
    finished = _finish(model, kept, settings, clock)
    values = {name: value for name, value in record.slider_values.items() if name != PHOTO_EXPRESSION}
    values |= {name: values.get(name, 0.0) + value for name, value in baked.items()}
    new_record = replace(
        record,
        codes=to_record_codes(model, kept),
        settings=record.settings | asdict(settings) | {"model": record.settings.get("model", settings.model)},
        sliders=[target.slider for target in finished.morph_targets],
        slider_values=values | _standing(finished.morph_targets),
    )
    return _complete(finished, new_record, clock, settings, finished.scores)


def _each_once(given: list[Photo]) -> tuple[list[Photo], list[str]]:
    """The photos without copies, which would count for too much, and a sentence for each that is left out."""
    files: dict[str, Photo] = {}
    notes = []
    for photo in given:
        if photo.sha256 in files:
            notes.append(f"{photo.name} is the same picture as {files[photo.sha256].name} and counts once.")
        files.setdefault(photo.sha256, photo)
    return list(files.values()), notes


@dataclass(frozen=True)
class _Found:
    """The person in the photos.

    Args:
        photos: That show the person.
        faces: The person's, by photo; none for a model of something else.
        among: All faces of the main photo.
        notes: On photos that are left out.
    """

    photos: list[PersonPhoto]
    faces: list[Face]
    among: list[Face]
    notes: list[str]


def _find(model: PortraitModel[CodesT], files: list[Photo], settings: Settings) -> _Found:
    """The person in each photo; those that show nobody are left out where another does.

    A model of something else takes photos as they are.
    """
    if isinstance(model, TakesCropped):
        return _Found([PersonPhoto(file, *model.crop(file)) for file in files], [], [], [])
    photos, faces, refused = [], [], []
    for number, file in enumerate(files):
        try:
            face, among = detect_face_among(file, 0 if number else settings.face or 0)
            portrait = _alone(model, file, face, among)
            photos.append(PersonPhoto(file, portrait, segment_head(portrait)))
            faces.append((face, among))
        except PhotoError as error:
            if error.code not in SHOWS_NOBODY:
                raise
            refused.append((file, error))
    if not photos:
        raise refused[0][1]
    notes = [f"{file.name} is left out. {error}" for file, error in refused]
    if photos[0].photo is not files[0]:
        notes.append(f"{photos[0].photo.name} is the main photo instead.")
    weights = photo_weights([one.portrait for one in photos], [one.mask for one in photos])
    weighed = [replace(one, weight=weight) for one, weight in zip(photos, weights, strict=True)]
    return _Found(weighed, [face for face, _ in faces], faces[0][1], notes)


def _alone(model: PortraitModel[CodesT], file: Photo, face: Face, faces: list[Face]) -> Portrait:
    """The portrait of one of a photo's faces."""
    others = [other for other in faces if other is not face]
    return without_others(model.align(file, face), face, others)


def _keep(photo: PersonPhoto, camera: Camera) -> KeptPortrait:
    return replace(keep_portrait(photo.photo, photo.portrait, photo.mask, camera), weight=photo.weight)


@dataclass(frozen=True)
class _Finished:
    """Mesh, texture and sliders, before the record is written; and the mesh as each photo shows it."""

    mesh: Mesh
    texture: UInt8[np.ndarray, "t t 3"]
    morph_targets: list[MorphTarget]
    metres_per_unit: float
    scores: dict[str, float]
    notes: list[str]
    shown: list[Mesh]


def _finish(model: PortraitModel[CodesT], head: KeptHead[CodesT], settings: Settings, clock: StageClock) -> _Finished:
    """From codes to mesh, texture and sliders."""
    main = head.seen[0]
    field, seen_field = model.field(head.codes), model.field(main)
    with clock.stage("surface"):
        surface = extract_surface(field, replace(model.surface, faces=settings.faces))
    with clock.stage("unwrap"):
        surface = unwrap_uv(surface)
        bound = model.bind(surface, head.codes)
        vertices = bound.vertices(head.codes)
        normals = seamless_normals(vertices, surface)
        mesh = _placed(surface, vertices, normals)
        expressive = model.as_seen(head.codes, main)
        shown = mesh if expressive is head.codes else _placed(surface, bound.vertices(expressive))
    with clock.stage("texture"):
        others = [bound.vertices(codes) for codes in head.seen[1:]]
        texture = bake_texture(
            shown,
            bound.vertices(main),
            seen_field,
            photos=[replace(one.view(), vertices=at) for one, at in zip(head.portraits, [None, *others], strict=True)],
            config=replace(model.texture, size_px=settings.texture_px),
            views=model.views(main),
        )
        if not _look_alike(model, head.codes, main):
            texture = recolor(texture, mesh, before=seen_field, after=field)
    with clock.stage("sliders"):
        targets, notes = bound.morph_targets(normals), model.notes(head.codes)
        if shown is not mesh:
            photo_target = photo_expression(mesh, shown, start=head.photo_expression)
            targets = first_of_its_group(photo_target, targets)
            notes = [*notes, expression_note(head.photo_expression)]
    with clock.stage("likeness"):
        is_face = not isinstance(model, TakesCropped)
        scores = _likeness(shown, texture, head.portraits) if is_face else {}
    meshes = [shown, *(_placed(surface, vertices) for vertices in others)]
    return _Finished(mesh, texture, targets, model.metres_per_unit(head.codes), scores, notes, meshes)


def _complete(
    finished: _Finished, record: HeadRecord, clock: StageClock, settings: Settings, scores: dict[str, float]
) -> Head:
    report: dict[str, object] = {
        "timings_s": {name: round(seconds, 3) for name, seconds in clock.timings_s.items()},
        "camera": record.camera | {"image_size": PORTRAIT_PX},
        "scores": scores,
        "mesh": mesh_quality(finished.mesh),
        "model": record.generator,
        "notes": finished.notes,
        "device": choose_device(settings.device).type,
        "seed": record.seed,
    }
    return Head(finished.mesh, finished.texture, finished.morph_targets, record, finished.metres_per_unit, report)


def _judge(photos: list[PersonPhoto], faces: list[Face], shown: list[Mesh], fit: Fit[CodesT]) -> list[Evidence]:
    """What each photo of a face and the finished head as it shows it say about the head's error."""
    return [
        gather_evidence(
            photos[number].portrait,
            photos[number].mask,
            shown[number],
            fit.cameras[number],
            landmark_mm=fit.scores[landmark_score(number)],
            score=float(face.score),
        )
        for number, face in enumerate(faces)
    ]


def _likeness(mesh: Mesh, texture: UInt8[np.ndarray, "t t 3"], portraits: list[KeptPortrait]) -> dict[str, float]:
    """To the main photo from three sides, to each other one from its own."""
    main, *others = portraits
    scores = likeness(mesh, texture, main.camera, main.pixels())
    for number, other in enumerate(others, start=2):
        scores[f"identity_photo_{number}"] = likeness_to_photo(mesh, texture, other.camera, other.pixels())
    return scores


def _placed(surface: Mesh, vertices: Float[np.ndarray, "v 3"], normals: Float[np.ndarray, "v 3"] | None = None) -> Mesh:
    """A canonical mesh in the world."""
    return Mesh(vertices, surface.faces, normals, surface.uv, surface.vertices)


def _look_alike(model: PortraitModel[CodesT], first: CodesT, second: CodesT) -> bool:
    """Whether two heads have the same colours."""
    return np.array_equal(model.to_arrays(first)["ws"], model.to_arrays(second)["ws"])


def _standing(targets: list[MorphTarget]) -> dict[str, float]:
    """Sliders that do not start at rest, with their values."""
    return {target.slider.name: target.start for target in targets if target.start}


def _describe(face: Face) -> dict[str, object]:
    return {"box": [round(float(value), 1) for value in face.box], "score": round(float(face.score), 3)}
