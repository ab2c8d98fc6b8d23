"What the tests share."
import pytest

@pytest.fixture(scope='session')
def home(tmp_path_factory):
    "A cache of the tests' own, so that they neither see nor touch the user's."
    return tmp_path_factory.mktemp('home')
