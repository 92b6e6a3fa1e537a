"""Ambiguous words of real pictures: emoji with their keywords, in English and Korean.

    python launch/prepare.py senses --input=WORDS.json --root=DIR --metadata=emoji.jsonl --column=emoji \\
        --output=senses.jsonl
    python launch/pretrain.py --config=configs/senses.py --config.data.root=DIR \\
        --config.objectives.sense.dictionary=senses.jsonl --config.data.held_out=senses.jsonl.held_out.txt

DIR holds emoji.jsonl: a line a picture with its "file", its "names" (language -> name) and its "keywords" (language ->
list). WORDS.json lists which emoji show which sense of a word (docs/data.md). Two CPU cores, ten minutes.
"""

from ml_collections import ConfigDict

from configs import base
from configs.emoji import get_config as emoji_config
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    size, smoke = base.parse(arg)
    config = emoji_config(arg)
    config.name = base.run_name("senses", arg)
    config.data.name, config.data.text_column = "emoji", "keywords"
    with config.unlocked():
        config.objectives.sense = options("sense", drop=0.2)
    config.evaluation.names = ("sense", "fill", "retrieval")
    if size in ("tiny", "small") and not smoke:
        config.steps = 900
    return config
