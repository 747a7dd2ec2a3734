# SPDX-License-Identifier: Apache-2.0
"""Identity features of a face recognition network, for users who own its weights.

The published encoders and inversions use them as a loss. A network that was a loss is never a score: likeness is
measured with another one (`backend/likeness.py`), which no stage optimises.

Source:
    Deng et al. 2019, ArcFace, arXiv:1801.07698; crop of the face as in Richardson et al. 2021, arXiv:2008.00951.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.encoder.body import STAGE_ENDS, UNITS, Body, read_body_config
from backend.encoder.config import ArcFaceConfig
from backend.encoder.layout import Shapes, load_frozen, shape_at, shapes_in, shapes_of

LAST = "output_layer.3.weight"  # Which no other published network has.
CROP_PX = 256  # Side of the aligned portrait ...
CROP_ROWS = slice(35, 223)  # ... and the face in it.
CROP_COLUMNS = slice(32, 220)


class ArcFace(Body):
    """Aligned portraits to identity vectors.

    Args:
        config: Sizes.
    """

    def __init__(self, config: ArcFaceConfig) -> None:
        super().__init__(config.body)
        self.config = config
        width = config.body.widths[-1]
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(),  # Holds its place in the published numbering; off outside training.
            nn.Flatten(),
            nn.Linear(width * (config.side_px // 2 ** len(UNITS)) ** 2, config.features),
            nn.BatchNorm1d(config.features),
        )

    def forward(self, portrait: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b features"]:
        """Vectors of length 1; the scalar product of two is the cosine between them.

        Args:
            portrait: In [-1, 1], in the crop of FFHQ-type generators; a side of at least 256.
        """
        deepest = self.features_after(face_crop(portrait, self.config.side_px), STAGE_ENDS[-1:])[0]
        return functional.normalize(self.output_layer(deepest))


def face_crop(portrait: Float[Tensor, "b 3 s s"], side_px: int) -> Float[Tensor, "b 3 t t"]:
    """The face in an aligned portrait, as the published identity loss cuts it out."""
    portrait = functional.adaptive_avg_pool2d(portrait, CROP_PX)
    return functional.adaptive_avg_pool2d(portrait[:, :, CROP_ROWS, CROP_COLUMNS], side_px)


def identity_loss(first: Float[Tensor, "b features"], second: Float[Tensor, "b features"]) -> Float[Tensor, ""]:
    """1 minus the cosine between identity vectors, mean of the batch; 0 for the same person at best."""
    return 1 - (first * second).sum(1).mean()


def read_config(shapes: Shapes) -> ArcFaceConfig:
    """Sizes of a face recognition network from the names and shapes in its published file.

    Raises:
        ModelError: A tensor that tells a size is missing or has another rank.
    """
    body = read_body_config(shapes)
    features, inputs = shape_at(shapes, LAST, 2)
    return ArcFaceConfig(body, features, round((inputs / body.widths[-1]) ** 0.5) * 2 ** len(UNITS))


def expected_shapes(config: ArcFaceConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that a network of this configuration loads; no memory is used for them."""
    with torch.device("meta"):
        return shapes_of(ArcFace(config))


def load_arcface(weights: dict[str, Tensor]) -> ArcFace:
    """The network of published weights, frozen; the tensors are taken, not copied.

    Raises:
        ModelError: A tensor is missing, too many or of another shape.
    """
    with torch.device("meta"):
        network = ArcFace(read_config(shapes_in(weights)))
    load_frozen(network, weights)
    return network
