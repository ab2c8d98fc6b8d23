"Run notebooks from top to bottom and keep their outputs."
import argparse
import base64
import io
import os
import subprocess
import sys
from pathlib import Path

from execnb.shell import CaptureShell, read_nb, write_nb
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent

def is_noise(output:dict) -> bool:
    "Warnings and progress bars: they say nothing of what the cell found."
    text = ''.join(output.get('text', '')) + ''.join(output.get('data', {}).get('text/html', ''))
    return output.get('name') == 'stderr' or '\r' in text or '█' in text or '<progress' in text

LARGE = 20_000 # Bytes of a picture that may be stored in 256 colours

def smaller(png:bytes) -> bytes: # `png` itself where little is gained
    "A large picture in its 256 commonest colours: a photograph takes a third, and nobody sees a difference."
    picture = Image.open(io.BytesIO(png))
    if len(png) < LARGE or picture.mode == 'P' or 'A' in picture.mode and picture.getchannel('A').getextrema()[0] < 255: return png
    data = io.BytesIO()
    picture.convert('RGB').quantize(256, kmeans=3).save(data, 'PNG', optimize=True)
    return min(png, data.getvalue(), key=len)

def shrink(nb):
    "Make the pictures in the outputs of a notebook `smaller`."
    for c in nb.cells:
        for data in (o.get('data', {}) for o in c.get('outputs', ())):
            if 'image/png' in data: data['image/png'] = base64.b64encode(smaller(base64.b64decode(data['image/png']))).decode()

def main(paths:list[Path]):
    "Execute `paths` in place."
    try:
        for path in paths:
            os.chdir(ROOT)  # the one before may have left for a folder that is gone
            run(path)
    finally:
        os.chdir(ROOT)
        subprocess.run([Path(sys.executable).with_name('nbdev-clean')], check=True)

def run(path:Path):
    "Execute one notebook. Nothing is written where a cell fails."
    print(path.relative_to(ROOT), flush=True)
    nb = read_nb(path)
    off = [c for c in nb.cells
           if c.cell_type == 'code' and any(line.startswith('#|') and 'eval: false' in line for line in c.source.splitlines())]
    keep = {id(c): c.source for c in off}
    for c in off: c.source = ''
    shell = CaptureShell(path.parent)
    shell.run('%matplotlib inline')
    shell.run_all(nb, exc_stop=True)
    if shell.exc: raise shell.exc
    for c in off: c.source = keep[id(c)]
    for c in nb.cells:
        if c.cell_type == 'code': c.outputs = [o for o in c.outputs if not is_noise(o)]
    shrink(nb)
    write_nb(nb, path)

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('notebooks', nargs='*', type=lambda o: Path(o).resolve(), help='which (default: every one)')
    everything = [*sorted((ROOT/'nbs').glob('[0-9]*.ipynb')), *sorted((ROOT/'nbs').glob('[a-z]*/*.ipynb')), ROOT/'index.ipynb']
    main(parser.parse_args().notebooks or everything)
