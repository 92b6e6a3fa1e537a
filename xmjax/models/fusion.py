"""How modalities see each other: four kinds of fusion under one interface.

Every modality enters as a part, its tokens, and leaves as a part of equal shape. Kinds differ in who looks at whom and
in whose parameters; `model.fusion` chooses, `model.fusion_layers` says how many. With an MLP of four times the width, a
layer has 12 width^2 parameters merged and 16 of cross-attention; of M modalities, 24 M of co-attention and 12 M of
bottlenecks.
"""

import itertools
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from xmjax.config import ModelConfig
from xmjax.models import layers
from xmjax.models.stack import READING, SELF, Stack, scanned
from xmjax.registry import Registry

Vectors = dict[str, Float[Array, "B _ D"]]
Valid = Mapping[str, Bool[Array, "B _"]]

FUSIONS: Registry[Callable[[ModelConfig], nn.Module]] = Registry("fusion")


def fusion(config: ModelConfig) -> nn.Module:
    """The layers of a model, from vectors and validity by modality to vectors by modality; text is the last."""
    return FUSIONS[config.fusion](config)


def joined(parts: Mapping[str, Array]) -> Array:
    """The tokens of all parts, one after the other."""
    return jnp.concatenate(list(parts.values()), 1)


def split(x: Array, parts: Mapping[str, Array]) -> dict[str, Array]:
    """``x`` divided as ``parts`` are."""
    ends = list(itertools.accumulate(part.shape[1] for part in parts.values()))
    return dict(zip(parts, jnp.split(x, ends[:-1], 1), strict=True))


def others(parts: Mapping[str, Array], modality: str) -> Array:
    """The tokens of all parts but one's."""
    return joined({name: part for name, part in parts.items() if name != modality})


def normed(x: Float[Array, "B _ D"]) -> Float[Array, "B _ D"]:
    """What others read of a residual stream, which grows with its layers: of one size, as behind ViLBERT's norms."""
    return layers.rms_norm(x, jnp.zeros(x.shape[-1]))


class Merged(Stack):
    """All tokens are one sequence, under shared layers (VisualBERT, UNITER, BEiT-3's shared attention)."""

    def __call__(self, parts: Vectors, valid: Valid) -> Vectors:
        return split(super().__call__(joined(parts), joined(valid)), parts)


@FUSIONS.register("merged")
def merged(config: ModelConfig) -> nn.Module:
    """`Merged` with the layers that a config says."""
    return Merged(config, config.fusion_layers)


@FUSIONS.register("cross")
class Cross(nn.Module):
    """Text looks at itself and then at all else, which stays as it is (ALBEF, BLIP)."""

    config: ModelConfig

    def setup(self):
        self.stack = Stack(self.config, self.config.fusion_layers, READING)

    def __call__(self, parts: Vectors, valid: Valid) -> Vectors:
        memory = normed(others(parts, "text"))
        read = self.stack(parts["text"], valid["text"], memory, others(valid, "text"))
        return {**parts, "text": read}


@FUSIONS.register("coattention")
class CoAttention(nn.Module):
    """Every modality has layers of its own, in which it looks at the others' tokens and then at its own (ViLBERT).

    A layer is ViLBERT's pair of blocks: queries of one modality with keys and values of the others and an MLP, then
    self-attention and an MLP. All modalities read what the others were before the layer.
    """

    config: ModelConfig

    def setup(self):
        order = ("cross", "cross_mlp", *SELF)
        self.streams = {m: Stack(self.config, self.config.fusion_layers, order) for m in self.config.modalities}

    def __call__(self, parts: Vectors, valid: Valid) -> Vectors:
        def layer(x: Vectors, p: Mapping) -> Vectors:
            read = {m: normed(x[m]) for m in x}
            return {m: self.streams[m].layer(p[m], x[m], valid[m], others(read, m), others(valid, m)) for m in x}

        x = scanned(self.config, layer, parts, {m: self.streams[m].blocks for m in parts})
        return {m: layers.rms_norm(x[m], self.streams[m].norm) for m in parts}


@FUSIONS.register("bottleneck")
class Bottleneck(nn.Module):
    """Every modality has layers of its own and shares a few tokens, the mean of all (Nagrani et al. 2021).

    One that is absent takes part in the mean by its learned token.
    """

    config: ModelConfig

    def setup(self):
        c = self.config
        self.streams = {m: Stack(c, c.fusion_layers) for m in c.modalities}
        self.tokens = self.param("tokens", nn.initializers.normal(0.5), (c.bottleneck, c.width))

    def __call__(self, parts: Vectors, valid: Valid) -> Vectors:
        rows = parts["text"].shape[0]
        shared = jnp.broadcast_to(self.tokens.astype(parts["text"].dtype), (rows, *self.tokens.shape))
        seen = {m: jnp.concatenate([v, jnp.ones(shared.shape[:2], bool)], 1) for m, v in valid.items()}

        def layer(carry: tuple[Vectors, Array], p: Mapping) -> tuple[Vectors, Array]:
            x, between = carry
            found = {m: self.streams[m].layer(p[m], jnp.concatenate([x[m], between], 1), seen[m]) for m in x}
            between = jnp.mean(jnp.stack([y[:, x[m].shape[1] :] for m, y in found.items()]), 0)
            return {m: y[:, : x[m].shape[1]] for m, y in found.items()}, between

        x, _ = scanned(self.config, layer, (parts, shared), {m: self.streams[m].blocks for m in parts})
        return {m: layers.rms_norm(x[m], self.streams[m].norm) for m in parts}
