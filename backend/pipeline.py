# SPDX-License-Identifier: Apache-2.0
"""The straight line: a photo becomes a textured head with sliders."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from backend import estimate
from backend.alignment import Portrait
from backend.camera import Camera
from backend.config import Settings
from backend.head import Head, HeadRecord, MorphTarget
from backend.landmarks import Face, detect_face_among
from backend.likeness import likeness
from backend.mask import segment_head
from backend.mesh import Mesh, mesh_quality, vertex_normals
from backend.photo import Photo, read_photo
from backend.portrait_model.contract import PORTRAIT_PX, CodesT, PortraitModel, TakesCropped
from backend.portrait_model.kept import KeptHead, from_record, to_record_codes
from backend.portrait_model.opening import open_model, open_model_of
from backend.portrait_record import keep_portrait
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
# Before and after a run, see jobs.Pipeline.
forecast, learn = estimate.forecast, estimate.learn


def reconstruct(photo_path: Path, settings: Settings, report: Report) -> Head:
    """Invert a photo.

    Args:
        photo_path: The picture.
        settings: The choices.
        report: Hears of the progress; may raise ``Cancelled``.

    Raises:
        PhotoError: The picture cannot be read or shows no usable face.
        ModelError: Weights are missing or damaged.
        SettingsError: A setting cannot work here.
    """
    clock = StageClock(EXPECTED_S, report)
    with clock.stage("model"):
        model = open_model(settings)
    with clock.stage("photo"):
        photo = read_photo(photo_path)
    with clock.stage("face"):
        portrait, mask, faces = _find(model, photo, settings)
    with clock.stage("fit"):
        fit = model.fit(photo, portrait, mask)
    with clock.stage("refine"):
        codes, losses = model.invert(fit, portrait, mask, settings=settings, step=clock.advance)
    kept = KeptHead(codes, codes, keep_portrait(photo, portrait, mask, fit.camera))
    finished = _finish(model, kept, settings, clock)
    record = HeadRecord(
        generator=model.identity,
        codes=to_record_codes(model, kept),
        camera=_to_lists(fit.camera),
        portrait_jpeg=kept.portrait.jpeg,
        photo_sha256=photo.sha256,
        seed=settings.seed,
        settings=asdict(settings),
        sliders=[target.slider for target in finished.morph_targets],
    )
    head = _complete(finished, record, clock, settings, {**finished.scores, **fit.scores, **losses})
    head.report["faces"] = [_describe(one) for one in faces]
    return head


def resynthesize(record: HeadRecord, slider_values: dict[str, float], settings: Settings, report: Report) -> Head:
    """Move a head's codes by slider values and make its mesh anew.

    Args:
        record: Of a head that ``reconstruct`` made.
        slider_values: Slider name to value; the result's sliders stand at 0.
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
        kept = replace(before, codes=model.move(before.codes, slider_values))
    finished = _finish(model, kept, settings, clock)
    values = record.slider_values
    new_record = replace(
        record,
        codes=to_record_codes(model, kept),
        settings=record.settings | asdict(settings) | {"model": record.settings.get("model", settings.model)},
        sliders=[target.slider for target in finished.morph_targets],
        slider_values=values | {name: values.get(name, 0.0) + value for name, value in slider_values.items()},
    )
    return _complete(finished, new_record, clock, settings, finished.scores)


def _find(
    model: PortraitModel[CodesT], photo: Photo, settings: Settings
) -> tuple[Portrait, Float[Tensor, "1 1 s s"], list[Face]]:
    """The portrait, its matte and all faces of the photo; a model of something else takes the photo as it is."""
    if isinstance(model, TakesCropped):
        return *model.crop(photo), []
    face, faces = detect_face_among(photo, settings.face or 0)
    portrait = model.align(photo, face)
    return portrait, segment_head(portrait), faces


@dataclass(frozen=True)
class _Finished:
    """Mesh, texture and sliders, before the record is written."""

    mesh: Mesh
    texture: UInt8[np.ndarray, "t t 3"]
    morph_targets: list[MorphTarget]
    metres_per_unit: float
    scores: dict[str, float]
    notes: list[str]


def _finish(model: PortraitModel[CodesT], head: KeptHead[CodesT], settings: Settings, clock: StageClock) -> _Finished:
    """From codes to mesh, texture and sliders."""
    field, seen_field = model.field(head.codes), model.field(head.seen)
    with clock.stage("surface"):
        surface = extract_surface(field, replace(model.surface, faces=settings.faces))
    with clock.stage("unwrap"):
        surface = unwrap_uv(surface)
        bound = model.bind(surface, head.codes)
        vertices = bound.vertices(head.codes)
        normals = _seamless_normals(vertices, surface)
        mesh = Mesh(vertices, surface.faces, normals, surface.uv, surface.vertices)
    with clock.stage("texture"):
        texture = bake_texture(
            mesh,
            bound.vertices(head.seen),
            seen_field,
            photos=[head.portrait.view()],
            config=replace(model.texture, size_px=settings.texture_px),
            views=model.views(head.seen),
        )
        if head.codes is not head.seen:
            texture = recolor(texture, mesh, before=seen_field, after=field)
    with clock.stage("sliders"):
        targets = bound.morph_targets(normals)
    with clock.stage("likeness"):
        is_face = not isinstance(model, TakesCropped)
        scores = likeness(mesh, texture, head.portrait.camera, head.portrait.pixels()) if is_face else {}
    return _Finished(mesh, texture, targets, model.metres_per_unit(head.codes), scores, model.notes(head.codes))


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
        "device": settings.device,
        "seed": record.seed,
    }
    return Head(finished.mesh, finished.texture, finished.morph_targets, record, finished.metres_per_unit, report)


def _seamless_normals(vertices: Float[np.ndarray, "v 3"], surface: Mesh) -> Float[np.ndarray, "v 3"]:
    """Vertex normals, the same for all copies that UV seams make of a canonical vertex."""
    _, first, place = np.unique(surface.vertices, axis=0, return_index=True, return_inverse=True)
    place = place.reshape(-1)
    return vertex_normals(vertices[first], place[surface.faces])[place]


def _to_lists(camera: Camera) -> dict[str, list[list[float]]]:
    return {"cam2world": camera.cam2world.tolist(), "intrinsics": camera.intrinsics.tolist()}


def _describe(face: Face) -> dict[str, object]:
    return {"box": [round(float(value), 1) for value in face.box], "score": round(float(face.score), 3)}
