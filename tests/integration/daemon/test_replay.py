"""What the daemon records is what `trimtab replay` reproduces: over a loop, a reload, a command, a kill -9; and what was changed is found."""
import glob
import json
import os
import struct
import subprocess
import unittest
import zlib

import harness
from harness import BAD, GOOD, wait_for

MAGIC = b'trimtab recording 1\n'


def trimtab(*args):
    p = subprocess.run([harness.TRIMTAB, *args], capture_output=True, text=True, timeout=120)
    bad = [m for m in ('AddressSanitizer', 'runtime error:') if m in p.stderr]
    assert not bad, p.stderr[-6000:]
    return p.returncode, p.stdout, p.stderr


def content(path):
    with open(path, 'rb') as f:
        return f.read()


def frames(path):
    """[(kind, payload)] of a segment."""
    data = content(path)
    assert data.startswith(MAGIC)
    at, out = len(MAGIC), []
    while at < len(data):
        n, crc, kind = struct.unpack_from('<IIB', data, at)
        payload = data[at + 9:at + 9 + n]
        assert zlib.crc32(bytes([kind]) + payload) == crc, f'frame at {at}'
        out.append((kind, payload))
        at += 9 + n
    return out


def rewrite(path, change):
    """Changes the records inside and seals them again: damage no checksum shows."""
    all_frames = frames(path)
    inflate, deflate, out = zlib.decompressobj(), zlib.compressobj(), MAGIC
    stream = b''.join(inflate.decompress(p) for k, p in all_frames if k == ord('D'))
    changed = change(stream)
    assert changed != stream and len(changed) == len(stream)
    body = deflate.compress(changed) + deflate.flush(zlib.Z_SYNC_FLUSH)
    for kind, payload in [(ord('H'), all_frames[0][1]), (ord('D'), body)]:
        out += struct.pack('<IIB', len(payload), zlib.crc32(bytes([kind]) + payload), kind) + payload
    with open(path, 'wb') as f:
        f.write(out)


class Replay(harness.World):
    def recorded(self, d):
        return sorted(glob.glob(os.path.join(d.state, 'recording', '*.rec')))

    def incident(self, d):
        wait_for('good figures are in', lambda: len(d.get('/v1/signals')['items']) == 5)
        self.set(BAD)
        wait_for('a decision is told', d.in_force)
        return d.loops()[0]['id']

    def over(self, d):
        self.set(GOOD)
        wait_for('everything is withdrawn', lambda: not d.in_force() and not d.loops(), 90)

    def replay(self, path, *more):
        code, out, err = trimtab('replay', path, '--json', *more)
        return code, json.loads(out) if out else None, err

    def test_a_loop_comes_out_again(self):
        d = self.start_daemon(prometheus=self.start_prometheus())
        self.assertEqual(d.get('/v1/status')['recording']['state'], 'ok')
        loop = self.incident(d)
        # It can be replayed while it is written.
        live, seen, err = self.replay(os.path.join(d.state, 'recording'))
        self.assertEqual(live, 0, err)
        self.assertTrue(seen['identical'])
        self.write('rules.yaml', harness.RULES.replace('error_ratio > 5%', 'error_ratio > 6%'))
        self.assertEqual(d.post('/-/reload', {})[0], 200)
        self.assertEqual(d.post('/v1/automation:freeze', {'reason': 'test'})[0], 202)
        wait_for('frozen', lambda: d.get('/v1/status')['frozen'])
        self.assertEqual(d.post('/v1/automation:resume', {'reason': 'test'})[0], 202)
        self.over(d)
        self.check_explain(d, loop)
        d.terminate()
        files = self.recorded(d)
        self.assertEqual(len(files), 1)
        self.assertTrue(content(files[0])[29:].startswith(b'{"format":1,"run":"'), 'the head is there to be read')
        code, seen, err = self.replay(files[0])
        self.assertEqual(code, 0, err)
        self.assertTrue(seen['identical'])
        self.assertEqual((seen['runs'], seen['torn'], seen['damaged'], seen['begun_near']), (1, [], [], []))
        self.assertGreater(seen['ticks'], 10)
        self.assertGreaterEqual(seen['decisions'], 2)
        journal = [json.loads(body) for *_, body, _ in d.journal()]
        mine = ('started', 'resumed', 'source_up', 'source_down', 'alert', 'rules_refused', 'store_up', 'recording_stopped', 'recording_resumed')
        self.assertEqual(seen['events'], sum(e['kind'] not in mine for e in journal))
        code, out, err = trimtab('replay', files[0])
        self.assertEqual(code, 0)
        self.assertRegex(out, rf"^{seen['ticks']} ticks, {seen['decisions']} decisions, {seen['events']} events: identical \(")
        code, out, err = trimtab('replay', files[0], '--verbose')
        self.assertIn('loop_opened front@dc-a', out)
        self.check_a_changed_decision(files[0], loop)
        self.check_damage(files[0])

    def check_explain(self, d, loop):
        """The same from the daemon and from its recording: what, why, by which rule, from what."""
        action = next(e for e in d.events('action') if e['action'] == 'limit' and e['from'] is None)
        path = os.path.join(d.state, 'recording')
        seen = {}
        for where in (('--server', d.url), ('--journal', path)):
            code, out, err = trimtab('explain', str(action['seq']), '--json', *where)
            self.assertEqual(code, 0, err)
            seen[where[0]] = json.loads(out)
            code, out, err = trimtab('explain', f"v{action['version']}", '--json', *where)
            self.assertEqual(code, 0, err)
            self.assertEqual(json.loads(out)['event'], action)
            code, out, err = trimtab('explain', loop, *where)
            self.assertEqual(code, 0, err)
            for word in ('loop_opened', 'its last move:', 'limit: ', 'plan        shed (auto), ', 'rules.yaml:', 'INPUT ', 'offered_rps'):
                self.assertIn(word, out)
            self.assertEqual(trimtab('explain', '999999', *where)[0], 1)
            self.assertEqual(trimtab('explain', loop[:-1] + ('0' if loop[-1] != '0' else '1'), *where)[0], 1)
        for o in seen.values():
            self.assertEqual(o['event'], action)
            self.assertEqual((o['plan']['name'], o['step']['kind'], o['trigger']['anomaly']), ('shed', 'limit', 'overload'))
            self.assertEqual(o['step']['text'], ['- limit: {by: measured_capacity}'])
            self.assertEqual(o['trigger']['opened']['loop'], loop)
            self.assertEqual(next(i for i in o['inputs'] if i['name'] == 'offered_rps')['query'], 'test_offered_rps')
            self.assertTrue(o['after'])
        recorded = seen['--journal']
        self.assertEqual(recorded['decision']['version'], action['version'])
        self.assertEqual(next(i for i in recorded['inputs'] if i['name'] == 'error_ratio')['quality'], 'ok')
        self.assertEqual(trimtab('explain', 'nonsense')[0], 2)
        self.assertEqual(trimtab('explain', '1', '--journal', self.path('rules.yaml'))[0], 3)

    def check_a_changed_decision(self, path, loop):
        copy = self.path('changed.rec')
        with open(copy, 'wb') as f:
            f.write(content(path))

        def change(stream):
            at = stream.index(b'"rps":', stream.index(b'"loops":["')) + len(b'"rps":')
            digit = stream[at:at + 1]
            return stream[:at] + (b'8' if digit == b'9' else b'9') + stream[at + 1:]

        rewrite(copy, change)
        code, seen, err = self.replay(copy)
        self.assertEqual(code, 1, err)
        d = seen['difference']
        self.assertEqual((d['what'], d['target'], d['file']), ('decision', {'service': 'front', 'dc': 'dc-a'}, copy))
        self.assertEqual([f['field'] for f in d['fields']], ['actions[0].rps'])
        self.assertEqual(d['recorded']['loops'], [loop])
        self.assertNotEqual(d['fields'][0]['recorded'], d['fields'][0]['now'])
        self.assertIn('error_ratio', [s['name'] for s in d['inputs']])
        self.assertEqual({r['side'] for r in d['reasons']}, {'both'})
        code, out, err = trimtab('replay', copy)
        self.assertEqual(code, 1)
        for word in ('identical; then', 'the decision for front@dc-a differs', 'actions[0].rps', 'what it was decided from', 'offered_rps'):
            self.assertIn(word, out)

    def check_damage(self, path):
        whole = content(path)
        torn = self.path('torn.rec')
        with open(torn, 'wb') as f:
            f.write(whole[:-11])
        code, seen, err = self.replay(torn)
        self.assertEqual(code, 0, err)
        self.assertTrue(seen['identical'] and seen['ticks'] > 10)
        self.assertEqual(seen['torn'][0]['file'], torn)
        middle = len(whole) // 2
        with open(torn, 'wb') as f:
            f.write(whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1:])
        code, out, err = trimtab('replay', torn)
        self.assertEqual(code, 3)
        self.assertRegex(err, r'damaged at byte \d+: a frame\'s checksum does not hold')
        code, out, err = trimtab('replay', self.path('rules.yaml'))
        self.assertEqual(code, 3)
        self.assertIn('is no recording', err)

    def test_a_killed_daemon_goes_on_in_a_new_segment(self):
        url = self.start_prometheus()
        d = self.start_daemon(prometheus=url)
        self.incident(d)
        d.kill_9()
        d = self.start_daemon(prometheus=url)
        wait_for('the loop is taken up', lambda: d.loops())
        self.over(d)
        d.terminate()
        files = self.recorded(d)
        self.assertEqual(len(files), 2)
        code, seen, err = self.replay(os.path.join(d.state, 'recording'))
        self.assertEqual(code, 0, err)
        self.assertTrue(seen['identical'])
        self.assertEqual((seen['runs'], seen['segments'], len(seen['torn']), seen['begun_near']), (2, 2, 1 if seen['torn'] else 0, []))
        for path in files:
            code, alone, err = self.replay(path)
            self.assertEqual(code, 0, err)
            self.assertGreaterEqual(alone['decisions'], 1)

    def test_other_rules(self):
        d = self.start_daemon(prometheus=self.start_prometheus())
        self.incident(d)
        self.over(d)
        d.terminate()
        path = os.path.join(d.state, 'recording')
        blind = self.write('blind.yaml', harness.RULES.replace('error_ratio > 5%', 'error_ratio > 90%').replace('name: utilization', 'name: cpu'))
        code, seen, err = self.replay(path, '--rules', blind)
        self.assertEqual(code, 0, err)
        self.assertEqual(seen['signals_missing'], 1)
        self.assertEqual(seen['events']['loop_opened'], {'recorded': 1, 'now': 0})
        loop, = seen['loops']
        self.assertEqual((loop['plan'], loop['now']), ('shed', None))
        self.assertEqual(loop['recorded']['moved'][0]['action'], 'limit')
        same = self.write('same.yaml', harness.RULES)
        code, seen, err = self.replay(path, '--rules', same)
        loop, = seen['loops']
        self.assertEqual(loop['recorded']['opened_ms'], loop['now']['opened_ms'])
        code, out, err = trimtab('replay', path, '--rules', blind)
        self.assertEqual(code, 0)
        for word in ('with other rules', '1 of their signals was not recorded', 'shed', 'no loop', 'recorded'):
            self.assertIn(word, out)
        bad = self.write('bad.yaml', 'plans: [{nonsense: 1}]')
        code, out, err = trimtab('replay', path, '--rules', bad)
        self.assertEqual(code, 1)
        self.assertIn('bad.yaml:1:', err)

    def test_usage(self):
        self.assertEqual(trimtab('replay')[0], 2)
        self.assertEqual(trimtab('replay', 'a', 'b')[0], 2)
        self.assertEqual(trimtab('replay', 'a', '--from', 'yesterday')[0], 2)
        self.assertEqual(trimtab('replay', '/nonexistent')[0], 3)
        for args in (('--record-max', '1MiB'), ('--record-max', 'much'), ('--record-keep', 'long')):
            self.assertEqual(trimtab('serve', '--rules', 'x', *args)[0], 2)

    def test_no_recording(self):
        d = self.start_daemon(args=('--record', 'off'))
        self.assertEqual(d.get('/v1/status')['recording']['state'], 'off')
        self.assertNotIn('trimtab_recording', harness.fetch(d.url + '/metrics')[1])
        d.terminate()
        self.assertEqual(self.recorded(d), [])
        # Somebody named it: it has to work. The default may fail, and is said.
        code, out, err = trimtab('serve', '--rules', d.rules_path, '--state', self.path('other'), '--listen', '127.0.0.1:0', '--record', '/dev/null/x')
        self.assertEqual(code, 1)
        self.assertIn('cannot make the directory of the recording', err)
        self.write('in-the-way', '')
        os.makedirs(self.path('third'))
        with open(self.path('third/recording'), 'w'):
            pass
        d = self.start_daemon(state='third')
        self.assertIn('not_recording', d.log())
        self.assertEqual(d.get('/v1/status')['recording']['state'], 'off')


if __name__ == '__main__':
    unittest.main()
