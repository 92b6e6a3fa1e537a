"""Fill: the decoder writes the masked spans of a caption, reading the caption and the picture fused."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from xmjax import vocab
from xmjax.data.arrays import mask_words
from xmjax.objectives import base
from xmjax.training import flops


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Fill`.

    Attributes:
      spans: largest number of spans masked in a caption.
      rate: share of a caption's words that is masked, rounded, at least one.
      max_span_bytes: longest span; longer words are not masked.
      drop: share of captions whose picture is treated as absent, so that the model is a language model without it too.
      modality: what the captions are fused with.
      association: "" lets the decoder read all of caption and picture; "learned" leaves it the association alone, and
        "uniform" and "shuffled" put a control in its place (see `models.association`).
    """

    spans: int = 2
    rate: float = 0.3
    max_span_bytes: int = 23
    drop: float = 0.1
    modality: str = "image"
    association: str = ""


@base.OBJECTIVES.register("fill")
class Fill(base.Objective):
    """Span corruption over whole words (Raffel et al. 2020; US 12,393,789 claim 5).

    Each masked word is one sentinel in the text, so that its length does not leak, and one sequence of the decoder:
    sentinel, bytes, EOS.
    """

    Options = Options

    def __init__(self, options, config):
        super().__init__(options, config)
        vocab.sentinel(options.spans - 1)  # which refuses more spans than there are sentinels
        base.check_association(options.association, config, "fill")

    def features(self, example: Any) -> dict[str, np.ndarray]:
        o = self.options
        masked, spans = zip(
            *(
                mask_words(caption, example.rng, o.spans, o.rate, o.max_span_bytes, self.config.model.text.max_bytes)
                for caption in example.captions
            ),
            strict=True,
        )
        return {"masked": np.array(masked), "spans": np.array(spans)}

    def flops(self, share):
        model, captions = self.config.model, self.config.stream(self.options.stream).captions
        other, text = flops.tokens(model, self.options.modality), flops.tokens(model, "text") * share
        return {
            f"encode/{self.options.modality}": flops.encode(model, self.options.modality),
            "masked": captions * flops.encode(model, "text", share),
            "fuse": captions * flops.stack(model, model.fusion_layers, other + text + 1),
            "fill": captions * flops.decoder(model, self.options.max_span_bytes + 1, other + text, self.options.spans),
        }

    def loss(self, passes, rng):
        o, spans = self.options, passes.batch["spans"]
        absent = jax.random.bernoulli(rng, o.drop, (spans.shape[0] * spans.shape[1],))
        memory, valid = passes.masked(o.modality, absent, o.association)
        sequences = rearrange(rearrange(spans, "b c s w -> (b c s) w"), "(q k) w -> q k w", q=memory.shape[0])
        logits = passes.model.decode(sequences[..., :-1], memory, valid)
        found = base.sequence_nats(logits, sequences, sequences[..., 1:] != vocab.PAD)
        nats, count = (rearrange(rearrange(x, "q k -> (q k)"), "(r s) -> r s", s=spans.shape[2]) for x in found)
        # Every caption counts alike, whatever is masked in it: the mean over microbatches is the mean over the batch.
        loss = jnp.mean(jnp.sum(nats, -1) / jnp.maximum(1, jnp.sum(count, -1)))
        seen = ~absent[:, None]
        return loss, {"bits_per_byte": base.bits_per_byte(nats * seen, count * seen)}
