# SPDX-License-Identifier: Apache-2.0
"""MakeHuman's rest mesh as the mean body, for the tests of training that need the assets in ../shared."""

from functools import cache
from pathlib import Path

import pytest

from backend.training.makehuman import MakeHuman, lower_arms
from backend.training.solid import LIPS_PARTED, BodySolid

ASSETS = Path(__file__).resolve().parents[2] / "shared" / "assets" / "makehuman"
ICT = ASSETS.parent / "ict_facekit" / "ict_facekit.npz"
needs_assets = pytest.mark.skipif(not ASSETS.is_dir(), reason="the MakeHuman assets are not in ../shared")


@cache
def makehuman():
    return MakeHuman(ASSETS)


@cache
def closed_base():
    """With closed lips and hanging arms, decimetres."""
    return lower_arms(makehuman().base.vertices, makehuman().arm_weights)


@cache
def parted_base():
    return closed_base() + LIPS_PARTED * makehuman().target("expression/units/caucasian/mouth-open")


@cache
def mean_solid():
    return BodySolid(makehuman(), parted_base())
