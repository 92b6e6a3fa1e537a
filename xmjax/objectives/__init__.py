"""Pretraining tasks: one file each, a registered name, a weight and a schedule over steps."""

from xmjax.objectives.answer import Answer
from xmjax.objectives.base import OBJECTIVES, Objective, Options, features, make, options, total_loss, weighted_sum
from xmjax.objectives.bind import Bind
from xmjax.objectives.caption import Caption
from xmjax.objectives.contrast import Contrast
from xmjax.objectives.fill import Fill
from xmjax.objectives.locate import Locate
from xmjax.objectives.mask_predict import MaskPredict
from xmjax.objectives.match import Match
from xmjax.objectives.regions import Regions
from xmjax.objectives.sense import Sense
from xmjax.objectives.sound import Sound

__all__ = [
    "OBJECTIVES",
    "Answer",
    "Bind",
    "Caption",
    "Contrast",
    "Fill",
    "Locate",
    "MaskPredict",
    "Match",
    "Objective",
    "Options",
    "Regions",
    "Sense",
    "Sound",
    "features",
    "make",
    "options",
    "total_loss",
    "weighted_sum",
]
