"""Pretrains a model: python launch/pretrain.py --config=configs/base.py[:mode] [--workdir=DIR] [--config.a.b=value]

The same command again goes on where the workdir stands.
"""

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
from absl import flags

from xmjax import cli, report
from xmjax.training.loop import Stopped, train

cli.define_config("configuration of the run, such as configs/base.py or configs/base.py:smoke")
cli.define_distributed()
flags.DEFINE_string("workdir", None, "where the run is written; default runs/<config.name>")


def main() -> int:
    """Trains, and shows what came of it."""
    cli.keep_memory()
    cli.start_processes()
    config = cli.config()
    workdir = Path(flags.FLAGS.workdir or f"runs/{config.name}")
    try:
        scores = train(config, workdir)
    except Stopped as stopped:
        print(f"{stopped}. The same command goes on from there:\n  python {shlex.join(sys.argv)}", flush=True)
        return 0
    if jax.process_index() == 0:
        print(report.summary(scores, config.name))
        print(f"everything is in {workdir}; look at {report.write(workdir)}", flush=True)
    return 0


if __name__ == "__main__":
    cli.run(main)
