"""Emergent pairs: retrieval between modalities that were never compared in training, but both with a third one."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from xmjax.config import Config
from xmjax.data import playroom
from xmjax.data.arrays import audio_bytes, image_bytes, text_ids
from xmjax.data.source import Record
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report, Scores
from xmjax.evaluation.retrieval import recalls, vectors
from xmjax.evaluation.sound import sound_records

KEYS = ("R@1", "R@10")

TOLD = {
    "image": ("kind", "color", "size", "box", "extent", "middle"),
    "depth": ("kind", "size", "box", "extent", "middle"),
    "thermal": ("color", "box", "extent", "middle"),
    "tags": ("kind", "color", "size", "extent"),
}
"""What the modalities that show all toys of a scene of the playroom tell of each: kind and size tell its extent too."""

ONE = ("kind", "color", "size", "extent")
"""What those tell that are of one toy: its motion, and the text that names it. Its sound also tells "middle"."""


def trained_pairs(config: Config) -> set[frozenset[str]]:
    """Pairs of modalities that an objective of a run shows together."""
    pairs = set()
    for options in config.objectives.values():
        if hasattr(options, "to"):
            pairs |= {frozenset((options.to, m)) for m in options.modalities}
        elif hasattr(options, "first"):
            pairs.add(frozenset((options.first, options.second)))
        else:  # of texts
            shown = getattr(options, "modalities", (getattr(options, "modality", "image"),))
            pairs |= {frozenset(pair) for pair in itertools.combinations(("text", *shown), 2)}
    return pairs


@EVALUATORS.register("emergent")
class EmergentEvaluator(Evaluator):
    """Recall among all records of every ordered pair that no objective compares; ties count as their expectation.

    Records are those of the stream that has the further modalities. In the playroom the oracle reads of each modality
    exactly what it tells (see `data.playroom.signals`).
    """

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        known = {m for pair in trained_pairs(config) for m in pair}
        found = sound_records(config) or self.records
        self.modalities = tuple(m for m in config.model.modalities if m in known and all(has(r, m) for r in found))
        self.pairs = [
            (a, b)
            for a, b in itertools.permutations(self.modalities, 2)
            if frozenset((a, b)) not in trained_pairs(config)
        ]
        self.records = list(found) if self.pairs else []
        if not self.records:
            return
        self.arrays = {m: np.stack([row(r, m, i, config) for i, r in enumerate(found)]) for m in self.modalities}
        self.run = self.compiled(
            lambda model, *data: [vectors(model, d, m) for m, d in zip(self.modalities, data, strict=True)]
        )
        nothing = np.zeros((len(found),) * 2)
        self.constant = self._scores(dict.fromkeys(self.pairs, nothing), "/random")
        if all(isinstance(r.truth, playroom.Scene) and r.truth.sounding is not None for r in found):
            self.constant |= self._scores({pair: agreement(found, *pair) for pair in self.pairs}, "/oracle")

    def _scores(self, matrices: dict[tuple[str, str], np.ndarray], suffix: str = "") -> Scores:
        scores = {}
        for (a, b), matrix in matrices.items():
            found = recalls([matrix])
            scores |= {f"emergent/{a}_to_{b}/{key}{suffix}": found[key] for key in KEYS}
        return scores

    def __call__(self, params):
        if not self.records:
            return Report({"emergent/n": 0})
        found = dict(zip(self.modalities, self.run(params, *self.arrays.values()), strict=True))
        scores = self._scores({(a, b): found[a] @ found[b].T for a, b in self.pairs}) | self.constant
        names = [f"emergent/{a}_to_{b}/n" for a, b in self.pairs]
        return Report(scores | dict.fromkeys(names, len(self.records)))


def has(record: Record, modality: str) -> bool:
    """Whether a record has a modality."""
    if modality == "text":
        return bool(record.captions)
    return modality in record.extra or getattr(record, modality, None) is not None


def row(record: Record, modality: str, index: int, config: Config) -> np.ndarray:
    """Bytes of one modality of a record, as the model's embedder takes them; of its captions one, by turns."""
    if modality == "text":
        return text_ids(record.captions[index % len(record.captions)].text, config.model.text.max_bytes)
    if modality == "image":
        return image_bytes(record, config.model.image)
    return audio_bytes(record) if modality == "audio" else record.extra[modality]


def agreement(records: Sequence[Record], first: str, second: str) -> np.ndarray:
    """Which scenes could be the same by what two modalities tell of them, [N, N]: what both tell must be equal.

    One that shows all toys and one that tells of a single one agree where that toy is among the others.
    """
    known = TOLD | {"audio": (*ONE, "middle")}
    shared = [field for field in known.get(first, ONE) if field in known.get(second, ONE)]
    told = [[_toys(record, modality, shared) for record in records] for modality in (first, second)]
    if first in TOLD and second in TOLD:
        told = [[(tuple(sorted(toys)),) for toys in side] for side in told]
    index = {key: i for i, key in enumerate(sorted({toy for side in told for toys in side for toy in toys}))}
    member = np.zeros((2, len(records), len(index)), np.float32)
    for side, rows in enumerate(told):
        for row, toys in enumerate(rows):
            member[side, row, [index[toy] for toy in toys]] = 1
    return (member[0] @ member[1].T > 0).astype(float)


def _toys(record: Record, modality: str, fields: Sequence[str]) -> list[tuple]:
    scene = record.truth
    toys = scene.toys if modality in TOLD else (scene.toys[scene.sounding],)
    return [tuple(_field(toy, field) for field in fields) for toy in toys]


def _field(toy: playroom.Toy, field: str) -> Any:
    y0, x0, y1, x1 = toy.box
    if field == "extent":
        return y1 - y0, x1 - x0
    return x0 + x1 if field == "middle" else getattr(toy, field)
