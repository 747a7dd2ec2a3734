# SPDX-License-Identifier: Apache-2.0
"""Runs the photo networks' operation lists in torch."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.errors import ModelError
from backend.folders import model_path
from backend.models import read_weights
from backend.tflite import Graph, Operation


class PhotoNetwork(nn.Module):
    """A network given as a list of operations; differentiable, any batch size.

    Args:
        graph_text: What ``graph_to_text`` wrote.
        weights: Constant tensors by their number as text.
    """

    def __init__(self, graph_text: str, weights: dict[str, Tensor]) -> None:
        super().__init__()
        graph = json.loads(graph_text)
        self.operations = [Operation(**operation) for operation in graph["operations"]]
        self.input: int = graph["input"]
        self.outputs: list[int] = graph["outputs"]
        self.constants = [int(number) for number in weights]
        for number, weight in weights.items():
            self.register_buffer(f"weight_{number}", weight.float())

    def forward(self, image: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The network's outputs in the file's order."""
        values: dict[int, Tensor] = {number: getattr(self, f"weight_{number}") for number in self.constants}
        values[self.input] = image
        for operation in self.operations:
            inputs = [values[number] for number in operation.inputs]
            values[operation.output] = run_operation(operation, *inputs)
        return [values[number] for number in self.outputs]

    def subsets(self) -> list[list[int]]:
        """Landmark numbers that the mesh network's attention branches refine: lips, right eye, left eye."""
        matrices = [operation for operation in self.operations if operation.kind == "landmarks_to_matrix"]
        return [operation.options["subset_idxs"] for operation in matrices]


def load_network(name: str) -> PhotoNetwork:
    """A downloaded photo network; read once per process.

    Raises:
        ModelError: Its file is missing, damaged or holds something else.
    """
    return _load_network(model_path(name))


@lru_cache(maxsize=8)
def _load_network(path: Path) -> PhotoNetwork:
    weights, metadata = read_weights(path)
    if "graph" not in metadata:
        raise ModelError(f"{path} is not a photo network. Run scripts/fetch_photo_models.py again.")
    return PhotoNetwork(metadata["graph"], weights).eval().requires_grad_(False)


def graph_to_text(graph: Graph) -> str:
    """The graph without its weights, as JSON."""
    operations = [vars(operation) for operation in graph.operations]
    return json.dumps({"operations": operations, "input": graph.input, "outputs": graph.outputs})


def run_operation(operation: Operation, *inputs: Tensor) -> Tensor:
    """One step of a network."""
    return _RUN[operation.kind](operation, *inputs)


def _pad_same(image: Tensor, size: int, stride: int) -> Tensor:
    """Zero border that makes the output ceil(input / stride), the odd pixel at the right and bottom."""
    amounts: list[int] = []
    for length in (image.shape[3], image.shape[2]):
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        amounts += [total // 2, total - total // 2]
    return functional.pad(image, amounts)


def _convolve(operation: Operation, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    stride = operation.options["stride"]
    if operation.options["same"]:
        image = _pad_same(image, weight.shape[2], stride)
    groups = image.shape[1] if operation.kind == "convolve_depthwise" else 1
    return functional.conv2d(image, weight, bias, stride=stride, groups=groups)


def _convolve_transposed(operation: Operation, image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.conv_transpose2d(image, weight, bias, stride=operation.options["stride"])


def _max_pool(operation: Operation, image: Tensor) -> Tensor:
    return functional.max_pool2d(image, operation.options["size"], operation.options["stride"])


def _average_pool(operation: Operation, image: Tensor) -> Tensor:
    return functional.avg_pool2d(image, operation.options["size"], operation.options["stride"])


def _reshape(operation: Operation, values: Tensor) -> Tensor:
    """The file counts channels last, so that order holds before and after."""
    channels_last = values.permute(0, 2, 3, 1) if values.ndim == 4 else values
    reshaped = channels_last.reshape(len(values), *operation.options["shape"])
    return reshaped.permute(0, 3, 1, 2) if reshaped.ndim == 4 else reshaped


def _resize_bilinear(operation: Operation, image: Tensor) -> Tensor:
    return functional.interpolate(image, size=operation.options["size"], mode="bilinear", align_corners=False)


def _landmarks_to_matrix(operation: Operation, landmarks: Tensor) -> Tensor:
    """Affine map from an attention branch's grid to the feature grid: an upright box around some landmarks."""
    options = operation.options
    axis = landmarks[:, options["right_rotation_idx"], :2] - landmarks[:, options["left_rotation_idx"], :2]
    along = functional.normalize(axis, dim=1)
    across = torch.stack([-along[:, 1], along[:, 0]], dim=1)
    box_axes = torch.stack([along, across], dim=2)
    upright = landmarks[:, options["subset_idxs"], :2] @ box_axes
    low, high = upright.amin(1), upright.amax(1)
    centre = (box_axes @ ((low + high) / 2)[:, :, None])[:, :, 0]
    grid = torch.tensor([options["output_width"], options["output_height"]]).to(landmarks)
    enlargement = torch.tensor([options["scale_x"], options["scale_y"]]).to(landmarks)
    linear = box_axes * (enlargement * (high - low) / grid)[:, None, :]
    matrix = torch.eye(4).to(landmarks).repeat(len(landmarks), 1, 1)
    matrix[:, :2, :2] = linear
    matrix[:, :2, 3] = centre - linear @ (grid / 2)
    return matrix


def _warp_tensor(operation: Operation, features: Tensor, matrix: Tensor) -> Tensor:
    """Features sampled at an affine grid; zero where a sample lies beyond the outermost pixel centres."""
    rows, columns = operation.options["output_height"], operation.options["output_width"]
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    grid = torch.stack([x, y], dim=-1).reshape(1, -1, 2).to(features)
    places = grid @ matrix[:, :2, :2].transpose(1, 2) + matrix[:, None, :2, 3]
    size = torch.tensor([features.shape[3], features.shape[2]]).to(features)
    is_inside = ((places >= 0.5) & (places <= size - 0.5)).all(-1).reshape(-1, 1, rows, columns)
    normalized = (2 * places / size - 1).reshape(-1, rows, columns, 2)
    sampled = functional.grid_sample(features, normalized, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled * is_inside


def _transform_landmarks(_: Operation, landmarks: Tensor, matrix: Tensor) -> Tensor:
    return landmarks[..., :2] @ matrix[:, :2, :2].transpose(1, 2) + matrix[:, None, :2, 3]


_RUN: dict[str, Callable[..., Tensor]] = {
    "add": lambda _, left, right: left + right,
    "average_pool": _average_pool,
    "concatenate": lambda operation, *parts: torch.cat(parts, operation.options["axis"]),
    "convolve": _convolve,
    "convolve_depthwise": _convolve,
    "convolve_transposed": _convolve_transposed,
    "hard_swish": lambda _, values: functional.hardswish(values),
    "landmarks_to_matrix": _landmarks_to_matrix,
    "max_pool": _max_pool,
    "multiply": lambda _, left, right: left * right,
    "pad": lambda operation, values: functional.pad(values, operation.options["amounts"]),
    "prelu": lambda _, values, slope: functional.prelu(values, slope),
    "relu": lambda _, values: functional.relu(values),
    "reshape": _reshape,
    "resize_bilinear": _resize_bilinear,
    "sigmoid": lambda _, values: torch.sigmoid(values),
    "slice": lambda _, values: values,
    "transform_landmarks": _transform_landmarks,
    "warp_tensor": _warp_tensor,
}
