"The house: which room may import which, and where torch may not be."
import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT/'aebench'
ROOMS = """core registry settings run_folder data speed layers models losses resizing training callback weights metrics codec
    report bench apply cli""".split() # From the ground up: each imports none but those before it
NO_TORCH = ('core', 'registry', 'settings', 'run_folder', 'report', 'cli')
MODULES = {'.'.join(o.relative_to(PACKAGE).with_suffix('').parts): o for o in PACKAGE.rglob('*.py') if o.stem not in ('__init__', '_modidx')}

def room_of(module:str) -> str: return module.partition('.')[0]

def imports(module:str) -> set[str]:
    "The modules of the package that `module` imports, anywhere in it."
    found, folder = set(), module.split('.')[:-1]
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding='utf-8'))):
        if not isinstance(node, ast.ImportFrom): continue
        above = folder[:len(folder) - node.level + 1] if node.level else []
        parts = (node.module or '').split('.')
        if not node.level:
            if parts[0] != 'aebench': continue
            parts = parts[1:]
        name = '.'.join([*above, *filter(None, parts)])
        named = [name, *('.'.join(filter(None, (name, o.name))) for o in node.names)]
        found |= MODULES.keys() & set(named)
    return found

GRAPH = {module: imports(module) for module in MODULES}

def test_every_room_is_known():
    assert {room_of(o) for o in MODULES} == set(ROOMS)
    assert sum(map(len, GRAPH.values())) > 200  # the imports are found as nbdev writes them

def test_imports_point_one_way():
    "No room imports a later one, and no two modules import each other, by whatever way."
    upward = [f'{module} imports {o}' for module, of in GRAPH.items() for o in of if ROOMS.index(room_of(o)) > ROOMS.index(room_of(module))]
    assert not upward
    TopologicalSorter(GRAPH).prepare()  # raises CycleError

@pytest.mark.parametrize('module', sorted(o for o in MODULES if room_of(o) in NO_TORCH))
def test_needs_no_torch(module):
    code = f'import sys, aebench.{module}; assert not {{"torch", "fastai"}} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)
