# SPDX-License-Identifier: Apache-2.0
"""How alike two faces look to a recognition network; for scores only, never a loss."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from backend.errors import ModelError
from backend.folders import model_path
from backend.identity_network import CHIP_PX, IdentityNetwork
from backend.models import read_weights
from backend.resample import sample_square
from backend.threads import one_thread

SAME_PERSON = 0.6  # dlib's own threshold.
CHIP_PADDING = 0.25
# Left eye outer and inner corner, right eye outer and inner corner, nose base; in chip widths without padding.
# dlib 19, get_face_chip_details in image_transforms/interpolation.h.
CHIP_SHAPE = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
CHIP_LANDMARKS = [263, 362, 33, 133, 2]


def descriptor(pixels: UInt8[np.ndarray, "h w 3"], landmarks: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "128"]:
    """Descriptor of a face, mean of the photo's and its mirror image's.

    Args:
        pixels: Photo or rendering.
        landmarks: Of the face, in its pixels.

    Raises:
        ModelError: The recognition network is missing or damaged.
    """
    target = (CHIP_PADDING + CHIP_SHAPE) / (1 + 2 * CHIP_PADDING) * CHIP_PX
    chip_to_photo = fit_similarity(target, landmarks[CHIP_LANDMARKS].astype(np.float64))
    network = _load_network(model_path("face_identity"))
    with one_thread(), torch.no_grad():
        chip = (sample_square(pixels, chip_to_photo, CHIP_PX, extend=True) + 1) * 127.5
        return network(torch.cat([chip, chip.flip(3)])).mean(0).numpy()


def descriptor_distance(first: Float[np.ndarray, "128"], second: Float[np.ndarray, "128"]) -> float:
    """Euclidean; below about 0.25 as good as the same photo, above ``SAME_PERSON`` somebody else."""
    return float(np.linalg.norm(first - second))


def fit_similarity(source: Float[np.ndarray, "n 2"], target: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "3 3"]:
    """The turn, scale and shift, without reflection, that brings points nearest to their targets.

    Source:
        Umeyama 1991; in the plane it is one complex division.
    """
    source_centre, target_centre = source.mean(0), target.mean(0)
    start, end = ((points - centre) @ [1, 1j] for points, centre in ((source, source_centre), (target, target_centre)))
    factor = np.vdot(start, end) / np.vdot(start, start)
    matrix = np.eye(3)
    matrix[:2, :2] = [[factor.real, -factor.imag], [factor.imag, factor.real]]
    matrix[:2, 2] = target_centre - matrix[:2, :2] @ source_centre
    return matrix


@lru_cache(maxsize=2)
def _load_network(path: Path) -> IdentityNetwork:
    weights, _ = read_weights(path)
    network = IdentityNetwork()
    try:
        network.load_state_dict({name: weight.float() for name, weight in weights.items()})
    except RuntimeError as error:
        raise ModelError(f"{path} holds another network. Run scripts/fetch_photo_models.py again.") from error
    return network.eval().requires_grad_(False)
