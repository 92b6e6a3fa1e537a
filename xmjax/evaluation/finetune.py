"""Fine-tuning: the task that a model was trained for further, as one score."""

from xmjax.evaluation.answer import AnswerEvaluator
from xmjax.evaluation.base import EVALUATORS, Report

SCENE = "scene"
"""Kind of the questions that ask what the whole picture shows."""


@EVALUATORS.register("finetune")
class FinetuneEvaluator(AnswerEvaluator):
    """Accuracy of the label of scenes, beside what the question alone tells."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, [r for r in records if any(q.kind == SCENE for q in r.questions)])

    def __call__(self, params):
        if not self.records:
            return Report({"finetune/scene/n": 0})
        found = super().__call__(params)
        kept = {key: value for key, value in found.scores.items() if not key.startswith("answer/by_class")}
        scores = {key.replace("answer/model", "finetune/scene"): v for key, v in kept.items() if "answer/model" in key}
        return Report(
            scores | {"finetune/question_only": kept["answer/question_only"], "finetune/n": kept["answer/n"]},
            found.examples,
        )
