"""Asking a trained model from the shell: commands, their fields, and files of many questions.

A new command is one function registered in `COMMANDS`: its parameters after the model are the fields that it reads,
those without a default must be given, and every one is explained once in `FIELDS`.
"""

import contextlib
import inspect
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from absl import flags

import xmjax
from xmjax import files, inputs
from xmjax.errors import UserError
from xmjax.evaluation.localize import box_around
from xmjax.inference import read_step
from xmjax.model_api import Model
from xmjax.pictures import draw_association, draw_heat, draw_hits, draw_objects, nearest
from xmjax.registry import Registry, suggest


class Answer(NamedTuple):
    """What a command found.

    Attributes:
      values: for JSON.
      lines: for people.
    """

    values: dict[str, Any]
    lines: list[str]


COMMANDS: Registry[Callable[..., Answer]] = Registry("command")

FIELDS: dict[str, tuple[type, str]] = {
    "image": (str, "file of the picture"),
    "text": (str, "the sentence, with ___ where a word is missing with its article or particle; or the question"),
    "audio": (str, "file of the sound"),
    "minus_text": (str, "text to take away from the query"),
    "minus_image": (str, "picture to take away from the query"),
    "minus_audio": (str, "sound to take away from the query"),
    "folder": (str, "folder of pictures, sounds and texts (a line of a .txt file each)"),
    "index": (str, "file of the index"),
    "of": (str, "image, audio or text: what to find; default anything"),
    "word": (str, "a word of the text: the one to mask, where the text has no ___, or the one whose sense is asked"),
    "occurrence": (int, "which one is meant, from 1, of a word that the text has several times"),
    "dictionary": (str, "playroom, a table, a directory of WordNet or an LMF file; default the run's"),
    "tabs": (list, "tab files of the Open Multilingual WordNet, for a directory of WordNet; or further LMF files"),
    "picture": (str, "PNG to draw the answer into"),
    "candidates": (list, "words to choose from, with commas between"),
    "boxes": (list, "of the picture's objects, each as y0:x0:y1:x1 from 0 to 1, with commas between"),
    "labels": (list, "labels to choose from, with commas between"),
    "templates": (list, "texts with {} where a label stands, with commas between; default the run's"),
    "top": (int, "most words, tags or items to show"),
    "lang": (str, "language to write in, such as en"),
    "style": (str, "wording to write in, for runs that have several"),
    "rerank": (int, "how many of the nearest are ranked again by how they match, or by their objects"),
    "by": (str, "match or objects: what they are ranked again by, with rerank"),
    "method": (str, "greedy, sample, beam or mask_predict"),
    "n": (int, "texts to write"),
    "width": (int, "of method beam: texts that are kept while searching"),
    "temperature": (float, "of method sample: below 1 is surer, above 1 more varied"),
    "seed": (int, "of method sample"),
}
"""Everything that commands read: its type and what it is; a flag on the command line, a key in a file."""


FILES = {"image", "audio", "minus_image", "minus_audio", "index", "picture"}
"""Fields that name files; in a file of questions they are relative to its folder."""


@COMMANDS.register("fill")
def fill(
    model: Model,
    text: str,
    image: str | None = None,
    word: str | None = None,
    candidates: list[str] | None = None,
    top: int = 5,
    occurrence: int | None = None,
) -> Answer:
    """Which words stand at the masked place of a sentence."""
    found = model.fill(text, image, word, candidates, top, occurrence)
    values = [{"word": word, "probability": round(share, 6)} for word, share in found]
    return Answer({"words": values}, [f"{share:6.1%}  {word}" for word, share in found])


@COMMANDS.register("caption")
def caption(
    model: Model,
    image: str,
    lang: str | None = None,
    style: str = "",
    method: str | None = None,
    n: int = 1,
    temperature: float = 1.0,
    width: int = 4,
    seed: int = 0,
    boxes: list[str] | None = None,
) -> Answer:
    """What the model writes about a picture."""
    around, settings = _boxes(boxes), {"temperature": temperature, "width": width, "seed": seed}
    texts = model.caption(image, lang, style, method, n, boxes=around, **settings)
    return Answer({"captions": texts}, texts)


@COMMANDS.register("embed")
def embed(model: Model, text: str | None = None, image: str | None = None, audio: str | None = None) -> Answer:
    """The unit vector of a text, of a picture or of a sound."""
    vector = [round(float(x), 6) for x in model.embed(text, image, audio)[0]]
    return Answer({"vector": vector}, [" ".join(f"{x:.6f}" for x in vector)])


@COMMANDS.register("classify")
def classify(model: Model, image: str, labels: list[str], templates: list[str] | None = None) -> Answer:
    """Which of some labels a picture has, by their texts alone."""
    found = model.classify(image, labels, templates)
    values = [{"label": label, "probability": round(share, 6)} for label, share in found]
    return Answer({"labels": values}, [f"{share:6.1%}  {label}" for label, share in found])


@COMMANDS.register("tags")
def tags(
    model: Model, image: str, labels: list[str] | None = None, templates: list[str] | None = None, top: int = 5
) -> Answer:
    """The tags that a picture most probably has, among labels or those of the run's data."""
    found = model.tags(image, labels, templates, top)
    values = [{"tag": tag, "probability": round(share, 6)} for tag, share in found]
    return Answer({"tags": values}, [f"{share:6.1%}  {tag}" for tag, share in found])


@COMMANDS.register("match")
def match(model: Model, text: str, image: str, boxes: list[str] | None = None) -> Answer:
    """Whether a text and a picture belong together."""
    found = model.match(text, image, _boxes(boxes))
    return Answer({"probability": round(found, 6)}, [f"{found:.1%}"])


@COMMANDS.register("answer")
def answer(model: Model, text: str, image: str | None = None, boxes: list[str] | None = None) -> Answer:
    """The answer to a question about a picture."""
    found = model.answer(text, image, _boxes(boxes))
    return Answer({"answer": found}, [found])


@COMMANDS.register("sense")
def sense(
    model: Model,
    text: str,
    word: str,
    image: str | None = None,
    lang: str | None = None,
    dictionary: str | None = None,
    tabs: list[str] | None = None,
    occurrence: int | None = None,
) -> Answer:
    """What a word of a sentence means, by a dictionary."""
    found = model.sense(text, word, image, lang, dictionary, tabs or (), occurrence)
    values = [{"sense": s.id, "gloss": s.gloss, "probability": round(share, 6)} for s, share in found]
    return Answer({"senses": values}, [f"{share:6.1%}  {s.gloss}  ({s.id})" for s, share in found])


@COMMANDS.register("associate")
def associate(
    model: Model, text: str, image: str, boxes: list[str] | None = None, picture: str | None = None
) -> Answer:
    """What in the picture each word of a sentence speaks of, as its units, or as objects in given boxes."""
    found = model.associate(text, image, _boxes(boxes))
    if picture is not None:
        draw_association(_pixels(model, image), found, Path(picture))
    values, lines = [], []
    units = [[round(float(x), 6) for x in box] for box in found[0].boxes]
    for one in found:
        best = one.boxes[one.most]
        values.append(
            {
                "word": one.word,
                "strength": round(one.strength, 6),
                "box": [round(float(x), 6) for x in best],
                "weights": [round(float(x), 6) for x in one.weights],
            }
        )
        y0, x0, y1, x1 = best
        lines.append(f"{one.word}: strength {one.strength:.2f}, most at x {x0:.2f}-{x1:.2f}, y {y0:.2f}-{y1:.2f}")
    return Answer({"units": units, "words": values}, lines)


@COMMANDS.register("objects")
def objects(model: Model, image: str, boxes: list[str] | None = None, picture: str | None = None) -> Answer:
    """The objects of a picture, as groups of its units or in given boxes, and how closely they belong together."""
    found = model.objects(image, _boxes(boxes))
    if picture is not None:
        draw_objects(_pixels(model, image), found, Path(picture))
    around = [[round(float(x), 6) for x in box] for box in found.boxes]
    pairs = [(i, j, float(found.relations[i, j])) for i, j in nearest(found)]
    lines = [
        f"group {k}: x {x0:.2f}-{x1:.2f}, y {y0:.2f}-{y1:.2f}" for k, (y0, x0, y1, x1) in enumerate(found.boxes, 1)
    ]
    lines += [f"groups {i + 1} and {j + 1}: relation {score:.2f}" for i, j, score in pairs]
    relations = [[round(float(x), 6) for x in row] for row in found.relations]
    return Answer({"boxes": around, "relations": relations}, lines)


@COMMANDS.register("localize")
def localize(model: Model, image: str, audio: str, picture: str | None = None) -> Answer:
    """Where in a picture a sound comes from."""
    found = model.localize(image, audio)
    if picture is not None:
        draw_heat(_pixels(model, image), found, Path(picture))
    box = box_around(found)
    if box is None:
        return Answer({"box": None}, ["nowhere: the sound is as near to every part of the picture"])
    y0, x0, y1, x1 = box
    y, x = (int(k) / len(found) for k in np.unravel_index(found.argmax(), found.shape))
    values = {"box": [y0, x0, y1, x1], "peak": [y, x], "cosine": round(float(found.max()), 6)}
    return Answer(values, [f"x {x0:.2f}-{x1:.2f}, y {y0:.2f}-{y1:.2f}, most at x {x:.2f}, y {y:.2f}"])


@COMMANDS.register("index")
def index(model: Model, folder: str, index: str) -> Answer:
    """Makes an index of a folder's pictures, sounds and texts, for retrieve."""
    files.check_place(index, "--index")  # before a large folder is read for nothing
    made = model.make_index(folder)
    made.save(index)
    counts = Counter(made.modalities)
    told = ", ".join(f"{count} of {modality}" for modality, count in sorted(counts.items()))
    lines = [f"{index}: {told}"] + [f"left out: {reason}" for reason in made.unreadable.values()]
    return Answer({"items": dict(counts), "unreadable": made.unreadable}, lines)


@COMMANDS.register("retrieve")
def retrieve(
    model: Model,
    index: str,
    text: str | None = None,
    image: str | None = None,
    audio: str | None = None,
    minus_text: str | None = None,
    minus_image: str | None = None,
    minus_audio: str | None = None,
    of: str = "",
    top: int = 5,
    rerank: int = 0,
    boxes: list[str] | None = None,
    by: str = "match",
    picture: str | None = None,
) -> Answer:
    """What of an index is nearest to a text, a picture, a sound, or a sum and difference of several."""
    plus, minus = {"text": text, "image": image, "audio": audio}, [minus_text, minus_image, minus_audio]
    parts = [(1.0, m, given) for m, given in plus.items() if given is not None]
    parts += [(-1.0, m, given) for m, given in zip(plus, minus, strict=True) if given is not None]
    hits = model.retrieve(parts, index, top, of, rerank, _boxes(boxes), by)
    if picture is not None:
        draw_hits(hits, Path(model.index(index).root), Path(picture))
    values = [{"name": h.name, "modality": h.modality, "score": round(h.score, 6)} for h in hits]
    return Answer({"items": values}, [f"{h.score:.3f}  {h.modality}  {h.name}" for h in hits])


def _boxes(given: list[str] | None) -> Any:
    """Boxes as they are written in a flag; whether they hold numbers, the model tells."""
    return None if given is None else [box.split(":") for box in given]


def _pixels(model: Model, image: str) -> np.ndarray:
    """The picture as the model read it, to draw on."""
    pixels = inputs.picture(image, model.config)
    if pixels.ndim != 3:
        raise UserError("--picture needs a run that reads pixels; this one reads the bytes of image files")
    return pixels


def define_flags() -> None:
    """Defines --workdir, --step, --input, --output, --json and a flag for every field of every command."""
    flags.DEFINE_string("workdir", None, "of the run", required=True)
    flags.DEFINE_string("step", None, "checkpoint to use, a number or best; default the newest")
    flags.DEFINE_string("input", None, "JSONL file with one question a line, in the place of flags")
    flags.DEFINE_string("output", None, "file of the answers, as JSON lines; default the screen")
    flags.DEFINE_bool("json", False, "answer in JSON")
    define = {
        str: flags.DEFINE_string,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        list: flags.DEFINE_list,
    }
    for name, (kind, help) in FIELDS.items():
        define[kind](name, None, help)


def run(name: str = "") -> int:
    """Answers what the flags ask; status 1 where some line of --input failed.

    Raises:
      UserError: the command or a field is unknown, a file cannot be read or written, or the one question fails.
    """
    if not name:
        raise UserError(f"name a command: predict.py --workdir=DIR {'|'.join(sorted(COMMANDS.items))}")
    command, options = COMMANDS[name], flags.FLAGS
    given = {field: options[field].value for field in FIELDS if options[field].value is not None}
    if options.input is None:
        _check(name, given, "--")
        model = xmjax.load(options.workdir, read_step(options.step))
        with _opened(options.output) as output:
            answer = command(model, **given)
            whole = options.json or options.output is not None
            print(_json(given | answer.values) if whole else "\n".join(answer.lines), file=output)
        return 0
    if given:
        raise UserError(f"--{next(iter(given))} is given beside --input: put it into every line of {options.input}")
    lines = _lines(Path(options.input))
    if options.output is not None and Path(options.output).resolve() == Path(options.input).resolve():
        raise UserError(f"--output={options.output} is the input too: give another file")
    model = xmjax.load(options.workdir, read_step(options.step))
    failed = 0
    with _opened(options.output) as output:
        for number, line in lines:
            answer = _answer(name, model, line, Path(options.input).parent)
            if "error" in answer:
                failed += 1
                print(f"error: {options.input}, line {number}: {answer['error']}", file=sys.stderr, flush=True)
            print(_json(answer), file=output, flush=True)
    if failed:
        print(f"error: {failed} of {len(lines)} lines failed; mend them and ask again", file=sys.stderr, flush=True)
    return int(failed > 0)


def _answer(name: str, model: Model, line: str, folder: Path) -> dict[str, Any]:
    """The line's own values and the answer to them, or an error."""
    asked: dict[str, Any] = {}
    try:
        try:
            asked = json.loads(line)
        except ValueError as error:
            raise UserError(f"not JSON ({error}): write one object a line") from error
        if not isinstance(asked, dict):
            asked = {}
            raise UserError("not a JSON object: write one object a line")
        given = {key: value for key, value in asked.items() if key != "id" and value is not None}
        _check(name, given)
        for field in FILES & given.keys():
            given[field] = str(folder / Path(given[field]).expanduser())  # as in folders of training data
        return asked | COMMANDS[name](model, **given).values
    except UserError as error:
        return asked | {"error": str(error)}


def _check(name: str, given: Mapping[str, Any], dashes: str = "") -> None:
    """Refuses fields that a command does not read, values of a wrong type, and missing fields."""
    parameters = dict(list(inspect.signature(COMMANDS[name]).parameters.items())[1:])
    for field, value in given.items():
        if field not in parameters:
            raise UserError(f"{name} does not read {dashes}{field}: {suggest(field, parameters)}")
        kind = FIELDS[field][0]
        right = isinstance(value, int | float if kind is float else kind) and not isinstance(value, bool)
        if not right or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
            expected = {str: "a string", int: "a whole number", float: "a number", list: "a list of strings"}[kind]
            raise UserError(f"{dashes}{field}={value!r} must be {expected}")
    for field, parameter in parameters.items():
        if parameter.default is parameter.empty and field not in given:
            raise UserError(f"{name} needs {dashes}{field}: {FIELDS[field][1]}")


def _lines(path: Path) -> list[tuple[int, str]]:
    """Number and content of the lines of a file that are not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"--input={path} cannot be read ({reason}): give a JSONL file") from error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise UserError(f"--input={path} has no lines: write one JSON object a line")
    return lines


def _opened(path: str | None) -> contextlib.AbstractContextManager[TextIO]:
    """The file of the answers, or the screen."""
    if path is None:
        return contextlib.nullcontext(sys.stdout)
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"--output={path} cannot be written ({error.strerror}): give a file in a folder that exists"
        ) from error


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)
