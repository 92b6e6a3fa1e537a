"""From a list of files to a data set of clips: decodes what is not decoded yet, writes shards, lists and the card.

    DIR/clips-train.array_record-00000, ...   the records, with features.json, dataset_info.json and metadata.json
    DIR/files.jsonl                           every file: its hash, what became of it and why
    DIR/quarantine.jsonl                      the broken ones
    DIR/card.md, card.json                    what is in it; written last, so that what has a card is complete
    DIR/parts/                                what is decoded, until then

A run that was killed goes on where it was when the same command is given again.
"""

import dataclasses
import fnmatch
import hashlib
import io
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from rich.progress import track
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from xmjax import files
from xmjax.data.image_files import falls_in_val
from xmjax.errors import UserError
from xmjax.media.card import write_card
from xmjax.media.children import check_decoders, run
from xmjax.media.cut import WINDOW, cut

VERSION = 1
"""Of the format of parts and records: raised when what is made of a file changes."""

PER_SHARD = 500
"""Records of a shard."""

_SHARDS = "clips-*.array_record-*"

_FEATURES = {
    "id": tfds.features.Text(doc="Name of the record, the file's with the second at which it begins."),
    "file": tfds.features.Text(doc="Name of the file that it is of."),
    "frames": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")),
    "times": tfds.features.Sequence(
        tfds.features.Scalar(np.float32, doc="Seconds from the file's first frame; NaN of a still picture.")
    ),
    "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes", doc="Mono PCM at 16 kHz."),
    "audio_start": tfds.features.Scalar(np.int64, doc="When it begins on the same clock, in samples."),
    "captions": tfds.features.Sequence({"text": tfds.features.Text(), "language": tfds.features.Text()}),
}


@dataclasses.dataclass
class Item:
    """A file that is to be prepared.

    Attributes:
      id: name of it in the data set.
      path: where it is.
      picture: path of the still picture of a sound; "" of a video.
      captions: (language, text) pairs.
      group: what falls on one side of the split together; "" is the id.
    """

    id: str
    path: str
    picture: str = ""
    captions: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
    """How files are prepared.

    Attributes:
      command: the command, for the card.
      held_out: file of patterns of the names that are held out, one a line; "" holds out a fraction.
      validation_fraction: share of the files that is held out, by a hash of their names.
      workers: files that are decoded at a time; 0 is one a core.
      timeout: most seconds that decoding a file may take.
      size: most pixels of the shorter side of a frame.
      segment: seconds of a record of a video.
      keep_silent: keep videos and pieces without sound, and equal videos: a list that is searched stays whole.
    """

    command: str
    held_out: str = ""
    validation_fraction: float = 0.1
    workers: int = 0
    timeout: float = 120
    size: int = 256
    segment: int = 10
    keep_silent: bool = False


def build(items: Sequence[Item], output: str, options: Options) -> None:
    """Makes a data set of files.

    Args:
      items: the files.
      output: directory of the data set.
      options: how.

    Raises:
      UserError: there is no file, an option cannot work, a name is there twice, the directory holds another data set,
        or no file gives a record.
    """
    if not items:
        raise UserError("--input has no files: give a folder that has some, or a list of them")
    _check(items, options)
    items = sorted(items, key=lambda item: item.id)
    held_out = _held_out(items, options)
    root = Path(output)
    identity = _identity(items, held_out, options)
    if (root / "card.json").is_file():
        card = json.loads((root / "card.json").read_text(encoding="utf-8"))
        if card.get("identity") != identity:
            raise UserError(
                f"--output={output} holds a data set of other files or options ({card.get('command')}): "
                "give another folder"
            )
        shutil.rmtree(root / "parts", ignore_errors=True)
        print(f"{output} is complete, nothing is left to do")
        return
    parts = root / "parts"
    if root.is_dir() and any(root.iterdir()) and not parts.is_dir():
        raise UserError(f"--output={output} holds other files: give a new folder")
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output={output} cannot be written ({error.strerror}): give another folder") from error
    outcomes = _decoded(items, parts, options)
    lines = _written(items, held_out, outcomes, parts, options)
    for path in [root / "dataset_info.json", *root.glob(_SHARDS)]:  # of a run that was killed here
        path.unlink(missing_ok=True)
    files.write(root / "files.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    broken = [{"file": line["file"], "reason": line["reason"]} for line in lines if line["state"] == "broken"]
    files.write(root / "quarantine.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in broken))
    if not any(line["state"] == "kept" for line in lines):
        reasons = Counter(line["reason"] for line in lines).most_common(3)
        raise UserError(
            f"none of {len(lines)} files has frames with sound ({'; '.join(f'{n}: {r}' for r, n in reasons)}): "
            f"{root / 'files.jsonl'} lists them"
        )
    for path in sorted((parts / "shards").iterdir(), key=lambda path: path.name == "dataset_info.json"):
        os.replace(path, root / path.name)
    made = {name: version(name) for name in ("xmjax", "av", "soxr", "numpy", "tensorflow-datasets", "array_record")}
    print(write_card(root, lines, {"command": options.command, "identity": identity, "versions": made}))
    shutil.rmtree(parts, ignore_errors=True)


def open_writer(root: Path, metadata: Mapping[str, float]) -> tfds.core.SequentialWriter:
    """Writes records to the shards of a data set.

    Args:
      root: directory that takes them.
      metadata: what holds for all records; "window" is how many seconds of sound there are around each frame, without
        it the whole sound.
    """
    info = tfds.core.DatasetInfo(
        builder=DatasetIdentity(
            name="clips", version=tfds.core.Version("1.0.0"), data_dir=str(root), module_name="xmjax"
        ),
        features=tfds.features.FeaturesDict(_FEATURES),
        description="Frames with the sound around them; card.md says of what.",
        metadata=tfds.core.MetadataDict(metadata),
    )
    return tfds.core.SequentialWriter(info, PER_SHARD, file_format="array_record")


def _check(items: Sequence[Item], options: Options) -> None:
    check_decoders()
    for name, least in (("workers", 0), ("timeout", 1), ("size", 1), ("segment", 1)):
        if getattr(options, name) < least:
            raise UserError(f"--{name}={getattr(options, name)} must be at least {least}")
    if not 0 <= options.validation_fraction <= 1:
        raise UserError(f"--validation_fraction={options.validation_fraction} is not between 0 and 1")
    twice = [id for id, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]!r} is there twice: give each its own id")


def _held_out(items: Sequence[Item], options: Options) -> frozenset[str]:
    """Ids of the files in "val"."""
    if not options.held_out:
        return frozenset(i.id for i in items if falls_in_val(i.group or i.id, options.validation_fraction))
    try:
        lines = Path(options.held_out).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"--held_out={options.held_out} cannot be read ({reason}): write one pattern a line") from error
    found: set[str] = set()
    for pattern in filter(None, map(str.strip, lines)):
        matching = {i.id for i in items if any(fnmatch.fnmatchcase(n, pattern) for n in (i.id, i.group or i.id))}
        if not matching:
            raise UserError(f"{options.held_out}: no file is named like {pattern!r}: mend or remove the line")
        found |= matching
    groups = {i.group or i.id for i in items if i.id in found}
    return frozenset(i.id for i in items if (i.group or i.id) in groups)


def _state(path: str) -> list[int]:
    """What tells that a file has changed; [] where it is missing."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return []
    return [found.st_size, found.st_mtime_ns]


def _identity(items: Sequence[Item], held_out: frozenset[str], options: Options) -> str:
    """A hash of all that the data set is made of."""
    digest = hashlib.blake2b(
        json.dumps([VERSION, options.size, options.segment, *_silent(options)]).encode(), digest_size=16
    )
    for item in items:
        known = [item.id, item.id in held_out, item.captions, _state(item.path), _state(item.picture)]
        digest.update(json.dumps(known).encode())
    return digest.hexdigest()


def _silent(options: Options) -> list[str]:
    """What a set that keeps videos without sound adds to its identity; nothing to that of others."""
    return ["keep_silent"] if options.keep_silent else []


def _decoded(items: Sequence[Item], parts: Path, options: Options) -> dict[str, dict[str, Any]]:
    """What came of every file, by id. What was found before, in this run or in one that was killed, stays."""
    outcomes: dict[str, dict[str, Any]] = {}
    jobs = []
    for item in items:
        known = [VERSION, options.size, item.id, _state(item.path), _state(item.picture), *_silent(options)]
        part = parts / hashlib.blake2b(json.dumps(known).encode(), digest_size=16).hexdigest()
        before = next(iter(files.read_lines(part.with_suffix(".json"))), None)
        if before is not None and before.get("timeout", options.timeout) == options.timeout:
            outcomes[item.id] = before
            continue
        path, picture = (os.path.abspath(p) if p else "" for p in (item.path, item.picture))
        jobs.append(
            {
                "id": item.id,
                "path": path,
                "picture": picture,
                "part": f"{part}.npz",
                "size": options.size,
                "keep_silent": options.keep_silent,
            }
        )
    if outcomes:
        print(f"{len(outcomes)} of {len(items)} files were decoded before", flush=True)
    began = time.monotonic()
    done = run(jobs, options.workers or os.cpu_count() or 1, options.timeout)
    for job, outcome in track(done, "decoding", len(jobs), disable=not sys.stderr.isatty()):
        if outcome["state"] == "failed":
            raise UserError(f"{outcome['reason']}: make room and give the same command again")
        outcome["part"] = os.path.basename(job["part"])
        files.write(Path(job["part"]).with_suffix(".json"), json.dumps(outcome, ensure_ascii=False))
        outcomes[job["id"]] = outcome
    if jobs:
        hours = sum(outcomes[job["id"]].get("seconds", 0) for job in jobs) / 3600
        print(f"{len(jobs)} files, {hours:.2f} h, decoded in {time.monotonic() - began:.0f} s", flush=True)
    return outcomes


def _written(
    items: Sequence[Item],
    held_out: frozenset[str],
    outcomes: Mapping[str, dict[str, Any]],
    parts: Path,
    options: Options,
) -> list[dict[str, Any]]:
    """Writes the records to parts/shards; returns the lines of files.jsonl."""
    shards = parts / "shards"
    shutil.rmtree(shards, ignore_errors=True)
    shards.mkdir()
    still = any(item.picture for item in items)
    writer = open_writer(shards, {} if still else {"window": float(WINDOW), "segment": options.segment})
    lines: list[dict[str, Any]] = []
    first: dict[str, str] = {}
    for item in track(items, "writing", disable=not sys.stderr.isatty()):
        outcome = outcomes[item.id]
        split = "val" if item.id in held_out else "train"
        line = {"file": item.id, **{k: v for k, v in outcome.items() if k not in ("part", "timeout")}}
        lines.append(line)
        if outcome["state"] != "kept":
            continue
        if not item.picture and not options.keep_silent and first.setdefault(outcome["sha256"], item.id) != item.id:
            # On both sides of the split it would be trained on and scored.
            line |= {"state": "dropped", "reason": "duplicate", "same_as": first[outcome["sha256"]]}
            continue
        records, silent = _records(item, parts / outcome["part"], options)
        if records:
            writer.initialize_splits([split], fail_if_exists=False)
            writer.add_examples({split: records})
        else:
            line |= {"state": "dropped", "reason": "audio: silent"}
        captions = len(item.captions) * len(records)
        line |= {"split": split, "records": len(records), "silent_clips": silent, "captions": captions}
        line["frames"] = sum(len(record["frames"]) for record in records)
    writer.close_all()
    return lines


def _records(item: Item, part: Path, options: Options) -> tuple[list[dict[str, Any]], int]:
    """The records of a decoded file, and how many of its clips had no sound and are none."""
    with np.load(part) as found:
        data, ends = found["jpeg"].tobytes(), np.cumsum(found["sizes"]).tolist()
        times, audio, start = found["times"], found["audio"], int(found["start"])
    frames = [data[low:high] for low, high in zip([0, *ends], ends, strict=False)]
    captions = [{"text": text, "language": language} for language, text in item.captions]
    base = {"file": item.id, "captions": captions}
    if item.picture:
        still = {"id": item.id, "frames": [io.BytesIO(frames[0])], "times": times, "audio": audio, "audio_start": 0}
        return [base | still], 0
    clips = list(cut(times, audio, start, options.segment))
    records = [
        base
        | {
            "id": f"{item.id}@{clip.second}",
            "frames": [io.BytesIO(frames[i]) for i in clip.frames],
            "times": times[clip.frames.start : clip.frames.stop].astype(np.float32),
            "audio": clip.audio,
            "audio_start": clip.start,
        }
        for clip in clips
        if clip.audio.any() or options.keep_silent
    ]
    return records, len(clips) - len(records)
