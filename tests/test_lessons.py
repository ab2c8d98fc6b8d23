"The lessons and the pages of figures, in a file of their own: another process than that of the package's notebooks can take them."
import pytest

from test_notebooks import LESSONS, name_of, run_through

LONG = '03_keeping_features', '08_anomalies', '09_together' # Other tests do what they show, in less time

@pytest.mark.parametrize('notebook', [pytest.param(o, marks=pytest.mark.slow) if o.stem in LONG else o for o in LESSONS], ids=name_of)
def test_lesson(notebook, home): run_through(notebook, home)
