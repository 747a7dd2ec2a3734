# SPDX-License-Identifier: Apache-2.0
"""Pictures of a finished head from all sides."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from backend.camera import Camera, look_at_camera
from backend.head import PHOTO_EXPRESSION, Head, in_photo
from backend.mesh import Mesh
from backend.output import write_output
from backend.raycast import render_mesh

CELL_PX = 384
CAPTION_PX = 26
COLUMNS = 4
FOCAL = 2.5  # Image widths; about a 90 mm lens on a full-frame camera.
FILL = 0.94  # Share of the picture's side that the head takes at most.
STEP_DEG = 15  # Between the yaws that the framing camera is checked at.
BACKGROUND = (92, 94, 98)
CLAY = (186, 180, 172)
INK = (236, 236, 236)
VIEWS = {"front": 0.0, "30° left": 30.0, "60° left": 60.0, "30° right": -30.0, "60° right": -60.0, "back": 180.0}
REST_VIEWS = {"front": 0.0, "30° left": 30.0, "60° left": 60.0}
AT_REST = "face at rest"


def write_preview(path: Path, head: Head, photo_crop: UInt8[np.ndarray, "s s 3"] | None) -> None:
    """One PNG: the photo, the head from the front, from both sides and from behind, and its bare shape.

    It has the photo's expression there. A head that can be without it is shown so in one more row.

    Args:
        path: Replaced as a whole or not at all.
        head: Sides in the captions are the person's own.
        photo_crop: The portrait; left out when None.

    Raises:
        OutputError: The file cannot be written.
    """
    cells = {} if photo_crop is None else {"photo": photo_crop}
    cells |= _views(in_photo(head), VIEWS)
    if any(target.slider.name == PHOTO_EXPRESSION for target in head.morph_targets):
        cells |= {f"{caption}, {AT_REST}": picture for caption, picture in _views(head, REST_VIEWS).items()}
    file = io.BytesIO()
    _sheet(cells).save(file, format="PNG")
    write_output(path, file.getvalue())


def _views(head: Head, views: dict[str, float]) -> dict[str, UInt8[np.ndarray, "s s 3"]]:
    """Pictures by caption, the bare shape last."""
    pictures = turntable_images(head, list(views.values()), CELL_PX, shaded=True)
    clay = np.full((1, 1, 3), CLAY, dtype=np.uint8)
    camera = framing_camera(head.mesh, 30.0)
    shape = render_mesh(head.mesh, clay, camera, CELL_PX, background=BACKGROUND, shaded=True)
    return dict(zip(views, pictures, strict=True)) | {"shape": shape}


def turntable_images(
    head: Head, yaws_deg: list[float], size_px: int, *, shaded: bool = False
) -> list[UInt8[np.ndarray, "s s 3"]]:
    """The head from level cameras around it, all at the distance that shows it whole.

    Args:
        head: Upright.
        yaws_deg: 0 is the front; positive shows the person's left side.
        size_px: Side of each picture.
        shaded: Light from the camera instead of the plain texture.
    """
    return [
        render_mesh(
            head.mesh,
            head.texture,
            framing_camera(head.mesh, yaw_deg),
            size_px,
            background=BACKGROUND,
            shaded=shaded,
        )
        for yaw_deg in yaws_deg
    ]


def framing_camera(mesh: Mesh, yaw_deg: float) -> Camera:
    """A level camera at the smallest distance that shows the whole mesh at every yaw."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    middle: Float[np.ndarray, "3"] = ((low + high) / 2).astype(np.float64)
    from_middle = mesh.vertices - middle
    distance = 0.0
    for turn in np.radians(np.arange(0, 360, STEP_DEG)):
        across = np.cos(turn) * from_middle[:, 0] - np.sin(turn) * from_middle[:, 2]
        towards = np.sin(turn) * from_middle[:, 0] + np.cos(turn) * from_middle[:, 2]
        aside = np.maximum(np.abs(across), np.abs(from_middle[:, 1]))
        distance = max(distance, float((towards + 2 * FOCAL / FILL * aside).max()))
    return look_at_camera(yaw_deg=yaw_deg, pitch_deg=0.0, distance=distance, focal=FOCAL, target=middle)


def _sheet(cells: dict[str, UInt8[np.ndarray, "_ _ 3"]]) -> Image.Image:
    """Pictures in rows with their captions below."""
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL_PX, rows * (CELL_PX + CAPTION_PX)), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for number, (caption, pixels) in enumerate(cells.items()):
        row, column = divmod(number, COLUMNS)
        left, top = column * CELL_PX, row * (CELL_PX + CAPTION_PX)
        picture = Image.fromarray(pixels)
        if picture.size != (CELL_PX, CELL_PX):
            picture = picture.resize((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
        sheet.paste(picture, (left, top))
        place = (left + CELL_PX / 2, top + CELL_PX + CAPTION_PX / 2)
        draw.text(place, caption, fill=INK, font=font, anchor="mm")
    return sheet
