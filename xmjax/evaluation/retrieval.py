"""Retrieval: the picture for a text and the text for a picture, among a pool."""

from typing import Any

import numpy as np
from jax import Array

from xmjax.data.arrays import text_ids
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report, Scores
from xmjax.evaluation.items import describes, query

RECALLS = (1, 5, 10)
WAYS = ("text_to_image", "image_to_text")


@EVALUATORS.register("retrieval")
class RetrievalEvaluator(Evaluator):
    """Recall and median rank in both directions, averaged over pools; ties count as their expectation."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        pool = min(config.evaluation.pool, len(self.records))
        count = len(self.records) // pool * pool if pool else 0
        self.records = self.records[:count]
        self.pools = [slice(i, i + pool) for i in range(0, count, pool)] if pool else []
        if not self.pools:
            return
        self.captions = [query(record, i) for i, record in enumerate(self.records)]
        self.image = self.pictures(self.records)
        self.text = np.stack([text_ids(c.text, config.model.text.max_bytes) for c in self.captions])
        self.run = self.compiled(towers)
        self.truth = [
            np.array([[float(describes(c, r)) for r in self.records[pool]] for c in self.captions[pool]])
            for pool in self.pools
        ]
        # Of real data equal captions are right for each other's pictures; the playroom's queries tell scenes apart.
        real = all(record.truth is None for record in self.records)
        self.right = [truth > 0 for truth in self.truth] if real else None
        self.constant = both_ways(self.truth, "retrieval", "/oracle", right=self.right)
        self.constant |= both_ways([np.zeros_like(t) for t in self.truth], "retrieval", "/random", right=self.right)

    def __call__(self, params):
        if not self.pools:
            return Report({"retrieval/text_to_image/n": 0, "retrieval/image_to_text/n": 0})
        image, text = self.run(params, self.image, self.text)
        matrices = [text[pool] @ image[pool].T for pool in self.pools]
        scores = both_ways(matrices, "retrieval", right=self.right) | self.constant
        for name in WAYS:
            scores[f"retrieval/{name}/n"] = len(self.records)
        examples = {}
        for pool, matrix in zip(self.pools, matrices, strict=True):
            for i, record in enumerate(self.records[pool]):
                nearest = np.argsort(-matrix[:, i], kind="stable")[:3]
                examples[record.id] = {
                    "nearest": [(self.captions[pool.start + j].text, float(matrix[j, i])) for j in nearest]
                }
        return Report(scores, examples)


def towers(model: Any, image: Array, text: Array) -> tuple[Array, Array]:
    """Unit vectors of pictures and of texts."""
    return vectors(model, image, "image"), vectors(model, text, "text")


def vectors(model: Any, data: Array, modality: str) -> Array:
    """Unit vectors [B, E] of the rows of one modality, seen by itself."""
    return model.tower(modality, model.alone(modality, model.encode(modality, data)))


def both_ways(
    text_to_image: list[np.ndarray],
    name: str,
    suffix: str = "",
    image_to_text: list[np.ndarray] | None = None,
    right: list[np.ndarray] | None = None,
) -> Scores:
    """`recalls` of pictures for texts and of texts for pictures, by "<name>/<direction>/<score><suffix>".

    Args:
      text_to_image: scores [texts, pictures] of each pool.
      name: first part of the scores' names.
      suffix: last part.
      image_to_text: scores [pictures, texts], where they are not the same the other way round.
      right: which pictures answer each text [texts, pictures], and the other way round; see `recalls`.
    """
    back = [matrix.T for matrix in text_to_image] if image_to_text is None else image_to_text
    answers = (right, right and [matrix.T for matrix in right])
    ways = zip(WAYS, (text_to_image, back), answers, strict=True)
    return {
        f"{name}/{way}/{key}{suffix}": value
        for way, matrices, answer in ways
        for key, value in recalls(matrices, answer).items()
    }


def recalls(matrices: list[np.ndarray], right: list[np.ndarray] | None = None) -> Scores:
    """R@k as fractions and the median rank.

    Args:
      matrices: scores [queries, items] of each pool.
      right: which items answer each query, of each pool; by default item i answers query i.

    The best of several right items counts. Items that are tied are in any order with equal probability: R@k is the
    expectation, and so is the rank. A model that gives every item one score therefore has the recall of chance, not 1.
    """
    right = [np.eye(*m.shape, dtype=bool) for m in matrices] if right is None else right
    above, tied, equal = [], [], []
    for scores, answers in zip(matrices, right, strict=True):
        best = np.where(answers, scores, -np.inf).max(1, keepdims=True)
        above.append((~answers & (scores > best)).sum(1))
        tied.append((~answers & (scores == best)).sum(1))
        equal.append((answers & (scores == best)).sum(1))
    above, tied, equal = (np.concatenate(x) for x in (above, tied, equal))
    from scipy.stats import hypergeom  # as long to import as jax itself, and not every command ranks

    # Of `equal + tied` items in any order, none of the first m is right with hypergeometric probability.
    found = {f"R@{k}": hypergeom.sf(0, equal + tied, equal, np.clip(k - above, 0, equal + tied)) for k in RECALLS}
    scores = {name: float(np.mean(share)) for name, share in found.items()}
    return scores | {"MedR": float(np.median(above + 1 + tied / (equal + 1)))}
