# SPDX-License-Identifier: Apache-2.0
"""The truth about a synthetic portrait besides its pixels: where landmarks are, and the codes of the person."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from backend.camera import Camera, project
from backend.template import Template, closest_barycentric
from backend.training.body_piece import BodyCanvas
from backend.training.portraits import PortraitScene

IN_FRONT_M = 0.004  # A landmark counts as seen if nothing solid lies further than this before it.


@dataclass(frozen=True)
class LandmarkAnchors:
    """The template's landmarks on the skin and eyeballs that portraits show.

    Args:
        face: Triangle of the canvas.
        weights: Barycentric weights there.
    """

    face: Int[np.ndarray, "m"]
    weights: Float[np.ndarray, "m 3"]

    def places(self, scene: PortraitScene) -> Float[np.ndarray, "m 3"]:
        """World positions on a person; with expression, gaze and pose.

        Raises:
            ValueError: A landmark lies under the person's clothes.
        """
        number = np.full(int(max(scene.body_face.max(), self.face.max())) + 1, -1)
        body = np.flatnonzero(scene.body_face >= 0)
        number[scene.body_face[body]] = body
        triangle = number[self.face]
        if (triangle < 0).any():
            raise ValueError("a landmark lies under the clothes")
        corners = scene.subject.vertices[scene.subject.faces[triangle]]
        return np.einsum("mk,mkc->mc", self.weights, corners)


def anchor_landmarks(template: Template, canvas: BodyCanvas) -> LandmarkAnchors:
    """Where the template's landmarks lie on the canvas: the nearest points of its surface on the mean head."""
    import igl

    points = template.landmarks(template.vertices)
    _, face, nearest = igl.point_mesh_squared_distance(
        np.ascontiguousarray(points), np.ascontiguousarray(canvas.canonical), np.ascontiguousarray(canvas.faces)
    )
    face = np.asarray(face, dtype=np.int64)
    return LandmarkAnchors(face, closest_barycentric(np.asarray(nearest), canvas.canonical[canvas.faces[face]]))


def project_landmarks(
    scene: PortraitScene, places: Float[np.ndarray, "m 3"], camera: Camera
) -> tuple[Float[np.ndarray, "m 2"], Bool[np.ndarray, "m"]]:
    """Image positions in image widths, and whether skin, hair or glasses leave each landmark in sight.

    Args:
        scene: The person.
        places: From ``LandmarkAnchors.places``.
        camera: Of the portrait.
    """
    image, _ = project(camera, places)
    towards = places - camera.position
    distance = np.linalg.norm(towards, axis=1)
    origin = np.broadcast_to(camera.position, places.shape)
    triangle, _, reached = scene.subject.caster.first_hit(origin, towards)
    # Thin hair and lenses are looked through, as in the picture.
    clear = np.flatnonzero((triangle >= 0) & (scene.subject.kind[triangle] > 1))
    _, _, behind = scene.subject.solid_caster.first_hit(origin[clear], towards[clear])
    reached[clear] = behind
    inside = ((image > 0) & (image < 1)).all(1)
    return image, inside & (reached > distance - IN_FRONT_M)
