# SPDX-License-Identifier: Apache-2.0
"""Our loops against what the published loops did in a few steps, with a stand-in for their feature network."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from backend.generator.deformation import MeshDeformation
from backend.inversion.budget import Budget
from backend.inversion.cameras import Cameras
from backend.inversion.codes import CodeConfig, CodeSearch
from backend.inversion.descent import ramped
from backend.inversion.method import Perception, PosedPortrait, Task
from backend.inversion.perception import feature_distance
from backend.inversion.plane_model import PlaneModel
from backend.inversion.tuning import NONE, TUNING_RATE, Tuning
from tests.unit.parity import FOLDER, Fixture, fixtures

NOISE_SEED = 4242


def features(image: Tensor) -> Tensor:
    """The stand-in that the fixtures describe."""
    small = functional.adaptive_avg_pool2d(image / 255 - 0.5, (8, 8)).flatten(1)
    return small / math.sqrt(small.shape[1])


class Replayed(CodeSearch):
    """A search that takes its random numbers from a list."""

    numbers: list[Tensor]

    def draw(self, like: Tensor) -> Tensor:
        return self.numbers.pop(0).reshape(like.shape)


def case_of(path) -> SimpleNamespace:
    fixture = Fixture(path)
    model = FOLDER / f"{fixture.meta['model_fixture']}.json"
    if not model.exists():
        pytest.skip(f"{fixture.name} needs the numbers of {model.stem}, which are not there")
    base = Fixture(model)
    generator = base.generator()
    generator.config = replace(generator.config, neural_resolution=fixture.meta["neural_rendering_resolution"])
    label = fixture.io["in.c"]
    cameras = Cameras(label[:, :16].reshape(-1, 4, 4), label[:, 16:].reshape(-1, 3, 3))
    image = fixture.io["in.target"][None] / 127.5 - 1
    ones = torch.ones_like(image[:, :1])
    portrait = PosedPortrait(image, ones, ones, cameras)
    samples = int(re.search(r"w_avg_samples=(\d+)", fixture.meta["target"])[1])
    parts = {"base": base, "generator": generator, "portrait": portrait, "average_samples": samples}
    return SimpleNamespace(fixture=fixture, io=fixture.io, **parts)


def task_of(case: SimpleNamespace, model: PlaneModel, *, code_steps: int = 0, tune_steps: int = 0) -> Task:
    budget = Budget(code_steps, tune_steps, model.size_px)
    perception = Perception(feature_distance(features))
    return Task(model, [case.portrait], budget, torch.Generator(), perception=perception)


def searched(case: SimpleNamespace, model: PlaneModel, config: CodeConfig, noise: list[Tensor]) -> SimpleNamespace:
    """All states of the codes during a search."""
    draws = case.io["w_stage.w_noise_randn"]
    search = Replayed(task_of(case, model, code_steps=len(draws)), config, model)
    search.numbers = [*noise, *draws]
    states, slopes, buffers = [], [], {}

    def note(_done: float) -> None:
        states.append(search.ws)
        slopes.append(search.rows.grad.norm())
        buffers.update({name: value.detach().clone() for name, value in model.noise().items()})

    search.run(note)
    rates = [ramped(config.rate)(number / len(draws)) for number in range(len(draws))]
    case.fixture.check("w_stage.lr", torch.tensor(rates))
    case.fixture.check("w_stage.grad_norm", torch.stack(slopes))
    return SimpleNamespace(states=states, buffers=buffers)


def posed_body(body: dict[str, Tensor], pose: Tensor) -> Tensor:
    """The fixtures' stand-in body in a pose that they do not store.

    It is skinned to a neck and a head joint, so its weights follow from the poses that they do store.
    """
    rest = body["deform.canonical_vertices"][0].double()
    neck, head = torch.tensor([0.0, -0.03, 0.0]).double(), torch.tensor([0.0, 0.1, 0.005]).double()

    def moves(one: Tensor) -> Tensor:
        turns = [torch.from_numpy(Rotation.from_rotvec(part.double().numpy()).as_matrix()) for part in one.split(3)]
        with_neck = (rest - neck) @ turns[0].T + neck
        with_head = ((rest - head) @ turns[1].T + head - neck) @ turns[0].T + neck
        return torch.stack([with_neck - rest, with_head - rest], dim=-1)

    stored = [moves(one) for one in body["in.pose"]]
    moved = [posed.double() - rest for posed in body["deform.posed_vertices"]]
    found = torch.linalg.lstsq(torch.cat(stored, dim=1), torch.cat(moved, dim=1)[..., None])
    torch.testing.assert_close(stored[0] @ found.solution, moved[0][..., None], atol=1e-6, rtol=0)
    return (rest + (moves(pose[0]) @ found.solution)[..., 0]).float()[None]


def first_noise(io: dict[str, Tensor], model: PlaneModel) -> list[Tensor]:
    """Where the search of noise began. Fixtures store some buffers; all come one after the other from one stream."""
    random, noise = np.random.RandomState(NOISE_SEED), []
    is_whole = is_of_stream = True
    for name, value in model.noise().items():
        drawn = torch.from_numpy(random.randn(*value.shape)).float()
        noise.append(io.get(name.replace("backbone.synthesis", "w_stage.noise_init"), drawn))
        is_of_stream = is_of_stream and torch.allclose(noise[-1], drawn)
        is_whole = is_whole and noise[-1] is not drawn
    if not (is_whole or is_of_stream):
        pytest.skip(f"the fixture's noise is not of stream {NOISE_SEED}, and it does not store all of it")
    return noise


def of_panohead(meta: dict) -> bool:
    return meta["target"].startswith("PanoHead projector")


def of_portrait3d(meta: dict) -> bool:
    return meta["target"].startswith("3DPortraitGAN w_projector")


@pytest.mark.parametrize("path", fixtures(of_panohead))
def test_panoheads_search_and_tuning_agree(path):
    case = case_of(path)
    model = PlaneModel(case.generator, average_samples=case.average_samples)
    case.fixture.check("w_stage.w_avg", model.mean_ws[:, :1])
    case.fixture.check("w_stage.w_std", torch.tensor([model.ws_std]))
    config = CodeConfig(rate=0.1, pixel_weight=0.1, mean_weight=1.0, silhouette_weight=0.0)
    found = searched(case, model, config, noise=[])
    case.fixture.check("w_stage.w_out", torch.cat(found.states))

    model = model.copied()
    count = len(case.io["pti.lr"])
    pivot, task = found.states[-1], task_of(case, model, tune_steps=count)
    tuning = Tuning(task, model, pivot, NONE, rate=TUNING_RATE, pixel_weight=0.1, silhouette_weight=0.0)
    states = []
    tuning.run(lambda _done: states.append({k: v.detach().clone() for k, v in model.network.state_dict().items()}))
    checked = [key for key in case.io if key.startswith(f"pti.after{count}.")]
    assert checked
    for key in checked:
        case.fixture.check(key, states[-1][key.removeprefix(f"pti.after{count}.")])


@pytest.mark.parametrize("path", fixtures(of_portrait3d))
def test_portrait3ds_search_of_codes_and_noise_agrees(path):
    case = case_of(path)
    pose, body = case.io["in.pose"], case.base.io
    deform = MeshDeformation(
        posed_body(body, pose),
        body["deform.canonical_vertices"][:1],
        body["deform.faces"][body["deform.face_mask"].bool()],
        reach=float(body["deform.thickness"]),
    )
    model = PlaneModel(case.generator, pose=pose, deform=deform, average_samples=case.average_samples).copied()
    noise = first_noise(case.io, model)
    found = searched(
        case, model, CodeConfig(rate=0.01, pixel_weight=0.0, with_noise=True, silhouette_weight=0.0), noise
    )
    case.fixture.check("w_stage.w_final", found.states[-1])
    for key in case.io:
        if key.startswith("w_stage.noise_after."):
            case.fixture.check(key, found.buffers[key.replace("w_stage.noise_after", "backbone.synthesis")])
