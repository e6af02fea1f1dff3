"""trimtab rehearse --suite, --incident, --list."""
import json
import os
import tempfile
import unittest
import xml.etree.ElementTree

from common import SOURCE, run

CONTROLLERS = {'trimtab', 'oracle', 'nothing', 'runbook', 'aimd'}
FIGURES = {'oracle_share', 'time_to_mitigate_s', 'time_to_settle_s', 'needless_drop_ratio', 'high_priority_loss_ratio', 'reversals', 'actions', 'invariant_violations',
           'lost_ratio', 'harm_ratio'}


class Suite(unittest.TestCase):
    def check_controllers(self, o, where):
        self.assertLessEqual(CONTROLLERS, set(o), where)
        for name in CONTROLLERS:
            c = o[name]
            for figure in FIGURES:
                self.assertLessEqual({'median', 'worst'}, set(c[figure]), (where, name, figure))
            self.assertIn('normalized_loss', c)
            self.assertIn('worse_than_nothing', c)
            for counted in ('reversals', 'actions', 'invariant_violations'):
                self.assertGreaterEqual(c[counted]['total'], c[counted]['worst'])

    def test_keys(self):
        code, out, err = run('--suite', '--json', '--seeds', '1', timeout=600)
        self.assertEqual((code, err), (0, ''))
        out = json.loads(out)
        self.check_controllers(out['overall'], 'overall')
        self.assertEqual(set(out['by_mesh']), {'without_inner_loop', 'with_inner_loop'})
        for mesh, o in out['by_mesh'].items():
            self.check_controllers(o, mesh)
        names = [i['name'] for i in out['incidents']]
        self.assertGreaterEqual(len(set(names)), 20)
        self.assertEqual(len(set(names)), len(names))
        self.assertGreaterEqual(sum(i['false_alarm'] for i in out['incidents']), 5)
        for i in out['incidents']:
            self.check_controllers(i, i['name'])
            self.assertTrue(i['title'])
            self.assertEqual((i['seeds'], i['inner_loop']), (1, 'both'))
        plain = out['by_mesh']['without_inner_loop']
        self.assertEqual((plain['nothing']['normalized_loss'], plain['oracle']['normalized_loss']), (1, 0))
        self.assertEqual((plain['nothing']['oracle_share']['median'], plain['oracle']['oracle_share']['median']), (0, 1))
        self.assertEqual(plain['trimtab']['invariant_violations']['total'], 0)
        self.assertLess(plain['trimtab']['normalized_loss'], plain['aimd']['normalized_loss'])
        self.assertLess(plain['trimtab']['normalized_loss'], plain['runbook']['normalized_loss'])
        for t in out['targets']:
            self.assertEqual(set(t), {'mesh', 'figure', 'value', 'must', 'stretch', 'met'})
            self.assertIn(t['met'], ('missed', 'must', 'stretch'))

    def test_the_same_seeds_give_the_same_bytes_on_any_number_of_threads(self):
        args = ('--incident', 'blip', '--incident', 'noise', '--seeds', '3', '--seed', '7', '--json')
        one, two = run(*args, '--jobs', '1'), run(*args, '--jobs', '2')
        self.assertEqual(one[0], 0)
        self.assertEqual(one, two)
        self.assertNotEqual(one, run('--incident', 'blip', '--incident', 'noise', '--seeds', '3', '--seed', '8', '--json'))

    def test_text(self):
        code, out, err = run('--incident', 'blip', '--incident', 'noise', '--seeds', '2', '--inner-loop', 'off', '--controllers', 'trimtab,oracle')
        self.assertEqual((code, err), (0, ''))
        self.assertIn('blip, without the inner loop: seeds from 2001', out)
        self.assertRegex(out, r'\n  trimtab +\d')
        self.assertNotIn('aimd', out)

    def test_list(self):
        code, out, err = run('--list')
        self.assertEqual((code, err), (0, ''))
        self.assertGreaterEqual(len(out.splitlines()), 20)
        code, listed, _ = run('--list', '--json')
        self.assertEqual([line.split()[0] for line in out.splitlines()], [i['name'] for i in json.loads(listed)['items']])


class Single(unittest.TestCase):
    def test_a_story_with_its_chart(self):
        with tempfile.TemporaryDirectory() as d:
            svg = os.path.join(d, 'x.svg')
            args = ('--incident', 'dc-loss', '--svg', svg)
            code, out, err = run(*args)
            self.assertEqual((code, err), (0, ''))
            self.assertEqual(run(*args)[1], out)
            for part in ('dc-loss: A data center is lost', 'seed 2001, without the inner loop', 'weights:', 'Objectives', 'Guardrails', 'invariants', 'oracle'):
                self.assertIn(part, out)
            text = ' '.join(xml.etree.ElementTree.parse(svg).getroot().itertext())
            for part in ('doing nothing', 'trimtab', 'oracle', 'fault', 'Share of the traffic', 'Loops'):
                self.assertIn(part, text)

    def test_charts_of_several(self):
        with tempfile.TemporaryDirectory() as d:
            charts = os.path.join(d, 'charts')
            code, _, err = run('--incident', 'blip', '--incident', 'noise', '--seeds', '1', '--svg', charts, '--json')
            self.assertEqual((code, err), (0, ''))
            self.assertEqual(sorted(os.listdir(charts)), ['blip-inner-loop.svg', 'blip.svg', 'noise-inner-loop.svg', 'noise.svg'])

    def test_ones_own_incident_and_plans(self):
        with tempfile.TemporaryDirectory() as d:
            def write(name, text):
                path = os.path.join(d, name)
                with open(path, 'w') as f:
                    f.write(text)
                return path
            with open(f'{SOURCE}/rules/incidents/surge.yaml') as f:
                surge = f.read()
            mine = write('mine.yaml', surge.replace('name: surge', 'name: mine'))
            code, out, err = run('--incident', mine, '--rules', f'{SOURCE}/rules/incidents/plans/trimtab.yaml', '--json')
            self.assertEqual((code, err), (0, ''))
            self.assertEqual(json.loads(out)['incidents'][0]['name'], 'mine')
            cases = [  # arguments, exit code, part of stderr
                (['--incident', write('bad.yaml', surge.replace('kind: demand', 'kind: demnad'))], 1, 'bad.yaml:'),
                (['--incident', write('notyaml.yaml', 'a: [')], 1, 'notyaml.yaml:'),
                (['--incident', 'srge'], 1, 'there is no incident "srge": did you mean surge?'),
                (['--incident', '/nowhere/x.yaml'], 1, '/nowhere/x.yaml'),
                (['--incident', 'surge', '--incident', 'surge'], 1, 'incident surge is there twice'),
                (['--incident', 'surge', '--rules', write('other.yaml', 'services: [{name: mine, dcs: [x]}]\n')], 1, 'the rules declare no service of incident surge'),
                (['--incident', 'surge', '--rules', write('wrong.yaml', 'plans: 3\n')], 1, 'wrong.yaml:1:'),
                (['--incident', 'surge', '--inner-loop', 'both'], 2, 'a single run is told with the inner loop on or off'),
                (['--incident', 'surge', '--inner-loop', 'yes'], 2, '--inner-loop is on, off or both, not "yes"'),
                (['--incident', 'surge', '--controllers', 'trimtab,amid'], 2, 'there is no "amid": did you mean aimd?'),
                (['--suite', '--seeds', '0'], 2, '--seeds is 1 to'),
                (['--suite', '--jobs', 'x'], 2, '--jobs is 1 to'),
                (['--suite', '--plant', 'true'], 2, 'not several'),
                ([], 2, 'rehearse what?'),
                (['surge'], 2, 'one word too many'),
            ]
            for args, code, text in cases:
                with self.subTest(args):
                    got = run(*args)
                    self.assertEqual(got[0], code, got)
                    self.assertIn(text, got[2])


if __name__ == '__main__':
    unittest.main()
