"""Child processes: started from the main thread, each in a process group of its own, ended with us whatever happens to us."""
import ctypes
import os
import signal
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """Something the user has to know and can act on; its text is the message."""


class Stopped(BaseException):
    """Ctrl-C or SIGTERM; not an error."""


def stop_on_signals():
    def stop(signum, frame):
        raise Stopped(signal.Signals(signum).name)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)


class _Quiet:
    """No second Ctrl-C may cut the clean-up short."""

    def __enter__(self):
        self.old = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def __exit__(self, *exc):
        for s, h in self.old.items():
            signal.signal(s, h)


def _environment():
    # Everything of ours is on loopback: a proxy of the user's must not come between.
    env = {k: v for k, v in os.environ.items() if k.lower() not in ("http_proxy", "https_proxy", "all_proxy")}
    env["LC_ALL"] = "C.UTF-8"
    return env


class Process:
    def __init__(self, name, argv, log_path, **pipes):
        self.name, self.argv, self.log_path = name, argv, log_path
        parent = os.getpid()

        def in_child():
            os.setpgid(0, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        with open(log_path, "ab") as log:
            pipes.setdefault("stdin", subprocess.DEVNULL)
            pipes.setdefault("stdout", log)
            try:
                self.child = subprocess.Popen(argv, stderr=log, preexec_fn=in_child, close_fds=True, env=_environment(), **pipes)
            except OSError as e:
                raise Failure(f"{name} could not be started: {argv[0]}: {e.strerror}") from e
        self.pid = self.child.pid

    def alive(self):
        return self.child.poll() is None

    def log_tail(self, lines=5):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return "".join("    " + x for x in f.readlines()[-lines:])
        except OSError:
            return ""

    def signal(self, sig):
        if self.alive():
            try:
                os.killpg(self.pid, sig)
            except ProcessLookupError:
                pass

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait()

    def cpu_s(self):
        """Processor time used so far; 0 once it has gone."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError):
            return 0.0


class Group:
    """The processes of one run. Nothing that is not in here is ever signalled."""

    def __init__(self, log_dir):
        self.log_dir = log_dir
        self.all = []

    def start(self, name, argv, **pipes):
        p = Process(name, argv, os.path.join(self.log_dir, name.replace("/", "-").replace(":", "-") + ".log"), **pipes)
        self.all.append(p)
        return p

    def forget(self, process):
        self.all.remove(process)

    def check(self):
        for p in self.all:
            if not p.alive():
                code = p.child.returncode
                how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
                raise Failure(f"{p.name} {how}; the end of its log {p.log_path}:\n{p.log_tail()}")

    def stop(self, patience_s=5.0):
        with _Quiet():
            # The newest first: callers before those they call.
            for p in reversed(self.all):
                p.signal(signal.SIGTERM)
            end = time.monotonic() + patience_s
            for p in reversed(self.all):
                try:
                    p.child.wait(max(0.0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    p.kill()
                for pipe in (p.child.stdin, p.child.stdout):
                    if pipe:
                        try:
                            pipe.close()
                        except OSError:
                            pass
            self.all.clear()


def wait_for(condition, what, group, timeout_s=20.0, every_s=0.05):
    """Waits until condition() is true; a process of ours that ends meanwhile is the better message."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        group.check()
        if time.monotonic() > end:
            raise Failure(f"{what} did not happen within {timeout_s:.0f} s; the logs are in {group.log_dir}")
        time.sleep(every_s)
