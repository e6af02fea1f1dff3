"""trimtab rehearse --plant: the documented example, and plants that misbehave."""
import json
import os
import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

from common import SOURCE, run

TOPOLOGY = r'\"topology\":{\"services\":[{\"name\":\"a\",\"dcs\":{\"x\":{}}}]}'
EXAMPLE = f'python3 {SOURCE}/docs/examples/plant.py'
KEYS = {'ticks', 'now_ms', 'measurements', 'ignored_measurements', 'loops', 'open_loops', 'actions', 'decisions', 'reversals', 'pages', 'invariant_violations', 'violation',
        'error', 'score'}


class Example(unittest.TestCase):
    def test_the_engine_beats_doing_nothing(self):
        for seed in (1, 2):
            with self.subTest(seed):
                code, out, err = run('--plant', f'{EXAMPLE} {seed}', '--json')
                self.assertEqual((code, err), (0, ''))
                code, idle, _ = run('--plant', f'{EXAMPLE} {seed} --do-nothing', '--json')
                self.assertEqual(code, 0)
                out, idle = json.loads(out), json.loads(idle)
                self.assertEqual(set(out), KEYS)
                self.assertEqual(out['invariant_violations'], 0)
                self.assertEqual(out['open_loops'], 0)
                self.assertEqual(out['score']['wanted'], idle['score']['wanted'])
                self.assertLess(idle['score']['goodput'], 0.4)
                self.assertGreater(out['score']['goodput'], 0.88)

    def test_the_same_seed_gives_the_same_bytes(self):
        a, b = (run('--plant', f'{EXAMPLE} 3', '--json') for _ in range(2))
        self.assertEqual(a, b)

    def test_text_ends_with_the_score_as_it_is(self):
        with tempfile.TemporaryDirectory() as d:
            svg = os.path.join(d, 'run.svg')
            code, out, err = run('--plant', f'{EXAMPLE} 1', '--svg', svg)
            self.assertEqual((code, err), (0, ''))
            self.assertRegex(out.splitlines()[-1], r'^\{"goodput": 0\.\d+, "wanted": \d+, "good": \d+\}$')
            self.assertRegex(out, r'action +checkout@dc-a limit none -> \d+ rps')
            self.assertIn('invariants: all held', out)
            root = xml.etree.ElementTree.parse(svg).getroot()
            text = ' '.join(root.itertext())
            for part in ('Rate caps', 'checkout@dc-a', 'answered well', 'acting', 'time, min:s'):
                self.assertIn(part, text)

    def test_it_is_the_one_in_the_docs(self):
        with open(f'{SOURCE}/docs/plant.md') as f:
            docs = f.read()
        with open(f'{SOURCE}/docs/examples/plant.py') as f:
            lines = f.read().splitlines()
        self.assertIn('examples/plant.py', docs)
        self.assertLess(len(lines), 125)
        # Every member the parser knows is explained.
        with open(f'{SOURCE}/server/plant/protocol.c') as f:
            known = re.findall(r'MEMBERS\(r, [^;]*?\);', f.read())
        for member in {m for k in known for m in re.findall(r'"(\w+)"', k)}:
            self.assertTrue(re.search(rf'`(services\[\]\.)?{member}`', docs), f'{member} is not explained in docs/plant.md')


class Model(unittest.TestCase):
    """Our own mesh model as a plant: what crosses the protocol is worth what it is worth without it."""
    def test_worth_the_same_either_way(self):
        plant = os.environ['MODEL_PLANT']
        for incident in ('surge', 'dc-loss', 'retry-storm', 'noise', 'slow-optional --inner-loop'):
            with self.subTest(incident):
                name, *more = incident.split()

                def score(how):
                    return json.loads(subprocess.run([plant, name, '2001', how, *more], capture_output=True, check=True, timeout=100).stdout)
                nothing, direct = score('nothing'), score('direct')
                code, out, err = run('--json', '--plant', f"{plant} {name} 2001 plant {' '.join(more)}")
                self.assertEqual((code, err), (0, ''))
                out = json.loads(out)
                self.assertAlmostEqual(out['score']['wanted'], direct['wanted'], delta=1)
                self.assertAlmostEqual(out['score']['good'], direct['good'], delta=0.02 * direct['wanted'])
                self.assertGreaterEqual(out['score']['good'], nothing['good'] - 0.005 * nothing['wanted'])
                self.assertEqual((out['invariant_violations'], out['ignored_measurements']), (0, 0))


class Trouble(unittest.TestCase):
    def test_table(self):
        cases = [  # plant, more arguments, exit code, part of stderr
            ('exit 3', [], 1, 'plant:1: the plant ended (exit code 3) without a line'),
            ('exec sleep 1000', ['--plant-timeout', '200ms'], 1, 'plant:1: the plant hangs: no line within 200ms'),
            ('echo hello', [], 1, 'plant:1: the line is not a JSON object: hello'),
            ('echo "{\\"now_ms\\": NaN}"', [], 1, 'JSON has no NaN'),
            ('read l; echo "{\\"now_ms\\":5,%s}"; read l;' % TOPOLOGY + ' echo "{\\"now_ms\\":1}"', [], 1, 'plant:2: now_ms is 1 and was 5 before: time never goes back: {"now_ms":1}'),
            ('echo "{\\"done\\":true}"', ['--rules', '/nowhere/at/all'], 1, '/nowhere/at/all'),
            ('read l; echo "{\\"now_ms\\":5}"', [], 1, 'plant:1: topology is missing, and the plans declare no services'),
            ('true', ['--plant-timeout', 'soon'], 2, '--plant-timeout "soon" is no time'),
            ('true', ['--seed', 'x'], 2, '--seed "x" is no number'),
            ('echo "{\\"done\\":true,\\"score\\":3}"', ['--svg', '/nowhere/x.svg'], 1, '/nowhere/x.svg cannot be written'),
        ]
        for plant, args, code, text in cases:
            with self.subTest(plant=plant, args=args):
                got = run('--plant', plant, *args)
                self.assertEqual(got[0], code, got)
                self.assertIn(text, got[2])

    def test_an_error_is_in_the_json_too(self):
        code, out, _ = run('--plant', 'read l; echo "{\\"now_ms\\":0,%s}"; exit 9' % TOPOLOGY, '--json')
        self.assertEqual(code, 1)
        out = json.loads(out)
        self.assertEqual(set(out), KEYS)
        self.assertIn('plant:2: the plant ended (exit code 9)', out['error'])
        self.assertEqual((out['ticks'], out['score']), (1, None))

    def test_a_plant_finds_the_seed(self):
        code, out, _ = run('--seed', '77', '--plant', 'echo "{\\"done\\":true,\\"score\\":\\"$TRIMTAB_SEED\\"}"')
        self.assertEqual((code, out.splitlines()[-1]), (0, '"77"'))


if __name__ == '__main__':
    unittest.main()
