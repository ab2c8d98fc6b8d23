"What is between a push and `pip install aebench`: wheel, workflows and install cells."
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from aebench.cli import make_parser
from aebench.report.notebooks import INSTALL

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

def run(*words, **kwargs): return subprocess.run([str(o) for o in words], capture_output=True, text=True, timeout=600, **kwargs)

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp('dist')
    done = run(sys.executable, '-m', 'build', '--outdir', out, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (checked := run(BIN/'twine', 'check', '--strict', *out.iterdir())).returncode, checked.stdout
    return next(out.glob('*.whl'))

def test_wheel_is_small_and_holds_the_package_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert all(re.match(r'aebench/(\w+/)?\w+\.(py|jinja|css)$|aebench-[\d.]+\.dist-info/', o) for o in names), names
    assert {f'{p.relative_to(ROOT)}' for kind in ('py', 'jinja', 'css') for p in (ROOT/'aebench').rglob(f'*.{kind}')} <= set(names)
    assert wheel.stat().st_size <= 440_000  # not a byte of notebooks, results or pictures

def test_wheel_runs_by_itself(wheel, home, tmp_path):
    "In an environment of its own, which borrows the dependencies from here but not the package."
    assert run(sys.executable, '-m', 'venv', tmp_path/'venv').returncode == 0
    bin = tmp_path/'venv'/BIN.name
    own = Path(run(bin/'python', '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))').stdout.strip())
    borrowed = Path(run(sys.executable, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))').stdout.strip())
    (own/'borrowed.pth').write_text(f'{borrowed}\n')
    assert run(bin/'python', '-c', 'import aebench', cwd=tmp_path).returncode  # not there yet
    assert not (done := run(bin/'python', '-m', 'pip', 'install', '--no-index', '--no-deps', wheel)).returncode, done.stderr
    env = {**os.environ, 'AEBENCH_HOME': str(home)}
    done = run(bin/'aebench', 'run', '--methods', 'baseline', '--epochs', '1', '1', '--out', tmp_path/'out', cwd=tmp_path, env=env)
    assert done.returncode == 0 and (tmp_path/'out'/'report.html').is_file(), done.stderr
    assert not (done := run(bin/'python', '-c', 'import aebench.losses as o; from aebench.losses import FeatureLoss; print(o.__file__)',
                            cwd=tmp_path)).returncode, done.stderr
    assert str(tmp_path) in done.stdout

def test_install_cell_leaves_torch_alone(wheel, tmp_path):
    "The cell's own command, told to install the wheel here, would install aebench and nothing else."
    code = '\n'.join(line for line in INSTALL.splitlines() if not line.startswith('#|'))
    report = tmp_path/'report.json'
    patched = f'''import os, subprocess
os.path.exists = lambda path: path == '/content'
def run(words, check):
    assert words[-2:] == ['-c', 'there.txt'], words
    words[words.index('aebench')] = {str(wheel)!r}
    return original(words + ['--dry-run', '--no-index', '--report', {str(report)!r}], check=check)
original, subprocess.run = subprocess.run, run
'''
    done = run(sys.executable, '-c', patched + code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    there = (tmp_path/'there.txt').read_text()
    (tmp_path/'other.txt').write_text(re.sub(r'^torch==.*$', 'torch==0.1', there, flags=re.M))
    refused = run(sys.executable, '-m', 'pip', 'install', '--dry-run', '--no-index', wheel, '-c', 'other.txt', cwd=tmp_path)
    # constraints are what decides
    assert refused.returncode and 'torch' in refused.stdout + refused.stderr, refused.stdout + refused.stderr
    assert re.search(r'^torch==', there, re.M) and re.search(r'^torchvision==', there, re.M)
    assert [o['metadata']['name'] for o in json.loads(report.read_text())['install']] == ['aebench']

def test_lessons_open_in_colab_and_install_alike():
    lessons = sorted((ROOT/'nbs'/'tutorials').glob('*.ipynb'))
    assert len(lessons) == 12
    for path in lessons:
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        sources = [''.join(c['source']) for c in cells]
        assert f'(https://colab.research.google.com/github/aebench/aebench/blob/main/nbs/tutorials/{path.name})' in sources[1], path
        assert sources[2] == INSTALL, path
        assert any('On a GPU' in o for o in sources), path
        assert any(c.get('outputs') for c in cells), f'{path} holds no outputs: run make notebooks'

def workflow(name): return yaml.safe_load((ROOT/'.github'/'workflows'/f'{name}.yaml').read_text())
def commands_of(job): return [o['run'] for o in job['steps'] if 'run' in o]

def test_workflows_are_valid_and_pinned():
    workflows = sorted((ROOT/'.github'/'workflows').glob('*.yaml'))
    assert {o.stem for o in workflows} >= {'test', 'weekly', 'docs', 'release'}
    done = run(BIN/'check-jsonschema', '--builtin-schema', 'vendor.github-workflows', *workflows)
    assert done.returncode == 0, done.stdout
    for path in workflows:
        for used in re.findall(r'uses: (\S+)', path.read_text()):
            assert re.fullmatch(r'[\w/.-]+@[0-9a-f]{40}', used) or (ROOT/used).is_file(), (path, used)

def test_nothing_is_released_untested():
    "A release waits for the tests of all versions of Python, and publishes nothing but what it built; the changelog says when."
    jobs = workflow('release')['jobs']
    assert ((ROOT/jobs['test']['uses']).samefile(ROOT/'.github'/'workflows'/'test.yaml')
            and jobs['build']['needs'] == 'test' and jobs['publish']['needs'] == 'build')
    tests = workflow('test')
    assert 'workflow_call' in tests[True] and '.ci/run' in commands_of(tests['jobs']['test'])  # YAML reads `on` as true
    assert not any('if' in tests['jobs'][o] for o in ('test', 'smoke'))
    dated, = (o for o in commands_of(jobs['build']) if 'CHANGELOG.md' in o)
    text = '## [1.2.3] - 2030-01-02\n'
    for version, there in (('v1.2.3', True), ('v1.2.4', False), ('v1.2', False)):
        done = run('bash', '-c', dated.replace('CHANGELOG.md', ''),
                   input=f'# Changelog\n## [Unreleased]\n{text}## [1.2.4] - unreleased\n', env={**os.environ, 'GITHUB_REF_NAME': version})
        assert done.stdout == (text if there else '') and (done.returncode == 0) == there, done

def test_slow_tests_and_other_systems_have_their_turn():
    weekly, smoke = workflow('weekly'), workflow('test')['jobs']['smoke']
    assert (re.fullmatch(r'\d+ \d+ \* \* \d', weekly[True]['schedule'][0]['cron'])
            and commands_of(weekly['jobs']['test-all']) == ['.ci/run test-all'])
    assert (re.search(r'^make "\$\{1:-test\}"$', (ROOT/'.ci'/'run').read_text(), re.M)
            and {'test', 'test-all'} <= set(re.findall(r'^([\w-]+):', (ROOT/'Makefile').read_text(), re.M)))
    assert set(smoke['strategy']['matrix']['os']) == {'windows-latest', 'macos-latest'}
    assert commands_of(smoke)[:2] == ['pip install .', 'aebench --help'] and commands_of(smoke)[2].startswith('aebench run --methods ')
    for command in commands_of(smoke)[2:]: make_parser().parse_args(command.split()[1:])
