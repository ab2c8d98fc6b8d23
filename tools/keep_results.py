"""Copy a comparison into results/, without what a clone need not hold: results/README.md says what that is.

    python tools/keep_results.py runs/mnist results/mnist-modern
    python tools/keep_results.py runs/digits results/digits --latent-pictures 64 --samples
"""
import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from aebench.report.page import make_report
from aebench.report.rows import read_rows
from aebench.run_folder import BETWEEN_PNG, CODER, MAP_PNG, MODEL, NEIGHBOURS_PNG, SAMPLES_PNG, STATE, UMAP_PNG

NEVER = MODEL, CODER, STATE
OF_LATENT = BETWEEN_PNG, MAP_PNG, NEIGHBOURS_PNG, UMAP_PNG

def wanted(rows, most:int) -> dict[str, set]: # By run: the pictures of it that are kept
    "Samples of a method's first seed at each length of the latent; pictures of the latent up to a length."
    first = rows.drop_duplicates(['method', 'latent', 'epochs'])
    return {o.run: {SAMPLES_PNG} | (set(OF_LATENT) if o.latent and o.latent <= most else set()) for o in first.itertuples()}

def copy_runs(source:Path, out:Path, most:int):
    "Each finished run's folder."
    rows = read_rows(source)
    rows = rows[rows.status == 'done']
    pictures = wanted(rows, most)
    for run in rows.run:
        shutil.rmtree(out/run, ignore_errors=True)
        (out/run).mkdir(parents=True)
        for file in sorted((source/run).iterdir()):
            unwanted = file.suffix == '.png' and file.name not in pictures.get(run, ())
            if unwanted or file.name in NEVER or not file.is_file(): continue
            shutil.copy(file, out/run/file.name)

def shrink(png:Path):
    "The same pixels in fewer bytes."
    subprocess.run(['zopflipng', '-y', png, png], check=True, stdout=subprocess.DEVNULL)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('source', type=Path, help='folder that aebench run wrote')
    p.add_argument('out', type=Path, help='folder in results/; runs of the same name are replaced, others stay')
    p.add_argument('--latent-pictures', type=int, default=0, metavar='N',
                   help='keep pictures of latents of up to N numbers (default: none)')
    p.add_argument('--samples', action='store_true', help='keep the grid of samples of the report too')
    args = p.parse_args()
    if not shutil.which('zopflipng'): sys.exit('zopflipng is missing: it comes with the zopfli package of Linux distributions.')
    copy_runs(args.source, args.out, args.latent_pictures)
    make_report(args.out)
    (args.out/'report.html').unlink()
    for file in sorted((args.out/'report').glob('*.png')):
        if not (args.samples and file.name == SAMPLES_PNG): file.unlink()
    for png in sorted(args.out.rglob('*.png')): shrink(png)

if __name__ == '__main__': main()
