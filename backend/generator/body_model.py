# SPDX-License-Identifier: Apache-2.0
"""A body as linear blend skinning of a shaped template: the layout of SMPL, whose files users bring along.

Written from the paper alone; neither SMPL's data nor its code is part of Protome.

Source:
    Loper et al. 2015, SMPL: A skinned multi-person linear model, ACM Transactions on Graphics 34(6), equations 1 to 10.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from backend.errors import ModelError

TENSORS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
# Bodies whose joints 12 and 15 are neck and head: SMPL, and its extensions with hands (SMPL+H) and a face (SMPL-X).
JOINTS = {24: "SMPL", 52: "SMPL+H", 55: "SMPL-X"}
NECK, HEAD = 12, 15

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class PosedBody:
    """A body in a pose.

    Args:
        vertices: Metres.
        joints: Metres.
        transforms: What each joint does to points of the body at rest, as homogeneous matrices.
    """

    vertices: Float[Tensor, "v 3"]
    joints: Float[Tensor, "k 3"]
    transforms: Float[Tensor, "k 4 4"]


@dataclass(frozen=True)
class BodyModel:
    """A body model.

    Args:
        template: Vertices of the mean body at rest, metres.
        shapes: How far each shape parameter moves them.
        corrections: How far each entry of the joints' rotations, minus the identity, moves them; the root has none.
        joint_regressor: Joints as weighted sums of vertices.
        weights: Share of each joint in what moves a vertex.
        parents: Joint above each joint; -1 for the root, which is the first.
        faces: Triangles.
    """

    template: Float[Tensor, "v 3"]
    shapes: Float[Tensor, "v 3 s"]
    corrections: Float[Tensor, "v 3 c"]
    joint_regressor: Float[Tensor, "k v"]
    weights: Float[Tensor, "v k"]
    parents: tuple[int, ...]
    faces: Int[Tensor, "f 3"]

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor]) -> "BodyModel":
        """From a body model file's tensors, by their published names, in double precision.

        Raises:
            ModelError: A triangle or a joint refers to nothing.
        """
        check_links(tensors)
        template, shapes, corrections, regressor, weights = (tensors[name].double() for name in TENSORS[:5])
        parents = tuple(tensors["kintree_table"][0].tolist())
        return BodyModel(template, shapes, corrections, regressor, weights, parents, tensors["f"].long())

    def shaped(self, betas: Float[Tensor, "s"] | None = None) -> Float[Tensor, "v 3"]:
        """The body at rest (equation 8).

        Args:
            betas: Of the shape space, in standard deviations; the mean body when omitted.
        """
        return self.template if betas is None else self.template + self.shapes @ betas

    def joints(self, shaped: Float[Tensor, "v 3"]) -> Float[Tensor, "k 3"]:
        """The joints of a body at rest (equation 10)."""
        return self.joint_regressor @ shaped

    def posed(self, pose: Float[Tensor, "k 3"], betas: Float[Tensor, "s"] | None = None) -> PosedBody:
        """The body in a pose (equations 2 to 10).

        Args:
            pose: Axis and angle of each joint's rotation relative to the joint above it, radians.
            betas: As `shaped` takes them.
        """
        shaped = self.shaped(betas)
        joints = self.joints(shaped)
        rotations = exponential(pose)
        differences = rotations[1:] - torch.eye(3, dtype=pose.dtype)
        corrected = shaped + self.corrections @ differences.flatten()
        placed = self._chained(rotations, joints)
        transforms = placed @ _shift(-joints)
        vertices = carried(corrected, self.weights, transforms)
        return PosedBody(vertices, placed[:, :3, 3], transforms)

    def _chained(self, rotations: Float[Tensor, "k 3 3"], joints: Float[Tensor, "k 3"]) -> Float[Tensor, "k 4 4"]:
        """From each joint's own frame to the world (equation 4)."""
        placed: list[Tensor] = []
        for joint, parent in enumerate(self.parents):
            local = torch.eye(4, dtype=joints.dtype)
            local[:3, :3] = rotations[joint]
            local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
            placed.append(placed[parent] @ local if joint else local)
        return torch.stack(placed)


def exponential(axis_angle: Float[Tensor, "*k 3"]) -> Float[Tensor, "*k 3 3"]:
    """Rotations from axes times angles, radians: Rodrigues' formula (equation 1)."""
    angle = axis_angle.norm(dim=-1)[..., None, None]
    x, y, z = (axis_angle / angle[..., 0].clamp(min=1e-12)).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.eye(3, dtype=axis_angle.dtype) + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)


def carried(
    points: Float[Tensor, "n 3"], weights: Float[Tensor, "n k"], transforms: Float[Tensor, "k 4 4"]
) -> Float[Tensor, "n 3"]:
    """Points of the body at rest after its joints have moved (equation 2).

    Args:
        points: At rest.
        weights: Share of each joint in what moves a point.
        transforms: Of the joints.
    """
    blended = torch.einsum("nk,kij->nij", weights, transforms[:, :3])
    return (blended[..., :3] @ points[..., None]).squeeze(-1) + blended[..., 3]


def _shift(by: Float[Tensor, "k 3"]) -> Float[Tensor, "k 4 4"]:
    moved = torch.eye(4, dtype=by.dtype).repeat(len(by), 1, 1)
    moved[:, :3, 3] = by
    return moved


def expected_shapes(found: Shapes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors that a body model of these numbers of vertices, joints and shapes has.

    Raises:
        ModelError: It has other joints than a whole body.
    """
    vertices, joints = found["weights"]
    if joints not in JOINTS:
        known = ", ".join(f"{name} with {count}" for count, name in JOINTS.items())
        raise ModelError(
            f"This is a model of {joints} joints, not one of the whole body: Protome knows {known}. Choose another "
            "file.",
            code="checkpoint_network",
        )
    return {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, found["shapedirs"][2]),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
        "J_regressor": (joints, vertices),
        "weights": (vertices, joints),
        "kintree_table": (2, joints),
        "f": (found["f"][0], 3),
    }


def check_links(tensors: Mapping[str, Tensor]) -> None:
    """Every triangle has vertices, and every joint but the root hangs on an earlier one.

    Raises:
        ModelError: One does not.
    """
    faces, parents = tensors["f"], tensors["kintree_table"][0].tolist()
    if len(faces) == 0 or faces.min() < 0 or faces.max() >= len(tensors["v_template"]):
        raise ModelError("The body model's triangles have corners that do not exist.", code="checkpoint_values")
    if parents[0] != -1 or any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise ModelError("The body model's joints do not hang on each other as a tree.", code="checkpoint_values")
