"""Mask-predict: captions that are filled in from an unknown text (`evaluation.filling`), scored."""

from typing import Any

import numpy as np

from xmjax import vocab
from xmjax.data.arrays import canvas, prompt_of
from xmjax.data.regions import boxes_array
from xmjax.data.source import Caption
from xmjax.data.words import pieces
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.caption import others_picture
from xmjax.evaluation.filling import Filling, filled_in
from xmjax.evaluation.items import commonest, references
from xmjax.objectives.mask_predict import bytes_a_token, in_tokens


@EVALUATORS.register("mask_predict")
class MaskPredictEvaluator(Evaluator):
    """Captions that are equal to one of the record's own, filled in from an unknown text.

    What is certain is kept first in "certain_first", what comes first in "from_the_left"; "by_beam" is the likeliest of
    those that a search from the left finds, "exact" the best of all these (`filling.judged`), and "shuffled_image"
    "exact" with the picture of another record. A model that was not trained to do so is not scored.
    """

    def __init__(self, config, mesh, records):
        count = config.model.regions.given
        super().__init__(config, mesh, [r for r in records if r.captions and (r.regions or not count)])
        options = config.objectives.get("mask_predict")
        if not self.records or options is None or options.modality != "image":
            self.records = []
            return
        self.captions = [r.captions[i % len(r.captions)] for i, r in enumerate(self.records)]
        self.references = [references(c, r) for c, r in zip(self.captions, self.records, strict=True)]
        boxes = np.stack([boxes_array(r.regions, max(1, count)) for r in self.records])
        how, length = Filling.of(config), config.model.text.max_bytes
        self.shown = self.pictures(self.records), boxes
        self.prompts = np.stack([canvas(c, how.units, how.max_unit_bytes, length)[0] for c in self.captions])
        self.donor = others_picture(self.captions, self.references, self.records)
        self.fill = self.compiled(lambda *shown: filled_in(*shown, how=how)._asdict())

    def has_room(self, caption: Caption, text: str) -> bool:
        """Whether a text has places and room behind the prompt of a caption; its end needs none."""
        options, model = self.config.objectives["mask_predict"], self.config.model
        words, each = pieces(text, options.max_unit_bytes), bytes_a_token(model)
        lengths = (len(vocab.utf8(prompt_of(caption))) + 1, *(len(vocab.utf8(word)) for word in words))
        taken = sum(in_tokens(length, each) for length in lengths)
        return len(words) <= options.units and taken <= model.text.max_bytes

    def __call__(self, params):
        if not self.records:
            return Report({"mask_predict/n": 0})
        examples: dict[str, dict[str, Any]] = {r.id: {} for r in self.records}

        def right(texts: list[str]) -> float:
            return float(np.mean([text in known for text, known in zip(texts, self.references, strict=True)]))

        found = self.fill(params, *self.shown, self.prompts)
        others = self.fill(params, *(array[self.donor] for array in self.shown), self.prompts)["exact"]
        ways = {name: [vocab.decode(ids) for ids in rows] for name, rows in found.items()}
        for name, texts in ways.items():
            for record, text in zip(self.records, texts, strict=True):
                examples[record.id]["unmasked" if name == "exact" else f"unmasked {name}"] = vocab.whole(text)
        scores = {f"mask_predict/{name}": right(texts) for name, texts in ways.items()}
        groups = [(c.language, c.style) for c in self.captions]
        cases = zip(self.captions, self.references, strict=True)
        known = float(np.mean([any(self.has_room(caption, text) for text in texts) for caption, texts in cases]))
        return Report(
            {
                **scores,
                **{f"{name}/oracle": known for name in scores},
                "mask_predict/shuffled_image": right([vocab.decode(ids) for ids in others]),
                "mask_predict/exact/most_frequent": commonest(groups, self.references),
                "mask_predict/n": len(self.records),
            },
            examples,
        )
