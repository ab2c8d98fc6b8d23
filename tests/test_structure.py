"The house: which room may import which, and where torch may not be."
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

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

def test_needs_no_torch():
    "One process imports them all, one after the other: whoever brings torch is named."
    modules = sorted(o for o in graph() if part_of(o) in NO_TORCH)
    code = """if True:
        import importlib, sys
        for module in sys.argv[1:]:
            importlib.import_module(f'aebench.{module}')
            found = {'torch', 'fastai'} & set(sys.modules)
            if found: sys.exit(f'aebench.{module} imports {", ".join(found)}')"""
    done = subprocess.run([sys.executable, '-c', code, *modules], capture_output=True, text=True)
    assert len(modules) > 20 and done.returncode == 0, done.stderr
