# SPDX-License-Identifier: Apache-2.0
"""A pipeline that needs no torch and no weights: its head is a tetrahedron.

The photo's name chooses what happens: ``noface``, ``broken``, ``memory`` and ``exit`` end badly, ``slow`` takes
30 seconds, ``noisy`` prints to stdout from Python and from below Python. Anything else succeeds if it exists.
"""

import hashlib
import io
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image

from backend.config import Settings
from backend.errors import PhotoError
from backend.head import Head, HeadRecord, MorphTarget, Slider, photos_sha256
from backend.mesh import Mesh, vertex_normals
from backend.progress import Progress, Report
from backend.timing import Forecast

SLIDERS = [Slider("Jaw width", "Shape", -2.0, 2.0), Slider("Smile", "Expression", 0.0, 1.0)]


def reconstruct(photo_paths: Sequence[Path], settings: Settings, report: Report, /) -> Head:
    report(Progress("photo", 0.0, None))
    for photo_path in photo_paths:
        if not photo_path.is_file():
            raise PhotoError(f"There is no file {photo_path.name}.", code="photo_missing")
        if "noface" in photo_path.stem:
            raise PhotoError(f"{photo_path.name} shows no face. Choose another photo.", code="no_face")
    name = photo_paths[0].stem
    if "broken" in name:
        raise ZeroDivisionError("a mistake in the pipeline")
    if "memory" in name:
        raise MemoryError
    if "exit" in name:
        os._exit(9)
    if "noisy" in name:
        make_noise()
    steps = 600 if "slow" in name else 2
    for step in range(steps):
        report(Progress("refine", 0.1 + 0.8 * step / steps, 0.05 * (steps - step)))
        time.sleep(0.05 if "slow" in name else 0)
    report(Progress("mesh", 0.9, 0.0))
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in photo_paths]
    return make_head(settings, photo_sha256=photos_sha256(hashes))


def resynthesize(record: HeadRecord, slider_values: dict[str, float], settings: Settings, report: Report, /) -> Head:
    report(Progress("mesh", 0.5, 0.1))
    head = make_head(settings, photo_sha256=record.photo_sha256)
    values = {name: record.slider_values.get(name, 0) + value for name, value in slider_values.items()}
    return replace(head, record=replace(head.record, slider_values=values))


def forecast(settings: Settings, photos: int, /) -> Forecast:
    return Forecast(12.3, "2 CPU threads")


def learn(settings: Settings, timings_s: Mapping[str, float], photos: int, /) -> None:
    """The fake has no stages to learn from."""


def make_noise() -> None:
    print('{"event": "done", "id": 1, "result": {}}', flush=True)
    os.write(1, b"from below Python\n")
    print(input.__name__, sys.stdin.read(1))
    warnings.warn("a library's warning", UserWarning, stacklevel=1)


def make_head(settings: Settings, *, photo_sha256: str) -> Head:
    vertices = np.array([[0, 0.1, 0], [0.1, -0.1, 0.1], [-0.1, -0.1, 0.1], [0, -0.1, -0.1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    uv = np.array([[0.5, 0], [1, 1], [0, 1], [0.5, 0.5]], np.float32)
    offsets = np.zeros((4, 3), np.float32)
    offsets[1, 0] = 0.01
    portrait = io.BytesIO()
    Image.new("RGB", (64, 64), (180, 140, 120)).save(portrait, "JPEG")
    record = HeadRecord(
        generator={"id": "fake", "family": "fake", "licence": "Apache-2.0", "commercial_use": "yes"},
        codes={"ws": np.zeros((2, 4), np.float32)},
        camera={"cam2world": np.eye(4).tolist(), "intrinsics": np.eye(3).tolist()},
        portrait_jpeg=portrait.getvalue(),
        photo_sha256=photo_sha256,
        seed=settings.seed,
        settings=asdict(settings),
        sliders=SLIDERS,
    )
    return Head(
        mesh=Mesh(vertices, faces, vertex_normals(vertices, faces), uv, vertices),
        texture=np.full((16, 16, 3), 128, np.uint8),
        morph_targets=[MorphTarget(slider, offsets) for slider in SLIDERS],
        record=record,
        metres_per_unit=1.0,
        report={
            "timings_s": {"photo": 0.1},
            "peak_rss_mb": 1.0,
            "scores": {"identity": 0.4, "bad": float("nan")},
            "seed": settings.seed,
        },
    )
