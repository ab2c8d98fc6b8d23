"""What `aebench train` makes of images that it was not tuned for, beside as many principal components.

    python benchmarks/own_images.py DOWNLOADS --out results/own-images.csv

--help says what DOWNLOADS must hold, with the commands that fetch it.

The emoji are one PNG each, at 32×32 and at 64×64 pixels; scikit-image's photographs in colour are cut into patches of 32×32; of the
images that Pillow is tested with, all that can be read are taken, most of them drawings and small pieces. Each folder is given to
`aebench train` as it is, with all its defaults: it divides training and test images itself. Each line holds the result of
one length of the latent, its first numbers alone.
"""
import argparse
import io
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

warnings.filterwarnings('ignore')
import pandas as pd
from PIL import Image
from rich.console import Console

from aebench.bench.devices import resolve_device, resolve_precision
from aebench.bench.train import train_alone
from aebench.callback.progress import Progress

PHOTOGRAPHS = 'astronaut chelsea coffee color hubble_deep_field ihc motorcycle_left retina rocket'.split()
PATCH = 32 # Pixels a side

def members(archive:Path, inside:str) -> Iterator[tuple[str, bytes]]:
    "The files of a tar archive that lie in a folder, by their names alone."
    with tarfile.open(archive) as tar:
        for o in tar:
            if o.isfile() and inside in o.name: yield Path(o.name).name, tar.extractfile(o).read()

def patches(wheel:Path) -> Iterator[tuple[str, bytes]]:
    "Patches of the photographs, side by side, as PNG files."
    with zipfile.ZipFile(wheel) as files:
        for path in sorted(o for o in files.namelist() if o.startswith('skimage/data/') and Path(o).stem in PHOTOGRAPHS):
            image = Image.open(io.BytesIO(files.read(path))).convert('RGB')
            for top in range(0, image.height - PATCH + 1, PATCH):
                for left in range(0, image.width - PATCH + 1, PATCH):
                    file = io.BytesIO()
                    image.crop((left, top, left + PATCH, top + PATCH)).save(file, 'PNG')
                    yield f'{Path(path).stem}-{top:04}-{left:04}.png', file.getvalue()

FETCH = { # What fetches the archive of a set
    'emoji': 'npm pack emoji-datasource-twitter@15.1.2',
    'photographs': 'pip download --no-deps --python-version 3.8 --only-binary=:all: scikit-image==0.16.2',
    'pillow': 'pip download --no-deps --no-binary :all: pillow==11.0.0'}
SETS = { # By name: the archive's, what it holds, and the sizes to train at
    'emoji': ('emoji-datasource-twitter-*.tgz', lambda o: members(o, '/img/twitter/64/'), (32, 64)),
    'photographs': ('scikit_image-*.whl', patches, (PATCH,)),
    'pillow': ('pillow-*.tar.gz', lambda o: members(o, '/Tests/images/'), (32,))}

def unpack(downloads:Path, name:str, folder:Path) -> Path:
    "The images of a set in a folder of their own."
    pattern, images, _ = SETS[name]
    archives = sorted(downloads.glob(pattern))
    if not archives: raise SystemExit(f'{downloads} holds no {pattern}: there, run {FETCH[name]}')
    folder.mkdir(parents=True)
    for file, content in images(archives[-1]): (folder/file).write_bytes(content)
    return folder

def measured(folder:Path, name:str, size:int, out:Path) -> list[dict]:
    "A line for each length of the latent."
    precision = resolve_precision('auto', device := resolve_device('auto'))
    row, lines = train_alone(folder, size=size, out=out, progress=Progress(), device=device, precision=precision, skip_unreadable=True)
    if row['status'] != 'done': raise SystemExit(f'{name}: {row["reason"]}')
    print(*lines, sep='\n')
    about = dict(images=name, size=size, n_train=row['n_train'], n_test=row['n_test'], channels=row['channels'])
    how = dict(epochs=sum(row['settings']['epochs']), precision=precision)
    how |= {k: row[k] for k in ('seconds', 'threads', 'device_name', 'git_revision')}
    return [about | o | dict(ratio=o['mse']/o['pca_mse']) | how for o in row['lengths']]

def main():
    p = argparse.ArgumentParser(description=__doc__, epilog='\n'.join(FETCH.values()), formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('downloads', type=Path, help='folder of what the commands below fetched')
    p.add_argument('--sets', nargs='+', choices=SETS, default=list(SETS))
    p.add_argument('--models', type=Path, help='folder that keeps the models (default: none)')
    p.add_argument('--out', type=Path, required=True, help='CSV to write')
    args = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        for name in args.sets:
            folder = unpack(args.downloads, name, Path(tmp)/name)
            for size in SETS[name][2]: rows += measured(folder, name, size, args.models or Path(tmp)/'models')
    frame = pd.DataFrame(rows)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(args.out, index=False)
    Console(width=140).print(frame.drop(columns=['device_name', 'git_revision']).to_string(index=False))

if __name__ == '__main__': main()
