"""The sample mesh: edge -> front -> checkout -> recommendations, two data centers, two instances of each service in each."""
import os

from tt_run import net
from tt_run.procs import Failure, wait_for

DCS = ("dc-a", "dc-b")
INSTANCES = 2
CHAIN = ("front", "checkout", "recommendations")

# checkout is the bottleneck: 2 instances x 6 workers / (60 + about 22 ms) = about 145 requests a second for each data center.
# Its --base-ms lets the inner loop keep 140 ms of queue: after that, its own work and a call that times out, an answer is still in time.
SERVICES = {
    "front": ["--workers", "128", "--queue", "200", "--own-ms", "3", "--timeout-ms", "450", "--base-ms", "90",
              "--call-timeout-ms", "400", "--call-retries", "1"],
    "checkout": ["--workers", "6", "--queue", "110", "--own-ms", "60", "--timeout-ms", "400", "--base-ms", "25",
                 "--call-timeout-ms", "150", "--feature", "recommendations"],
    "recommendations": ["--workers", "12", "--queue", "100", "--own-ms", "18", "--timeout-ms", "150", "--base-ms", "18"],
}
WORKERS = {"checkout": 12}  # of the bottleneck, for each data center

# What the data-plane library may do in each mode of a comparison.
LIBRARY = {"with": "on", "library_only": "inner", "without": "off"}


def instance_names():
    return [f"{s}/{dc}/{i}" for s in CHAIN for dc in DCS for i in range(1, INSTANCES + 1)]


class Mesh:
    def __init__(self, group, bin_dir, ports, state_dir, mode, seed):
        self.group, self.ports, self.state_dir, self.seed = group, ports, state_dir, seed
        self.program = os.path.join(bin_dir, "tests", "mesh", "mesh-service")
        self.load_program = os.path.join(bin_dir, "tests", "mesh", "mesh-load")
        self.library = LIBRARY[mode]
        self.running = {}
        for p in (self.program, self.load_program):
            if not os.access(p, os.X_OK):
                raise Failure(f"{p} is not there: build it first (scripts/run does)")

    def _targets(self, service):
        return service + "=" + ";".join(
            dc + ":" + ",".join(f"{net.HOST}:{self.ports[f'{service}/{dc}/{i}']}" for i in range(1, INSTANCES + 1)) for dc in DCS
        )

    def _library_options(self, name):
        options = ["--library", self.library]
        if self.library == "on":
            state = os.path.join(self.state_dir, "agent-" + name.replace("/", "-") + ".state")
            options += ["--agent-url", f"http://{net.HOST}:{self.ports['trimtab']}", "--state-file", state]
        return options

    def start_instance(self, name):
        service, dc, _ = name.split("/")
        argv = [self.program, "--service", service, "--dc", dc, "--port", str(self.ports[name]), "--seed", str(self.seed)]
        argv += ["--fixed-share", "0.8"] + SERVICES[service] + self._library_options(name)
        at = CHAIN.index(service)
        if at + 1 < len(CHAIN):
            argv += ["--call", self._targets(CHAIN[at + 1])]
        self.running[name] = self.group.start(name, argv)

    def start(self):
        for name in reversed(instance_names()):
            self.start_instance(name)
        for name in self.running:
            wait_for(lambda n=name: net.request(self.ports[n], "/metrics")[0] == 200, f"{name} answering on port {self.ports[name]}", self.group)

    def start_load(self, schedule_path, rate):
        argv = [self.load_program, "--call", self._targets("front"), "--port", str(self.ports["edge"]), "--seed", str(self.seed)]
        argv += ["--rate", str(rate), "--schedule", schedule_path] + self._library_options("edge")
        return self.group.start("edge", argv, stdin=-1, stdout=-1)

    # ---- faults ----

    def fault(self, name, body):
        status, text = net.request(self.ports[name], "/fault", "POST", body)
        if status != 200:
            raise Failure(f"the fault could not be set on {name}: {text.strip() or status}")

    def stop_dc(self, dc):
        for name in instance_names():
            if f"/{dc}/" in name:
                p = self.running.pop(name)
                self.group.forget(p)
                p.kill()

    def start_dc(self, dc):
        for name in reversed(instance_names()):
            if f"/{dc}/" in name and name not in self.running:
                self.start_instance(name)
