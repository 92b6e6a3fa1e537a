"""Asks a trained model: python launch/predict.py --workdir=DIR COMMAND [--image=FILE] [--text=TEXT] ...

    ... fill --image=FILE --text="a red ___" [--candidates=a,b,c]      which word is missing
    ... fill --image=FILE --text="a red bat" --word=bat                the same, masking a word
    ... caption --image=FILE [--lang=ko] [--method=sample --n=3]       what is to be seen
    ... answer --image=FILE --text="what color is the ball?"           a question about the picture
    ... sense --image=FILE --text="a red bat" --word=bat               which of a word's meanings, by a dictionary
    ... associate --image=FILE --text="a red bat" --picture=OUT.png    what in the picture each word speaks of
    ... classify --image=FILE --labels="red bat,blue cup"              which label a picture has, by its text alone
    ... tags --image=FILE [--labels=a,b,c]                             the likeliest labels
    ... match --image=FILE --text="a red bat"                          whether the two belong together
    ... objects --image=FILE --picture=OUT.png                         what belongs together, and how closely
    ... localize --image=FILE --audio=FILE --picture=OUT.png           where in the picture the sound comes from
    ... index --folder=DIR --index=FILE.npz                            makes pictures, sounds and texts findable
    ... retrieve --index=FILE.npz --text=TEXT [--of=audio]             finds them; --image, --audio, --minus_text add
                                                                       up, --picture=OUT.png draws what was found
        --of=image --rerank=10 [--by=objects]                          ranks pictures again, by match or their objects
    ... embed --image=FILE                                             a unit vector, or --text=TEXT
    ... fill --input=QUESTIONS.jsonl [--output=ANSWERS.jsonl]          one JSON object a line, with the flags' names

In a file of questions, paths of images are relative to its folder.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import flags

from xmjax import cli, predict

predict.define_flags()
flags.adopt_module_key_flags(predict)  # so that --help tells them

if __name__ == "__main__":
    cli.run(predict.run, positional=1)
