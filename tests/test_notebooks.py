"Every notebook runs from top to bottom, with all the assertions that stand in it; the lessons are in test_lessons.py."
import os
from pathlib import Path

import pytest

from forked import forked

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted(o for folder in ('tutorials', 'benchmarks') for o in (ROOT/'nbs'/folder).glob('*.ipynb'))
NOTEBOOKS = sorted(o for o in (ROOT/'nbs').rglob('[0-9]*.ipynb') if o not in LESSONS) # Of the package

def name_of(notebook:Path) -> str: return notebook.relative_to(ROOT).with_suffix('').as_posix()

def run_through(notebook:Path, home:Path):
    code, out, err = forked('nbdev-test', notebook, env={**os.environ, 'AEBENCH_HOME': str(home)}, cwd=ROOT, seconds=900)
    assert code == 0 and 'Success' in out + err, (out + err)[-6000:]

@pytest.mark.parametrize('notebook', [*NOTEBOOKS, ROOT/'index.ipynb'], ids=name_of)
def test_notebook(notebook, home): run_through(notebook, home)
