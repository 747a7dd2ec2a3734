# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as the published tools write them, made without their code: for the tests of reading them."""

import json
import math
import pickle
import sys
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from backend.checkpoint.plain import LazyTensor, Storage, contiguous_stride
from backend.encoder.config import BodyConfig, PlaneEncoderConfig, StyleEncoderConfig, TriPlaneNetConfig
from backend.encoder.triplanenet import expected_shapes as encoder_shapes
from backend.errors import ModelError, ProtomeError
from backend.folders import models_folder
from backend.generator.config import GeneratorConfig, SuperResolutionConfig
from backend.generator.plane_generator import PlaneGenerator

# What a persistent object carries; running it would end the test run.
MODULE_SOURCE = "raise SystemExit('the module source was executed')\n"
FACES = {
    "c_scale": 1.0,
    "c_gen_conditioning_zero": False,
    "clamp_mode": "softplus",
    "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC",
    "superresolution_noise_mode": "none",
    "decoder_lr_mul": 1.0,
    "sr_antialias": True,
    "depth_resolution": 12,
    "depth_resolution_importance": 8,
    "ray_start": 2.2,
    "ray_end": 3.25,
    "box_warp": 1.1,
    "avg_camera_radius": 2.6,
    "avg_camera_pivot": [0, 0, 0.1],
}
INIT = {
    "z_dim": 12,
    "c_dim": 25,
    "w_dim": 16,
    "img_resolution": 32,
    "img_channels": 3,
    "mapping_kwargs": {"num_layers": 2},
    "channel_base": 64,
    "channel_max": 8,
    "num_fp16_res": 0,
    "sr_num_fp16_res": 4,
    "conv_clamp": None,
}
SMALL = GeneratorConfig(
    z_dim=12,
    w_dim=16,
    channel_base=64,
    channel_max=8,
    plane_resolution=8,
    plane_channels=4,
    decoder_hidden=8,
    decoder_outputs=4,
    superresolution=SuperResolutionConfig(input_resolution=8, channels=(6, 4)),
)


GRID = replace(
    SMALL,
    family="panohead",
    plane_depth=3,
    plane_axes="corrected",
    feature_activation="none",
    empty_margin=0.1,
    background_resolution=8,
    has_torgb=True,
    has_camera_shift=True,
)
GRID_OPTIONS = {
    **FACES,
    "decoder_activation": "none",
    "use_torgb_raw": True,
    "use_background": True,
    "triplane_depth": 3,
    "triplane_size": 8,
    "trans_reg": 10.0,
}


PORTRAIT = replace(
    GRID, family="portrait3d", pose_dim=6, has_camera_shift=False, mesh_share=0.8, raw_level=15.0, clamp=None
)


class Persistent:
    """Pickles as the published training tools pickle an object with its class's source text."""

    def __init__(self, class_name: str, state: dict) -> None:
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": MODULE_SOURCE,
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self) -> tuple:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@contextmanager
def published_modules():
    """Stand-ins for the modules that a published file names, as long as the block lasts."""
    named = {
        "torch_utils.persistence": ("_reconstruct_persistent_obj", lambda meta: None),
        "dnnlib.util": ("EasyDict", type("EasyDict", (dict,), {})),
        "training.triplane": ("OSGDecoder", type("OSGDecoder", (), {})),
    }
    made = {name.partition(".")[0] for name in named} | set(named)
    for name in sorted(made):
        sys.modules[name] = ModuleType(name)
    for name, (attribute, value) in named.items():
        value.__module__, value.__qualname__, value.__name__ = name, attribute, attribute
        setattr(sys.modules[name], attribute, value)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def network_state(config: GeneratorConfig = SMALL, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under their published names."""
    torch.manual_seed(seed)
    shapes = PlaneGenerator(config).state_dict()
    return {name: torch.randn(value.shape) for name, value in shapes.items()}


def as_module(state: dict[str, Tensor], class_name: str = "TriPlaneGenerator", **attributes: object) -> object:
    """A state dict as nested pickled modules; the decoder is kept by reference, as EG3D keeps it."""
    own = {name: value for name, value in state.items() if "." not in name}
    children: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if "." in name:
            head, _, tail = name.partition(".")
            children.setdefault(head, {})[tail] = value
    parameters = {name: torch.nn.Parameter(value) for name, value in own.items() if name != "w_avg"}
    content = {
        "training": False,
        "_parameters": OrderedDict(parameters, absent=None),
        "_buffers": OrderedDict({name: value for name, value in own.items() if name == "w_avg"}),
        "_non_persistent_buffers_set": set(),
        "_modules": OrderedDict({name: as_module(part, name) for name, part in children.items()}),
        **attributes,
    }
    if class_name == "decoder":
        by_reference = sys.modules["training.triplane"].OSGDecoder()
        by_reference.__dict__.update(content)
        return by_reference
    return Persistent(class_name, content)


def network_pickle(
    state: dict[str, Tensor] | None = None,
    *,
    init: dict | None = None,
    rendering: dict | None = None,
    protocol: int = 4,
    others: dict | None = None,
) -> bytes:
    """An official ``.pkl``."""
    state = network_state() if state is None else state
    with published_modules():
        options = sys.modules["dnnlib.util"].EasyDict(rendering or FACES)
        network = as_module(
            {"dataset_label_std": torch.ones(25), **state},
            _init_args=(),
            _init_kwargs={**(init or INIT), "rendering_kwargs": options},
            rendering_kwargs=options,
            neural_rendering_resolution=64,
            plane_axes=torch.eye(3),
        )
        content = {"training_set_kwargs": None, "G": None, "D": None, "G_ema": network, "augment_pipe": None}
        content |= {name: as_module(part) for name, part in (others or {}).items()}
        return pickle.dumps(content, protocol)


def portrait_state() -> dict[str, Tensor]:
    """A 3DPortraitGAN generator; the body's arrays, which are SMPL's, are left out."""
    return network_state(PORTRAIT) | {"renderer.shaped_smpl": torch.ones(4, 5, 3)}


def portrait_pickle(predictor: dict[str, Tensor], state: dict[str, Tensor] | None = None) -> bytes:
    """An official ``.pkl`` of 3DPortraitGAN.

    Args:
        predictor: Of poses; parts that only training needs come on top.
        state: Of the generator; a random one when omitted.
    """
    training = {"mapping.fc0.weight": torch.ones(2, 2), "b4.fc.weight": torch.ones(2, 2), "b4.out.bias": torch.ones(2)}
    options = {name: value for name, value in GRID_OPTIONS.items() if name not in ("triplane_size", "trans_reg")}
    init = INIT | {"thickness": 0.25, "explicitly_symmetry": True, "batch_size": 4}
    others = {"D_ema": predictor | training}
    return network_pickle(portrait_state() if state is None else state, init=init, rendering=options, others=others)


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(encoded) if length is None else length).to_bytes(8, "little") + encoded + data


def tensor(start: int, stop: int, *, shape=(1,), dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


HOSTILE_SAFETENSORS = {
    "huge header": safetensors({}, length=2**62),
    "header longer than the file": safetensors({}, length=10_000),
    "overlap": safetensors({"a": tensor(0, 4), "b": tensor(2, 6)}, bytes(6)),
    "the same place twice": safetensors({"a": tensor(0, 4), "b": tensor(0, 4)}, bytes(4)),
    "gap": safetensors({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)),
    "behind the end": safetensors({"a": tensor(0, 400, shape=(100,))}, bytes(4)),
    "more behind": safetensors({"a": tensor(0, 4)}, bytes(8)),
    "negative": safetensors({"a": tensor(-4, 0)}, bytes(4)),
    "backwards": safetensors({"a": tensor(4, 0)}, bytes(4)),
    "shape": safetensors({"a": tensor(0, 4, shape=(2,))}, bytes(4)),
    "huge shape": safetensors({"a": tensor(0, 4, shape=(2**62, 4))}, bytes(4)),
    "shape with endless axes": safetensors({"a": tensor(0, 4, shape=(10**9,) * 100_000)}, bytes(4)),
    "negative shape": safetensors({"a": tensor(0, 4, shape=(-1, -1))}, bytes(4)),
    "type": safetensors({"a": tensor(0, 4, dtype="F999")}, bytes(4)),
    "no entry": safetensors({"a": 3}, b""),
    "numbers as texts": safetensors({"a": {"dtype": "F32", "shape": ["1"], "data_offsets": ["0", "4"]}}, bytes(4)),
    "notes": safetensors({"__metadata__": {"licence": 3}}),
    "notes that are a list": safetensors({"__metadata__": []}),
    "nesting": safetensors(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "no json": safetensors(b"{'a'}"),
    "no text": safetensors(b'{"\xff"}'),
}


def saved(tmp_path, state: dict, name: str = "state.pt") -> Path:
    torch.save(state, tmp_path / name)
    return tmp_path / name


def network_file(tmp_path, init: dict = INIT, rendering: dict = FACES) -> Path:
    """A published generator with its options, in the kind of file that is read fastest."""
    options = {**init, "rendering_kwargs": rendering}
    return saved(tmp_path, {"G_ema": network_state(), "init_kwargs": options}, "network.pth")


def accept(_) -> bool:
    return True


def triplanenet_state() -> dict[str, Tensor]:
    """Encoders of a toy size around a generator whose planes they were made for."""
    generator = replace(SMALL, plane_resolution=32, plane_channels=4)
    body = BodyConfig(stem=16, widths=(16, 16, 16, 16))
    styles = StyleEncoderConfig(body, w_dim=16, halvings=(1,) * 8)
    planes = PlaneEncoderConfig(replace(body, in_channels=6), ups=(8, 8, 8, 8), planes=12)
    torch.manual_seed(3)
    shapes = encoder_shapes(TriPlaneNetConfig(styles, planes))
    counted = {name for name in shapes if name.endswith("num_batches_tracked")}
    state = {name: torch.tensor(5) if name in counted else torch.rand(shape) for name, shape in shapes.items()}
    return {**state, **{f"decoder.{name}": value for name, value in network_state(generator).items()}}


def folder_names() -> list[str]:
    return sorted(path.name for path in models_folder().glob("*")) if models_folder().is_dir() else []


def refused(call, kind: type[ProtomeError] = ModelError) -> ProtomeError:
    """A refusal in one sentence or two, with the models folder as it was."""
    before = folder_names()
    with pytest.raises(kind) as caught:
        call()
    assert folder_names() == before
    assert str(caught.value).endswith(".") and str(caught.value).isprintable()
    return caught.value


def placeholder(shape: tuple[int, ...]) -> LazyTensor:
    return LazyTensor(Storage(torch.float32, math.prod(shape)), 0, shape, contiguous_stride(shape))
