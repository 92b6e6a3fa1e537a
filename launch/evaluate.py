"""Evaluates a checkpoint: python launch/evaluate.py --workdir=DIR [--step=N] [--only=fill,retrieval]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import flags

from xmjax import cli, report
from xmjax.inference import evaluate

flags.DEFINE_string("workdir", None, "of the run", required=True)
flags.DEFINE_integer("step", None, "checkpoint to evaluate; default the newest")
flags.DEFINE_list("only", [], "evaluators to run; default those of the run's config")


def main() -> int:
    """Evaluates, writes eval/step_<n>.json and the report, and shows the table."""
    workdir = Path(flags.FLAGS.workdir)
    scores = evaluate(workdir, flags.FLAGS.step, tuple(flags.FLAGS.only))
    print(report.summary(scores, workdir.name))
    print(f"report: {report.write(workdir)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
