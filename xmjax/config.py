"""The configuration: frozen dataclasses, built and validated once from the ConfigDict a config file returns.

Every field of every config is named, typed and explained here. ``configs/*.py`` choose values.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from xmjax.data.source import RATE
from xmjax.errors import UserError
from xmjax.registry import suggest


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """One stream of records.

    Attributes:
      source: registered source: "playroom", "folder", "stamps", "tfds", "clips", or "none" for a stream left out.
      name: first part of the stream's metric names; "" takes the source's own name.
      root: directory of the data, for sources that read files.
      grade: of the playroom, "easy", "cluttered", "single", or "alike" (easy, all toys of one kind).
      sound: of the playroom, whether one toy of every scene is heard.
      further: of the playroom, whether records have the further modalities of the model (`model.others`).
      first_grade: of the playroom, the grade that training begins with; "" is `grade` from the start.
      first_share: share of the run's steps that are of `first_grade`.
      first_every: of all steps every how manieth is of `first_grade` too; 0 is none.
      metadata: file that lists the records of a folder; "" looks for metadata.jsonl and metadata.csv.
      file_column: column of the image's path.
      text_column: column of the captions; "" looks for text, caption and captions.
      id_column: column of a record's id; "" takes the image's path.
      regions_column: column of a picture's objects with boxes (docs/data.md); "" reads none.
      width_column: column of the width in pixels of the picture that the boxes were drawn in.
      height_column: column of its height.
      label_column: column of a picture's classes or tags (docs/data.md); "" reads none.
      image_feature: for tfds, the feature of the image.
      text_feature: for tfds, the feature of the text; may be a path such as "captions/text".
      builder: for tfds, the name of the data set, such as "coco_captions" or "mnist:3.0.1".
      train_split: for tfds, the split to train on.
      validation_split: for tfds, the split to evaluate on.
      languages: languages to use; empty takes all there are.
      styles: wordings of the playroom's captions, of `playroom.language.ALL_STYLES`; empty takes its own choice. One
        that is named twice is trained on twice as often, and scored as the others.
      validation_fraction: share of a folder's records that is held out, chosen by a hash of the record's id.
      held_out: file with the ids of the records that are held out, one a line, in the place of such a share.
      fit: how an image becomes a square: "stretch", "crop" or "pad".
      captions: captions drawn for a record in every step; 0 of a stream without text.
      questions: kinds of questions that are asked, as of `styles`; empty asks all that are usual.
      similar: file with captions of similar pictures, which `fill` joins as third captions; see `data.similar`.
      max_unreadable: share of the records that may be unreadable before the run stops.
      prefetch: batches made ahead by the loader's thread.
    """

    source: str = "none"
    name: str = ""
    root: str = ""
    grade: str = "easy"
    sound: bool = False
    further: bool = True
    first_grade: str = ""
    first_share: float = 0.0
    first_every: int = 0
    metadata: str = ""
    file_column: str = "file_name"
    text_column: str = ""
    id_column: str = ""
    regions_column: str = ""
    width_column: str = "width"
    height_column: str = "height"
    label_column: str = ""
    image_feature: str = "image"
    text_feature: str = "label"
    builder: str = ""
    train_split: str = "train"
    validation_split: str = "test"
    languages: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    validation_fraction: float = 0.1
    held_out: str = ""
    fit: str = "stretch"
    captions: int = 2
    questions: tuple[str, ...] = ()
    similar: str = ""
    max_unreadable: float = 0.01
    prefetch: int = 2

    @property
    def has_first(self) -> bool:
        """Whether there is another grade to begin with."""
        return bool(self.first_grade) and self.source == "playroom"


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """The text half of the model.

    Attributes:
      embedder: registered text embedder: "bytes", "ngram", "units" or "words".
      max_bytes: bytes of a text; longer ones are cut between characters.
      downsample: bytes a token, for embedders that shorten the sequence.
      unit: characters or bytes of a token, by "units".
      unit_of: "characters", or "bytes", of which a unit holds as many as it can without splitting a character.
      ngrams: sizes of the hashed n-grams.
      buckets: rows of each n-gram table, or of the table of words.
      words: words that are kept of a text, by "words".
      vectors: width of the table of words.
      weights: file of word vectors that the table of words begins with, and which are not trained; "" is random.
      unimodal_layers: transformer layers before fusion.
    """

    embedder: str = "ngram"
    max_bytes: int = 64
    downsample: int = 4
    unit: int = 1
    unit_of: str = "characters"
    ngrams: tuple[int, ...] = (2, 3, 4)
    buckets: int = 4096
    words: int = 16
    vectors: int = 300
    weights: str = ""
    unimodal_layers: int = 2

    @property
    def units(self) -> int:
        """Most tokens that "units" makes of a text."""
        if self.unit_of == "characters":
            return -(-self.max_bytes // self.unit)
        # A unit and the one behind it hold more bytes than fit into one.
        return min(self.max_bytes, 2 * -(-self.max_bytes // (self.unit + 1)) + 1)


@dataclasses.dataclass(frozen=True)
class ImageConfig:
    """The image half of the model.

    Attributes:
      embedder: registered image embedder: "pixels", "file", "resnet18" or "vit".
      size: side of the square image in pixels.
      patch: side of a token's square in pixels; of "resnet18" 8, 16 or, as published, 32.
      table: width of the table that embeds a pixel's byte.
      stem: width of the first of the overlapping convolutions before the patches; 0 projects patches directly. Of
        "resnet18" the width of its first stage, 64 as published; of "vit" the width of its tokens, such as 768.
      depth: layers of "vit".
      weights: file of the weights that "resnet18" or "vit" begins with; "" is random.
      max_file_bytes: length of a file's byte string, for the "file" embedder.
      file_kernel: kernel of the strided convolution over a file's bytes; its stride is half of it.
      unimodal_layers: transformer layers before fusion.
      reach: how far a token looks in those layers, in tokens up, down and to either side; 0 is everywhere. What tokens
        are associated with stays where it is only if they cannot gather what lies far off.
      reduce: how its tokens are reduced after those layers, one of `models.objects.METHODS`; "" keeps all.
      keep: tokens that are kept.
    """

    embedder: str = "pixels"
    size: int = 32
    patch: int = 8
    table: int = 4
    stem: int = 0
    depth: int = 12
    weights: str = ""
    max_file_bytes: int = 4096
    file_kernel: int = 32
    unimodal_layers: int = 2
    reach: int = 0
    reduce: str = ""
    keep: int = 16


@dataclasses.dataclass(frozen=True)
class AudioConfig:
    """The sound half of the model. Sound is 16-bit PCM at 16 kHz, as bytes.

    Attributes:
      embedder: registered audio embedder: "mel", "frames", "bytes" or "resnet18"; "" is a model without sound.
      seconds: length of a sound.
      window: samples of a frame.
      hop: samples from one frame to the next.
      bands: mel bands.
      patch: frames of a token, and for "mel" and "resnet18" its bands too.
      stem: width of the first stage of "resnet18", 64 as published.
      weights: file of the weights that "resnet18" begins with, of pictures; "" is random.
      unimodal_layers: transformer layers before fusion.
    """

    embedder: str = ""
    seconds: float = 3.0
    window: int = 400
    hop: int = 160
    bands: int = 64
    patch: int = 16
    stem: int = 64
    weights: str = ""
    unimodal_layers: int = 2

    @property
    def samples(self) -> int:
        """Samples of a sound."""
        return round(self.seconds * RATE)

    @property
    def frames(self) -> int:
        """Whole frames that become tokens."""
        return (1 + (self.samples - self.window) // self.hop) // self.patch * self.patch


@dataclasses.dataclass(frozen=True)
class RegionsConfig:
    """Objects, given or discovered, as the picture's part of a fused sequence (EP 3 889 830).

    Attributes:
      count: most objects of a picture, of more the largest; 0 is a model without them.
      order: whether each is told its place in the order they come in; without, they are a set.
      coordinates: whether each is told its box.
      discovered: whether objects are groups of the picture's tokens, merged by relation, in the place of given boxes.
      features: whether the model tells what masked objects look like, besides what they are called.
    """

    count: int = 0
    order: bool = True
    coordinates: bool = True
    discovered: bool = False
    features: bool = False

    @property
    def given(self) -> int:
        """Most boxes that come with a picture; 0 where none are read."""
        return 0 if self.discovered else self.count


@dataclasses.dataclass(frozen=True)
class LibraryConfig:
    """A library of standard texts and crops that tells of objects and texts (EP 3 889 830).

    Attributes:
      path: file of `launch/prepare.py library`; "" is a model without one.
      objects: whether objects with boxes are told the text of the crop that is most like them.
      texts: whether texts are told what the crops of the standard texts among them look like.
    """

    path: str = ""
    objects: bool = True
    texts: bool = True


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The crossmodal transformer.

    Attributes:
      width: of every token.
      heads: attention heads.
      mlp_ratio: hidden width of a layer's MLP over the width.
      fusion: registered kind of fusion: "merged", "cross", "coattention" or "bottleneck" (see `models.fusion`).
      fusion_layers: layers in which modalities see each other; 0 is late fusion.
      bottleneck: tokens that modalities share in fusion by "bottleneck".
      decoder_layers: layers of the byte decoder.
      embedding: width of the pooled vectors of the towers.
      log_scale: logarithm of the factor that similarities in contrastive losses begin with; at most log 100.
      similarity_bias: what the sigmoid loss adds to them at first: near minus the logarithm of the batch size.
      association: whether the model tells which units of the other modality each unit of the text speaks of.
      matching: whether it tells, by an identifier in the fused sequence, whether what is fused belongs together.
      matching_product: whether the identifier is told the product of the towers' vectors, in what they agree.
      regions: objects with boxes, where records have them.
      library: standard texts and crops that objects and texts are looked up in.
      attention: implementation of attention: "auto", "xla" or "cudnn".
      remat: what the backward pass computes again: "none", "full" or "dots" (all but matrix products).
      unroll: layers unrolled in the scan over a stack; more compiles longer and can run faster.
      text: the text embedder and its layers.
      image: the image embedder and its layers.
      audio: the audio embedder and its layers.
      others: further modality -> {"embedder", "unimodal_layers", and what its embedder reads}.
    """

    width: int = 128
    heads: int = 4
    mlp_ratio: float = 4.0
    fusion: str = "merged"
    fusion_layers: int = 2
    bottleneck: int = 4
    decoder_layers: int = 2
    embedding: int = 128
    log_scale: float = 2.3
    similarity_bias: float = -2.7
    association: bool = False
    matching: bool = False
    matching_product: bool = False
    regions: RegionsConfig = RegionsConfig()
    library: LibraryConfig = LibraryConfig()
    attention: str = "auto"
    remat: str = "none"
    unroll: int = 1
    text: TextConfig = TextConfig()
    image: ImageConfig = ImageConfig()
    audio: AudioConfig = AudioConfig()
    others: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def modalities(self) -> dict[str, Any]:
        """Options of every modality, in the order of their tokens in a fused sequence; text is last."""
        others = {name: types.SimpleNamespace(**options) for name, options in sorted(self.others.items())}
        audio = {"audio": self.audio} if self.audio.embedder else {}
        return {"image": self.image, **audio, **others, "text": self.text}


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its schedule.

    Attributes:
      name: "adamw" or "muon" (matrices by Muon, everything else by AdamW).
      learning_rate: peak of the schedule.
      warmup: steps of linear warm-up.
      decay: "cosine" to `final`, "linear" to `final`, "step" to `final` at once, or "constant".
      final: last learning rate over the peak.
      drop_at: share of the steps after which "step" drops.
      weight_decay: decoupled; not applied to vectors, biases, tables and temperatures, nor to what Muon leaves.
      b1: decay of the first moment.
      b2: decay of the second moment.
      clip: largest global norm of the gradient; 0 does not clip.
      accumulate: microbatches a step; `contrast`, `sound` and `bind` still compare the whole batch, by vectors computed
        before.
      ema: decay of the averaged parameters used for evaluation; 0 keeps none.
      trained: "all", "fused" (all but what belongs to one modality alone), or "lora" (products of two matrices beside
        those of the layers).
      rank: of those products.
    """

    name: str = "adamw"
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: str = "cosine"
    final: float = 0.0
    drop_at: float = 0.75
    weight_decay: float = 0.05
    b1: float = 0.9
    b2: float = 0.98
    clip: float = 1.0
    accumulate: int = 1
    ema: float = 0.0
    trained: str = "all"
    rank: int = 8


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How devices are laid out. The product is the number of devices; one entry may be -1 and takes the rest.

    Attributes:
      data: replicas that see different rows.
      fsdp: devices that share the rows and split the parameters.
      tensor: devices that split heads and hidden units.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclasses.dataclass(frozen=True)
class GuardConfig:
    """What happens when a step goes wrong.

    Attributes:
      sigma: a loss this many standard deviations above its running mean is not applied; 0 accepts every finite loss.
      window: steps over which mean and deviation are averaged, and before which nothing is judged.
      patience: skipped steps in a row after which the run stops.
    """

    sigma: float = 6.0
    window: int = 100
    patience: int = 10


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What is measured.

    Attributes:
      names: registered evaluators.
      every: steps between evaluations; 0 evaluates at the end only.
      best: score by which the best checkpoint is kept, such as "retrieval/text_to_image/R@1"; "" keeps the newest only.
      samples: held-out records that each evaluator scores.
      pool: items that a retrieval query is ranked among.
      batch_size: rows of an evaluation batch.
      beams: texts that are kept while a caption is searched for; 1 writes the likeliest byte after byte.
      templates: texts that stand for a label, which is put in the place of {}; empty takes those of the data.
      boxes: file with where in pictures what is heard lies, in the form of VGG-SS; the playroom knows it.
      audio_share: part of sound in the vectors of videos that are searched, from 0 to 1; 0 takes their frames alone.
      hard_negatives: files of true and false texts of held-out pictures, in the form of SugarCrepe.
      examples: examples of right and of wrong answers that the report shows.
    """

    names: tuple[str, ...] = ("fill", "retrieval", "caption")
    every: int = 0
    best: str = ""
    samples: int = 500
    pool: int = 100
    batch_size: int = 100
    beams: int = 1
    templates: tuple[str, ...] = ()
    boxes: str = ""
    audio_share: float = 0.0
    hard_negatives: tuple[str, ...] = ()
    examples: int = 10


@dataclasses.dataclass(frozen=True)
class Config:
    """A run.

    Attributes:
      name: of the run; its default workdir is runs/<name>.
      seed: of parameters, data order and masks.
      steps: updates.
      batch_size: records a step, over all devices.
      precision: of matrix products: "auto" (float32 on a CPU, bfloat16 elsewhere), "float32" or "bfloat16".
      log_every: steps between lines of metrics.jsonl.
      save_every: steps between checkpoints; 0 saves at the end only.
      keep: newest checkpoints that are kept.
      wandb: project of Weights & Biases to log to; "" logs to files only.
      begin_from: workdir of a run whose parameters this one begins with; "" begins at random.
      data: the stream of image-caption pairs.
      frame_audio: the stream of frame-audio pairs.
      objectives: registered objective -> its options (weight, schedule and its own).
      model: the model.
      optimizer: the optimizer.
      mesh: the devices.
      guard: what to do with steps that go wrong.
      evaluation: what to measure.
    """

    name: str = "base"
    seed: int = 0
    steps: int = 1000
    batch_size: int = 64
    precision: str = "auto"
    log_every: int = 20
    save_every: int = 0
    keep: int = 2
    wandb: str = ""
    begin_from: str = ""
    data: DataConfig = DataConfig()
    frame_audio: DataConfig = DataConfig()
    objectives: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    guard: GuardConfig = GuardConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def stream(self, name: str) -> DataConfig:
        """Options of a stream by its name in a batch."""
        return getattr(self, STREAMS[name])

    def first_steps(self, name: str) -> int:
        """Steps for which a stream is of its first grade."""
        options = self.stream(name)
        return round(options.first_share * self.steps) if options.has_first else 0

    def is_first(self, name: str, step: int) -> bool:
        """Whether a stream is of its first grade at a step."""
        options = self.stream(name)
        again = options.has_first and options.first_every and step % options.first_every == 0
        return step < self.first_steps(name) or bool(again)


STREAMS = {"image_text": "data", "frame_audio": "frame_audio"}
"""Name of a stream in a batch -> field of the config that describes it."""


_BOOLEANS = ("true", "false", "t", "f", "1", "0")
_EXAMPLES = {int: "3", float: "0.5", bool: "True", str: "'text'"}


def default() -> ConfigDict:
    """All fields at their defaults, as the ConfigDict that config files start from. No objective is chosen."""
    return ConfigDict(dataclasses.asdict(Config()))


def build(values: ConfigDict | Mapping[str, Any]) -> Config:
    """The validated configuration.

    Raises:
      UserError: a field is unknown, has the wrong type or a value that cannot work.
    """
    # Both import this module: objectives declare their own options.
    from xmjax.objectives import OBJECTIVES
    from xmjax.validation import validate

    values = values.to_dict() if isinstance(values, ConfigDict) else dict(values)
    config = _build(Config, values, "config")
    objectives = {}
    for name, options in sorted(config.objectives.items()):
        if not isinstance(options, Mapping):
            raise UserError(f"config.objectives.{name} must hold the objective's options, got {options!r}")
        objectives[name] = _build(OBJECTIVES[name].Options, options, f"config.objectives.{name}")
    config = dataclasses.replace(config, objectives=objectives)
    validate(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Plain nested values, as they are written to config.json; `build` takes them back."""
    return dataclasses.asdict(config)


def unknown_field(known: ConfigDict, field: str) -> str:
    """What is wrong with the dotted path of a field that ``known`` does not have, "" where it has it."""
    group: Any = known
    for part in field.split("."):
        if not isinstance(group, ConfigDict):
            return f"unknown config field config.{field}: {part!r} is within a single value"
        if part not in group:
            return f"unknown config field config.{field}: {suggest(part, group)}"
        group = group[part]
    return ""


def wrong_value(known: ConfigDict, field: str, text: str) -> str:
    """What is wrong with the text of a value for a field that ``known`` has, "" where it may be right."""
    value: Any = known[field]
    if isinstance(value, ConfigDict):
        inside = next(iter(value), "FIELD")
        return f"config.{field}={text}: it is a group of fields; set one of them, such as config.{field}.{inside}"
    try:
        good = text.lower() in _BOOLEANS if isinstance(value, bool) else type(value)(text) is not None
    except (TypeError, ValueError):
        good = isinstance(value, tuple)
    if good:
        return ""
    return (
        f"config.{field}={text}: {text!r} is not of type {type(value).__name__}; write it like config.{field}={value}"
    )


def _build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise UserError(f"unknown config field {where}.{key}: {suggest(key, hints)}")
    return cls(**{key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"{where} must be a group of fields, got {value!r}")
        return _build(typing.cast(type, hint), value, where)
    origin = typing.get_origin(hint)
    if origin is tuple:
        item = typing.get_args(hint)[0]
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise UserError(f"{where} must be a tuple, got {value!r}; write it as ('a', 'b')")
        return tuple(_convert(item, v, where) for v in value)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise UserError(f"{where} must be a group of fields, got {value!r}")
        return dict(value)
    if isinstance(hint, types.UnionType) or hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{where} must be of type {hint.__name__}, got {value!r}; write it like {_EXAMPLES[hint]}")
    return value
