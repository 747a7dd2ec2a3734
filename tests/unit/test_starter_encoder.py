# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.alignment import Portrait
from backend.errors import ModelError, OutputError
from backend.folders import starter_encoder_path, starter_path
from backend.plane_lift import OFFSET_SCALE
from backend.starter import load_starter
from backend.starter_encoder import (
    CROP_SHARE,
    EncoderConfig,
    StarterEncoder,
    encoder_input,
    load_encoder,
    save_encoder,
)
from backend.training.encoder import encoder_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = EncoderConfig(z_dim=5, shapes=4, expressions=3, plane_channels=4, offset_px=4, size_px=32)
SHIPPED = EncoderConfig(z_dim=78, shapes=64, expressions=51, plane_channels=16, offset_px=32)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return StarterEncoder(CONFIG).eval()


def seen(count=2):
    random = torch.Generator().manual_seed(1)
    return torch.randn((count, 4, 32, 32), generator=random), torch.rand((count, 478, 2), generator=random)


def test_every_answer_has_its_numbers_and_a_doubt(encoder):
    encoding = encoder(*seen())
    for name, size in CONFIG.sizes.items():
        assert encoding.means[name].shape == encoding.deviations[name].shape == (2, size)
        assert (encoding.deviations[name] > 0).all()


def test_an_untrained_encoder_tells_the_average_head():
    torch.manual_seed(0)
    encoder = StarterEncoder(CONFIG).eval()
    center = {name: torch.full((size,), 3.0) for name, size in CONFIG.sizes.items()}
    encoder.standardise(center, {name: torch.full((size,), 0.5) for name, size in CONFIG.sizes.items()})
    for means in encoder(*seen()).means.values():
        torch.testing.assert_close(means, torch.full_like(means, 3.0), atol=0.1, rtol=0)


def test_portraits_of_a_batch_do_not_mix(encoder):
    both, alone = encoder(*seen()), encoder(*(part[1:] for part in seen()))
    for name in CONFIG.sizes:
        torch.testing.assert_close(both.means[name][1:], alone.means[name], atol=1e-5, rtol=1e-4)


def test_the_encoder_is_small_enough_for_a_cpu():
    assert sum(value.numel() for value in StarterEncoder(SHIPPED).parameters()) < 8e6


def test_the_input_is_the_portrait_s_middle_over_grey_with_its_mask():
    size = 200
    image = torch.linspace(-1, 1, size).expand(1, 3, size, size).contiguous()
    mask = torch.zeros(1, 1, size, size)
    mask[..., 40:160, 40:160] = 1
    landmarks = np.tile([[50.0, 100.0]], (478, 1))
    coverage = torch.ones(1, 1, size, size)
    coverage[..., 140:, :] = 0
    portrait = Portrait(image, np.eye(3), landmarks, np.zeros(478), coverage)
    picture, places = encoder_input(portrait, mask, 72)
    share = 144 / size
    assert share == pytest.approx(CROP_SHARE)
    torch.testing.assert_close(places[0, 0], torch.tensor([0.5 - 0.25 / share, 0.5]))
    # The middle's colours, nothing beyond the mask or the photo.
    torch.testing.assert_close(picture[0, 0, 36, 20:50], image[0, 0, 100, 28:172].reshape(72, 2).mean(1)[20:50],
                               atol=0.01, rtol=0)  # fmt: skip
    assert not picture[0, :, :5].any() and not picture[0, :, 58:].any()
    assert (picture[0, 3, 10:50, 10:60] > 0.99).all()


def test_a_stored_encoder_answers_the_same(encoder, tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, encoder, generator_id="small-1")
    again, generator = load_encoder(path)
    assert generator == "small-1"
    for name, value in encoder(*seen()).means.items():
        torch.testing.assert_close(again(*seen()).means[name], value, atol=0.01, rtol=0.01)


def test_an_encoder_that_cannot_be_written_is_an_output_error(encoder, tmp_path):
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_encoder(tmp_path / "models" / "encoder.safetensors", encoder, generator_id="small-1")


def test_another_file_is_no_encoder(tmp_path):
    from backend.models import write_weights

    path = tmp_path / "other.safetensors"
    write_weights(path, {"a": torch.zeros(2)}, {"config": "{}"})
    with pytest.raises(ModelError, match="is not a starter encoder") as caught:
        load_encoder(path)
    assert caught.value.code == "model_damaged"
    with pytest.raises(ModelError) as caught:
        load_encoder(tmp_path / "missing.safetensors")
    assert caught.value.code == "model_missing"


def test_the_encoder_that_comes_along_belongs_to_the_starter_that_does():
    starter, (encoder, generator) = load_starter(starter_path()), load_encoder(starter_encoder_path())
    assert generator == starter.identity["id"]
    assert encoder.config == encoder_config(starter, encoder.config.size_px)
    assert encoder.lift.side_px * OFFSET_SCALE == starter.generator.config.plane_resolution


def test_both_are_in_the_extension():
    spec = importlib.util.spec_from_file_location("build_extension", ROOT / "scripts" / "build_extension.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    excluded = script.read_manifest()["build"]["paths_exclude_pattern"]
    for path in (starter_path(), starter_encoder_path()):
        name = path.relative_to(ROOT).as_posix()
        folders = ["/" + part.as_posix() + "/" for part in path.relative_to(ROOT).parents][:-1]
        assert name in script.REQUIRED
        assert not any(script.is_excluded(one, excluded) for one in (*folders, f"/{name}"))
