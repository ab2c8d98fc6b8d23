"The lessons and the pages of figures, in a file of their own: another process than that of the package's notebooks can take them."
import pytest

from test_notebooks import ROOT, run_through

@pytest.mark.parametrize('notebook', sorted((ROOT/'nbs').glob('[a-z]*/*.ipynb')), ids=lambda p: p.stem)
def test_lesson(notebook, home): run_through(notebook, home)
