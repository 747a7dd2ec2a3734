# SPDX-License-Identifier: Apache-2.0
"""The straight line: a photo becomes a textured head with sliders."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, UInt8

from backend.alignment import align_portrait
from backend.camera import Camera
from backend.config import Settings, SurfaceConfig, TextureConfig
from backend.device import choose_device
from backend.directions import Codes, move
from backend.errors import RecordError, SettingsError
from backend.folders import starter_path
from backend.generator.starter import StarterField
from backend.head import Head, HeadRecord, MorphTarget
from backend.inversion.invert import invert_portrait
from backend.inversion.parametric import Lens, fit_template
from backend.landmarks import Face, detect_face_among
from backend.likeness import likeness
from backend.mask import segment_head
from backend.mesh import Mesh, mesh_quality, vertex_normals
from backend.morph import morph_targets
from backend.photo import read_photo
from backend.portrait_record import MASK_PX, KeptPortrait, keep_portrait
from backend.pose import initial_focal, principal_point
from backend.progress import Report
from backend.recolor import recolor
from backend.starter import Starter, load_starter
from backend.surface import extract_surface
from backend.texture import bake_texture
from backend.timing import StageClock
from backend.unwrap import unwrap_uv

# Seconds on two CPU cores; only their ratios matter, and only for the progress bar.
EXPECTED_S = {
    "model": 1.0, "photo": 0.5, "face": 2.0, "fit": 1.5, "refine": 30.0, "surface": 6.0, "unwrap": 1.5,
    "texture": 9.0, "sliders": 4.0, "likeness": 3.0,
}  # fmt: skip
METRES_PER_UNIT = 1.0
PORTRAIT_PX = 512


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
        starter = _load(settings)
    with clock.stage("photo"):
        photo = read_photo(photo_path)
    with clock.stage("face"):
        face, faces = detect_face_among(photo, settings.face or 0)
        portrait = align_portrait(photo, face, size_px=PORTRAIT_PX)
        mask = segment_head(portrait)
    with clock.stage("fit"):
        lens = Lens(initial_focal(photo, portrait), principal_point(photo, portrait))
        fit = fit_template(starter.template, portrait.landmarks / portrait.size_px, lens)
    with clock.stage("refine"):
        codes, losses = invert_portrait(
            starter, fit, portrait, mask, quality=settings.quality, seed=settings.seed, step=clock.advance
        )
    kept = keep_portrait(photo, portrait, mask, fit.camera)
    finished = _finish(starter, codes, kept, settings, clock, seen=codes)
    record = HeadRecord(
        generator=starter.identity,
        codes=_to_arrays(codes, codes, kept),
        camera=_to_lists(fit.camera),
        portrait_jpeg=kept.jpeg,
        photo_sha256=photo.sha256,
        seed=settings.seed,
        settings=asdict(settings),
        sliders=[target.slider for target in finished.morph_targets],
    )
    scores = {**finished.scores, "landmark_mm": round(1000 * fit.residual_m, 3), **losses}
    head = _complete(finished, record, clock, settings, scores)
    head.report["faces"] = [_describe(one) for one in faces]
    return head


def resynthesize(record: HeadRecord, slider_values: dict[str, float], settings: Settings, report: Report) -> Head:
    """Move a head's codes by slider values and make its mesh anew.

    Args:
        record: Of a head that ``reconstruct`` made.
        slider_values: Slider name to value; the result's sliders stand at 0.
        settings: Faces, texture size and device are used.
        report: Hears of the progress; may raise ``Cancelled``.

    Raises:
        RecordError: The record is of another generator.
        SettingsError: A slider is unknown.
    """
    skipped = ("photo", "face", "fit", "refine")
    clock = StageClock({name: time for name, time in EXPECTED_S.items() if name not in skipped}, report)
    with clock.stage("model"):
        starter = _load(settings)
        codes, seen, kept = _from_record(record, starter)
        moved = move(codes, starter.directions, slider_values)
    finished = _finish(starter, moved, kept, settings, clock, seen=seen)
    before = record.slider_values
    new_record = replace(
        record,
        codes=_to_arrays(moved, seen, kept),
        settings=record.settings | asdict(settings),
        sliders=[target.slider for target in finished.morph_targets],
        slider_values=before | {name: before.get(name, 0.0) + value for name, value in slider_values.items()},
    )
    return _complete(finished, new_record, clock, settings, finished.scores)


@dataclass(frozen=True)
class _Finished:
    """Mesh, texture and sliders, before the record is written."""

    mesh: Mesh
    texture: UInt8[np.ndarray, "t t 3"]
    morph_targets: list[MorphTarget]
    scores: dict[str, float]


def _finish(
    starter: Starter, codes: Codes, kept: KeptPortrait, settings: Settings, clock: StageClock, *, seen: Codes
) -> _Finished:
    """From codes to mesh, texture and sliders; ``seen`` are the codes of the head as it was in the photo."""
    field, seen_field = _field(starter, codes), _field(starter, seen)
    with clock.stage("surface"):
        surface = extract_surface(field, SurfaceConfig(faces=settings.faces))
    with clock.stage("unwrap"):
        surface = unwrap_uv(surface)
        binding = starter.template.binding(surface.vertices.astype(np.float64))
        vertices, photo_vertices = (_placed(surface, starter, one, binding) for one in (codes, seen))
        normals = _seamless_normals(vertices, surface)
        mesh = Mesh(vertices, surface.faces, normals, surface.uv, surface.vertices)
    with clock.stage("texture"):
        config = TextureConfig(size_px=settings.texture_px)
        texture = bake_texture(mesh, photo_vertices, seen_field, photos=[kept.view()], config=config)
        if not np.array_equal(codes.ws, seen.ws):
            texture = recolor(texture, mesh, before=seen_field, after=field)
    with clock.stage("sliders"):
        targets = morph_targets(starter, codes, surface, normals=normals, binding=binding)
    with clock.stage("likeness"):
        scores = likeness(mesh, texture, kept.camera, kept.pixels())
    return _Finished(mesh, texture, targets, scores)


def _complete(
    finished: _Finished, record: HeadRecord, clock: StageClock, settings: Settings, scores: dict[str, float]
) -> Head:
    report: dict[str, object] = {
        "timings_s": {name: round(seconds, 3) for name, seconds in clock.timings_s.items()},
        "camera": record.camera | {"image_size": PORTRAIT_PX},
        "scores": scores,
        "mesh": mesh_quality(finished.mesh),
        "model": record.generator,
        "device": settings.device,
        "seed": record.seed,
    }
    return Head(finished.mesh, finished.texture, finished.morph_targets, record, METRES_PER_UNIT, report)


def _load(settings: Settings) -> Starter:
    if settings.model != "starter":
        raise SettingsError(f"There is no model “{settings.model}”; there is: starter.", code="unknown_model")
    starter = load_starter(starter_path())
    starter.generator.to(choose_device(settings.device))
    return starter


def _field(starter: Starter, codes: Codes) -> StarterField:
    device = starter.generator.mean_planes.device
    ws = torch.from_numpy(codes.ws.astype(np.float32))[None].to(device)
    offset = None
    if codes.plane_offset is not None:
        offset = torch.from_numpy(codes.plane_offset.astype(np.float32))[None].to(device)
    with torch.no_grad():
        return starter.generator.field(ws, offset)


def _placed(surface: Mesh, starter: Starter, codes: Codes, binding: sp.csr_matrix) -> Float[np.ndarray, "v 3"]:
    """The vertices of a canonical mesh as the codes shape it, in the world."""
    offsets = starter.template.offsets(codes.shape, codes.expression)
    return (surface.vertices + binding @ offsets).astype(np.float32)


def _seamless_normals(vertices: Float[np.ndarray, "v 3"], surface: Mesh) -> Float[np.ndarray, "v 3"]:
    """Vertex normals, the same for all copies that UV seams make of a canonical vertex."""
    _, first, place = np.unique(surface.vertices, axis=0, return_index=True, return_inverse=True)
    place = place.reshape(-1)
    return vertex_normals(vertices[first], place[surface.faces])[place]


def _to_arrays(codes: Codes, seen: Codes, kept: KeptPortrait) -> dict[str, np.ndarray]:
    arrays = {
        "ws": codes.ws, "shape": codes.shape, "expression": codes.expression,
        "photo_ws": seen.ws, "photo_shape": seen.shape, "photo_expression": seen.expression, "photo_mask": kept.mask,
    }  # fmt: skip
    return arrays if codes.plane_offset is None else arrays | {"plane_offset": codes.plane_offset}


def _from_record(record: HeadRecord, starter: Starter) -> tuple[Codes, Codes, KeptPortrait]:
    """Codes now, codes of the photo, and the portrait."""
    if record.generator.get("id") != starter.identity["id"]:
        raise RecordError(
            f"This head was made with the model “{record.generator.get('id')}”, but “{starter.identity['id']}” is "
            "installed. Create the head again from its photo.",
            code="other_model",
        )
    arrays, offset = record.codes, record.codes.get("plane_offset")
    for name, shape in _shapes(starter).items():
        if name in arrays and arrays[name].shape != shape:
            raise RecordError(
                f"The head's record was made with another version of the model: its {name} has another size. Create "
                "the head again from its photo.",
                code="record_damaged",
            )
    try:
        codes = Codes(arrays["ws"], arrays["shape"], arrays["expression"], offset)
        seen = Codes(arrays["photo_ws"], arrays["photo_shape"], arrays["photo_expression"], offset)
        camera = Camera(np.array(record.camera["cam2world"]), np.array(record.camera["intrinsics"]))
        return codes, seen, KeptPortrait(record.portrait_jpeg, arrays["photo_mask"], camera)
    except KeyError as error:
        raise RecordError(
            f"The head's record lacks {error}. Create the head again from its photo.", code="record_damaged"
        ) from error


def _shapes(starter: Starter) -> dict[str, tuple[int, ...]]:
    """Of the arrays in a record."""
    config, template = starter.generator.config, starter.template
    codes: dict[str, tuple[int, ...]] = {
        "ws": (starter.generator.num_ws, config.w_dim),
        "shape": (len(template.shape),),
        "expression": (len(template.expression),),
    }
    of_photo = {f"photo_{name}": shape for name, shape in codes.items()}
    planes = (3, config.plane_channels, config.plane_resolution, config.plane_resolution)
    return {**codes, **of_photo, "photo_mask": (MASK_PX, MASK_PX), "plane_offset": planes}


def _to_lists(camera: Camera) -> dict[str, list[list[float]]]:
    return {"cam2world": camera.cam2world.tolist(), "intrinsics": camera.intrinsics.tolist()}


def _describe(face: Face) -> dict[str, object]:
    return {"box": [round(float(value), 1) for value in face.box], "score": round(float(face.score), 3)}
