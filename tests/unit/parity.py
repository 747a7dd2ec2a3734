# SPDX-License-Identifier: Apache-2.0
"""Reading the numbers that published code produced, for the parity tests."""

import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from backend.generator import official, pose_predictor
from backend.generator.config import GeneratorConfig
from backend.generator.plane_generator import PlaneGenerator
from backend.generator.pose_predictor import PosePredictorConfig

SHARED = Path(__file__).parents[3] / "shared/parity/fixtures"
FOLDER = Path(os.environ.get("PROTOME_PARITY_DIR", SHARED))
FAMILIES = {"EG3D": "eg3d", "fake official-style pickle": "eg3d", "PanoHead": "panohead", "3DPortraitGAN": "portrait3d"}
INIT_KEYS = ("z_dim", "w_dim", "c_dim", "channel_base", "channel_max", "conv_clamp", "sr_num_fp16_res", "thickness")

Entries = Iterator[tuple[str, Tensor]]

# Every fixture that a test module of this process has asked for; test_parity_coverage looks for the others.
ASKED_FOR: set[Path] = set()


class Fixture:
    """Inputs, expected outputs and tolerances of one JSON file."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.meta = json.loads(path.read_text())
        self.io = load_file(path.with_name(f"{self.name}.io.safetensors"))

    def check(self, key: str, value: Tensor) -> None:
        expected = self.io[key].double()
        value = value.detach().double()
        assert value.shape == expected.shape, key
        error = float((value - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        tolerance = self.meta["tensors"][key].get("tol_rel", 1e-4)
        assert error <= tolerance, f"{self.name} {key}: {error:.2e} is more than {tolerance:.1e}"

    def state(self) -> dict[str, Tensor]:
        stored = FOLDER / f"{self.name}.state.safetensors"
        if stored.exists():
            return {key: value for key, value in load_file(stored).items() if not official.is_ignored(key)}
        return recipe_state(self.shapes(), self.meta["weights"])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        if "discriminator" in self.meta["target"]:
            return pose_predictor.expected_shapes(predictor_config_of(self.meta))
        return official.expected_shapes(config_of(self.meta))

    def generator(self) -> PlaneGenerator:
        generator = PlaneGenerator(config_of(self.meta)).eval().requires_grad_(False)
        generator.load_state_dict(self.state())
        return generator

    def cameras(self) -> tuple[Tensor, Tensor]:
        label = self.io["in.c"]
        return label[:, :16].reshape(-1, 4, 4), label[:, 16:].reshape(-1, 3, 3)


class Case:
    """A fixture of a generator, and what several stages need of it; a stage computes ours under the stored names."""

    def __init__(self, fixture: Fixture) -> None:
        self.fixture, self.io, self.generator = fixture, fixture.io, fixture.generator()
        self.config, self.cameras = self.generator.config, fixture.cameras()
        self.z, self.label = self.io["in.z"], self.io["in.c"]
        self.made: dict[str, dict[str, Tensor]] = {}

    @property
    def ws(self) -> Tensor:
        return self.io["in.ws"]

    @cached_property
    def planes(self) -> Tensor:
        return self.generator.make_planes(self.ws)

    @property
    def size_px(self) -> int:
        return self.fixture.meta["config"]["nrr"]

    def entries(self, stage: Callable[["Case"], Entries]) -> dict[str, Tensor]:
        if stage.__name__ not in self.made:
            self.made[stage.__name__] = dict(stage(self))
        return self.made[stage.__name__]


def strided_like(picture: Tensor, stored: Tensor) -> Tensor:
    """Every so many-th pixel, as many as were stored; where several steps give that number, the one that fits best."""
    size, count = picture.shape[-1], stored.shape[-1]
    steps = [step for step in range(1, size + 1) if -(-size // step) == count]
    assert steps, f"no step through {size} pixels meets {count}"
    chosen = [picture[: len(stored), :, ::step, ::step] for step in steps]
    return min(chosen, key=lambda one: float((one - stored).abs().max()))


def recipe() -> ModuleType:
    """The code that makes random weights, from the fixtures' folder or else from the shared one."""
    paths = [folder / "weights_recipe.py" for folder in (FOLDER, SHARED)]
    spec = importlib.util.spec_from_file_location("weights_recipe", next(filter(Path.is_file, paths), paths[0]))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recipe_state(shapes: Mapping[str, tuple[int, ...]], weights: dict) -> dict[str, Tensor]:
    """The tensors that a recipe stands for; the published list of names may hold others, which no one needs."""
    listed = {key: {"shape": shape} for key, shape in shapes.items()}
    arrays = recipe().make_state(listed, weights["seed"], weights["family"])
    for place, change in weights.get("overrides", {}).items():
        key, row = re.fullmatch(r"(.*)\[(\d+)(?:,:)?\]", place).groups()
        factor = re.search(r"multiply by float32\((.*?)\)", str(change))
        target = arrays[key]
        target[int(row)] = target[int(row)] * np.float32(factor[1]) if factor else change
    return {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}


def fixtures(accept: Callable[[dict], bool], folder: Path = FOLDER) -> list:
    paths = [path for path in sorted(folder.glob("*.json")) if accept(json.loads(path.read_text()))]
    ASKED_FOR.update(paths)
    if not paths:
        reason = f"no such parity numbers in {folder} (set PROTOME_PARITY_DIR)"
        return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(path, id=path.stem) for path in paths]


def init_kwargs_of(meta: dict) -> dict:
    """The constructor's arguments; fixtures of reduced size name those that differ from the published ones."""
    if "init_kwargs" in meta:
        return meta["init_kwargs"]
    small = meta["config"]
    init = {"c_dim": 25, "mapping_kwargs": {"num_layers": small.get("map_layers", 2)}}
    return init | {key: small[key] for key in INIT_KEYS if key in small}


def config_of(meta: dict) -> GeneratorConfig:
    """The published options as our configuration, with the sizes that a reduced fixture's JSON gives."""
    family = next(family for target, family in FAMILIES.items() if meta["target"].startswith(target))
    options = meta.get("rendering_kwargs") or meta.get("rendering_kwargs_effective")
    config = official.config_of(init_kwargs_of(meta), options, family=family)
    small = meta.get("config", {})
    if "plane_res" in small:
        config = replace(config, plane_resolution=small["plane_res"])
    if "sr_size" in small:
        sizes = small["sr_size"]
        channels = (sizes["c0"], sizes["c1"])
        side = sizes["input_resolution"]
        clamp = meta.get("sr_sizes", {}).get("conv_clamp", config.superresolution.clamp)
        enlarged = replace(config.superresolution, input_resolution=side, channels=channels, clamp=clamp)
        background = config.background_resolution and sizes.get("bcg_resolution", side)
        config = replace(config, superresolution=enlarged, background_resolution=background)
    return config


def predictor_config_of(meta: dict) -> PosePredictorConfig:
    return PosePredictorConfig(
        image_resolution=meta["img_resolution"],
        neural_resolution=meta["neural_rendering_resolution"],
        channel_base=meta["channel_base"],
        channel_max=meta["channel_max"],
        head_widths=tuple(meta["pose_branch_widths"]),
        blur_sigma=meta.get("blur_sigma", 0.0),
        clamp=meta.get("conv_clamp", PosePredictorConfig.clamp),
        group=meta.get("mbstd_group_size", PosePredictorConfig.group),
    )
