# SPDX-License-Identifier: Apache-2.0
import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from backend.errors import PhotoError
from backend.photo import BACKDROP, WORK_SIDE_PX, read_photo

SIZE = (96, 80)


def colourful(size=SIZE):
    """Smooth colours, different in every corner."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    return np.rint(255 * np.stack([x, y, 1 - x * y], axis=-1)).astype(np.uint8)


def png_file(path, samples, colour_type):
    """A 16-bit PNG, which Pillow itself cannot write in colour."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def saved(path, image, **options):
    image.save(path, **options)
    return path


def code_of(path):
    with pytest.raises(PhotoError) as raised:
        read_photo(path)
    assert str(raised.value).endswith(".")
    return raised.value.code


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "bmp"])
def test_lossless_files_give_back_their_pixels(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"photo.{suffix}", Image.fromarray(colourful()), **options)
    np.testing.assert_array_equal(read_photo(path).pixels, colourful())


def test_jpeg_gives_nearly_its_pixels(tmp_path):
    path = saved(tmp_path / "photo.jpg", Image.fromarray(colourful()), quality=95, subsampling=0)
    assert np.abs(read_photo(path).pixels.astype(int) - colourful()).max() <= 6


def test_the_hash_is_that_of_the_file_and_the_name_is_kept(tmp_path):
    path = saved(tmp_path / "Zoë und 写真 1.png", Image.fromarray(colourful()))
    photo = read_photo(path)
    assert photo.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert photo.name == "Zoë und 写真 1.png"


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = colourful()[..., 0]
    pixels = read_photo(saved(tmp_path / "grey.png", Image.fromarray(grey))).pixels
    np.testing.assert_array_equal(pixels, np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_shows_the_backdrop(tmp_path, mode):
    image = Image.new("RGB", SIZE, (200, 200, 200)).convert(mode)
    alpha = np.repeat([[0] * 32 + [128] * 32 + [255] * 32], SIZE[1], axis=0).astype(np.uint8)
    image.putalpha(Image.fromarray(alpha))
    pixels = read_photo(saved(tmp_path / "cut_out.png", image)).pixels
    assert pixels[0, 0].tolist() == [BACKDROP] * 3
    assert abs(int(pixels[0, 40, 0]) - (200 + BACKDROP) // 2) <= 1
    assert pixels[0, 90].tolist() == [200] * 3


def test_a_palette_becomes_its_colours(tmp_path):
    image = Image.fromarray(colourful()).quantize(16)
    for suffix in ("png", "gif"):
        pixels = read_photo(saved(tmp_path / f"palette.{suffix}", image)).pixels
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_a_transparent_palette_entry_shows_the_backdrop(tmp_path):
    image = Image.new("P", SIZE, 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    pixels = read_photo(saved(tmp_path / "palette.png", image, transparency=1)).pixels
    assert (pixels == BACKDROP).all()


def test_one_bit_pictures_are_black_and_white(tmp_path):
    bits = Image.fromarray(colourful()).convert("1")
    pixels = read_photo(saved(tmp_path / "bits.png", bits)).pixels
    np.testing.assert_array_equal(pixels, np.asarray(bits.convert("RGB")))


def test_sixteen_bits_of_grey_scale_to_eight(tmp_path):
    expected = colourful()[..., 0]
    samples = expected.astype(np.uint16) * 257
    for path in (png_file(tmp_path / "grey.png", samples[..., None], 0), tmp_path / "grey.tif"):
        if path.suffix == ".tif":
            tifffile.imwrite(path, samples)
        np.testing.assert_array_equal(read_photo(path).pixels[..., 1], expected)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_sixteen_bits_of_colour_scale_to_eight(tmp_path, byteorder):
    samples = colourful().astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "colour.tif", samples, photometric="rgb", byteorder=byteorder)
    np.testing.assert_array_equal(read_photo(tmp_path / "colour.tif").pixels, colourful())
    path = png_file(tmp_path / "colour.png", samples, 2)
    np.testing.assert_array_equal(read_photo(path).pixels, colourful())


def test_sixteen_bit_transparency_shows_the_backdrop(tmp_path):
    samples = np.zeros((*colourful().shape[:2], 4), np.uint16)
    assert (read_photo(png_file(tmp_path / "clear.png", samples, 6)).pixels == BACKDROP).all()
    assert (read_photo(png_file(tmp_path / "grey.png", samples[..., :2], 4)).pixels == BACKDROP).all()


def test_numbers_of_unknown_range_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "float.tif", np.ones((80, 96), np.float32))
    tifffile.imwrite(tmp_path / "long.tif", np.full((80, 96), 1 << 20, np.int32))
    assert code_of(tmp_path / "float.tif") == code_of(tmp_path / "long.tif") == "photo_unsupported"


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path, suffix):
    inks = np.zeros((*colourful().shape[:2], 4), np.uint8)
    inks[:, 48:, 1:3] = 255  # Magenta and yellow make red.
    pixels = read_photo(
        saved(tmp_path / f"inks.{suffix}", Image.frombytes("CMYK", SIZE, inks.tobytes()))
    ).pixels.astype(int)
    assert np.abs(pixels[40, 10] - 255).max() <= 3
    assert np.abs(pixels[40, 80] - [255, 0, 0]).max() <= 8


def swapped_profile():
    """The sRGB profile with the places of red and green exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {}
    for start in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12):
        tags[bytes(profile[start : start + 4])] = start
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red + 4 : red + 12], profile[green + 4 : green + 12] = (
        profile[green + 4 : green + 12],
        profile[red + 4 : red + 12],
    )
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_colour_profile_is_applied(tmp_path, mode):
    image = Image.fromarray(colourful()).convert(mode)
    pixels = read_photo(saved(tmp_path / "profile.png", image, icc_profile=swapped_profile())).pixels
    assert np.abs(pixels.astype(int) - colourful()[..., [1, 0, 2]]).max() <= 2


def test_a_profile_that_does_not_fit_is_ignored_with_a_warning(tmp_path, caplog):
    path = saved(tmp_path / "profile.png", Image.fromarray(colourful()), icc_profile=b"no profile at all")
    np.testing.assert_array_equal(read_photo(path).pixels, colourful())
    assert "colour profile" in caplog.text


STORED = {  # How a camera stores an upright picture under each EXIF orientation.
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_photos_stand_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](colourful())))
    for suffix in ("png", "tif"):
        path = saved(tmp_path / f"turned.{suffix}", image, exif=exif)
        np.testing.assert_array_equal(read_photo(path).pixels, colourful())


def with_exif(tmp_path, **tags):
    exif = Image.Exif()
    block = exif.get_ifd(ExifTags.IFD.Exif)
    for name, value in tags.items():
        block[ExifTags.Base[name]] = value
    return read_photo(saved(tmp_path / "lens.jpg", Image.fromarray(colourful()), exif=exif)).focal_35mm


def test_the_35mm_focal_length_is_read(tmp_path):
    assert with_exif(tmp_path, FocalLengthIn35mmFilm=85, FocalLength=56.0) == 85


def test_the_focal_length_follows_from_the_sensor(tmp_path):
    # 960 pixels at 40 per mm are a sensor 24 mm wide and 20 mm high.
    focal = with_exif(
        tmp_path,
        FocalLength=50.0,
        FocalPlaneXResolution=40.0,
        FocalPlaneResolutionUnit=4,
        ExifImageWidth=960,
        ExifImageHeight=800,
    )
    assert focal == pytest.approx(50 * np.hypot(36, 24) / np.hypot(24, 20))


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"FocalLength": 50.0},
        {"FocalLengthIn35mmFilm": 0},
        {"FocalLengthIn35mmFilm": 60000},
        {"FocalLengthIn35mmFilm": 85, "ExifImageWidth": 6000, "ExifImageHeight": 4000},
    ],
    ids=["nothing", "lens without sensor", "zero", "absurd", "cropped"],
)
def test_an_unknown_lens_is_none(tmp_path, tags):
    assert with_exif(tmp_path, **tags) is None


@pytest.mark.parametrize("cut", [0, 3, 8, 15, 30])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_damaged_metadata_leaves_the_pixels(tmp_path, suffix, cut):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLength] = 50.0
    broken = exif.tobytes()[: 6 + cut] + b"\xff" * 40
    image = Image.fromarray(colourful())
    photo = read_photo(saved(tmp_path / f"exif.{suffix}", image, exif=broken))
    plain = read_photo(saved(tmp_path / f"plain.{suffix}", image))
    np.testing.assert_array_equal(photo.pixels, plain.pixels)
    assert photo.focal_35mm is None


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_large_photos_are_shrunk(tmp_path, suffix):
    image = Image.fromarray(colourful()).resize((12000, 8000), Image.Resampling.NEAREST).convert("L")
    pixels = read_photo(saved(tmp_path / f"large.{suffix}", image)).pixels
    assert pixels.shape == (round(WORK_SIDE_PX * 2 / 3), WORK_SIDE_PX, 3)
    small = np.asarray(Image.fromarray(colourful()).convert("L").resize((48, 32), Image.Resampling.BOX)).astype(int)
    shown = np.asarray(Image.fromarray(pixels).convert("L").resize((48, 32), Image.Resampling.BOX)).astype(int)
    assert np.abs(shown - small).max() <= 3


def test_over_a_hundred_megapixels_are_refused_before_decoding(tmp_path):
    path = png_file(tmp_path / "huge.png", np.zeros((64, 64, 1)), 0)
    for width in (10001, 60000):
        data = bytearray(path.read_bytes())
        struct.pack_into(">II", data, 16, width, 10000)
        struct.pack_into(">I", data, 29, zlib.crc32(bytes(data[12:29])))
        (tmp_path / "claims.png").write_bytes(bytes(data))
        assert code_of(tmp_path / "claims.png") == "photo_too_large"


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    assert code_of(tmp_path / "nothing.png") == "photo_missing"


def test_a_folder_is_no_photo(tmp_path):
    assert code_of(tmp_path) == "photo_is_folder"


def test_an_empty_file_is_no_photo(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert code_of(tmp_path / "empty.jpg") == "photo_empty"


@pytest.mark.parametrize("data", [b"Dear diary", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"])
def test_other_files_are_no_photos(tmp_path, data):
    (tmp_path / "other.png").write_bytes(data)
    assert code_of(tmp_path / "other.png") in {"photo_not_image", "photo_damaged"}


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_half_a_file_is_damaged(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (80, 96, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
    (tmp_path / f"part.{suffix}").write_bytes(data.getvalue()[: int(share * len(data.getvalue()))])
    assert code_of(tmp_path / f"part.{suffix}") in {"photo_damaged", "photo_not_image"}


@pytest.mark.parametrize("size", [(1, 1), (63, 4000)])
def test_tiny_photos_are_refused(tmp_path, size):
    assert code_of(saved(tmp_path / "tiny.png", Image.new("RGB", size))) == "photo_too_small"
