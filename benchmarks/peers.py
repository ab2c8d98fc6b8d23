"""How soon does a network copy better than principal components, and how well after so many seconds: aebench and others.

    pip install pythae
    python benchmarks/peers.py --data mnist FOLDER --latents 32 128 --seconds 300

pythae goes into the environment itself: found by PYTHONPATH, the old `dataclasses` that it brings would hide Python's own. Where
it is missing, its rows say so, and the others are measured.

One after the other each peer trains on the CPU, in a process of its own, on the same images of 32×32, with as many numbers in
the latent and as many threads. The clock runs from images in memory to a trained network. What a tool needs to begin counts, such
as principal components and a search for a rate; evaluation and validation don't. Components shorten the training, a search does
not: `aebench run --seconds` leaves it out, and so plain fastai's is left out too. The error is that of pixels in [0, 1],
clamped: on the way on 1,000 test images at marks of time, at the end on all of them. A finished part stands in OUT/summary.csv
and is not trained again, so that the command goes on where it was; OUT/points.csv has the errors on the way.
"""
import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from itertools import product
from math import inf, nan
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

warnings.filterwarnings('ignore')
import pandas as pd
import torch
from fastai.callback import schedule  # adds `lr_find` to Learner
from fastai.data.core import DataLoaders
from fastai.layers import ConvLayer
from fastai.learner import Learner
from fastai.losses import MSELossFlat
from fastai.torch_core import set_seed
from rich.console import Console
from torch import Tensor, nn

from aebench.bench.devices import environment, resolve_precision
from aebench.bench.loop import configure_torch
from aebench.bench.run import train_run
from aebench.codec.references import first_components, principal_components
from aebench.core.errors import AebenchError, UsageError, error_line
from aebench.core.files import write_text
from aebench.core.text import duration
from aebench.data import ImageSet, load_images
from aebench.data.pixels import subsample
from aebench.models import parameter_count
from aebench.registry import METHODS
from aebench.settings import plan_runs
from aebench.training import Clock, Watcher  # `fit_seconds` of Learner too

ROOT = Path(__file__).resolve().parent.parent
SIZE = 32 # Pixels a side
MARKED = 1000 # Test images that are measured on the way, evenly spread
MARKS = 30 # Measurements on the way, at most
WORDS = ['peer', 'data', 'images_key', 'precision', 'device_name']
KEY = [*WORDS, 'latent', 'budget', 'threads'] # What makes a part the same part

# --- the clock -------------------------------------------------------------------------------------------------------

def marks(seconds:float) -> list[float]:
    "When to measure: closer together at the beginning, the first after 1/300 of the time, the last at its end."
    return [seconds*300**(i/(MARKS - 1) - 1) for i in range(MARKS)]

def seconds_to(points:list[dict], mse:float) -> dict: # NaN: never
    "When a network was first seen to be better than principal components of that error, and from when on it always was."
    better = [o['mse'] < mse for o in points]
    found = dict(seconds_to_pca=better.index(True) if any(better) else len(points),
                 seconds_below_pca=max((i + 1 for i, o in enumerate(better) if not o), default=0))
    return {k: points[i]['seconds'] if i < len(points) else nan for k, i in found.items()}

class Watch:
    "Seconds since it was made, pauses left out."
    def __init__(self, now:Callable=perf_counter): self.now, self.begun = now, now()
    @property
    def seconds(self) -> float: return self.now() - self.begun
    def pause(self): self.held = self.now()
    def resume(self) -> float: # Seconds of the pause
        took = self.now() - self.held
        self.begun += took
        return took

@torch.no_grad()
def error(copy:Callable, images:Tensor) -> float: # uint8, (N, C, S, S)
    "Mean squared error of pixels in [0, 1]."
    total = 0.
    for x in images.split(250):
        x = x.float().div_(255)
        total += float((copy(x).clamp(0, 1) - x).double().square().sum())
    return total/images.numel()

def error_of(model:nn.Module, copy:Callable, images:Tensor) -> float:
    "`error` of a network that is training, which is left as it was."
    was = model.training
    model.eval()
    found = error(copy, images)
    model.train(was)
    return found

@dataclass
class Course:
    "Measures a network while it trains: at `marks`, but for no longer than it has trained."
    test:Tensor # uint8, the images to measure on
    budget:float # Seconds
    watch:Watch = field(default_factory=Watch)
    points:list = field(default_factory=list)
    images:int = 0
    spent:float = 0. # Seconds of measuring

    def __post_init__(self): self.due = marks(self.budget)
    @property
    def left(self) -> float: return self.budget - self.watch.seconds

    def step(self, n:int, model:nn.Module, copy:Callable) -> float: # Seconds that it was measured
        "After a training step on `n` images."
        self.images, now = self.images + n, self.watch.seconds
        if not self.due or now < self.due[0] or self.spent > now: return 0.
        self.due = [o for o in self.due if o > now]
        return self.note(model, copy)

    def note(self, model:nn.Module, copy:Callable) -> float: # Likewise
        "A point."
        self.watch.pause()
        seconds = self.watch.held - self.watch.begun
        self.points.append(dict(seconds=seconds, images=self.images, mse=error_of(model, copy, self.test)))
        took = self.watch.resume()
        self.spent += took
        return took

# --- the peers -------------------------------------------------------------------------------------------------------

@dataclass
class Task:
    "What a peer is given."
    data:ImageSet
    latent:int # Numbers
    precision:str # For aebench
    course:Course

class Notes(Watcher):
    "Tells a `Course` of a fastai training. `Clock`, which ends the training, doesn't count the measuring either."
    in_search, order = False, 1000
    def __init__(self, course:Course): self.course = course
    def before_validate(self): self.course.watch.pause()
    def after_validate(self): self.course.watch.resume()
    def after_step(self):
        took = self.course.step(len(self.x), self.model, self.model)
        for o in self.learn.cbs:
            if isinstance(o, Clock): o.watch.start += took

def pca(task:Task) -> tuple[nn.Module, Callable]: # The network, and what it makes of images
    "As aebench fits them."
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, AEBENCH_HOME=home): components = principal_components(task.data)
    codec = first_components(components, task.latent, task.data.size)
    return codec, codec

def by_aebench(method:str) -> Callable:
    "As `aebench run --seconds` trains it, with nothing in its cache; components take from the time that is left for training."
    def train(task:Task) -> tuple[nn.Module, Callable]:
        configure_torch()
        data = task.data
        with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, AEBENCH_HOME=home):
            if METHODS[method].uses_components: principal_components(data)
            if task.course.left <= 0: raise UsageError(f'The principal components took all {task.course.budget:g} s: give more --seconds.')
            run, = plan_runs(method, data.name, size=data.size, channels=data.channels, latent=task.latent, seconds=task.course.left,
                             weights='random', device='cpu', precision=task.precision)
            model = train_run(run, data, [Notes(task.course)])[0].model
        return model, model
    return train

class Pairs(torch.utils.data.Dataset):
    "Images as input and target."
    def __init__(self, images:Tensor): self.images = images # uint8
    def __len__(self): return len(self.images)
    def __getitem__(self, i):
        x = self.images[i].float()/255
        return x, x

def tutorial_network(channels:int, size:int, latent:int) -> nn.Sequential:
    "Three halvings by strided convolutions, a linear layer each way, three doublings."
    core, widths = size//8, (32, 64, 128)
    down = [ConvLayer(ni, nf, stride=2) for ni, nf in zip((channels, *widths), widths)]
    up = [o for ni, nf in ((128, 64), (64, 32)) for o in (nn.Upsample(scale_factor=2), ConvLayer(ni, nf))]
    last = [nn.Upsample(scale_factor=2), ConvLayer(32, channels, norm_type=None, act_cls=nn.Sigmoid)]
    return nn.Sequential(*down, nn.Flatten(), nn.Linear(128*core**2, latent),
                         nn.Linear(latent, 128*core**2), nn.Unflatten(1, (128, core, core)), *up, *last)

def plain_fastai(task:Task) -> tuple[nn.Module, Callable]:
    "A Learner over DataLoaders of a dataset: `lr_find`, then one cycle, which a callback stretches over the time."
    set_seed(0)
    data = task.data
    model = tutorial_network(data.channels, data.size, task.latent)
    dls = DataLoaders.from_dsets(Pairs(data.train_x), Pairs(task.course.test), bs=64, num_workers=0, device=torch.device('cpu'))
    with tempfile.TemporaryDirectory() as folder:
        learn = Learner(dls, model, MSELossFlat(), path=folder)
        with learn.no_bar(), learn.no_logging():
            rate = learn.lr_find(show_plot=False).valley
            learn.fit_seconds(task.course.budget, rate, cbs=Notes(task.course))
    return model, model

class TimeUp(Exception): "Ends a training by pythae."

def pythae_networks(kind:str, channels:int, size:int, latent:int) -> tuple[nn.Module, nn.Module]: # Encoder and decoder
    """pythae's own for CIFAR, and for grey images those for MNIST, made to fit 32×32 pixels in place of 28×28.
    Raises `UsageError` for other images."""
    if size != 32 or channels not in (1, 3): raise UsageError(f'pythae has no networks for {channels} channels of {size}×{size}.')
    from pythae.models import AEConfig
    name = 'CIFAR' if channels == 3 else 'MNIST'
    networks, config = import_module(f'pythae.models.nn.benchmarks.{name.lower()}'), AEConfig((channels, size, size), latent)
    encoder, decoder = (getattr(networks, f'{o}_{kind}_AE_{name}')(config) for o in ('Encoder', 'Decoder'))
    if name == 'MNIST':
        first = next(o for o in decoder.modules() if isinstance(o, nn.ConvTranspose2d))
        first.output_padding = (1, 1)  # 4 places a side become 8 in place of 7; its other layers have it already
        numbers = nn.Sequential(*encoder.layers).eval()(torch.zeros(1, 1, size, size)).numel()
        if numbers != encoder.embedding.in_features: encoder.embedding = nn.Linear(numbers, latent)
        encoder.train()
    return encoder, decoder

def by_pythae(kind:str, rate:float=1e-3) -> Callable:
    "pythae's trainer with the settings of its README; its schedule looks at the training set."
    def train(task:Task) -> tuple[nn.Module, Callable]:
        from pythae.data.datasets import BaseDataset
        from pythae.models import AE, AEConfig
        from pythae.trainers import BaseTrainer, BaseTrainerConfig
        from pythae.trainers.training_callbacks import TrainingCallback
        logging.disable(logging.INFO)
        set_seed(0)
        data, course, batch = task.data, task.course, 200
        shape = data.channels, data.size, data.size
        model = AE(AEConfig(shape, task.latent), *pythae_networks(kind, *shape[:2], task.latent))
        def copy(x): return model.decoder(model.encoder(x).embedding).reconstruction
        class Noted(TrainingCallback):
            done = 0 # Images of this epoch
            def on_epoch_begin(self, config, **_): self.done = 0
            def on_train_step_end(self, config, **_):
                n = min(batch, len(data.train_x) - self.done)
                self.done += n
                course.step(n, model, copy)
                if course.left <= 0: raise TimeUp()
        with tempfile.TemporaryDirectory() as folder:
            config = BaseTrainerConfig(
                output_dir=folder, num_epochs=10**6, learning_rate=rate, per_device_train_batch_size=batch, no_cuda=True,
                optimizer_cls='AdamW', optimizer_params=dict(weight_decay=.05, betas=(.91, .995)),
                scheduler_cls='ReduceLROnPlateau', scheduler_params=dict(patience=5, factor=.5))
            try: BaseTrainer(model, BaseDataset(data.train_x/255, data.train_y), training_config=config, callbacks=[Noted()]).train()
            except TimeUp: pass
        return model, copy
    return train

@dataclass(frozen=True)
class Peer:
    label:str
    package:str # Whose version is noted
    train:Callable # `Task` → the network, and what it makes of images
    recipe:str # How it trains, for the page

_README = ('no augmentation; the settings of its README: AdamW at 1e-3, batches of 200, '
           "the rate halved where the loss doesn't fall for 5 epochs")

PEERS = {
    'pca': Peer('principal components', 'aebench', pca, 'fitted, not trained'),
    'modern': Peer('aebench modern', 'aebench', by_aebench('modern'),
                   'batches of 128, mirrored where such images are alike; one cycle up to 1.5e-3 over what its components leave'),
    'baseline': Peer('aebench Baseline', 'aebench', by_aebench('baseline'),
                     "batches of 128, the paper's augmentation; one cycle up to 1e-3 for a third of the time, one as a search suggests"),
    'pythae_conv': Peer('pythae convolutional', 'pythae', by_pythae('Conv'), _README),
    'pythae_resnet': Peer('pythae residual', 'pythae', by_pythae('ResNet'), _README),
    'pythae_resnet_slow': Peer('pythae residual, 1e-4', 'pythae', by_pythae('ResNet', 1e-4),
                               'likewise at a tenth of that rate, by which its outputs do not die'),
    'fastai': Peer('plain fastai', 'fastai', plain_fastai,
                   'Adam, batches of 64, no augmentation; `lr_find`, then one cycle over the time at the rate that it suggests'),
}

# --- the parts ---------------------------------------------------------------------------------------------------------

def precision_of(peer:str, precision:str) -> str: return precision if peer in METHODS else 'fp32'

def measured(
    peer:str, # In `PEERS`
    folder:str, # Or a name: what `load_images` takes
    latent:int, budget:float, threads:int, precision:str
) -> tuple[list[dict], dict]: # Points, and what else is found
    "Train a peer, in a process that has done nothing else."
    torch.set_num_threads(threads)
    data = load_images(folder, SIZE)
    load, marked = os.getloadavg()[0], subsample(data.test_x, MARKED)
    codec = first_components(principal_components(data), latent, SIZE)
    course = Course(marked, budget)
    model, copy = PEERS[peer].train(Task(data, latent, precision, course))
    course.note(model, copy)
    found = dict(mse=error_of(model, copy, data.test_x), pca_mse=error(codec, data.test_x), seconds=course.points[-1]['seconds'],
                 **seconds_to(course.points, error(codec, marked)), images=course.images, parameters=parameter_count(model),
                 version=f'{PEERS[peer].package} {version(PEERS[peer].package)}', load=load)
    return course.points, found | environment('cpu')

def in_own_process(*asked) -> tuple[list[dict], dict]: # As `measured`
    "What came out, or in a note why nothing did."
    os.environ['TQDM_DISABLE'] = '1'  # pythae's bars, in processes that begin now
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as one:
        try: return one.submit(measured, *asked).result()
        except ImportError as e: return [], dict(note=f'not available: {e}')
        except Exception as e: return [], dict(note=f'not available: {e if isinstance(e, AebenchError) else error_line(e)}')

class Results:
    "The two tables, kept in a folder."
    def __init__(self, folder:Path):
        self.folder = folder
        self.summary, self.points = (self._read(o) for o in ('summary', 'points'))

    def _read(self, name:str) -> pd.DataFrame:
        path = self.folder/f'{name}.csv'
        if not path.is_file(): return pd.DataFrame(columns=[*KEY, 'note'] if name == 'summary' else KEY)
        return pd.read_csv(path, dtype=dict.fromkeys(WORDS, str))  # a fingerprint may look like a number

    def _same(self, frame:pd.DataFrame, key:dict) -> pd.Series: # bool
        return (frame[KEY] == pd.Series(key)[KEY]).all(axis=1)

    def has(self, key:dict) -> bool:
        "Is this part finished? One that was not available isn't."
        return bool((self._same(self.summary, key) & self.summary.note.isna()).any())

    def add(self, key:dict, points:list[dict], found:dict):
        "Keep a part; the summary, by which a part is known to be finished, is written last."
        def joined(frame, rows):
            parts = [o for o in (frame[~self._same(frame, key)], pd.DataFrame([key | o for o in rows])) if len(o)]
            return pd.concat(parts, ignore_index=True) if parts else frame
        self.points, self.summary = joined(self.points, points), joined(self.summary, [key | dict(note=None) | found])
        for name in ('points', 'summary'): write_text(self.folder/f'{name}.csv', getattr(self, name).to_csv(index=False))

# --- the picture ---------------------------------------------------------------------------------------------------------

def draw(rows:pd.DataFrame): # Of the summary, of one budget and one machine; a Figure
    "A row a data set: seconds to principal components, and the error after the budget beside theirs."
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch
    from matplotlib.ticker import LogLocator, NullFormatter
    rows, budget = rows[rows.peer != 'pca'], rows.budget.iloc[0]
    peers, colours = [o for o in PEERS if o in set(rows.peer)], {o: f'C{i}' for i, o in enumerate(sorted(rows.latent.unique()))}
    sets = {name: sorted(part.latent.unique()) for name, part in rows.groupby('data', sort=False)}
    size = 9, .6 + len(sets)*(.6 + .45*len(peers))
    fig, axs = plt.subplots(len(sets), 2, squeeze=False, sharex='col', sharey=True, layout='constrained', figsize=size)
    for (left, right), (name, latents) in zip(axs, sets.items()):
        height = .8/len(latents)
        for i, latent in enumerate(latents):
            part = rows[(rows.data == name) & (rows.latent == latent)]
            y = [peers.index(o) + height*(i + .5) - .4 for o in part.peer]
            left.barh(y, part.seconds_to_pca.fillna(0), height, color=colours[latent])
            right.barh(y, (part.mse/part.pca_mse - 1).fillna(0), height, left=1, color=colours[latent])
            for at, o in zip(y, part.itertuples()):
                why = 'not available' if pd.isna(o.mse) else 'not reached' if pd.isna(o.seconds_to_pca) else ''
                left.text(.02, at, why, transform=left.get_yaxis_transform(), va='center', fontsize='small')
        left.set(title=f'{name}, {latents[0]} numbers' if len(latents) == 1 else name, ylim=(len(peers) - .5, -.5),
                 xlim=(0, max(budget, rows.seconds_to_pca.max())))
        left.set_yticks(range(len(peers)), [PEERS[o].label for o in peers])
        right.axvline(1, c='gray', lw=1)
        right.set_xscale('log')
        right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        right.xaxis.set_major_formatter('{x:g}')
        right.xaxis.set_minor_formatter(NullFormatter())
    axs[-1][0].set_xlabel('seconds to principal components')
    axs[-1][1].set_xlabel(f'MSE after {budget:g} s, times theirs')
    if max(map(len, sets.values())) > 1:
        axs[0][0].legend(handles=[Patch(color=c, label=f'{o} numbers') for o, c in colours.items()], loc='upper right')
    plt.close(fig)  # a notebook shows what it is given, and not again what is open
    return fig

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', nargs='+', default=['mnist'], metavar='NAME|FOLDER')
    p.add_argument('--latents', type=int, nargs='+', default=[32, 128])
    p.add_argument('--seconds', type=float, default=300.)
    p.add_argument('--threads', type=int, default=torch.get_num_threads())
    p.add_argument('--peers', nargs='+', choices=PEERS, default=[*PEERS])
    p.add_argument('--precision', default='auto', help="aebench's (default: auto, as `aebench run` has it); the others compute in fp32")
    p.add_argument('--out', type=Path, default=ROOT/'results'/'peers')
    args = p.parse_args()
    console, results, begun = Console(stderr=True, width=120), Results(args.out), perf_counter()
    try: precision, sets = resolve_precision(args.precision, 'cpu'), [load_images(o, SIZE) for o in args.data]
    except AebenchError as e: sys.exit(str(e))
    where = dict(budget=args.seconds, threads=args.threads, device_name=environment('cpu')['device_name'])
    keys = [dict(peer=peer, data=data.label, images_key=data.fingerprint, latent=latent, precision=precision_of(peer, precision)) | where
            for data, latent, peer in product(sets, args.latents, args.peers)]
    names = {o.fingerprint: o.name for o in sets}
    todo = [key for key in keys if not results.has(key)]
    trained = sum(key['peer'] != 'pca' for key in todo)
    console.print(f'{len(keys) - len(todo)} parts finished, {len(todo)} to do: {duration(trained*args.seconds)} of training, '
                  'and up to as much again to measure')
    for key in todo:
        points, found = in_own_process(key['peer'], names[key['images_key']], key['latent'], args.seconds, args.threads, key['precision'])
        results.add(key, points, found)
        said = found.get('note') or f'MSE {found["mse"]:.5f} after {found["seconds"]:.1f} s'
        if found.get('seconds_to_pca', nan) < inf: said += f', below {found["pca_mse"]:.5f} of PCA after {found["seconds_to_pca"]:.1f} s'
        part = f'{key["data"]}, {key["latent"]:4}, {PEERS[key["peer"]].label}'
        console.print(f'{perf_counter() - begun:6.0f} s  {part}: {said}', highlight=False)
    print(f'{len(results.summary)} rows in {args.out}/summary.csv, {len(results.points)} in {args.out}/points.csv')

if __name__ == '__main__': main()
