"""Fine-tuning: the task that a model was trained for further, as one score."""

from xmjax.data.labelled import LABEL
from xmjax.evaluation.answer import AnswerEvaluator
from xmjax.evaluation.base import EVALUATORS, Report

KINDS = ("scene", LABEL)
"""Kinds of the questions that ask what the whole picture shows: in the playroom, and of one's own data."""


@EVALUATORS.register("finetune")
class FinetuneEvaluator(AnswerEvaluator):
    """Accuracy of the label of whole pictures, beside what the question alone tells."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, [r for r in records if any(q.kind in KINDS for q in r.questions)])

    def __call__(self, params):
        if not self.records:
            return Report({"finetune/n": 0})
        found, task = super().__call__(params), self.questions[0].kind
        kept = {key: value for key, value in found.scores.items() if not key.startswith("answer/by_class")}
        scores = {
            key.replace("answer/model", f"finetune/{task}"): v for key, v in kept.items() if "answer/model" in key
        }
        return Report(
            scores | {"finetune/question_only": kept["answer/question_only"], "finetune/n": kept["answer/n"]},
            found.examples,
        )
