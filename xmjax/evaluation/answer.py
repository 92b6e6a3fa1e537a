"""Answering: what the decoder writes after a question about a picture, with and without the picture."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from xmjax import vocab
from xmjax.data import playroom
from xmjax.data.arrays import asked
from xmjax.data.regions import boxes_array
from xmjax.data.source import Question, Record
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.items import commonest
from xmjax.evaluation.match import encoded_image
from xmjax.models.generate import greedy
from xmjax.models.passes import masked_memory

DESCRIBE = "describe"
"""Kind of the questions that are requests to describe the one object meant; they are scored apart."""


@EVALUATORS.register("answer")
class AnswerEvaluator(Evaluator):
    """Greedy answers; right means equal to the one answer. One question a record, by turns of those it has.

    A run that answers by objects in given boxes is asked about records that have them.
    """

    def __init__(self, config, mesh, records):
        options = config.objectives.get("answer")
        objects = bool(options and options.objects)
        count = config.model.regions.given if objects else 0
        super().__init__(config, mesh, [r for r in records if r.questions and (r.regions or not count)])
        if not self.records:
            return
        longest = options.max_answer_bytes if options else config.model.text.max_bytes
        self.questions = [r.questions[i % len(r.questions)] for i, r in enumerate(self.records)]
        rows = [asked(question, longest, config.model.text.max_bytes)[0] for question in self.questions]
        boxes = np.stack([boxes_array(r.regions, max(1, count)) for r in self.records])
        self.arrays = self.pictures(self.records), boxes, np.stack(rows)
        self.run = self.compiled(partial(write_answer, length=longest, objects=objects))

    def __call__(self, params):
        if not self.records:
            return Report({"answer/n": 0, "describe/n": 0})
        texts = {
            arm: [vocab.decode(ids) for ids in self.run(params, *self.arrays, np.full(len(self.records), blind))]
            for arm, blind in (("model", False), ("question_only", True))
        }
        right = {
            arm: np.array([text == q.answer for text, q in zip(found, self.questions, strict=True)])
            for arm, found in texts.items()
        }
        known = np.array([oracle(q, r) for q, r in zip(self.questions, self.records, strict=True)])
        kinds = np.array([question.kind for question in self.questions])
        scores = {}
        for name, group in (("answer", kinds != DESCRIBE), ("describe", kinds == DESCRIBE)):
            scores[f"{name}/n"] = int(group.sum())
            if not group.any():
                continue
            frequent = most_frequent([q for q, of_group in zip(self.questions, group, strict=True) if of_group])
            first = "model" if name == "answer" else "exact"
            scores |= {
                f"{name}/{first}": float(right["model"][group].mean()),
                f"{name}/{first}/oracle": float(known[group].mean()),
                f"{name}/{first}/most_frequent": frequent,
                f"{name}/question_only": float(right["question_only"][group].mean()),
                f"{name}/question_only/most_frequent": frequent,
            }
        for kind in sorted(set(kinds) - {"", DESCRIBE}):
            group = kinds == kind
            scores |= {
                f"answer/by_class/{kind}": float(right["model"][group].mean()),
                f"answer/by_class/{kind}/most_frequent": most_frequent([q for q in self.questions if q.kind == kind]),
                f"answer/by_class/{kind}/n": int(group.sum()),
            }
        examples = {
            record.id: {"question": q.text, "expected": q.answer, "answered": text}
            for record, q, text in zip(self.records, self.questions, texts["model"], strict=True)
        }
        return Report(scores, examples)


def write_answer(
    model: Any, image: Array, boxes: Array, question: Array, absent: Array, *, length: int, objects: bool
) -> Array:
    """Ids [B, length] that the decoder writes after questions with their sentinels [B, L] about pictures [B, ...].

    With ``objects`` it reads those in the boxes [B, K, 4], or those that the model discovers, in the place of the
    picture's tokens.
    """
    other = encoded_image(model, image, boxes) if objects else model.reduced("image", model.encode("image", image))
    text = model.encode("text", question)
    memory, valid = masked_memory(model, {"image": other}, question, text, {"image": absent})
    prompt = jnp.full((image.shape[0], 1), vocab.sentinel(0), jnp.int32)
    return greedy(model, memory, valid, prompt, length)


def oracle(question: Question, record: Record) -> bool:
    """Whether a reader of the truth gives the answer; where there is no truth the answer itself is taken for it."""
    if record.truth is None:
        return True
    true = playroom.questions(record.truth, question.language, question.kind)
    return {q.answer for q in true if q.text == question.text} == {question.answer}


def most_frequent(questions: Sequence[Question]) -> float:
    """Accuracy of always giving the commonest answer of the question's language and kind."""
    return commonest([(q.language, q.kind) for q in questions], [{q.answer} for q in questions])
