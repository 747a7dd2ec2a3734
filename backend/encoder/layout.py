# SPDX-License-Identifier: Apache-2.0
"""Names and shapes of tensors: what a weight file holds, and what a network needs."""

from collections.abc import Mapping

from torch import Tensor, nn

from backend.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]


def shapes_in(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes of a file's tensors."""
    return {key: tuple(tensor.shape) for key, tensor in weights.items()}


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's tensors."""
    return shapes_in(network.state_dict())


def below(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """The part under a prefix, without it."""
    return {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}


def shape_at(shapes: Shapes, key: str, rank: int) -> tuple[int, ...]:
    """The shape of a tensor that tells a size.

    Raises:
        ModelError: It is missing or has another rank.
    """
    found = shapes.get(key)
    if found is None or len(found) != rank:
        what = "is missing" if found is None else f"has the shape {list(found)}"
        raise ModelError(f"This is no published encoder: {key} {what}. Choose another file.", code="checkpoint_network")
    return found


def load_frozen(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Gives a network that was made on the meta device its weights, to be used but not to be trained.

    The weights are taken as they are, not copied.

    Raises:
        ModelError: A tensor is missing, too many or of another shape.
    """
    expected, found = shapes_of(network), shapes_in(weights)
    # The counters of batch norms matter to training only; torch makes those that are missing.
    wrong = {key for key in expected if expected[key] != found.get(key) and not key.endswith("num_batches_tracked")}
    wrong |= found.keys() - expected.keys()
    if wrong:
        named = ", ".join(f"{key} {_difference(expected.get(key), found.get(key))}" for key in sorted(wrong)[:5])
        raise ModelError(
            f"{len(wrong)} tensors do not fit this encoder: {named}. Choose another file.", code="checkpoint_shapes"
        )
    network.load_state_dict(weights, assign=True)
    network.eval().requires_grad_(False)


def _difference(expected: tuple[int, ...] | None, found: tuple[int, ...] | None) -> str:
    if found is None:
        return "is missing"
    return "is unknown" if expected is None else f"is {list(found)} and should be {list(expected)}"
