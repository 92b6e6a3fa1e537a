"""A trained model that can be used: it embeds, fills in, describes, answers, and tells what words mean and point at."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt16

from xmjax import config as config_module
from xmjax import inference, search, vocab
from xmjax.data.arrays import asked, canvas, gloss_ids, prompt_ids, text_ids
from xmjax.data.regions import boxes_array, label_ids
from xmjax.data.source import Caption, Question, Region, Word
from xmjax.errors import UserError
from xmjax.evaluation import filling
from xmjax.evaluation.answer import write_answer
from xmjax.evaluation.caption import picture_memory, write
from xmjax.evaluation.fill import association_of, candidate_sequences, read_masked, score_candidates
from xmjax.evaluation.labels import expected
from xmjax.evaluation.localize import heat, spread
from xmjax.evaluation.match import encoded, matched
from xmjax.evaluation.objects import found_objects, kept
from xmjax.evaluation.pointing import pointed
from xmjax.evaluation.prompts import label_vectors, prompts, scales, tag_probabilities
from xmjax.evaluation.retrieval import vectors
from xmjax.evaluation.tags import playroom_tags
from xmjax.inputs import Picture, Sound, each_masked, marked, masked, picture, sound
from xmjax.lexicon import Dictionary, Sense, carry, entities, masked_gloss
from xmjax.loaded import Loaded, checked_boxes, checked_templates, listed, one_device, paired
from xmjax.models.embedders import lean
from xmjax.models.generate import Written, beam, sampled
from xmjax.registry import suggest

WIDTH = 8
"""Beams that search for a masked word, and what numbers of candidates and beams are rounded up to."""

T = TypeVar("T")

METHODS = ("greedy", "sample", "beam", "mask_predict")


class Associated(NamedTuple):
    """What a word of a text is associated with.

    Attributes:
      word: as it stands in the text.
      place: its bytes.
      strength: from 0 to 1, how much of what the word is read from is the picture, and not nothing. Trained with the
        pictures that belong to the texts, it does not tell whether a picture shows the word (docs/log.md).
      weights: of the picture's units, which sum to one.
      boxes: of the units, (y0, x0, y1, x1) as fractions of the side.
      most: index of the unit that it points at: the heaviest, or the one in the middle of the heaviest object.
    """

    word: str
    place: Word
    strength: float
    weights: Float[np.ndarray, " M"]
    boxes: Float[np.ndarray, "M 4"]
    most: int


class Found(NamedTuple):
    """The objects of a picture, or the groups that its units are put into: as many as the run keeps, whatever is shown.

    A large object is several groups then, closely related, and so is the background.

    Attributes:
      boxes: around each of them, (y0, x0, y1, x1) as fractions of the side.
      relations: how closely two of them belong together, from 0 to 1.
      shares: of the picture's units in each of them; a unit's shares sum to at most one where boxes do not overlap.
    """

    boxes: Float[np.ndarray, "K 4"]
    relations: Float[np.ndarray, "K K"]
    shares: Float[np.ndarray, "K M"]


def load(workdir: str | os.PathLike[str], step: int | str | None = None) -> "Model":
    """The model of a checkpoint on the first device; see `xmjax.load`."""
    path = Path(workdir).expanduser()
    config = inference.read_config(path)
    mesh = one_device()
    state, step = inference.restore(path, config, mesh, step)
    return Model(config, state.used, mesh, step)


class Model(Loaded):
    """A model with its parameters.

    Pictures are given as a path, the bytes of an image file, a picture of Pillow or raw RGB bytes uint8 [Y, X, 3];
    texts as str. Where a list of them is given (or an array [B, Y, X, 3]), the answer is the list of their answers.
    Texts longer than the model reads are cut off, as in training, but for those that something is asked of. What is
    compiled is kept: shapes do not depend on the inputs.

    What it has of a run is told by `Loaded`.
    """

    _index: tuple[tuple[Path, int | None], search.Index] | None = None

    def embed(
        self,
        text: str | Sequence[str] | None = None,
        image: Picture | Sequence[Picture] | None = None,
        audio: Sound | Sequence[Sound] | None = None,
        **further: Any,
    ) -> Float[np.ndarray, "n E"]:
        """Unit vectors of one modality's items, whose dot products say what belongs together; one row each.

        Args:
          text: texts.
          image: pictures.
          audio: sounds.
          further: one of the model's further modalities by its name, a uint8 array as in `Record.extra` or a list of
            them.

        Raises:
          UserError: not exactly one of them is given, a file cannot be read, or the run has trained no contrast of it.
        """
        given = {"text": text, "image": image, "audio": audio} | further
        given = {m: x for m, x in given.items() if x is not None}
        if len(given) != 1:
            raise UserError("embed takes a text, an image or a sound: give one of them, and call it again for others")
        if unknown := given.keys() - {"text", "image", "audio"} - self.config.model.others.keys():
            raise UserError(
                f"no modality {unknown.pop()!r} here: this model has {', '.join(self.config.model.modalities)}"
            )
        ((modality, value),) = given.items()
        pairs = self.contrasted()
        if not pairs:
            self.check_trained("contrast")
        if not any(modality in pair for pair in pairs):
            pairs = " and ".join(f"{first} with {second}" for first, second in pairs)
            raise UserError(f"this run has contrasted {pairs}, so {modality} has no vector")
        items = listed(value) or [value]
        if modality == "image":
            data = [picture(item, self.config) for item in items]
        elif modality != "text":
            data = [self._row(modality, item) for item in items]
        else:
            data = [text_ids(item, self.config.model.text.max_bytes) for item in items]
        return self._call(vectors, np.stack(data), modality=modality)

    def classify(
        self,
        image: Picture | Sequence[Picture],
        labels: Sequence[str],
        templates: Sequence[str] | None = None,
    ) -> Any:
        """Which of some labels a picture has, by their texts alone.

        Args:
          image: what to classify.
          labels: the classes to choose from.
          templates: texts with {} where a label stands, over which its vectors are averaged; default the config's, or
            the data's own.

        Returns:
          (label, probability) pairs, likeliest first, whose probabilities sum to 1: a softmax over cosines by the
          temperature that the run has learned. A list of pictures gives a list.

        Raises:
          UserError: there are no labels, a template has no {}, a picture cannot be read, or the run has not contrasted
            pictures and texts.
        """
        names = self._candidates(labels, "labels")
        labelled = label_vectors(self.embed, {n: self._prompts(n, templates) for n in names})
        cosines = self.embed(image=image) @ labelled.T
        nats = -cosines * self._scale()
        found = [_ranked(names, row) for row in nats]
        return found if listed(image) else found[0]

    def tags(
        self,
        image: Picture | Sequence[Picture],
        tags: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
        top: int = 5,
    ) -> Any:
        """The tags that a picture most probably has.

        Args:
          image: what to find tags for.
          tags: words to choose from; default those of the playroom, for runs on it.
          templates: as of `classify`.
          top: most tags returned.

        Returns:
          (tag, probability) pairs, likeliest first: how probable it is that a text with the tag belongs to the picture,
          of the texts of all tags. Texts with two tags count for both. A list of pictures gives a list.

        Raises:
          UserError: as of `classify`, or the run's data have no tags of their own and none are given.
        """
        if top < 1:
            raise UserError(f"top={top} tags cannot be returned: ask for at least 1")
        if tags is not None:
            labels = {n: self._prompts(n, templates, alone=False) for n in self._candidates(tags, "labels")}
        elif self.config.data.source == "playroom":
            labels = playroom_tags(self.config, checked_templates(templates))
        else:
            raise UserError("this run's data have no tags of their own: give the labels to choose from")
        names = list(labels)
        shares = tag_probabilities(self.embed, labels, self.embed(image=image), self._scale())
        order = np.argsort(-shares, axis=1, kind="stable")[:, :top]
        found = [[(names[k], float(row[k])) for k in best] for row, best in zip(shares, order, strict=True)]
        return found if listed(image) else found[0]

    def _scale(self) -> float:
        return float(self._call(scales, np.zeros((1, 1)))[0])

    def _prompts(self, label: str, templates: Sequence[str] | None, alone: bool = True) -> list[str]:
        return prompts(self.config, [label], alone, checked_templates(templates))

    def match(
        self,
        text: str | Sequence[str],
        image: Picture | Sequence[Picture],
        boxes: Sequence[Sequence[float]] | None = None,
    ) -> Any:
        """Probability that a text and a picture belong together, read off the matching identifier.

        A single picture serves all texts of a list, and a single text is asked of every picture. In training a third of
        the pairs belonged together.

        Args:
          text: what may fit.
          image: the picture.
          boxes: of the objects of a single picture, (y0, x0, y1, x1) as fractions of the side, where the model reads
            objects.

        Raises:
          UserError: a picture cannot be read, the run has not trained match, or boxes are missing or too many.
        """
        self.check_trained("match")
        texts, pictures, single = paired(text, image)
        around = self._objects_in(boxes, image, "matches texts", bool(self.config.model.regions.count))
        shown = np.stack([picture(p, self.config) for p in pictures])
        ids = np.stack([text_ids(t, self.config.model.text.max_bytes) for t in texts])
        logits = self._call(_matched, shown, np.repeat(around[None], len(ids), 0), ids)
        found = [float(1 / (1 + np.exp(-logit))) for logit in logits]
        return found[0] if single else found

    def expects(self, text: str, labels: Sequence[Sequence[str]]) -> list[float]:
        """By how many nats a text makes the objects of each picture likelier than no text does.

        Of a picture nothing is read but how many objects it has and what they are called (EP 3 889 830, paragraph 71).

        Args:
          text: what is told.
          labels: of the objects of every picture, as many as the run reads at most.

        Raises:
          UserError: the run has not trained regions, a picture has no objects or too many, or it is no list of them.
        """
        options, count = self.check_trained("regions"), self.config.model.regions.count
        if not labels:
            return []
        if wrong := [those for those in labels if isinstance(those, str) or not 0 < len(those) <= count]:
            raise UserError(f"{wrong[0]!r} is no list of labels of a picture's objects: this run reads 1 to {count}")
        regions = [[Region((0.0, 0.0, 1.0, 1.0), label) for label in those] for those in labels]
        boxes = np.stack([boxes_array(those, count) for those in regions])
        written = [label_ids(t, b[:, 2] > 0, options.max_label_bytes) for t, b in zip(regions, boxes, strict=True)]
        told = np.repeat(text_ids(text, self.config.model.text.max_bytes)[None], len(boxes), 0)
        nats = self._call(_expected, boxes, np.stack(written), told)
        return [float(unasked - asked) for asked, unasked in nats]

    def localize(self, image: Picture, audio: Sound) -> Float[np.ndarray, "S S"]:
        """Where in a picture a sound comes from: cosines of the sound with the picture's parts, for every pixel.

        Raises:
          UserError: a file cannot be read, the run has not compared pictures with sounds, or its picture is no grid of
            parts. Maps are better of runs that have trained `locate` too.
        """
        located = self.config.objectives.get("locate")
        pairs = [*self.contrasted(), *([(located.first, located.second)] if located else [])]
        if not any(set(pair) == {"image", "audio"} for pair in pairs):
            raise UserError("this run has not compared pictures with sounds: load one that has trained sound or locate")
        shown, heard = picture(image, self.config)[None], sound(audio, self.config)[None]
        options = self.config.model.image
        return spread(self._call(heat, shown, heard)[0], options.size, lean(options))

    def fill(
        self,
        text: str | Sequence[str],
        image: Picture | Sequence[Picture | None] | None = None,
        word: str | None = None,
        candidates: Sequence[str] | None = None,
        top: int = 5,
        occurrence: int | None = None,
        **others: Any,
    ) -> Any:
        """Which words stand at the masked place of a text, with the picture or without one.

        A single picture serves all texts of a list, and a single text is asked of every picture.

        Args:
          text: with ``___`` or ``▁▁▁`` where the word is missing, with its article or particles, unless ``word`` is
            given.
          image: what the text is about.
          word: word of the text to mask, with what is written in one with it.
          candidates: words to choose from. Without them a beam search writes the likeliest.
          top: most words returned where there are no candidates.
          occurrence: which one is meant, from 1, of a word that the text has several times.
          others: what else the run's fill reads (`objectives.fill.others`), by its name, as `embed` takes it; what is
            not given is absent.

        Returns:
          (word, probability) pairs, likeliest first. Of candidates all are returned and their probabilities sum to 1;
          else a probability is the model's of writing just that word.

        Raises:
          UserError: there is no masked place or more than one, the word is not in the text, a picture cannot be read,
            or the run has not trained fill, or not with a modality that is given.
        """
        span = self.check_trained("fill").max_span_bytes
        texts, pictures, single = paired(text, image)
        length = self.config.model.text.max_bytes
        inputs = np.stack([masked(t, word, length, occurrence) for t in texts])
        data, absent = self._fused(pictures, others)
        read = {"association": association_of(self.config), "modalities": tuple(data)}
        if candidates is None:
            if top < 1:
                raise UserError(f"top={top} words cannot be returned: ask for at least 1")
            width = _rounded(top, WIDTH)
            written = self._call(_fill, data, inputs, absent, length=span, width=width, **read)
            found = [_likeliest(ids, score, top) for ids, score in zip(*written, strict=True)]
        else:
            words = self._candidates(candidates)
            room = max(span, _rounded(max(len(vocab.utf8(w)) for w in words), WIDTH)) + 2
            sequences = candidate_sequences([words], _rounded(len(words), WIDTH), room).repeat(len(texts), 0)
            nats = self._call(score_candidates, data, inputs, sequences, absent, **read)[:, : len(words)]
            found = [_ranked(words, row) for row in nats]
        return found[0] if single else found

    def caption(
        self,
        image: Picture | Sequence[Picture],
        language: str | None = None,
        style: str = "",
        method: str | None = None,
        n: int = 1,
        *,
        boxes: Sequence[Sequence[float]] | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        width: int = 4,
        normalisation: float = 0.0,
        seed: int = 0,
    ) -> Any:
        """Texts about a picture.

        Args:
          image: what to write about.
          language: tag such as "en"; default English, or what the run has in its place.
          style: name of the wording, for runs that have several; default their plainest.
          method: "greedy" (the likeliest byte after byte), "sample", "beam", or "mask_predict" (an unknown text is
            filled in, see `evaluation.filling`); default greedy, or mask_predict of a run that has trained it and
            not caption, of which a beam search fills words in too and puts first what agrees and matches best.
          n: texts of each picture; more than one are drawn by "sample" or found by "beam".
          boxes: where words are filled in by a model that reads objects: those of a single picture, (y0, x0, y1, x1)
            as fractions of the side.
          temperature: of "sample": 0 is greedy, below 1 is surer, above 1 more varied.
          top_p: of "sample": bytes are drawn from the likeliest that have this probability together.
          top_k: of "sample": bytes are drawn from this many likeliest; 0 draws from all.
          width: of "beam": texts that are kept while searching.
          normalisation: of "beam": see `generate.beam`.
          seed: of "sample".

        Returns:
          A list of n texts. A beam search may have found fewer.

        Raises:
          UserError: language, style or method is unknown, n does not go with the method, a picture cannot be read, or
            the run has not trained caption, or mask_predict where this is the method, or boxes are missing.
        """
        method, filling, options = self._writing(method, n, normalisation)
        if not 0 <= seed < 2**32:
            raise UserError(f"seed={seed} is outside of 0 to {2**32 - 1}: give another")
        if temperature < 0 or not 0 < top_p <= 1 or top_k < 0 or width < 1:
            raise UserError(
                "temperature and top_k must not be negative, top_p be above 0 and at most 1, width at least 1"
            )
        several = listed(image)
        data = np.stack([picture(p, self.config) for p in several or [image]])
        about = Caption("", *self._wording(language, style))
        length = self.config.model.text.max_bytes
        does = f"writes captions by {method}"
        around = self._objects_in(boxes, image, does, filling and bool(self.config.model.regions.count))
        width = max(n, width)
        if filling:
            filled = self._filled_in(data, around, about, options, width if method == "beam" else 0)
            return self._decoded(_found(*filled, n), several)
        prompt = np.repeat(prompt_ids(about, options.max_prompt_bytes)[None], len(data), 0)
        if method == "sample":
            keys = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(seed), len(data))))
            settings = [(temperature, np.float32), (top_p, np.float32), (top_k or vocab.SIZE, np.int32)]
            rows = [np.full(len(data), value, dtype) for value, dtype in settings]
            ids, _ = self._call(_sample, data, prompt, keys, *rows, length=length, count=n)
        elif method == "beam":
            ids, score = self._call(_beam, data, prompt, length=length, width=width, normalisation=normalisation)
            ids = _found(ids, score, n)
        else:
            ids = self._call(write, data, prompt, length=length, beams=1)[:, None]
        return self._decoded(ids, several)

    def _writing(self, method: str | None, n: int, normalisation: float) -> tuple[str, bool, Any]:
        """How captions are written: the method, whether it fills words in, and the options of what has trained it."""
        objectives = self.config.objectives
        fills = "mask_predict" in objectives and "caption" not in objectives
        if method is None:
            method = "mask_predict" if fills else "greedy"
        if method not in METHODS:
            raise UserError(f"unknown method {method!r}: {suggest(method, METHODS)}")
        filling = method == "mask_predict" or (fills and method == "beam")
        if fills and not filling:
            raise UserError(
                f"method={method!r}: this run has not trained caption but fills words in: mask_predict or beam"
            )
        options = self.check_trained("mask_predict" if filling else "caption")
        if n < 1 or (n > 1 and method in ("greedy", "mask_predict")):
            remedy = "ask for 1" if n < 1 else "beam" if fills else "sample or beam"
            raise UserError(f"n={n} does not go with method={method!r}: {remedy}")
        if filling and normalisation:
            raise UserError(f"normalisation={normalisation} is of captions that are not filled in: leave it at 0")
        return method, filling, options

    def _filled_in(
        self, data: np.ndarray, around: np.ndarray, about: Caption, options: Any, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids [B, K, L] and scores [B, K] of texts that are filled in: the one that is chosen, or K of a search.

        Args:
          data: the pictures.
          around: boxes of the objects of each.
          about: language and style.
          options: of `mask_predict`.
          width: K; 0 returns the chosen one alone.
        """
        how = filling.Filling.of(self.config)
        prompt, _ = canvas(about, how.units, how.max_unit_bytes, self.config.model.text.max_bytes)
        shown = (data, *(np.repeat(given[None], len(data), 0) for given in (around, prompt)))
        if width:
            return self._call(filling.searched, *shown, how=how, width=width)
        return self._call(filling.filled_in, *shown, how=how).exact[:, None], np.zeros((len(data), 1))

    def _decoded(self, ids: Iterable[Iterable[np.ndarray]], several: Any) -> Any:
        texts = [[vocab.whole(vocab.decode(one)) for one in row] for row in ids]
        return texts if several else texts[0]

    def answer(
        self,
        question: str | Sequence[str],
        image: Picture | Sequence[Picture | None] | None = None,
        boxes: Sequence[Sequence[float]] | None = None,
    ) -> Any:
        """The answer to a question about a picture, or the guess without one; a list gives a list.

        Args:
          question: one, or several.
          image: what is asked about.
          boxes: of the objects of a single picture, (y0, x0, y1, x1) as fractions of the side, where the model reads
            objects.

        Raises:
          UserError: the question is empty or too long, a picture cannot be read, boxes are missing or too many, or the
            run has not trained answer.
        """
        options = self.check_trained("answer")
        longest, length = options.max_answer_bytes, self.config.model.text.max_bytes
        questions, pictures, single = paired(question, image)
        if not all(q.strip() for q in questions):
            raise UserError("the question is empty: ask something, such as 'what color is the ball?'")
        for one in questions:
            if (size := len(vocab.utf8(one))) > length - 2:
                raise UserError(
                    f"the question is {size} bytes long, of which this run reads {length - 2}: ask in fewer words"
                )
        ids = np.stack([asked(Question(q, ""), longest, length)[0] for q in questions])
        shown, absent = self._shown(pictures)
        around = np.repeat(self._objects_in(boxes, image, "answers", options.objects)[None], len(ids), 0)
        found = self._call(write_answer, shown, around, ids, absent, length=longest, objects=options.objects)
        texts = [vocab.decode(row) for row in found]
        return texts[0] if single else texts

    def sense(
        self,
        text: str,
        word: str,
        image: Picture | None = None,
        language: str | None = None,
        dictionary: str | Dictionary | None = None,
        tabs: Sequence[str] = (),
        occurrence: int | None = None,
    ) -> list[tuple[Sense, float]]:
        """The senses of a word of a text by how likely they are meant, with the picture or without one.

        Of a dictionary that the run has not learned, a sense is as likely as those of the run's own that have a name in
        common with it, such as a synonym in any language; where no sense has, as those whose definition is most like
        its own. Where the run knows nothing of the word, definitions are scored as they are, byte by byte, which tells
        little unless the run has learned many.

        Args:
          text: the sentence.
          word: a word of it.
          image: what the sentence is about.
          language: of the text; default the first in which the dictionary has the word.
          dictionary: name or path (see `lexicon.open_dictionary`), or an opened one; default the one of the run.
          tabs: tab files of the Open Multilingual WordNet, for a directory of WordNet; further LMF files, for LMF.
          occurrence: as of `fill`.

        Returns:
          (sense, probability) pairs, likeliest first; probabilities sum to 1.

        Raises:
          UserError: the word is not in the text or not in the dictionary, or the run has not trained sense.
        """
        options = self.check_trained("sense")
        if tabs and dictionary is None:
            raise UserError("tabs are given without a dictionary: name the one that they belong to")
        ids, surface = marked(text, word, self.config.model.text.max_bytes, occurrence)
        own = self._dictionary(options.dictionary, options.tabs)
        book = own if dictionary is None else self._dictionary(dictionary, tabs)
        languages = (language,) if language else self._languages()

        def among(book: Dictionary) -> tuple[Sense, ...]:
            asked = ((form, tag) for tag in languages for form in (surface, word.strip()))
            return next((found for form, tag in asked if (found := book.lookup(form, tag))), ())

        senses = among(book)
        if not senses:
            raise UserError(
                f"the dictionary has no sense of {word!r} in {' or '.join(languages)}: name the language, give a "
                "dictionary that has the word, or for a directory of WordNet the tab files of the language"
            )
        if book is own:
            return self._senses(ids, senses, image)
        if known := among(own):
            found = self._senses(ids, known, image)
            carried = carry(found, senses) or carry(found, senses, self._symbolic(book))
            if carried:
                return carried
        return self._senses(ids, senses, image, by_byte=True)

    def _senses(
        self, ids: UInt16[np.ndarray, " L"], senses: Sequence[Sense], image: Picture | None, by_byte: bool = False
    ) -> list[tuple[Sense, float]]:
        """Senses by how likely their definitions are behind the marked word of a text, likeliest first."""
        options = self.check_trained("sense")
        count = _rounded(len(senses), WIDTH)
        glosses = np.full((1, count, options.max_gloss_bytes + 2), vocab.PAD, np.uint16)
        for row, sense in zip(glosses[0], senses, strict=False):
            row[:] = gloss_ids(masked_gloss(sense), options.max_gloss_bytes)
        shown, absent = self._shown([image])
        data, gone = {"image": shown}, {"image": absent}
        nats = self._call(score_candidates, data, ids[None], glosses, gone, association=options.association)
        found = nats[0, : len(senses)]
        if by_byte:  # else the shortest definition would be the likeliest, whatever is shown
            found = found / (np.sum(glosses[0, : len(senses)] != vocab.PAD, -1) - 1)  # SEP is given
        return _ranked(senses, found)

    def associate(self, text: str, image: Picture, boxes: Sequence[Sequence[float]] | None = None) -> list[Associated]:
        """What in the picture each word of a text speaks of.

        Every word is masked in turn, so that what stands around it tells. Of a run that has trained `sense`, the words
        that its dictionary has are read too: in "배가 있다" nothing else tells.

        Args:
          text: with the words.
          image: the picture.
          boxes: of the objects where they are known, (y0, x0, y1, x1) as fractions of the side; words then speak of
            these, in the place of the picture's units or of discovered objects.

        Raises:
          UserError: the text has no words, the picture cannot be read, a box is none, or the model has no association.
        """
        if not self.config.model.association:
            raise UserError("this run has no association: load one trained with config.model.association=True")
        if boxes is not None:
            self._has_places()
        named, ids = each_masked(text, self.config.model.text.max_bytes, self._in_dictionary(text))
        shown = np.repeat(picture(image, self.config)[None], len(ids), 0)
        given = () if boxes is None else (np.repeat(checked_boxes(boxes)[None], len(ids), 0),)
        rows = zip(named, *self._call(pointed, shown, ids, *given), strict=True)
        return [Associated(word, place, float(power), w, b, int(most)) for (word, place), w, power, b, most in rows]

    def _has_places(self) -> None:
        if self.config.model.image.embedder != "pixels":
            raise UserError("this run reads the bytes of image files, which have no places: load one that reads pixels")

    def _in_dictionary(self, text: str) -> Callable[[Word], bool]:
        """Whether a word of a text is in the dictionary that the run has learned; none where that is not here."""
        sense = self.config.objectives.get("sense")
        if sense is None:
            return lambda word: False
        try:
            dictionary = self._dictionary(sense.dictionary, sense.tabs)
        except UserError:  # a checkpoint without the file that it learned from still associates
            return lambda word: False
        found = [named for tag in self._languages() for named in entities(Caption(text, tag), dictionary)]
        return lambda word: any(word.start <= named.start and named.end <= word.end for named in found)

    def objects(self, image: Picture, boxes: Sequence[Sequence[float]] | None = None) -> Found:
        """The objects of a picture: groups of its units that belong together, and the relations between them.

        Args:
          image: the picture.
          boxes: of the objects where they are known, (y0, x0, y1, x1) as fractions of the side.

        Raises:
          UserError: the picture cannot be read, the run reads files and no pixels, or a box is none.
        """
        self._has_places()
        shown = picture(image, self.config)[None]
        keep = kept(self.config)
        if boxes is None:
            found = self._call(found_objects, shown, keep=keep)
        else:
            found = self._call(found_objects, shown, checked_boxes(boxes)[None], keep=keep)
        return Found(*(x[0] for x in found))

    def make_index(self, folder: str | os.PathLike[str]) -> search.Index:
        """The index of a folder's pictures, sounds and texts; see `search.index_folder`. Its ``save`` writes it."""
        return search.index_folder(self, folder)

    def index(self, path: str | os.PathLike[str]) -> search.Index:
        """An index that was saved, read once for as long as its file stays as it is; see `search.load_index`."""
        place = Path(path)
        key = place, place.stat().st_mtime_ns if place.is_file() else None
        if self._index is None or self._index[0] != key:
            self._index = key, search.load_index(path, self)
        return self._index[1]

    def retrieve(
        self,
        query: Mapping[str, Any] | Sequence[tuple[float, str, Any]],
        index: search.Index | str | os.PathLike[str],
        top: int = 5,
        of: str = "",
        rerank: int = 0,
        boxes: Sequence[Sequence[float]] | None = None,
        by: str = "match",
    ) -> list[search.Hit]:
        """The items of an index that are nearest to what is asked, nearest first; what is asked is no answer itself.

        Args:
          query: modality -> what is given, whose vectors are added, such as {"image": "a.png", "audio": "b.wav"}; or
            parts with factors, [(1, "image", "dog.png"), (-1, "text", "a dog"), (1, "text", "a cat")].
          index: one, or the file that it was saved in.
          top: most items.
          of: modality to search in; "" is all of them.
          rerank: how many of the nearest come first, in the order of `match` with what is asked, one text or one
            picture; their score is its probability then. Where objects in given boxes are read, pictures without any in
            the index come behind them.
          boxes: of the objects of the picture that is asked, where the model matches by given ones.
          by: what they are ranked again by, "match", or "objects": how much likelier one text makes the objects that
            the index has of pictures, of which no more is read than how many and what they are called (`expects`,
            which is the score).

        Raises:
          UserError: a part cannot be embedded, the index is missing, of another model or without the modality, or hits
            cannot be ranked again.
        """
        parts = [(1.0, m, given) for m, given in query.items()] if isinstance(query, Mapping) else list(query)
        index = index if isinstance(index, search.Index) else self.index(index)
        if top < 1 or rerank < 0:
            raise UserError(f"top={top}, rerank={rerank}: ask for at least one item, and rank none or more again")
        if by not in search.WAYS:
            raise UserError(f"by={by!r}: hits are ranked again by {' or '.join(search.WAYS)}")
        if not rerank and (boxes is not None or by != "match"):
            raise UserError("boxes and by are read where hits are ranked again alone: give rerank, or leave them out")
        if not rerank:
            return search.retrieve(self, index, parts, top, of)
        search.check_ranking(self, parts, of, by, boxes)
        hits = search.retrieve(self, index, parts, max(top, rerank), of)
        again = search.ranked_again(self, index, hits[:rerank], parts, of, by, boxes)
        ranked = {hit.name for hit in again}
        return [*again, *(hit for hit in hits if hit.name not in ranked)][:top]

    def fingerprint(self) -> str:
        """A hash of what makes vectors: those of models that differ in it cannot be compared."""
        digest = hashlib.blake2b(digest_size=16)
        model = config_module.to_dict(self.config)["model"]
        digest.update(json.dumps([model, self.config.data.fit], sort_keys=True).encode())
        makers = {name: tree for name, tree in self._params.items() if name != "decoder"}
        for path, leaf in jax.tree_util.tree_leaves_with_path(makers):
            digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
        return digest.hexdigest()


def _rounded(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _expected(model: Any, boxes: Any, labels: Any, text: Any) -> Any:
    return jnp.stack([expected(model, (boxes, labels), known) for known in (text, None)], 1)


def _matched(model: Any, image: Any, boxes: Any, text: Any) -> Any:
    return matched(model, *encoded(model, image, boxes, text))


def _likeliest(ids: np.ndarray, score: np.ndarray, top: int) -> list[tuple[str, float]]:
    """The first texts that were written, without an empty one."""
    pairs = [(vocab.decode(row), float(np.exp(s))) for row, s in zip(ids, score, strict=True) if s > -np.inf]
    return [pair for pair in pairs if pair[0]][:top]


def _ranked(words: Sequence[T], nats: np.ndarray) -> list[tuple[T, float]]:
    weight = np.exp(nats.min() - nats.astype(np.float64))
    order = np.argsort(-weight, kind="stable")
    return [(words[k], float(weight[k] / weight.sum())) for k in order]


def _fill(model: Any, data: Any, text: Any, absent: Any, length: int, width: int, **read: Any) -> Written:
    prompt = jax.numpy.full((len(text), 1), vocab.sentinel(0), np.int32)
    return beam(model, *read_masked(model, data, text, absent, **read), prompt, length, width=width)


def _sample(model: Any, image: Any, prompt: Any, keys: Any, *rows: Any, length: int, count: int) -> Written:
    settings = dict(zip(("temperature", "top_p", "top_k"), rows, strict=True))
    key = jax.random.wrap_key_data(keys)
    return sampled(model, *picture_memory(model, image), prompt.astype(np.int32), length, key, count=count, **settings)


def _found(ids: np.ndarray, score: np.ndarray, n: int) -> list[np.ndarray]:
    """The best texts of each picture, as many as a search has found and at most ``n``."""
    return [row[s > -np.inf][:n] for row, s in zip(ids, score, strict=True)]


def _beam(model: Any, image: Any, prompt: Any, **settings: Any) -> Written:
    return beam(model, *picture_memory(model, image), prompt.astype(np.int32), **settings)
