"""The contract between where records come from and what is made of them.

A source is random access: record ``i`` is a pure function of the source and ``i``. Everything above it
(order, masks, batches) is a pure function of the seed and the position in the stream.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

RATE = 16_000
"""Samples a second of every sound."""


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A unit of a caption that can be masked whole.

    Attributes:
      start: first byte of the word in the caption's UTF-8.
      end: one past its last byte.
      kind: class of the word ("kind", "color", ...), "" where no classes are known.
    """

    start: int
    end: int
    kind: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Caption:
    """One caption of a record.

    Attributes:
      text: the caption.
      language: language tag such as "en", "" where unknown.
      style: name of the wording, "" where there is one only.
      words: what may be masked, in order and without overlap. None: found by whitespace when needed.
      origin: id of the record that it is a caption of, where that is another one; "" for a record's own.
    """

    text: str
    language: str = ""
    style: str = ""
    words: tuple[Word, ...] | None = None
    origin: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A question about a record, or another request that one short text answers.

    Attributes:
      text: what is asked.
      answer: the one right answer.
      language: language tag such as "en", "" where unknown.
      kind: what is asked for ("color", "count", ...), "" where no kinds are known.
    """

    text: str
    answer: str
    language: str = ""
    kind: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture that shows one object.

    Attributes:
      box: (y0, x0, y1, x1) as fractions of the picture's sides.
      label: what the object is called.
    """

    box: tuple[float, float, float, float]
    label: str


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One item of a data set.

    Attributes:
      id: stable name of the record, unique in its source.
      captions: its captions, at least one for a stream that has text.
      image: uint8 [H, W, 3] raw RGB bytes, all records of a source of one size.
      file: the undecoded bytes of the image's file, where file bytes are asked for.
      audio: int16 [T] PCM at 16 kHz.
      extra: further modalities by name, arrays of one shape in all records of the source.
      truth: what a procedural source knows about the record; None for real data.
      questions: what can be asked of it, with answers.
      similar: captions of similar pictures, each with its origin.
      regions: objects of the picture whose boxes are known.
      frame: width and height of what the picture was made of, where it is no square and boxes are of all of it.
      labels: what classes or tags it is known to have; no captions, and trained on only where they are asked for.
    """

    id: str
    captions: tuple[Caption, ...] = ()
    image: np.ndarray | None = None
    file: bytes | None = None
    audio: np.ndarray | None = None
    extra: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    truth: Any = None
    questions: tuple[Question, ...] = ()
    similar: tuple[Caption, ...] = ()
    regions: tuple[Region, ...] = ()
    frame: tuple[int, int] | None = None
    labels: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in the place of a record that could not be read.

    Attributes:
      id: name of the record, with the file's path where there is one.
      reason: one line that says what is wrong with it.
    """

    id: str
    reason: str


def stable_id(text: str) -> np.int32:
    """A hash of a name that is the same in every process."""
    return digest(text.encode("utf-8", "surrogatepass"))


def digest(data: bytes) -> np.int32:
    """A hash of bytes that is the same in every process."""
    return np.frombuffer(hashlib.blake2b(data, digest_size=4).digest(), np.int32)[0]


def picture_id(record: Record) -> np.int32:
    """A hash of a record's pixels, by which equal pictures of different records are known."""
    assert record.image is not None
    return digest(record.image.tobytes())


def varies(source: "Source") -> bool:
    """Whether a source takes indices beyond its length."""
    return getattr(source, "varies", False)


def named(reasons: Mapping[str, str], count: int = 3) -> str:
    """The first of several unreadable records, by id, with what is wrong with them."""
    return "; ".join(f"{id}: {reason}" for id, reason in sorted(reasons.items())[:count])


class Source(Protocol):
    """A data set, or one split of it.

    One whose records vary, such as a video of which one frame is read at a time, or a record of several pictures, has
    the attribute ``varies = True``.
    It takes indices beyond its length: ``i % len`` is the record and ``i // len`` says which time it is read. Training
    asks for later times only, evaluation for those below ``len``.
    """

    name: str

    def __len__(self) -> int:
        """Number of records, readable or not."""
        ...

    def read(self, indices: Sequence[int]) -> list[Record | Unreadable]:
        """Records at ``indices``, in order. Never raises for a bad record; thread-safe."""
        ...

    def manifest(self) -> dict[str, Any]:
        """What identifies the data: plain values that are equal exactly when the records are."""
        ...


class Amended(Source):
    """A source whose records bring along more than those of another source do."""

    def __init__(self, source: Source):
        self.name = source.name
        self.varies = varies(source)
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def amended(self, record: Record) -> Record:
        """The record with what is added to it."""
        raise NotImplementedError

    def read(self, indices: Sequence[int]) -> list[Record | Unreadable]:
        return [self.amended(one) if isinstance(one, Record) else one for one in self._source.read(indices)]
