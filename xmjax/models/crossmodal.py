"""The crossmodal model: embedders, unimodal layers, fusion, towers and the byte decoder."""

import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Integer, UInt8

from xmjax import vocab
from xmjax.config import ModelConfig
from xmjax.errors import UserError
from xmjax.models.association import Associate, Association
from xmjax.models.embedders import Tokens, seen
from xmjax.models.fusion import fusion
from xmjax.models.layers import linear, rms_norm, sincos, unit, waves
from xmjax.models.library import Library
from xmjax.models.objects import Objects, Reduce, group, inside, pooled
from xmjax.models.regions import Regions
from xmjax.models.signals import embedder
from xmjax.models.stack import READING, Cache, Stack

MAX_LOG_SCALE = math.log(100)
"""Logarithm of 100, the largest scale of similarities (Radford et al. 2021)."""


class Crossmodal(nn.Module):
    """Bytes of several modalities in; fused tokens, unit vectors and byte logits out.

    Every method is pure: call it through ``model.apply`` or on ``model.bind({"params": params})``.

    Attributes:
      config: sizes.
      dtype: of activations and matrix products; parameters, norms, softmax and logits are float32.
    """

    config: ModelConfig
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        c = self.config
        normal = nn.initializers.normal
        self.embedders = {m: embedder(m, o.embedder)(c, self.dtype) for m, o in c.modalities.items()}
        self.unimodal = {m: Stack(c, o.unimodal_layers) for m, o in c.modalities.items() if o.unimodal_layers}
        self.reduce = {m: Reduce(c, o.reduce, o.keep) for m, o in c.modalities.items() if getattr(o, "reduce", "")}
        self.places = {m: Place(c, float(c.text.max_bytes) if m == "text" else 0.0) for m in self.unimodal}
        self.fusion = fusion(c) if c.fusion_layers else None
        self.modality = {m: self.param(f"modality_{m}", normal(0.5), (c.width,)) for m in c.modalities}
        self.absent = {m: self.param(f"absent_{m}", normal(0.5), (c.width,)) for m in c.modalities}
        self.association = Associate(c) if c.association else None
        self.regions = Regions(c) if c.regions.count else None
        if c.regions.features:
            self.features = self.param("region_features", normal(c.width**-0.5), (c.width, c.width))
        self.library = Library(c) if c.library.path else None
        if c.matching:
            self.identifier = self.param("matching_identifier", normal(0.5), (c.width,))
            self.matching = self.param("matching_head", normal(c.width**-0.5), (c.width,))
        if c.matching_product:
            self.matching_product = self.param("matching_product", nn.initializers.zeros, (c.embedding, c.width))
        self.towers = {m: Tower(c) for m in c.modalities}
        self.decoder = Decoder(c)
        self.log_scale = self.param("log_scale", nn.initializers.constant(c.log_scale), ())
        self.bias = self.param("similarity_bias", nn.initializers.constant(c.similarity_bias), ())

    def encode(self, modality: str, data: Integer[Array, "B ..."], origins: Int[Array, "B O"] | None = None) -> Tokens:
        """Bytes of one modality, embedded and passed through the modality's own layers.

        Args:
          modality: its name.
          data: the bytes.
          origins: what each row is of, as `Passes.origins` has it, whose own crops a library keeps from its texts. None
            where the library is of other records.
        """
        tokens = self.embedders[modality](data)
        if modality == "text" and self.library is not None and self.config.library.texts:
            tokens = self.library.shown(tokens, data, origins)
        x = (tokens.vectors + self.modality[modality]).astype(self.dtype)
        if modality in self.unimodal:
            reach = getattr(self.config.modalities[modality], "reach", 0)
            near = neighbours(tokens.spans[0], reach) if reach else None
            x = self.unimodal[modality](x, tokens.valid, near=near)
            x = x + self.places[modality](tokens.spans).astype(self.dtype)
        return tokens._replace(vectors=x)

    def objects(self, modality: str, tokens: Tokens, boxes: Float[Array, "B K 4"] | None = None) -> Objects:
        """The groups that a modality's tokens are reduced to, with each token's share in them.

        Args:
          modality: one that is reduced, unless boxes are given.
          tokens: what `encode` returned.
          boxes: of the objects, (y0, x0, y1, x1) as fractions of the side, in the place of those that are discovered.
        """
        if boxes is not None:
            found = pooled(tokens, inside(seen(tokens.spans, self.config.image), boxes))
            return found._replace(tokens=found.tokens._replace(spans=boxes))
        if modality not in self.reduce:
            raise UserError(f"this model does not reduce {modality}; train it with config.model.{modality}.reduce")
        return self.reduce[modality](tokens)

    def reduced(self, modality: str, tokens: Tokens) -> Tokens:
        """What of a modality's tokens is fused with others: its objects where it is reduced, else all of them.

        What reads one modality alone, a tower or a captioner, reads all tokens.
        """
        return self.objects(modality, tokens).tokens if modality in self.reduce else tokens

    def grounded(
        self,
        tokens: Tokens,
        boxes: Float[Array, "B K 4"] | None,
        masked: Bool[Array, "B K"] | None = None,
        image: UInt8[Array, "B Y X 3"] | None = None,
        origins: Int[Array, "B O"] | None = None,
        unknown: Bool[Array, " B"] | None = None,
    ) -> Tokens:
        """A picture's objects as what is fused in the place of its tokens; see `models.regions`.

        Args:
          tokens: what `encode` returned, of a picture without what is masked in it (`models.regions.erased`).
          boxes: of the objects, (y0, x0, y1, x1) as fractions of the side; those without area are none. Not read by a
            model that discovers its objects.
          masked: objects that are replaced by a learned mask.
          image: what the tokens are of, for a library to find the objects in it; None tells objects nothing of it.
          origins: as `encode`.
          unknown: pictures of which nothing is known but the number of their objects, all of which are masked.
        """
        if self.regions is None:
            raise UserError("this model has no regions; train it with config.model.regions.count")
        if self.config.regions.discovered:
            groups = group(tokens, "relation", self.config.regions.count)
            boxes = seen(pooled(tokens, groups).tokens.spans, self.config.image)
        elif boxes is None:
            raise UserError("this model reads objects in given boxes: give them")
        else:
            groups = inside(seen(tokens.spans, self.config.image), boxes)
        objects = self.regions(tokens, groups, boxes, masked, unknown)
        if image is None or self.library is None or not self.config.library.objects:
            return objects
        ids, found = self.library.standard_texts(image, boxes, masked, origins)
        return self.library.told(objects, self.embedders["text"](rearrange(ids, "b k l -> (b k) l")), found)

    def looks(self, tokens: Tokens, boxes: Float[Array, "B K 4"]) -> Float[Array, "B K D"]:
        """Unit vectors of what a picture shows in boxes, without a gradient: what `expected_looks` is to find."""
        return jax.lax.stop_gradient(unit(self.objects("image", tokens, boxes).tokens.vectors))

    def expected_looks(self, objects: Float[Array, "B K D"]) -> Float[Array, "B K D"]:
        """Unit vectors of what masked objects look like, each by its place in a fused sequence alone."""
        if not self.config.regions.features:
            raise UserError("this model tells no features of objects; train it with config.model.regions.features=True")
        return unit(linear(objects, self.features))

    def matches(
        self,
        tokens: Mapping[str, Tokens],
        first: Float[Array, "B E"] | None = None,
        second: Float[Array, "B E"] | None = None,
    ) -> Float[Array, " B"]:
        """Logit of whether the parts of each fused sequence belong together, read off the matching identifier.

        Args:
          tokens: by modality, what would be given to `fuse`.
          first: unit vector of one of them by itself (`tower`).
          second: of the other; both are read with `config.matching_product` alone.
        """
        if not self.config.matching:
            raise UserError("this model tells no matches; train it with config.model.matching=True")
        identifier = self._spread(self.identifier, next(iter(tokens.values())).vectors.shape[0])
        if self.config.matching_product:
            if first is None or second is None:
                raise UserError("this model reads matches off the towers' vectors too: give both")
            # Of unit vectors the mean of this product is their cosine.
            told = jax.lax.stop_gradient(first * second).astype(jnp.float32) * first.shape[-1]
            identifier = identifier + (told @ self.matching_product)[:, None].astype(self.dtype)
        _, identifier = self._fused(tokens, {}, identifier)
        if identifier is None:
            raise UserError(
                "matches are told by the fusion layers; train it with config.model.fusion_layers, at least 1"
            )
        return identifier.astype(jnp.float32) @ self.matching

    def fuse(
        self, tokens: Mapping[str, Tokens], absent: Mapping[str, Bool[Array, " B"]] | None = None
    ) -> dict[str, Tokens]:
        """Tokens of any modalities after they have seen each other.

        A modality that is missing takes part as one learned token, never as zeros. With no fusion layers the tokens
        come back as they are (late fusion).

        Args:
          tokens: what `reduced` returned, by modality; modalities may be missing.
          absent: modality -> rows in which it is treated as missing.
        """
        return self._fused(tokens, absent or {})[0]

    def _fused(
        self,
        tokens: Mapping[str, Tokens],
        absent: Mapping[str, Bool[Array, " B"]],
        identifier: Float[Array, "B 1 D"] | None = None,
    ) -> tuple[dict[str, Tokens], Float[Array, "B D"] | None]:
        """Fused tokens by modality, and of an ``identifier`` that is fused with them what became of it."""
        tokens = {m: t._replace(valid=t.valid & ~absent[m][:, None]) if m in absent else t for m, t in tokens.items()}
        if self.fusion is None:
            return dict(tokens), None
        rows = next(iter(tokens.values())).vectors.shape[0]
        parts, valid = {}, {}
        for m in self.config.modalities:
            found = [(tokens[m].vectors, tokens[m].valid)] if m in tokens else []
            if m not in tokens or m in absent:
                missing = absent[m] if m in tokens else jnp.ones(rows, bool)
                found.append((self._spread(self.absent[m], rows), missing[:, None]))
            if m == "text" and identifier is not None:
                found.append((identifier, jnp.ones((rows, 1), bool)))
            parts[m], valid[m] = (jnp.concatenate(x, 1) for x in zip(*found, strict=True))
        x = self.fusion(parts, valid)
        fused = {m: t._replace(vectors=x[m][:, : t.vectors.shape[1]]) for m, t in tokens.items()}
        return fused, None if identifier is None else x["text"][:, -1]

    def _spread(self, vector: Float[Array, " D"], rows: int) -> Float[Array, "B 1 D"]:
        """A learned vector as one token of every row."""
        return jnp.broadcast_to(vector.astype(self.dtype), (rows, 1, self.config.width))

    def alone(self, modality: str, tokens: Tokens) -> Tokens:
        """What stands for one modality by itself: its own layers, or the fusion layers where it has none."""
        return tokens if modality in self.unimodal else self.fuse({modality: tokens})[modality]

    def tower(self, modality: str, tokens: Tokens) -> Float[Array, "B E"]:
        """The unit vector of tokens that `alone` returned, for retrieval."""
        return self.towers[modality](tokens)

    def units(self, modality: str, tokens: Tokens) -> Float[Array, "B T E"]:
        """The unit vector that the tower gives each token by itself, for finding where in one modality another is."""
        return self.towers[modality](tokens, each=True)

    def scale(self) -> Float[Array, ""]:
        """Factor of similarities in contrastive losses, at most 100."""
        return jnp.exp(clamped(self.log_scale, 0.0, MAX_LOG_SCALE))

    def associate(self, text: Tokens, other: Tokens) -> Association:
        """Which units of another modality each unit of the text speaks of.

        Args:
          text: fused tokens of the text.
          other: tokens of the other modality, fused with it.
        """
        if self.association is None:
            raise UserError("this model has no association; train it with config.model.association=True")
        return self.association(text.vectors, other.vectors, other.valid)

    def slots(
        self, modality: str, text: Tokens, other: Tokens, found: Association, at: Int[Array, "B S"]
    ) -> Float[Array, "B S 2 D"]:
        """All that the decoder reads to write a masked unit from the association alone (US 12,393,789, claim 1).

        The first slot is the unit's vector from before the text met the other modality, the second the vectors of the
        other modality, from before they met the text, weighted by the association. No other way leads from the picture
        to the word.

        Args:
          modality: the other one.
          text: tokens of the text before fusion.
          other: tokens of the other modality before fusion.
          found: the association between the two.
          at: indices of the masked units' tokens.
        """
        own = jnp.take_along_axis(text.vectors, at[..., None], 1)
        weights = jnp.take_along_axis(found.weights, at[..., None], 1).astype(other.vectors.dtype)
        strength = jnp.take_along_axis(found.strength, at, 1)[..., None].astype(other.vectors.dtype)
        seen = jnp.einsum("bsm,bmd->bsd", weights, other.vectors)
        seen = strength * seen + (1 - strength) * self.absent[modality].astype(seen.dtype)
        return jnp.stack([own, seen], 2)

    def decode(
        self, inputs: Integer[Array, "B S L"], memory: Float[Array, "B M D"], valid: Bool[Array, "B M"]
    ) -> Float[Array, "B S L V"]:
        """Logits of the byte after each of ``inputs``; the S sequences of a row share its memory."""
        return self.decoder(inputs, memory, valid)

    def initialise(self) -> None:
        """Touches every parameter once, with inputs of one row."""
        tokens = {m: self.encode(m, e.example(self.config)) for m, e in self.embedders.items()}
        vectors = {m: self.tower(m, self.alone(m, t)) for m, t in tokens.items()}
        reduced = {m: self.reduced(m, t) for m, t in tokens.items()}
        fused = self.fuse(reduced)
        if self.regions is not None:
            image = self.embedders["image"].example(self.config)
            self.grounded(tokens["image"], jnp.ones((1, self.config.regions.count, 4)), image=image)
        if self.config.matching:
            self.matches(reduced, vectors["image"], vectors["text"])
        if self.association is not None:
            self.associate(fused["text"], fused["image"])
        self.decode(jnp.zeros((1, 1, 2), jnp.int32), *concatenate(fused))


def concatenate(tokens: Mapping[str, Tokens]) -> tuple[Float[Array, "B M D"], Bool[Array, "B M"]]:
    """All tokens of several modalities as one memory for the decoder, with their validity."""
    return (
        jnp.concatenate([t.vectors for t in tokens.values()], 1),
        jnp.concatenate([t.valid for t in tokens.values()], 1),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def clamped(x: Float[Array, ""], low: float, high: float) -> Float[Array, ""]:
    """``x`` within limits, with the gradient of ``x`` where a step against it leads back inside.

    The gradient of a plain clip is zero outside, so that a parameter that has overshot would stay there.
    """
    return jnp.clip(x, low, high)


def _clamped_forward(x: Array, low: float, high: float) -> tuple[Array, Array]:
    return jnp.clip(x, low, high), x


def _clamped_backward(low: float, high: float, x: Array, pull: Array) -> tuple[Array]:
    further = ((x < low) & (pull > 0)) | ((x > high) & (pull < 0))
    return (jnp.where(further, 0, pull),)


clamped.defvjp(_clamped_forward, _clamped_backward)


def neighbours(spans: Float[Array, "M 4"], reach: int) -> Bool[Array, "M M"]:
    """Which squares of a grid are at most ``reach`` of their sides from each other, along rows and along columns."""
    side = spans[0, 2] - spans[0, 0]
    apart = jnp.max(jnp.abs(spans[:, None, :2] - spans[None, :, :2]), -1)
    return apart < (reach + 0.5) * side


class Place(nn.Module):
    """Where each token lies, told again after the layers of its modality.

    Those layers forget it: a linear map finds a token's place among sixteen in 22 of 100 tokens that have passed them,
    and then no word of place can be learned (docs/log.md).

    Attributes:
      config: of the model.
      extent: where the last token may end; 0 is where it does, of a modality whose tokens always lie at the same
        places. Units of texts do not, and a text must not depend on how long others of its batch are.
    """

    config: ModelConfig
    extent: float = 0.0

    @nn.compact
    def __call__(self, spans: Float[Array, "B T K"]) -> Float[Array, "B T D"]:
        low, high = jnp.split(spans / (self.extent or jnp.max(spans)), 2, -1)
        x = waves((low + high) / 2)
        scale = (2 * x.shape[-1]) ** -0.5
        return linear(x, self.param("kernel", nn.initializers.normal(scale), (x.shape[-1], self.config.width)))


class Tower(nn.Module):
    """Attention pooling by one learned query, two linear maps and normalisation to a unit vector."""

    config: ModelConfig

    @nn.compact
    def __call__(self, tokens: Tokens, each: bool = False) -> Float[Array, "B E"] | Float[Array, "B T E"]:
        """One vector a row, or with ``each`` one for every token, as if the row were that token alone."""
        c = self.config
        normal = nn.initializers.normal
        query = self.param("query", normal(c.width**-0.5), (c.width, c.heads))
        x = tokens.vectors
        value = linear(x, self.param("value", normal(c.width**-0.5), (c.width, c.width)))
        if not each:
            score = (x @ query.astype(x.dtype)).astype(jnp.float32)
            score = jnp.where(tokens.valid[..., None], score, -1e9)
            weight = jax.nn.softmax(score, axis=1).astype(x.dtype)
            heads = rearrange(value, "b t (n h) -> b t n h", n=c.heads)
            value = rearrange(jnp.einsum("btn,btnh->bnh", weight, heads), "b n h -> b (n h)")
        hidden = jax.nn.gelu(linear(value, self.param("hidden", normal(c.width**-0.5), (c.width, c.width))))
        return unit(linear(value + hidden, self.param("out", normal(c.width**-0.5), (c.width, c.embedding))))


class Decoder(nn.Module):
    """Writes bytes: causal self-attention over what is written, cross-attention to the encoder."""

    config: ModelConfig
    max_length: int = 1024

    def setup(self):
        c = self.config
        self.table = self.param("table", nn.initializers.normal(1.0), (vocab.SIZE, c.width))
        self.stack = Stack(c, c.decoder_layers, READING, causal=True)
        self.memory_norm = self.param("memory_norm", nn.initializers.zeros, (c.width,))
        self.head = self.param("head", nn.initializers.normal(c.width**-0.5), (c.width, vocab.SIZE))
        self.positions = sincos(self.max_length, c.width)

    def logits(self, x: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        return x.astype(jnp.float32) @ self.head

    def __call__(
        self, inputs: Integer[Array, "B S L"], memory: Float[Array, "B M D"], valid: Bool[Array, "B M"]
    ) -> Float[Array, "B S L V"]:
        b, _, length = inputs.shape
        x = self.table[inputs.astype(jnp.int32)] + self.positions[:length]
        x = rearrange(x.astype(memory.dtype), "b s l d -> (b s) l d")
        x = self.stack(x, None, rms_norm(memory, self.memory_norm), valid)
        return rearrange(self.logits(x), "(b s) l v -> b s l v", b=b)

    def start(self, memory: Float[Array, "B M D"], rows: int, length: int) -> Cache:
        """Cache for writing ``length`` bytes in ``rows`` sequences a memory."""
        return self.stack.start(rms_norm(memory, self.memory_norm), rows, length)

    def step(
        self, token: Int[Array, " R"], cache: Cache, index: Int[Array, ""], valid: Bool[Array, "B M"]
    ) -> tuple[Float[Array, "R V"], Cache]:
        """Logits after one more token a sequence."""
        x = (self.table[token] + self.positions[index]).astype(cache["key"].dtype)
        x, cache = self.stack.step(x, cache, index, valid)
        return self.logits(x), cache
