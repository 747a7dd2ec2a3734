# SPDX-License-Identifier: Apache-2.0
"""First reconstructions of the starter's samples, as the global stage and the fit to the landmarks give them.

The local stage learns on them: what one view shows and the reconstruction does not, judged in that view and in another.

Source:
    METHODS section 1.2, stage 2.1 (pairs of views of one synthetic identity).
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.camera import Camera, rays
from backend.generator.starter import HeadPlanes
from backend.inversion.lifting import code_prior
from backend.inversion.parametric import Lens, fit_template
from backend.starter import Starter
from backend.starter_encoder import CodeEncoder
from backend.training.e3dge_examples import example, view_camera
from backend.training.e3dge_head import ShapedHead, ShapeSpace, is_met
from backend.training.e3dge_samples import Sample
from backend.training.kept import content_mark, kept, kept_name

Pair = dict[str, np.ndarray]
NOVEL_EVERY_PX = 2  # Of another view's pixels along each side.
PAIRS_PER_FILE = 12


def make_pairs(
    starter: Starter, space: ShapeSpace, encoder: CodeEncoder, samples: list[Sample], *, seed: int, folder: Path
) -> list[Pair]:
    """One pair per sample: its first view reconstructed, and where the other views see the reconstruction.

    Args:
        starter: Its weights stay.
        space: What shape and expression do to points.
        encoder: The trained global stage.
        samples: With at least two views.
        seed: Of light and degradation.
        folder: Where pairs are kept.

    Returns:
        Per pair ``z`` as told; ``shape``, ``expression`` and camera as fitted; per pixel of the first view ``photo``,
        ``clean`` (uint8 sRGB), ``points`` (canonical, metres), ``depth`` (less the head's) and ``shown``; of the other
        views' pixels ``novel_points`` and ``novel_color``.

    Raises:
        ModelError: A file is damaged.
        OutputError: A file cannot be written.
    """
    mark = content_mark(encoder.answer.weight.detach().cpu().numpy())
    pairs: list[Pair] = []
    for first in range(0, len(samples), PAIRS_PER_FILE):
        chosen = range(first, min(first + PAIRS_PER_FILE, len(samples)))
        marks = [content_mark(samples[number]["depth"]) for number in chosen]
        name = kept_name("pairs", modules=("e3dge_pairs", "e3dge_examples"), numbers=(mark, seed, marks, chosen))
        pairs += kept(folder / name, partial(_made, starter, space, encoder, samples, seed, chosen))
    return pairs


def _made(
    starter: Starter, space: ShapeSpace, encoder: CodeEncoder, samples: list[Sample], seed: int, numbers: range
) -> list[Pair]:
    return [
        _pair(starter, space, encoder, samples[number], np.random.default_rng([seed, number])) for number in numbers
    ]


def _pair(starter: Starter, space: ShapeSpace, encoder: CodeEncoder, sample: Sample, rng: np.random.Generator) -> Pair:
    shown = example(sample, 0, rng, size_px=encoder.config.size_px)
    codes, camera = reconstruct(starter, encoder, shown, view_camera(sample, 0))
    device = space.moves.device
    placed = {name: torch.from_numpy(row[None]).float().to(device) for name, row in codes.items()}
    with torch.no_grad():
        head = ShapedHead.of(starter.generator, space, **placed)
    depth, points = _met(head, camera, len(shown["photo"]))
    met = np.isfinite(depth)
    novel = [_novel(head, sample, view, camera) for view in range(1, len(sample["depth"]))]
    return {
        **codes,
        "cam2world": camera.cam2world,
        "photo": shown["photo"],
        "clean": sample["color"][0],
        "points": np.where(met[..., None], points, 0).astype(np.float32),
        "depth": np.where(met, depth - np.linalg.norm(camera.position), 0).astype(np.float32),
        "shown": (met & np.isfinite(sample["depth"][0])).astype(np.float32),
        "novel_points": np.concatenate([points for points, _ in novel]).astype(np.float32),
        "novel_color": np.concatenate([color for _, color in novel]),
    }


def reconstruct(
    starter: Starter, encoder: CodeEncoder, shown: dict[str, np.ndarray], camera: Camera
) -> tuple[dict[str, np.ndarray], Camera]:
    """A photo's codes and camera: appearance as told, shape and expression as the landmarks agree with what was told.

    Args:
        starter: Its template is fitted.
        encoder: The global stage.
        shown: From ``e3dge_examples.example``.
        camera: Only its lens is looked at.
    """
    device = encoder.center.device
    picture, landmarks = (torch.from_numpy(shown[name])[None].float().to(device) for name in ("picture", "landmarks"))
    with torch.no_grad():
        encoding = encoder(picture, landmarks)
    lens = Lens(float(camera.intrinsics[0, 0]), (float(camera.intrinsics[0, 2]), float(camera.intrinsics[1, 2])))
    fit = fit_template(starter.template, shown["landmarks"].astype(np.float64), lens, code_prior(encoding))
    low, high = starter.candidates.amin(0), starter.candidates.amax(0)
    z = torch.maximum(torch.minimum(encoding.means["z"][0].cpu(), high), low).numpy()
    return {"z": z, "shape": fit.shape, "expression": fit.expression}, fit.camera


def first_colors(
    starter: Starter, head: HeadPlanes, points: Float[Tensor, "b s s 3"]
) -> dict[str, Float[Tensor, "b 3 s s"]]:
    """The reconstruction's colours at canonical points, and at their mirror images."""
    flat, size = points.flatten(1, 2), points.shape[1]
    across = flat * flat.new_tensor([-1.0, 1.0, 1.0])
    colors = starter.generator.decode(head, torch.cat([flat, across], dim=1))[1]
    first, mirrored = colors.transpose(1, 2).unflatten(2, (2, size, size)).unbind(2)
    return {"first": first, "mirrored": mirrored}


def _met(head: ShapedHead, camera: Camera, size_px: int) -> tuple[np.ndarray, Float[np.ndarray, "s s 3"]]:
    """Depth of the first surface, infinite beside it, and the canonical points of it."""
    origin, directions = (torch.from_numpy(part).to(head.lattice) for part in rays(camera, size_px))
    depth = head.picture_depth(origin, directions)
    far = torch.where(is_met(depth), depth, 0)
    with torch.no_grad():
        points = head.to_canonical((origin + far[..., None] * directions).flatten(0, 1)[None])[0]
    return depth.cpu().numpy(), points.unflatten(0, (size_px, size_px)).cpu().numpy()


def _novel(head: ShapedHead, sample: Sample, view: int, first: Camera) -> tuple[Float[np.ndarray, "n 3"], np.ndarray]:
    """Where another view sees the reconstruction, and what it shows there.

    The two cameras stand to each other as they do before the sample.
    """
    true, other = view_camera(sample, 0), view_camera(sample, view)
    camera = Camera(first.cam2world @ np.linalg.inv(true.cam2world) @ other.cam2world, other.intrinsics)
    half = slice(None, None, NOVEL_EVERY_PX)
    origin, directions = rays(camera, len(sample["depth"][view]))
    start, along = torch.from_numpy(origin).to(head.lattice), torch.from_numpy(directions[half, half]).to(head.lattice)
    depth = head.picture_depth(start, along)
    both = is_met(depth).cpu().numpy() & np.isfinite(sample["depth"][view][half, half])
    chosen = torch.from_numpy(both).to(depth.device)
    with torch.no_grad():
        points = head.to_canonical((start + depth[chosen][:, None] * along[chosen])[None])[0]
    return points.cpu().numpy(), sample["color"][view][half, half][both]
