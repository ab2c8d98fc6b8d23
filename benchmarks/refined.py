"""What refined latents are worth: the error of finished runs' models by the number of steps, and that of as many principal components.

    python benchmarks/refined.py runs/photos/modern-seed3333-… --steps 0 10 --out refined.csv

A network and its components copy the same test images, from the latents of one pass and from latents that were refined on each image.
What the table has already is not measured again.
"""
import argparse
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

warnings.filterwarnings('ignore')
import pandas as pd
from torch import nn

from aebench.apply.trained import load
from aebench.codec.protocol import first_numbers
from aebench.codec.refined import Refined, plain
from aebench.codec.references import first_components, principal_components
from aebench.core.errors import AebenchError, error_message
from aebench.data.pixels import subsample
from aebench.data.sets import ImageSet, load_images
from aebench.metrics import evaluate
from aebench.settings import READING
from aebench.weights import judge_for

KEY = 'data', 'images', 'numbers', 'method', 'epochs', 'seed', 'steps'

def rows_of(run:str, numbers:list[int], limit:int|None, device:str) -> Iterator[tuple[dict, nn.Module, ImageSet, list]]:
    "For each length of a run's latent, of the network and of components: what a row says of it, the codec, the images, who judges."
    model = load(run, device)
    settings = model.row['settings']
    data = load_images(settings['data'], model.size, **{k: settings[k] for k in READING if k in settings})
    judges = [judge_for(data, settings['weights'], device)] if data.classes else []
    components = principal_components(data, device)
    if limit: data = replace(data, test_x=subsample(data.test_x, limit), test_y=subsample(data.test_y, limit))
    for k in numbers or [model.latent]:
        about = dict(data=data.label, images=len(data.test_x), numbers=k, pca_mse=components.errors_on(data.test_x, [k])[0])
        yield about | dict(method=model.row['method'], epochs=sum(settings['epochs']), seed=settings['seed']), \
            first_numbers(plain(model.codec), k), data, judges
        yield about | dict(method=f'pca-{k}'), first_components(components, k, data.size).to(device), data, judges

def measured(codec:nn.Module, steps:int, data:ImageSet, judges:list) -> dict:
    "Error, and the share that is recognised, of copies from latents that were refined by `steps`."
    found = evaluate(Refined(codec.eval(), steps), data, judges).measures
    return dict(mse=found['mse'], psnr=found['psnr'], accuracy=found.get('accuracy'))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('runs', nargs='+', help='folders of finished runs')
    p.add_argument('--steps', type=int, nargs='+', default=[0, 10], help='of refining')
    p.add_argument('--numbers', type=int, nargs='+', default=[], help='of a nested model, the lengths to look at (default: the whole)')
    p.add_argument('--images', type=int, help='test images at most, evenly spread (default: all)')
    p.add_argument('--device', default='cpu')
    p.add_argument('--out', type=Path, default=Path('refined.csv'), help='the table, to which lines are added')
    args = p.parse_args()
    rows = pd.read_csv(args.out).astype(object).where(lambda o: o.notna(), None).to_dict('records') if args.out.exists() else []
    failed = False
    for run in args.runs:
        try:
            for about, codec, data, judges in rows_of(run, args.numbers, args.images, args.device):
                for steps in args.steps:
                    row = about | dict(steps=steps)
                    if any(all(o.get(k) == row.get(k) for k in KEY) for o in rows): continue
                    row |= measured(codec, steps, data, judges)
                    rows.append(row | dict(ratio=row['mse']/row['pca_mse']))
                    pd.DataFrame(rows).to_csv(args.out, index=False)
                    print('{data}, {method}, {numbers} numbers, {steps} steps: MSE {mse:.6f}'.format(**rows[-1]), flush=True)
        except AebenchError as e:
            print(error_message(e), file=sys.stderr, flush=True)
            failed = True
    sys.exit(int(failed))

if __name__ == '__main__': main()
