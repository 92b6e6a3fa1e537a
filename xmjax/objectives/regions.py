"""Regions: objects and words of a picture and its caption are masked, and written from what is left of the two."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Bool, Float, Integer

from xmjax import vocab
from xmjax.data.arrays import by_character, draw, mask_words, text_ids
from xmjax.data.regions import boxes_array, label_ids, masked_group
from xmjax.errors import UserError
from xmjax.lexicon import entities, open_dictionary
from xmjax.models.crossmodal import concatenate
from xmjax.models.regions import erased
from xmjax.objectives import base
from xmjax.objectives.contrast import positives
from xmjax.objectives.match import NEVER
from xmjax.training import flops

TEMPERATURE = 0.1
"""Of the cosines by which the features of objects are told apart."""


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Regions`.

    Attributes:
      words: share of records of which words are masked and no object.
      both: share of which words and objects are masked; of the others objects only.
      everything: share of those with masked objects of which all are, the picture being unknown.
      drop: share of records with whole captions that are read without it, so that a blind guess is an honest one.
      seen: weight of the labels of objects that are not masked, from which is learned what things look like; 0 does not
        ask for them.
      features: weight of the features of masked objects, told apart from those of all other objects of the batch; needs
        `model.regions.features`.
      groups: whether objects that overlap are masked together; else one object alone, whatever covers it.
      unit: "word", or "character" to mask single characters of words (the control of EP 3 889 830, paragraph 67).
      dictionary: `lexicon.open_dictionary`'s name of one whose terms alone are masked, whole, as long as a caption has
        any; "" masks any word.
      spans: largest number of units masked in a caption.
      rate: largest share of a caption's units that is masked.
      max_span_bytes: longest span; longer words are not masked.
      max_label_bytes: longer labels are cut.
    """

    words: float = 0.25
    both: float = 0.25
    everything: float = 0.25
    drop: float = 0.1
    seen: float = 0.0
    features: float = 0.0
    groups: bool = True
    unit: str = "word"
    dictionary: str = ""
    spans: int = 1
    rate: float = 0.3
    max_span_bytes: int = 15
    max_label_bytes: int = 15


@base.OBJECTIVES.register("regions")
class Regions(base.Objective):
    """The first training task of EP 3 889 830: text units and objects in one input, some of each replaced by masks.

    Objects that overlap are masked together, others one at a time, and are erased from the picture before anything of
    it is read, so that no neighbour shows them. The label of a masked object is written from its place in the fused
    sequence alone, masked words from all of it. Its features, what the whole picture shows in its box, are found by the
    same place among those of other objects (noise contrastive, as the masked frames of Li et al. 2020, HERO).
    """

    Options = Options
    task = "referencing"
    version = 5  # 2 knew boxes of unknown pictures, 3 not those of a group that was all; 4 read boxes as bare numbers

    def __init__(self, options, config):
        super().__init__(options, config)
        if config.model.fusion == "cross" or not config.model.fusion_layers:
            raise UserError(
                "config.objectives.regions writes a label from an object that has seen text and neighbours: choose "
                "another config.model.fusion than 'cross', and fusion_layers of at least 1"
            )
        if not config.model.regions.given:
            raise UserError(
                "config.objectives.regions needs config.model.regions.count, such as 4, and regions.discovered=False: "
                "labels are of given boxes"
            )
        if options.unit not in ("word", "character"):
            raise UserError(f"config.objectives.regions.unit={options.unit!r}: choose word or character")
        if options.words + options.both > 1:
            raise UserError("config.objectives.regions: the shares words and both are more than 1 together")
        if bool(options.features) != config.model.regions.features:
            raise UserError(
                f"config.objectives.regions.features={options.features} and config.model.regions.features="
                f"{config.model.regions.features}: give a weight and True, or 0 and False"
            )
        if options.dictionary and options.unit == "character":
            raise UserError("config.objectives.regions.dictionary has terms, not characters: leave it out, or unit")
        self.dictionary = open_dictionary(options.dictionary) if options.dictionary else None

    def features(self, example: Any) -> dict[str, np.ndarray]:
        o, count, length = self.options, self.config.model.regions.count, self.config.model.text.max_bytes
        regions, rng = example.record.regions, example.rng
        task = rng.random()
        masked, unknown = np.zeros(count, bool), False
        boxes = boxes_array(regions, count)
        if regions and task >= o.words:
            unknown = rng.random() < o.everything
            masked = boxes[:, 2] > 0 if unknown else masked_group(regions, count, rng, o.groups)
        (caption,) = draw(example.captions, 1, rng)  # any, for captions come in the order of their languages
        if o.unit == "character":
            caption = by_character(caption)
        among = entities(caption, self.dictionary) if self.dictionary is not None else None
        ids, spans = mask_words(caption, rng, o.spans, o.rate, o.max_span_bytes, length, among)
        if masked.any() and task >= o.words + o.both:
            ids, spans = text_ids(caption.text, length), np.full_like(spans, vocab.PAD)
        return {
            "masked_regions": masked,
            "unknown_picture": np.array(unknown),
            "labels": label_ids(regions, boxes[:, 2] > 0 if o.seen else masked, o.max_label_bytes),
            "masked_caption": ids,
            "caption_spans": spans,
        }

    def flops(self, share):
        o, model = self.options, self.config.model
        count, text = model.regions.count, flops.tokens(model, "text") * share
        return {
            "erased": flops.encode(model, "image"),
            "masked_caption": flops.encode(model, "text", share),
            "fuse/regions": flops.fuse(model, {"image": count, "text": text + 1}),
            "labels": count * flops.decoder(model, o.max_label_bytes + 1, 1, 1),
            "caption_spans": flops.decoder(model, o.max_span_bytes + 1, count + text, o.spans),
        }

    def loss(self, passes, rng):
        model, batch = passes.model, passes.batch
        words, boxes, masked = batch["caption_spans"], batch["boxes"], batch["masked_regions"]
        left = erased(batch["image"], boxes, masked)
        objects = passes.grounded(model.encode("image", left), left, masked, batch["unknown_picture"])
        absent = jax.random.bernoulli(rng, self.options.drop, (len(boxes),)) & jnp.all(words == vocab.PAD, (1, 2))
        fused = model.fuse({"image": objects, "text": passes.text(batch["masked_caption"])}, {"text": absent})
        nats, count = label_nats(model, fused["image"].vectors, batch["labels"])
        weights = {"label": 1.0, "word": 1.0}
        parts = {"label": (nats * masked, count * masked), "word": base.decoded_nats(model, words, *concatenate(fused))}
        if self.options.seen:
            weights["seen"], parts["seen"] = self.options.seen, (nats * ~masked, count * ~masked)
        metrics = {f"{n}_bits_per_byte": base.bits_per_byte(*part) for n, part in parts.items()}
        if self.options.features:
            looks = model.looks(passes.encoded("image"), boxes)
            nats, right = feature_nats(
                model.expected_looks(fused["image"].vectors), looks, objects.valid, positives(batch, "image", "image")
            )
            weights["features"], parts["features"] = self.options.features, (nats * masked, masked)
            metrics["feature_accuracy"] = jnp.sum(right * masked) / jnp.maximum(1, jnp.sum(masked))
        # Every record counts alike, whatever is masked of it.
        each = {n: jnp.mean(jnp.sum(nats, -1) / jnp.maximum(1, jnp.sum(k, -1))) for n, (nats, k) in parts.items()}
        return sum(weights[n] * loss for n, loss in each.items()), metrics


def feature_nats(
    expected: Float[Array, "B K D"],
    looks: Float[Array, "B K D"],
    valid: Bool[Array, "B K"],
    same: Bool[Array, "B B"],
) -> tuple[Float[Array, "B K"], Bool[Array, "B K"]]:
    """How surely each object's features are found among those of the batch, and whether they come first.

    Args:
      expected: unit vectors of what objects are expected to look like.
      looks: of what they do look like.
      valid: which there are.
      same: pictures that are equal, whose objects are not told apart from each other.

    Returns:
      Nats of each object's own features among its picture's and those of other pictures, and hits.
    """
    scores = jnp.einsum("akd,bmd->akbm", expected, looks).astype(jnp.float32) / TEMPERATURE
    candidates = valid & (~same | jnp.eye(len(same), dtype=bool))[:, None, :, None]
    scores = rearrange(jnp.where(candidates, scores, NEVER), "a k b m -> (a k) (b m)")
    nats = (jax.nn.logsumexp(scores, 1) - jnp.diagonal(scores)).reshape(valid.shape)
    right = (jnp.argmax(scores, 1) == jnp.arange(len(scores))).reshape(valid.shape)
    return jnp.where(valid, nats, 0.0), right & valid


def label_nats(
    model: Any, objects: Float[Array, "B K D"], labels: Integer[Array, "B K W"]
) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """Nats and number of ids of labels, each written from one object's place in a fused sequence alone."""
    places = rearrange(objects, "b k d -> (b k) 1 d")
    sequences = rearrange(labels, "b k w -> (b k) 1 w")
    nats, count = base.decoded_nats(model, sequences, places, jnp.ones(places.shape[:2], bool))
    return rearrange(nats, "(b k) 1 -> b k", b=len(objects)), rearrange(count, "(b k) 1 -> b k", b=len(objects))
