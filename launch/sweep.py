"""Runs a sweep: python launch/sweep.py --config=configs/sweeps/NAME.py [--workdir=DIR] [--results=DIR] [--jobs=N]
    [--table_only]

The same command again makes the runs that are missing, and goes on with one that was interrupted.
"""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
from absl import flags
from ml_collections import config_flags

from xmjax import cli, sweep, sweep_table

cli.define_config("the sweep, such as configs/sweeps/optimizer.py")
flags.DEFINE_string("workdir", None, "where runs are written; default runs/sweeps/<name>")
flags.DEFINE_string("results", "docs/results", "where finished runs and the table are written")
flags.DEFINE_integer("jobs", 1, "runs at a time, each on an equal share of the cores", lower_bound=1)
flags.DEFINE_bool("table_only", False, "run nothing, write the table of what is finished")


def main() -> int:
    """Runs what is missing, writes and shows the table; status 1 where a run failed."""
    jax.config.update("jax_platforms", "cpu")  # the accelerators belong to the runs
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the run that is under way saves first
    wanted = sweep.build(flags.FLAGS.config, config_flags.get_config_filename(flags.FLAGS["config"]))
    workdir = Path(flags.FLAGS.workdir or f"runs/sweeps/{wanted.name}")
    results = Path(flags.FLAGS.results)
    failures: list[str] = []
    if not flags.FLAGS.table_only:
        launcher = Path(__file__).with_name("pretrain.py")
        failures = sweep.run(wanted, launcher, workdir, results / f"{wanted.name}.jsonl", jobs=flags.FLAGS.jobs)
    print(sweep_table.write(wanted, sweep.plan(wanted), results))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    cli.run(main)
