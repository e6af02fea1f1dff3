"""Killed, stopped, reloaded: what was begun is taken up again."""
import os
import signal
import sqlite3
import unittest

import harness
from harness import BAD, GOOD, RULES, wait_for


class Restart(harness.World):
    def test_killed_in_mid_loop(self):
        url = self.start_prometheus()
        d = self.start_daemon(prometheus=url)
        self.set(BAD)
        wait_for('a decision is told', d.in_force)
        told = d.in_force()
        events = d.events()
        loop = d.loops()[0]['id']
        d.kill_9()
        self.prometheus.signal(signal.SIGSTOP)  # nothing new to see: what follows comes from memory alone
        try:
            again = self.start_daemon(prometheus=url)
            fresh = wait_for('the decision is issued anew', lambda: [x for x in again.in_force() if x['epoch'] == 2])
            self.assertEqual(fresh[0]['actions'], told[0]['actions'])
            self.assertGreater(fresh[0]['version'], told[0]['version'])
            self.assertEqual(again.decisions()['epoch'], 2)
        finally:
            self.prometheus.signal(signal.SIGCONT)
        self.assertEqual([x['id'] for x in again.loops()], [loop])
        self.assertEqual(again.get('/v1/status')['epoch'], 2)
        after = again.events()
        self.assertEqual(after[:len(events)], events, 'a journalled event was lost or changed')
        resumed = again.events('resumed')
        self.assertEqual(len(resumed), 1)
        self.assertIn('1 open loop is taken up', resumed[0]['reason'])
        self.assertEqual(len(again.events('loop_opened')), 1)
        self.set(GOOD)
        wait_for('the loop ends as if nothing had been', lambda: not again.loops() and not again.in_force(), 90)
        again.terminate()
        harness.check_chain(self, again.journal())

    def test_killed_again_and_again(self):
        url = self.start_prometheus()
        self.set(BAD)
        last = []
        for n in range(1, 6):
            d = self.start_daemon(prometheus=url)
            self.assertEqual(d.get('/v1/status')['epoch'], n)
            if n < 3:
                wait_for('it has begun', lambda: d.events('started' if n == 1 else 'resumed') or d.events('started'))
            else:
                wait_for('a decision is told', d.in_force)
            rows = d.events()
            self.assertEqual(rows[:len(last)], last)
            last = rows
            d.kill_9()
            harness.check_chain(self, d.journal())

    def test_clean_stop_keeps_everything(self):
        url = self.start_prometheus()
        d = self.start_daemon(prometheus=url)
        self.set(BAD)
        wait_for('a decision is told', d.in_force)
        actions = d.in_force()[0]['actions']
        d.terminate()
        d = self.start_daemon(prometheus=url)
        wait_for('it is in force', lambda: d.in_force() and d.in_force()[0]['actions'] == actions)

    def test_unreadable_state(self):
        d = self.start_daemon()
        wait_for('it has begun', lambda: d.events('started'))
        d.terminate()
        with sqlite3.connect(d.state + '/trimtab.db') as db:
            db.execute("UPDATE engine_state SET body = ?", (b'{"format": 1, "loops": 7',))
        db.close()
        d = self.start_daemon()
        started = wait_for('it starts all the same', lambda: d.events('started')[1:])
        self.assertIn('cannot be read', started[0]['reason'])
        copies = [f for f in os.listdir(d.state) if f.startswith('state-unreadable-')]
        self.assertEqual(len(copies), 1)
        with open(os.path.join(d.state, copies[0])) as f:
            self.assertEqual(f.read(), '{"format": 1, "loops": 7')
        self.assertIn('event=state_unreadable', d.log())


class Reload(harness.World):
    BROKEN = RULES.replace('when: error_ratio > 5%', 'when: eror_ratio > 5%')

    def rules(self, text):
        """As an editor or git does it: the new file takes the old one's place."""
        os.replace(self.write('new.yaml', text), self.path('rules.yaml'))

    def test_bad_file_keeps_the_rules(self):
        url = self.start_prometheus()
        d = self.start_daemon(prometheus=url)
        before = d.get('/v1/status')['rules']
        self.rules(self.BROKEN)
        d.p.send_signal(signal.SIGHUP)
        refused = wait_for('rules_refused', lambda: d.events('rules_refused'))[0]
        line = 1 + self.BROKEN[:self.BROKEN.index('eror_ratio')].count('\n')
        self.assertRegex(refused['reason'], rf'rules\.yaml:{line}:\d+: .*eror_ratio')
        self.assertEqual(refused['detail']['errors'][0]['line'], line)
        now = d.get('/v1/status')['rules']
        self.assertEqual((now['hash'], now['plans']), (before['hash'], before['plans']))
        self.assertIn('eror_ratio', now['error'])
        self.assertRegex(d.log(), rf'event=rules_refused .*rules\.yaml:{line}:')
        self.set(BAD)
        wait_for('the old rules do their work', d.in_force)
        # The way over HTTP tells the same, to who asks.
        status, text = d.post('/-/reload', {})
        self.assertEqual(status, 422)
        self.assertIn('eror_ratio', text)
        self.rules(RULES + '\n# and a remark\n')
        status, text = d.post('/-/reload', {})
        self.assertEqual(status, 200, text)
        self.assertIsNone(d.get('/v1/status')['rules']['error'])
        wait_for('rules_changed', lambda: d.events('rules_changed'))
        self.assertEqual(len(d.loops()), 1)

    def test_changed_under_a_loop(self):
        """Signals move, plans go and come while a loop is open: nothing of the old rules may be touched any more."""
        url = self.start_prometheus()
        d = self.start_daemon(prometheus=url)
        self.set(BAD)
        wait_for('a decision is told', d.in_force)
        loop = d.loops()[0]['id']
        fewer = RULES.replace('  - {name: ok_rps, query: test_ok_rps, every: 1s}\n', '').replace('name: shed', 'name: other')
        more = RULES.replace('signals:\n', 'signals:\n  - {name: extra, query: test_offered_rps * 2, every: 2s}\n')
        for i, text in enumerate((fewer, RULES, more, fewer, more)):
            self.rules(text)
            d.p.send_signal(signal.SIGHUP)
            wait_for('rules_changed', lambda: len(d.events('rules_changed')) == i + 1)
            self.assertTrue(d.get(f'/v1/loops/{loop}'))
        wait_for('the new signal is measured', lambda: [s for s in d.get('/v1/signals')['items'] if s['name'] == 'extra' and s['quality'] == 'ok'])
        self.set(GOOD)
        wait_for('everything is withdrawn', lambda: not d.in_force(), 90)
        d.terminate()


if __name__ == '__main__':
    unittest.main()
