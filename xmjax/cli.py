"""What the launch scripts share: flags, errors without tracebacks, several processes."""

import ctypes
import os
import platform
import re
import sys
import traceback
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from xmjax import config as config_module
from xmjax.config import Config
from xmjax.errors import UserError

FLAGS = flags.FLAGS

# Numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


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
        if any(value is not None for value in (FLAGS.coordinator, FLAGS.processes, FLAGS.process)):
            raise UserError("--coordinator, --processes and --process are of several processes: pass --distributed too")
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # read on CPUs only
    try:
        jax.distributed.initialize(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the processes cannot be joined: {error}; pass --coordinator=HOST:PORT, --processes=N and --process=K"
        ) from error


def keep_memory() -> None:
    """On a CPU, has glibc keep freed memory in one arena of the process. Must come before anything asks for devices.

    By default it returns the large buffers of every step to the kernel, and a step spends a fifth of its time or more
    on getting them back (docs/log.md). Does nothing where JAX has an accelerator, or under other C libraries.
    """
    accelerators = bool(entry_points(group="jax_plugins")) or find_spec("libtpu") is not None
    if (accelerators and os.environ.get("JAX_PLATFORMS") != "cpu") or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1)):
        libc.mallopt(option, value)


def config() -> Config:
    """The validated config of the flags."""
    return config_module.build(FLAGS.config)


def run(main: Callable[..., int | None], positional: int = 0) -> None:
    """Runs a launch script: parses flags, and turns what a user can cause into one line and exit status 2.

    Args:
      main: the script's function; its result is the exit status.
      positional: most arguments without a name; ``main`` is called with those that are given.
    """
    logging.set_verbosity(logging.WARNING)
    app.run(lambda rest: _guarded(main, rest[1:]), flags_parser=partial(_parse, positional=positional))


def _parse(arguments: list[str], positional: int) -> list[str]:
    path = _config_file(arguments)
    if path and not Path(path).is_file():
        fail(f"config file {path!r} does not exist; ready ones are in configs/")
    try:
        rest = FLAGS(arguments)
    except Exception as error:  # of parsing, and whatever the config file raises
        fail(_wrong_field(arguments) or _explain(error, path))
    if len(rest) > positional + 1:
        fail(f"unexpected argument {rest[positional + 1]!r}; flags are written as --name=value")
    return rest


def _wrong_field(arguments: list[str]) -> str:
    """What is wrong with the first --config.a.b=value that the config cannot take, "" where there is none."""
    given = [a.lstrip("-") for a in arguments[1:] if re.match(r"--?config[.=]", a)]
    config = [f"--{a}" for a in given if a.startswith("config=")]
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_file("config", None, "", values, lock_config=True, sys_argv=["", *config])
        values(["", *config])
    except Exception:  # which is explained as it came
        return ""
    for field, equals, text in (a.removeprefix("config.").partition("=") for a in given if a.startswith("config.")):
        wrong = config_module.unknown_field(values.config, field)
        if not wrong and equals:
            wrong = config_module.wrong_value(values.config, field, text)
        if wrong:
            return wrong
    return ""


def _config_file(arguments: list[str]) -> str:
    """The file that --config=FILE[:mode] or --config FILE[:mode] names, "" without."""
    for argument, following in zip(arguments[1:], [*arguments[2:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config"):
            return (value if equals else following).partition(":")[0]
    return ""


def _explain(error: Exception, path: str) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, flags.UnrecognizedFlagError):
        return f"{error}; --helpshort lists the flags"
    if missing := re.search(r"Flag --(\w+) must have a value other than None", str(error)):
        return f"--{missing[1]} is missing: {FLAGS[missing[1]].help}"
    first: BaseException = error
    while before := first.__cause__ or first.__context__:
        first = before
    if isinstance(first, SyntaxError):
        return f"{first.filename}, line {first.lineno}: {first.msg}"
    lines = [f.lineno for f in traceback.extract_tb(first.__traceback__) if path and Path(f.filename) == Path(path)]
    if lines:
        return f"{path}, line {lines[-1]}: {type(first).__name__}: {first}"
    if re.search(r"get_config\(\) takes .* positional argument", str(first)):
        return f"{path} takes no mode behind a colon"
    if "has no attribute 'get_config'" in str(error):
        return f"{path} has no function get_config, which a config file must have; see configs/base.py"
    return str(error.args[0] if error.args else error)


def _guarded(main: Callable[..., int | None], arguments: list[str]) -> None:
    try:
        sys.exit(main(*arguments))
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted")


def fail(message: str) -> None:
    """Prints one line and ends the process with status 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(2)
