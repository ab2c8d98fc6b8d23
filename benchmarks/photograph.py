"""A whole photograph as finished runs copy it, tile by tile, beside JPEG and WebP of as many bytes, in one picture.

    aebench run --data scikit-photos --methods baseline,pca-128
    python benchmarks/photograph.py runs/scikit-photos/baseline-… runs/scikit-photos/pca-128-… --out photograph.png
"""
import argparse
import io
import sys
from pathlib import Path

from PIL import Image

from aebench.apply import load
from aebench.apply.photograph import copy_of_run, file_of_bytes, part_psnr, photograph_picture, unseen
from aebench.core.errors import AebenchError
from aebench.core.files import write_bytes
from aebench.data.sets import PHOTOGRAPHS, photograph

CROPS = dict(china=(208, 64, 96, 64), flower=(320, 176, 96, 64)) # What is enlarged: the edge of a roof, petals
SAVED = {'.jpg': dict(format='JPEG', quality=90, subsampling=0), '.png': dict(format='PNG')} # By suffix; the first is a third as large

def saved(png:bytes, suffix:str) -> bytes:
    "The picture as a file of another kind."
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert('RGB').save(file, **SAVED[suffix])
    return file.getvalue()

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('runs', type=Path, nargs='+', metavar='RUN', help='folder of a finished run that left a model')
    p.add_argument('--photo', choices=PHOTOGRAPHS, default='china')
    p.add_argument('--crop', type=int, nargs=4, metavar=('LEFT', 'TOP', 'WIDTH', 'HEIGHT'), help='the part that is enlarged, in pixels')
    p.add_argument('--bytes', type=int, help='of each copy (default: as each run chose, and files as large as the last one)')
    p.add_argument('--formats', nargs='*', choices=['JPEG', 'WebP'], default=['JPEG', 'WebP'])
    p.add_argument('--out', type=Path, required=True, help='picture to write, .jpg or .png')
    args = p.parse_args()
    if args.out.suffix not in SAVED: p.error(f'--out must end in {" or ".join(SAVED)}, not {args.out.name}')
    image, columns = photograph(args.photo), unseen(args.photo)
    try:
        copies = [copy_of_run(load(o, 'cpu'), image, args.bytes) for o in args.runs]
        copies += [file_of_bytes(image, o, args.bytes or copies[-1].bytes) for o in args.formats]
        picture = photograph_picture(image, copies, tuple(args.crop or CROPS[args.photo]), columns)
        write_bytes(args.out, saved(picture, args.out.suffix))
    except AebenchError as e: sys.exit(str(e))
    for copy in copies: print(f'{copy!r}, {part_psnr(copy.image, image, columns):.2f} dB in the part that was not trained on')
    print(f'Picture in {args.out}')

if __name__ == '__main__': main()
