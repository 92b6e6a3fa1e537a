"""A procedural world of toys with known truth: scenes, captions in two languages, and their meaning."""

from xmjax.data.playroom.language import (
    ALL_STYLES,
    STYLES,
    Meaning,
    Phrase,
    PlayCaption,
    captions,
    compose,
    label,
    templates,
)
from xmjax.data.playroom.lexicon import COLORS as NAMES_OF_COLORS
from xmjax.data.playroom.lexicon import GLOSSES, HOMOGRAPHS, LANGUAGES, NAMES
from xmjax.data.playroom.questions import KINDS_OF_QUESTIONS, questions
from xmjax.data.playroom.render import render
from xmjax.data.playroom.signals import SIGNALS
from xmjax.data.playroom.source import Playroom
from xmjax.data.playroom.truth import candidates, describes, fills, has_named, meant, one_label, readings
from xmjax.data.playroom.world import (
    COLORS,
    HELDOUT,
    KINDS,
    PLACES,
    RELATIONS,
    SIZES,
    VERSION,
    Scene,
    Toy,
    margin,
    places,
    relations,
)

__all__ = [
    "ALL_STYLES",
    "COLORS",
    "GLOSSES",
    "HELDOUT",
    "HOMOGRAPHS",
    "KINDS",
    "KINDS_OF_QUESTIONS",
    "LANGUAGES",
    "NAMES",
    "NAMES_OF_COLORS",
    "PLACES",
    "RELATIONS",
    "SIGNALS",
    "SIZES",
    "STYLES",
    "VERSION",
    "Meaning",
    "Phrase",
    "PlayCaption",
    "Playroom",
    "Scene",
    "Toy",
    "candidates",
    "captions",
    "compose",
    "describes",
    "fills",
    "has_named",
    "label",
    "margin",
    "meant",
    "one_label",
    "places",
    "questions",
    "readings",
    "relations",
    "render",
    "templates",
]
