"""Objects: what reducing a picture's tokens costs, and whether relations between groups are those between toys."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from xmjax.config import Config
from xmjax.data import playroom
from xmjax.data.source import Record
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.fill import FillEvaluator, association_of, oracle, score_masked
from xmjax.models.embedders import seen
from xmjax.models.objects import LEARNED, METHODS, group, pooled, relations

SHARE = 4
"""Tokens there are for each one that is kept."""

TOUCHING = ("holding", "in front of")
"""Relations of toys that touch or overlap."""


@EVALUATORS.register("reduction")
class ReductionEvaluator(FillEvaluator):
    """Fill with all of the picture's tokens and with a quarter, by each method without parameters and the run's own."""

    def __call__(self, params):
        if not self.items:
            return Report({"reduction/n": 0})
        image = self.config.model.image
        total = (image.size // image.patch) ** 2
        own = f"{image.reduce}@{image.keep}" if image.reduce else f"none@{total}"
        scores = {f"reduction/{own}": self._right(self.run, params)}
        if image.embedder == "pixels" and total % SHARE == 0:
            others = {f"{m}@{total // SHARE}": (m, total // SHARE) for m in METHODS if m not in LEARNED}
            for name, (method, keep) in ({f"none@{total}": ("", total)} | others).items():
                if name != own:
                    scores[f"reduction/{name}"] = self._right(self._reduced(method, keep), params)
        chance = float(np.mean([1 / len(item.candidates) for item in self.items]))
        known = oracle(self.items, range(len(self.items)))
        return Report(scores | {"reduction/oracle": known, "reduction/chance": chance, "reduction/n": len(self.items)})

    @functools.cache  # noqa: B019  # an evaluator lives as long as its run
    def _reduced(self, method: str, keep: int) -> Any:
        """`score_seen` with the picture's tokens reduced by a method, "" for not at all, compiled."""

        def score(model, image, masked, sequences, absent):
            tokens = model.encode("image", image)
            reduced = pooled(tokens, group(tokens, method, keep)).tokens if method else tokens
            return score_masked(
                model, {"image": reduced}, masked, sequences, {"image": absent}, association_of(self.config)
            )

        return self.compiled(score)

    def _right(self, run: Any, params: Any) -> float:
        nats = run(params, self.image, self.masked, self.sequences, np.zeros(len(self.items), bool))
        return float(np.mean(np.argmin(nats, 1) == [item.answer for item in self.items]))


@EVALUATORS.register("relations")
class RelationsEvaluator(Evaluator):
    """Area under the curve of telling toys that touch from toys that do not, by the relations of discovered groups."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        pixels = config.model.image.embedder == "pixels"
        self.records = [r for r in self.records if pixels and isinstance(r.truth, playroom.Scene)]
        self.pairs = toy_pairs(self.records)
        if not any(touching for *_, touching in self.pairs):
            return
        self.image = self.pictures(self.records)
        self.run = self.compiled(lambda model, image: found_objects(model, image, keep=kept(config))[:2])

    def __call__(self, params):
        labels = [touching for *_, touching in self.pairs]
        if not any(labels) or all(labels):
            return Report({"relations/n": 0})
        boxes, scores = self.run(params, self.image)
        found, known = [], []
        for k, i, j, _ in self.pairs:
            scene = self.records[k].truth
            a, b = (np.array(scene.toys[toy].box) / scene.image_size for toy in (i, j))
            found.append(between(scores[k], boxes[k], a, b))
            known.append(-free(a, b))
        return Report(
            {
                "relations/auroc": auroc(found, labels),
                "relations/auroc/oracle": auroc(known, labels),
                "relations/auroc/chance": 0.5,
                "relations/n": len(labels),
            }
        )


def toy_pairs(records: Sequence[Record]) -> list[tuple[int, int, int, bool]]:
    """Pairs of toys that clearly touch or are clearly apart, as (record, toy, toy, whether they touch)."""
    pairs = []
    for k, record in enumerate(records):
        scene = record.truth
        touching = {frozenset((i, j)) for i, name, j in playroom.relations(scene) if name in TOUCHING}
        for j in range(len(scene.toys)):
            for i in range(j):
                touch = frozenset((i, j)) in touching
                if touch or free(scene.toys[i].box, scene.toys[j].box) >= playroom.margin(scene.image_size):
                    pairs.append((k, i, j, touch))
    return pairs


def free(a: Sequence[float], b: Sequence[float]) -> float:
    """Distance between two boxes (y0, x0, y1, x1) along the axis where it is greater; negative where they overlap."""
    return max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3])


def kept(config: Config) -> int:
    """Groups that a picture's units are put into: as the run reduces them, or a quarter of them."""
    image = config.model.image
    return image.keep if image.reduce else max(1, (image.size // image.patch) ** 2 // SHARE)


def found_objects(model: Any, image: Array, boxes: Array | None = None, *, keep: int) -> tuple[Array, Array, Array]:
    """Objects of pictures: as the model reduces them, or merged by relation, or those in boxes that are given.

    Args:
      model: bound to its parameters.
      image: bytes of the pictures.
      boxes: given ones [B, K, 4], (y0, x0, y1, x1) as fractions of the side.
      keep: groups, K, of a model that does not reduce.

    Returns:
      Boxes [B, K, 4] of what the groups see, the relations between them [B, K, K], and their units' shares in them
      [B, K, M].
    """
    whole = model.encode("image", image)
    if "image" in model.reduce or boxes is not None:
        found = model.objects("image", whole, boxes)
    else:
        found = pooled(whole, group(whole, "relation", keep))
    tokens = found.tokens
    places = tokens.spans if boxes is not None else seen(tokens.spans, model.config.image)
    return places, relations(tokens.vectors.astype(jnp.float32), tokens.spans), found.groups


def between(scores: np.ndarray, boxes: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The strongest relation between a group on one box and a group on another; one group on both relates them fully.

    Args:
      scores: of the groups [K, K].
      boxes: of the groups [K, 4].
      a: box of a toy [4].
      b: box of another.
    """
    on_a, on_b = (np.flatnonzero(_covers(boxes, box)) for box in (a, b))
    return float(scores[np.ix_(on_a, on_b)].max()) if len(on_a) and len(on_b) else 0.0


def _covers(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Groups most of whose box lies in another box."""
    side = np.clip(np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]), 0, None)
    return side.prod(1) > 0.5 * (boxes[:, 2:] - boxes[:, :2]).prod(1)


def auroc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Probability that a true pair scores higher than a false one, ties counted half (Mann and Whitney 1947)."""
    from scipy.stats import rankdata  # as long to import as jax itself

    ranks, true = rankdata(scores), np.asarray(labels, bool)
    positive, negative = true.sum(), (~true).sum()
    return float((ranks[true].sum() - positive * (positive + 1) / 2) / (positive * negative))
