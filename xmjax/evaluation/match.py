"""Match: pairs told from mismatches by the matching identifier, and retrieval by it, whole or of the towers' best."""

from typing import Any

import jax
import numpy as np
from jax import Array

from xmjax.data.regions import boxes_array
from xmjax.evaluation.base import EVALUATORS, Report, Scores, batched
from xmjax.evaluation.objects import auroc
from xmjax.evaluation.retrieval import WAYS, RetrievalEvaluator, both_ways, towers
from xmjax.models.embedders import Tokens

BEST = 10
"""Items that the towers rank first and that are ranked again."""

PAIRS = 5
"""Batches of pairs are as many times larger as those of pictures: only fusion is computed for each pair."""


@EVALUATORS.register("match")
class MatchEvaluator(RetrievalEvaluator):
    """Area under the curve of matched and unmatched pairs; recall by match score, and by it among the towers' best.

    A text that is true of another picture too is no mismatch of it. A model without the identifier is not scored.
    """

    def __init__(self, config, mesh, records):
        self.able = config.model.matching
        count = config.model.regions.given
        super().__init__(config, mesh, [r for r in records if r.captions and (r.regions or not count)])
        if not self.pools or not self.able:
            return
        self.boxes = np.stack([boxes_array(record.regions, max(1, count)) for record in self.records])
        self.encode = self.compiled(encoded)
        self.score = batched(config, mesh, matched, PAIRS * config.evaluation.batch_size)

    def __call__(self, params):
        if not self.pools or not self.able:
            return Report({"match/n": 0})
        images, texts = self.encode(params, self.image, self.boxes, self.text)
        cosines = [texts[1][pool] @ images[1][pool].T for pool in self.pools]
        matches = [pair_scores(self.score, params, images, texts, pool) for pool in self.pools]
        again = [reranked(t, m) for t, m in zip(cosines, matches, strict=True)]
        back = [reranked(t.T, m.T) for t, m in zip(cosines, matches, strict=True)]
        own = np.concatenate([np.diag(m) for m in matches])
        others = np.concatenate([m[t == 0] for m, t in zip(matches, self.truth, strict=True)])
        scores: Scores = {
            "match/auroc": auroc([*own, *others], [True] * len(own) + [False] * len(others)),
            "match/auroc/oracle": 1.0,
            "match/auroc/chance": 0.5,
            "match/n": len(own),
            "match/unmatched/n": len(others),
        }
        scores |= both_ways(matches, "match", right=self.right)
        scores |= both_ways(again, "rerank", image_to_text=back, right=self.right)
        scores |= both_ways(cosines, "rerank", "/towers", right=self.right)
        constant = {
            key.replace("retrieval/", f"{name}/"): value
            for name in ("match", "rerank")
            for key, value in self.constant.items()
        }
        counts = {f"{name}/{way}/n": len(own) for name in ("match", "rerank") for way in WAYS}
        return Report(scores | constant | counts)


def encoded(model: Any, image: Array, boxes: Array, text: Array) -> tuple[tuple[Tokens, Array], tuple[Tokens, Array]]:
    """What a match is read off, of pictures and of texts, each by itself: what is fused, and unit vectors."""
    seen, read = towers(model, image, text)
    return (encoded_image(model, image, boxes), seen), (model.encode("text", text), read)


def encoded_image(model: Any, image: Array, boxes: Array) -> Tokens:
    """What is fused of pictures: objects, in these boxes or discovered, of a model with regions."""
    tokens = model.encode("image", image)
    return model.grounded(tokens, boxes, image=image) if model.config.regions.count else model.reduced("image", tokens)


def matched(model: Any, image: tuple[Tokens, Array], text: tuple[Tokens, Array]) -> Array:
    """Logit of each row's picture and text belonging together, of what `encoded` returned."""
    return model.matches({"image": image[0], "text": text[0]}, image[1], text[1])


def pair_scores(score: Any, params: Any, images: Any, texts: Any, pool: slice) -> np.ndarray:
    """Scores of every text of a pool with every picture of it [texts, pictures].

    Args:
      score: `batched` function of rows of pictures and rows of texts.
      params: of the model.
      images: arrays of all records, or a tree of them.
      texts: the same.
      pool: which of the records are paired.
    """
    rows = np.arange(pool.start, pool.stop)
    first, second = (x.reshape(-1) for x in np.meshgrid(rows, rows, indexing="ij"))
    found = score(params, jax.tree.map(lambda x: x[second], images), jax.tree.map(lambda x: x[first], texts))
    return found.reshape(len(rows), len(rows))


def reranked(scores: np.ndarray, better: np.ndarray, best: int = BEST) -> np.ndarray:
    """Scores [queries, items] whose ``best`` items of each query come first, by ``better``."""
    top = np.argsort(np.argsort(-scores, 1, kind="stable"), 1, kind="stable") < best
    first = scores.max() - better.min() + 1  # puts what is ranked again above everything else
    return np.where(top, better + first, scores)
