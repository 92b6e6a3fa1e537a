"""Labels as texts: the prompts that stand for a class or a tag, and how near a picture is to them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import softmax

from xmjax.config import Config
from xmjax.data import playroom
from xmjax.data.arrays import text_ids
from xmjax.evaluation.base import Evaluator
from xmjax.evaluation.retrieval import vectors

GENERIC = ("{}", "a photo of a {}")
"""Templates of data whose captions are not known; the config's, where it gives any, fit better."""

Labels = Mapping[str, Sequence[str]]
"""Name of a class or a tag -> its prompts."""


def prompts(config: Config, texts: Iterable[str], alone: bool = True, templates: Sequence[str] = ()) -> list[str]:
    """A label as whole texts, each once: every one of its texts in every template.

    Args:
      config: of the run, whose templates are taken where none are given; without either the data's own.
      texts: the label, such as in several languages.
      alone: whether the playroom's templates say that there is no other toy.
      templates: texts with {} where the label stands.
    """
    given = templates or config.evaluation.templates
    playing = config.data.source == "playroom"
    found = [
        template.replace("{}", text)
        for text in texts
        for template in given or (playroom.templates(text, alone) if playing else GENERIC)
    ]
    return list(dict.fromkeys(found))


def label_vectors(embed: Callable[[list[str]], Float[np.ndarray, "n E"]], labels: Labels) -> Float[np.ndarray, "L E"]:
    """Unit vectors of labels: the mean of the unit vectors of a label's prompts, of length one (Radford et al. 2021).

    Args:
      embed: unit vectors of texts.
      labels: with at least one prompt each.
    """
    found, rows = _prompt_vectors(embed, labels)
    means = np.stack([found[own].mean(0) for own in rows])
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)


def tag_probabilities(
    embed: Callable[[list[str]], Float[np.ndarray, "n E"]],
    labels: Labels,
    items: Float[np.ndarray, "N E"],
    scale: float,
) -> Float[np.ndarray, "N L"]:
    """How probable it is that the prompt which belongs to an item is one of a label's, of all prompts together.

    Where every prompt says something besides the label, such as a colour, an item fits few of them and not their mean.
    A prompt may be of several labels, whose probabilities then sum to more than one.

    Args:
      embed: unit vectors of texts.
      labels: with at least one prompt each.
      items: unit vectors.
      scale: of the cosines, as the run has learned it.
    """
    found, rows = _prompt_vectors(embed, labels)
    probability = softmax(scale * (items @ found.T).astype(np.float64), axis=1)
    return np.stack([probability[:, own].sum(1) for own in rows], 1)


def _prompt_vectors(
    embed: Callable[[list[str]], Float[np.ndarray, "n E"]], labels: Labels
) -> tuple[Float[np.ndarray, "P E"], list[list[int]]]:
    """Vectors of all prompts, each once, and which of them are each label's."""
    texts = list(dict.fromkeys(text for own in labels.values() for text in own))
    row = {text: i for i, text in enumerate(texts)}
    return embed(texts), [[row[text] for text in own] for own in labels.values()]


def scales(model: Any, rows: Any) -> Array:
    """What a model has learned to multiply cosines with, one number a row."""
    return jnp.full(len(rows), model.scale())


def text_reader(evaluator: Evaluator) -> Callable[[Any, list[str]], Float[np.ndarray, "n E"]]:
    """Unit vectors of texts as a function of the parameters of an evaluator's model and of the texts."""
    run, length = evaluator.compiled(partial(vectors, modality="text")), evaluator.config.model.text.max_bytes
    return lambda params, texts: run(params, np.stack([text_ids(t, length) for t in texts]))


def play_name(config: Config, names: Mapping[str, Mapping[str, str]], key: str) -> str:
    """What the run's languages call a kind or a colour, together; what shares a name in all of them is one label."""
    return " / ".join(dict.fromkeys(names[language][key] for language in play_languages(config)))


def look_texts(config: Config, kind: str, color: str) -> list[str]:
    """A kind in a colour, in each of the run's languages."""
    return [playroom.label(kind, color, language) for language in play_languages(config)]


def play_languages(config: Config) -> Sequence[str]:
    """Languages of a run on the playroom."""
    return config.data.languages or playroom.LANGUAGES
