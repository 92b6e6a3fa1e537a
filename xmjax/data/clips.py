"""Frames with the sound around them, from data sets that launch/prepare.py makes of videos, sounds and stamps.

A record of the data set is a clip: frames one second apart, or a still picture, and one stretch of sound. What is read
of it at a time is one frame and the window of sound centred on it, so that the record varies with the time it is read.
Index ``i`` is record ``i % len`` read for the ``i // len``-th time; which frame that is, is a hash of the two. Indices
below ``len`` are for evaluation and take the middle frame.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from xmjax.data import images
from xmjax.data.arrays import window
from xmjax.data.image_files import check_image_options, check_root, read_parallel
from xmjax.data.source import RATE, Caption, Record, Unreadable
from xmjax.data.tfds_source import files_hash, first_line, read_examples
from xmjax.data.words import words
from xmjax.errors import UserError

ATTEMPTS = 8
"""Moments of a record that are tried before one without any sound is taken."""

_PREPARE = "make it with launch/prepare.py videos, sounds or stamps"


class Clips:
    """One split of a data set of clips.

    Args:
      root: directory of the data set.
      split: "train" or "val".
      image_size: side of the decoded images in pixels.
      fit: how images become square, see `images.decode`.
      samples: length of the window of sound; 0 reads none.
      captions: whether records have their captions; without any, a record of "train" cannot be read then.
      languages: language tags of captions to keep, beside those that have none. Empty: all.
      keep_file_bytes: whether records also have the undecoded JPEG file.
      name: what to call this source.

    Raises:
      UserError: there is no such data set, its split is empty, or an option does not fit it.
    """

    varies = True

    def __init__(
        self,
        root: str,
        *,
        split: str = "train",
        image_size: int = 64,
        fit: str = "crop",
        samples: int = 3 * RATE,
        captions: bool = False,
        languages: Sequence[str] = (),
        keep_file_bytes: bool = False,
        name: str = "clips",
    ):
        check_image_options(image_size, fit)
        path = check_root(root)
        try:
            builder: Any = tfds.builder_from_directory(path)
            missing = {"id", "frames", "times", "audio", "audio_start", "captions"} - set(builder.info.features)
            if missing:
                raise ValueError(f"it has no feature {min(missing)!r}.")
        except Exception as error:  # tfds raises many kinds of its own.
            raise UserError(f"{root} is no data set of clips: {first_line(error)} {_PREPARE.capitalize()}.") from error
        if split not in builder.info.splits:
            raise UserError(
                f"the {split} split of {root} is empty: prepare it with another --validation_fraction or --held_out."
            )
        longest = (builder.info.metadata or {}).get("window", math.inf) * RATE
        if samples > longest:
            raise UserError(
                f"config.model.audio.seconds={samples / RATE:g} is more than the {longest / RATE:g} s around a frame "
                f"that {root} holds: choose no more."
            )
        files = [instruction.filename for instruction in builder.info.splits[split].file_instructions]
        absent = [file for file in files if not os.path.isfile(file)]
        if absent:
            raise UserError(f"{absent[0]} is missing: {_PREPARE} again.")
        self._data = builder.as_data_source(split, decoders={"frames": _Encoded()})
        self.name = name
        self._split = split
        self._image_size, self._fit, self._keep_file_bytes = image_size, fit, keep_file_bytes
        self._samples, self._captions, self._languages = samples, captions, frozenset(languages)
        self._settings = {
            "source": "clips",
            "split": split,
            "image_size": image_size,
            "fit": fit,
            "samples": samples,
            "captions": captions,
            "languages": list(languages),
            "keep_file_bytes": keep_file_bytes,
            "records": len(self._data),
            "files": files_hash(files),
        }

    def __len__(self) -> int:
        return len(self._data)

    def read(self, indices: Sequence[int]) -> list[Record | Unreadable]:
        """Records at ``indices``, in order; index ``i`` is record ``i % len``, read for the ``i // len``-th time.

        Images are uint8 [image_size, image_size, 3], sounds int16 [samples]; see `Source.read`.
        """
        turns = [divmod(int(index), len(self)) for index in indices]
        examples = read_examples(self._data, [position for _, position in turns])
        return read_parallel(self._record, list(zip(turns, examples, strict=True)))

    def manifest(self) -> dict[str, Any]:
        """The options that matter and a hash of the shards' names and sizes in bytes."""
        return dict(self._settings)

    def _record(self, item: tuple[tuple[int, int], dict[str, Any] | Exception]) -> Record | Unreadable:
        (turn, position), example = item
        if isinstance(example, Exception):
            return Unreadable(f"{self._split}/{position}", f"the record cannot be read: {first_line(example)}")
        record_id = example["id"].decode()
        captions = tuple(self._texts(example["captions"])) if self._captions else ()
        if self._captions and not captions and self._split == "train":
            return Unreadable(record_id, "it has no caption")
        times, audio = np.asarray(example["times"]), np.asarray(example["audio"], np.int16)
        frame, sound = choose(turn, record_id, times, audio, int(example["audio_start"]), self._samples)
        data = example["frames"][frame]
        try:
            image, frame_size = images.decode(data, self._image_size, self._fit), images.dimensions(data)
        except ValueError as error:
            return Unreadable(record_id, f"the image cannot be decoded: {error}")
        file = data if self._keep_file_bytes else None
        heard = sound if self._samples else None
        return Record(record_id, captions, image, file, heard, frame=frame_size)

    def _texts(self, captions: dict[str, Any]) -> list[Caption]:
        pairs = zip(captions["text"], captions["language"], strict=True)
        found = [Caption(text.decode(), language.decode()) for text, language in pairs]
        wanted = [c for c in found if not self._languages or not c.language or c.language in self._languages]
        return [Caption(c.text, c.language, words=words(c.text)) for c in wanted]


class _Encoded(tfds.decode.SkipDecoding):
    """Leaves a sequence of images as files, of which one is needed."""

    def decode_batch_example_np(self, serialized_example: Any) -> Any:
        return serialized_example


def choose(
    turn: int, record_id: str, times: np.ndarray, audio: np.ndarray, start: int, samples: int
) -> tuple[int, np.ndarray]:
    """One frame of a record and the window of sound that belongs to it.

    A moment whose window is silent is passed over, if one of the next few tried has sound.

    Args:
      turn: how many times the record was read before; 0 takes the middle frame.
      record_id: of the record; with ``turn`` it determines the frame.
      times: of the frames in seconds, float [F]; NaN of a still picture, to which any window of the sound belongs.
      audio: int16 [T] at 16 kHz.
      start: time of its first sample on the same clock, in samples.
      samples: length of the window.

    Returns:
      Index of the frame, and int16 [samples].
    """
    frame, sound = 0, np.zeros(samples, np.int16)
    for attempt in range(ATTEMPTS):
        digest = hashlib.blake2b(f"{turn}/{record_id}/{attempt}".encode(), digest_size=16).digest()
        drawn = int.from_bytes(digest[:8], "little")
        middle = turn == attempt == 0
        frame = len(times) // 2 if middle else drawn % len(times)
        if np.isnan(times[frame]):
            room = len(audio) - samples
            first = room // 2 if middle or room < 0 else int.from_bytes(digest[8:], "little") % (room + 1)
        else:
            first = centred(float(times[frame]), samples) - start
        sound = window(audio, first, samples)
        if sound.any() or not samples:
            break
    return frame, sound


def centred(time: float, samples: int) -> int:
    """The first sample of a window of so many samples whose middle is at ``time`` seconds, rounded half up."""
    return math.floor(time * RATE + 0.5) - samples // 2
