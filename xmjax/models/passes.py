"""Passes of the model over one stream's batch, each computed once and shared by the objectives that need it."""

from collections.abc import Mapping
from typing import Any

import jax
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float

from xmjax.models.embedders import Tokens


class Passes:
    """Lazily computed passes.

    A batch has B rows with one image (sound, ...) and C captions each. Whatever has to do with captions has B * C rows,
    captions of a row next to each other.
    """

    def __init__(self, model: Any, batch: Mapping[str, Array]):
        """Args:
        model: a `Crossmodal` bound to its parameters.
        batch: the stream's arrays: modality -> bytes, "masked" and "text" [B, C, L], and what objectives added.
        """
        self.model = model
        self.batch = batch
        self._memo: dict[Any, Any] = {}

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
            return self.model.encode(modality, rearrange(data, "b c l -> (b c) l") if modality == "text" else data)

        return self._once(("encoded", modality), compute)

    def alone(self, modality: str) -> Tokens:
        """Tokens that stand for the modality by itself."""
        return self._once(("alone", modality), lambda: self.model.alone(modality, self.encoded(modality)))

    def tower(self, modality: str) -> Float[Array, "R E"]:
        """Unit vectors, B rows, or B * C for text."""
        return self._once(("tower", modality), lambda: self.model.tower(modality, self.alone(modality)))

    def masked(self) -> Tokens:
        """Tokens of the masked captions after the text layers [B * C, T, D]."""
        return self._once(
            "masked", lambda: self.model.encode("text", rearrange(self.batch["masked"], "b c l -> (b c) l"))
        )

    def fused(self, modality: str, absent: Bool[Array, " R"] | None = None) -> dict[str, Tokens]:
        """Masked captions fused with one other modality.

        Args:
          modality: the other one; its tokens are repeated for every caption.
          absent: of the B * C rows, those in which it is treated as missing.
        """
        tokens = jax.tree.map(lambda x: repeat(x, "b ... -> (b c) ...", c=self.captions), self.encoded(modality))
        return self.model.fuse({modality: tokens, "text": self.masked()}, {} if absent is None else {modality: absent})
