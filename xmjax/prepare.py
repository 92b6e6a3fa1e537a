"""Preparing data before training: one function a command of launch/prepare.py."""

import dataclasses
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

import xmjax
from xmjax import files, inference
from xmjax.config import Config
from xmjax.data import playroom
from xmjax.data.arrays import caption_words
from xmjax.data.similar import mine
from xmjax.data.source import Record, Source, Unreadable, named, picture_id
from xmjax.data.sources import open_source
from xmjax.errors import UserError
from xmjax.lexicon import ask, entities, kind_of, make_report, open_dictionary
from xmjax.lexicon import library as libraries
from xmjax.models import library as library_of
from xmjax.objectives import sense
from xmjax.pictures import draw_library
from xmjax.registry import Registry

COMMANDS: Registry[Callable[..., None]] = Registry("command")

THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Of which `coverage` tells what they keep."""

CHUNK = 256
"""Pictures that are embedded at a time."""


@COMMANDS.register("similar")
def similar(workdir: str, output: str, count: int = 4, least: float = 0.5, limit: int = 100_000) -> None:
    """Writes which captions of other pictures are near each picture of a run's training data, by the run's own vectors.

    Args:
      workdir: of a run that has trained contrast.
      output: the file, for config.data.similar.
      count: most captions of a record.
      least: smallest cosine between a picture and a caption.
      limit: most records that are read.

    Raises:
      UserError: a value cannot work, the run has no picture vectors, or the file cannot be written.
    """
    if count < 1 or limit < 2 or not -1 <= least <= 1:
        raise UserError(f"--count={count} and --limit={limit} must be at least 1 and 2, --least={least} from -1 to 1")
    files.check_place(output, "--output")
    model = xmjax.load(workdir)
    config = model.config
    source = open_source(config, dataclasses.replace(config.data, similar=""), "train")
    records: list[Record] = []
    pictures: list[np.ndarray] = []
    texts: list[np.ndarray] = []
    digests: list[bytes] = []
    unreadable: dict[str, str] = {}
    starts = range(0, min(limit, len(source)), CHUNK)
    for start in track(starts, description="embedding", disable=not sys.stderr.isatty()):
        found = source.read(range(start, min(start + CHUNK, limit, len(source))))
        unreadable |= {r.id: r.reason for r in found if not isinstance(r, Record)}
        readable = [(r, r.image) for r in found if isinstance(r, Record) and r.image is not None]
        if readable:
            pictures.append(model.embed(image=[image for _, image in readable]))
            captions = [caption.text for record, _ in readable for caption in record.captions]
            texts += [model.embed(captions[i : i + CHUNK]) for i in range(0, len(captions), CHUNK)]
        digests += [hashlib.sha256(image.tobytes()).digest() for _, image in readable]
        # Pictures need not stay in memory.
        records += [dataclasses.replace(record, image=None, file=None) for record, _ in readable]
    if unreadable:
        print(f"{len(unreadable)} unreadable, left out: {named(unreadable)}", flush=True)
    if not records:
        raise UserError(f"no record of {source.name} has a picture that can be read")
    if not texts:
        raise UserError(f"no record of {source.name} has a caption")
    lines = list(mine(records, digests, np.concatenate(pictures), np.concatenate(texts), count, least))
    files.write(Path(output), "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    cosines = [other["similarity"] for line in lines for other in line["similar"]]
    mean = f", mean cosine {np.mean(cosines):.3f}" if cosines else ""
    print(f"{len(lines)} of {len(records)} records have {len(cosines)} captions of others{mean}; written to {output}")
    if isinstance(records[0].truth, playroom.Scene):
        print(f"{precision(records, lines):.1%} of their captions name a toy that the picture shows too")


@COMMANDS.register("library")
def library(
    workdir: str,
    output: str,
    size: int = 32,
    pictures: int = 0,
    limit: int = 10_000,
    count: int = 0,
    sheet: str = "",
) -> None:
    """Writes a library of standard texts and crops, of the regions of a run's training data.

    Pictures that are among the run's held-out ones too are left out.

    Args:
      workdir: of a run on data with regions.
      output: the file.
      size: side of a crop in pixels.
      pictures: side of the pictures that they are cut from; 0 is the run's.
      limit: most records that are read.
      count: most crops of a text; 0 keeps all.
      sheet: picture of the library to write, a row a text.

    Raises:
      UserError: a value cannot work, the data have no regions, or a file cannot be written.
    """
    if min(size, limit) < 1 or min(count, pictures) < 0:
        given = f"--size={size} --limit={limit} --count={count} --pictures={pictures}"
        raise UserError(f"{given}: the first two must be at least 1, the others at least 0")
    for flag, path in (("output", output), ("sheet", sheet)):
        if path:
            files.check_place(path, f"--{flag}")
    config = inference.read_config(Path(workdir))
    image = dataclasses.replace(config.model.image, size=pictures or config.model.image.size)
    read = dataclasses.replace(config, model=dataclasses.replace(config.model, image=image))
    source = open_source(read, config.data, "train")
    found = source.read(range(min(limit, len(source))))
    if read == config:
        seen = [_picture_of(record) for record in found]
    else:  # pictures are known by what the model sees of them
        seen = _pictures_of(open_source(config, config.data, "train"), len(found))
    held_out = _held_out_pictures(config, limit)
    there = [(r, p) for r, p in zip(found, seen, strict=True) if isinstance(r, Record) and p is not None]
    kept = [(record, picture) for record, picture in there if picture not in held_out]
    records, ids = [record for record, _ in kept], [picture for _, picture in kept]
    made = libraries.build(records, size, count, ids, library_of.seen_as(config))
    without = f"{len(there) - len(kept)} of {len(found)} records are left out, whose pictures are held out too"
    if not made.texts:
        raise UserError(
            f"no record of {source.name} has a region ({without}); for a folder set config.data.regions_column"
        )
    made.save(Path(output))
    if sheet:
        draw_library(made, Path(sheet))
    print(
        f"{len(made.crops)} crops of {len(made.texts)} texts from {len(set(made.records))} of {len(found)} records, "
        f"{made.digest()}; written to {output}"
    )
    if len(kept) < len(there):
        print(without)


def _held_out_pictures(config: Config, limit: int) -> set[np.int32]:
    """Pictures of the held-out records, as many as an evaluation reads, or as are read of the others."""
    try:
        source = open_source(config, config.data, "val")
    except UserError as error:
        print(f"no held-out pictures are looked for: {error}")
        return set()
    return {p for p in _pictures_of(source, max(limit, config.evaluation.samples)) if p is not None}


def _pictures_of(source: Source, count: int) -> list[np.int32 | None]:
    """`_picture_of` the first records, which are not kept."""
    found: list[np.int32 | None] = []
    for start in range(0, min(count, len(source)), CHUNK):
        records = source.read(range(start, min(start + CHUNK, count, len(source))))
        found += [_picture_of(record) for record in records]
    return found


def _picture_of(record: Record | Unreadable) -> np.int32 | None:
    """`picture_id`, None of what has no picture."""
    return picture_id(record) if isinstance(record, Record) and record.image is not None else None


@COMMANDS.register("coverage")
def coverage(workdir: str, dictionary: str = "", tabs: Sequence[str] = (), limit: int = 1000) -> None:
    """Shows how many words of a run's training captions a dictionary has, and how many senses thresholds keep.

    Args:
      workdir: of a run, a smoke run of the same data for one; its `sense` says how senses are scored.
      dictionary: name or path; default the one of the run's `sense`.
      tabs: tab files of the Open Multilingual WordNet, for a directory of WordNet; further LMF files, for LMF.
      limit: most records that are read.

    Raises:
      UserError: a value cannot work, the dictionary cannot be read, or the data have no captions.
    """
    if limit < 1:
        raise UserError(f"--limit={limit} must be at least 1")
    config = inference.read_config(Path(workdir))
    options = config.objectives.get("sense", sense.Options())
    if dictionary or tabs:
        options = dataclasses.replace(options, dictionary=dictionary or options.dictionary, tabs=tuple(tabs), wrong=0.0)
    book = sense.opened(options)
    source = open_source(config, config.data, "train")
    queries = []
    found = source.read(range(min(limit, len(source))))
    for record in (r for r in found if isinstance(r, Record)):
        for caption in record.captions:
            others = [other for other in record.captions if other is not caption]
            queries += [ask(book, caption, word, others) for word in caption_words(caption)]
    if not queries:
        raise UserError(f"no record of {source.name} has a caption with a word")
    print(make_report(queries, sense.make_scorer(options, book), THRESHOLDS).markdown())


def precision(records: Sequence[Record], lines: Sequence[dict]) -> float:
    """Share of mined captions that name a kind of toy that the record's own scene has."""
    scenes = {record.id: {toy.kind for toy in record.truth.toys} for record in records}
    own = {record.id: record.captions for record in records}
    dictionary = open_dictionary("playroom")
    right = []
    for line in lines:
        for other in line["similar"]:
            said = {caption["text"] for caption in other["captions"]}
            for caption in (c for c in own[other["id"]] if c.text in said):
                data = caption.text.encode()
                words = [data[w.start : w.end].decode() for w in entities(caption, dictionary)]
                kinds = {kind_of(sense) for word in words for sense in dictionary.lookup(word, caption.language)}
                right.append(bool(kinds & scenes[line["id"]]))
    return float(np.mean(right or [0.0]))


@COMMANDS.register("senses")
def senses(
    input: str,
    root: str,
    metadata: str,
    column: str,
    output: str,
    names: str = "names",
    text: str = "keywords",
    file: str = "file",
    other: str = "",
) -> None:
    """Makes a table of senses and a list of held-out records from a list of ambiguous words and a folder of pictures.

    The list is JSON: language -> word -> senses, each a list of values of a column of the metadata. Of every sense that
    has two or more pictures the last is held out. The gloss of a sense is what the others are called in English, or in
    the word's own language, and its synonyms are all their other texts.

    Args:
      input: file of the words.
      root: folder of the pictures.
      metadata: its file of JSON lines.
      column: column of the metadata that the list's values are of, such as "emoji".
      output: the table, ".jsonl"; beside it, with ".held_out.txt" behind its name, the ids of the held-out records.
      names: column of the pictures' names: language -> name.
      text: column of their texts, which the run trains on: language -> a text or a list of texts.
      file: column of the pictures' paths, which are the records' ids.
      other: file as ``input``, with ids of records of another source in the place of values: they enter the table, and
        a list of their own ends in ".other.txt", so that a run can be tested on pictures of another make.

    Raises:
      UserError: a file cannot be read, or a word or picture of the list is not as it should be.
    """
    rows = {row[column]: row for row in _metadata(Path(root) / metadata, (column, names, text, file))}
    held_out: set[str] = set()
    chosen: list[tuple[str, str, list[dict]]] = []
    for language, word, values in _ambiguous(Path(input)):
        missing = [value for value in values if value not in rows]
        if missing:
            raise UserError(f"{input}: {word!r} names {missing[0]!r}, which no line of {metadata} has as its {column}")
        pictures = [rows[value] for value in values]
        chosen.append((language, word, pictures))
        if len(pictures) > 1:
            held_out.add(pictures[-1][file])
    elsewhere: dict[tuple[str, str], list[list[str]]] = {}
    for language, word, ids in _ambiguous(Path(other)) if other else ():
        elsewhere.setdefault((language, word), []).append(ids)
    counts = Counter((language, word) for language, word, _ in chosen)
    for (language, word), senses in elsewhere.items():
        if len(senses) != counts[language, word]:
            raise UserError(
                f"{other}: {word!r} has {len(senses)} senses and {counts[language, word]} in {input}: list the same "
                "ones in the same order, [] where there is no picture"
            )
    lines = []
    for language, word, pictures in chosen:
        learned = [picture for picture in pictures if picture[file] not in held_out] or pictures
        spoken = "en" if all("en" in picture[names] for picture in learned) else language
        gloss = ", ".join(dict.fromkeys(picture[names][spoken] for picture in learned))
        texts = dict.fromkeys(t for picture in learned for given in picture[text].values() for t in _texts(given))
        line = {"word": word, "language": language, "gloss": gloss, "gloss_language": spoken}
        records = [picture[file] for picture in pictures]
        if (language, word) in elsewhere:
            records += elsewhere[language, word].pop(0)
        lines.append(line | {"synonyms": [t for t in texts if t != word], "records": records})
    files.write(Path(output), "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    files.write(Path(f"{output}.held_out.txt"), "".join(f"{id}\n" for id in sorted(held_out)))
    if other:
        ids = {id for _, _, ids in _ambiguous(Path(other)) for id in ids}
        files.write(Path(f"{output}.other.txt"), "".join(f"{id}\n" for id in sorted(ids)))
    words = {(line["language"], line["word"]) for line in lines}
    print(f"{len(words)} words, {len(lines)} senses in {output}; {len(held_out)} pictures in {output}.held_out.txt")


def _texts(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _metadata(path: Path, columns: Sequence[str]) -> list[dict]:
    rows = files.read_lines(path)
    if not rows:
        raise UserError(f"{path} has no lines of JSON: name the folder's metadata with --root and --metadata")
    for name in columns:
        if name not in rows[0]:
            raise UserError(f"{path} has no column {name!r}: it has {', '.join(rows[0])}")
    return rows


def _ambiguous(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(language, word, values of its pictures) of every sense of a list of ambiguous words."""
    try:
        words = json.loads(path.read_text(encoding="utf-8-sig"))
        found = [
            (language, word, list(values))
            for language, of_language in words.items()
            for word, senses in of_language.items()
            for values in senses
        ]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f'{path} cannot be read ({error}): write JSON such as {{"en": {{"bat": [["🦇"], ["🏏"]]}}}}'
        ) from error
    yield from found
