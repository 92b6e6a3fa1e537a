"""Evaluates a checkpoint: python launch/evaluate.py --workdir=DIR [--step=N|best] [--only=fill,retrieval]

... --set=data.grade=cluttered --name=cluttered                     on other data than the run's, of the same kind
... --set=data.source=stamps --set=data.root=DIR --name=stamps      on another data set
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
from absl import flags

from xmjax import cli, report
from xmjax.inference import evaluate, read_step

cli.define_distributed()
flags.DEFINE_string("workdir", None, "of the run", required=True)
flags.DEFINE_string("step", None, "checkpoint to evaluate, a number or best; default the newest")
flags.DEFINE_list("only", [], "evaluators to run; default those of the run's config")
flags.DEFINE_multi_string(
    "set", [], "field of data, evaluation or objectives that this evaluation changes: FIELD=VALUE"
)
flags.DEFINE_string("name", "", "of an evaluation with --set, whose scores go to eval/step_<n>.<name>.json")


def main() -> int:
    """Evaluates, writes eval/step_<n>.json and the report, and shows the table."""
    cli.start_processes()
    workdir, options = Path(flags.FLAGS.workdir), flags.FLAGS
    step = read_step(options.step)
    scores = evaluate(workdir, step, tuple(options.only), tuple(options.set), options.name)
    if jax.process_index() > 0:
        return 0
    print(report.summary(scores, options.name or workdir.name))
    if not options.name:
        print(f"report: {report.write(workdir)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
