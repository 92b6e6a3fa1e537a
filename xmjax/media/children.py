"""Child processes that decode: what one of them does not survive costs its file, and nothing else."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from typing import Any

from xmjax.errors import UserError

DECODER = (sys.executable, "-m", "xmjax.media.decode")

_JOBS = 500
"""Files after which a child is replaced, because decoders leak."""

_START = 120
"""Seconds in which a child must have started."""


def check_decoders() -> None:
    """Raises UserError where the packages that decode are not installed."""
    for name in ("av", "soxr"):
        if find_spec(name) is None:
            raise UserError(f'decoding needs the package {name}: pip install -e ".[media]"')


class Child:
    """One decoder, started when it is first asked and again after each death."""

    def __init__(self, command: Sequence[str] = DECODER):
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._jobs = 0

    def ask(self, job: dict[str, Any], timeout: float) -> dict[str, Any]:
        """What came of a job; "broken" if the child died of it or took longer than ``timeout`` seconds."""
        if self._process is None or self._process.poll() is not None or self._jobs == _JOBS:
            self._start()
        self._jobs += 1
        process = self._process
        answer, late = self._exchange(json.dumps(job | {"timeout": timeout}) + "\n", timeout)
        if answer:
            return json.loads(answer)
        code = process.wait() if process is not None else 0
        died = f"the decoder died of signal {-code}" if code < 0 else f"the decoder ended with status {code}"
        # Not always the file's own fault: another --timeout tries it again.
        reason = f"decoding took longer than {timeout:g} s" if late else died
        return {"state": "broken", "reason": reason, "timeout": timeout}

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was not written yet
                        pipe.close()

    def _start(self) -> None:
        self.close()
        # In a session of its own, so that Ctrl-C reaches it through its parent alone.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._jobs = 0
        answer, _ = self._exchange("", _START)
        if answer != "ready\n":
            raise UserError(f"decoders cannot be started: see what {' '.join(self._command)} says")

    def _exchange(self, line: str, timeout: float) -> tuple[str, bool]:
        """The line that answers a line, "" where none came, and whether the process was ended for being late."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout, end)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(line)
                process.stdin.flush()
            answer = process.stdout.readline()
            return answer if answer.endswith("\n") else "", late.is_set()
        finally:
            timer.cancel()


def run(
    jobs: Sequence[dict[str, Any]], workers: int, timeout: float, command: Sequence[str] = DECODER
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Does jobs in parallel.

    Args:
      jobs: what the children are asked.
      workers: number of children.
      timeout: most seconds of a job, by the clock on the wall.
      command: that starts a child.

    Yields:
      (job, what came of it), as they end.
    """
    children = [Child(command) for _ in range(min(workers, len(jobs)))]
    free: queue.SimpleQueue[Child] = queue.SimpleQueue()
    for child in children:
        free.put(child)

    def done(job: dict[str, Any]) -> dict[str, Any]:
        child = free.get()
        try:
            return child.ask(job, timeout)
        finally:
            free.put(child)

    threads = ThreadPoolExecutor(max(1, len(children)))
    try:
        asked = {threads.submit(done, job): job for job in jobs}
        for future in as_completed(asked):
            yield asked[future], future.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.close()
