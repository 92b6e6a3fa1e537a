"""The playroom as a source of records."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from xmjax.data.playroom import language, lexicon, signals, sounds, world
from xmjax.data.playroom.questions import ALL_KINDS, KINDS_OF_QUESTIONS, draw_question
from xmjax.data.playroom.render import render
from xmjax.data.source import Record, Source, Unreadable

_SIZES = {"train": 2**31, "val": 2**20, "test": 2**20, "heldout": 2**20}


class Playroom(Source):
    """Scenes of toys with captions, made when asked for.

    Each caption has a wording drawn from ``styles``, but where that has nothing true to say: a scene with a single toy
    is described in style "one", "bare" or "place", and one without a clear relation (in clutter) in style "list". For
    retrieval, ask for ``styles=("pair",)`` and take the first caption.
    """

    name = "playroom"

    def __init__(
        self,
        split: str = "train",
        grade: str = "easy",
        image_size: int = 32,
        languages: Sequence[str] = lexicon.LANGUAGES,
        captions_per_record: int = 2,
        styles: Sequence[str] = language.STYLES,
        questions_per_record: int = 0,
        kinds_of_questions: Sequence[str] = KINDS_OF_QUESTIONS,
        seconds: float = 0.0,
        further: Sequence[str] = (),
        size: int | None = None,
    ) -> None:
        """Names the part of the world to show.

        Args:
          split: "train", "val", "test", or "heldout", where every scene has a combination of kind and colour that the
            others never show.
          grade: "easy", "cluttered", "single", which is easy with one toy a scene, or "alike", with toys of one kind.
          image_size: pixels along each side: 32 to 64, or a multiple of such a number, which enlarges the pixels.
          languages: languages of the captions; caption k of a record is in language k modulo their number.
          captions_per_record: number of captions of each record.
          styles: wordings, one of which is drawn for each caption.
          questions_per_record: number of questions of each record, their languages by turns as those of captions.
          kinds_of_questions: of which they are drawn.
          seconds: length of each record's sound, which one toy of the scene makes and its captions name; 0 is silent.
            Scenes that sound are others than silent ones.
          further: modalities of `signals.SIGNALS` that each record has besides.
          size: number of records, None for as many as the split has.

        Raises:
          ValueError: where an argument is not one of these.
        """
        for label, values, known in (
            ("split", (split,), world.SPLITS),
            ("grade", (grade,), world.GRADES),
            ("language", languages, lexicon.LANGUAGES),
            ("style", styles, language.ALL_STYLES),
            ("kind of questions", kinds_of_questions, ALL_KINDS),
            ("signal", further, signals.SIGNALS),
        ):
            for value in values:
                if value not in known:
                    raise ValueError(f"playroom: unknown {label} {value!r}; choose from {', '.join(known)}")
        self._scene_size = scene_size(image_size)
        for label, number in (
            ("captions_per_record", captions_per_record),
            ("questions_per_record", questions_per_record),
        ):
            if number < 0:
                raise ValueError(f"playroom: {label} is {number}; it must not be negative")
        if captions_per_record and not (languages and styles):
            raise ValueError("playroom: captions need at least one language and one style")
        size = _SIZES[split] if size is None else size
        if not 0 <= size <= _SIZES[split]:
            raise ValueError(f"playroom: size is {size}; split {split!r} has {_SIZES[split]} records")
        self.split = split
        self.grade = grade
        self.image_size = image_size
        self.languages = tuple(languages)
        self.captions_per_record = captions_per_record
        self.styles = tuple(styles)
        self.questions_per_record = questions_per_record
        self.kinds_of_questions = tuple(kinds_of_questions)
        self.seconds = seconds
        self.further = tuple(further)
        self._signals = [(i, m) for i, m in enumerate(signals.SIGNALS, 1) if m in further]
        self._size = size
        # Bits of the seed: index (32), grade (4), split (4), version of the world.
        part = (world.VERSION << 8) | (world.SPLITS.index(split) << 4) | world.GRADES.index(grade)
        self._seed = ((part << 32) | (1 << 60)) if seconds else part << 32

    def __len__(self) -> int:
        """Number of records."""
        return self._size

    def read(self, indices: Sequence[int]) -> list[Record | Unreadable]:
        """Records at ``indices``, in order, with uint8 images [image_size, image_size, 3] and the scene as truth."""
        return [self._read(int(index)) for index in indices]

    def _read(self, index: int) -> Record | Unreadable:
        if not 0 <= index < self._size:
            return Unreadable(f"{self.split}/{index}", f"index is outside the {self._size} records of the split")
        draws = world.uniforms(np.random.Generator(np.random.PCG64(self._seed + index)))
        scene = world.sample(draws, self.grade, self._scene_size, heldout=self.split == "heldout")
        audio = None
        if self.seconds:
            rng = np.random.default_rng((self._seed, index))
            sounding = int(rng.integers(len(scene.toys)))
            scene = dataclasses.replace(scene, sounding=sounding)
            audio = sounds.sound(scene, sounding, self.seconds, rng)
        captions = tuple(
            language.named(scene, scene.sounding, self.languages[number % len(self.languages)])
            if scene.sounding is not None
            else language.draw_caption(
                scene,
                self.languages[number % len(self.languages)],
                self.styles[int(next(draws) * len(self.styles))],
                draws,
            )
            for number in range(self.captions_per_record)
        )
        drawn = [
            draw_question(scene, self.languages[number % len(self.languages)], draws, self.kinds_of_questions)
            for number in range(self.questions_per_record)
        ]
        asked = tuple(question for question in drawn if question is not None)
        image = picture(scene, self.image_size)
        name = f"{self.split}/{'sound/' if self.seconds else ''}{index}"
        regions = language.regions(scene, self.languages[0]) if self.languages else ()
        # Each from its own draws, so that no signal changes what the others are.
        extra = {m: signals.SIGNALS[m](scene, np.random.default_rng((self._seed, index, i))) for i, m in self._signals}
        return Record(name, captions, image, None, audio, extra, scene, asked, regions=regions)

    def manifest(self) -> dict[str, Any]:
        """Everything that the records follow from."""
        return {
            "name": self.name,
            "version": world.VERSION,
            "split": self.split,
            "grade": self.grade,
            "image_size": self.image_size,
            "languages": list(self.languages),
            "captions_per_record": self.captions_per_record,
            "styles": list(self.styles),
            **({"questions_per_record": self.questions_per_record} if self.questions_per_record else {}),
            **(
                {"kinds_of_questions": list(self.kinds_of_questions)}
                if self.kinds_of_questions != KINDS_OF_QUESTIONS
                else {}
            ),
            **({"seconds": self.seconds} if self.seconds else {}),
            **({"further": sorted(self.further)} if self.further else {}),
            "size": self._size,
        }


def scene_size(image_size: int) -> int:
    """Side in pixels that the scenes of pictures of a size are drawn at: 32 to 64, then enlarged to it.

    Raises:
      ValueError: no such side divides it.
    """
    fitting = [side for side in range(64, 31, -1) if image_size % side == 0]
    if not fitting:
        raise ValueError(f"playroom: image_size is {image_size}; it must be 32 to 64 pixels or a multiple of that")
    return fitting[0]


def picture(scene: world.Scene, image_size: int) -> UInt8[np.ndarray, "S S 3"]:
    """A scene as RGB, every pixel repeated until the side is ``image_size``."""
    factor = image_size // scene.image_size
    return render(scene).repeat(factor, 0).repeat(factor, 1)
