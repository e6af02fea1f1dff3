"""Alerts by webhook, from a real Alertmanager too; what was accepted is never lost."""
import datetime
import json
import sqlite3
import unittest

import harness
from harness import wait_for

RULES = 'signals:\n' + harness.SIGNALS + harness.SERVICES + '''
anomalies:
  - name: paged
    alert: {name: /HighErrorRate/}
plans:
  - name: answer-page
    on: {anomaly: paged, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}
    mode: approve
    target: {service: $svc, dc: $dc}
    keep: [error_ratio <= 1%]
    steps:
      - limit: {by: measured_capacity}
'''
LABELS = {'alertname': 'HighErrorRate', 'service': 'front', 'dc': 'dc-a', 'severity': 'page'}
WEBHOOK = {'version': '4', 'groupKey': '{}:{alertname="HighErrorRate"}', 'status': 'firing', 'receiver': 'trimtab',
           'groupLabels': {'alertname': 'HighErrorRate'}, 'commonLabels': LABELS, 'commonAnnotations': {}, 'externalURL': 'http://127.0.0.1',
           'truncatedAlerts': 0,
           'alerts': [{'status': 'firing', 'labels': LABELS, 'annotations': {}, 'startsAt': '2026-11-23T20:00:00Z', 'endsAt': '0001-01-01T00:00:00Z',
                       'generatorURL': '', 'fingerprint': 'c0ffee'}]}


class Alerts(harness.World):
    def pending(self, d):
        db = sqlite3.connect(f'file:{d.state}/trimtab.db?mode=ro', uri=True)
        try:
            return db.execute('SELECT count(*) FROM delivery WHERE done = 0').fetchone()[0]
        finally:
            db.close()

    def check(self, d):
        loop = wait_for('a loop opens', lambda: d.loops())[0]
        self.assertEqual((loop['plan'], loop['target'], loop['anomaly']), ('answer-page', {'service': 'front', 'dc': 'dc-a'}, 'paged'))
        alert = d.events('alert')[0]
        self.assertIn('HighErrorRate is firing', alert['reason'])
        self.assertEqual(alert['detail']['labels'], {'service': 'front', 'dc': 'dc-a', 'severity': 'page'})
        self.assertEqual(alert['target'], {'service': 'front', 'dc': 'dc-a'})
        wait_for('the delivery is done with', lambda: self.pending(d) == 0)

    def test_alertmanager(self):
        d = self.start_daemon(rules=RULES, prometheus=self.start_prometheus())
        config = self.write('alertmanager.yml', f'''
route: {{receiver: trimtab, group_wait: 100ms, group_interval: 1s, group_by: [alertname]}}
receivers:
  - name: trimtab
    webhook_configs: [{{url: '{d.url}/v1/webhooks/alertmanager', send_resolved: true}}]
''')
        port = harness.free_port()
        am = harness.Process([harness.program('prometheus-alertmanager'), f'--config.file={config}', f'--storage.path={self.path("am")}',
                              f'--web.listen-address=127.0.0.1:{port}', '--cluster.listen-address='], self.path('alertmanager.log'))
        self.addCleanup(am.kill)
        url = f'http://127.0.0.1:{port}'
        wait_for('Alertmanager is ready', lambda: harness.fetch(url + '/-/ready')[0] == 200, 60)

        def post(ends=None):
            alert = {'labels': LABELS, 'annotations': {'summary': 'many errors'}}
            if ends:
                alert['endsAt'] = ends
            return harness.fetch(url + '/api/v2/alerts', json.dumps([alert]), {'Content-Type': 'application/json'})[0]
        self.assertEqual(post(), 200)
        self.check(d)
        now = datetime.datetime.utcnow().isoformat(timespec='milliseconds') + 'Z'
        self.assertEqual(post(ends=now), 200)
        wait_for('the end of it is heard too', lambda: [e for e in d.events('alert') if e['detail']['firing'] is False])

    def test_killed_before_the_tick(self):
        """Whether the kill comes before or after the tick took the alert, the loop is there after the restart."""
        for i in range(3):
            state = f'state{i}'
            d = self.start_daemon(rules=RULES, state=state)
            wait_for('ready', lambda: d.ready()[0] == 200)
            status, text = d.post('/v1/webhooks/alertmanager', WEBHOOK)
            d.kill_9()
            self.assertEqual(status, 202, text)
            d = self.start_daemon(rules=RULES, state=state)
            self.check(d)
            self.assertEqual(len(d.events('loop_opened')), 1)
            d.terminate()

    def test_accepted_and_never_taken(self):
        """The store as a crash leaves it between the answer to the sender and the tick."""
        d = self.start_daemon(rules=RULES)
        wait_for('ready', lambda: d.ready()[0] == 200)
        d.terminate()
        db = sqlite3.connect(d.state + '/trimtab.db')
        with db:
            n = db.execute("UPDATE counter SET value = value + 1 WHERE name = 'delivery' RETURNING value").fetchone()[0]
            db.execute('INSERT INTO delivery (id, source, dedup, at_ms, done, body) VALUES (?, ?, NULL, ?, 0, ?)',
                       (n, 'alertmanager', 1790000000000, json.dumps(WEBHOOK).encode()))
        db.close()
        d = self.start_daemon(rules=RULES)
        self.check(d)

    def test_repeated_delivery(self):
        d = self.start_daemon(rules=RULES)
        for _ in range(3):
            self.assertEqual(d.post('/v1/webhooks/alertmanager', WEBHOOK)[0], 202)
            wait_for('taken', lambda: d.events('alert') and self.pending(d) == 0)
        self.assertEqual(len(d.events('alert')), 1)
        self.assertEqual(len(d.loops()), 1)


if __name__ == '__main__':
    unittest.main()
