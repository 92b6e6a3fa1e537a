"""Encoded image files to raw RGB bytes of one size."""

import contextlib
import io
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

FITS = ("stretch", "crop", "pad")
"""How an image of any shape becomes square, see `decode`."""

# Only formats whose decoder stays in the process and has a bounded header: EPS would start Ghostscript, for
# example. TGA comes last because it has no signature.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "AVIF", "ICO", "QOI", "TGA")

# What libjpeg warns of when part of the picture was lost. Its other warnings (stray bytes between segments,
# unknown Adobe transforms, ...) leave the picture whole, and such files are given to Pillow.
_JPEG_DAMAGE = ("premature end", "bad huffman code", "bad arithmetic code", "instead of rst")

# A progressive JPEG may ask for the whole picture to be refined any number of times; real encoders use about ten.
_JPEG_PASSES = 16

_EXIF_ORIENTATION = 0x0112


def decode(data: bytes, size: int, fit: str) -> np.ndarray:
    """Decodes an encoded image to a square of raw RGB bytes.

    The EXIF orientation is applied, transparency is laid on white, of an animation the first frame is taken, and
    color profiles are ignored. Reductions are antialiased.

    Args:
      data: the bytes of an image file: JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000, PPM, AVIF, ICO, QOI or TGA.
      size: side of the result in pixels.
      fit: "stretch" ignores the aspect ratio, "crop" brings the shorter side to ``size`` and takes the centre,
        "pad" brings the longer side to ``size`` and fills with white.

    Returns:
      uint8 [size, size, 3], a fresh contiguous array.

    Raises:
      ValueError: the file is empty, of an unknown format, damaged, truncated or has more than Pillow's
        ``Image.MAX_IMAGE_PIXELS`` pixels; or ``size`` or ``fit`` is not valid. The message is one line.
    """
    if fit not in FITS:
        raise ValueError(f"fit {fit!r} is not one of {', '.join(FITS)}")
    if size < 1:
        raise ValueError(f"image size {size} is not positive")
    with _explained(data):
        pixels, orientation = _pixels(data, size, fit)
        return _upright(square(pixels, size, fit), orientation)


def dimensions(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded image as they are stored, read from its header.

    Raises:
      ValueError: it has no header that can be read.
    """
    with _explained(data), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        return image.size


def square(pixels: np.ndarray, size: int, fit: str) -> np.ndarray:
    """Raw RGB bytes uint8 [H, W, 3] as uint8 [size, size, 3]; ``fit`` as of `decode`."""
    return _resize(_center(pixels), size, size) if fit == "crop" else _whole(pixels, size, fit)


def from_pillow(image: Image.Image, size: int, fit: str) -> np.ndarray:
    """A picture of Pillow as `decode` makes it of its file: uint8 [size, size, 3].

    Raises:
      ValueError: what was opened lazily cannot be read. The message is one line.
    """
    try:
        image.load()
        return _upright(square(_rgb(image), size, fit), _orientation(image.getexif))
    except Exception as error:  # as of a file, which Pillow may not have read before
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error


def whole(data: bytes, size: int) -> np.ndarray:
    """Decodes an encoded image as `decode` does, but keeps its shape.

    Args:
      data: the bytes of an image file.
      size: most pixels of the shorter side; a larger picture is reduced, a smaller one stays as it is.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: as `decode`.
    """
    with _explained(data):
        pixels, orientation = _pixels(data, size, "crop")
        return _upright(reduced(pixels, size), orientation)


def reduced(pixels: np.ndarray, size: int, aspect: float = 1.0) -> np.ndarray:
    """A picture whose shorter side has at most ``size`` pixels: uint8 [H, W, 3] to uint8 [Y, X, 3].

    Args:
      pixels: the picture.
      size: most pixels of the shorter side.
      aspect: width over height of its pixels; those of the result are square.
    """
    height, width = pixels.shape[0], pixels.shape[1] * aspect
    scale = min(1.0, size / min(height, width))
    target = max(1, round(height * scale)), max(1, round(width * scale))
    return pixels if target == pixels.shape[:2] else _resize(pixels, *target)


@contextlib.contextmanager
def _explained(data: bytes) -> Iterator[None]:
    """Turns whatever is wrong with the bytes of a file into a ValueError of one line."""
    if not data:
        raise ValueError("the file is empty")
    try:
        yield
    except UnidentifiedImageError as error:
        raise ValueError("not an image in a known format") from error
    except Exception as error:  # Decoders raise whatever their parsers meet: OSError, SyntaxError, struct.error, ...
        message = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(message[:200]) from error


def _pixels(data: bytes, size: int, fit: str) -> tuple[np.ndarray, int]:
    """The whole picture as uint8 [H, W, 3], reduced where the decoder does that for free, and its orientation."""
    if data.startswith(b"\xff\xd8\xff"):
        try:
            return _jpeg(data, size, fit), _jpeg_orientation(data)
        except ValueError as error:
            if isinstance(error, _Refused) or any(damage in str(error).lower() for damage in _JPEG_DAMAGE):
                raise
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        _check_pixels(image.height, image.width)
        image.load()  # First, because the TIFF and AVIF decoders turn the picture and clear the tag themselves.
        return _rgb(image), _orientation(image.getexif)


class _Refused(ValueError):
    """A file that no decoder may try."""


def _check_pixels(height: int, width: int, passes: int = 1) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > limit:
        raise _Refused(f"{width} x {height} pixels are more than the limit of {limit} (a decompression bomb?)")
    if limit is not None and height * width * passes > limit * _JPEG_PASSES:
        raise _Refused(f"{width} x {height} pixels in {passes} scans are too much to decode (a decompression bomb?)")


def _jpeg(data: bytes, size: int, fit: str) -> np.ndarray:
    header = simplejpeg.decode_jpeg_header(data)
    height, width, colors = int(header[0]), int(header[1]), header[2]
    # In entropy-coded data 0xff is followed by 0, so that these two bytes are found only where a scan starts.
    _check_pixels(height, width, data.count(b"\xff\xda"))
    if colors in ("CMYK", "YCCK"):
        raise ValueError("simplejpeg does not convert CMYK")
    # libjpeg-turbo has fast inverse transforms for 1/2, 1/4 and 1/8; the scales between cost more than no scale.
    needed = max(height, width) if fit == "pad" else min(height, width)
    factor = 1
    while factor < 8 and -(-needed // (2 * factor)) >= size:
        factor *= 2
    if factor == 1:
        return simplejpeg.decode_jpeg(data)
    return simplejpeg.decode_jpeg(data, min_height=-(-height // factor), min_width=-(-width // factor))


def _jpeg_orientation(data: bytes) -> int:
    start = data.find(b"Exif\0\0", 0, 1 << 17)
    if start < 0 or data[start - 4 : start - 2] != b"\xff\xe1":
        return 1

    def read() -> Image.Exif:
        exif = Image.Exif()
        exif.load(data[start : start + (1 << 16)])
        return exif

    return _orientation(read)


def _orientation(read: Callable[[], Image.Exif]) -> int:
    try:
        return read().get(_EXIF_ORIENTATION, 1)
    except Exception:  # As in image viewers, unreadable EXIF means upright.
        return 1


def _rgb(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] of a loaded image in any of Pillow's modes."""
    if image.mode[0] in "IF":
        return _wide(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _wide(values: np.ndarray) -> np.ndarray:
    """Grey values of more than 8 bits as uint8 [H, W, 3]: white is 65535, or their own maximum outside 16 bits."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        values = values - values.min()
        grey = values * (255 / max(values.max(), np.finfo(np.float64).tiny))
    else:
        grey = values // 257
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def _center(pixels: np.ndarray) -> np.ndarray:
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _whole(pixels: np.ndarray, size: int, fit: str) -> np.ndarray:
    if fit == "stretch":
        return _resize(pixels, size, size)
    longer = max(pixels.shape[:2])
    height, width = (max(1, round(side * size / longer)) for side in pixels.shape[:2])
    top, left = (size - height) // 2, (size - width) // 2
    padded = np.full((size, size, 3), 255, np.uint8)
    padded[top : top + height, left : left + width] = _resize(pixels, height, width)
    return padded


def _resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Antialiased resize to uint8 [height, width, 3].

    Each output pixel is the mean of evenly spaced bilinear samples, at least one for each source pixel. This is as
    close to a bicubic antialiased resize as cv2's INTER_AREA and more than twice as fast, as both passes are SIMD code.
    """
    vertical, horizontal = _samples(pixels.shape[0], height), _samples(pixels.shape[1], width)
    fine = cv2.resize(pixels, (width * horizontal, height * vertical), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def _samples(source: int, target: int) -> int:
    # Up to 1.25 one sample is closer to the ideal than two, which blur.
    return 1 if source <= 1.25 * target else -(-source // target)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation (2 to 8; anything else is upright)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
