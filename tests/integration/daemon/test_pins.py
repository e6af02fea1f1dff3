"""Pins over the API and the command line, and a mesh that has something else than was decided."""
import json
import unittest

import harness
from harness import RULES, wait_for
from test_cli import run


def limit(d):
    for x in d.in_force():
        for a in x['actions']:
            if a['action'] == 'limit':
                return a['rps']
    return None


class Pins(harness.World):
    def test_command_line(self):
        d = self.start_daemon()
        at = dict(TRIMTAB_SERVER=d.url)
        self.assertEqual(run('pins', **at), (0, 'nothing is pinned\n', ''))
        code, out, err = run('pin', 'front/dc-a', 'limit=500', '--for', '30m', '--reason', 'a drill', **at)
        self.assertEqual((code, err), (0, ''))
        pin = out.split()[-1].strip('`')
        wait_for('the pin is in force', lambda: limit(d) == 500)
        self.assertIn(pin, d.in_force()[0]['loops'])
        code, out, err = run('pins', **at)
        for text in (pin, 'front/dc-a', 'limit', '500 rps', 'a drill'):
            self.assertIn(text, out)
        listed = json.loads(run('pins', '-o', 'json', **at)[1])
        self.assertEqual([(p['id'], p['target'], p['action'], p['value'], p['reason']) for p in listed],
                         [(pin, {'service': 'front', 'dc': 'dc-a'}, 'limit', 500, 'a drill')])
        self.assertLessEqual(listed[0]['left_ms'], 1800000)
        self.assertEqual([p['id'] for p in d.get('/v1/status')['pins']], [pin])
        # It outlives the daemon, and another takes its place.
        d.kill_9()
        d = self.start_daemon()
        at = dict(TRIMTAB_SERVER=d.url)
        wait_for('the pin is in force again', lambda: limit(d) == 500)
        self.assertEqual([p['id'] for p in d.get('/v1/pins')['items']], [pin])
        code, out, _ = run('pin', 'front/dc-a', 'limit=300', '--for', '1h', '--reason', 'less', **at)
        self.assertEqual(code, 0)
        other = out.split()[-1].strip('`')
        wait_for('the new one is in force', lambda: limit(d) == 300)
        self.assertEqual([p['id'] for p in d.get('/v1/pins')['items']], [other])
        self.assertEqual(run('unpin', other, '--reason', 'it is over', **at)[0], 0)
        wait_for('nothing is in force', lambda: not d.in_force())
        self.assertIn('it is over', d.events('unpinned')[-1]['reason'])
        code, _, err = run('unpin', other, '--reason', 'again', **at)
        self.assertEqual(code, 1)
        self.assertIn('there is no pin', err)
        # Its time comes by itself.
        self.assertEqual(run('pin', 'front/dc-a', 'drop:batch=50%', '--for', '1s', '--reason', 'short', **at)[0], 0)
        wait_for('it is let go', lambda: [e for e in d.events('unpinned') if 'its 1s are over' in e['reason']])
        wait_for('nothing is in force', lambda: not d.in_force())
        pinned = d.events('pinned')
        self.assertEqual([(e['action'], e['to']) for e in pinned], [('limit', 500), ('limit', 300), ('drop:batch', 0.5)])
        d.terminate()
        harness.check_chain(self, d.journal())

    def test_what_is_refused(self):
        d = self.start_daemon(RULES + 'guardrails: {protected: [/^auth-/]}\n')
        at = dict(TRIMTAB_SERVER=d.url)
        good = ['--for', '30m', '--reason', 'x']
        for args, code, says in ((['front/dc-a'], 2, 'needs the target and what to set'), (['front/dc-a', 'limit=500', '--reason', 'x'], 2, 'needs --for'),
                                 (['front/dc-a', 'limit=500', '--for', '30m'], 2, 'needs --reason'), (['front/dc-a', 'limit', *good], 2, 'sets nothing'),
                                 (['front/dc-a', 'limit=lots', *good], 2, 'no value of limit'), (['front/dc-x', 'limit=500', *good], 1, 'no data center dc-x'),
                                 (['front', 'limit=500', *good], 1, 'set in one data center'), (['front/dc-a', 'limt=500', *good], 1, 'action is one of limit'),
                                 (['front/dc-a', 'drop:bach=50%', *good], 1, 'there is no priority bach'), (['front/dc-a', 'drop=50%', *good], 1, 'drop needs the priority'),
                                 (['front/dc-a', 'limit=500', '--for', '8d', '--reason', 'x'], 1, '1s to 7d'),
                                 (['front/dc-a', 'limit=500', '--for', 'long', '--reason', 'x'], 1, 'how long is needed'),
                                 (['front', 'weights=dc-a:60%', *good], 1, 'do not add up')):
            got = run('pin', *args, **at)
            self.assertEqual(got[0], code, (args, got))
            self.assertIn(says, got[2], args)
        for body, status, pointer in (({}, 422, '/target'), ({'target': {'service': 'front', 'dc': 'dc-a'}}, 422, '/action'),
                                      ({'target': {'service': 'front', 'dc': 'dc-a'}, 'action': 'limit'}, 422, '/value'),
                                      ({'target': {'service': 'front', 'dc': 'dc-a'}, 'action': 'limit', 'value': '5'}, 422, '/value'),
                                      ({'target': {'service': 'front', 'dc': 'dc-a'}, 'action': 'limit', 'value': 5}, 422, '/for'),
                                      ({'target': {'service': 'front', 'dc': 'dc-a'}, 'action': 'limit', 'value': 5, 'for': '30m'}, 422, '/reason'),
                                      ({'target': {'service': 'front', 'dc': 'dc-a'}, 'action': 'limit', 'name': 'x', 'value': 5}, 422, '/name')):
            got = d.post('/v1/pins', body)
            self.assertEqual(got[0], status, got)
            self.assertEqual(json.loads(got[1])['errors'][0]['pointer'], pointer)
        self.assertEqual(harness.fetch(d.url + '/v1/pins/01NOSUCH', method='DELETE')[0], 404)
        self.assertEqual(d.get('/v1/pins')['items'], [])
        self.assertEqual(d.in_force(), [])


class Drift(harness.World):
    """An agent is what its reports say. It is heard of at every look, so that it stays connected."""

    def agent(self, d, **says):
        query = f'/v1/decisions?service=front&dc=dc-a&instance=i1&version={says.get("version", 0)}&epoch={says.get("epoch", 0)}'
        seen = json.loads(harness.fetch(d.url + query)[1])
        body = dict(dict(service='front', dc='dc-a', instance='i1', span_ms=1000, epoch=seen['epoch'], version=seen['version']), **says)
        status, text = d.post('/v1/reports', body)
        self.assertEqual(status, 204, text)
        return seen

    def start(self):
        d = self.start_daemon()
        code, _, err = run('pin', 'front/dc-a', 'limit=500', '--for', '30m', '--reason', 'a drill', TRIMTAB_SERVER=d.url)
        self.assertEqual(code, 0, err)
        wait_for('the pin is in force', lambda: limit(d) == 500)
        wait_for('the agent has it', lambda: self.agent(d, in_force='ours') and not d.get('/v1/agents')['items'][0]['behind'])
        self.assertEqual(d.events('drift'), [])
        return d

    def test_lost(self):
        d = self.start()
        first = self.agent(d, in_force='none', found='taken away')['version']
        wait_for('it is told', lambda: self.agent(d, in_force='none', found='taken away') and d.events('drift'))
        event = d.events('drift')[0]
        self.assertEqual(event['target'], {'service': 'front', 'dc': 'dc-a'})
        self.assertIn('100 % of the instances of front in dc-a have lost what was decided, i1: taken away', event['reason'])
        self.assertEqual(d.get('/v1/agents')['items'][0]['in_force'], 'none')
        wait_for('ours is told again and again', lambda: self.agent(d, in_force='none', found='taken away')['version'] >= first + 3, 40)
        self.assertEqual([x['kind'] for x in d.get('/v1/status')['drift']], ['lost'])
        wait_for('it is over', lambda: self.agent(d, in_force='ours') and len(d.events('drift')) == 2, 40)
        self.assertIn('has what was decided again', d.events('drift')[1]['reason'])
        self.assertEqual(d.get('/v1/status')['drift'], [])
        self.assertEqual(d.events('page'), [])

    def test_rival(self):
        d = self.start()
        wait_for('a person is called', lambda: self.agent(d, epoch=99, version=7) and d.events('page'), 60)
        self.assertIn('somebody else keeps writing', d.events('page')[0]['reason'])
        self.assertIn('names epoch 99, version 7', d.events('drift')[0]['reason'])
        state = d.get('/v1/status')['drift'][0]
        self.assertEqual((state['kind'], state['overwrites'], state['yielded']), ('foreign', 3, True))
        self.assertEqual(d.get('/v1/agents')['items'][0]['in_force'], 'other')
        status, text = d.post('/v1/reports', dict(service='front', instance='i1', span_ms=1000, in_force='mine'))
        self.assertEqual(status, 422)
        self.assertIn('ours, other or none', text)


if __name__ == '__main__':
    unittest.main()
