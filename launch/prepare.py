"""Prepares data for training: python launch/prepare.py COMMAND ...

    ... similar --workdir=RUN --output=FILE.jsonl [--count=4] [--least=0.5] [--limit=100000]
        captions of other pictures that are near each picture, for --config.data.similar=FILE.jsonl
    ... senses --input=WORDS.json --root=DIR --metadata=FILE.jsonl --column=NAME --output=FILE.jsonl [--other=FILE.json]
        a table of the senses of ambiguous words, for --config.objectives.sense.dictionary=FILE.jsonl, and the pictures
        to hold out, for --config.data.held_out=FILE.jsonl.held_out.txt
    ... coverage --workdir=RUN [--dictionary=NAME] [--tabs=FILE,...] [--limit=1000]
        how many words of a run's captions a dictionary has, and how many senses thresholds keep

    ... library --workdir=RUN --output=FILE.safetensors [--size=32] [--pictures=0] [--limit=10000] [--count=0]
        [--sheet=FILE.png]
        standard texts, the labels of regions, with crops of what they stand for, without held-out pictures

    ... videos --input=DIR_or_LIST.txt --output=DIR [--held_out=FILE | --validation_fraction=0.1] [--segment=10]
        [--size=256] [--captions=FILE.jsonl] [--keep_silent] [--workers=N] [--timeout=120]
    ... sounds --input=FILE.jsonl --root=DIR --output=DIR
        [--held_out=FILE | --validation_fraction=0.1] [--size=256] [--workers=N] [--timeout=120]
    ... stamps --output=DIR [--root=DIR] [--spoken] [as sounds]
        frames with their sound, for --config.frame_audio.source=clips --config.frame_audio.root=DIR

Each command is explained in xmjax/prepare.py or xmjax/media/commands.py, and what the files hold in docs/data.md.
"""

import inspect
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import flags

from xmjax import cli, prepare
from xmjax.errors import UserError
from xmjax.media import commands  # noqa: F401, which registers its own
from xmjax.registry import suggest

flags.DEFINE_string("workdir", None, "of the run whose data and vectors are used")
flags.DEFINE_string(
    "input", None, "file to read: a list of ambiguous words, of videos or of sounds, or a folder of videos"
)
flags.DEFINE_string("root", None, "folder of the pictures, sounds or stamps")
flags.DEFINE_string("metadata", None, "file of JSON lines in it")
flags.DEFINE_string("column", None, "column of the metadata that the list's values are of")
flags.DEFINE_string("names", None, "column of the pictures' names by language")
flags.DEFINE_string("text", None, "column of the pictures' texts by language")
flags.DEFINE_string("file", None, "column of the pictures' paths")
flags.DEFINE_string("dictionary", None, "playroom, a table, a directory of WordNet or an LMF file; default the run's")
flags.DEFINE_list("tabs", None, "tab files of the Open Multilingual WordNet, for a directory of WordNet")
flags.DEFINE_string("other", None, "file of the same words with records of another source")
flags.DEFINE_string("output", None, "file to write, or the directory of a data set")
flags.DEFINE_integer("count", None, "most captions of a record, or crops of a text")
flags.DEFINE_float("least", None, "smallest cosine between a picture and a caption")
flags.DEFINE_integer("limit", None, "most records that are read")
flags.DEFINE_string("held_out", None, "file of patterns of the names that are held out, one a line")
flags.DEFINE_float("validation_fraction", None, "share of the files that is held out, by a hash of the name")
flags.DEFINE_integer("workers", None, "files decoded at a time; by default one a core")
flags.DEFINE_float("timeout", None, "most seconds that decoding a file may take")
flags.DEFINE_integer("segment", None, "seconds of a record of a video")
flags.DEFINE_integer("size", None, "most pixels of the shorter side of a frame, or side of a crop")
flags.DEFINE_integer("pictures", None, "side in pixels of the pictures that crops are cut from")
flags.DEFINE_string("sheet", None, "picture to write of a library")
flags.DEFINE_string("captions", None, 'file of JSON lines {"file": name, "text": captions}')
flags.DEFINE_bool("keep_silent", None, "keep videos without sound, and equal ones, for a list that is searched")
flags.DEFINE_bool("spoken", None, "take the spoken descriptions of stamps too")


def main(name: str = "") -> None:
    """Runs the command with the flags that it reads."""
    if not name:
        raise UserError(f"name a command: prepare.py {'|'.join(sorted(prepare.COMMANDS.items))}")
    command = prepare.COMMANDS[name]
    given, parameters = {}, inspect.signature(command).parameters
    for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]):
        if flag.value is not None and flag.name not in parameters:
            raise UserError(f"{name} does not read --{flag.name}: {suggest(flag.name, parameters)}")
    for field, parameter in parameters.items():
        if flags.FLAGS[field].value is not None:
            given[field] = flags.FLAGS[field].value
        elif parameter.default is parameter.empty:
            raise UserError(f"{name} needs --{field}: {flags.FLAGS[field].help}")
    command(**given)


if __name__ == "__main__":
    cli.run(main, positional=1)
