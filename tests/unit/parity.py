# SPDX-License-Identifier: Apache-2.0
"""Reading the numbers that published code produced, for the parity tests."""

import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from backend.generator.config import GeneratorConfig, RenderConfig, SuperResolutionConfig

FOLDER = Path(os.environ.get("PROTOME_PARITY_DIR", Path(__file__).parents[3] / "shared/parity/fixtures"))
SR_KINDS = {
    "SuperresolutionHybrid8XDC": ("8XDC", 128, (256, 128)),
    "SuperresolutionHybrid8X": ("8X", 128, (128, 64)),
    "SuperresolutionHybrid4X": ("4X", 128, (128, 64)),
    "SuperresolutionHybrid2X": ("2X", 64, (128, 64)),
    "SuperresolutionHybridDeepfp32": ("4X", 128, (128, 64)),
}


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
        return load_file(stored) if stored.exists() else _recipe_state(self.meta)


def _recipe_state(meta: dict) -> dict[str, Tensor]:
    spec = importlib.util.spec_from_file_location("weights_recipe", FOLDER / "weights_recipe.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    weights = meta["weights"]
    if "keys" in weights:
        tensors = json.loads((FOLDER.parent / weights["keys"].split()[0]).read_text())["tensors"]
    else:
        tensors = meta["expected_G_ema"]["tensors"]
    arrays = recipe.make_state(tensors, weights["seed"], weights["family"])
    for place, change in weights.get("overrides", {}).items():
        key, row = re.fullmatch(r"(.*)\[(\d+)(?:,:)?\]", place).groups()
        factor = re.search(r"multiply by float32\((.*?)\)", str(change))
        target = arrays[key]
        target[int(row)] = target[int(row)] * np.float32(factor[1]) if factor else change
    return {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items() if key != "dataset_label_std"}


def fixtures(accept: Callable[[dict], bool], folder: Path = FOLDER) -> list:
    paths = [path for path in sorted(folder.glob("*.json")) if accept(json.loads(path.read_text()))]
    if not paths:
        reason = f"no such parity numbers in {folder} (set PROTOME_PARITY_DIR)"
        return [pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(path, id=path.stem) for path in paths]


def config_of(meta: dict) -> GeneratorConfig:
    small = meta.get("config", {})
    init = meta.get("init_kwargs", {})
    options = meta.get("rendering_kwargs") or meta.get("rendering_kwargs_effective") or init["rendering_kwargs"]
    kind, resolution, channels = SR_KINDS[options["superresolution_module"].split(".")[-1]]
    if small:
        sizes = small["sr_size"]
        resolution, channels = sizes["input_resolution"], (sizes["c0"], sizes["c1"])
    is_auto = options["ray_start"] == "auto"
    antialias = options["sr_antialias"] and "Deepfp32" not in options["superresolution_module"]
    return GeneratorConfig(
        z_dim=small.get("z_dim", init.get("z_dim")),
        w_dim=small.get("w_dim", init.get("w_dim")),
        mapping_layers=small.get("map_layers") or init["mapping_kwargs"]["num_layers"],
        conditioning_scale=0.0 if options["c_gen_conditioning_zero"] else options.get("c_scale", 0.0),
        channel_base=small.get("channel_base", init.get("channel_base")),
        channel_max=small.get("channel_max", init.get("channel_max")),
        plane_resolution=small.get("plane_res", 256),
        decoder_lr_multiplier=options["decoder_lr_mul"],
        side=options["box_warp"],
        render=RenderConfig(
            near=None if is_auto else options["ray_start"],
            far=None if is_auto else options["ray_end"],
            coarse_samples=options["depth_resolution"],
            fine_samples=options["depth_resolution_importance"],
            disparity=options["disparity_space_sampling"],
            white_back=options.get("white_back", False),
        ),
        superresolution=SuperResolutionConfig(kind, resolution, channels, antialias=antialias),
    )
