"""Measures speed and memory: python launch/bench.py --config=configs/bench/NAME.py[:mode] [--output=FILE] [--case=NAME]

Every case runs in a process of its own; --case measures one of them in this process.
"""

import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import flags

from xmjax import bench, cli

cli.define_config("the benchmark, such as configs/bench/cpu.py")
flags.DEFINE_string("output", None, "file of the results; default docs/benchmarks/<name>.json")
flags.DEFINE_string("case", None, "measure this case only, and write what came of it alone")


def main() -> int:
    """Measures, writes the file and shows the table; status 1 where no case worked."""
    cli.keep_memory()  # as in training
    wanted = bench.build(flags.FLAGS.config)
    output = Path(flags.FLAGS.output or f"docs/benchmarks/{wanted.name}.json")
    if flags.FLAGS.case is not None:
        output.write_text(json.dumps(bench.run_case(wanted, flags.FLAGS.case)))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the case that is under way too
    report = bench.run(wanted, [sys.executable, __file__, *sys.argv[1:]], output)
    print(bench.table(report))
    print(f"everything is in {output}")
    return int(all("error" in case for case in report["cases"].values()))


if __name__ == "__main__":
    cli.run(main)
