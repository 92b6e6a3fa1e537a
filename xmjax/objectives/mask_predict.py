"""Mask-predict: the bytes of a caption that is unknown, wholly or in part, are read off its own places."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Bool, Integer

from xmjax import vocab
from xmjax.data.arrays import canvas, draw
from xmjax.errors import UserError
from xmjax.models.embedders import Tokens
from xmjax.models.passes import repeated
from xmjax.objectives import base
from xmjax.training import flops


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `MaskPredict`.

    Attributes:
      unknown: share of captions no byte of which is known.
      begun: share of which the beginning is known, up to a place that is drawn evenly; of the others any bytes are, a
        share of them that is drawn evenly from 0 to 1.
      canvases: texts of a record that are masked, each of one of the captions that were drawn for it.
      modality: what the caption is of.
    """

    unknown: float = 0.3
    begun: float = 0.0
    canvases: int = 1
    modality: str = "image"


@base.OBJECTIVES.register("mask_predict")
class MaskPredict(base.Objective):
    """Conditional masked language modelling over bytes (Ghazvininejad et al. 2019), by the encoder alone.

    How EP 3 889 830 (paragraph 72) writes a caption: the features of the picture and those of an unknown text go in,
    and the text is what comes out at its places. Language and style stand before it. How long it is nobody tells:
    everything behind its end is unknown too, and the end is one of the symbols to predict.
    """

    Options = Options
    task = "translating"
    version = 2  # 1 read the first caption of each record, which was always of the first language

    def __init__(self, options, config):
        super().__init__(options, config)
        if not config.model.unmasking:
            raise UserError("config.objectives.mask_predict needs config.model.unmasking=True")
        if options.unknown + options.begun > 1:
            raise UserError("config.objectives.mask_predict: the shares unknown and begun are more than 1 together")

    def features(self, example: Any) -> dict[str, np.ndarray]:
        captions = draw(example.captions, self.options.canvases, example.rng)
        return {"canvas": np.array([canvas(caption, self.config.model.text.max_bytes) for caption in captions])}

    def flops(self, share):
        o, model = self.options, self.config.model
        other, text = model.regions.count or flops.kept(model, o.modality), flops.tokens(model, "text")
        head = 2 * model.text.max_bytes * model.width * vocab.SIZE
        return {
            f"encode/{o.modality}": flops.encode(model, o.modality),
            "canvas": o.canvases * flops.encode(model, "text"),
            "mask_predict": o.canvases * (flops.fuse(model, {o.modality: other, "text": text}) + head),
        }

    def loss(self, passes, rng):
        o, model = self.options, passes.model
        ids = rearrange(passes.batch["canvas"].astype(jnp.int32), "b n l -> (b n) l")
        masked, wholly = drawn_masks(rng, ids, o.unknown, o.begun)
        other = repeated(passes.fused_with_text(o.modality), o.canvases)
        logits = unmasked(model, o.modality, other, passes.text(hidden(ids, masked)))
        nats = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, ids[..., None], -1)[..., 0]
        # Of a picture none of whose objects are known there is nothing to read.
        present = jnp.any(other.valid, -1)
        masked &= present[:, None]
        count = jnp.sum(masked, -1)
        nats = jnp.sum(jnp.where(masked, nats, 0), -1)
        return jnp.sum(nats / jnp.maximum(1, count)) / jnp.maximum(1, jnp.sum(present)), {
            "bits_per_byte": base.bits_per_byte(nats, count),
            "unknown_bits_per_byte": base.bits_per_byte(nats * wholly, count * wholly),
        }


def drawn_masks(
    rng: Array, ids: Integer[Array, "B L"], unknown: float, begun: float
) -> tuple[Bool[Array, "B L"], Bool[Array, " B"]]:
    """Which bytes of the captions of canvases are masked, and which captions wholly; see `Options`."""
    written = caption_places(ids)
    kind, rate, drawn = (jax.random.fold_in(rng, i) for i in range(3))
    kinds, rates = jax.random.uniform(kind, (len(ids), 1)), jax.random.uniform(rate, (len(ids), 1))
    behind = jnp.cumsum(written[:, ::-1], -1)[:, ::-1] - 1  # bytes of the caption that come after
    share = behind / jnp.maximum(1, jnp.sum(written, -1, keepdims=True))
    order = jnp.where(kinds > 1 - begun, share, jax.random.uniform(drawn, ids.shape))
    wholly = kinds < unknown
    return written & ((order < rates) | wholly), wholly[:, 0]


def caption_places(ids: Integer[Array, "B L"]) -> Bool[Array, "B L"]:
    """Where in canvases, prompt SEP caption EOS PAD, the caption and its EOS stand."""
    begun = jnp.cumsum(ids == vocab.SEP, -1) - (ids == vocab.SEP) > 0
    return begun & (ids != vocab.PAD)


def hidden(ids: Integer[Array, "B L"], masked: Bool[Array, "B L"]) -> Integer[Array, "B L"]:
    """Canvases with masks at some places and at all behind the end, so that their length does not show."""
    return jnp.where(masked | (ids == vocab.PAD), vocab.MASK, ids)


def unmasked(model: Any, modality: str, other: Tokens, text: Tokens) -> Array:
    """Logits of the byte at every place of texts [B, L, V], read with what is fused of the other modality."""
    return model.unmask(model.fuse({modality: other, "text": text})["text"])
