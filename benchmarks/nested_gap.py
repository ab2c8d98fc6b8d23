"""Why a nested model copies worse than one of a single length: because all lengths share its decoder, or because they share its encoder?

    python benchmarks/nested_gap.py runs/photos/nested+modern-seed3333-… --numbers 64 128 --out nested-gap.csv

The model's weights go into a network of a single length, which is trained further: once its decoder alone, with the encoder as it was,
and once both. Beside them stand the nested model itself, and a network of that length trained from the start for as many epochs.
What the decoder alone wins back was lost because the lengths share it; what only both win back was lost in the latent.
"""
import argparse
import warnings
from pathlib import Path

warnings.filterwarnings('ignore')
import pandas as pd

from aebench.apply.trained import Trained, images_of_run, load
from aebench.bench.learner import autoencoder_learner
from aebench.codec.references import principal_components
from aebench.core.errors import AebenchError
from aebench.data.sets import ImageSet
from aebench.training import AutoencoderLearner

def prefix_of(state:dict, wanted:dict) -> dict:
    "The weights `state` of a long latent, cut to the shapes of `wanted`, those of a shorter one: its first numbers."
    return {k: state[k][tuple(map(slice, v.shape))] for k, v in wanted.items()}

def learner(data:ImageSet, numbers:int, seed:int, state:dict|None=None) -> AutoencoderLearner:
    "Of `modern` with so many numbers, which goes on from the weights `state`."
    learn = autoencoder_learner(data, 'modern', latent=numbers, seed=seed)
    if state: learn.model.load_state_dict(prefix_of(state, learn.model.state_dict()))
    return learn

def error(model, data:ImageSet, numbers:int|None=None) -> float: # Mean squared error on the test images
    return float(Trained(model.eval(), data.size).errors(data.test_x, numbers).mean())

def error_after(learn:AutoencoderLearner, epochs:int, data:ImageSet, only_decoder:bool=False) -> float: # As `error`
    "Train, and measure."
    if only_decoder: learn.model.bottleneck = lambda z, decode: decode(z.detach())
    with learn.no_bar(), learn.no_logging(): learn.fit_method(epochs)
    return error(learn.model, data)

def measured(run:Trained, data:ImageSet, numbers:int, epochs:int, seed:int):
    "How each way of coming to a model of this length does, as pairs of its name and the error."
    state = run.codec.state_dict()
    def further(**kwargs): return error_after(learner(data, numbers, seed, state), epochs, data, **kwargs)
    yield 'nested', error(run.codec, data, numbers)
    yield 'its decoder trained further', further(only_decoder=True)
    yield 'all of it trained further', further()
    yield 'trained from the start', error_after(learner(data, numbers, seed), epochs, data)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('run', help='the folder of a run of nested+modern')
    p.add_argument('--numbers', type=int, nargs='+', default=[128], metavar='N', help='the lengths to look at')
    p.add_argument('--epochs', type=int, default=3, help='of further training')
    p.add_argument('--seed', type=int, default=3333)
    p.add_argument('--out', type=Path, default=Path('nested-gap.csv'), help='the table, to which lines are added')
    args = p.parse_args()
    try: run = load(args.run, 'cpu')
    except AebenchError as e: raise SystemExit(str(e))
    if (data := images_of_run(run)) is None: raise SystemExit(f'{args.run}: the images that it was trained on are not here.')
    rows = pd.read_csv(args.out).to_dict('records') if args.out.exists() else []
    about = dict(data=data.label, nested_epochs=sum(run.row['settings']['epochs']), seed=args.seed, device_name=run.row['device_name'])
    numbers = sorted(set(args.numbers))
    for n, of_pca in zip(numbers, principal_components(data).errors_on(data.test_x, numbers)):
        for way, mse in measured(run, data, n, args.epochs, args.seed):
            further = 0 if way == 'nested' else args.epochs
            rows.append(about | dict(numbers=n, way=way, epochs=further, mse=mse, pca_mse=of_pca, ratio=mse/of_pca))
            pd.DataFrame(rows).to_csv(args.out, index=False)
            print(f'{data.label}, {n} numbers, {way}: ×{mse/of_pca:.3f}', flush=True)

if __name__ == '__main__': main()
