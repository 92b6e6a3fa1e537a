"""Captioning: what the decoder writes about a picture, and how many bits it needs for what others wrote."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array

from xmjax import vocab
from xmjax.data.arrays import prompted
from xmjax.data.source import Caption, Record
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.fill import derangement
from xmjax.evaluation.items import commonest, references
from xmjax.models.crossmodal import concatenate
from xmjax.models.generate import beam, greedy
from xmjax.objectives.base import sequence_nats, written_after_prompt

PROMPT_BYTES = 8


@EVALUATORS.register("caption")
class CaptionEvaluator(Evaluator):
    """Captions after a prompt of language and style; exact means equal to one of the record's own."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, [r for r in records if r.captions])
        if not self.records:
            return
        options = config.objectives.get("caption")
        room, length = options.max_prompt_bytes if options else PROMPT_BYTES, config.model.text.max_bytes
        self.captions = [r.captions[i % len(r.captions)] for i, r in enumerate(self.records)]
        self.references = [references(c, r) for c, r in zip(self.captions, self.records, strict=True)]
        self.image = self.pictures(self.records)
        self.donor = others_picture(self.captions, self.references, self.records)
        self.sequence = np.stack([prompted(c, room, length) for c in self.captions])
        after = np.cumsum(self.sequence == vocab.SEP, 1) - (self.sequence == vocab.SEP)
        self.prompt = np.where(after, vocab.PAD, self.sequence)[:, : room + 2].astype(np.uint16)
        beams = config.evaluation.beams
        self.write = self.compiled(lambda model, image, prompt: write(model, image, prompt, length, beams))
        self.measure = self.compiled(_measure)

    def __call__(self, params):
        if not self.records:
            return Report({"caption/n": 0})
        written = self.write(params, self.image, self.prompt)
        texts = [vocab.decode(ids) for ids in written]
        right = [text in known for text, known in zip(texts, self.references, strict=True)]
        scores = {
            "caption/exact": float(np.mean(right)),
            "caption/exact/oracle": float(np.mean([bool(known) for known in self.references])),
            "caption/exact/most_frequent": commonest([(c.language, c.style) for c in self.captions], self.references),
            "caption/bits_per_byte": self._bits(params, self.image),
            "caption/bits_per_byte/unigram": self._unigram(),
            "caption/shuffled_image/bits_per_byte": self._bits(params, self.image[self.donor]),
            "caption/n": len(self.records),
            "caption/shuffled_image/n": len(self.records),
        }
        examples = {
            record.id: {"prompt": f"{caption.language} {caption.style}".strip(), "caption": text, "exact": bool(ok),
                        "references": sorted(known)}
            for record, caption, text, ok, known in zip(
                self.records, self.captions, texts, right, self.references, strict=True
            )
        }  # fmt: skip
        return Report(scores, examples)

    def _bits(self, params: Any, image: np.ndarray) -> float:
        """Bits that the captions take, told after their prompts, over their bytes (ends counted)."""
        nats, count = self.measure(params, image, self.sequence)
        return float(nats.sum() / count.sum() / np.log(2))

    def _unigram(self) -> float:
        """The same for a coder that knows how often each byte occurs in these captions and nothing else."""
        after = np.cumsum(self.sequence == vocab.SEP, 1) - (self.sequence == vocab.SEP)
        _, counts = np.unique(self.sequence[(after > 0) & (self.sequence != vocab.PAD)], return_counts=True)
        share = counts / counts.sum()
        return float(-(share * np.log2(share)).sum())


def others_picture(
    captions: Sequence[Caption], known: Sequence[Collection[str]], records: Sequence[Record]
) -> np.ndarray:
    """For every record the index of another that has none of its captions in that language and style, where there is.

    Args:
      captions: one of each record.
      known: all that the record has in its language and style.
      records: whose they are.
    """

    def share(i: int, j: int) -> bool:
        return i == j or not references(captions[i], records[j]).isdisjoint(known[i])

    return derangement(len(records), share)


def picture_memory(model: Any, image: Array) -> tuple[Array, Array]:
    """What the decoder reads to write about pictures [B, ...]: their tokens, and which of them count."""
    return concatenate({"": model.alone("image", model.encode("image", image))})


def write(model: Any, image: Array, prompt: Array, length: int, beams: int) -> Array:
    """Ids [B, length] that the decoder writes about pictures [B, ...] after prompts [B, P]."""
    memory, valid = picture_memory(model, image)
    prompt = prompt.astype(np.int32)
    if beams == 1:
        return greedy(model, memory, valid, prompt, length)
    return beam(model, memory, valid, prompt, length, width=beams).ids[:, 0]


def _measure(model, image, sequence):
    logits = model.decode(sequence[:, None, :-1], *picture_memory(model, image))
    return sequence_nats(logits[:, 0], sequence, written_after_prompt(sequence))
