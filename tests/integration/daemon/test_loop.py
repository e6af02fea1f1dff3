"""A metric leaves its bounds and comes back: one loop from beginning to end."""
import json
import unittest
import urllib.request

import harness
from harness import BAD, GOOD, wait_for


class Loop(harness.World):
    def run_loop(self, d):
        self.prometheus_sees('error_ratio', GOOD['error_ratio'])
        wait_for('good figures are in', lambda: len(d.get('/v1/signals')['items']) == 5)
        self.assertEqual(d.in_force(), [])
        self.set(BAD)
        loop = wait_for('a loop opens', lambda: d.loops())[0]
        self.assertEqual((loop['plan'], loop['target'], loop['anomaly']), ('shed', {'service': 'front', 'dc': 'dc-a'}, 'overload'))
        decision = wait_for('a decision is told', d.in_force)[0]
        self.assertEqual(decision['target'], {'service': 'front', 'dc': 'dc-a'})
        self.assertEqual(decision['actions'][0]['action'], 'limit')
        self.assertEqual(decision['loops'], [loop['id']])
        # Nothing is told before it is in the journal: the action is there.
        self.assertIn('limit', [e.get('action') for e in d.events('action')])
        self.assertEqual(d.get(f'/v1/loops/{loop["id"]}')['id'], loop['id'])
        self.set(GOOD)
        wait_for('everything is withdrawn', lambda: not d.in_force(), 90)
        wait_for('the loop is closed', lambda: not d.loops(), 90)
        closed = d.loops('closed')
        self.assertEqual([(c['id'], c['ended']) for c in closed], [(loop['id'], 'recovered')])
        kinds = [e['kind'] for e in d.events()]
        for kind in ('started', 'source_up', 'anomaly_opened', 'loop_opened', 'action', 'loop_closed'):
            self.assertIn(kind, kinds)
        return loop['id']

    def test_sqlite(self):
        url = self.start_prometheus()
        d = self.start_daemon(prometheus=url)
        self.run_loop(d)
        status = d.get('/v1/status')
        self.assertEqual(status['sources'][0]['state'], 'ok')
        self.assertEqual(status['store'], {'kind': 'sqlite', 'state': 'ok', 'error': None})
        self.assertEqual(status['rules']['plans'], 1)
        self.assertEqual(status['loops'], {'open': 0, 'by_phase': {}})
        metrics = harness.fetch(d.url + '/metrics')[1]
        for line in ('trimtab_source_up{source="prometheus"} 1', 'trimtab_series 5', 'trimtab_store_up 1', 'trimtab_events_total{kind="loop_closed"} 1'):
            self.assertIn(line + '\n', metrics)
        for line in metrics.splitlines():
            self.assertRegex(line, r'^(#.*|[a-z_]+(\{.*\})? [-+.0-9e]+)$')
        d.terminate()
        harness.check_chain(self, d.journal())

    def test_postgresql(self):
        pg = harness.Postgres(self)
        url = self.start_prometheus()
        d = self.start_daemon(prometheus=url, store=pg.url)
        loop = self.run_loop(d)
        self.assertEqual(d.get('/v1/status')['store']['kind'], 'postgresql')
        d.terminate(within=4)
        d = self.start_daemon(prometheus=url, store=pg.url)
        self.assertEqual([c['id'] for c in d.loops('closed')], [loop])
        self.assertEqual(d.get('/v1/status')['epoch'], 2)

    def test_quiet_means_no_commits(self):
        d = self.start_daemon(prometheus=self.start_prometheus())
        wait_for('figures are in', lambda: len(d.get('/v1/signals')['items']) == 5)
        ticks = wait_for('a few ticks', lambda: self.metric(d, 'trimtab_ticks_total') > 3 and self.metric(d, 'trimtab_ticks_total'))
        commits = self.metric(d, 'trimtab_commit_seconds_count')
        wait_for('more ticks', lambda: self.metric(d, 'trimtab_ticks_total') > ticks + 4)
        self.assertEqual(self.metric(d, 'trimtab_commit_seconds_count'), commits)

    def metric(self, d, name):
        for line in harness.fetch(d.url + '/metrics')[1].splitlines():
            if line.startswith(name + ' '):
                return float(line.split()[1])
        raise ValueError(name)

    def test_stream(self):
        d = self.start_daemon(prometheus=self.start_prometheus())
        req = urllib.request.Request(d.url + '/v1/events', headers={'Accept': 'text/event-stream'})
        seen = []
        with harness._opener.open(req, timeout=60) as stream:
            self.set(BAD)
            kind = None
            for line in stream:
                line = line.decode().rstrip('\n')
                if line.startswith('event: '):
                    kind = line[7:]
                elif line.startswith('data: '):
                    data = json.loads(line[6:])
                    seen.append(kind)
                    if kind == 'tick':
                        self.assertEqual(data['status']['epoch'], 1)
                    else:
                        self.assertEqual(data['kind'], kind)
                        self.assertGreater(data['seq'], 0)
                    if kind == 'tick' and data['loops'] and 'action' in seen:
                        self.assertEqual(data['loops'][0]['plan'], 'shed')
                        self.assertNotIn('history', data['loops'][0])
                        break
            # An open stream does not hold up the end.
            d.terminate()
        self.assertIn('loop_opened', seen)


if __name__ == '__main__':
    unittest.main()
