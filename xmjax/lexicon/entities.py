"""Entities: the words of a caption that a dictionary has, found without a tagger."""

from xmjax.data.arrays import caption_words
from xmjax.data.source import Caption, Word
from xmjax.lexicon.senses import Dictionary


def entities(caption: Caption, dictionary: Dictionary) -> tuple[Word, ...]:
    """The words that the dictionary lists, whole and with their articles and particles, in order.

    Source: US 12,393,789, claim 5: the target to mask is a main entity.
    """
    data = caption.text.encode("utf-8", "surrogatepass")
    return tuple(
        word
        for word in caption_words(caption)
        if dictionary.lookup(data[word.start : word.end].decode("utf-8", "surrogatepass"), caption.language)
    )
