"""Entities: whether the words that are chosen to be masked are the nouns that the picture is about."""

from collections.abc import Sequence

import numpy as np

from xmjax import vocab
from xmjax.data import playroom
from xmjax.data.arrays import fill_arrays
from xmjax.data.source import Caption, Word
from xmjax.data.words import words
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.fill import association_of, score_seen
from xmjax.lexicon import entities, open_dictionary

SHARE = 0.5
"""A word is chosen by visual gain where it gains this share of what the best of its caption gains."""


@EVALUATORS.register("entities")
class EntitiesEvaluator(Evaluator):
    """F1 of chosen words against the nouns of the truth, in captions of which only the text is given."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        options, length = config.objectives.get("fill"), config.model.text.max_bytes
        records = [r for r in self.records if isinstance(r.truth, playroom.Scene) and r.captions]
        known = options is None or options.dictionary == "playroom"
        captions = [(r, r.captions[i % len(r.captions)]) for i, r in enumerate(records)]
        captions = [(r, c) for r, c in captions if len(vocab.utf8(c.text)) <= length]
        self.captions = [Caption(c.text, c.language) for _, c in captions] if known else []
        if not self.captions:
            return
        dictionary = open_dictionary("playroom")
        self.listed = [entities(c, dictionary) for c in self.captions]
        self.nouns = [[w for w in c.words or () if w.kind == "kind"] for _, c in captions]
        rows = [(k, word) for k, c in enumerate(self.captions) for word in words(c.text)]
        self.rows = np.array([k for k, _ in rows])
        self.words = [word for _, word in rows]
        longest = max(word.end - word.start for word in self.words)
        texts = [vocab.truncate(vocab.utf8(self.captions[k].text), length) for k, _ in rows]
        pairs = [fill_arrays(data, [word], 1, longest, length) for data, (_, word) in zip(texts, rows, strict=True)]
        self.masked, self.spans = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        self.image = self.pictures(r for r, _ in captions)
        way = association_of(config)
        self.run = self.compiled(lambda model, *arrays: score_seen(model, *arrays, association=way)[:, 0])

    def __call__(self, params):
        if not self.captions:
            return Report({"entities/n": 0})
        scores = {
            "entities/f1": f1(self.listed, self.nouns),
            "entities/f1/oracle": f1(self.nouns, self.nouns),
            "entities/gain_f1": f1(self._gained(params), self.nouns),
            "entities/all_words_f1": f1([words(c.text) for c in self.captions], self.nouns),
            "entities/n": len(self.captions),
        }
        return Report(scores)

    def _gained(self, params) -> list[list[Word]]:
        image = self.image[self.rows]
        seen, blind = (
            self.run(params, image, self.masked, self.spans, np.full(len(image), absent)) for absent in (False, True)
        )
        gain = (blind - seen) / (self.spans[:, 0] != vocab.PAD).sum(1)
        chosen: list[list[Word]] = []
        for k in range(len(self.captions)):
            own = np.flatnonzero(self.rows == k)
            chosen.append([self.words[i] for i in own if gain[i] >= SHARE * gain[own].max() and gain[i] > 0])
        return chosen


def f1(chosen: Sequence[Sequence[Word]], wanted: Sequence[Sequence[Word]]) -> float:
    """Harmonic mean of precision and recall of chosen words; one is right where it lies inside a wanted one."""
    right = found = 0
    for mine, true in zip(chosen, wanted, strict=True):
        inside = [[t.start <= w.start and w.end <= t.end for w in mine] for t in true]
        found += sum(any(row) for row in inside)
        right += sum(any(column) for column in zip(*inside, strict=True))
    precision = right / max(1, sum(map(len, chosen)))
    recall = found / max(1, sum(map(len, wanted)))
    return 2 * precision * recall / max(precision + recall, 1e-9)
