"""What users give, pictures in any form and sentences with a masked place, as the arrays that a model reads."""

import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from xmjax import vocab
from xmjax.config import Config
from xmjax.data import images
from xmjax.data.arrays import MARKING, audio_bytes, image_bytes, marked_ids, masked_ids, named_ids, window
from xmjax.data.source import Record, Word
from xmjax.data.words import words
from xmjax.errors import UserError
from xmjax.lexicon.senses import HANGUL, UNSPACED

Picture = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
"""A path, the bytes of an image file, a picture of Pillow, or raw RGB bytes uint8 [Y, X, 3]."""

Sound = str | os.PathLike[str] | bytes | np.ndarray
"""A path, the bytes of a sound file, or PCM at 16 kHz int16 [T]."""

MARK = re.compile("_{3,}|▁{3,}")
"""What stands in the place of a masked word."""


def picture(given: Picture, config: Config) -> np.ndarray:
    """A picture as the run's embedder takes it: uint8 pixels [Y, X, 3], or ids of the file's bytes uint16 [L].

    It becomes a square as in training, by `config.data.fit`.

    Raises:
      UserError: the file is missing or no readable image, or the array is of another shape or type.
    """
    size, fit = config.model.image.size, config.data.fit
    file, name = None, "the picture"
    if isinstance(given, str | os.PathLike):
        name = f"picture {os.fspath(given)}"
        given = _read(Path(given).expanduser(), name)
    try:
        if isinstance(given, bytes):
            file, pixels = given, images.decode(given, size, fit)
        elif isinstance(given, Image.Image):
            pixels = images.from_pillow(given, size, fit)
        else:
            pixels = images.square(_checked(given), size, fit)
    except ValueError as error:
        raise UserError(f"{name} cannot be decoded: {error}; give a whole JPEG, PNG or WebP file") from error
    return image_bytes(Record("", image=pixels, file=file), config.model.image)


def sound(given: Sound, config: Config) -> UInt8[np.ndarray, " N"]:
    """A sound as the run's embedder takes it: the bytes of as many samples as the model hears, from its middle.

    A shorter one is surrounded by zeros.

    Raises:
      UserError: the model has no sound, the file is missing or no readable sound, or the array is of another form.
    """
    if not config.model.audio.embedder:
        raise UserError("this run has no sound: load one trained with config.model.audio.embedder")
    name = "the sound"
    if isinstance(given, str | os.PathLike):
        name = f"sound {os.fspath(given)}"
        given = _read(Path(given).expanduser(), name, "a sound")
    if isinstance(given, bytes):
        given = _decoded(given, name)
    if not isinstance(given, np.ndarray) or given.dtype != np.int16 or given.ndim != 1:
        raise UserError("a sound is a path, the bytes of a file, or a NumPy array int16 [T] at 16 kHz")
    count = config.model.audio.samples
    return audio_bytes(Record("", audio=window(given, (len(given) - count) // 2, count)))


def _decoded(data: bytes, name: str) -> np.ndarray:
    try:
        from xmjax.media.decode import heard
    except ImportError as error:
        raise UserError(f'decoding {name} takes the extra media: pip install -e ".[media]"') from error
    try:
        return heard(io.BytesIO(data))
    except Exception as error:  # decoders raise whatever their parsers meet
        raise UserError(f"{name} cannot be decoded ({error}): give a whole WAV, FLAC, Ogg or MP3 file") from error


def _read(path: Path, name: str, what: str = "an image") -> bytes:
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise UserError(f"{name} {problem}: give the path of {what} file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}; give a file that you may read") from error


def _checked(given: object) -> np.ndarray:
    if not isinstance(given, np.ndarray):
        raise UserError(f"a picture is a path, bytes, an image of Pillow or a NumPy array, not {type(given).__name__}")
    if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3 or not given.size:
        raise UserError(f"a picture as an array is uint8 [Y, X, 3], not {given.dtype} {list(given.shape)}")
    return np.ascontiguousarray(given)


def readable(text: str) -> None:
    """Refuses a text that is no UTF-8.

    Raises:
      UserError: it holds a lone surrogate, as bytes of another encoding become on a command line.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{text!r} is not UTF-8: write the text in UTF-8") from error


def masked(text: str, word: str | None, length: int, occurrence: int | None = None) -> UInt16[np.ndarray, " L"]:
    """A sentence with one masked place, as ids padded to ``length``; what lies beyond is cut off, as in training.

    Args:
      text: holds ``___`` or ``▁▁▁`` where the word is missing, unless ``word`` is given.
      word: word of the text to mask, with what is written in one with it, as in training (배가 for 배).
      length: of the result, in bytes.
      occurrence: which one is meant, from 1, of a word that the text has several times.

    Raises:
      UserError: there is no masked place or more than one, the word is not in the text, or it lies beyond the length.
    """
    readable(text)
    if word is None:
        start, end = _marked(text)
        text, end = f"{text[:start]}_{text[end:]}", start + 1  # the mark is one token, however it is written
        place = Word(len(vocab.utf8(text[:start])), len(vocab.utf8(text[:end])))
    else:
        place = _place(text, word, occurrence)
    if place.end > length:
        raise UserError(
            f"the masked place ends at byte {place.end} of {text!r}, and this model reads {length}: shorten the text"
        )
    return masked_ids(text, place, length)


def marked(text: str, word: str, length: int, occurrence: int | None = None) -> tuple[UInt16[np.ndarray, " L"], str]:
    """A sentence with one word marked, as ids padded to ``length``, and the word as it stands there (배가).

    Args:
      text: the sentence.
      word: of it.
      length: of the result, in bytes.
      occurrence: as of `masked`.

    Raises:
      UserError: the word is not in the text, or it lies beyond the length.
    """
    readable(text)
    whole = _place(text, word, occurrence)
    if whole.end + MARKING > length:
        raise UserError(
            f"the word {word!r} ends at byte {whole.end} of {text!r}, and this model reads {length}: shorten the text"
        )
    return marked_ids(text, whole, length), text.encode()[whole.start : whole.end].decode()


def each_masked(
    text: str, length: int, read: Callable[[Word], bool] = lambda word: False
) -> tuple[list[tuple[str, Word]], UInt16[np.ndarray, "W L"]]:
    """The words of a sentence, and the sentence once for each of them with that word masked.

    Args:
      text: the sentence.
      length: of the rows, in bytes.
      read: whether a word is only marked, so that it is read too, where there is room for it.

    Raises:
      UserError: there is no word, or one lies beyond the length.
    """
    readable(text)
    units = words(text)
    if not units:
        raise UserError(f"no word in {text!r}: give a sentence")
    if units[-1].end > length:
        raise UserError(f"{text!r} has {units[-1].end} bytes, and this model reads {length}: shorten the text")
    data = text.encode()
    named = [(data[unit.start : unit.end].decode(), unit) for unit in units]
    return named, np.stack([(named_ids if read(unit) else masked_ids)(text, unit, length) for unit in units])


def _marked(text: str) -> tuple[int, int]:
    marks = list(MARK.finditer(text))
    if not marks:
        raise UserError(f"no masked place in {text!r}: write ___ where the word is missing, or name the word to mask")
    if len(marks) > 1:
        raise UserError(f"{len(marks)} masked places in {text!r}: one is filled at a time, leave one ___")
    return marks[0].span()


def _place(text: str, word: str, occurrence: int | None) -> Word:
    """Where a word stands, with what is written in one with it: a word by itself, or the beginning of one in Korean (배
    in 배가), or a part of a text without spaces."""
    if MARK.search(text):
        raise UserError(f"{text!r} holds a masked place and the word {word!r} is named too: leave one of them out")
    if not word.strip():
        raise UserError("the word is empty: name a word of the text")
    part = re.escape(word.strip())
    found = list(re.finditer(rf"(?<!\w){part}(?!\w)", text))
    if not found and HANGUL.search(word[-1:]):
        found = list(re.finditer(rf"(?<!\w){part}", text))
    if not found and UNSPACED.search(word):
        found = list(re.finditer(part, text))
    if not found:
        raise UserError(f"the word {word!r} is not in {text!r}: name a word as it stands there")
    if occurrence is None and len(found) > 1:
        raise UserError(
            f"the word {word!r} stands {len(found)} times in {text!r}: say which one by occurrence, from 1 on"
        )
    if occurrence is not None and not 1 <= occurrence <= len(found):
        raise UserError(f"occurrence={occurrence} of {word!r} is not in {text!r}: it stands there {len(found)} times")
    start, end = (len(vocab.utf8(text[:at])) for at in found[(occurrence or 1) - 1].span())
    return next((unit for unit in words(text) if unit.start <= start and end <= unit.end), Word(start, end))
