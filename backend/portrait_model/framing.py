# SPDX-License-Identifier: Apache-2.0
"""A photo as a published generator was trained to see photos: its crop and its camera, from the face's landmarks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from backend import face_mesh_points as points
from backend.alignment import Portrait, cut_portrait
from backend.camera import Camera, project
from backend.face_mesh import eye_roll_deg
from backend.generator.config import CameraConfig, Family
from backend.inversion.parametric import IRIS_LANDMARKS, Lens, fit_template
from backend.landmarks import Face
from backend.photo import Photo
from backend.portrait_model.placement import PLACEMENTS
from backend.pose import fit_camera
from backend.published_alignment import EYE_CORNERS, align_eg3d, published_camera
from backend.resample import square_matrix
from backend.template import Template

FAR_FOCAL = 20.0  # Face heights; so far away perspective hardly matters, as in the published crops.


@dataclass(frozen=True)
class Framing:
    """How photos become a family's portraits.

    Args:
        family: Whose.
        camera: The family's camera.
        template: The mean face, metres.
    """

    family: Family
    camera: CameraConfig
    template: Template

    def align(self, photo: Photo, face: Face, *, size_px: int) -> Portrait:
        """The family's square around a face; where it leaves the photo, the photo's border goes on."""
        if self.family == "eg3d":
            return align_eg3d(photo, face)
        return cut_portrait(photo, face, self._square(face, size_px), size_px=size_px)

    def fit(self, portrait: Portrait) -> tuple[Camera, float]:
        """The portrait's camera with the family's lens and distance, in the generator's world.

        Returns:
            The camera, and the median distance between detected and fitted landmarks, metres.
        """
        fit = fit_template(self.template, portrait.landmarks / portrait.size_px, Lens(self.camera.focal))
        return published_camera(fit.camera, self.template, self.family, self.camera), fit.residual_m

    def _square(self, face: Face, size_px: int) -> Float[np.ndarray, "3 3"]:
        """From portrait pixels to photo pixels, by the mean face as a far camera sees it."""
        placement = PLACEMENTS[self.family]
        unit_px = float(np.linalg.norm(face.landmarks[points.FOREHEAD_TOP] - face.landmarks[points.CHIN]))
        places = face.landmarks[:IRIS_LANDMARKS] / unit_px
        axis = (float(places[:, 0].mean()), float(places[:, 1].mean()))
        noise = self.template.landmark_noise[:IRIS_LANDMARKS]
        weights = (noise.min() / noise) ** 2
        seen = fit_camera(self._mean_face_m(), places, focal=FAR_FOCAL, weights=weights, principal_point=axis)
        middle, depth = project(seen, np.array([placement.crop_middle_m]))
        side_px = placement.crop_m * FAR_FOCAL / float(depth[0]) * unit_px
        roll_deg = eye_roll_deg(face.landmarks) if placement.is_upright else 0.0
        return square_matrix(middle[0] * unit_px, side_px, roll_deg=roll_deg, size_px=size_px)

    def _mean_face_m(self) -> Float[np.ndarray, "n 3"]:
        """The mean face's landmarks, from the middle between its eyes, metres."""
        places = self.template.landmarks(self.template.vertices + self.template.neutral, slice(IRIS_LANDMARKS))
        return places - places[EYE_CORNERS].mean(0)
