"""The faults that can be played, and when."""
from dataclasses import dataclass, field


@dataclass
class Incident:
    name: str
    text: str                     # what happens, for the terminal
    load: list = field(default_factory=list)   # (seconds after the fault begins, factor of the base load)
    fault_s: float = 45.0         # how long the cause lasts

    def begin(self, mesh):
        pass

    def end(self, mesh):
        pass


class SiteLoss(Incident):
    def begin(self, mesh):
        mesh.stop_dc("dc-a")

    def end(self, mesh):
        mesh.start_dc("dc-a")


class SlowDependency(Incident):
    def _all(self, mesh, body):
        for name in list(mesh.running):
            if name.startswith("recommendations/"):
                mesh.fault(name, body)

    def begin(self, mesh):
        self._all(mesh, {"slow_ms": 400})

    def end(self, mesh):
        self._all(mesh, {"off": True})


class BadInstance(Incident):
    def begin(self, mesh):
        mesh.fault("checkout/dc-a/1", {"error_ratio": 1.0})

    def end(self, mesh):
        mesh.fault("checkout/dc-a/1", {"off": True})


def catalog(during_s):
    surge_s = during_s * 12 / 45
    return {i.name: i for i in (
        Incident("overload", "the load doubles", [(0, 2.0), (during_s, 1.0)], during_s),
        SiteLoss("site-loss", "every instance in dc-a is gone", fault_s=during_s),
        SlowDependency("slow-dependency", "recommendations takes 400 ms longer", fault_s=during_s),
        BadInstance("bad-instance", "one instance of checkout in dc-a answers every request with an error, at once", fault_s=during_s),
        Incident("surge-and-retry", "the load triples for a moment, and its retries stay", [(0, 3.0), (surge_s, 1.0)], surge_s),
    )}


NAMES = ("overload", "site-loss", "slow-dependency", "bad-instance", "surge-and-retry")
