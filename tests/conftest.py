"What the tests share."
import os

if 'PYTEST_XDIST_WORKER' in os.environ: os.environ.setdefault('OMP_NUM_THREADS', '1')  # before torch is imported: threads of several processes wait for each other

import pytest

@pytest.fixture(scope='session')
def home(tmp_path_factory):
    "A cache of the tests' own, so that they neither see nor touch the user's."
    return tmp_path_factory.mktemp('home')

@pytest.fixture(scope='module')
def at_home(home):
    "The same for what is called in the tests' own process."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('AEBENCH_HOME', str(home))
        yield
