"""xmjax: pretraining of byte-level crossmodal language models in JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from xmjax.model_api import Model

__version__ = "0.1.0"


def load(workdir: str | os.PathLike[str], step: int | str | None = None) -> Model:
    """A trained model that can be used: it embeds, fills in and describes; see `xmjax.model_api.Model`.

    Args:
      workdir: of a pretraining run.
      step: of the checkpoint, or "best"; default the newest.

    Raises:
      UserError: there is no run, or no such checkpoint.
    """
    from xmjax import model_api  # imports JAX, which importing xmjax alone does not

    return model_api.load(workdir, step)
