"""The command line: what it says, and its exit codes."""
import json
import os
import subprocess
import unittest

import harness
from harness import BAD, RULES, TRIMTAB, wait_for


def run(*args, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith('TRIMTAB_') and k != 'STATE_DIRECTORY'}
    r = subprocess.run([TRIMTAB, *args], capture_output=True, text=True, timeout=60 * harness.SLOW, env=dict(clean, **env))
    return r.returncode, r.stdout, r.stderr


class Usage(unittest.TestCase):
    def test_table(self):
        nobody = f'http://127.0.0.1:{harness.free_port()}'
        cases = [  # arguments, exit code, part of stdout, part of stderr
            ([], 2, '', 'usage: trimtab COMMAND'),
            (['--help'], 0, 'Commands:', ''),
            (['help'], 0, 'Commands:', ''),
            (['--version'], 0, 'trimtab 0.', ''),
            (['version', '--jsno'], 2, '', 'did you mean --json?'),
            (['chekc'], 2, '', 'did you mean check?'),
            (['xyzzy'], 2, '', 'there is no command "xyzzy"\n'),
            (['serve'], 2, '', 'serve needs --rules'),
            (['serve', '--rules'], 2, '', '--rules needs FILE|DIR behind it'),
            (['serve', '--promethus', 'x'], 2, '', 'did you mean --prometheus?'),
            (['serve', '--rules', 'x', '--listen', '::1'], 2, '', '[::1]:7070'),
            (['serve', '--rules', 'x', '--listen', '127.0.0.1:99999'], 2, '', 'no address and port'),
            (['serve', '--rules', 'x', '--log-level', 'loud'], 2, '', 'none of debug'),
            (['serve', '--rules', 'x', '--prometheus', '127.0.0.1:9090'], 2, '', 'like http://127.0.0.1:9090'),
            (['serve', '--rules', '/nowhere/at/all'], 1, '', '/nowhere/at/all'),
            (['check'], 2, '', 'check needs a file'),
            (['loops', 'lst'], 2, '', 'did you mean list?'),
            (['loops', 'get'], 2, '', "needs the loop's id"),
            (['loops', 'abort', 'X'], 2, '', 'needs --reason'),
            (['loops', '--state', 'x'], 2, '', 'open, closed or all'),
            (['loops', '-o', 'xml'], 2, '', 'table or json'),
            (['loops', 'list', 'more'], 2, '', 'one word too many'),
            (['approve', 'X'], 2, '', 'needs --reason'),
            (['capacity', 'front'], 2, '', 'one word too many'),
            (['capacity', '--step', '5%'], 2, '', 'a test needs --service'),
            (['capacity', '--service', 'x', '--max', '5%'], 2, '', 'how large its steps are'),
            (['capacity', '--service', 'x', '--step', '5'], 2, '', '0.5% to 25%'),
            (['capacity', '--service', 'x', '--step', '5%', '--max', '1%'], 2, '', 'at least a step'),
            (['capacity', '--service', 'x', '--step', '5%', '--hold', '1s'], 2, '', '5s to 10m'),
            (['capacity', '--server', nobody], 6, '', 'no daemon'),
            (['capacity', '--service', 'x', '--step', '5%', '--server', nobody], 6, '', 'no daemon'),
            (['freeze'], 2, '', 'needs --reason'),
            (['loops', '--server', nobody], 6, '', f'no daemon at {nobody}'),
            (['loops', 'watch', '--server', nobody], 6, '', f'no daemon at {nobody}'),
            (['freeze', '--server', nobody, '--reason', 'x'], 6, '', 'no daemon'),
        ]
        for command in ('serve', 'check', 'rehearse', 'backtest', 'capacity', 'loops', 'approve', 'freeze', 'resume', 'pin', 'pins', 'unpin', 'version'):
            cases.append(([command, '--help'], 0, f'usage: trimtab {command}', ''))
            cases.append(([command, '--nothing-like-it'], 2, '', 'there is no option --nothing-like-it'))
        for args, code, out, err in cases:
            with self.subTest(args):
                got = run(*args)
                self.assertEqual(got[0], code, got)
                self.assertIn(out, got[1])
                self.assertIn(err, got[2])
                if code == 0:
                    self.assertEqual(got[2], '')


class Check(harness.World):
    def test_files(self):
        good = self.write('good.yaml', RULES)
        self.assertEqual(run('check', good), (0, 'good: 5 signals, 1 anomaly, 1 plan, 1 service\n', ''))
        bad = self.write('bad.yaml', RULES.replace('mode: auto', 'mode: audo'))
        line = 1 + RULES[:RULES.index('mode: auto')].count('\n')
        code, out, err = run('check', bad)
        self.assertEqual((code, out), (1, ''))
        self.assertRegex(err, rf'bad\.yaml:{line}:\d+: ')
        code, out, err = run('check', '--json', bad)
        self.assertEqual((code, err), (1, ''))
        answer = json.loads(out)
        self.assertFalse(answer['ok'])
        self.assertEqual(answer['errors'][0]['line'], line)
        code, out, err = run('check', '--json', good)
        self.assertEqual((code, json.loads(out)['plans']), (0, 1))
        self.assertEqual(run('check', self.path('absent.yaml'))[0], 1)

    def test_prometheus(self):
        url = self.start_prometheus()
        self.prometheus_sees('utilization', 0.5)
        good = self.write('good.yaml', RULES)
        self.assertEqual(run('check', good, '--prometheus', url)[0], 0)
        for old, new, says in (('test_utilization', 'test_utilisation', 'finds no series'), ('test_utilization', '"rate(test_utilization)"', 'bad_data'),
                               ('test_utilization', '"test_utilization[1m]"', 'range'), ('test_utilization', 'test_utilization / 0 * 0', 'NaN')):
            code, _, err = run('check', self.write('bad.yaml', RULES.replace('query: ' + old, 'query: ' + new)), '--prometheus', url)
            self.assertEqual(code, 1, err)
            self.assertIn(says, err)
            self.assertRegex(err, r'bad\.yaml:6:\d+: signal utilization')
            self.assertIn('\n1 problem\n', err)
        code, _, err = run('check', good, '--prometheus', f'http://127.0.0.1:{harness.free_port()}')
        self.assertEqual(code, 1)
        self.assertIn('5 problems', err)


class Operate(harness.World):
    def test_loops(self):
        d = self.start_daemon(prometheus=self.start_prometheus())
        at = dict(TRIMTAB_SERVER=d.url)
        self.assertEqual(run('loops', **at), (0, 'no open loops\n', ''))
        self.set(BAD)
        wait_for('a decision is told', d.in_force)
        loop = d.loops()[0]['id']
        code, out, err = run('loops', **at)
        self.assertEqual((code, err), (0, ''))
        head, row = out.splitlines()
        self.assertEqual(row.index('shed'), head.index('PLAN'))
        self.assertEqual(row.index('front@dc-a'), head.index('TARGET'))
        self.assertNotIn('\033', out, 'no colours in a pipe')
        self.assertEqual([l['id'] for l in json.loads(run('loops', '-o', 'json', **at)[1])], [loop])
        code, out, err = run('loops', 'get', loop, **at)
        self.assertEqual(code, 0, err)
        for text in (loop, 'front@dc-a', 'error_ratio <= 1%', 'limit', 'allowed'):
            self.assertIn(text, out)
        self.assertEqual(json.loads(run('loops', 'get', loop, '-o', 'json', **at)[1])['id'], loop)
        code, out, err = run('loops', 'get', '01NOSUCH', **at)
        self.assertEqual((code, out), (1, ''))
        self.assertIn('there is no loop', err)
        code, _, err = run('approve', loop, '--reason', 'go', **at)
        self.assertEqual(code, 1)
        self.assertIn('approve is not possible now', err)
        self.assertEqual(run('freeze', '--reason', 'a drill', **at)[0], 0)
        wait_for('it is paused', lambda: (d.get('/v1/status')['frozen'] or {}).get('reason') == 'a drill')
        self.assertEqual(run('resume', '--reason', 'it is over', **at)[0], 0)
        wait_for('it runs', lambda: d.get('/v1/status')['frozen'] is None)
        with subprocess.Popen([TRIMTAB, 'loops', 'watch', '--server', d.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
            self.assertIn('watching', watch.stderr.readline())
            self.assertEqual(run('loops', 'abort', loop, '--reason', 'enough', **at)[0], 0)
            for line in watch.stdout:
                if ' command ' in line:
                    break
            else:
                self.fail('the stream ended')
            watch.kill()
        wait_for('it is wound back', lambda: not d.in_force(), 60)
        wait_for('it is closed', lambda: [l['ended'] for l in d.loops('closed')] == ['aborted'], 60)

    def test_environment(self):
        self.write('rules.yaml', RULES)
        # A port that is taken ends it at once: what matters is that it read all this from the environment.
        with harness.socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            s.listen()
            port = s.getsockname()[1]
            code, _, err = run('serve', TRIMTAB_RULES=self.path('rules.yaml'), TRIMTAB_LISTEN=f'127.0.0.1:{port}', STATE_DIRECTORY=self.path('sd'))
        self.assertEqual(code, 1)
        self.assertIn(f'port {port} is in use', err)


if __name__ == '__main__':
    unittest.main()
