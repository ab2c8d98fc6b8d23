"""What images cost in bytes: principal components in whole archives, beside JPEG and WebP files.

    python benchmarks/bytes.py FOLDER --out results/bytes/jpeg.csv
    python benchmarks/bytes.py digits --size 16 --numbers 16 64 --most 10 20 40 --out bytes.csv

Components and coder are fitted to the training images. Bytes are those of one archive of the test images, names, sizes and checksum
included, divided by the images; the decoder is not counted.
"""
import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from torch import Tensor

from aebench.codec.archive import compress, unpack
from aebench.codec.coding import (
    MAX_FILES, MAX_STUDIED, decode_latents, encode_images, file_points, finest_step, fit_coder, pixel_errors)
from aebench.codec.references import first_components, principal_components
from aebench.core.pictures import psnr
from aebench.data import load_images
from aebench.data.pixels import subsample
from aebench.data.sets import ImageSet

FORMATS = 'JPEG', 'WebP'
MOST = 10, 20, 30, 45, 70, 98, 105, 147, 204, 270, 400

def archive_points(data:ImageSet, images:Tensor, k:int, sizes:Sequence[float]) -> list[dict]:
    "Archives of test images in the finest steps that take at most so many bytes; each is opened again before it counts."
    codec = first_components(principal_components(data), k, data.size)
    coder = fit_coder(encode_images(codec, subsample(data.train_x, MAX_STUDIED)))
    z, n, rows = encode_images(codec, images), len(images), []
    names = [f'test/{i:05d}.png' for i in range(n)]
    def file_of(coder): return compress(coder.quantise(z), coder, names, data.size, '0123456789abcdef', [(data.size, data.size)]*n)
    for most in sizes:
        file = file_of(finest_step(coder, codec, lambda o: len(file_of(o))/n, most))
        if len(file)/n > most: continue
        back = unpack(file, coder, '0123456789abcdef')
        mse = pixel_errors(decode_latents(codec, back.coder.restore(back.levels)), images).mean()
        rows.append(dict(format=f'PCA-{k}', most=most, step=back.coder.step, bytes_per_image=len(file)/n, mse=mse, psnr=psnr(mse)))
    return [o for i, o in enumerate(rows) if i == 0 or o['step'] < rows[i-1]['step']]

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data', help='a data set that aebench knows, or a folder')
    p.add_argument('--size', type=int, default=32, help='pixels a side')
    p.add_argument('--numbers', type=int, nargs='+', default=[64, 256, 1000], help='components')
    p.add_argument('--most', type=float, nargs='+', default=MOST, help='bytes an image')
    p.add_argument('--images', type=int, default=2000, help=f'test images at most, evenly spread; at most {MAX_FILES:,} as files')
    p.add_argument('--out', type=Path, required=True, help='CSV to write')
    args = p.parse_args()
    data = load_images(args.data, args.size)
    images = subsample(data.test_x, args.images)
    points = pd.DataFrame([row for k in args.numbers for row in archive_points(data, images, k, args.most)])
    points = pd.concat([points, file_points(images, FORMATS)], ignore_index=True)
    measured = points.format.isin(FORMATS).map({True: min(MAX_FILES, len(images)), False: len(images)})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    points.assign(n_train=len(data.train_x), n_test=measured, data_fingerprint=data.fingerprint).to_csv(args.out, index=False)
    Console(width=120).print(points.to_string(index=False, na_rep=''))
    print(f'{len(points)} points in {args.out}')

if __name__ == '__main__': main()
