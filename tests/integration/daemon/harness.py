"""What the daemon's tests share: processes on ephemeral ports, an exporter with figures to set, waiting on conditions."""
import hashlib
import http.server
import json
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

TRIMTAB = os.environ.get('TRIMTAB', os.path.join(os.getcwd(), '../../../build/server/trimtab'))
POSTGRES = '/usr/lib/postgresql/15/bin'
SLOW = 4 if any(s in TRIMTAB for s in ('san', 'SAN')) else 1  # instrumented builds take their time
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

SERVICES = '''
services:
  - name: front
    dcs: {dc-a: {capacity_rps: 100}}
'''
SIGNALS = '\n'.join(f'  - {{name: {n}, query: test_{n}, every: 1s}}' for n in
                    ('error_ratio', 'offered_rps', 'admitted_rps', 'ok_rps', 'utilization'))
PLAN = '''
anomalies:
  - {name: overload, when: error_ratio > 5%, for: 1s}
plans:
  - name: shed
    on: {anomaly: overload, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}
    mode: auto
    target: {service: $svc, dc: $dc}
    keep: [error_ratio <= 1%]
    steps:
      - limit: {by: measured_capacity}
    settle: {hold: 1s, within: 10m}
    recover: {after: 2s, step: 50%, every: 1s}
'''
RULES = 'signals:\n' + SIGNALS + SERVICES + PLAN
GOOD = dict(error_ratio=0.001, offered_rps=50, admitted_rps=50, ok_rps=50, utilization=0.5)
BAD = dict(error_ratio=0.3, offered_rps=150, admitted_rps=150, ok_rps=100, utilization=0.99)


def program(name):
    path = shutil.which(name) or f'/usr/bin/{name}'
    if not os.access(path, os.X_OK):
        raise RuntimeError(f'{name} is needed and is not here (Debian: apt install prometheus prometheus-alertmanager postgresql)')
    return path


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_for(what, condition, seconds=20):
    """Polls a condition; its value when it is true. Nothing here sleeps for a time that has to be right."""
    end = time.monotonic() + seconds * SLOW
    last = None
    while time.monotonic() < end:
        try:
            last = condition()
            if last:
                return last
        except (OSError, ValueError, KeyError, IndexError) as e:
            last = e
        time.sleep(0.05)
    raise AssertionError(f'not within {seconds * SLOW} s: {what}; last: {last!r}')


def fetch(url, body=None, headers=None, method=None, timeout=30):
    """(status, text), whatever the status is."""
    data = body.encode() if isinstance(body, str) else body
    req = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with _opener.open(req, timeout=timeout) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def answer(self, status, text, kind='text/plain; version=0.0.4'):
        body = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Served:
    """An HTTP server on a thread."""

    def __init__(self, handler, **attributes):
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), type('H', (handler,), {'world': self}))
        self.server.daemon_threads = True
        self.port = self.server.server_port
        for k, v in attributes.items():
            setattr(self, k, v)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class _ExporterHandler(Quiet):
    def do_GET(self):
        labels = '{service="front",dc="dc-a"}'
        self.answer(200, ''.join(f'test_{k}{labels} {v}\n' for k, v in self.world.values.items()))


def exporter():
    return Served(_ExporterHandler, values=dict(GOOD))


class _ProxyHandler(Quiet):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        self.world.open.wait(timeout=120)
        status, text = fetch(f'http://127.0.0.1:{self.world.target}{self.path}', body)
        try:
            self.answer(status, text, 'application/json')
        except OSError:
            self.close_connection = True


def stalling_proxy(target):
    p = Served(_ProxyHandler, target=target, open=threading.Event())
    p.open.set()
    return p


class Process:
    def __init__(self, args, log, **kw):
        self.log_path = log
        self.out = open(log, 'ab')
        self.p = subprocess.Popen(args, stdout=self.out, stderr=self.out, stdin=subprocess.DEVNULL, **kw)

    def signal(self, signo):
        self.p.send_signal(signo)

    def kill(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        self.out.close()

    def log(self):
        with open(self.log_path, errors='replace') as f:
            return f.read()


class World(unittest.TestCase):
    """A directory, and processes that are gone after the test. A test that fails shows the daemon's log."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='trimtab-test-')
        os.chmod(self.dir, 0o755)
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.exporter = exporter()
        self.addCleanup(self.exporter.stop)
        self.prometheus = None

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), 'w') as f:
            f.write(text)
        return self.path(name)

    def start_prometheus(self, port=None):
        self.prometheus_port = port or free_port()
        config = self.write('prometheus.yml', f'''
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: test
    static_configs: [{{targets: ['127.0.0.1:{self.exporter.port}']}}]
''')
        self.prometheus = Process([program('prometheus'), f'--config.file={config}', f'--storage.tsdb.path={self.path("tsdb")}',
                                   f'--web.listen-address=127.0.0.1:{self.prometheus_port}'], self.path('prometheus.log'))
        self.addCleanup(self.prometheus.kill)
        url = f'http://127.0.0.1:{self.prometheus_port}'
        wait_for('Prometheus is ready', lambda: fetch(url + '/-/ready')[0] == 200, 60)
        return url

    def prometheus_sees(self, name, value):
        url = f'http://127.0.0.1:{self.prometheus_port}/api/v1/query?query=test_{name}'
        wait_for(f'Prometheus sees {name} {value}',
                 lambda: float(json.loads(fetch(url)[1])['data']['result'][0]['value'][1]) == value)

    def start_daemon(self, rules=RULES, prometheus=None, args=(), state='state', store=None):
        d = Daemon(self, rules, prometheus, args, state, store)
        self.addCleanup(d.kill)
        return d

    def set(self, values):
        self.exporter.values = dict(values)


class Daemon:
    def __init__(self, world, rules, prometheus, args, state, store):
        self.world = world
        self.rules_path = world.write('rules.yaml', rules) if rules else world.path('rules.yaml')
        self.state = world.path(state)
        self.args = [TRIMTAB, 'serve', '--rules', self.rules_path, '--state', self.state, '--listen', '127.0.0.1:0', *args]
        if prometheus:
            self.args += ['--prometheus', prometheus]
        if store:
            self.args += ['--store', store]
        self.log_path = world.path('trimtab.log')
        # A pipe to a thread, not a file: a limit on file sizes is for the store alone.
        self.text = []
        self.p = subprocess.Popen(self.args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors='replace')
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        wait_for('the daemon listens, or ends', lambda: self.listening() or self.p.poll() is not None, 30)
        self.url = self.listening()

    def _read(self):
        for line in self.p.stdout:
            self.text.append(line)

    def log(self):
        return ''.join(self.text)

    def listening(self):
        for line in list(self.text):
            if line.startswith('listening on '):
                return line.split()[-1]
        return None

    def get(self, path):
        status, text = fetch(self.url + path)
        if status != 200:
            raise ValueError(f'{path}: {status} {text}')
        return json.loads(text)

    def post(self, path, body):
        return fetch(self.url + path, json.dumps(body), {'Content-Type': 'application/json'})

    def ready(self):
        return fetch(self.url + '/-/ready')

    def events(self, kind=None):
        items, after = [], 0
        while True:
            page = self.get(f'/v1/events?after={after}&limit=500')
            items += page['items']
            if not page['next']:
                break
            after = page['next']
        return [e for e in items if kind is None or e['kind'] == kind]

    def loops(self, state='open'):
        return self.get(f'/v1/loops?state={state}')['items']

    def decisions(self):
        return self.get('/v1/decisions')

    def in_force(self):
        """What loops have done; the armed envelope stands without any."""
        return [d for d in self.decisions()['decisions'] if d['actions'] and not d['armed']]

    def kill(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        self.reader.join(5)
        self.p.stdout.close()
        text = self.log()
        bad = [m for m in ('AddressSanitizer', 'ThreadSanitizer', 'runtime error:', 'LeakSanitizer') if m in text]
        if bad:
            raise AssertionError(f'{bad[0]}:\n{text[-8000:]}')

    def kill_9(self):
        self.p.send_signal(signal.SIGKILL)
        self.p.wait()

    def terminate(self, within=2.0):
        begun = time.monotonic()
        self.p.send_signal(signal.SIGTERM)
        code = self.p.wait(30)
        self.reader.join(5)
        self.world.assertEqual(code, 0, self.log()[-4000:])
        self.world.assertLess(time.monotonic() - begun, within * SLOW)

    def journal(self):
        """Rows of the SQLite journal, oldest first."""
        db = sqlite3.connect(f'file:{self.state}/trimtab.db?mode=ro', uri=True)
        try:
            return db.execute('SELECT seq, epoch, at_ms, kind, loop, body, hash FROM journal ORDER BY seq').fetchall()
        finally:
            db.close()


def check_chain(test, rows):
    """The journal's hashes, worked out here once more (docs/store.md)."""
    before = bytes(32)
    for i, (seq, epoch, at_ms, kind, loop, body, stored) in enumerate(rows):
        test.assertEqual(seq, i + 1, 'a journal entry is missing')
        h = hashlib.sha256(before + struct.pack('>QQq', seq, epoch, at_ms))
        for part in (kind.encode(), (loop or '').encode(), body):
            h.update(struct.pack('>Q', len(part)) + part)
        before = h.digest()
        test.assertEqual(before, stored, f'the chain breaks at {seq}')
        json.loads(body)


class Postgres:
    """A server of the test's own, on a Unix socket."""

    def __init__(self, world):
        if not os.access(POSTGRES + '/initdb', os.X_OK):
            raise RuntimeError('PostgreSQL is needed and is not here (Debian: apt install postgresql)')
        self.dir = tempfile.mkdtemp(prefix='trimtab-pg-')
        who = pwd.getpwnam('postgres') if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        os.chown(self.dir, who.pw_uid, who.pw_gid)
        world.addCleanup(shutil.rmtree, self.dir, True)
        self.kw = dict(user=who.pw_uid, group=who.pw_gid, extra_groups=[]) if os.geteuid() == 0 else {}
        self.data = os.path.join(self.dir, 'data')
        self.port = free_port()
        subprocess.run([POSTGRES + '/initdb', '-D', self.data, '-U', 'trimtab', '-A', 'trust', '-E', 'UTF8', '--locale=C', '-N'],
                       check=True, stdout=subprocess.DEVNULL, cwd='/', **self.kw)
        self.process = subprocess.Popen([POSTGRES + '/postgres', '-D', self.data, '-p', str(self.port), '-k', self.dir, '-h', '127.0.0.1', '-F'],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd='/', **self.kw)
        world.addCleanup(self.stop)
        self.url = f'postgresql://trimtab@127.0.0.1:{self.port}/postgres'
        wait_for('PostgreSQL answers', lambda: subprocess.run([POSTGRES + '/pg_isready', '-q', '-h', '127.0.0.1', '-p', str(self.port)]).returncode == 0, 60)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
        self.process.wait()
