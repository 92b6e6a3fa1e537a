"""Sound: retrieval between pictures, sounds and texts, of which sounds and texts were never paired."""

import dataclasses
import itertools

import numpy as np

from xmjax.config import Config, DataConfig
from xmjax.data import playroom
from xmjax.data.arrays import audio_bytes, text_ids
from xmjax.data.source import Record
from xmjax.data.sources import open_source
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report, Scores
from xmjax.evaluation.retrieval import recalls, vectors

NEAR = 1 / 16
"""Part of the picture's side within which a listener is taken to know where a sound comes from."""


@EVALUATORS.register("sound")
class SoundEvaluator(Evaluator):
    """Recall and median rank of every ordered pair with sound: pictures and sounds, texts and sounds; ties expected.

    A picture is found for a sound among `evaluation.pool`, a sound for a text, the pair that was never trained, among
    all. Texts are captions of the held-out records; training records need have none. Of real data, records with the
    same picture or the same text answer for each other, such as several sounds of one class.
    """

    stream = "frame_audio"

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        self.records = sound_records(config)
        pool = min(config.evaluation.pool, len(self.records))
        self.records = self.records[: len(self.records) // pool * pool] if pool else []
        if not self.records:
            return
        arrays = {
            "image": self.pictures(self.records),
            "audio": np.stack([audio_bytes(r) for r in self.records]),
        }
        if all(r.captions for r in self.records):
            self.captions = [r.captions[i % len(r.captions)] for i, r in enumerate(self.records)]
            arrays["text"] = np.stack([text_ids(c.text, config.model.text.max_bytes) for c in self.captions])
        self.arrays, names = arrays, tuple(arrays)
        self.run = self.compiled(lambda model, *data: [vectors(model, d, m) for m, d in zip(names, data, strict=True)])
        self.pools = {
            (a, b): pool if "image" in (a, b) else len(self.records)
            for a, b in itertools.permutations(arrays, 2)
            if "audio" in (a, b)
        }
        self.mixed = len(self.records) // 2 if "text" in arrays else 0
        known = all(isinstance(r.truth, playroom.Scene) for r in self.records)  # there the oracle tells what is equal
        self.equal = np.eye(len(self.records), dtype=bool) if known else equal_rows(arrays["image"])
        if not known and "text" in arrays:
            self.equal = self.equal | equal_rows(arrays["text"])
        self.constant = self._scores({p: np.zeros((len(self.records),) * 2) for p in self.pools}, "/random")
        if known:
            self.constant |= self._scores(self._truth(), "/oracle")
        if self.mixed:
            rows = slice(self.mixed, None)
            arms = {"random": np.zeros_like(self.equal, float)} | ({"oracle": self._fits()} if known else {})
            for arm, matrix in arms.items():
                found = recalls([matrix[rows, rows]], [self.equal[rows, rows]])
                self.constant |= {f"{MIXED}/{key}/{arm}": value for key, value in found.items()}

    def _scores(self, matrices: dict[tuple[str, str], np.ndarray], suffix: str = "") -> Scores:
        scores = {}
        for (a, b), matrix in matrices.items():
            size = self.pools[a, b]
            blocks = [slice(i, i + size) for i in range(0, len(matrix), size)]
            found = recalls([matrix[b, b] for b in blocks], [self.equal[b, b] for b in blocks])
            for key, value in found.items():
                scores[f"retrieval/{a}_to_{b}/{key}{suffix}"] = value
        return scores

    def _truth(self) -> dict[tuple[str, str], np.ndarray]:
        """What who knows the scenes would score: whether what one side tells fits the other."""
        toys = [r.truth.toys[r.truth.sounding] for r in self.records]
        looks = np.array([_looks(toy) for toy in toys])
        middles = np.array([_middle(toy, r.truth) for toy, r in zip(toys, self.records, strict=True)])
        seen = np.zeros((len(toys), len(toys)))  # sound i in picture j
        for j, record in enumerate(self.records):
            for toy in record.truth.toys:
                seen[:, j] += (looks == _looks(toy)) & (np.abs(middles - _middle(toy, record.truth)) < NEAR)
        said = (looks[:, None] == looks).astype(float)
        told = {("audio", "image"): seen, ("image", "audio"): seen.T, ("audio", "text"): said, ("text", "audio"): said}
        return {pair: told[pair] for pair in self.pools}

    def _fits(self) -> np.ndarray:
        """Whether the caption of each record says what is heard and seen of another."""
        looks = np.array([_looks(r.truth.toys[r.truth.sounding]) for r in self.records])
        found = (looks[:, None] == looks).astype(float)
        for i, j in np.argwhere(found):
            found[i, j] += playroom.describes(self.captions[i], self.records[j].truth)
        return found

    def __call__(self, params):
        names = [f"retrieval/{a}_to_{b}/n" for a, b in getattr(self, "pools", {("image", "audio"): 0})]
        if not self.records:
            return Report(dict.fromkeys(names, 0))
        found = dict(zip(self.arrays, self.run(params, *self.arrays.values()), strict=True))
        scores = self._scores({(a, b): found[a] @ found[b].T for a, b in self.pools}) | self.constant
        if self.mixed:
            scores |= mixed_scores(found["text"], found["image"], found["audio"], self.mixed, self.equal)
        return Report(scores | dict.fromkeys(names, len(self.records)))


def equal_rows(rows: np.ndarray) -> np.ndarray:
    """Which rows of an array are the same [N, N]."""
    _, group = np.unique(rows.reshape(len(rows), -1), axis=0, return_inverse=True)
    return group[:, None] == group[None, :]


MIXED = "retrieval/text_to_image+audio"

MIXTURES = tuple(np.linspace(0, 1, 11).tolist())
"""Shares of sound that are tried in a picture's vector."""


def mixed_scores(
    text: np.ndarray, image: np.ndarray, audio: np.ndarray, half: int, equal: np.ndarray | None = None
) -> Scores:
    """Pictures found for texts when their sounds are mixed into their vectors (Kim and Yoon, section 4).

    The share of sound is chosen on the first ``half`` of the records and tried on the others, a half of the items.
    Beside it stand the picture alone and the sound alone: a text may tell of what is heard more than of what is seen.

    Args:
      text, image, audio: unit vectors [N, E] of the records.
      half: records that choose.
      equal: which records answer for each other [N, N]; by default each for itself.
    """
    equal = np.eye(len(text), dtype=bool) if equal is None else equal

    def found(share: float, rows: slice) -> Scores:
        mixed = (1 - share) * image[rows] + share * audio[rows]
        return recalls([text[rows] @ mixed.T], [equal[rows, rows]])

    choosing, trying = slice(0, half), slice(half, None)
    share = max(MIXTURES, key=lambda share: (found(share, choosing)["R@1"], -share))
    scores = {f"{MIXED}/{key}": value for key, value in found(share, trying).items()}
    for arm, alone in (("image_alone", 0.0), ("audio_alone", 1.0)):
        scores |= {f"{MIXED}/{key}/{arm}": value for key, value in found(alone, trying).items()}
    return scores | {f"{MIXED}/share": share, f"{MIXED}/n": len(text) - half}


def sound_records(config: Config, captions: bool = True) -> list[Record]:
    """Held-out records with a picture and a sound, as many as are scored; none where the run has no sound.

    Args:
      config: of the run.
      captions: whether they have captions, which the stream of frames and sounds itself may not have.
    """
    if not config.model.audio.embedder or config.frame_audio.source == "none":
        return []
    source = open_source(config, captioned(config) if captions else config.frame_audio, "val")
    found = source.read(range(min(len(source), config.evaluation.samples)))
    return [r for r in found if isinstance(r, Record) and r.audio is not None and r.image is not None]


def captioned(config: Config) -> DataConfig:
    """Options of frames with sound that have captions, in the languages that the run learns of the other stream."""
    options = config.frame_audio
    return dataclasses.replace(options, captions=1, languages=options.languages or config.data.languages)


def _looks(toy: playroom.Toy) -> str:
    return f"{toy.kind} {toy.color} {toy.size}"


def _middle(toy: playroom.Toy, scene: playroom.Scene) -> float:
    return (toy.box[1] + toy.box[3]) / 2 / scene.image_size
