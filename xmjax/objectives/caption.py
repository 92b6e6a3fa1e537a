"""Caption: the decoder writes whole captions from the picture alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xmjax import vocab
from xmjax.data.arrays import draw, prompted
from xmjax.models.crossmodal import concatenate
from xmjax.objectives import base
from xmjax.training import flops


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Caption`.

    Attributes:
      captions: captions written of each record, of those that were drawn for it; 0 is all.
      parallel: share of captions whose bytes are all predicted at once from masks (CapPa, Tschannen et al. 2023).
      modality: what the captions are written from.
      max_prompt_bytes: room for the prompt (language and style) before the caption.
    """

    captions: int = 0
    parallel: float = 0.0
    modality: str = "image"
    max_prompt_bytes: int = 8


@base.OBJECTIVES.register("caption")
class Caption(base.Objective):
    """Autoregressive captioning after a prompt that names language and style, with optional parallel prediction."""

    Options = Options
    task = "translating"

    def features(self, example: Any) -> dict[str, np.ndarray]:
        prompt, text = self.options.max_prompt_bytes, self.config.model.text.max_bytes
        captions = draw(example.captions, self.options.captions or len(example.captions), example.rng)
        return {"caption": np.array([prompted(caption, prompt, text) for caption in captions])}

    def flops(self, share):
        o, model = self.options, self.config.model
        captions = o.captions or self.config.stream(o.stream).captions
        length = o.max_prompt_bytes + share * model.text.max_bytes + 2
        return {
            f"encode/{o.modality}": flops.encode(model, o.modality),
            "caption": flops.decoder(model, length, flops.tokens(model, o.modality), captions),
        }

    def loss(self, passes, rng):
        sequences = passes.batch["caption"]
        inputs, written = sequences[..., :-1], base.written_after_prompt(sequences)
        parallel = jax.random.bernoulli(rng, self.options.parallel, sequences.shape[:2])[..., None]
        inputs = jnp.where(parallel & written & (inputs != vocab.SEP), vocab.MASK, inputs)
        logits = passes.model.decode(inputs, *concatenate({"": passes.alone(self.options.modality)}))
        nats, count = base.sequence_nats(logits, sequences, written)
        loss = jnp.mean(nats / jnp.maximum(1, count))
        serial = ~parallel[..., 0]
        return loss, {"bits_per_byte": base.bits_per_byte(nats * serial, count * serial)}
