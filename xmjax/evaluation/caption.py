"""Captioning: what the decoder writes about a picture, and how many bits it needs for what others wrote."""

from collections import Counter

import numpy as np

from xmjax import vocab
from xmjax.data.arrays import image_bytes, prompted
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.items import references
from xmjax.models.crossmodal import concatenate
from xmjax.models.generate import greedy
from xmjax.objectives.base import sequence_nats, written_after_prompt

PROMPT_BYTES = 8


@EVALUATORS.register("caption")
class CaptionEvaluator(Evaluator):
    """Greedy captions after a prompt of language and style; exact means equal to one of the record's own."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, [r for r in records if r.captions])
        if not self.records:
            return
        options = config.objectives.get("caption")
        room, length = options.max_prompt_bytes if options else PROMPT_BYTES, config.model.text.max_bytes
        self.captions = [r.captions[i % len(r.captions)] for i, r in enumerate(self.records)]
        self.references = [references(c, r) for c, r in zip(self.captions, self.records, strict=True)]
        self.image = np.stack([image_bytes(record, config.model.image) for record in self.records])
        self.sequence = np.stack([prompted(c, room, length) for c in self.captions])
        after = np.cumsum(self.sequence == vocab.SEP, 1) - (self.sequence == vocab.SEP)
        self.prompt = np.where(after, vocab.PAD, self.sequence)[:, : room + 2].astype(np.uint16)
        self.run = self.compiled(lambda model, *arrays: _write(model, *arrays, length=length))

    def __call__(self, params):
        if not self.records:
            return Report({"caption/n": 0})
        written, nats, count = self.run(params, self.image, self.prompt, self.sequence)
        texts = [vocab.decode(ids) for ids in written]
        right = [text in known for text, known in zip(texts, self.references, strict=True)]
        scores = {
            "caption/exact": float(np.mean(right)),
            "caption/exact/oracle": float(np.mean([bool(known) for known in self.references])),
            "caption/exact/most_frequent": self._most_frequent(),
            "caption/bits_per_byte": float(nats.sum() / count.sum() / np.log(2)),
            "caption/n": len(self.records),
        }
        examples = {
            record.id: {"prompt": f"{caption.language} {caption.style}".strip(), "caption": text, "exact": bool(ok),
                        "references": sorted(known)}
            for record, caption, text, ok, known in zip(
                self.records, self.captions, texts, right, self.references, strict=True
            )
        }  # fmt: skip
        return Report(scores, examples)

    def _most_frequent(self) -> float:
        """Exact match of always writing the one caption that is right most often for the language and style."""
        right: dict[tuple[str, str], Counter[str]] = {}
        for caption, known in zip(self.captions, self.references, strict=True):
            right.setdefault((caption.language, caption.style), Counter()).update(known)
        return sum(max(counts.values()) for counts in right.values()) / len(self.captions)


def _write(model, image, prompt, sequence, length: int):
    memory, valid = concatenate({"": model.alone("image", model.encode("image", image))})
    written = greedy(model, memory, valid, prompt.astype(np.int32), length)
    logits = model.decode(sequence[:, None, :-1], memory, valid)
    nats, count = sequence_nats(logits[:, 0], sequence, written_after_prompt(sequence))
    return written, nats, count
