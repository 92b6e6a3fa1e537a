"""Subsets: what is filled in from every subset of the modalities that captions are fused with, or with some missing."""

import itertools
from functools import partial

import numpy as np
from scipy.special import log_softmax

from xmjax.data.arrays import masked_ids
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.emergent import ONE, TOLD, has, row
from xmjax.evaluation.fill import association_of, candidate_sequences, score_candidates
from xmjax.evaluation.items import fill_items, trivial

MISSING = 0.3
"""Share of modalities that are missing in the arm of that name, each by itself."""


@EVALUATORS.register("subsets")
class SubsetsEvaluator(Evaluator):
    """Whole-word accuracy of `fill` with every subset of its modalities, as "subsets/<a>+<b>" and "subsets/text_alone".

    "subsets/missing_30" is that with each modality of each item missing in 30 of 100 items. "subsets/ensemble" is late
    fusion of predictions: each modality with the text by itself, the probabilities of a word multiplied and divided by
    those from the text alone for each modality but one, since all of them read the text. "subsets/gap/unimodal" is how
    much more is learned of one modality by itself than of another, of words that all of them tell.

    The oracle of the playroom has every word whose class one of an item's modalities tells, of whichever toy, and
    guesses the others.
    """

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        options = config.objectives.get("fill")
        self.modalities = options.modalities if options else ()
        self.records = [r for r in self.records if self.modalities and all(has(r, m) for m in self.modalities)]
        length = config.model.text.max_bytes
        self.items = fill_items(self.records, length)
        if not self.items:
            return
        self.data = {
            m: np.stack([row(item.record, m, i, config) for i, item in enumerate(self.items)]) for m in self.modalities
        }
        self.masked = np.stack([masked_ids(item.caption.text, item.word, length) for item in self.items])
        self.sequences = candidate_sequences([item.candidates for item in self.items])
        told = set.intersection(*(classes_told(m) for m in self.modalities))
        self.shared = np.array([item.record.truth is None or item.kind in told for item in self.items])
        count, rng = len(self.items), np.random.default_rng(0)
        self.arms = {
            "+".join(subset) or "text_alone": {m: np.full(count, m not in subset) for m in self.modalities}
            for size in range(len(self.modalities), -1, -1)
            for subset in itertools.combinations(self.modalities, size)
        }
        self.arms[f"missing_{MISSING:.0%}".rstrip("%")] = {m: rng.random(count) < MISSING for m in self.modalities}
        self.constant = trivial(self.items, "subsets")
        if all(item.record.truth is not None for item in self.items):
            self.constant |= {f"subsets/{name}/oracle": self._oracle(absent) for name, absent in self.arms.items()}
        way = association_of(config)
        self.run = self.compiled(partial(score_candidates, association=way, modalities=self.modalities))

    def __call__(self, params):
        if not self.items:
            return Report({"subsets/n": 0})
        answers = np.array([item.answer for item in self.items])
        scores, nats_of = {}, {}
        for name, absent in self.arms.items():
            nats = self.run(params, self.data, self.masked, self.sequences, absent)
            if np.isnan(nats).any():
                raise FloatingPointError(f"subsets/{name}: a score is no number")
            scores[f"subsets/{name}"] = float(np.mean(np.argmin(nats, 1) == answers))
            nats_of[name] = nats
        if self.shared.any() and len(self.modalities) > 1:
            alone = [np.mean((np.argmin(nats_of[m], 1) == answers)[self.shared]) for m in self.modalities]
            scores["subsets/gap/unimodal"] = float(max(alone) - min(alone))
        scores["subsets/ensemble"] = float(np.mean(np.argmin(self._ensemble(nats_of), 1) == answers))
        return Report(scores | self.constant)

    def _oracle(self, absent: dict[str, np.ndarray]) -> float:
        told = [
            any(item.kind in classes_told(m) and not gone[i] for m, gone in absent.items())
            for i, item in enumerate(self.items)
        ]
        chance = [1 / len(item.candidates) for item in self.items]
        return float(np.mean(np.where(told, 1.0, chance)))

    def _ensemble(self, nats: dict[str, np.ndarray]) -> np.ndarray:
        """Nats of candidates by predictions from one modality each; +inf for those that only fill up a row."""
        there = np.isfinite(nats["text_alone"])
        own = [_log_softmax(-nats[m], there) for m in self.modalities]
        text = _log_softmax(-nats["text_alone"], there)
        return np.where(there, (len(own) - 1) * text - sum(own), np.inf)


def classes_told(modality: str) -> set[str]:
    """Classes of words of the playroom that a modality tells by itself."""
    told = TOLD.get(modality, ONE)
    return {*told, *(("place", "relation") if "box" in told else ())}


def _log_softmax(scores: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Of each row's scores that are there; 0 elsewhere."""
    return np.where(there, log_softmax(np.where(there, scores, -1e9), axis=1), 0.0)
