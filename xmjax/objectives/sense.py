"""Sense: the decoder writes what a word means in its caption, as a dictionary has it, reading the picture."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from xmjax import vocab
from xmjax.data.arrays import MARKING, gloss_ids, marked_ids
from xmjax.data.source import Caption, Word
from xmjax.errors import UserError
from xmjax.lexicon import (
    DOCUMENTS,
    Dictionary,
    Symbolic,
    Table,
    Vectors,
    ask,
    choose,
    entities,
    masked_gloss,
    open_dictionary,
    with_wrong,
)
from xmjax.lexicon import Sense as Meaning
from xmjax.models.passes import masked_memory
from xmjax.objectives import base
from xmjax.training import flops


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Sense`.

    Attributes:
      dictionary: "playroom", or the path of a dictionary (docs/data.md).
      tabs: tab files of the Open Multilingual WordNet, for a directory of WordNet; further LMF files, for LMF.
      scorer: what measures how near a sense is to the captions of the picture: "" by the words that they share, else
        the workdir of an earlier run, by the cosine of its text tower's vectors.
      threshold: least similarity between a sense and the captions; a sense below it is never learned.
      wrong: share of a table's entries that have another entry's meaning, to see what a bad dictionary does.
      every: a word of every n-th record is learned; meanings are few and their definitions long.
      max_gloss_bytes: longer glosses are cut.
      drop: share of words whose picture is treated as absent.
      modality: what shows the meaning.
      association: as of `fill`.
    """

    dictionary: str = "playroom"
    tabs: tuple[str, ...] = ()
    scorer: str = ""
    threshold: float = 0.1
    wrong: float = 0.0
    every: int = 1
    max_gloss_bytes: int = 80
    drop: float = 0.1
    modality: str = "image"
    association: str = ""


def opened(options: Options) -> Dictionary:
    """The dictionary that is learned from.

    Raises:
      UserError: there is none, or wrong entries are asked of one that is no table.
    """
    dictionary = open_dictionary(options.dictionary, options.tabs)
    if not options.wrong:
        return dictionary
    if not isinstance(dictionary, Table):
        raise UserError(f"config.objectives.sense.wrong={options.wrong} needs a table, not {options.dictionary}")
    return with_wrong(dictionary, options.wrong)


def make_scorer(options: Options, dictionary: Dictionary) -> Symbolic | Vectors:
    """The measure of a sense's nearness to captions.

    Raises:
      UserError: there is no such run, or it has trained no vectors of texts.
    """
    if not options.scorer:
        return Symbolic(dictionary.glosses(DOCUMENTS))
    import xmjax  # which imports the objectives

    model = xmjax.load(options.scorer)
    model.embed("")  # a run without vectors is refused before anything is trained
    return Vectors(model.embed)


@base.OBJECTIVES.register("sense")
class Sense(base.Objective):
    """Dictionary senses in training (US 12,393,789, claims 6 and 7).

    Of the senses of a word that one is learned which is nearest to the captions of the picture, those in other wordings
    and languages among them; where none is near enough, nothing is. Words with several senses come first, for the text
    alone tells the meaning of others. The word stands behind the text, and a sentinel in its place: as in `fill` it is
    what stands around a word that says which thing in the picture it speaks of (docs/log.md).
    """

    Options = Options
    task = "referencing"
    version = 3  # 2 left the word in its place, with a sentinel behind it

    def __init__(self, options, config):
        super().__init__(options, config)
        base.check_association(options.association, config, "sense")
        self.dictionary = opened(options)
        if config.batch_size % options.every:
            raise UserError(
                f"config.objectives.sense.every={options.every} must divide config.batch_size={config.batch_size}"
            )
        self.scorer = make_scorer(options, self.dictionary)

    def chosen(self, example: Any) -> tuple[Caption, Word, Meaning] | None:
        """A word of one of the record's captions and the sense that is learned of it, None where none is kept."""
        length = self.config.model.text.max_bytes
        found = [
            (caption, word)
            for caption in example.record.captions
            for word in entities(caption, self.dictionary)
            if word.end + MARKING <= length
        ]
        asked = []
        for i in example.rng.permutation(len(found)):
            caption, word = found[i]
            others = [other for other in example.record.captions if other is not caption]
            asked.append((caption, word, ask(self.dictionary, caption, word, others)))
        asked.sort(key=lambda one: len(one[2].senses) < 2)  # a stable sort: else words stay in the order drawn
        for caption, word, query in asked:
            (choice,) = choose([query], self.scorer, self.options.threshold)
            if choice.sense is not None:
                return caption, word, choice.sense
        return None

    def features(self, example: Any) -> dict[str, np.ndarray]:
        length, longest = self.config.model.text.max_bytes, self.options.max_gloss_bytes
        found = self.chosen(example)
        if found is None:
            return {
                "marked": np.full(length, vocab.PAD, np.uint16),
                "gloss": np.full(longest + 2, vocab.PAD, np.uint16),
            }
        caption, word, sense = found
        return {"marked": marked_ids(caption.text, word, length), "gloss": gloss_ids(masked_gloss(sense), longest)}

    def flops(self, share):
        o, model = self.options, self.config.model
        other, text = flops.kept(model, o.modality), flops.tokens(model, "text") * share
        memory = 2 if o.association else other + text
        return {
            f"encode/{o.modality}": flops.encode(model, o.modality),
            "marked": flops.encode(model, "text", share) / o.every,
            "fuse/marked": flops.fuse(model, {o.modality: other, "text": text + 1}) / o.every,
            "sense": flops.decoder(model, o.max_gloss_bytes + 1, memory, 1) / o.every,
        }

    def loss(self, passes, rng):
        o, model = self.options, passes.model
        ids = passes.batch["marked"][:: o.every]
        sequences = rearrange(passes.batch["gloss"][:: o.every], "b w -> b 1 w")
        absent = jax.random.bernoulli(rng, o.drop, (ids.shape[0],))
        other = jax.tree.map(lambda x: x[:: o.every], passes.reduced(o.modality))
        text = passes.text(ids, o.every)
        memory, valid = masked_memory(model, {o.modality: other}, ids, text, {o.modality: absent}, 1, o.association)
        nats, count = base.decoded_nats(model, sequences, memory, valid)
        loss = jnp.mean(nats / jnp.maximum(1, count))
        seen = ~absent[:, None]
        return loss, {
            "bits_per_byte": base.bits_per_byte(nats * seen, count * seen),
            "kept": jnp.mean(count > 0, dtype=jnp.float32),
        }
