import io
import warnings

import numpy as np
import pytest
from PIL import Image

from jaxvision.data import read_colours, read_image, read_mask
from jaxvision.data.image_files import decode_flags, decode_image

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def save(path, array, mode=None, **options):
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def test_rgb_is_read_as_it_is(tmp_path):
    got = read_image(save(tmp_path / "a.png", RGB))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, RGB)
    got[0] = 0  # the array may be written to


def test_grey_becomes_three_equal_channels(tmp_path):
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", GREY)), np.stack([GREY] * 3, -1))


def test_one_bit_becomes_black_and_white(tmp_path):
    got = read_image(save(tmp_path / "a.png", GREY > 127))
    np.testing.assert_array_equal(got, np.stack([(GREY > 127) * 255] * 3, -1))


def test_transparency_is_dropped_and_colour_kept(tmp_path):
    alpha = np.arange(54, dtype=np.uint8).reshape(6, 9, 1)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", np.concatenate([RGB, alpha], -1))), RGB)
    grey_alpha = np.concatenate([GREY[..., None], alpha], -1)
    got = read_image(save(tmp_path / "b.png", grey_alpha))
    np.testing.assert_array_equal(got, np.stack([GREY] * 3, -1))


def test_palettes_are_looked_up_without_a_warning(tmp_path):
    picture = Image.new("P", GREY.shape[::-1])
    picture.putdata((GREY % 3).ravel().tolist())
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = read_image(tmp_path / "a.png")
    table = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8)
    np.testing.assert_array_equal(got, table[GREY % 3])


def test_sixteen_bit_is_scaled_to_eight(tmp_path):
    deep = np.array([[0, 257, 65535, 32768]], np.uint16)
    assert read_image(save(tmp_path / "a.png", deep))[0, :, 0].tolist() == [0, 1, 255, 128]
    assert read_image(save(tmp_path / "a.tif", deep))[0, :, 2].tolist() == [0, 1, 255, 128]


def test_wider_than_sixteen_bit_is_refused(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[0, 70000]], np.int32))
    with pytest.raises(ValueError, match=r"a\.tif: values 0 to 70000, expected 8 or 16 bit"):
        read_image(path)


def test_floating_point_is_refused(tmp_path):
    path = save(tmp_path / "a.tif", np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match=r"a\.tif: a floating point picture, expected 8 or 16 bit"):
        read_image(path)


def test_cmyk_becomes_rgb(tmp_path):
    flat = np.broadcast_to(np.array([200, 60, 20], np.uint8), (16, 16, 3)).copy()
    got = read_image(save(tmp_path / "a.jpg", flat, "CMYK", quality=95))
    assert np.abs(got.astype(int) - [200, 60, 20]).max() <= 6


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.transpose(1, 0, 2)),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: stored[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda stored: np.rot90(stored, 1)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.png", "a.tif"):
        Image.fromarray(RGB).save(tmp_path / name, exif=exif)
        np.testing.assert_array_equal(read_image(tmp_path / name), upright(RGB))


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.png") == 10).all()


@pytest.mark.parametrize("read", [read_image, lambda path: read_mask(path, num_classes=3)])
class TestBadFiles:
    def test_missing(self, tmp_path, read):
        with pytest.raises(FileNotFoundError, match=r"a\.png: no such file"):
            read(tmp_path / "a.png")
        with pytest.raises(FileNotFoundError):
            read(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 500])
    def test_no_picture(self, tmp_path, read, content):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.png: not a picture that Pillow can read"):
            read(tmp_path / "a.png")

    @pytest.mark.filterwarnings("ignore:.*EXIF")  # Pillow warns of a cut TIFF directory, then raises
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
    def test_truncated(self, tmp_path, read, kind):
        buffer = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        Image.fromarray(noise).save(buffer, format=kind)
        content = buffer.getvalue()
        path = tmp_path / "a.png"
        for length in (len(content) // 2, 60, 30, 10):
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match=r"a\.png: (damaged or truncated|not a picture)"):
                read(path)

    def test_flipped_bytes(self, tmp_path, read):
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(buffer, format="PNG")
        content = bytearray(buffer.getvalue())
        content[45:60] = bytes(15)
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.png: (damaged or truncated|not a picture)"):
            read(tmp_path / "a.png")


def palette_png(path, indices):
    picture = Image.new("P", indices.shape[::-1])
    picture.putdata(indices.ravel().tolist())
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    picture.save(path)
    return path


MASK = np.array([[0, 1, 2, 255], [2, 2, 0, 1]], np.uint8)


def test_masks_of_palette_and_grey_files(tmp_path):
    for path in (
        palette_png(tmp_path / "palette.png", MASK),
        save(tmp_path / "grey.png", MASK),
        save(tmp_path / "deep.png", MASK.astype(np.uint16)),
        save(tmp_path / "deep.tif", MASK.astype(np.int32)),
        save(tmp_path / "grey.bmp", MASK),
    ):
        got = read_mask(path, num_classes=3)
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, MASK)


def test_one_bit_masks_are_classes_0_and_1(tmp_path):
    got = read_mask(save(tmp_path / "a.png", MASK > 0), num_classes=2)
    np.testing.assert_array_equal(got, MASK > 0)


def test_another_void_is_read_as_255(tmp_path):
    got = read_mask(save(tmp_path / "a.png", np.array([[0, 11, 10, 255]], np.uint8)), num_classes=11, void=11)
    assert got.tolist() == [[0, 255, 10, 255]]


def test_class_index_out_of_range_names_file_values_and_counts(tmp_path):
    path = save(tmp_path / "a.png", np.array([[0, 7, 7], [3, 255, 2]], np.uint8))
    with pytest.raises(
        ValueError, match=r"a\.png: class index out of range: 3 \(1 px\), 7 \(2 px\), expected 0\.\.2 or 255"
    ):
        read_mask(path, num_classes=3)
    many = save(tmp_path / "b.tif", np.arange(300, 310, dtype=np.uint16)[None])
    with pytest.raises(ValueError, match=r"300 \(1 px\), .*304 \(1 px\) and 5 more, expected 0\.\.2"):
        read_mask(many, num_classes=3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_masks_are_refused(tmp_path, mode):
    path = save(tmp_path / "a.png", RGB, mode)
    with pytest.raises(ValueError, match=rf"a\.png: a mask with mode {mode}, expected one channel"):
        read_mask(path, num_classes=3)


def test_masks_of_lossy_formats_are_refused(tmp_path):
    path = save(tmp_path / "a.jpg", np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"a\.jpg: a mask in JPEG format.*save masks as PNG"):
        read_mask(path, num_classes=3)


def test_a_picture_from_memory():
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, format="PNG")
    np.testing.assert_array_equal(decode_image(file.getvalue(), "here"), RGB)
    with pytest.raises(ValueError, match="here: not a picture that Pillow can read"):
        decode_image(b"", "here")
    with pytest.raises(ValueError, match="here: damaged or truncated"):
        decode_image(file.getvalue()[:80], "here")


@pytest.mark.parametrize("array", [GREY, GREY > 100, GREY.astype(np.uint16) * 300])
def test_flags_from_memory(array):
    file = io.BytesIO()
    array = np.where(GREY > 100, array, 0).astype(array.dtype)
    Image.fromarray(array).save(file, format="PNG")
    flags = decode_flags(file.getvalue(), "here")
    assert flags.dtype == bool
    np.testing.assert_array_equal(flags, array != 0)


def test_flags_have_one_channel():
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, format="PNG")
    with pytest.raises(ValueError, match="here: a picture with mode RGB, expected one channel"):
        decode_flags(file.getvalue(), "here")


def test_masks_of_colours(tmp_path):
    alpha = np.full((6, 9, 1), 3, np.uint8)
    kinds = {"rgb": (RGB, RGB), "rgba": (np.concatenate([RGB, alpha], -1), RGB)}
    kinds |= {
        "grey": (GREY, np.stack([GREY] * 3, -1)),
        "bit": (GREY > 127, np.stack([(GREY > 127) * 255] * 3, -1)),
    }
    for name, (array, expected) in kinds.items():
        np.testing.assert_array_equal(read_colours(save(tmp_path / f"{name}.png", array)), expected)
    picture = Image.fromarray(GREY // 100).convert("P")
    picture.putpalette([5, 6, 7, 8, 9, 10, 11, 12, 13])
    picture.save(tmp_path / "palette.png", transparency=1)
    expected = np.array([[5, 6, 7], [8, 9, 10], [11, 12, 13]])[GREY // 100]
    np.testing.assert_array_equal(read_colours(tmp_path / "palette.png"), expected)


def test_masks_of_colours_in_other_files(tmp_path):
    with pytest.raises(ValueError, match=r"a\.png: a mask with mode I;16, expected colours of 8 bit"):
        read_colours(save(tmp_path / "a.png", GREY.astype(np.uint16)))
    with pytest.raises(ValueError, match=r"a\.jpg: a mask in JPEG format"):
        read_colours(save(tmp_path / "a.jpg", RGB))
    with pytest.raises(FileNotFoundError, match=r"none\.png: no such file"):
        read_colours(tmp_path / "none.png")
