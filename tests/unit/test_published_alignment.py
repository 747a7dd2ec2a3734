# SPDX-License-Identifier: Apache-2.0
"""Crops and labels: against the published chain's numbers, and against heads whose pose is known."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from backend import published_alignment as alignment
from backend.camera import Camera, look_at_camera, project, rays
from backend.folders import starter_path
from backend.generator.config import CameraConfig
from backend.generator.eg3d_camera import label_of, pose_looking
from backend.inversion.parametric import Lens, fit_template
from backend.landmarks import Face, detect_faces
from backend.photo import Photo
from backend.resample import transform
from backend.starter import Starter, load_starter
from tests.portraits import needs_photo_models
from tests.small_starter import small_template
from tests.unit.parity import Fixture, fixtures

FFHQ = CameraConfig()
LENS = np.array([[FFHQ.focal, 0, 0.5], [0, FFHQ.focal, 0.5], [0, 0, 1]])


@pytest.fixture(scope="module", params=fixtures(lambda meta: "photo alignment" in meta["target"]))
def fixture(request) -> Fixture:
    return Fixture(request.param)


def _photos(fixture: Fixture) -> list[str]:
    return sorted(key.partition(".")[0] for key in fixture.io if key.endswith(".in_image"))


def _tensor(value: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(value, dtype=np.float64))


def test_crops_agree(fixture):
    assert _photos(fixture)
    for name in _photos(fixture):
        pixels = fixture.io[f"{name}.in_image"].numpy()
        points = fixture.io[f"{name}.in_lm_yup"].double().numpy()
        size = pixels.shape[1], pixels.shape[0]
        scale, offset = alignment.fit_five_points(points, fixture.io["align.lm3d"].double().numpy())
        fixture.check(f"{name}.pos_s", _tensor([scale]))
        fixture.check(f"{name}.pos_t", _tensor(offset))
        fixture.check(f"{name}.trans_params", _tensor([*size, 300 / scale, *offset]))
        window = alignment.crop_window(size, scale, offset)
        crop = alignment.cut_window(pixels, window, extend=False)
        expected = fixture.io[f"{name}.crop512.strided8"].numpy().astype(int)
        assert np.abs(crop[::8, ::8] - expected).max() <= 1
        # The chain's own landmarks ignore half a photo pixel, and that its windows have whole pixels.
        framed = points * [1, -1] + [0.5, size[1] - 0.5]
        framed = framed @ window.photo_to_crop[:2, :2] + window.photo_to_crop[:2, 2]
        framed = framed * 700 / 512 + 162
        expected = fixture.io[f"{name}.lm_in_1024"].numpy() * [1, -1] + [0, 1024]
        assert np.abs(framed - expected).max() < 0.5 * 300 / scale + 1


def face_pose(angle, trans):
    """The camera of a 3D face model's coefficients, in the face's frame, decimetres.

    Args:
        angle: Turns about x, y and z, radians.
        trans: Shift of the face before a camera that stands 10 dm away.
    """
    (cos_x, cos_y, cos_z), (sin_x, sin_y, sin_z) = np.cos(angle), np.sin(angle)
    about_x = np.array([[1, 0, 0], [0, cos_x, -sin_x], [0, sin_x, cos_x]])
    about_y = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
    about_z = np.array([[cos_z, -sin_z, 0], [sin_z, cos_z, 0], [0, 0, 1]])
    to_face = (about_z @ about_y @ about_x).T
    pose = np.eye(4)
    pose[:3, :3] = to_face * [1, -1, -1]
    pose[:3, 3] = -to_face @ (trans - [0, 0, 10])
    return pose


def test_labels_agree(fixture):
    angles, trans = (fixture.io[f"cam.{name}"].double().numpy() for name in ("angle", "trans"))
    raw = [alignment.eg3d_pose(face_pose(*pair)) for pair in zip(angles, trans, strict=True)]
    fixture.check("cam.raw_pose", _tensor(raw))
    cameras = [Camera(alignment.at_radius(pose, FFHQ.radius), LENS) for pose in raw]
    fixture.check("cam.orig", _tensor([label_of(camera) for camera in cameras]))
    fixture.check("cam.orig_mirror", _tensor([label_of(alignment.mirrored(camera)) for camera in cameras]))
    pivot = np.eye(4)
    pivot[2, 3] = 0.175  # What the chain's other mode moves cameras around.
    around = [pivot @ alignment.at_radius(np.linalg.inv(pivot) @ pose, FFHQ.radius) for pose in raw]
    cameras = [Camera(pose, LENS) for pose in around]
    fixture.check("cam.cor", _tensor([label_of(camera) for camera in cameras]))
    fixture.check("cam.cor_mirror", _tensor([label_of(alignment.mirrored(camera)) for camera in cameras]))


def _face_at(centre: tuple[float, float], dm_px: float, *, roll_deg: float = 0.0) -> Face:
    """The reference face seen from far away, its origin at a photo position."""
    roll = np.radians(roll_deg)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    places = alignment.REFERENCE_DM[:, :2] * [1, -1] * dm_px @ turn.T + centre
    landmarks = np.zeros((478, 2))
    landmarks[[33, 133]], landmarks[[263, 362]] = places[0], places[1]
    landmarks[[1, 61, 291]] = places[2:]
    return Face(np.array([*places.min(0), *np.ptp(places, axis=0)]), 1.0, landmarks, np.zeros(478))


def _smooth_photo(height: int, width: int) -> Photo:
    noise = np.random.default_rng(0).normal(size=(height, width, 3))
    waves = gaussian_filter(noise, (8, 8, 0)) * 2000 + 128
    return Photo(waves.clip(0, 255).astype(np.uint8), None, "", "waves")


@pytest.mark.parametrize("roll_deg", [0, 20])
def test_the_faces_origin_is_in_the_middle_and_its_size_the_published_one(roll_deg):
    face = _face_at((330, 420), 150, roll_deg=roll_deg)
    portrait = alignment.align_eg3d(_smooth_photo(900, 700), face)
    matrix = portrait.photo_to_portrait
    middle = transform(matrix, np.array([[330.0, 420.0]]))[0]
    # The square has whole pixels of the changed photo, two to each photo pixel.
    np.testing.assert_allclose(middle, [256, 256], atol=2)
    np.testing.assert_allclose(matrix[:2, :2] * 150, np.eye(2) * 300 * 512 / 700, rtol=2e-3, atol=1e-9)
    np.testing.assert_allclose(portrait.landmarks, transform(matrix, face.landmarks))


def test_the_picture_shows_what_its_map_says():
    photo = _smooth_photo(640, 800)
    portrait = alignment.align_eg3d(photo, _face_at((420, 300), 190))
    across, down = np.meshgrid(np.arange(512) + 0.5, np.arange(512) + 0.5)
    places = np.stack([across.ravel(), down.ravel()], axis=1)
    on_photo = transform(np.linalg.inv(portrait.photo_to_portrait), places).astype(int)
    expected = photo.pixels[on_photo[:, 1], on_photo[:, 0]].reshape(512, 512, 3).astype(float)
    shown = (portrait.image[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(shown - expected).mean() < 2
    assert np.abs(np.roll(shown, 3, axis=0) - expected).mean() > 4
    assert portrait.coverage.min() == 1


def test_beyond_the_photo_its_border_goes_on_or_it_is_black():
    photo = _smooth_photo(300, 300)
    face = _face_at((290, 150), 100)
    points_up = alignment._y_up(alignment.five_points(face), 300)
    window = alignment.crop_window((300, 300), *alignment.fit_five_points(points_up, alignment.REFERENCE_DM))
    extended, black = (alignment.cut_window(photo.pixels, window, extend=extend) for extend in (True, False))
    assert not black[:, 300:].any()
    assert np.abs(extended[:, 300:].astype(int) - extended[:, 299:300]).max() < 30
    assert np.array_equal(extended[:, :250], black[:, :250])
    portrait = alignment.align_eg3d(photo, face)
    assert portrait.coverage[0, 0, :, 300:].max() == 0
    assert portrait.coverage[0, 0, :, :250].min() == 1


def test_a_huge_photo_is_not_resized_as_a_whole():
    photo = Photo(np.zeros((4000, 6000, 3), np.uint8), None, "", "huge")
    # At this scale the whole photo would be 120 000 pixels wide.
    assert alignment.align_eg3d(photo, _face_at((3000, 2000), 15)).image.shape == (1, 3, 512, 512)


TEMPLATE = small_template()
EYES = alignment._eyes(TEMPLATE)


def _head_camera(*, yaw_deg: float = 0.0, roll_deg: float = 0.0, target: np.ndarray = EYES) -> Camera:
    camera = look_at_camera(yaw_deg=yaw_deg, pitch_deg=0, distance=1.0, focal=4.0, target=target)
    roll = np.radians(roll_deg)
    lean = np.eye(4)
    lean[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    return Camera(camera.cam2world @ lean, camera.intrinsics)


def test_a_camera_a_metre_before_the_face_has_eg3ds_frontal_label():
    target = EYES + alignment.EYES_TO_FACE_M
    camera = alignment.published_camera(_head_camera(target=target), TEMPLATE, "eg3d", FFHQ)
    # 10 dm at 0.27 units each, from the face's own origin at (0, 0.006, 0.161); then the radius.
    place = np.array([0, 0.006, 0.27 * 10 + 0.161])
    np.testing.assert_allclose(camera.position, place * 2.7 / np.linalg.norm(place), atol=1e-9)
    np.testing.assert_allclose(camera.cam2world[:3, :3], np.diag([1, -1, -1]), atol=1e-9)
    assert camera.intrinsics[0, 0] == 4.2647


def test_eg3d_labels_keep_the_turn_and_the_lean():
    head = _head_camera(yaw_deg=25, roll_deg=10)
    camera = alignment.published_camera(head, TEMPLATE, "eg3d", FFHQ)
    np.testing.assert_allclose(camera.cam2world[:3, :3], head.cam2world[:3, :3])
    assert np.isclose(np.linalg.norm(camera.position), 2.7)


def test_panohead_labels_look_at_the_origin_whatever_the_place():
    config = CameraConfig(pivot=(0.0, 0.0, 0.0))
    for target in (EYES, EYES + 0.1):
        camera = alignment.published_camera(_head_camera(yaw_deg=130, target=target), TEMPLATE, "panohead", config)
        np.testing.assert_allclose(camera.position, -2.7 * camera.cam2world[:3, 2])
        np.testing.assert_allclose(np.degrees(np.arctan2(camera.position[0], camera.position[2])), 130)


def test_3dportraitgan_labels_look_at_the_neck_and_lean_as_the_photo():
    config = CameraConfig(pivot=(0.0, 0.0649, 0.0), focal=6.5104166)
    neck = EYES + alignment.EYES_TO_NECK_M
    camera = alignment.published_camera(
        _head_camera(yaw_deg=40, roll_deg=15, target=neck), TEMPLATE, "portrait3d", config
    )
    level = pose_looking(np.array(config.pivot) - camera.position, camera.position)
    np.testing.assert_allclose(np.degrees(np.arctan2(camera.position[0], camera.position[2])), 40)
    np.testing.assert_allclose(camera.cam2world[:3, 2], level[:3, 2], atol=1e-9)
    lean = level[:3, :3].T @ camera.cam2world[:3, :3]
    np.testing.assert_allclose(np.degrees(np.arctan2(lean[1, 0], lean[0, 0])), 15)


def test_a_mirrored_label_differs_in_five_signs():
    pose = np.arange(1.0, 17).reshape(4, 4)
    pose[3] = 0, 0, 0, 1
    camera = Camera(pose, LENS)
    is_flipped = label_of(alignment.mirrored(camera)) == -label_of(camera)
    assert np.flatnonzero(is_flipped & (label_of(camera) != 0)).tolist() == [1, 2, 3, 4, 8]


@cache
def _starter() -> Starter:
    return load_starter(starter_path())


def test_the_reference_is_the_starters_mean_face():
    template = _starter().template
    corners = (template.vertices + template.neutral)[template.faces[template.landmark_faces]]
    landmarks = np.einsum("nci,nc->ni", corners, template.landmark_weights)
    five = np.vstack([landmarks[[33, 133]].mean(0), landmarks[[263, 362]].mean(0), landmarks[[1, 61, 291]]])
    origin = alignment._eyes(template) + alignment.EYES_TO_FACE_M
    np.testing.assert_allclose(10 * (five - origin), alignment.REFERENCE_DM, atol=0.03)


def _rendered(camera: Camera, size_px: int) -> Photo:
    """The starter's ordinary head by sphere tracing, lit from the front."""
    generator = _starter().generator
    origin, directions = (torch.tensor(np.asarray(x), dtype=torch.float32) for x in rays(camera, size_px))
    directions = directions.reshape(-1, 3)
    with torch.no_grad():
        field = generator.field(generator.map(_starter().candidates[:1]))
        depth = torch.full((len(directions),), float(origin.norm()) - 0.16)
        moving = torch.arange(len(depth))
        for _ in range(40):
            points = origin + depth[moving, None] * directions[moving]
            step = field.signed_distance(points).maximum(points.abs().amax(1) - generator.config.side / 2 + 0.004)
            depth[moving] += 0.9 * step
            moving = moving[(step > 5e-4) & (depth[moving] < float(origin.norm()) + 0.16)]
        points = origin + depth[:, None] * directions
        is_hit = field.signed_distance(points) < 2e-3
        color = torch.where(is_hit[:, None], field.color(points), 0.5)
    return Photo((color * 255).byte().reshape(size_px, size_px, 3).numpy(), None, "", "rendered")


def _through(camera: Camera, place: np.ndarray) -> np.ndarray:
    """Axes of the camera once it is turned to look through an image position, in image widths."""
    ahead = np.array([0, 0, 1])
    ray = np.append(place - 0.5, camera.intrinsics[0, 0])
    ray /= np.linalg.norm(ray)
    x, y, _ = np.cross(ahead, ray)
    cross = np.array([[0, 0, y], [0, 0, -x], [-y, x, 0]])
    return camera.cam2world[:3, :3] @ (np.eye(3) + cross + cross @ cross / (1 + ray[2]))


def test_a_camera_turned_to_a_point_has_it_in_its_middle():
    camera = look_at_camera(yaw_deg=30, pitch_deg=10, distance=1.0, focal=2.0)
    point = np.array([0.05, 0.02, 0.1])
    turned = _through(camera, project(camera, point[None])[0][0])
    sideways = (point - camera.position) @ turned
    np.testing.assert_allclose(sideways[:2], 0, atol=1e-12)


@needs_photo_models
@pytest.mark.parametrize(("yaw_deg", "pitch_deg"), [(0, 5), (25, -5), (-38, 0)])
def test_a_rendered_heads_label_turns_as_its_camera(yaw_deg, pitch_deg):
    truth = look_at_camera(yaw_deg=yaw_deg, pitch_deg=pitch_deg, distance=1.0, focal=3.0)
    photo = _rendered(truth, 224)
    portrait = alignment.align_eg3d(photo, detect_faces(photo.pixels)[0])
    template = _starter().template
    head = fit_template(template, portrait.landmarks / portrait.size_px, Lens(FFHQ.focal)).camera
    found = alignment.published_camera(head, template, "eg3d", FFHQ).cam2world[:3, 2]
    middle = transform(np.linalg.inv(portrait.photo_to_portrait), np.array([[256.0, 256.0]]))[0]
    expected = _through(truth, middle / 224)[:, 2]
    # Cameras look against +z; at the edge of the tested range the fit is about 3 degrees off.
    assert abs(np.degrees(np.arctan2(-found[0], -found[2]) - np.arctan2(-expected[0], -expected[2]))) < 3.5
    assert abs(np.degrees(np.arcsin(found[1]) - np.arcsin(expected[1]))) < 4.5
