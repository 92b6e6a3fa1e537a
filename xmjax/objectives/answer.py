"""Answer: the decoder writes the answer to a question about the picture."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from xmjax.data.arrays import asked, draw
from xmjax.data.labelled import LABEL
from xmjax.errors import UserError
from xmjax.models.passes import masked_memory, repeated
from xmjax.objectives import base
from xmjax.training import flops

LABELLED = ("folder", "tfds")
"""Sources that bring no questions of their own, but may bring labels to ask for."""

UNLABELLED = ("stamps", "clips")
"""Sources that bring neither."""


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Answer`.

    Attributes:
      questions: questions asked of each record, of those it has.
      max_answer_bytes: longest answer; longer ones are cut.
      drop: share of questions whose picture is treated as absent, so that a blind answer is an honest guess.
      modality: what is asked about.
      objects: whether the picture's objects are read in the place of its tokens (`config.model.regions`), as `match`
        and `mask_predict` read them.
    """

    questions: int = 1
    max_answer_bytes: int = 31
    drop: float = 0.1
    modality: str = "image"
    objects: bool = False


@base.OBJECTIVES.register("answer")
class Answer(base.Objective):
    """Question answering as filling in: the question with a sentinel behind it, and the answer in the sentinel's place.

    Requests that single out one object among several ("describe the one left of the blue cup") are questions too.
    """

    Options = Options
    task = "referencing"

    def __init__(self, options, config):
        super().__init__(options, config)
        if options.objects and (options.modality != "image" or not config.model.regions.count):
            raise UserError(
                "config.objectives.answer.objects reads the objects of pictures: give config.model.regions.count, such "
                "as 4, and leave objectives.answer.modality at 'image'"
            )
        data = config.stream(options.stream)
        if data.source in UNLABELLED:
            raise UserError(
                f"config.objectives.answer finds no question in data.source={data.source!r}, whose records have no "
                "labels either: take it out, or give the pictures as a folder with a label_column"
            )
        if data.source in LABELLED and LABEL not in data.questions:
            raise UserError(
                f"config.objectives.answer finds no question in data.source={data.source!r}: of pictures of your own "
                "only their label is asked; set config.data.questions=('label',) and label_column, or take it out"
            )
        if data.source == "folder" and not data.label_column and LABEL in data.questions:
            raise UserError("config.data.questions=('label',) needs config.data.label_column: name the labels' column")

    def features(self, example: Any) -> dict[str, np.ndarray]:
        o, length = self.options, self.config.model.text.max_bytes
        chosen = draw(example.record.questions, o.questions, example.rng)
        rows = [asked(question, o.max_answer_bytes, length) for question in chosen]
        rows += [asked(None, o.max_answer_bytes, length)] * (o.questions - len(rows))
        questions, answers = zip(*rows, strict=True)
        return {"question": np.array(questions), "answer": np.array(answers)}

    def flops(self, share):
        o, model = self.options, self.config.model
        other = model.regions.count if o.objects else flops.kept(model, o.modality)
        text = flops.tokens(model, "text") * share
        return {
            f"encode/{o.modality}": flops.encode(model, o.modality),
            "question": o.questions * flops.encode(model, "text", share),
            "fuse/question": o.questions * flops.fuse(model, {o.modality: other, "text": text + 1}),
            "answer": o.questions * flops.decoder(model, o.max_answer_bytes + 1, other + text, 1),
        }

    def loss(self, passes, rng):
        o, model = self.options, passes.model
        sequences = rearrange(passes.batch["answer"], "b q w -> (b q) 1 w")
        absent = jax.random.bernoulli(rng, o.drop, (sequences.shape[0],))
        ids = rearrange(passes.batch["question"], "b q l -> (b q) l")
        seen = passes.fused_with_text(o.modality) if o.objects else passes.reduced(o.modality)
        other = repeated(seen, o.questions)
        absent |= ~jnp.any(other.valid, -1)  # nothing is known of a picture none of whose objects are
        memory, valid = masked_memory(model, {o.modality: other}, ids, passes.text(ids), {o.modality: absent})
        nats, count = base.decoded_nats(model, sequences, memory, valid)
        loss = jnp.mean(jnp.sum(nats, -1) / jnp.maximum(1, jnp.sum(count, -1)))
        shown = ~absent[:, None]
        return loss, {"bits_per_byte": base.bits_per_byte(nats * shown, count * shown)}
