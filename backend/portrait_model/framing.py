# SPDX-License-Identifier: Apache-2.0
"""A photo as a published generator was trained to see photos: its crop and its camera, from the face's landmarks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from backend import face_mesh_points as points
from backend.alignment import Portrait, cut_portrait
from backend.camera import Camera, project
from backend.face_mesh import eye_roll_deg
from backend.generator.config import CameraConfig
from backend.inversion.parametric import IRIS_LANDMARKS, Lens, fit_template
from backend.landmarks import Face
from backend.photo import Photo
from backend.portrait_model.placement import Placement
from backend.pose import fit_camera, initial_focal, principal_point
from backend.resample import square_matrix
from backend.template import Template

FAR_FOCAL = 20.0  # Face heights; so far away perspective hardly matters, as in the published crops.


@dataclass(frozen=True)
class Framing:
    """How photos become a family's portraits.

    Args:
        placement: Where the family's heads lie.
        camera: The family's camera.
        template: The mean face, metres.
    """

    placement: Placement
    camera: CameraConfig
    template: Template

    def align(self, photo: Photo, face: Face, *, size_px: int) -> Portrait:
        """The family's square around a face; where it leaves the photo, the photo's border goes on."""
        used = slice(0, IRIS_LANDMARKS)
        world = self._world(np.zeros(len(self.template.shape)), np.zeros(len(self.template.expression)))
        unit_px = float(np.linalg.norm(face.landmarks[points.FOREHEAD_TOP] - face.landmarks[points.CHIN]))
        places = face.landmarks[used] / unit_px
        axis = (float(places[:, 0].mean()), float(places[:, 1].mean()))
        seen = fit_camera(world, places, focal=FAR_FOCAL, weights=self._weights(), principal_point=axis)
        middle, depth = project(seen, np.array([self.placement.crop_middle]))
        side_px = self.placement.crop_m / self.placement.metres_per_unit * FAR_FOCAL / float(depth[0]) * unit_px
        roll_deg = eye_roll_deg(face.landmarks) if self.placement.is_upright else 0.0
        return cut_portrait(
            photo,
            face,
            square_matrix(middle[0] * unit_px, side_px, roll_deg=roll_deg, size_px=size_px),
            size_px=size_px,
        )

    def fit(self, photo: Photo, portrait: Portrait) -> tuple[Camera, float]:
        """The portrait's camera with the family's lens and distance, in the generator's world.

        Returns:
            The camera, and the median distance between detected and fitted landmarks, metres.
        """
        places = portrait.landmarks / portrait.size_px
        fit = fit_template(
            self.template, places, Lens(initial_focal(photo, portrait), principal_point(photo, portrait))
        )
        world = self._world(fit.shape, fit.expression)
        camera = fit_camera(world, places[:IRIS_LANDMARKS], focal=self.camera.focal, weights=self._weights())
        return _at_distance(camera, self.camera.radius), fit.residual_m

    def _world(self, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"]) -> Float[np.ndarray, "n 3"]:
        """The template's landmarks in the generator's world."""
        used = slice(0, IRIS_LANDMARKS)
        corners = self.template.faces[self.template.landmark_faces[used]]
        vertices = self.template.vertices + self.template.offsets(shape, expression)
        places = np.einsum("nci,nc->ni", vertices[corners], self.template.landmark_weights[used])
        eyes = places[[points.RIGHT_EYE_OUTER, points.RIGHT_EYE_INNER, points.LEFT_EYE_OUTER, points.LEFT_EYE_INNER]]
        return self.placement.to_generator(places - eyes.mean(0))

    def _weights(self) -> Float[np.ndarray, "n"]:
        noise = self.template.landmark_noise[:IRIS_LANDMARKS]
        return (noise.min() / noise) ** 2


def _at_distance(camera: Camera, radius: float) -> Camera:
    """The camera moved straight to or from the origin; published labels have one distance only."""
    cam2world = camera.cam2world.copy()
    cam2world[:3, 3] *= radius / np.linalg.norm(camera.position)
    return Camera(cam2world, camera.intrinsics)
