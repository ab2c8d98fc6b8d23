"""Run every notebook from top to bottom and keep its outputs. Usage: python tools/notebooks.py [NOTEBOOK …]"""
import subprocess
import sys
from pathlib import Path

from execnb.shell import CaptureShell, read_nb, write_nb

ROOT = Path(__file__).resolve().parent.parent

def is_noise(output:dict) -> bool:
    "Warnings and progress bars: they say nothing of what the cell found."
    text = ''.join(output.get('text', '')) + ''.join(output.get('data', {}).get('text/html', ''))
    return output.get('name') == 'stderr' or '\r' in text or '█' in text or '<progress' in text

def main(paths:list[Path]):
    "Execute `paths` in place."
    try:
        for path in paths: run(path)
    finally: subprocess.run([Path(sys.executable).with_name('nbdev-clean')], cwd=ROOT, check=True)

def run(path:Path):
    "Execute one notebook. Nothing is written where a cell fails."
    print(path.relative_to(ROOT), flush=True)
    nb = read_nb(path)
    off = [c for c in nb.cells if c.cell_type == 'code' and any(line.startswith('#|') and 'eval: false' in line for line in c.source.splitlines())]
    keep = {id(c): c.source for c in off}
    for c in off: c.source = ''
    shell = CaptureShell(path.parent)
    shell.run('%matplotlib inline')
    shell.run_all(nb, exc_stop=True)
    if shell.exc: raise shell.exc
    for c in off: c.source = keep[id(c)]
    for c in nb.cells:
        if c.cell_type == 'code': c.outputs = [o for o in c.outputs if not is_noise(o)]
    write_nb(nb, path)

if __name__ == '__main__':
    chosen = [Path(p).resolve() for p in sys.argv[1:]]
    main(chosen or [*sorted((ROOT/'nbs').glob('[0-9]*.ipynb')), *sorted((ROOT/'nbs').glob('[a-z]*/*.ipynb')), ROOT/'index.ipynb'])
