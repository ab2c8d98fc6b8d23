"The house: which room may import which, and where torch may not be."
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT/'tools'))
from rooms import ORDER, graph, part_of

NO_TORCH = ('core', 'registry', 'settings', 'run_folder', 'report', 'cli')

def test_every_room_is_known():
    assert {part_of(o) for o in graph()} == set(ORDER)
    assert sum(map(len, graph().values())) > 200  # the imports are found as nbdev writes them

def test_imports_point_one_way():
    "No room imports a later one, and no two modules import each other, by whatever way."
    upward = [f'{module} imports {o}' for module, of in graph().items() for o in of if ORDER.index(part_of(o)) > ORDER.index(part_of(module))]
    assert not upward
    TopologicalSorter(graph()).prepare()  # raises CycleError

@pytest.mark.parametrize('module', sorted(o for o in graph() if part_of(o) in NO_TORCH))
def test_needs_no_torch(module):
    code = f'import sys, aebench.{module}; assert not {{"torch", "fastai"}} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)
