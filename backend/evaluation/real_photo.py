# SPDX-License-Identifier: Apache-2.0
"""One real photo: no truth is known but the photo itself, so the finished head is held against that."""

import numpy as np
from PIL import Image

from backend.evaluation.made import (
    MadeHead,
    describe,
    front_camera,
    identity_distance,
    landmark_percent,
    portrait_camera,
    portrait_of,
)
from backend.evaluation.mesh_report import mesh_report
from backend.evaluation.scores import mean_of
from backend.evaluation.single_photo import VIEW_PX, Compared, Scores
from backend.head import Head, in_photo
from backend.likeness import turned

TURNS_DEG = (0, -30, 30, -60, 60)
IDENTITY_PX = 384


def compare_with_photo(head: Head) -> Compared:
    """Everything that is measured of one head.

    ``identity_±n`` turns the photo's camera, ``front_±n`` stands before the face; the sheet's first column is the
    photo and the head through the photo's camera.
    """
    head = in_photo(head)
    made, portrait, camera = MadeHead(head.mesh, head.texture), portrait_of(head), portrait_camera(head)
    photo = describe(portrait)
    scores: Scores = {}
    for turn in TURNS_DEG:
        picture = made.view(turned(camera, turn), IDENTITY_PX)
        scores[f"identity_{turn:+d}"] = identity_distance(photo, describe(picture))
    fronts = {yaw: front_camera(head.metres_per_unit, yaw) for yaw in (*TURNS_DEG, 180)}
    for yaw in (0, -30, 30):
        scores[f"front_{yaw:+d}"] = identity_distance(photo, describe(made.view(fronts[yaw], IDENTITY_PX)))
    for kind, turns in (("identity", (30, 60)), ("front", (30,))):
        for turn in turns:
            scores[f"{kind}_{turn}"] = mean_of([scores[f"{kind}_{-turn:+d}"], scores[f"{kind}_{turn:+d}"]])
        scores[f"{kind}_0"] = scores.pop(f"{kind}_+0")
    scores["landmark_percent"] = landmark_percent(head)
    scores |= mesh_report(head.mesh, head.texture)
    shown = np.asarray(Image.fromarray(portrait).resize((VIEW_PX, VIEW_PX), Image.Resampling.LANCZOS))
    first = [shown, *(made.view(front, VIEW_PX) for front in fronts.values())]
    seen = [made.view(camera, VIEW_PX), *(made.clay(front, VIEW_PX) for front in fronts.values())]
    return Compared(scores, [first, seen])
