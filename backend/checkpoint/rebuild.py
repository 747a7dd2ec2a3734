# SPDX-License-Identifier: Apache-2.0
"""The short list of what a checkpoint may name, and how our own code rebuilds it as plain data.

The names are those that files of the published networks hold (EG3D.md section 3.3); none of them is ever imported.
"""

from dataclasses import replace
from typing import Any

from backend.checkpoint.legacy_stream import read_legacy_stream
from backend.checkpoint.pickle_machine import Allowed, Budget, Rebuild
from backend.checkpoint.plain import Global, LazyTensor, NumpyArray, NumpyType, PickledObject, Storage, as_bytes
from backend.checkpoint.source import ByteSource, in_memory, refuse

# Classes that the published networks keep by reference; their objects become records.
BY_REFERENCE = frozenset(
    {
        "training.triplane.OSGDecoder",
        "training.volumetric_rendering.renderer.ImportanceRenderer",
        "training.volumetric_rendering.ray_marcher.MipRayMarcher2",
        "training.volumetric_rendering.ray_sampler.RaySampler",
        "training.smpl_triplane.OSGDecoder",
        "training.smpl_triplane.GPoseBranch",
        "training.aligned_smpl.AlignedSMPL",
        "training.dual_discriminator.PoseShapeAwareDualDiscriminator",
        "training.dual_discriminator.DPoseBranch",
        "smplx.body_models.SMPL",
        "smplx.vertex_joint_selector.VertexJointSelector",
        "torch.nn.modules.container.Sequential",
        "torch.nn.modules.activation.Softplus",
    }
)
# Classes of the arrays in body model files; their objects become records too.
OF_BODIES = frozenset({"chumpy.ch.Ch"}) | {
    f"scipy.sparse.{module}{kind}.{kind}_matrix" for module in ("", "_") for kind in ("csc", "csr", "coo")
}
OBJECT = frozenset({"__builtin__.object", "builtins.object"})
PERSISTENT_FIELDS = {"type", "version", "module_src", "class_name", "state"}


def allowed_in_network_pickles(budget: Budget) -> Allowed:
    """What an official ``.pkl`` may name: persistent objects, a few classes, and tensors with streams inside."""

    def storage_stream(data: Any) -> Storage:
        value = read_legacy_stream(as_bytes(data).again(), Allowed({}), budget)
        return value if isinstance(value, Storage) else refuse("a tensor's values in it are no plain values.")

    calls = {
        "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
        "torch.storage._load_from_bytes": storage_stream,
    }
    return Allowed({**PLAIN.calls, **calls}, classes=BY_REFERENCE, values=PLAIN.values)


def allowed_in_pickles(budget: Budget) -> Allowed:
    """What a ``.pkl`` may name: an official one of a network, or a body model that Python 2 wrote."""
    network = allowed_in_network_pickles(budget)
    calls = {"copy_reg._reconstructor": _old_object, "copyreg._reconstructor": _old_object}
    return replace(
        network,
        calls={**network.calls, **calls},
        classes=network.classes | OF_BODIES,
        values=network.values | OBJECT,
        is_old=True,
    )


def _old_object(kind: Any, base: Any, state: Any) -> PickledObject:
    """An object as protocols before 2 write it; its attributes follow."""
    names = [str(one) if isinstance(one, Global) else "" for one in (kind, base)]
    if names[0] not in OF_BODIES or names[1] not in OBJECT or state is not None:
        refuse("it makes an object in a way that no published body model needs.")
    return PickledObject(kind.name)


def _persistent_object(meta: Any) -> PickledObject:
    """An object of a class whose source text is in the file; the text is dropped unread."""
    if type(meta) is not dict or not meta.keys() <= PERSISTENT_FIELDS or meta.get("type") != "class":
        refuse("it holds an object that no published network has.")
    if type(meta.get("class_name")) is not str or type(meta.get("state")) is not dict:
        refuse("it holds an object without a class or without attributes.")
    return PickledObject(meta["class_name"], meta["state"])


def _dictionary() -> dict[Any, Any]:
    return {}


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> LazyTensor:
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(stride) is not tuple:
        refuse("it holds a tensor without a storage or a shape.")
    return LazyTensor(storage, offset, shape, stride)


def _parameter(tensor: Any, *_: Any) -> LazyTensor:
    return tensor if isinstance(tensor, LazyTensor) else refuse("a parameter in it is no tensor.")


def _set(items: Any) -> set[Any]:
    if type(items) is not list or any(type(item) not in (str, int) for item in items):
        refuse("a set in it holds other things than texts and numbers.")
    return set(items)


def _encoded(text: Any, encoding: Any) -> ByteSource:
    """Bytes as pickles of protocol 2 write them."""
    if type(text) is not str or encoding != "latin1":
        refuse("it holds bytes in an unusual way.")
    return in_memory(text.encode("latin1"))


def _numpy_type(code: Any, *_: Any) -> NumpyType:
    return NumpyType(code) if type(code) is str else refuse("it holds a numpy type without a name.")


def _numpy_scalar(element: Any, data: Any) -> float | int | bool:
    if not isinstance(element, NumpyType):
        refuse("it holds a numpy number without a type.")
    storage = Storage(element.dtype, 1)
    storage.place(as_bytes(data))
    number: float | int | bool = LazyTensor(storage, 0, (), ()).read().item()
    return number


def _numpy_array(*_: Any) -> NumpyArray:
    return NumpyArray()


_ARRAYS: dict[str, Rebuild] = {"scalar": _numpy_scalar, "_reconstruct": _numpy_array}
# What any checkpoint may name: containers, tensors and numpy's numbers.
PLAIN = Allowed(
    {
        "collections.OrderedDict": _dictionary,
        "dnnlib.util.EasyDict": _dictionary,
        "builtins.set": _set,
        "__builtin__.set": _set,
        "_codecs.encode": _encoded,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "numpy.dtype": _numpy_type,
        **{f"numpy.core.multiarray.{name}": rebuild for name, rebuild in _ARRAYS.items()},
        **{f"numpy._core.multiarray.{name}": rebuild for name, rebuild in _ARRAYS.items()},
    },
    values=frozenset({"torch.float32", "numpy.ndarray"}),
)
