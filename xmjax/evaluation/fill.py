"""Fill: which of all words of a class stands in the place of a masked one."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array

from xmjax import vocab
from xmjax.config import Config
from xmjax.data.arrays import masked_ids
from xmjax.data.source import Record
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.items import FillItem, fill_items, trivial
from xmjax.models.embedders import Tokens
from xmjax.models.passes import masked_memory
from xmjax.objectives.base import decoded_nats

ARMS = ("image", "no_image", "shuffled_image")
"""The item's own image; no image; the image of another item that has another answer."""


@EVALUATORS.register("fill")
class FillEvaluator(Evaluator):
    """Whole-word accuracy by scoring every candidate with its end symbol, all in one pass on the encoder's output."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        self.items = fill_items(self.records, config.model.text.max_bytes)
        if not self.items:
            return
        self.image = self.pictures(item.record for item in self.items)
        self.masked = np.stack([_masked(item, config.model.text.max_bytes) for item in self.items])
        self.sequences = candidate_sequences([item.candidates for item in self.items])
        self.donor = other_pictures(self.items)
        self.association = association_of(config)
        self.run = self.compiled(partial(score_seen, association=self.association))
        self.run_shuffled = self.compiled(partial(score_seen, association="shuffled"))

    def __call__(self, params):
        if not self.items:
            return Report({"fill/n": 0})
        images = {"image": self.image, "no_image": self.image, "shuffled_image": self.image[self.donor]}
        nats = {
            arm: self.run(params, images[arm], self.masked, self.sequences, np.full(len(self.items), arm == "no_image"))
            for arm in ARMS
        }
        answers = [item.answer for item in self.items]
        right = {arm: np.argmin(nats[arm], 1) == answers for arm in ARMS}
        scores = {f"fill/{arm}": float(np.mean(right[arm])) for arm in ARMS} | trivial(self.items, "fill")
        scores |= {
            "fill/image/oracle": oracle(self.items, range(len(self.items))),
            "fill/no_image/oracle": scores["fill/chance"],
            "fill/shuffled_image/oracle": oracle(self.items, self.donor.tolist()),
        }
        if self.association:
            broken = self.run_shuffled(params, self.image, self.masked, self.sequences, np.zeros(len(self.items), bool))
            scores["fill/shuffled_association"] = float(np.mean(np.argmin(broken, 1) == answers))
        for kind in sorted({item.kind for item in self.items} - {""}):
            of_kind = np.array([item.kind == kind for item in self.items])
            group = [item for item in self.items if item.kind == kind]
            scores |= {
                f"fill/by_class/{kind}": float(np.mean(right["image"][of_kind])),
                f"fill/by_class/{kind}/chance": float(np.mean([1 / len(item.candidates) for item in group])),
                f"fill/by_class/{kind}/oracle": oracle(group, range(len(group))),
                f"fill/by_class/{kind}/n": len(group),
            }
        return Report(scores, self._examples(nats["image"], right["image"]))

    def _examples(self, nats: np.ndarray, right: np.ndarray) -> dict:
        count = self.config.evaluation.examples
        chosen = [*np.flatnonzero(right)[:count], *np.flatnonzero(~right)[:count]]
        found = {}
        for i in chosen:
            item = self.items[i]
            weight = np.exp(nats[i].min() - nats[i][: len(item.candidates)])
            order = np.argsort(-weight, kind="stable")[:5]
            found[item.record.id] = {
                "masked": item.masked_text(),
                "answer": item.candidates[item.answer],
                "right": bool(right[i]),
                "candidates": [(item.candidates[k], float(weight[k] / weight.sum())) for k in order],
            }
        return found


def association_of(config: Config) -> str:
    """How a run's fill reads the picture; see `objectives.fill.Options`."""
    options = config.objectives.get("fill")
    return options.association if options else ""


def candidate_sequences(candidates: Sequence[Sequence[str]], count: int = 0, length: int = 0) -> np.ndarray:
    """What the decoder writes for every candidate of every item: sentinel, bytes, EOS.

    Returns:
      uint16 [items, K, L], padded to the most candidates and the longest word, at least to ``count`` and ``length``.
    """
    count = max(count, *map(len, candidates))
    length = max(length, *(len(vocab.utf8(word)) + 2 for words in candidates for word in words))
    sequences = np.full((len(candidates), count, length), vocab.PAD, np.uint16)
    for i, words in enumerate(candidates):
        for k, word in enumerate(words):
            ids = vocab.encode(word)
            sequences[i, k, : len(ids) + 2] = [vocab.sentinel(0), *ids, vocab.EOS]
    return sequences


def read_masked(
    model: Any,
    data: Mapping[str, Array],
    masked: Array,
    absent: Mapping[str, Array],
    association: str = "",
    modalities: Sequence[str] = ("image",),
) -> tuple[Array, Array]:
    """What the decoder reads to write the masked word of texts; see `models.passes.masked_memory`.

    Args:
      model: a `Crossmodal` bound to its parameters.
      data: of each modality that texts are fused with, rows as its embedder takes them [B, ...].
      masked: texts with a sentinel [B, L].
      absent: of each, rows in which it is treated as missing [B].
      association: the only way from the first of them to the word, "" for all there are.
      modalities: theirs in the order of the objective, for a dict that went through jit has its keys sorted.
    """
    others, text = _tokens(model, data, modalities), model.encode("text", masked)
    return masked_memory(model, others, masked, text, absent, association=association)


def score_candidates(
    model: Any,
    data: Mapping[str, Array],
    masked: Array,
    sequences: Array,
    absent: Mapping[str, Array],
    association: str = "",
    modalities: Sequence[str] = ("image",),
) -> Array:
    """Nats of every candidate with its end symbol [B, K], +inf for padding; other arguments as of `read_masked`.

    Args:
      sequences: what the decoder would write for each, such as `candidate_sequences` gives.
    """
    return score_masked(model, _tokens(model, data, modalities), masked, sequences, absent, association)


def score_seen(model: Any, image: Array, masked: Array, sequences: Array, absent: Array, association: str) -> Array:
    """`score_candidates` of texts that are fused with pictures."""
    return score_candidates(model, {"image": image}, masked, sequences, {"image": absent}, association)


def _tokens(model: Any, data: Mapping[str, Array], modalities: Sequence[str]) -> dict[str, Tokens]:
    return {m: model.reduced(m, model.encode(m, data[m])) for m in modalities}


def score_masked(
    model: Any,
    others: Mapping[str, Tokens],
    masked: Array,
    sequences: Array,
    absent: Mapping[str, Array],
    association: str = "",
) -> Array:
    """`score_candidates` for the tokens of any modalities that are fused (`Crossmodal.reduced`)."""
    text = model.encode("text", masked)
    memory, valid = masked_memory(model, others, masked, text, absent, association=association)
    nats, count = decoded_nats(model, sequences, memory, valid)
    return jnp.where(count > 0, nats, jnp.inf)  # candidates that only fill up the row never win


def _masked(item: FillItem, length: int) -> np.ndarray:
    return masked_ids(item.caption.text, item.word, length)


class Asked(Protocol):
    """An item of a choice that a picture decides: `FillItem` and whatever has the same."""

    @property
    def record(self) -> Record:
        """What it is asked about."""
        ...

    @property
    def candidates(self) -> tuple[Any, ...]:
        """What there is to choose from."""
        ...

    @property
    def answer(self) -> int:
        """Index of the right one."""
        ...

    def true_in(self, record: Record) -> list[bool]:
        """Which candidates another record's picture makes true."""
        ...

    def fits(self, record: Record) -> bool:
        """Whether the answer is one of them."""
        ...


def other_pictures(items: Sequence[Asked], seed: int = 0) -> np.ndarray:
    """For every item the index of another one whose picture does not make the item's answer true; see `derangement`.

    What could not be told apart is seen in the oracle's score of these pictures.
    """
    return derangement(len(items), lambda i, j: items[i].fits(items[j].record), seed)


def derangement(count: int, fits: Callable[[int, int], bool], seed: int = 0) -> np.ndarray:
    """A permutation of the numbers below ``count`` in which ``fits(i, donor[i])`` holds nowhere, if a swap can do it.

    Random, then every clash is swapped away where some partner allows it; others stay.
    """
    rng = np.random.default_rng(seed)
    donor: Any = rng.permutation(count)
    for i in range(count):
        if not fits(i, donor[i]):
            continue
        for j in rng.permutation(count):
            donor[i], donor[j] = donor[j], donor[i]
            if not fits(i, donor[i]) and not fits(j, donor[j]):
                break
            donor[i], donor[j] = donor[j], donor[i]
    return donor


def oracle(items: Sequence[Asked], donor: Sequence[int]) -> float:
    """Accuracy of a scorer that reads the truth of the picture it is shown and guesses among the true candidates."""
    score = 0.0
    for item, shown in zip(items, donor, strict=True):
        true = item.true_in(items[shown].record)
        score += (1 / len(item.candidates)) if not any(true) else true[item.answer] / sum(true)
    return score / len(items)
