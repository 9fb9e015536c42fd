"""Processes of a benchmark: started, awaited, measured from /proc and ended by pid, whatever happens. Measures no time itself."""

import contextlib
import os
import pathlib
import resource
import signal
import subprocess
import time

STOP_PATIENCE = 15  # seconds from TERM to KILL: rota drains before it ends


class Process:
    """A program in the foreground with its output in a file."""

    def __init__(self, name, command, log, env=None, directory=None):
        self.name = name
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as output:
            # A session of its own: Ctrl-C reaches the driver alone, which then ends each process in order.
            self.popen = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **(env or {})}, cwd=directory, start_new_session=True,
            )
        self.pid = self.popen.pid

    def stop(self):
        """Ends it and everything it started; what outlives it is killed."""
        below = [(pid, start_time(pid)) for pid in descendants(self.pid)]
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        for pid, started in below:
            # The same start time: the pid has not been given to somebody else since.
            if started is not None and start_time(pid) == started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def await_true(self, condition, seconds, what):
        """Waits until `condition()` holds. Fails when the process ends or the time is over, with the end of its output."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.popen.poll() is not None:
                raise Failure(f"{self.name} ended with {self.popen.returncode} before {what}\n{self.last_output()}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: not {what} after {seconds} s\n{self.last_output()}")
            time.sleep(0.02)

    def last_output(self):
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join(f"  | {line}" for line in lines)


class Failure(Exception):
    """The benchmark cannot go on; the text is for whoever started it."""


def signals_as_exits():
    """TERM and HUP unwind the driver like Ctrl-C does, so that everything is stopped."""

    def leave(number, _frame):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


def raise_descriptor_limit(wanted):
    """As far as it may be raised; gives what it is then. Children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a root without the right to raise it: take what there is
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, wanted), max(hard, wanted)))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def children(pid):
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        lists = [pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text() for task in tasks]
    except OSError:
        return []
    return [int(child) for text in lists for child in text.split()]


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def stat_fields(pid):
    """The fields of /proc/PID/stat from the third on (proc(5)), or None when it is gone. The name before them may hold spaces."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def start_time(pid):
    fields = stat_fields(pid)
    return fields[19] if fields and fields[0] != "Z" else None


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


def cpu(pids):
    """CPU time that the processes have used, all threads: (user + system, user) in seconds, in steps of a clock tick (10 ms)."""
    tick = os.sysconf("SC_CLK_TCK")
    user = system = 0
    for pid in pids:
        fields = stat_fields(pid)
        if fields is None:
            raise Failure(f"process {pid} ended while it was measured")
        user += int(fields[11])
        system += int(fields[12])
    return (user + system) / tick, user / tick


def memory(pids):
    """Resident memory of the processes together: (PSS, RSS) in bytes. PSS counts a page that is shared by n processes as 1/n."""
    pss = rss = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            words = line.split()
            if words[0] == "Pss:":
                pss += int(words[1]) << 10
            elif words[0] == "Rss:":
                rss += int(words[1]) << 10
    return pss, rss
