"""Prometheus dead, slow, wrong or without numbers: what is in force stays, and nothing new is done."""
import signal
import unittest

import harness
from harness import BAD, GOOD, RULES, wait_for


class Sources(harness.World):
    def source(self, d):
        return d.get('/v1/status')['sources'][0]

    def qualities(self, d):
        return {s['quality'] for s in d.get('/v1/signals')['items']}

    def in_loop(self, url):
        d = self.start_daemon(prometheus=url)
        self.set(BAD)
        wait_for('a decision is told', d.in_force)
        return d

    def test_killed_in_the_middle(self):
        url = self.start_prometheus()
        d = self.in_loop(url)
        loop = d.loops()[0]['id']
        # Its first step is to flush, by a timer that runs while blind too: wait until that is over.
        wait_for('the flush is over', lambda: len(d.events('action')) == 2)
        self.prometheus.kill()
        down = wait_for('source_down', lambda: d.events('source_down'))
        self.assertEqual(len(down), 1)
        self.assertIn('cannot be asked', down[0]['reason'])
        self.assertEqual(self.source(d)['state'], 'down')
        wait_for('what was measured is blind', lambda: self.qualities(d) == {'source_down'})
        before = d.decisions()
        seq = d.events()[-1]['seq']
        # Blind for a few rounds more: what is in force stays, no action is taken, no loop is opened or closed.
        polls = self.failures(d)
        wait_for('more polls failed', lambda: self.failures(d) > polls + 15)
        after = d.decisions()
        self.assertEqual([x['actions'] for x in before['decisions']], [x['actions'] for x in after['decisions']])
        self.assertEqual([x['id'] for x in d.loops()], [loop])
        later = [e['kind'] for e in d.events() if e['seq'] > seq]
        self.assertNotIn('action', later)
        self.assertNotIn('source_down', later)
        self.start_prometheus(self.prometheus_port)
        wait_for('source_up', lambda: len(d.events('source_up')) == 2)
        wait_for('it sees again', lambda: 'ok' in self.qualities(d))

    def failures(self, d):
        for line in harness.fetch(d.url + '/metrics')[1].splitlines():
            if line.startswith('trimtab_poll_failures_total '):
                return float(line.split()[1])
        return 0

    def test_stopped_and_continued(self):
        url = self.start_prometheus()
        d = self.in_loop(url)
        self.prometheus.signal(signal.SIGSTOP)
        try:
            down = wait_for('source_down', lambda: d.events('source_down'))
            self.assertIn('no whole answer within 1000 ms', down[0]['reason'])
        finally:
            self.prometheus.signal(signal.SIGCONT)
        wait_for('source_up', lambda: len(d.events('source_up')) == 2)

    def test_slow(self):
        self.start_prometheus()
        proxy = harness.stalling_proxy(self.prometheus_port)
        self.addCleanup(proxy.stop)
        d = self.start_daemon(prometheus=f'http://127.0.0.1:{proxy.port}')
        wait_for('figures are in', lambda: len(d.get('/v1/signals')['items']) == 5)
        proxy.open.clear()
        wait_for('down', lambda: self.source(d)['state'] == 'down')
        self.assertIn('1000 ms', self.source(d)['error'])
        # The daemon itself is not held up.
        self.assertEqual(d.ready()[0], 200)
        proxy.open.set()
        wait_for('ok again', lambda: self.source(d)['state'] == 'ok' and self.source(d)['error'] is None)
        d.terminate()

    def test_nan(self):
        d = self.start_daemon(prometheus=self.start_prometheus())
        self.set(dict(BAD, error_ratio='NaN'))
        wait_for('no_data', lambda: [s for s in d.get('/v1/signals')['items'] if s['name'] == 'error_ratio' and s['quality'] == 'no_data'])
        ratio = [s for s in d.get('/v1/signals')['items'] if s['name'] == 'error_ratio'][0]
        self.assertIsNone(ratio['value'])
        self.assertEqual(d.loops('all'), [])
        self.set(dict(BAD, error_ratio='+Inf'))
        wait_for('the rest is measured', lambda: 'ok' in self.qualities(d))
        self.assertEqual(d.loops('all'), [])
        self.set(BAD)
        wait_for('a real number opens a loop', lambda: d.loops())

    def test_vanished_series(self):
        d = self.start_daemon(prometheus=self.start_prometheus())
        wait_for('figures are in', lambda: self.qualities(d) == {'ok'})
        self.set({k: v for k, v in GOOD.items() if k != 'utilization'})
        wait_for('its absence is seen', lambda: self.qualities(d) == {'ok', 'no_data'})

    def test_bad_query(self):
        rules = RULES.replace('query: test_utilization', 'query: "sum by (test_utilization"')
        d = self.start_daemon(rules=rules, prometheus=self.start_prometheus())
        down = wait_for('it is told', lambda: d.events('source_down'))
        self.assertEqual([e['detail'] for e in down], [{'source': 'prometheus', 'signal': 'utilization'}])
        self.assertIn('parse error', down[0]['reason'])
        source = self.source(d)
        self.assertEqual(source['state'], 'ok')
        self.assertIn('utilization', source['error'])
        self.set(BAD)
        wait_for('the other signals do their work', lambda: d.loops())
        self.assertEqual(len(d.events('source_down')), 1)

    def test_not_there_at_the_start(self):
        d = self.start_daemon(prometheus=f'http://127.0.0.1:{harness.free_port()}')
        wait_for('source_down', lambda: d.events('source_down'))
        self.assertEqual(d.ready()[0], 200)
        self.assertEqual(self.source(d)['last_ok_ms'], None)

    def test_not_a_prometheus(self):
        d = self.start_daemon(prometheus=f'http://127.0.0.1:{self.exporter.port}')
        wait_for('down', lambda: self.source(d)['state'] == 'down')
        self.assertIn('is this the address of a Prometheus?', self.source(d)['error'])


if __name__ == '__main__':
    unittest.main()
