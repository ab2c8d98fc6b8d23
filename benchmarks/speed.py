"""How fast is a training step, and where does its time go? `make bench`, or: python benchmarks/speed.py --help

Contestants are timed turn by turn, after a warm-up: aebench and the bare loops in this process, which keeps the memory that
it frees; what users have without aebench, in processes of their own, which don't. A row holds the median over the turns, the
lowest and the highest, and how many there were. Rows go to a CSV with the environment in each.
"""
import argparse
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from statistics import median
from time import perf_counter, time

warnings.filterwarnings('ignore')
import pandas as pd
import torch
from fastai.learner import Learner
from fastai.torch_core import set_seed
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from aebench.data import ImageSet
from aebench.registry import METHODS
from aebench.settings import Run
from aebench.bench.devices import environment, resolve_device, resolve_precision
from aebench.speed import keep_freed_memory
from contestants import CONTESTANTS, WITHOUT_AEBENCH, Task, aebench_learner, now
from shares import PARTS, step_shares

SHORT = dict(baseline=('plain fastai', 'usual layers'), resnet=('usual layers',), feature_loss=("the paper's way", 'usual layers'),
             modern=('compiled loop',)) # Beside the bare loop and aebench
HERE = Path(__file__).resolve().parent
UNITS = { # Of each part
    'speed': 'images/s', 'memory': 'MB', 'share': '% of the step', 'start': 's', 'cost': 'µs an image', 'floor': 'images/s'}

def noise(n:int, size:int) -> ImageSet:
    "A data set of random images: the speed doesn't look at them."
    gen = torch.Generator().manual_seed(0)
    images = lambda n: torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=gen)
    labels = lambda n: torch.arange(n, dtype=torch.int16) % 10
    return ImageSet('noise', 'Noise', images(n), labels(n), images(256), labels(256), tuple('abcdefghij'), f'noise {n}')

def save_images(images:ImageSet, folder:Path) -> Path:
    "The training images as PNG files."
    for i, x in enumerate(images.train_x): Image.fromarray(x.permute(1, 2, 0).numpy()).save(folder/f'{i:05}.png')
    return folder

def row(what:str, method:str, contestant:str, size:int, values:list[float], detail:str='') -> dict:
    "One line of the table."
    return dict(what=what, method=method, contestant=contestant, size=size, detail=detail,
                median=median(values), low=min(values), high=max(values), n=len(values), unit=UNITS[what])

def _serve(pipe, name:str, run:Run, n:int, folder:Path):
    "In a process of its own: train on as many batches as are asked for, until nobody is there to ask."
    multiprocessing.set_start_method(None, force=True)  # its loader's workers start as everywhere, and not as it was started itself
    set_seed(0)
    train = CONTESTANTS[name](Task(run, noise(n, run.size), folder))
    try:
        while True: pipe.send(train(pipe.recv()))
    except EOFError: pass

@contextmanager
def contestant(name:str, task:Task) -> Iterator[Callable]:
    "`train` of a contestant; without aebench, in a process of its own: what `keep_freed_memory` sets for this one can't be undone."
    if name not in WITHOUT_AEBENCH:
        set_seed(0)
        yield CONTESTANTS[name](task)
        return
    context = multiprocessing.get_context('spawn')
    here, there = context.Pipe()
    child = context.Process(target=_serve, args=(there, name, task.run, len(task.images.train_x), task.folder))
    child.start()
    there.close()
    def train(n:int) -> float:
        here.send(n)
        return here.recv()
    try: yield train
    finally:
        here.close()
        child.join()

def race(task:Task, names:list[str], turns:int, seconds:float) -> list[dict]:
    "Time the contestants turn by turn, each for about `seconds` a turn, on `noise`."
    trains, batches, begins, found = {}, {}, {}, {name: [] for name in names}
    with ExitStack() as stack:
        for name in names:
            trains[name] = stack.enter_context(contestant(name, task))
            begun = perf_counter()
            slow = trains[name](5)  # the warm-up
            if (first := perf_counter() - begun) > 20*slow: begins[name] = f'begins after {first:.0f} s'
            batches[name] = max(5, min(len(task.images.train_x)//task.batch_size - 1, round(seconds/slow)))
        for _ in range(turns):
            for name in names: found[name].append(task.batch_size/trains[name](batches[name]))
    return [row('speed', task.run.method, name, task.run.schedule[0][1], values, begins.get(name, '')) for name, values in found.items()]

def machine_rates(device:str, precision:str) -> tuple[float, float]: # Operations a second, bytes a second
    """What this machine reaches in that precision in matrix products and 3×3 convolutions, and in a large copy: the best of many tries.

    Convolutions are included, since libraries may compute them faster than products, and small products faster than large ones."""
    small = device == 'cpu'  # a GPU is done with those in the time that starting them takes
    def numbers(*shape): return torch.rand(shape, device=device).to(torch.bfloat16 if precision == 'bf16' else torch.float32)
    def best(f): return min(_seconds(f, device) for _ in range(12))
    def product(n):
        a = numbers(n, n)
        return 2*n**3/best(lambda: a @ a)
    def convolution(channels, size, n):
        x, weight = (numbers(*o).contiguous(memory_format=torch.channels_last)
                     for o in ((n, channels, size, size), (channels, channels, 3, 3)))
        return 2*x.numel()*channels*9/best(lambda: conv2d(x, weight, padding=1))
    products = [product(n) for n in ((512, 1024, 2048) if small else (4096, 8192))]
    convolutions = [convolution(*o) for o in (((64, 8, 128), (128, 16, 64)) if small else ((256, 32, 256), (512, 16, 256)))]
    memory = torch.rand(2**25 if small else 2**28, device=device)
    return max(products + convolutions), 2*memory.nbytes/best(lambda: memory.clone())

def _seconds(f, device:str) -> float:
    start = now(device)
    f()
    return now(device) - start

def _product(to, a, b, **_) -> int: return 2*prod(a)*b[-1] # Of shapes

IN_PLACE = {torch.ops.aten.addmm_: _product, torch.ops.aten.baddbmm_: _product} # Products that torch's counter leaves out

def operations(learn:Learner) -> tuple[int, int]: # Operations of all products and convolutions, forward and backward; images
    "Those of a step on one batch, which leaves the gradients behind."
    x, y = learn.dls.one_batch()
    learn.model.train()
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter: learn.loss_func(learn.model(x), y).backward()
    return counter.get_total_flops(), len(x)

def counted_floor(task:Task, rates:tuple[float, float]) -> dict:
    "The speed if a step were nothing but its products at the highest rate seen and the optimiser's traffic at the rate of a copy."
    learn = aebench_learner(task)
    count, n = operations(learn)
    trained = sum(p.numel() for p in learn.model.parameters() if p.grad is not None)
    seconds = count/rates[0] + 7*4*trained/rates[1]  # gradient, weight and two moments are read, all but the first written
    detail = f'{count/n/1e6:.0f} million operations an image, {trained/1e6:.1f} million weights'
    return row('floor', task.run.method, 'counted floor', task.run.schedule[0][1], [n/seconds], detail)

def in_child(code:str, env:dict|None=None, **kwargs) -> str:
    "What a fresh Python prints."
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True,
                          cwd=HERE, env={**os.environ, **(env or {})}, **kwargs)
    if done.returncode: sys.exit(f'A measurement failed: {done.stderr[-2000:]}')
    return done.stdout

def peak_memory(run:Run) -> dict:
    "Training, validation and evaluation in their own process, on as many images as CIFAR-10 has: the peak above what `import torch` takes."
    return row('memory', run.method, 'aebench', run.size,
               [float(in_child(f'from memory import peak; from aebench.settings import Run; print(peak({run!r}))').split()[-1])],
               'above a Python that has imported torch')

def start_seconds(data:str, home:str|None, turns:int) -> list[dict]:
    "From `aebench run` to its first training batch, less what `import torch` takes: without any cache, and with one."
    code = (f'import sys; from fastai.learner import Learner\nclass Begun(BaseException): pass\ndef begun(*_): raise Begun\n'
            f'Learner.one_batch = begun\nfrom aebench.cli import main\n'
            f'try: main(["run", "-q", "--data", {data!r}, "--methods", "baseline", "--weights", "in-domain", "--out", OUT])\n'
            'except Begun: print("begun")')
    def once(home:str) -> float:
        with tempfile.TemporaryDirectory() as out:
            start = time()
            assert 'begun' in in_child(code.replace('OUT', repr(out)), dict(AEBENCH_HOME=home)), 'aebench run never came to a batch'
            return time() - start
    def bare() -> float:
        start = time()
        in_child('import torch')
        return time() - start
    with tempfile.TemporaryDirectory() as tmp:
        cold, home = once(tmp), home or tmp
        with tempfile.TemporaryDirectory() as out:  # fills the cache
            in_child('from aebench.cli import main; '
                     f'main(["run", "-q", "--data", {data!r}, "--methods", "baseline", '
                     f'"--weights", "in-domain", "--epochs", "1", "0", "--out", {out!r}])',
                     dict(AEBENCH_HOME=home))
        torches, warm = zip(*[(bare(), once(home)) for _ in range(turns)])
    least = median(torches)
    return [row('start', 'baseline', 'import torch', 0, torches), row('start', 'baseline', 'aebench', 0, [cold-least], f'{data}, no cache'),
            row('start', 'baseline', 'aebench', 0, [o-least for o in warm], f'{data}, second start')]

def share_rows(task:Task, turns:int) -> list[dict]:
    "Where a step's time goes: shares, adding up to 100, of the turn whose steps took the median time; the lowest and highest of all turns."
    shares = step_shares(aebench_learner(task), turns)
    return [row('share', task.run.method, 'aebench', task.run.schedule[0][1], [o[part] for o in shares], part)
            | dict(median=shares[(turns - 1)//2][part])
            for part in PARTS]

def cost_by_size(method:str, sizes:list[int], turns:int, **settings) -> list[dict]:
    "Cost of an image at several sizes."
    found = []
    for size in sizes:
        run = Run(method, 'noise', size=size, weights='random', **settings)
        speeds = race(Task(run, noise(128*12, size), HERE), ['aebench'], turns, 1.)[0]
        found.append(row('cost', method, 'aebench', size, [1e6/speeds[k] for k in ('median', 'low', 'high')]) | dict(n=turns))
    return found

def contestants_for(method:str, full:bool) -> list[str]:
    "In the order of their turns; plain fastai has only the paper's networks."
    wanted = {'bare loop', 'aebench', *SHORT.get(method, ())}
    if full and METHODS[method].in_paper: wanted |= {*CONTESTANTS} - {'compiled loop'}
    return [o for o in CONTESTANTS if o in wanted]

def show(rows:pd.DataFrame, console:Console):
    "A table for each kind of measurement."
    for what, part in rows.groupby('what', sort=False):
        table = Table('method', 'contestant', 'size', 'median', 'lowest to highest', 'n', '',
                      title=f'{what}, {part.unit.iloc[0]}', title_justify='left')
        for o in part.itertuples():
            digits = 0 if o.median >= 100 else 1 if o.median >= 10 else 2
            number = lambda x: f'{x:,.{digits}f}'
            table.add_row(o.method, o.contestant, str(o.size or ''), number(o.median),
                          f'{number(o.low)} to {number(o.high)}' if o.n > 1 else '', str(o.n), o.detail)
        console.print(table)

def slug(text:str) -> str: return re.sub(r'\W+', '-', text.lower()).strip('-')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--full', action='store_true', help='every method against every contestant, more turns, more sizes')
    p.add_argument('--methods', help='comma-separated (default: all; for the cost by size without --full: baseline)')
    p.add_argument('--sizes', type=int, nargs='+', default=[16, 32, 64, 128], help='pixels a side, for the cost by size')
    p.add_argument('--parts', nargs='+', choices=UNITS, default=list(UNITS), metavar='PART', help=f'of {", ".join(UNITS)} (default: all)')
    p.add_argument('--data', default='digits', help='for the seconds to the first batch: a data set or a folder (default: digits)')
    p.add_argument('--home', help='a cache that holds --data and its classifier already, for the second start')
    p.add_argument('--turns', type=int, help='turns of each contestant (default: 3, or 7 in the full form)')
    p.add_argument('--device', default='auto')
    p.add_argument('--precision', default='auto')
    p.add_argument('--out', type=Path, help='CSV to write (default: benchmarks/results/, named for the machine)')
    args = p.parse_args()
    device = resolve_device(args.device)
    settings = dict(device=device, precision=resolve_precision(args.precision, device))
    turns, parts, methods = args.turns or (7 if args.full else 3), args.parts, (args.methods or ','.join(METHODS)).split(',')
    console, rows, begun = Console(stderr=True, width=120), [], perf_counter()
    keep_freed_memory()
    def add(found:list[dict]):
        rows.extend(found)
        for o in found:
            console.print(f'{perf_counter()-begun:6.0f} s  '
                          f'{o["what"]:7}{o["method"]:22}{o["contestant"]:18}{o["median"]:12,.1f} {o["unit"]}', highlight=False)
    if 'start' in parts: add(start_seconds(args.data, args.home, turns))
    if 'memory' in parts: add([peak_memory(Run(m, 'noise', weights='random', **settings)) for m in methods])
    rates = machine_rates(device, settings['precision'])
    with tempfile.TemporaryDirectory() as tmp:
        images = noise(128*60, 32)
        folder = save_images(images, Path(tmp))
        for method in methods:
            task = Task(Run(method, 'noise', epochs=(1, 1), weights='random', **settings), images, folder)
            names = contestants_for(method, args.full)
            if 'speed' in parts: add(race(task, names, turns, 3. if args.full else 1.5))
            if 'share' in parts: add(share_rows(task, turns))
            if 'floor' in parts: add([counted_floor(task, rates)])
    if 'cost' in parts:
        for method in methods if args.full or args.methods else ['baseline']: add(cost_by_size(method, args.sizes, turns, **settings))
    where = environment(device) | dict(precision=settings['precision'], product_gflops=round(rates[0]/1e9),
                                       copy_gbytes=round(rates[1]/1e9, 1), form='full' if args.full else 'short')
    frame = pd.DataFrame(rows).assign(**where)
    out = args.out or HERE/'results'/f'speed-{slug(where["device_name"])}-{where["threads"]}-threads-{where["precision"]}.csv'
    out.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(out, index=False)
    show(frame, Console(width=120))
    print(f'{perf_counter()-begun:.0f} s in all; rows in {out}')

if __name__ == '__main__': main()
