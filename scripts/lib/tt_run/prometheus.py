"""A real Prometheus over the mesh: every instance every second."""
import os
import shutil
import urllib.parse

from tt_run import net
from tt_run.procs import Failure, wait_for


def start(group, ports, state_dir, instances):
    program = shutil.which("prometheus") or "/usr/bin/prometheus"
    if not os.access(program, os.X_OK):
        raise Failure("prometheus is not installed: apt-get install prometheus")
    config = os.path.join(state_dir, "prometheus.yml")
    with open(config, "w", encoding="utf-8") as f:
        f.write("global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: mesh\n    static_configs:\n")
        for name in instances + ["edge"]:
            service, dc = (name.split("/") + ["edge"])[:2]
            address = f"{net.HOST}:{ports[name]}"
            f.write(f"      - targets: ['{address}']\n        labels: {{service: {service}, dc: {dc}, instance: '{address}'}}\n")
    data = os.path.join(state_dir, "prometheus")
    os.makedirs(data, exist_ok=True)
    p = group.start("prometheus", [
        program, f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={net.HOST}:{ports['prometheus']}",
        "--storage.tsdb.retention.time=6h", "--log.level=warn",
    ])
    wait_for(lambda: net.request(ports["prometheus"], "/-/ready")[0] == 200, "Prometheus becoming ready", group, timeout_s=30)
    return p


def by_second(port, query, from_ms, to_ms, label):
    """{label value: {unix second: value}} of an instant query asked for every second."""
    args = urllib.parse.urlencode({"query": query, "start": from_ms // 1000, "end": to_ms // 1000, "step": "1"})
    answer = net.get_json(port, "/api/v1/query_range?" + args, timeout_s=10.0)
    if not answer or answer.get("status") != "success":
        raise Failure(f"Prometheus did not answer the query {query}")
    return {
        series["metric"].get(label, ""): {int(t): float(v) for t, v in series["values"]}
        for series in answer["data"]["result"]
    }
