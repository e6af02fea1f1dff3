"""Capacity as people see it, and the load test: the command, the API, and what is left when either end dies. The mesh here is an exporter that divides
a load as the daemon's decisions say, with sites that are full at 150 requests a second."""
import json
import signal
import subprocess
import threading
import unittest

import harness
from harness import TRIMTAB, wait_for
from test_cli import run

FULL = 150
DEMAND = 200
SIGNALS = '\n'.join(f'  - {{name: {n}, query: "mesh_{n}", window: 1s, every: 1s}}' for n in ('error_ratio', 'offered_rps', 'ok_rps', 'utilization', 'latency_mean_ms'))
RULES = f'''
services:
  - name: front
    dcs: {{dc-a: {{capacity_rps: 120}}, dc-b: {{}}}}
  - name: lonely
    dcs: [dc-a]
signals:
{SIGNALS}
anomalies:
  - {{name: failing, when: error_ratio > 10%, for: 2s}}
plans:
  - name: shed
    on: {{anomaly: failing, labels: {{service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}}}
    mode: advise
    target: {{service: $svc, dc: $dc}}
    keep: [error_ratio <= 1%]
    steps:
      - limit: {{by: measured_capacity, armed: false}}
guardrails: {{max_capacity_removed: 60%}}
'''


class _Mesh(harness.Quiet):
    def do_GET(self):
        text = ''
        for dc, share in self.world.shares.items():
            offered = DEMAND * share
            ok = min(offered, FULL) * (1 - self.world.errors)
            busy = min(1, offered / FULL)
            for name, v in (('error_ratio', 1 - ok / offered), ('offered_rps', offered), ('ok_rps', ok), ('utilization', busy), ('latency_mean_ms', 40 if busy < 1 else 400)):
                text += f'mesh_{name}{{service="front",dc="{dc}"}} {v}\n'
        self.answer(200, text)


class Capacity(harness.World):
    def setUp(self):
        super().setUp()
        self.exporter.stop()
        self.exporter = harness.Served(_Mesh, shares={'dc-a': 0.5, 'dc-b': 0.5}, errors=0)

    def start(self, **kw):
        d = self.start_daemon(rules=RULES, prometheus=self.start_prometheus(), **kw)
        self.follow(d)
        wait_for('its capacity is learned', lambda: self.item(d)['source'] == 'learned', 60)
        return d

    def follow(self, d):
        """What the mesh does with weights."""
        over = threading.Event()
        self.addCleanup(over.set)

        def loop():
            while not over.wait(0.1):
                try:
                    shares = {'dc-a': 0.5, 'dc-b': 0.5}
                    for decision in d.decisions()['decisions']:
                        for a in decision['actions']:
                            if decision['target'] == {'service': 'front'} and a['action'] == 'weights':
                                shares = a['dcs']
                    self.exporter.shares = shares
                except (OSError, ValueError):
                    pass
        threading.Thread(target=loop, daemon=True).start()

    def item(self, d, dc='dc-a'):
        return next(i for i in d.get('/v1/capacity')['items'] if (i['service'], i['dc']) == ('front', dc))

    def begin(self, d, *args):
        return subprocess.Popen([TRIMTAB, 'capacity', '--server', d.url, '--service', 'front', '--dc', 'dc-a', '--step', '10%', '--hold', '5s', *args],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def moved(self):
        return wait_for('traffic is moved', lambda: self.exporter.shares['dc-a'] > 0.55, 60)

    def back(self, d):
        wait_for('nothing is in force', lambda: not d.in_force(), 10)
        wait_for('the mesh has its usual shares', lambda: self.exporter.shares == {'dc-a': 0.5, 'dc-b': 0.5}, 10)

    def test_table(self):
        d = self.start()
        at = dict(TRIMTAB_SERVER=d.url)
        code, out, err = run('capacity', **at)
        self.assertEqual((code, err), (0, ''))
        head, *rows = out.splitlines()
        self.assertEqual(head.split(), ['SERVICE', 'DC', 'CAPACITY', 'SOURCE', 'SURE', 'AGE', 'BUSY', 'HEADROOM'])
        self.assertEqual([r.split()[:2] for r in rows], [['front', 'dc-a'], ['front', 'dc-b'], ['lonely', 'dc-a']])
        self.assertRegex(rows[0], r'front +dc-a +150 rps +learned +\d+(\.\d)? % +\d+s? +66\.7 % +50(\.\d)? rps')
        self.assertRegex(rows[2], r'lonely +dc-a +- +unknown +- +- +- +-')
        items = json.loads(run('capacity', '-o', 'json', '--service', 'front', '--dc', 'dc-a', **at)[1])
        self.assertEqual([(c['source'], c['confidence'] > 0) for c in items[0]['candidates']], [('configured', True), ('learned', True)])
        self.assertEqual(run('capacity', '--service', 'nobody', **at)[0], 1)
        code, out, err = run('capacity', '--service', 'front', '--dc', 'dc-a', '--dry-run', **at)
        self.assertEqual((code, err), (0, ''))
        for says in ('load test of front in dc-a: steps of 5 %', 'each held for 30s', 'known so far: 150 rps, learned', 'nothing was moved'):
            self.assertIn(says, out)
        self.assertRegex(out, r'\n1 +5 % +110 rps +73\.3 %\n')
        self.assertFalse(d.in_force())
        code, out, err = run('capacity', '--service', 'lonely', '--step', '5%', **at)
        self.assertEqual((code, out), (1, ''))
        self.assertIn('lonely has one data center', err)

    def test_finds_the_knee(self):
        d = self.start()
        p = self.begin(d, '-o', 'json', '--reason', 'before the sale')
        self.moved()
        test = d.get('/v1/load-tests')['items'][0]
        self.assertEqual((test['service'], test['dc'], test['reason']), ('front', 'dc-a', 'before the sale'))
        self.assertEqual(d.get('/v1/status')['load_test']['id'], test['id'])
        decision = d.in_force()[0]
        self.assertEqual((decision['target'], decision['loops'], decision['expires']), ({'service': 'front'}, [test['id']], {'after_ms': 60000, 'then': 'decay', 'over_ms': 20000}))
        status, text = d.post('/v1/load-tests', {'service': 'front', 'reason': 'me too'})
        self.assertEqual(status, 409)
        self.assertIn('one at a time', text)
        out, err = p.communicate(timeout=120 * harness.SLOW)
        self.assertEqual(p.returncode, 0, err)
        result = json.loads(out)
        self.assertEqual((result['outcome'], result['phase'], result['added']), ('knee', 'over', 0), result)
        self.assertAlmostEqual(result['capacity']['rps'], FULL, delta=FULL * 0.1)
        self.assertGreaterEqual(len(result['points']), 3)
        for says in ('as it is: 100 rps, 66.7 % busy, 40.0 ms', '10 % more: 120 rps, 80 % busy', 'front in dc-a carries 15'):
            self.assertIn(says, err)
        self.back(d)
        item = self.item(d)
        self.assertEqual(item['source'], 'load_test')
        self.assertGreater(item['confidence'], 0.85)
        kinds = [(e['kind'], e['action']) if 'action' in e else (e['kind'],) for e in d.get(f'/v1/loops/{test["id"]}/events')['items']]
        self.assertIn(('load_test',), kinds)
        self.assertIn(('action', 'weights:dc-a'), kinds)
        d.terminate()
        code, out, err = run('replay', d.state + '/recording', '--json')
        self.assertEqual((code, json.loads(out)['identical']), (0, True), err)
        # It outlives a restart.
        d = self.start_daemon(rules=RULES)
        self.assertEqual(self.item(d)['source'], 'load_test')
        self.assertEqual(d.get('/v1/load-tests')['items'][0]['outcome'], 'knee')

    def test_ctrl_c(self):
        d = self.start()
        p = self.begin(d)
        self.moved()
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60 * harness.SLOW)
        self.assertEqual((p.returncode, err), (130, ''))
        self.assertIn('stopping: all traffic goes back at once', out)
        self.assertIn('stopped by operator (local)', out)
        self.assertFalse(d.in_force(), 'it waits until it is so')
        self.back(d)
        self.assertNotEqual(self.item(d)['source'], 'load_test')
        self.assertEqual(d.get('/v1/load-tests')['items'][0]['outcome'], 'aborted')

    def test_an_incident_ends_it(self):
        d = self.start()
        p = self.begin(d)
        self.moved()
        self.exporter.errors = 0.5
        out, err = p.communicate(timeout=60 * harness.SLOW)
        self.assertEqual((p.returncode, err), (1, ''))
        self.assertIn('all traffic goes back at once', out)
        self.back(d)

    def test_killed(self):
        d = self.start()
        p = self.begin(d)
        self.moved()
        d.kill_9()
        self.assertIn('still looking', p.stderr.readline())
        # The same port: the command finds it again.
        d = self.start_daemon(rules=RULES, prometheus=f'http://127.0.0.1:{self.prometheus_port}', args=['--listen', d.url.split('//')[1]])
        self.follow(d)
        out, err = p.communicate(timeout=60 * harness.SLOW)
        self.assertEqual(p.returncode, 1, err)
        self.assertIn('trimtab was started again in the middle of it', out)
        self.back(d)
        ends = [e for e in d.events('action') if e['action'] == 'weights:dc-a']
        self.assertIsNone(ends[-1]['to'], 'the journal accounts for the way back')

    def test_api(self):
        d = self.start()
        for body, status, says in (({'service': 'front'}, 422, '/reason'), ({'reason': 'x'}, 422, '/service'), ({'service': 'front', 'reason': 'x', 'step': 2}, 422, '/step'),
                                   ({'service': 'front', 'reason': 'x', 'hold_ms': '5s'}, 422, '/hold_ms'), ({'service': 'nobody', 'reason': 'x'}, 409, 'no service nobody'),
                                   ({'service': 'front', 'dc': 'dc-z', 'reason': 'x'}, 409, 'no data center dc-z'), ([], 400, 'not an object'),
                                   ({'service': 'front', 'dry_run': True}, 200, '"possible":true')):
            got, text = d.post('/v1/load-tests', body)
            self.assertEqual(got, status, text)
            self.assertIn(says, text)
        got, text = d.post('/v1/load-tests', {'service': 'front', 'reason': 'by hand', 'step': 0.1, 'hold_ms': 5000})
        self.assertEqual(got, 202, text)
        where = '/v1/load-tests/' + json.loads(text)['id']
        wait_for('it is begun', lambda: d.get(where)['phase'] == 'measuring')
        self.assertIn(d.get(where)['dc'], ('dc-a', 'dc-b'), 'the engine chooses')
        self.assertEqual(harness.fetch(d.url + where + '?reason=enough', method='DELETE')[0], 202)
        wait_for('it is over', lambda: d.get(where)['phase'] == 'over')
        self.assertTrue(any('enough' in e['reason'] for e in d.events('command')))
        self.assertEqual(harness.fetch(d.url + where, method='DELETE')[0], 409)
        self.assertEqual(harness.fetch(d.url + '/v1/load-tests/01J9ZC8Q6W3V2K5M7N8P9Q0R1S', method='DELETE')[0], 404)
        self.assertEqual(harness.fetch(d.url + where, method='DELETE', headers={'Origin': 'http://evil.example'})[0], 403)


if __name__ == '__main__':
    unittest.main()
