# SPDX-License-Identifier: Apache-2.0
"""How alike two pictures are; colours in [0, 1], pictures of one size."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation, binary_erosion, convolve, gaussian_filter
from skimage.metrics import structural_similarity

Picture = Float[np.ndarray, "h w 3"]
Place = Bool[np.ndarray, "h w"]

LUMA = np.array([0.299, 0.587, 0.114])
WINDOW_SIGMA, WINDOW_RADIUS = 1.5, 5
STABLE_LUMINANCE, STABLE_CONTRAST = 0.01**2, 0.03**2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
STABLE_GRADIENT = 170 / 255**2
PREWITT = np.array([[1.0, 0.0, -1.0]] * 3) / 3


def mse(first: Picture, second: Picture, where: Place | None = None) -> float:
    """Mean squared difference, over some pixels or over all; NaN over none."""
    squared = (first - second) ** 2
    chosen = squared if where is None else squared[where]
    return float(chosen.mean()) if chosen.size else float("nan")


def psnr(first: Picture, second: Picture, where: Place | None = None) -> float:
    """Peak signal-to-noise ratio, dB; infinite for equal pictures, NaN over no pixels."""
    error = mse(first, second, where)
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def ssim(first: Picture, second: Picture, where: Place | None = None) -> float:
    """Structural similarity, 1 for equal pictures; mean over windows around some pixels or over all, NaN over none.

    Source:
        Wang et al. 2004, with its Gaussian window; mean over channels.
    """
    mean, by_pixel = structural_similarity(
        first, second, data_range=1.0, channel_axis=2, gaussian_weights=True, sigma=WINDOW_SIGMA,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    if where is None:
        return float(mean)
    return float(by_pixel[where].mean()) if where.any() else float("nan")


def ms_ssim(first: Picture, second: Picture) -> float:
    """Structural similarity over up to five scales, 1 for equal pictures; scales smaller than the window are left out.

    Source:
        Wang, Simoncelli and Bovik 2003, Multi-scale structural similarity; the weights add up to 1.
    """
    smallest = 2 * WINDOW_RADIUS + 1
    count = sum(min(first.shape[:2]) >> scale >= smallest for scale in range(len(SCALE_WEIGHTS)))
    weights = np.array(SCALE_WEIGHTS[:count]) / sum(SCALE_WEIGHTS[:count])
    product = 1.0
    for scale, weight in enumerate(weights):
        luminance, contrast = _similarities(first, second)
        share = luminance * contrast if scale == count - 1 else contrast
        product *= max(float(share.mean()), 0.0) ** weight
        first, second = _halved(first), _halved(second)
    return product


def cut_out(picture: Picture, where: Place) -> Float[np.ndarray, "k l 3"]:
    """A region alone: its bounding box, with mid grey around it; at least one pixel."""
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    alone = np.where(where[..., None], picture, 0.5)
    return alone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def gmsd(first: Picture, second: Picture) -> float:
    """Gradient magnitude similarity deviation of the luma: 0 for equal pictures and for a mere shift of brightness.

    Source:
        Xue et al. 2014, Gradient magnitude similarity deviation.
    """
    one, other = (_gradient(_halved(picture) @ LUMA) for picture in (first, second))
    similarity = (2 * one * other + STABLE_GRADIENT) / (one**2 + other**2 + STABLE_GRADIENT)
    return float(similarity.std())


def outline(inside: Place, width_px: int) -> Place:
    """Pixels at most so far from the border of a region."""
    return binary_dilation(inside, iterations=width_px) & ~binary_erosion(inside, iterations=width_px, border_value=1)


def _similarities(first: Picture, second: Picture) -> tuple[np.ndarray, np.ndarray]:
    """Of luminance, and of contrast and structure; without the border that the window does not fill."""

    def smooth(values: np.ndarray) -> np.ndarray:
        blurred = gaussian_filter(values, (WINDOW_SIGMA, WINDOW_SIGMA, 0), radius=(WINDOW_RADIUS, WINDOW_RADIUS, 0))
        return blurred[WINDOW_RADIUS:-WINDOW_RADIUS, WINDOW_RADIUS:-WINDOW_RADIUS]

    mean, other_mean = smooth(first), smooth(second)
    variance, other_variance = smooth(first**2) - mean**2, smooth(second**2) - other_mean**2
    covariance = smooth(first * second) - mean * other_mean
    luminance = (2 * mean * other_mean + STABLE_LUMINANCE) / (mean**2 + other_mean**2 + STABLE_LUMINANCE)
    contrast = (2 * covariance + STABLE_CONTRAST) / (variance + other_variance + STABLE_CONTRAST)
    return luminance, contrast


def _halved(picture: np.ndarray) -> np.ndarray:
    """Means of blocks of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    return picture[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).mean(axis=(1, 3))


def _gradient(luma: np.ndarray) -> np.ndarray:
    return np.hypot(convolve(luma, PREWITT, mode="nearest"), convolve(luma, PREWITT.T, mode="nearest"))
