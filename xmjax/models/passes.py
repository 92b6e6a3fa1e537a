"""Passes of the model over one stream's batch, each computed once and shared by the objectives that need it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float, Int, Integer

from xmjax.models.association import replaced, sentinel_tokens
from xmjax.models.crossmodal import concatenate
from xmjax.models.embedders import Tokens


def origins(batch: Mapping[str, Array]) -> Int[Array, "B O"]:
    """Ids of each row's record, and of its picture where it has one, which other records may have too."""
    return jnp.stack([batch[name] for name in ("id", "picture_id") if name in batch], 1)


class Passes:
    """Lazily computed passes.

    A batch has B rows with one image (sound, ...) and C captions each. Whatever has to do with captions has B * C rows,
    captions of a row next to each other.
    """

    def __init__(self, model: Any, batch: Mapping[str, Array], towers: Mapping[str, Array] | None = None):
        """Args:
        model: a `Crossmodal` bound to its parameters.
        batch: the stream's arrays: modality -> bytes, "masked" and "text" [B, C, L], and what objectives added.
        towers: modality -> its vectors, where they are known.
        """
        self.model = model
        self.batch = batch
        self._memo: dict[Any, Any] = {("tower", modality): x for modality, x in (towers or {}).items()}

    def _once(self, key: Any, compute: Any) -> Any:
        if key not in self._memo:
            self._memo[key] = compute()
        return self._memo[key]

    @property
    def captions(self) -> int:
        """C, captions a row."""
        return self.batch["text"].shape[1]

    def encoded(self, modality: str) -> Tokens:
        """Tokens after the modality's own layers; for text [B * C, T, D]."""

        def compute():
            data = self.batch[modality]
            if modality == "text":
                return self.text(rearrange(data, "b c l -> (b c) l"))
            return self.model.encode(modality, data)

        return self._once(("encoded", modality), compute)

    @property
    def origins(self) -> Int[Array, "B O"]:
        """`origins` of the batch."""
        return origins(self.batch)

    def text(self, ids: Integer[Array, "R L"], every: int = 1) -> Tokens:
        """Tokens of texts of the batch's records, as many of each next to each other.

        Args:
          ids: the texts.
          every: of which records they are, from the first on.
        """
        origins = self.origins[::every]
        return self.model.encode("text", ids, repeat(origins, "b o -> (b n) o", n=len(ids) // len(origins)))

    def grounded(
        self,
        tokens: Tokens,
        image: Array,
        masked: Bool[Array, "B K"] | None = None,
        unknown: Bool[Array, " B"] | None = None,
    ) -> Tokens:
        """The objects of a picture, in the batch's boxes or discovered; see `Crossmodal.grounded`."""
        return self.model.grounded(tokens, self.batch.get("boxes"), masked, image, self.origins, unknown)

    def alone(self, modality: str) -> Tokens:
        """Tokens that stand for the modality by itself."""
        return self._once(("alone", modality), lambda: self.model.alone(modality, self.encoded(modality)))

    def tower(self, modality: str) -> Float[Array, "R E"]:
        """Unit vectors, B rows, or B * C for text."""
        return self._once(("tower", modality), lambda: self.model.tower(modality, self.alone(modality)))

    def units(self, modality: str) -> Float[Array, "R T E"]:
        """Unit vectors of single tokens."""
        return self._once(("units", modality), lambda: self.model.units(modality, self.alone(modality)))

    def reduced(self, modality: str) -> Tokens:
        """What of the modality's tokens is fused with others."""
        return self._once(("reduced", modality), lambda: self.model.reduced(modality, self.encoded(modality)))

    def fused_with_text(self, modality: str) -> Tokens:
        """What `match`, `mask_predict` and `answer` by objects read: objects where it has them, else `reduced`."""
        if modality == "image" and self.model.config.regions.count:
            return self.grounded(self.encoded(modality), self.batch[modality])
        return self.reduced(modality)

    def repeated(self, modality: str, count: int) -> Tokens:
        """What of the modality's tokens is fused with others, each row ``count`` times [B * count, T, D]."""
        return repeated(self.reduced(modality), count)


def repeated(tokens: Tokens, count: int) -> Tokens:
    """Each row ``count`` times, its copies next to each other."""
    return jax.tree.map(lambda x: repeat(x, "b ... -> (b c) ...", c=count), tokens)


def masked_memory(
    model: Any,
    others: Mapping[str, Tokens],
    ids: Integer[Array, "R L"],
    text: Tokens,
    absent: Mapping[str, Bool[Array, " R"]],
    spans: int = 1,
    association: str = "",
) -> tuple[Float[Array, "Q M D"], Bool[Array, "Q M"]]:
    """What the decoder reads to write the masked units of texts.

    Args:
      model: a `Crossmodal` bound to its parameters.
      others: modality -> what of its tokens the texts are fused with (`Crossmodal.reduced`).
      ids: the masked texts.
      text: their tokens after the text's own layers.
      absent: modality -> rows in which it is treated as missing.
      spans: sentinels of a text.
      association: "" for all of all modalities, fused: one memory a text (Q is R); else one of `association.KINDS`:
        one memory of two slots a sentinel (Q is R * spans), and no way from anything else than the text to the unit but
        the association with the first of the others.
    """
    fused = model.fuse({**others, "text": text}, absent)
    if not association:
        return concatenate(fused)
    modality, other = next(iter(others.items()))
    found = replaced(model.associate(fused["text"], fused[modality]), fused[modality].valid, association)
    slots = model.slots(modality, text, other, found, sentinel_tokens(ids, text, spans))
    memory = rearrange(slots, "r s slot d -> (r s) slot d")
    return memory, jnp.ones(memory.shape[:2], bool)
