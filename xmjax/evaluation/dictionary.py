"""Dictionary: whether the senses that captions choose, and that `sense` learns, are what their pictures show."""

import numpy as np

from xmjax.data import playroom
from xmjax.data.arrays import text_ids
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.sense import play_items
from xmjax.lexicon import Query, Scorer, Vectors, ask, choose, open_dictionary
from xmjax.objectives import Sense


@EVALUATORS.register("dictionary")
class DictionaryEvaluator(Evaluator):
    """Accuracy of the senses that are kept for ambiguous words, and how many are, by the scorer of the run's `sense`.

    Beside it, without a threshold, the run's own text tower as the scorer (`lexicon.Vectors`).
    """

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        options = config.objectives.get("sense")
        self.queries: list[Query] = []
        if options is None or options.dictionary != "playroom":
            return
        self.sense = Sense(options, config)
        records = [r for r in self.records if isinstance(r.truth, playroom.Scene)]
        items = play_items(records, open_dictionary("playroom"), config.model.text.max_bytes)
        self.answers = [item.candidates[item.answer].id for item in items]
        for item in items:
            caption = next(c for c in item.record.captions if c.text == item.text)
            others = [c for c in item.record.captions if c is not caption]
            self.queries.append(ask(self.sense.dictionary, caption, item.word, others))
        self.run = self.compiled(lambda model, ids: model.tower("text", model.alone("text", model.encode("text", ids))))

    def __call__(self, params):
        if not self.queries:
            return Report({"dictionary/n": 0})
        length = self.config.model.text.max_bytes
        towers = Vectors(lambda texts: self.run(params, np.stack([text_ids(text, length) for text in texts])))
        accuracy, kept = self._chosen(self.sense.scorer, self.sense.options.threshold)
        scores = {
            "dictionary/accuracy": accuracy,
            "dictionary/keep_rate": kept,
            "dictionary/text_tower": self._chosen(towers, -1.0)[0],
            "dictionary/n": len(self.queries),
        }
        chance = float(np.mean([1 / len(query.senses) for query in self.queries]))
        first = float(np.mean([q.senses[0].id == a for q, a in zip(self.queries, self.answers, strict=True)]))
        known = float(np.mean([a in {s.id for s in q.senses} for q, a in zip(self.queries, self.answers, strict=True)]))
        for name in ("accuracy", "text_tower"):
            scores |= {
                f"dictionary/{name}/oracle": known,
                f"dictionary/{name}/chance": chance,
                f"dictionary/{name}/most_frequent": first,
            }
        return Report(scores)

    def _chosen(self, scorer: Scorer, threshold: float) -> tuple[float, float]:
        """Share of the kept senses that are right (0 where none is kept), and share of the words that keep one."""
        choices = choose(self.queries, scorer, threshold)
        kept = [(c.sense.id, a) for c, a in zip(choices, self.answers, strict=True) if c.sense is not None]
        return float(np.mean([id == answer for id, answer in kept] or [0.0])), len(kept) / len(choices)
