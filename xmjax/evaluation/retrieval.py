"""Retrieval: the picture for a text and the text for a picture, among a pool."""

from typing import Any

import numpy as np
from jax import Array

from xmjax.data.arrays import image_bytes, text_ids
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
        self.image = np.stack([image_bytes(record, config.model.image) for record in self.records])
        self.text = np.stack([text_ids(c.text, config.model.text.max_bytes) for c in self.captions])
        self.run = self.compiled(towers)
        self.truth = [
            np.array([[float(describes(c, r)) for r in self.records[pool]] for c in self.captions[pool]])
            for pool in self.pools
        ]
        self.constant = both_ways(self.truth, "retrieval", "/oracle")
        self.constant |= both_ways([np.zeros_like(t) for t in self.truth], "retrieval", "/random")

    def __call__(self, params):
        if not self.pools:
            return Report({"retrieval/text_to_image/n": 0, "retrieval/image_to_text/n": 0})
        image, text = self.run(params, self.image, self.text)
        matrices = [text[pool] @ image[pool].T for pool in self.pools]
        scores = both_ways(matrices, "retrieval") | self.constant
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


def both_ways(text_to_image: list[np.ndarray], name: str, suffix: str = "") -> Scores:
    """`recalls` of pictures for texts and of texts for pictures, by "<name>/<direction>/<score><suffix>".

    Args:
      text_to_image: scores [texts, pictures] of each pool.
      name: first part of the scores' names.
      suffix: last part.
    """
    ways = dict(zip(WAYS, (text_to_image, [matrix.T for matrix in text_to_image]), strict=True))
    return {
        f"{name}/{way}/{key}{suffix}": value
        for way, matrices in ways.items()
        for key, value in recalls(matrices).items()
    }


def recalls(matrices: list[np.ndarray]) -> Scores:
    """R@k as fractions and the median rank.

    Args:
      matrices: scores [queries, items] of each pool; the item of query i is i.

    An item tied with others has the ranks of all of them with equal probability: R@k is the expectation, its rank the
    mean. A model that gives every item one score therefore has the recall of chance, not 1.
    """
    above = np.concatenate([(m > np.diag(m)[:, None]).sum(1) for m in matrices])
    tied = np.concatenate([(m == np.diag(m)[:, None]).sum(1) for m in matrices])
    scores = {f"R@{k}": float(np.mean(np.clip((k - above) / tied, 0, 1))) for k in RECALLS}
    return scores | {"MedR": float(np.median(above + (tied + 1) / 2))}
