"""Ports and small HTTP requests, all on loopback and never through a proxy."""
import glob
import http.client
import json
import os
import socket

from tt_run.procs import Failure

HOST = "127.0.0.1"


def request(port, path, method="GET", body=None, timeout_s=2.0):
    """(status, text), or (0, why) when there is no answer."""
    con = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        data = None if body is None else json.dumps(body).encode()
        con.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        answer = con.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as e:
        return 0, str(e)
    finally:
        con.close()


def get_json(port, path, timeout_s=2.0):
    status, text = request(port, path, timeout_s=timeout_s)
    if status != 200:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_free(port):
    with socket.socket() as s:
        # What a closed connection left behind does not hold a port; a listener does.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((HOST, port))
            s.listen(1)
            return True
        except OSError:
            return False


def _holder(port):
    """Who listens there, as far as we may see: ' by prometheus (process 123)'."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as f:
                for line in f.readlines()[1:]:
                    x = line.split()
                    if x[3] == "0A" and int(x[1].rsplit(":", 1)[1], 16) == port:
                        inodes.add(f"socket:[{x[9]}]")
        except OSError:
            pass
    for fd in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(fd) in inodes:
                pid = fd.split("/")[2]
                with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                    return f" by {f.read().strip()} (process {pid})"
        except OSError:
            pass
    return ""


def claim(base, names):
    """{name: port}: base, base+1, ... for the names in order; base 'auto' looks for a run of free ones. They are left open for who is to have them."""
    if base == "auto":
        for first in range(20000, 32000, 40):
            if all(_is_free(first + i) for i in range(len(names))):
                return {n: first + i for i, n in enumerate(names)}
        raise Failure(f"no {len(names)} free ports in a row between 20000 and 32000 on {HOST}")
    base = int(base)
    ports = {n: base + i for i, n in enumerate(names)}
    for name, port in ports.items():
        if not _is_free(port):
            raise Failure(
                f"port {port} on {HOST}, meant for {name}, is in use{_holder(port)}.\n"
                f"Ports {base} to {base + len(names) - 1} are needed: choose others with --base-port N (or --base-port auto), or stop what holds it."
            )
    return ports
