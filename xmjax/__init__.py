"""xmjax: pretraining of byte-level crossmodal language models in JAX."""

__version__ = "0.1.0"
