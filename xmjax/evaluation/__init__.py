"""Evaluators: one file each, every score beside its oracle and its trivial baselines."""

from xmjax.evaluation.answer import AnswerEvaluator
from xmjax.evaluation.arithmetic import ArithmeticEvaluator, ComposeEvaluator
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.caption import CaptionEvaluator
from xmjax.evaluation.dictionary import DictionaryEvaluator
from xmjax.evaluation.emergent import EmergentEvaluator
from xmjax.evaluation.entities import EntitiesEvaluator
from xmjax.evaluation.fill import FillEvaluator
from xmjax.evaluation.finetune import FinetuneEvaluator
from xmjax.evaluation.hard_negatives import HardNegativesEvaluator
from xmjax.evaluation.labels import LabelsEvaluator
from xmjax.evaluation.localize import LocalizeEvaluator
from xmjax.evaluation.mask_predict import MaskPredictEvaluator
from xmjax.evaluation.match import MatchEvaluator
from xmjax.evaluation.objects import ReductionEvaluator, RelationsEvaluator
from xmjax.evaluation.pointing import PointingEvaluator
from xmjax.evaluation.retrieval import RetrievalEvaluator
from xmjax.evaluation.sense import SenseEvaluator
from xmjax.evaluation.sound import SoundEvaluator
from xmjax.evaluation.subsets import SubsetsEvaluator
from xmjax.evaluation.tags import TagsEvaluator
from xmjax.evaluation.videos import VideosEvaluator
from xmjax.evaluation.zero_shot import ZeroShotEvaluator

__all__ = [
    "EVALUATORS",
    "AnswerEvaluator",
    "ArithmeticEvaluator",
    "CaptionEvaluator",
    "ComposeEvaluator",
    "DictionaryEvaluator",
    "EmergentEvaluator",
    "EntitiesEvaluator",
    "Evaluator",
    "FillEvaluator",
    "FinetuneEvaluator",
    "HardNegativesEvaluator",
    "LabelsEvaluator",
    "LocalizeEvaluator",
    "MaskPredictEvaluator",
    "MatchEvaluator",
    "PointingEvaluator",
    "ReductionEvaluator",
    "RelationsEvaluator",
    "Report",
    "RetrievalEvaluator",
    "SenseEvaluator",
    "SoundEvaluator",
    "SubsetsEvaluator",
    "TagsEvaluator",
    "VideosEvaluator",
    "ZeroShotEvaluator",
]
