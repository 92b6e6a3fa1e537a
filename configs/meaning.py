"""Meaning from pictures: association, senses of ambiguous words, captions and answers in one checkpoint.

    python launch/pretrain.py --config=configs/fine.py                             one CPU core, seventeen minutes
    python launch/pretrain.py --config=configs/meaning.py --config.begin_from=runs/fine    one CPU core, 40 minutes
    python launch/pretrain.py --config=configs/meaning.py:smoke                    under a minute, learns nothing

What it adds to the base run: `fill` and `sense` read the picture through the association alone, and `answer` asks about
the picture. What a run of it reached, and what it missed, is in docs/log.md.
"""

from ml_collections import ConfigDict

from configs.base import parse, run_name, start, weigh
from configs.fine import see_objects
from xmjax.data.playroom import ALL_STYLES, KINDS_OF_QUESTIONS
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config = start(arg)
    config.name = run_name("meaning", arg)
    config.model.association = True
    tiny = parse(arg) == ("tiny", False)
    if tiny:
        see_objects(config)
    # Objects: of 64 tokens or more, what has to do with words reads a quarter, merged by relation.
    image = config.model.image
    image.patch = min(image.patch, image.size // 8)
    image.reduce, image.keep = "relation", (image.size // image.patch) ** 2 // 4
    fill = config.objectives.fill
    fill.association, fill.entities, fill.spans = "learned", 0.5, 1
    with config.unlocked():
        config.objectives.sense = options("sense", association="learned", every=4)
        config.objectives.answer = options("answer")
    # Without a colour nothing but the picture, and no other toy in it, tells which thing an ambiguous word speaks of.
    # How two things stand to each other is learned last: it is said and asked more often (docs/log.md).
    config.data.styles = (*ALL_STYLES, *2 * ("pair", "size"), "place")
    config.data.questions = (*KINDS_OF_QUESTIONS, *2 * ("relation", "describe"))
    further = ("sense", "dictionary", "answer", "pointing", "entities", "reduction", "relations")
    config.evaluation.names = (*config.evaluation.names, *further)
    if tiny:
        config.steps, config.evaluation.beams = 2400, 4
        # A caption has the decoder's layers alone to find how two things stand to each other (docs/log.md).
        config.model.decoder_layers = 3
        # Words point at what is seen by the very tokens they find: the nearer it is, the better (docs/log.md).
        config.model.image.reach = 1
        # The run that it begins with has seen single toys.
        config.data.first_grade, config.data.first_share = "", 0.0
        # Of a definition's sixty bytes one or two tell senses apart. Four times as much costs the rest (docs/log.md).
        weigh(config, sense=10.0, answer=2.0, caption=6.0)
        # A meaning that is mistaken is rare and weighs much by then: what would be skipped is what is to be learned.
        config.guard.sigma = 0.0
    return config
