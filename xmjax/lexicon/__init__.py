"""Dictionaries: senses of words, and the sense that the captions of a picture speak for."""

from xmjax.lexicon.choice import Choice, Query, Scorer, ask, carry, choose
from xmjax.lexicon.entities import entities
from xmjax.lexicon.inflection import base_forms
from xmjax.lexicon.lmf import read_lmf
from xmjax.lexicon.open import open_dictionary
from xmjax.lexicon.playroom import kind_of, playroom_dictionary
from xmjax.lexicon.report import Report, make_report
from xmjax.lexicon.scorers import DOCUMENTS, Symbolic, Vectors
from xmjax.lexicon.senses import MASK, Dictionary, Sense, mask_word, masked_gloss
from xmjax.lexicon.tables import Table, read_table, with_wrong
from xmjax.lexicon.thirds import join, related
from xmjax.lexicon.wordnet import WordNet

__all__ = [
    "DOCUMENTS",
    "MASK",
    "Choice",
    "Dictionary",
    "Query",
    "Report",
    "Scorer",
    "Sense",
    "Symbolic",
    "Table",
    "Vectors",
    "WordNet",
    "ask",
    "base_forms",
    "carry",
    "choose",
    "entities",
    "join",
    "kind_of",
    "make_report",
    "mask_word",
    "masked_gloss",
    "open_dictionary",
    "playroom_dictionary",
    "read_lmf",
    "read_table",
    "related",
    "with_wrong",
]
