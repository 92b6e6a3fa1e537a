"""What the launch scripts share: flags, errors without tracebacks, several processes."""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from xmjax import config as config_module
from xmjax.config import Config
from xmjax.errors import UserError

FLAGS = flags.FLAGS


def define_config(help: str) -> None:
    """Defines --config=FILE[:mode] and --config.a.b=value."""
    config_flags.DEFINE_config_file("config", None, help, lock_config=True)
    flags.mark_flag_as_required("config")


def define_distributed() -> None:
    """Defines the flags of runs of several processes."""
    flags.DEFINE_bool("distributed", False, "several processes; on a TPU pod and under Slurm nothing else is needed")
    flags.DEFINE_string("coordinator", None, "host:port of process 0, where it cannot be found out")
    flags.DEFINE_integer("processes", None, "number of processes, where it cannot be found out")
    flags.DEFINE_integer("process", None, "number of this process, where it cannot be found out")


def start_processes() -> None:
    """Joins the other processes, if there are any. Must come before anything asks for devices."""
    if not FLAGS.distributed:
        return
    if jax.config.jax_platforms == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the processes cannot be joined: {error}; pass --coordinator=HOST:PORT, --processes=N and --process=K"
        ) from error


def config() -> Config:
    """The validated config of the flags."""
    return config_module.build(FLAGS.config)


def run(main: Callable[[], int | None]) -> None:
    """Runs a launch script: parses flags, and turns what a user can cause into one line and exit status 2."""
    logging.set_verbosity(logging.WARNING)
    app.run(lambda _: _guarded(main), flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    try:
        rest = FLAGS(arguments)
    except (flags.Error, UserError, AttributeError, KeyError, TypeError, ValueError, OSError, ImportError) as error:
        fail(_explain(error, arguments))
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}; flags are written as --name=value")
    return rest


def _explain(error: Exception, arguments: list[str]) -> str:
    text = " ".join(str(error.args[0] if error.args else error).split())
    if isinstance(error, flags.UnrecognizedFlagError):
        return f"{text}; --helpshort lists the flags"
    for argument in arguments[1:]:
        name, _, value = argument.lstrip("-").partition("=")
        if name == "config" and not Path(value.partition(":")[0]).is_file():
            return f"config file {value.partition(':')[0]!r} does not exist; ready ones are in configs/"
    return text


def _guarded(main: Callable[[], int | None]) -> None:
    try:
        sys.exit(main())
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted")


def fail(message: str) -> None:
    """Prints one line and ends the process with status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(2)
