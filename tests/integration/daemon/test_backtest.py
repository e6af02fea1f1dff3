"""Backtest over a real Prometheus whose history promtool made: an incident of some minutes, a blip, a gap in the monitoring, an alert."""
import json
import subprocess
import time
import unittest
import xml.etree.ElementTree

import harness
from harness import wait_for
from test_cli import run

STEP = 15
HOURS = 5
SURGE = (1.5, 1.9)     # hours since the start: twice the load, both data centers
BLIP = (3.0, 3.0 + 75 / 3600)   # dc-b errs for five scrapes
GAP = (4.0, 4.1)       # nothing is scraped
RULES = '''
services:
  - name: front
    dcs: [dc-a, dc-b]
signals:
  - name: error_ratio
    query: |
      sum by (service, dc) (rate(http_requests_total{code=~"5.."}[45s]))
        / sum by (service, dc) (rate(http_requests_total[45s]))
    every: 15s
  - name: offered_rps
    query: sum by (service, dc) (rate(http_requests_total[45s]))
    every: 15s
  - name: ok_rps
    query: sum by (service, dc) (rate(http_requests_total{code!~"5.."}[45s]))
    every: 15s
  - name: utilization
    query: busy_ratio
    every: 15s
  - name: p99_ms
    reports: latency_p99_ms
anomalies:
  - name: failing
    when: error_ratio > 5%
    for: 15s
  - name: paged
    alert: {name: /^Disk/}
plans:
  - name: shed
    on: {anomaly: failing, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}
    mode: observe
    target: {service: $svc, dc: $dc}
    keep: [error_ratio <= 1%]
    steps:
      - limit: {by: measured_capacity}
  - name: answer-page
    on: {anomaly: paged, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}
    mode: auto
    target: {service: $svc, dc: $dc}
    keep: [error_ratio <= 1%]
    steps:
      - limit: {by: measured_capacity}
'''


def history(start, end):
    """OpenMetrics text of counters scraped each 15 s, a gauge, and ALERTS."""
    rows = {}
    for dc in ('dc-a', 'dc-b'):
        good = bad = 0.0
        for t in range(start, end + 1, STEP):
            h = (t - start) / 3600
            offered = 100 * (2.2 if SURGE[0] <= h < SURGE[1] else 1)
            ok = min(offered, 150) * (0.9 if dc == 'dc-b' and BLIP[0] <= h < BLIP[1] else 0.999)
            good, bad = good + ok * STEP, bad + (offered - ok) * STEP
            if GAP[0] <= h < GAP[1]:
                continue
            labels = f'service="front",dc="{dc}"'
            rows.setdefault('http_requests', []).append((f'http_requests_total{{{labels},code="200"}}', good, t))
            rows.setdefault('http_requests', []).append((f'http_requests_total{{{labels},code="500"}}', bad, t))
            rows.setdefault('busy_ratio', []).append((f'busy_ratio{{{labels}}}', min(1, offered / 150), t))
            if dc == 'dc-a' and 2.5 <= h < 2.6:
                rows.setdefault('ALERTS', []).append(
                    (f'ALERTS{{alertname="DiskFull",alertstate="firing",severity="page",{labels}}}', 1, t))
    text = ''
    for name, samples in rows.items():
        text += f'# TYPE {name} {"counter" if name == "http_requests" else "gauge"}\n'
        # Series by series, as the format wants it.
        text += ''.join(f'{series} {value} {t}\n' for series, value, t in sorted(samples, key=lambda s: s[0]))
    return text + '# EOF\n'


class Backtest(harness.World):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.end = int(time.time()) // STEP * STEP - 3600
        cls.start = cls.end - HOURS * 3600

    def setUp(self):
        super().setUp()
        self.rules = self.write('rules.yaml', RULES)
        om = self.write('history.om', history(self.start, self.end))
        subprocess.run([harness.program('promtool'), 'tsdb', 'create-blocks-from', 'openmetrics', om, self.path('tsdb')], check=True, capture_output=True)
        config = self.write('past.yml', 'global: {scrape_interval: 1h}\n')
        port = harness.free_port()
        self.url = f'http://127.0.0.1:{port}'
        prometheus = harness.Process([harness.program('prometheus'), f'--config.file={config}', f'--storage.tsdb.path={self.path("tsdb")}',
                                      '--storage.tsdb.retention.time=10y', f'--web.listen-address=127.0.0.1:{port}'], self.path('past.log'))
        self.addCleanup(prometheus.kill)
        wait_for('Prometheus is ready', lambda: harness.fetch(self.url + '/-/ready')[0] == 200, 60)

    def backtest(self, *args, rules=None):
        return run('backtest', '--rules', rules or self.rules, '--prometheus', self.url, '--from', str(self.start), '--to', str(self.end), *args)

    def since(self, ms):
        return (ms / 1000 - self.start) / 3600

    def test_finds_what_happened(self):
        code, out, err = self.backtest('--json')
        self.assertEqual((code, err), (0, ''))
        r = json.loads(out)
        incident = [l for l in r['loops'] if SURGE[0] <= self.since(l['opened_ms']) < SURGE[1]]
        self.assertEqual({l['target']['dc'] for l in incident}, {'dc-a', 'dc-b'})
        for l in incident:
            self.assertEqual((l['plan'], l['verdict'], l['ended']), ('shed', 'acts', 'recovered'))
            self.assertLess(l['opened_ms'] / 1000 - self.start - SURGE[0] * 3600, 90)
            # Over when the surge is: the window, `clear_for` and `settle.hold` later.
            self.assertTrue(SURGE[1] < self.since(l['closed_ms']) < SURGE[1] + 0.06, l)
            first = l['first']['actions']
            self.assertEqual([(a['target'], a['action'], a['unit']) for a in first], [({'service': 'front', 'dc': 'dc-a' if l['target']['dc'] == 'dc-a' else 'dc-b'}, 'limit', 'rps')])
            self.assertTrue(50 < first[0]['to'] < 150, first)
            self.assertGreater(l['later_actions'], 0)
        blip = [l for l in r['loops'] if BLIP[0] <= self.since(l['opened_ms']) < BLIP[1] + 0.03]
        self.assertEqual([(l['target']['dc'], l['verdict'], l['first']) for l in blip], [('dc-b', 'false_alarm_candidate', None)])
        paged = [l for l in r['loops'] if l['plan'] == 'answer-page']
        self.assertEqual([l['target'] for l in paged], [{'service': 'front', 'dc': 'dc-a'}])
        self.assertTrue(2.5 <= self.since(paged[0]['opened_ms']) < 2.52, paged)
        self.assertEqual(len(r['loops']), 4)
        self.assertEqual(r['summary']['acting'], 2)
        by_name = {s['name']: s for s in r['signals']}
        self.assertEqual((by_name['p99_ms']['asked'], by_name['offered_rps']['series']), (False, 2))
        # The gap is a gap: rate() over 45 s has nothing for six minutes, less what its window still reaches.
        missing = by_name['offered_rps']['steps'] - by_name['offered_rps']['steps_with_data']
        self.assertTrue(60 + 20 <= missing <= 60 + 28, missing)  # 60: the warm-up, before history begins
        self.assertTrue(any('p99_ms comes from load reports' in w for w in r['warnings']), r['warnings'])
        again = self.backtest('--json')
        self.assertEqual(again[1], out, 'the same history, the same bytes')

    def test_for_people(self):
        svg = self.path('chart.svg')
        code, out, err = self.backtest('--svg', svg)
        self.assertEqual((code, err), (0, ''))
        head = next(line for line in out.splitlines() if line.startswith('OPENED'))
        row = next(line for line in out.splitlines() if 'front@dc-a' in line and ' shed ' in line)
        self.assertEqual(row.index('front@dc-a'), head.index('TARGET'))
        for says in ('limit ', 'over by itself', 'would have acted', 'History cannot show', 'p99_ms comes from load reports'):
            self.assertIn(says, out)
        self.assertNotIn('\033', out, 'no colours in a pipe')
        xml.etree.ElementTree.parse(svg)

    def test_modes_and_spans(self):
        code, out, _ = self.backtest('--json', '--mode', 'as-written')
        r = json.loads(out)
        self.assertEqual({l['verdict'] for l in r['loops'] if l['plan'] == 'shed'}, {'shadow'})
        # Only the second half; and RFC 3339.
        half = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(self.start + int(2.7 * 3600)))
        code, out, err = run('backtest', self.rules, '--from', half, '--to', str(self.end), '--json', TRIMTAB_PROMETHEUS=self.url)
        self.assertEqual((code, err), (0, ''))
        self.assertEqual([l['target']['dc'] for l in json.loads(out)['loops']], ['dc-b'])
        # Whatever the step, the surge is found.
        for step in ('1m', '5s'):
            r = json.loads(self.backtest('--json', '--step', step)[1])
            self.assertEqual(len([l for l in r['loops'] if l['verdict'] == 'acts']), 2, step)

    def test_what_is_wrong(self):
        line = RULES[:RULES.index('- name: utilization')].count('\n') + 1
        bad = self.write('bad.yaml', RULES.replace('query: busy_ratio', 'query: rat(busy_ratio[1m])'))
        code, out, err = self.backtest(rules=bad)
        self.assertEqual((code, out), (1, ''))
        self.assertRegex(err, rf'bad\.yaml:{line}:\d+: signal utilization: the query is refused: bad_data: .*unknown function.*; the query: rat\(busy_ratio\[1m\]\)')
        absent = self.write('absent.yaml', RULES.replace('query: busy_ratio', 'query: buzy_ratio'))
        code, out, err = self.backtest(rules=absent)
        self.assertEqual((code, err), (0, ''))
        self.assertRegex(' '.join(out.split()), rf'absent\.yaml:{line}:\d+: signal utilization: no value in the whole span')
        nobody = f'http://127.0.0.1:{harness.free_port()}'
        code, out, err = run('backtest', self.rules, '--from', '-1h', '--prometheus', nobody)
        self.assertEqual((code, out), (6, ''))
        self.assertIn('no answer in 2 tries', err)
        for args, says in ((['--to', 'now'], 'needs --from'), (['--from', '-1h', '--to', '-2h'], 'not before --to'), (['--from', '2026-01-01T00:00:00'], 'which zone'),
                           (['--from', '-1h', '--step', '5'], 'no duration'), (['--from', '-1h', '--mode', 'x'], 'auto or as-written'),
                           (['--from', '-1h', '--to', '2999-01-01T00:00:00Z'], 'future'), (['--from', '-400d', '--step', '100ms'], 'steps')):
            code, _, err = run('backtest', self.rules, *args)
            self.assertEqual(code, 2, args)
            self.assertIn(says, err)
        self.assertEqual(run('backtest', '--from', '-1h')[0], 2)


if __name__ == '__main__':
    unittest.main()
