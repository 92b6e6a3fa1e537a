"""Dictionaries by name or path."""

import os
from collections.abc import Sequence

from xmjax.errors import UserError
from xmjax.lexicon.lmf import read_lmf
from xmjax.lexicon.playroom import playroom_dictionary
from xmjax.lexicon.senses import Dictionary
from xmjax.lexicon.tables import read_table
from xmjax.lexicon.wordnet import WordNet


def open_dictionary(name: str, tabs: Sequence[str] = ()) -> Dictionary:
    """Opens a dictionary by what its name looks like.

    Args:
      name: "playroom"; a directory with WordNet's database files; an ".xml" file in WN-LMF; else a table (see
        `tables`).
      tabs: tab files of the Open Multilingual WordNet, for WordNet; further LMF files that have the definitions of the
        first, for LMF.

    Raises:
      UserError: there is no such dictionary, or it cannot be read.
    """
    if os.path.isdir(name):
        return WordNet(name, tabs)
    if name != "playroom" and not os.path.exists(name):
        raise UserError(f"{name} cannot be read: No such file or directory: check the path.")
    if name.endswith(".xml"):
        return read_lmf(name, *tabs)
    if tabs:
        raise UserError(f"{name} takes no tab files: they belong to a directory with WordNet's database files.")
    if name == "playroom":
        return playroom_dictionary()
    return read_table(name)
