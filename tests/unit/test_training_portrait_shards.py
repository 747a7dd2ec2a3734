# SPDX-License-Identifier: Apache-2.0
"""Files of portraits, with eggs for people."""

import errno
from dataclasses import replace

import numpy as np
import pytest

from backend.camera import Camera, rays
from backend.errors import ModelError, OutputError, SettingsError
from backend.training import portrait_shards
from backend.training.appearance import sample_appearance
from backend.training.dataset import BALD, Dressing
from backend.training.heads import Identity
from backend.training.motion import Motion
from backend.training.pieces import SKIN
from backend.training.portrait_shards import (
    NOBODY,
    PortraitPlan,
    read_shard,
    render_shard,
    shard_sheet,
    write_portraits,
)
from backend.training.portrait_source import Person, PortraitSource
from backend.training.portrait_truth import LandmarkAnchors
from backend.training.portraits import PortraitScene
from backend.training.subject import SOLID, Hits, Subject, Surface
from tests.small_starter import small_template

PLAN = PortraitPlan(people=3, views=2, size_px=16, seed=5, glasses_share=0.0, people_per_shard=2)


NOBODY_IN_PARTICULAR = Identity(0.5, 0.5, np.full(3, 1 / 3), 0.5, 0.5, np.zeros(1), np.zeros(1), np.zeros(1))


class Eggs(PortraitSource):
    """Every person is an egg with a colour of its own."""

    def __init__(self):
        template = small_template(subdivisions=3)
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "landmarks", LandmarkAnchors(np.arange(5), np.full((5, 3), 1 / 3)))

    def person(self, seed, number, *, glasses_share):
        rng = np.random.default_rng([seed, number])
        appearance = sample_appearance(rng, 0.5, 0.5, ancestry=np.full(3, 1 / 3))
        return Person(NOBODY_IN_PARTICULAR, appearance, Dressing(BALD, 0.0, 0.09, -0.3, 0), Motion(), None)

    def scene(self, person):
        color = person.appearance.skin_base.astype(np.float32)

        def surface(hits: Hits) -> Surface:
            return Surface(np.tile(color, (len(hits.triangle), 1)), np.zeros(len(hits.triangle), np.float32))

        count = len(self.template.faces)
        subject = Subject(self.template.vertices, self.template.faces, np.full(count, SOLID), surface)
        return PortraitScene(subject, self.template.vertices, np.full(count, SKIN), np.arange(count))

    def codes(self, person):
        return {"z": person.appearance.to_vector()}


@pytest.fixture(scope="module")
def eggs():
    return Eggs()


@pytest.fixture(scope="module")
def arrays(eggs):
    return render_shard(eggs, PLAN, 0)


def test_a_shard_holds_its_people_and_their_views(arrays):
    assert arrays["rgba"].shape == (4, 16, 16, 4) and arrays["rgba"].dtype == np.uint8
    np.testing.assert_array_equal(arrays["person"], [0, 0, 1, 1])
    np.testing.assert_array_equal(arrays["number"], [0, 1])
    assert len(arrays["z"]) == 2
    for name in ("depth", "normal", "part", "landmarks", "landmarks_seen", "cam2world", "intrinsics", "light"):
        assert len(arrays[name]) == 4, name


def test_the_same_plan_gives_the_same_pictures_and_other_seeds_others(eggs, arrays):
    again, other = render_shard(eggs, PLAN, 0), render_shard(eggs, replace(PLAN, seed=6), 0)
    for name, value in arrays.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)
    assert (other["rgba"] != arrays["rgba"]).any() and (other["cam2world"] != arrays["cam2world"]).any()


def test_people_and_views_do_not_depend_on_the_size_of_shards(eggs, arrays):
    single = render_shard(eggs, replace(PLAN, people_per_shard=1), 1)
    np.testing.assert_array_equal(single["rgba"], arrays["rgba"][2:])
    np.testing.assert_array_equal(single["number"], [1])


def test_depth_normals_labels_and_alpha_agree(eggs, arrays):
    for row in range(4):
        seen = arrays["part"][row] != NOBODY
        camera = Camera(arrays["cam2world"][row].astype(float), arrays["intrinsics"][row].astype(float))
        origin, directions = rays(camera, PLAN.size_px)
        depth = arrays["depth"][row].astype(float) + arrays["distance"][row]
        points = origin + (depth / (directions @ camera.cam2world[:3, 2]))[..., None] * directions
        # On the egg, and facing out of it.
        reach = np.linalg.norm(points[seen] / np.array([0.075, 0.11, 0.095]), axis=1)
        assert np.abs(reach - 1).max() < 0.06
        outwards = points[seen] / np.array([0.075, 0.11, 0.095]) ** 2
        normal = arrays["normal"][row][seen] / 127.0
        np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=0.02)
        cosine = (normal * outwards).sum(1) / np.linalg.norm(outwards, axis=1)
        assert cosine.min() > 0.9
        alpha = arrays["rgba"][row][..., 3]
        assert (alpha[seen] > 0).all() and (alpha[~seen] < 255).all()
        assert not arrays["depth"][row][~seen].any() and not arrays["normal"][row][~seen].any()


def test_a_sheet_shows_two_people_in_each_row(arrays):
    sheet = shard_sheet(arrays["rgba"], PLAN, 0)
    assert sheet.shape == (16, 64, 3)
    np.testing.assert_array_equal(sheet, shard_sheet(arrays["rgba"], PLAN, 0))
    assert shard_sheet(arrays["rgba"][:2], PLAN, 1).shape == (16, 64, 3)


def test_only_missing_shards_are_rendered(eggs, tmp_path):
    written = list(write_portraits(eggs, PLAN, tmp_path, workers=1))
    assert [path.name for path in written] == [f"{PLAN.name(0)}.npz", f"{PLAN.name(1)}.npz"]
    assert all(path.with_suffix(".png").exists() for path in written)
    before = written[0].stat().st_mtime_ns
    first_bytes = written[1].read_bytes()
    written[1].unlink()
    assert list(write_portraits(eggs, PLAN, tmp_path, workers=1)) == [written[1]]
    assert written[0].stat().st_mtime_ns == before and written[1].read_bytes() == first_bytes
    # Another plan has other files.
    assert len(list(write_portraits(eggs, replace(PLAN, seed=6), tmp_path, workers=1))) == 2


def test_a_damaged_shard_is_named(eggs, tmp_path):
    path = tmp_path / f"{PLAN.name(0)}.npz"
    path.write_bytes(b"PK half a shard")
    for read in (lambda: list(write_portraits(eggs, PLAN, tmp_path, workers=1)), lambda: read_shard(path, ("rgba",))):
        with pytest.raises(ModelError, match="damaged") as caught:
            read()
        assert path.name in str(caught.value) and caught.value.code == "result_damaged"


def test_a_shard_of_another_version_is_named(tmp_path):
    np.savez(tmp_path / "old.npz", rgba=np.zeros(3))
    assert list(read_shard(tmp_path / "old.npz", ("rgba",))) == ["rgba"]
    with pytest.raises(ModelError, match="another version"):
        read_shard(tmp_path / "old.npz", ("rgba", "light"))


def test_a_full_disk_is_an_output_error_and_leaves_nothing(eggs, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(portrait_shards.np, "savez_compressed", full)
    with pytest.raises(OutputError):
        list(write_portraits(eggs, PLAN, tmp_path, workers=1))
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_an_output_error(eggs, tmp_path):
    with pytest.raises(OutputError):
        list(write_portraits(eggs, PLAN, tmp_path / "none", workers=1))


@pytest.mark.parametrize("change", [{"people": 0}, {"views": 0}, {"size_px": 4}, {"glasses_share": 1.5}])
def test_impossible_plans_are_refused(change):
    with pytest.raises(SettingsError):
        replace(PLAN, **change)
