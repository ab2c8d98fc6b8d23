"Every notebook runs from top to bottom, with all the assertions that stand in it; the lessons are in test_lessons.py."
import os
from pathlib import Path

import pytest

from forked import forked

ROOT = Path(__file__).resolve().parent.parent

def run_through(notebook:Path, home:Path):
    code, out, err = forked('nbdev-test', notebook, env={**os.environ, 'AEBENCH_HOME': str(home)}, cwd=ROOT, seconds=900)
    assert code == 0 and 'Success' in out + err, (out + err)[-6000:]

@pytest.mark.parametrize('notebook', [*sorted((ROOT/'nbs').glob('[0-9]*.ipynb')), ROOT/'index.ipynb'], ids=lambda p: p.stem)
def test_notebook(notebook, home): run_through(notebook, home)
