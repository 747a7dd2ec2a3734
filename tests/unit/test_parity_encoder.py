# SPDX-License-Identifier: Apache-2.0
"""The encoders against numbers that the published TriPlaneNet code produced, found by what their JSON says."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from backend.encoder.arcface import face_crop, load_arcface
from backend.encoder.body import STAGE_ENDS
from backend.encoder.config import (
    BodyConfig,
    PlaneEncoderConfig,
    StyleEncoderConfig,
    TriPlaneNetConfig,
)
from backend.encoder.layout import below, load_frozen, shapes_of
from backend.encoder.planes import PlaneEncoder, read_plane_config
from backend.encoder.styles import StyleEncoder, read_style_config
from backend.encoder.triplanenet import expected_shapes, load_triplanenet, mirrored_pose, read_config
from backend.generator import official
from tests.unit import parity
from tests.unit.parity import FOLDER, Fixture, fixtures

WHOLE = "TriPlaneNet v"
PART = "TriPlaneNet encoder part"


def _is_style_part(meta: dict) -> bool:
    return meta["target"].startswith(PART) and "style_dim" in meta["config"]


def _is_plane_part(meta: dict) -> bool:
    return meta["target"].startswith(PART) and "up" in meta["config"]


def _is_whole(meta: dict) -> bool:
    return meta["target"].startswith(WHOLE)


def _is_arcface(meta: dict) -> bool:
    return meta["target"].startswith("ArcFace")


def _recipe(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """The recipe's weights; numpy's generator lets other threads run, and there are 250 million numbers."""
    recipe = parity.recipe()
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda key: recipe.make_tensor(key, shapes[key], seed, "irse", shapes), shapes)
        return {key: torch.from_numpy(array) for key, array in zip(shapes, made, strict=True)}


def _weights(fixture: Fixture, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The stored ones, else the recipe's."""
    is_stored = (FOLDER / f"{fixture.name}.state.safetensors").exists()
    return fixture.state() if is_stored else _recipe(shapes, fixture.meta["weights"]["seed"])


def _load(network: nn.Module, fixture: Fixture) -> None:
    load_frozen(network, _weights(fixture, shapes_of(network)))


def _body_config(small: dict, in_channels: int) -> BodyConfig:
    first, *others = small["widths"] if len(small["widths"]) == 4 else [64, *small["widths"]]
    return BodyConfig(in_channels, widths=(first, *others))


@pytest.fixture(scope="module")
def fixture(request: pytest.FixtureRequest) -> Fixture:
    return Fixture(request.param)


@pytest.mark.parametrize("fixture", fixtures(_is_style_part), indirect=True)
def test_the_first_branch_agrees(fixture):
    halvings, rows = StyleEncoderConfig.halvings, fixture.io["out.codes"].shape[1]
    halvings = (*halvings[:rows], *halvings[-1:] * (rows - len(halvings)))
    config = StyleEncoderConfig(_body_config(fixture.meta["config"], 3), fixture.meta["config"]["style_dim"], halvings)
    with torch.device("meta"):
        network = StyleEncoder(config)
    _load(network, fixture)
    assert read_style_config(shapes_of(network)) == config
    fixture.check("out.codes", network(fixture.io["in.x"]))
    units = [unit for unit in range(STAGE_ENDS[-1] + 1) if f"mid.body{unit}" in fixture.io]
    for unit, found in zip(units, network.features_after(fixture.io["in.x"], tuple(units)), strict=True):
        count, _, height, _ = fixture.io[f"mid.body{unit}"].shape
        stride = found.shape[2] // height
        fixture.check(f"mid.body{unit}", found[:count, :, ::stride, ::stride])


@pytest.mark.parametrize("fixture", fixtures(_is_plane_part), indirect=True)
def test_the_second_branch_agrees(fixture):
    small = fixture.meta["config"]
    config = PlaneEncoderConfig(
        _body_config(small, small["in_channels"]),
        tuple(small["up"]),
        planes=small["planes"],
        shuffles_pixels=small.get("use_pixelshuffle", True),
        reads_planes="in.planes" in fixture.io,
    )
    with torch.device("meta"):
        network = PlaneEncoder(config)
    _load(network, fixture)
    assert read_plane_config(shapes_of(network)) == config
    photo = fixture.io["in.x"]
    if config.reads_planes:
        fixture.check("out.planes", fixture.io["in.planes"] + network(photo, fixture.io["in.planes"]))
    else:
        nothing = photo.new_zeros(len(photo), config.planes, *photo.shape[2:])
        fixture.check("out.offsets", network(photo, nothing))


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest) -> SimpleNamespace:
    fixture = Fixture(request.param)
    meta, io = fixture.meta, fixture.io
    weights = _whole_weights(fixture) | {"latent_avg": io["in.latent_avg"]}
    shapes = {key.removeprefix("decoder."): tuple(x.shape) for key, x in weights.items() if key.startswith("decoder.")}
    network = load_triplanenet(weights, official.config_of(meta["decoder_init_kwargs"], shapes=shapes))
    photo = io["in.x_u8like"].float() / 127 - 1
    cameras = {key.removeprefix("in."): _camera(io[key]) for key in io if re.fullmatch(r"in\.c(_\w+)?", key)}
    cameras = {"c_mirror": (mirrored_pose(cameras["c"][0]), cameras["c"][1]), "c_novel": cameras["c"], **cameras}
    size = meta["neural_rendering_resolution"]
    return SimpleNamespace(
        fixture=fixture,
        network=network,
        photo=photo,
        cameras=cameras,
        size=size,
        encoding=network.encode(photo, *cameras["c"], size_px=size),
    )


def _whole_weights(fixture: Fixture) -> dict[str, Tensor]:
    """Of all three networks: the stored ones, else the recipe's, whose keys are those of each network alone."""
    if (FOLDER / f"{fixture.name}.state.safetensors").exists():
        return fixture.state()
    meta, weights = fixture.meta, {}
    expected = expected_shapes(_whole_config(meta))
    for name in ("psp_encoder", "triplanenet_encoder"):
        made = _recipe(below(expected, f"{name}."), meta["weights"][name]["seed"])
        weights |= {f"{name}.{key}": tensor for key, tensor in made.items()}
    listed = {key: tensor["shape"] for key, tensor in meta["decoder_tensors"].items() if not official.is_ignored(key)}
    decoder = parity.recipe_state(listed, meta["weights"]["decoder"])
    return weights | {f"decoder.{key}": tensor for key, tensor in decoder.items()}


def _whole_config(meta: dict) -> TriPlaneNetConfig:
    if not meta["target"].startswith(f"{WHOLE}2"):
        return TriPlaneNetConfig()
    # A switch of its own, or words in what the fixture says of itself.
    said = json.dumps([meta.get("config"), meta.get("opts"), meta.get("use_pixelshuffle"), meta["target"], meta["how"]])
    is_off = meta.get("use_pixelshuffle") is False or "upsample" in meta["target"]
    shuffles_pixels = not (is_off or re.search(r"use_pixelshuffle\W+false", said, re.IGNORECASE))
    ups = (512, 384, 256, 96) if shuffles_pixels else (512, 256, 128, 64)
    planes = PlaneEncoderConfig(BodyConfig(9), ups, shuffles_pixels=shuffles_pixels, reads_planes=True)
    return TriPlaneNetConfig(planes=planes)


def _camera(label: Tensor) -> tuple[Tensor, Tensor]:
    return label[:, :16].reshape(-1, 4, 4), label[:, 16:].reshape(-1, 3, 3)


def _pictures(case: SimpleNamespace) -> dict[str, Tensor]:
    """Everything that the published network gives, by the names of the numbers."""
    network, encoding = case.network, case.encoding
    start = network.decoder.make_planes(encoding.ws)
    final = start + encoding.plane_offset

    def look(planes: Tensor, camera: str) -> Tensor:
        return network.look(encoding.ws, planes, *case.cameras[camera], size_px=case.size)

    views = network.views(encoding.ws, final, *case.cameras["c"], size_px=case.size)
    pictures = {
        "codes": encoding.ws,
        "y_hat_256": nn.functional.adaptive_avg_pool2d(views.image, network.input_px),
        "y_hat_512": views.image,
        "depth": views.depth,
        "novel_view": look(final, "c_novel"),
        "final_planes": final.flatten(1, 2),
    }
    if network.config.version == 1:
        twice = network.encode(case.photo, *case.cameras["c"], size_px=case.size, passes=2)
        pictures["triplane_offsets"] = encoding.plane_offset.flatten(1, 2)
        pictures["y_hat_psp_256"] = look(start, "c")
        pictures["novel_view_CTTR"] = look(start + twice.plane_offset, "c_novel")
    else:
        pictures["initial.planes"] = start.flatten(1, 2)
        pictures["initial.y_256"] = look(start, "c")
        pictures["initial.mirror_y_256"] = look(start, "c_mirror")
        pictures["y_hat_novel_256"] = look(final, "c_mirror")
    return pictures


@pytest.mark.parametrize("whole", fixtures(_is_whole), indirect=True)
def test_the_whole_network_agrees(whole):
    pictures = _pictures(whole)
    for key in whole.fixture.io:
        kind, _, name = key.partition(".")
        if kind == "out":
            name, _, stride = name.partition(".strided")
            step = int(stride or 1)
            picture = pictures[name]
            whole.fixture.check(key, picture[:, :, ::step, ::step] if stride else picture)
    torch.testing.assert_close(mirrored_pose(whole.cameras["c"][0]), whole.cameras["c_mirror"][0])


@pytest.mark.parametrize("fixture", fixtures(_is_arcface), indirect=True)
def test_identity_features_agree(fixture):
    shapes = {key: tuple(value["shape"]) for key, value in fixture.meta["tensors_for_recipe"].items()}
    network = load_arcface(_weights(fixture, shapes))
    portrait = fixture.io["in.x_u8like"].float() / 127 - 1
    crop = face_crop(portrait, network.config.side_px)
    (key,) = (key for key in fixture.io if key.startswith("mid.crop"))
    stride = int(key.partition("strided")[2] or 1)
    fixture.check(key, crop[:, :, ::stride, ::stride])
    fixture.check("out.features", network(portrait))


@pytest.mark.parametrize("name", ["triplanenet_v1", "triplanenet_v2", "triplanenet_v2_upsample"])
def test_names_and_shapes_are_the_published_ones(name):
    path = FOLDER.parent / "state_dicts" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no key list {path}")
    listed = {key: tuple(value["shape"]) for key, value in json.loads(path.read_text())["tensors"].items()}
    if name == "triplanenet_v2_upsample":  # Lists only what differs.
        common = json.loads((path.parent / "triplanenet_v2.json").read_text())["tensors"]
        kept = {key for key in common if ".up" not in key and ".final_head" not in key}
        listed |= {key: tuple(common[key]["shape"]) for key in kept}
    config = read_config(listed)
    found = expected_shapes(config)
    assert found == {key: shape for key, shape in listed.items() if not key.startswith("decoder.")}
    assert (config.version, config.planes.shuffles_pixels) == (2 if "v2" in name else 1, "upsample" not in name)
