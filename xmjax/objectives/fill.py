"""Fill: the decoder writes the masked spans of a caption, reading the caption and the picture fused."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array

from xmjax import vocab
from xmjax.data.arrays import fill_arrays, mask_words
from xmjax.data.source import Caption
from xmjax.errors import UserError
from xmjax.lexicon import entities, join, open_dictionary
from xmjax.models.passes import Passes, masked_memory
from xmjax.objectives import base
from xmjax.training import flops


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Fill`.

    Attributes:
      spans: largest number of spans masked in a caption.
      rate: largest share of a caption's words that is masked, rounded, at least one; how many is drawn.
      max_span_bytes: longest span; longer words are not masked.
      drop: share of captions whose picture is treated as absent, so that the model is a language model without it too;
        of several modalities each is absent by itself.
      modality: what the captions are fused with.
      others: what else they are fused with.
      focus: by how much more captions count that one modality alone goes with, the less is learned of that one yet: a
        power of its loss, as of `base.focused`, what it cannot tell included. Against a model that relies on the
        modality that is learned easily; within a microbatch, where there are several.
      entities: share of captions of which only words that a dictionary has are masked, where it has any.
      dictionary: "playroom", or the path of a dictionary (docs/data.md), that tells entities.
      tabs: tab files of the Open Multilingual WordNet, for a directory of WordNet; further LMF files, for LMF.
      thirds: share of captions that another caption of the same picture, or of a similar one (`data.similar`), is
        joined to, where both fit; an entity of the first is masked then, with every word related to it in both.
      gain: share of captions whose masked words are chosen by how much the picture helps to write them.
      alternatives: random choices of words that are compared for it.
      temperature: of that choice, in nats a byte; near 0 the greatest gain always wins.
      association: "" lets the decoder read all of caption and picture; "learned" leaves it the association alone, and
        "uniform" and "shuffled" put a control in its place (see `models.association`).
    """

    spans: int = 2
    rate: float = 0.3
    max_span_bytes: int = 23
    drop: float = 0.1
    modality: str = "image"
    others: tuple[str, ...] = ()
    focus: float = 0.0
    entities: float = 0.0
    dictionary: str = "playroom"
    tabs: tuple[str, ...] = ()
    thirds: float = 0.0
    gain: float = 0.0
    alternatives: int = 4
    temperature: float = 0.5
    association: str = ""

    @property
    def modalities(self) -> tuple[str, ...]:
        """All that captions are fused with."""
        return self.modality, *self.others


@base.OBJECTIVES.register("fill")
class Fill(base.Objective):
    """Span corruption over whole words (Raffel et al. 2020; US 12,393,789 claim 5).

    Each masked word is one sentinel in the text, so that its length does not leak, and one sequence of the decoder:
    sentinel, bytes, EOS. Which words are masked is drawn at random, or among those that a dictionary has, or by visual
    gain under the current parameters; shares of captions mix the three.
    """

    Options = Options
    task = "referencing"
    version = 2  # 1 masked a fixed number of words

    def __init__(self, options, config):
        super().__init__(options, config)
        vocab.sentinel(options.spans - 1)  # which refuses more spans than there are sentinels
        base.check_association(options.association, config, "fill")
        if options.thirds and options.spans < 2:
            raise UserError(
                f"config.objectives.fill.thirds={options.thirds} masks a word in two captions: set spans to 2 or more"
            )
        if options.focus < 0 or (options.focus and not (options.others and options.drop)):
            raise UserError(
                f"config.objectives.fill.focus={options.focus}: give 0, or a positive one with several modalities "
                "(others) that are sometimes missing (drop)"
            )
        self.dictionary = (
            open_dictionary(options.dictionary, options.tabs) if options.entities or options.thirds else None
        )

    def features(self, example: Any) -> dict[str, np.ndarray]:
        choices = self.options.alternatives if self.options.gain else 1
        thirds = (*example.record.captions, *example.record.similar)
        rows = [[self._mask(caption, thirds, example.rng) for _ in range(choices)] for caption in example.captions]
        masked, spans = (np.array([[one[k] for one in row] for row in rows]) for k in (0, 1))
        return (
            {"masked": masked, "spans": spans} if self.options.gain else {"masked": masked[:, 0], "spans": spans[:, 0]}
        )

    def _mask(
        self, caption: Caption, captions: Sequence[Caption], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A masked text and the sequences of its masked words; ``captions`` are what may be joined to it."""
        o, length = self.options, self.config.model.text.max_bytes
        among = None
        if self.dictionary is not None and o.thirds and rng.random() < o.thirds:
            joined = join(caption, [c for c in captions if c is not caption], self.dictionary, rng, length)
            if joined is not None:
                text, words = joined
                if len(words) <= o.spans and all(word.end - word.start <= o.max_span_bytes for word in words):
                    return fill_arrays(vocab.utf8(text.text), list(words), o.spans, o.max_span_bytes, length)
        if self.dictionary is not None and o.entities and rng.random() < o.entities:
            among = entities(caption, self.dictionary)
        return mask_words(caption, rng, o.spans, o.rate, o.max_span_bytes, length, among)

    def flops(self, share):
        model, captions = self.config.model, self.config.stream(self.options.stream).captions
        others = {m: flops.kept(model, m) for m in self.options.modalities}
        other, text = sum(others.values()), flops.tokens(model, "text") * share
        if self.options.gain:  # forward passes alone, with the picture and without
            captions *= 1 + 2 * self.options.alternatives / 3
        return {
            **{f"encode/{m}": flops.encode(model, m) for m in others},
            "masked": captions * flops.encode(model, "text", share),
            "fuse": captions * flops.fuse(model, {**others, "text": text + 1}),
            "fill": captions * flops.decoder(model, self.options.max_span_bytes + 1, other + text, self.options.spans),
        }

    def loss(self, passes, rng):
        o, batch = self.options, passes.batch
        captions = batch["masked"].shape[1]
        if o.gain:
            chosen, rng = jax.random.split(rng)
            ids, spans = self._most_gained(passes, chosen)
        else:
            ids = rearrange(batch["masked"], "b c l -> (b c) l")
            spans = rearrange(batch["spans"], "b c s w -> (b c) s w")
        keys = [rng, *(jax.random.fold_in(rng, i) for i in range(1, len(o.modalities)))]
        absent = {
            m: jax.random.bernoulli(key, o.drop, (ids.shape[0],)) for m, key in zip(o.modalities, keys, strict=True)
        }
        nats, count = self._nats(passes, captions, ids, spans, absent)
        # Every caption counts alike, whatever is masked in it (without a focus): the mean over microbatches is the mean
        # over the batch.
        losses = jnp.sum(nats, -1) / jnp.maximum(1, jnp.sum(count, -1))
        weights, metrics = self._by_modality(losses, absent) if o.others else (1.0, {})
        seen = ~functools.reduce(jnp.logical_and, absent.values())[:, None]
        return jnp.mean(weights * losses), metrics | {"bits_per_byte": base.bits_per_byte(nats * seen, count * seen)}

    def _by_modality(self, losses: Array, absent: Mapping[str, Array]) -> tuple[Array, base.Metrics]:
        """Weights of captions [R] by their losses, and the loss of those that each modality alone goes with."""
        alone = jnp.sum(~jnp.stack(list(absent.values())), 0) == 1
        of = {m: alone & ~gone for m, gone in absent.items()}
        count = {m: jnp.sum(rows) for m, rows in of.items()}
        mean = {m: jnp.sum(losses * rows) / jnp.maximum(1, count[m]) for m, rows in of.items()}
        factors = base.focused(mean, (), self.options.focus, {m: n > 0 for m, n in count.items()})
        known = sum(jnp.float32(n > 0) for n in count.values())
        weights = jnp.where(alone, sum(known * factors[m] * rows for m, rows in of.items()), 1.0)
        return weights, {f"alone/{m}/nats_per_byte": jnp.where(count[m] > 0, x, jnp.nan) for m, x in mean.items()}

    def _nats(
        self, passes: Passes, texts: int, ids: Array, spans: Array, absent: Mapping[str, Array]
    ) -> tuple[Array, Array]:
        """Nats and number of ids of every masked word [R, S], for R / B texts with spans [R, S, W] of each row."""
        o, model = self.options, passes.model
        others, text = {m: passes.repeated(m, texts) for m in o.modalities}, passes.text(ids)
        memory, valid = masked_memory(model, others, ids, text, absent, spans.shape[1], o.association)
        # The sequences that share a memory lie side by side: all of a text, or in association mode each by itself.
        sequences = rearrange(rearrange(spans, "r s w -> (r s) w"), "(q k) w -> q k w", q=memory.shape[0])
        found = base.decoded_nats(model, sequences, memory, valid)
        nats, count = (rearrange(rearrange(x, "q k -> (q k)"), "(r s) -> r s", s=spans.shape[1]) for x in found)
        return nats, count

    def _most_gained(self, passes: Passes, rng: Array) -> tuple[Array, Array]:
        """Of each caption's alternatives one, drawn by how many nats a byte the picture saves in its masked words."""
        o, batch = self.options, passes.batch
        captions, choices = batch["masked"].shape[1:3]
        ids = rearrange(batch["masked"], "b c a l -> (b c a) l")
        spans = rearrange(batch["spans"], "b c a s w -> (b c a) s w")
        whole, nothing = ({m: jnp.full(ids.shape[0], gone) for m in o.modalities} for gone in (False, True))
        seen, count = self._nats(passes, captions * choices, ids, spans, whole)
        blind, _ = self._nats(passes, captions * choices, ids, spans, nothing)
        gain = jnp.sum(blind - seen, -1) / jnp.maximum(1, jnp.sum(count, -1))
        gain = jax.lax.stop_gradient(rearrange(gain, "(r a) -> r a", a=choices))
        best = jax.random.categorical(rng, gain / o.temperature)
        by_gain = jax.random.bernoulli(jax.random.fold_in(rng, 1), o.gain, best.shape)
        pick = jnp.where(by_gain, best, 0)  # the first is as random as any

        def picked(x: Array) -> Array:
            x = rearrange(x, "(r a) ... -> r a ...", a=choices)
            return jnp.take_along_axis(x, pick.reshape(-1, *(1,) * (x.ndim - 1)), 1)[:, 0]

        return picked(ids), picked(spans)
