"Every notebook runs from top to bottom, with all the assertions that stand in it; the lessons are in test_lessons.py."
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

def run_through(notebook:Path, home:Path):
    command = [Path(sys.executable).with_name('nbdev-test'), notebook]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, env={**os.environ, 'AEBENCH_HOME': str(home)})
    assert done.returncode == 0 and 'Success' in done.stdout + done.stderr, (done.stdout + done.stderr)[-6000:]

@pytest.mark.parametrize('notebook', [*sorted((ROOT/'nbs').glob('[0-9]*.ipynb')), ROOT/'index.ipynb'], ids=lambda p: p.stem)
def test_notebook(notebook, home): run_through(notebook, home)
