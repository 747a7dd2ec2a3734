# SPDX-License-Identifier: Apache-2.0
"""Where each published family was trained to find the head: how photos are cropped, and where the head then lies.

Source:
    EG3D.md sections 2.12, 4.5 and 5 for the crops, cameras and meshed cubes. Lengths on the head are ours: the
    published reference faces are licensed, so the starter's mean face takes their place.
"""

from dataclasses import dataclass, replace

from backend.config import BustCut, SurfaceConfig
from backend.generator.config import Family


@dataclass(frozen=True)
class Placement:
    """How a family frames heads.

    Args:
        crop_m: Side of the portrait at the head, metres.
        crop_middle_m: The point in the portrait's middle, from the middle between the eyes, metres.
        is_upright: Whether the portrait is turned until the eyes are level.
        metres_per_unit: Where the head itself does not tell.
        head: Middle of the head, generator units; the origin of our canonical space.
        meshed_share: Edge of the cube that is meshed, over the edge of the planes' cube.
        surface: How its fields are meshed.
        symmetric_above: Heights in sides of the meshed cube between which symmetry begins.
        yaws_deg: Where the generator's own pictures are taken from, the most telling first.
        pitch_deg: How far above.
        is_symmetric: Whether one side tells of the other.
    """

    crop_m: float
    crop_middle_m: tuple[float, float, float]
    is_upright: bool
    metres_per_unit: float
    head: tuple[float, float, float]
    meshed_share: float
    surface: SurfaceConfig
    symmetric_above: tuple[float, float]
    yaws_deg: tuple[float, ...]
    pitch_deg: float = 0.0
    is_symmetric: bool = True


# The outer voxels hold what the planes show beyond the pictures; the published tools cut them off, 30 of 256.
_EG3D_SHARE = 1 - 60 / 256
_TO_THE_SIDES = (0.0, 30.0, -30.0, 60.0, -60.0, 90.0, -90.0)
_ALL_AROUND = (*_TO_THE_SIDES, 180.0, 135.0, -135.0)
_FRAMED = BustCut(half_width=0.43, half_depth=0.46, depth_below=0.41, corner=0.25)
_NO_SHIFT = (0.0, 0.0, 0.0)

PLACEMENTS: dict[Family, Placement] = {
    # Its crop is made by `published_alignment.align_eg3d`: 700 / 300 of a decimetre wide. The camera then moves from
    # 2.86 to 2.7 units, nearer to the face, so that a unit is a little more than the reference face's 10 / 0.27 cm.
    "eg3d": Placement(
        crop_m=0.2333,
        crop_middle_m=(0.0, -0.0293, -0.0067),
        is_upright=False,
        metres_per_unit=0.392,
        head=_NO_SHIFT,
        meshed_share=_EG3D_SHARE,
        surface=SurfaceConfig(bust_cut=_FRAMED),
        symmetric_above=(-0.39, -0.28),
        yaws_deg=_TO_THE_SIDES,
    ),
    # Measured on the two published example crops, whose middle lies 7 mm below the eyes; a unit is what its cameras
    # see of them, the eyes taken to lie 0.18 before the origin.
    "panohead": Placement(
        crop_m=0.272,
        crop_middle_m=(0.0, -0.007, 0.0),
        is_upright=True,
        metres_per_unit=0.46,
        head=_NO_SHIFT,
        meshed_share=_EG3D_SHARE,
        surface=SurfaceConfig(bust_cut=_FRAMED),
        symmetric_above=(-0.39, -0.3),
        yaws_deg=_ALL_AROUND,
    ),
    # A body's own metres, the neck joint at the origin; the cameras look at a point 65 mm above it.
    "portrait3d": Placement(
        crop_m=0.4147,
        crop_middle_m=(0.0, -0.0951, -0.10),
        is_upright=False,
        metres_per_unit=1.0,
        head=(0.0, 0.13, 0.0),
        meshed_share=0.8,
        surface=SurfaceConfig(
            bust_cut=BustCut(half_width=0.28, half_depth=0.28, depth_below=0.33, corner=0.15), resolution=193
        ),
        symmetric_above=(-0.15, -0.11),
        yaws_deg=_ALL_AROUND,
    ),
}

# What EG3D's other generators make; their pictures come cropped. A unit is what their cameras see: a cat's head with
# its ears, 13 cm, fills nine tenths of a picture; a car of 4.5 m has nine tenths of its cube's diagonal.
SUBJECT_PLACEMENTS: dict[str, Placement] = {
    "cat": replace(
        PLACEMENTS["eg3d"],
        crop_m=0.146,
        crop_middle_m=(0.0, 0.0, 0.0),
        metres_per_unit=0.23,
        yaws_deg=(0.0, 30.0, -30.0, 60.0, -60.0),
    ),
    # Nothing says that a car looks along z, so that it is not taken to be symmetric.
    "car": Placement(
        crop_m=6.3,
        crop_middle_m=(0.0, 0.0, 0.0),
        is_upright=True,
        metres_per_unit=3.8,
        head=_NO_SHIFT,
        meshed_share=1.0,
        surface=SurfaceConfig(bust_cut=None),
        symmetric_above=(1.0, 2.0),
        yaws_deg=tuple(45.0 * number for number in range(8)),
        pitch_deg=20.0,
        is_symmetric=False,
    ),
}
