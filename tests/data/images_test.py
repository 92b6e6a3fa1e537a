"""Tests of image decoding, on made images and on a collection of broken and odd files."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from xmjax.data.images import decode, reduced, whole

ROOT = Path(__file__).parents[2]
BAD = ROOT.parent / "shared" / "data" / "badinput"


def encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Four smooth quarters of different colours, so that turns and flips show."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * rows / height, 255 * columns / width, 60 + 120 * (rows > height / 2)], -1)
    return Image.fromarray(pixels.astype(np.uint8))


def apart(left: np.ndarray, right) -> float:
    return float(np.abs(left.astype(float) - np.asarray(right)).mean())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA"])
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_formats_and_fits(kind, fit):
    image = scene()
    result = decode(encode(image, kind), 30, fit)
    assert result.shape == (30, 30, 3) and result.dtype == np.uint8
    assert result.flags.c_contiguous and result.flags.writeable
    if fit == "stretch":
        expected = image.resize((30, 30), Image.Resampling.BICUBIC)
    elif fit == "crop":
        expected = ImageOps.fit(image, (30, 30), Image.Resampling.BICUBIC)
    else:
        expected = ImageOps.pad(image, (30, 30), Image.Resampling.BICUBIC, color="white")
    assert apart(result, expected) < (12 if kind == "GIF" else 5)


@pytest.mark.parametrize(
    ("width", "height", "size"), [(640, 427, 64), (97, 33, 16), (20, 30, 32), (1, 7, 5), (64, 64, 64)]
)
def test_resize_is_close_to_pillow(width, height, size):
    image = scene(width, height)
    expected = image.resize((size, size), Image.Resampling.BILINEAR)
    assert apart(decode(encode(image, "PNG"), size, "stretch"), expected) < 5


def test_reductions_are_antialiased():
    stripes = np.zeros((240, 240, 3), np.uint8)
    stripes[:, ::2] = 255
    for size in (24, 65, 100, 130, 180):
        result = decode(encode(Image.fromarray(stripes), "PNG"), size, "stretch")
        assert result.std() < 45, size  # Without, entire bands are black or white: 90 and more.


def test_same_size_is_unchanged():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(decode(encode(Image.fromarray(pixels), "PNG"), 32, "crop"), pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_exif_orientation(kind, orientation, fit):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(scene(), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert apart(decode(data, 30, fit), decode(encode(upright, "PNG"), 30, fit)) < 3


def test_a_whole_picture_keeps_its_shape():
    image = scene()
    assert apart(whole(encode(image, "PNG"), 200), image) == 0  # it is never enlarged
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = whole(encode(image, "JPEG", quality=95, exif=exif), 32)
    assert turned.shape == (48, 32, 3)
    assert apart(turned, image.resize((48, 32)).transpose(Image.Transpose.ROTATE_270)) < 3
    assert reduced(np.asarray(image), 32, aspect=2.0).shape == (32, 96, 3)
    with pytest.raises(ValueError, match="not an image in a known format"):
        whole(b"nothing", 32)


def test_transparency_is_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (4, 0, 8, 8))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(0, (0, 0, 4, 8))
    files = [encode(clear, kind, **options) for kind, options in [("PNG", {}), ("WEBP", {"lossless": True})]]
    files += [encode(palette, kind, transparency=0) for kind in ("PNG", "GIF")]
    for data in files:
        result = decode(data, 8, "crop")
        assert np.all(result[:, :4] == 255)
        assert np.all(result[:, 4:] == (0, 0, 255))
    grey = Image.new("LA", (4, 4), (100, 128))
    assert np.all(np.abs(decode(encode(grey, "PNG"), 4, "crop").astype(int) - 177) <= 1)


def test_unusual_pixels():
    wide = (np.arange(16, dtype=np.uint16) * 4369)[:, None].repeat(16, 1)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(decode(encode(Image.fromarray(wide), kind), 16, "crop")[:, 0, 0], np.arange(16) * 17)
    real = Image.fromarray(np.linspace(-1, 1, 16, dtype=np.float32).reshape(16, 1).repeat(16, 1))
    assert decode(encode(real, "TIFF"), 16, "crop")[[0, -1], 0, 0].tolist() == [0, 255]
    for image in (Image.new("L", (9, 9), 200), Image.new("CMYK", (9, 9), (0, 0, 0, 55))):
        assert np.abs(decode(encode(image, "JPEG"), 9, "crop").astype(int) - 200).max() <= 2
    assert np.all(decode(encode(Image.new("1", (9, 9), 1), "PNG"), 9, "crop") == 255)


def test_first_frame_of_animation():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert np.all(decode(data, 4, "crop") == (255, 0, 0)), kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_truncated_is_an_error(kind):
    data = encode(scene(), kind)
    for kept in (1, 3, 10, len(data) // 4, len(data) // 2, len(data) * 3 // 4):
        with pytest.raises(ValueError) as caught:
            decode(data[:kept], 16, "crop")
        assert str(caught.value) and "\n" not in str(caught.value)


def test_damaged_jpeg_is_an_error():
    data = encode(scene(300, 200), "JPEG", quality=95)
    middle = len(data) // 2
    with pytest.raises(ValueError, match=r"(?i)corrupt|premature"):
        decode(data[:middle] + b"\xff\xd9" + data[middle + 2 :], 16, "crop")


def test_stray_bytes_in_jpeg_are_no_error():
    data = encode(scene(), "JPEG")
    table = data.index(b"\xff\xc0")
    assert apart(decode(data[:table] + b"\0\0" + data[table:], 16, "crop"), decode(data, 16, "crop")) < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_decompression_bomb(kind, monkeypatch):
    data = encode(scene(), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64 - 1)
    with pytest.raises(ValueError, match=r"(?i)bomb"):
        decode(data, 16, "crop")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode(data, 16, "crop").shape == (16, 16, 3)


def test_jpeg_of_too_many_scans(monkeypatch):
    data = encode(scene(), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    bomb = data[:scan] + data[scan:-2] * 50 + b"\xff\xd9"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64)
    assert decode(data, 16, "crop").shape == (16, 16, 3)
    with pytest.raises(ValueError, match="scans"):
        decode(bomb, 16, "crop")


@pytest.mark.parametrize(
    ("data", "size", "fit", "message"),
    [
        (b"", 8, "crop", "empty"),
        (b"hello, this is text", 8, "crop", "known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 8, "crop", "known format"),
        (b"x", 0, "crop", "size"),
        (b"x", 8, "squash", "squash"),
    ],
)
def test_messages(data, size, fit, message):
    with pytest.raises(ValueError, match=message):
        decode(data, size, fit)


READ_ALL = """
import json, pathlib, sys
import numpy as np
from xmjax.data.images import decode, reduced, whole

outcomes = {}
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*")):
    if path.is_file():
        print(path, file=sys.stderr, flush=True)
        try:
            image = decode(path.read_bytes(), 32, "pad")
            assert image.shape == (32, 32, 3) and image.dtype == np.uint8
            outcomes[str(path)] = "ok"
        except ValueError as error:
            assert str(error) and "\\n" not in str(error)
            outcomes[str(path)] = str(error)
print(json.dumps(outcomes))
"""


@pytest.mark.skipif(not BAD.is_dir(), reason="../shared/data/badinput is not there")
@pytest.mark.parametrize("folder", ["images", "small"])
def test_bad_and_odd_files(folder):
    # In a child process: a decoder that crashes or hangs would take the tests with it.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ_ALL, str(BAD / folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    index = {row["file"]: row.get("pillow") or "" for row in json.loads((BAD / "index.json").read_text())}
    assert outcomes
    for path, outcome in outcomes.items():
        expected = index.get(str(Path(path).relative_to(BAD)), "")
        if expected:
            assert (outcome == "ok") == expected.startswith("ok"), (path, outcome, expected)
