"""The world's faults: ports, directories, full disks, a database that goes away."""
import os
import resource
import signal
import socket
import subprocess
import unittest

import harness
from harness import BAD, wait_for


class Start(harness.World):
    def refused(self, d):
        wait_for('it ends', lambda: d.p.poll() is not None)
        d.reader.join(5)
        self.assertEqual(d.p.returncode, 1, d.log())
        return d.log()

    def test_port_in_use(self):
        d = self.start_daemon()
        port = d.url.rsplit(':', 1)[1]
        other = self.start_daemon(args=['--listen', f'127.0.0.1:{port}'], state='other')
        self.assertIn(f'127.0.0.1 port {port} is in use', self.refused(other))
        # By mistake twice with one state directory: the one that runs is not put out.
        self.refused(self.start_daemon(args=['--listen', f'127.0.0.1:{port}']))
        twin = self.refused(self.start_daemon())
        self.assertIn('another trimtab', twin)
        self.assertEqual(d.ready()[0], 200)
        self.assertEqual(d.get('/v1/status')['epoch'], 1)

    def test_not_loopback(self):
        text = self.refused(self.start_daemon(args=['--listen', '0.0.0.0:0']))
        self.assertIn('0.0.0.0', text)

    def test_state_directory(self):
        self.write('file', '')
        for state in ('file', 'file/below'):
            text = self.refused(self.start_daemon(state=state))
            self.assertIn(self.path('file'), text)
            self.assertIn('directory', text)

    def test_bad_rules(self):
        text = self.refused(self.start_daemon(rules='signals: [7]\n'))
        self.assertRegex(text, r'rules\.yaml:1:\d+: ')
        self.assertFalse(os.path.exists(self.path('state')), 'nothing may be made for rules that do not run')


class FullDisk(harness.World):
    """A limit on file sizes is a disk that is full for this process alone."""

    def room(self, d, some):
        n = resource.RLIM_INFINITY if some else 0
        resource.prlimit(d.p.pid, resource.RLIMIT_FSIZE, (n, resource.RLIM_INFINITY))

    def metric(self, d, name):
        return sum(float(l.split()[1]) for l in harness.fetch(d.url + '/metrics')[1].splitlines() if l.startswith(name + ' '))

    def test_nothing_is_told_before_it_is_durable(self):
        d = self.start_daemon(prometheus=self.start_prometheus())
        wait_for('figures are in', lambda: len(d.get('/v1/signals')['items']) == 5)
        self.assertEqual(d.ready()[0], 200)
        last = d.events()[-1]['seq']
        self.room(d, False)
        self.set(BAD)
        wait_for('not ready', lambda: d.ready()[0] == 503 and 'no room left' in d.ready()[1])
        wait_for('its own view says so', lambda: d.get('/v1/status')['store']['state'] == 'down')
        ticks = self.metric(d, 'trimtab_ticks_total')
        wait_for('it tries again', lambda: self.metric(d, 'trimtab_commit_failures_total') >= 4)
        self.assertEqual(self.metric(d, 'trimtab_ticks_total'), ticks, 'nothing new may be decided meanwhile')
        self.assertEqual(d.in_force(), [])
        self.assertEqual(d.events()[-1]['seq'], last)
        self.assertEqual(d.log().count('event=store_down'), 1)
        status, _ = d.post('/v1/webhooks/alertmanager', {'version': '4', 'groupKey': 'g', 'alerts': [{'status': 'firing', 'labels': {'alertname': 'X'}}]})
        self.assertEqual(status, 503)
        self.room(d, True)
        wait_for('it acts once there is room', d.in_force)
        wait_for('ready', lambda: d.ready()[0] == 200)
        up = wait_for('the journal tells of it', lambda: d.events('store_up'))
        self.assertEqual(len(up), 1)
        self.assertIn('no room left', up[0]['reason'])
        self.assertEqual(len(d.events('loop_opened')), 1)
        d.terminate()
        harness.check_chain(self, d.journal())

    def test_stops_with_a_full_disk(self):
        d = self.start_daemon(prometheus=self.start_prometheus())
        self.room(d, False)
        self.set(BAD)
        wait_for('not ready', lambda: d.ready()[0] == 503)
        d.terminate()


class Database(harness.World):
    def test_postgres_goes_and_comes_back(self):
        pg = harness.Postgres(self)
        d = self.start_daemon(prometheus=self.start_prometheus(), store=pg.url)
        wait_for('figures are in', lambda: len(d.get('/v1/signals')['items']) == 5)
        pg.stop()
        self.set(BAD)
        wait_for('not ready', lambda: d.ready()[0] == 503, 40)
        self.assertEqual(d.in_force(), [])
        pg.process = subprocess.Popen(pg.process.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd='/', **pg.kw)
        wait_for('it acts once the database is back', d.in_force, 60)
        wait_for('ready', lambda: d.ready()[0] == 200)

    def test_taken_over(self):
        """Another trimtab with the same database: the older one may not act any more."""
        pg = harness.Postgres(self)
        url = self.start_prometheus()
        first = self.start_daemon(prometheus=url, store=pg.url)
        wait_for('figures are in', lambda: len(first.get('/v1/signals')['items']) == 5)
        second = self.start_daemon(prometheus=url, store=pg.url, state='second')
        self.set(BAD)
        wait_for('the second acts', second.in_force)
        wait_for('the first does not', lambda: first.ready()[0] == 503 and 'took over' in first.ready()[1])
        self.assertEqual(first.in_force(), [])
        self.assertEqual({e['epoch'] for e in second.in_force()}, {2})


class Stop(harness.World):
    def test_second_signal_ends_at_once(self):
        d = self.start_daemon()
        # A client that is slow to read its answer must not hold up the end for long; a second signal does not wait at all.
        with socket.create_connection(('127.0.0.1', int(d.url.rsplit(':', 1)[1]))) as s:
            s.sendall(b'POST /v1/reports HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{')
            d.p.send_signal(signal.SIGTERM)
            wait_for('it is stopping', lambda: 'event=stopping' in d.log())
            d.p.send_signal(signal.SIGTERM)
            self.assertIn(d.p.wait(5 * harness.SLOW), (0, 1, -signal.SIGTERM))


if __name__ == '__main__':
    unittest.main()
