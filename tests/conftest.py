"What the tests share."
import os
import tempfile
from pathlib import Path

# before torch is imported: threads of several processes wait for each other
if 'PYTEST_XDIST_WORKER' in os.environ: os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest

# Files, by what they compute
LONGEST = 'lessons notebooks faults jobs checkpoints docs fuzz faults_data use cli comparison release benchmarks'.split()

def pytest_collection_modifyitems(items):
    "The longest files first: what is begun last is short, and no worker waits long for another."
    def place(item): return LONGEST.index(name) if (name := item.path.stem.removeprefix('test_')) in LONGEST else len(LONGEST)
    items.sort(key=place)

@pytest.fixture(scope='session')
def home(tmp_path_factory):
    "A cache of the tests' own, so that they neither see nor touch the user's."
    return tmp_path_factory.mktemp('home')

@pytest.fixture
def place():
    "A folder that another user can reach: pytest's own lies in one that only its owner may enter."
    with tempfile.TemporaryDirectory(prefix='aebench-faults-') as d:
        os.chmod(d, 0o777)
        yield Path(d)

@pytest.fixture
def tally(record_property):
    "Counts of what was done, for the summary at the end; for what is «longest», the largest is shown."
    return lambda what, n=1: record_property('tally', [what, n])

def pytest_terminal_summary(terminalreporter):
    found = {}
    for report in terminalreporter.stats.get('', ()):  # of setups, which have none, and of teardowns, which have all
        for name, value in report.user_properties:
            if name == 'tally': found.setdefault(value[0], []).append(value[1])
    for what, counts in found.items(): terminalreporter.write_line(f'{what}: {max(counts) if "longest" in what else sum(counts)}')

@pytest.fixture
def said(capsys):
    "Exit code, stdout and stderr of a command."
    def command(*words):
        from aebench.cli import main
        code = main([str(o) for o in words])
        return code, *capsys.readouterr()
    return command

@pytest.fixture(scope='module')
def at_home(home):
    "`home` for what is called in the tests' own process."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('AEBENCH_HOME', str(home))
        yield
