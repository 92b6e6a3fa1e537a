"""From (seed, step) to a batch: the order of records, substitution of bad ones, and the stream of batches.

The stream is a random-access map from step to batch, so its whole state is one integer, the next step. Each process
makes the contiguous rows of the global batch that its devices hold; nothing depends on how many processes there are.
"""

import dataclasses
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from xmjax.config import STREAMS, Config, DataConfig
from xmjax.data.arrays import audio_bytes, draw, image_bytes, text_ids
from xmjax.data.regions import boxes_array
from xmjax.data.source import Caption, Record, Source, Unreadable, named, picture_id, stable_id, varies
from xmjax.data.sources import open_source
from xmjax.errors import UserError

ATTEMPTS = 100
"""Records tried in the place of an unreadable one."""

Batch = dict[str, dict[str, np.ndarray]]
Features = Callable[["Example"], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Example:
    """What an objective makes its arrays from.

    Attributes:
      record: the record.
      captions: those drawn for this step; as many as the stream's config says.
      rng: randomness of this position in the stream.
    """

    record: Record
    captions: tuple[Caption, ...]
    rng: np.random.Generator


class Quarantine:
    """Unreadable records met so far, by name, and the budget for them."""

    def __init__(self, name: str, budget: int):
        self.name = name
        self.budget = budget
        self.reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, bad: Unreadable) -> None:
        """Counts a record once.

        Raises:
          UserError: there are more than the budget allows.
        """
        with self._lock:
            self.reasons[bad.id] = bad.reason
            if len(self.reasons) <= self.budget:
                return
            raise UserError(
                f"{len(self.reasons)} records of {self.name} cannot be read, the budget is {self.budget}: "
                f"{named(self.reasons)}. Repair or remove them, or raise config.data.max_unreadable"
            )


class Stream:
    """One stream of a batch: records in the seed's order, as arrays.

    Attributes:
      source: where records come from.
      first: where the records of the first steps come from (Bengio et al. 2009, curriculum learning).
      quarantine: unreadable records.
    """

    def __init__(
        self, config: Config, name: str, source: Source, features: Sequence[Features], first: Source | None = None
    ):
        self.config = config
        self.options = config.stream(name)
        self.name = name
        self.source = source
        self.first = first or source
        self.features = features
        self.quarantine = Quarantine(source.name, int(self.options.max_unreadable * len(source)))
        self._seed = _seed(config.seed, name)

    def source_at(self, position: int) -> Source:
        """The source of the record at a position; all of a batch have the same."""
        return self.first if self.config.is_first(self.name, position // self.config.batch_size) else self.source

    def indices(self, positions: Sequence[int]) -> list[int]:
        """Indices of the records at positions of the endless stream: a new permutation every epoch.

        Of a source that varies, also a new part of the indices every epoch.
        """
        source = self.source_at(positions[0])
        size = len(source)
        shuffle = grain.experimental.index_shuffle
        return [
            _later(source, position)
            + shuffle(position % size, max_index=size - 1, seed=(self._seed + position // size) % 2**32, rounds=4)
            for position in positions
        ]

    def records(self, positions: Sequence[int]) -> list[Record]:
        """Readable records at positions; a bad one is replaced by one that (seed, position, attempt) determines."""
        found = self.source_at(positions[0]).read(self.indices(positions))
        return [
            record if isinstance(record, Record) else self._substitute(record, position)
            for record, position in zip(found, positions, strict=True)
        ]

    def _substitute(self, bad: Unreadable, position: int) -> Record:
        source = self.source_at(position)
        for attempt in range(ATTEMPTS):
            self.quarantine.add(bad)
            index = int(np.random.default_rng((self._seed, position, attempt)).integers(len(source)))
            record = source.read([_later(source, position) + index])[0]
            if isinstance(record, Record):
                return record
            bad = record
        raise UserError(f"no readable record of {source.name} was found in {ATTEMPTS} tries")

    def batch(self, positions: Sequence[int]) -> dict[str, np.ndarray]:
        """Arrays of the records at positions, one row each."""
        rows = [
            self.row(record, np.random.default_rng((self._seed, position)))
            for record, position in zip(self.records(positions), positions, strict=True)
        ]
        for row in rows:
            if missing := row.keys() ^ rows[0].keys():
                raise UserError(
                    f"records of {self.source.name} differ in what they have: {', '.join(sorted(missing))} is not "
                    "there for all of a batch. Give every record the same, and let objectives drop it (fill's drop)"
                )
        # np.array joins rows of equal shape two to five times as fast as np.stack.
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}

    def row(self, record: Record, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Arrays of one record: its modalities, its captions, and what the objectives ask for."""
        arrays: dict[str, Any] = {"id": stable_id(record.id), **record.extra}
        if record.image is not None:
            arrays["image"] = image_bytes(record, self.config.model.image)
            arrays["picture_id"] = picture_id(record)
        if record.audio is not None:
            arrays["audio"] = audio_bytes(record)
        if count := self.config.model.regions.given:
            arrays["boxes"] = boxes_array(record.regions, count)
        captions = draw(record.captions, self.options.captions, rng)
        if captions:
            arrays["text"] = np.array([text_ids(c.text, self.config.model.text.max_bytes) for c in captions])
            arrays["caption_id"] = np.array([stable_id(c.text) for c in captions])
        example = Example(record, captions, rng)
        for features in self.features:
            arrays |= features(example)
        return arrays


def _later(source: Source, position: int) -> int:
    """What is added to the index of a record at a position, for a source that varies; 0 for others."""
    size = len(source)
    return (position // size + 1) * size if varies(source) else 0


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest(), "little")


class Batches:
    """The stream of batches from a step on.

    Attributes:
      streams: by name.
      rows: rows of the global batch that this process makes.
    """

    def __init__(self, config: Config, streams: Mapping[str, Stream], rows: slice):
        self.config = config
        self.streams = streams
        self.rows = rows

    def at(self, step: int) -> Batch:
        """This process's rows of a step's batch."""
        first = step * self.config.batch_size
        positions = range(first + self.rows.start, first + self.rows.stop)
        return {name: stream.batch(positions) for name, stream in self.streams.items()}

    def start(self, step: int) -> grain.DatasetIterator[Batch]:
        """Batches of ``step``, ``step + 1``, ... to the end of the run, made ahead by a thread. Close it when done."""
        prefetch = max((s.options.prefetch for s in self.streams.values()), default=0)
        dataset = grain.MapDataset.range(self.config.steps).map(self.at)
        reading = grain.ReadOptions(num_threads=min(1, prefetch), prefetch_buffer_size=prefetch)
        iterator = dataset.to_iter_dataset(reading).__iter__()
        iterator.set_state({"next_index": step})
        return iterator


def open_streams(config: Config, features: Mapping[str, Sequence[Features]]) -> dict[str, Stream]:
    """The training streams of a run by name.

    Args:
      config: of the run.
      features: stream -> what its objectives add to every example.

    Raises:
      UserError: an objective reads a stream that is left out.
    """
    streams = {}
    for name, field in STREAMS.items():
        options: DataConfig = getattr(config, field)
        if options.source != "none":
            source, first = open_source(config, options, "train"), None
            if config.is_first(name, 0):
                easier = dataclasses.replace(options, grade=options.first_grade, similar="")  # of other pictures
                first = open_source(config, easier, "train")
            streams[name] = Stream(config, name, source, features.get(name, ()), first)
        elif features.get(name):
            raise UserError(
                f"an objective reads the stream {name}, but config.{field}.source is 'none'; choose a source or "
                "take the objective out"
            )
    return streams


def manifest(streams: Mapping[str, Stream]) -> dict[str, Any]:
    """What identifies the data of a run."""
    return {name: stream.source.manifest() for name, stream in streams.items()}
