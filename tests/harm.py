"""Really does the harm: a run killed before each change on the disk, the disk after a power cut, a signal at a chosen moment.

python tests/harm.py DATA reads jobs as lines of JSON, the arguments of `work`, and answers each with an exit code and what was found.
Each job, and each run in it, is a process forked from this one, which has imported everything."""
import contextlib
import io
import json
import os
import pickle
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')  # a fork of a process with threads may hang

import pandas as pd
import torch

import aebench.bench.loop
import aebench.cli
import aebench.report.page
import aebench.report.rows
import aebench.bench.run
import aebench.weights
from aebench.core import files

aebench.bench.loop.throttled = lambda f, share=0: f  # how often the table is gathered must not depend on the clock

PLAIN = aebench.bench.run.Checkpoint
TIMES = ('seconds', 'cpu_seconds', 'images_per_second', 'peak_memory_mb', 'train_seconds')
TIMED_FILES = ('time_quality.png', '.lock') # They show times, or are never removed

def words(data, out, methods='baseline,pixel_shuffle', epochs=(1, 1)):
    return ['run', '-q', '--data', data, '--methods', methods, '--weights', 'random', '--size', 16, '--epochs', *epochs,
            '--latent', 8, '--batch-size', 16, '--out', out]

def command(args, every=4, out=None) -> int:
    "The exit code of `aebench`, its state kept after every `every`th batch in place of every minute."
    class Eager(PLAIN):
        batches = 0
        def after_batch(self):
            Eager.batches += 1
            if Eager.batches % every: self.after, self.share = float('inf'), 1.
            else: self.after, self.share = -1., float('inf')
            super().after_batch()
    aebench.bench.run.Checkpoint = Eager
    with contextlib.redirect_stdout(out or io.StringIO()): return aebench.cli.main([str(o) for o in args])

def begun(action) -> int: # The process's number
    "Run `action` in a process of its own, beside this one."
    pid = os.fork()
    if pid: return pid
    try: code = action() or 0
    except BaseException as e:
        print(f'{type(e).__name__}: {e}', file=sys.stderr)
        code = 99
    sys.stderr.flush()
    os._exit(code)

def ended(pid) -> int: # The exit status; negative: the signal that killed it
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def forked(action) -> int: # The exit status
    "Run `action` in a process of its own, and wait for it."
    return ended(begun(action))

def at_each(points, fault, folder:Path) -> list:
    "What `fault` says of each of `points`, where it says something; every core has its share of them."
    cores = len(os.sched_getaffinity(0))
    def share(i): (folder/f'faults{i}').write_text(json.dumps([o for o in map(fault, points[i::cores]) if o]))
    assert [ended(o) for o in [begun(lambda: share(i)) for i in range(cores)]] == [0]*cores
    return [o for i in range(cores) for o in json.loads((folder/f'faults{i}').read_text())]

def at_change(n, act):
    "Call `act` before the `n`th change on the disk."
    count = iter(range(1, n))
    def watch(what, path, *more):
        if next(count, None) is None:
            files.on_disk_change = lambda *_: None
            act(what, path, *more)
    return watch

def without_times(html:str) -> str:
    """A report without its pictures, the folder that its commands name, and all that tells a time or who took the least.
    Whatever else it tells, it tells of the same runs in the same order."""
    busy = r'<div><dt>Fastest</dt>.*?</div>\s*|<li>Other work kept .*?</li>'  # where the machine was, there is no fastest
    return re.sub(rf'data:image/[^"]+|--out [^\s<]+|{busy}|[\d.,:]+( (ms|s|m|h|MB|images/s)\b)*', '', html)

def contents(out:Path) -> dict:
    "What is in `out`, times and memory left out."
    found = {}
    for path in sorted(o for o in out.rglob('*') if o.is_file()):
        name = str(path.relative_to(out))
        # a power cut may bring back whose a lock was, until somebody looks for what it was about
        if path.name.endswith('.lock-holder'): continue
        if path.name in TIMED_FILES: found[name] = None
        elif path.suffix == '.csv': found[name] = pd.read_csv(path).drop(columns=list(TIMES), errors='ignore').to_csv()
        elif path.name == 'row.json': found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k not in TIMES}
        elif path.suffix == '.ipynb': found[name] = json.loads(path.read_text())['metadata']
        elif path.suffix == '.html': found[name] = without_times(path.read_text())
        else: found[name] = path.read_bytes()
    return found

def finished(out:Path) -> dict:
    "The models of finished runs, by what tells one training from another: a removed file's inode number may be used again."
    def told(path): return path.stat().st_ino, path.stat().st_mtime_ns
    return {o.parent.name: told(o.with_name('model.safetensors'))
            for o in out.glob('*-seed*/row.json') if json.loads(o.read_text())['status'] == 'done'}

def running(data, out, said=None) -> int: return command(words(data, out), out=said)

def training(data, out) -> int:
    "All but the report."
    aebench.report.page.make_report = aebench.report.rows.gather
    return running(data, out)

def reporting(data, out) -> int:
    "The report alone, of runs that are there already."
    if not out.exists(): shutil.copytree(out.with_name('runs'), out)
    return command(['report', out])

def caching(data, out) -> int:
    "A run that finds an empty cache: it writes images, components, image files, and the classifier that judges."
    os.environ['AEBENCH_HOME'] = str(out/'cache')
    aebench.weights.BUDGET = {'resnet34': (1, 1)}  # a single epoch
    return command(['run', '-q', '--data', data, '--methods', 'pca-4', '--weights', 'in-domain', '--size', 16, '--out', out])

def undisturbed(run, whole:Path, count:Path) -> tuple[int, dict]: # How many changes on the disk it makes, and what it leaves
    def counted():
        changes = []
        files.on_disk_change = lambda *o: changes.append(o)
        code = run(whole)
        count.write_text(str(len(changes)))
        return code
    assert forked(counted) == 0
    return int(count.read_text()), contents(whole)

def gone_on(run, out:Path, wanted:dict) -> list:
    "What is wrong after `run` in `out` once more: its exit code, files that are not as in `wanted`, finished runs that were trained again."
    before = finished(out) if out.exists() else {}
    code, after, found = forked(lambda: run(out)), finished(out), contents(out)
    unequal = [k for k in {**wanted, **found} if wanted.get(k, 0) != found.get(k, 0)]
    again = [k for k, v in before.items() if after.get(k) != v]
    if code or unequal or again: return [code, unequal, again]
    shutil.rmtree(out)
    return []

def sweep(run, folder:Path, step:int) -> dict:
    "Kill `run` before every `step`th change on the disk, and let it run again."
    if run.func is reporting: assert forked(lambda: training(*run.args, folder/'runs')) == 0
    changes, wanted = undisturbed(run, folder/'whole', folder/'count')
    def fault(n):
        out = folder/f'{n}'
        def killed():
            files.on_disk_change = at_change(n, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            return run(out)
        status = forked(killed)
        wrong = gone_on(run, out, wanted)
        return [n, status, *wrong] if status != -signal.SIGKILL or wrong else None
    points = range(1, changes + 1, step)
    return dict(changes=changes, points=len(points), faults=at_each(points, fault, folder))

class Disk:
    "What the operating system knows and what the disk has, after a list of changes."
    def __init__(self, start:Path):
        self.start, self.names, self.lasting, self.data, self.synced, self.made, self.folders = start, {}, {}, {}, {}, set(), set()
    def apply(self, what, path, *more):
        path = Path(path)
        if what == 'write': self.data.setdefault(self.names.setdefault(path, len(self.data)), bytearray()).extend(more[0])
        elif what == 'replace': self.names[Path(more[0])] = self.names.pop(path)
        elif what == 'remove': self.names.pop(path, None)
        elif what == 'make': self.made.add(path)
        elif what == 'sync' and path in self.names: self.synced[self.names[path]] = bytes(self.data[self.names[path]])
        elif what == 'sync':
            self.lasting = ({k: v for k, v in self.lasting.items() if k.parent != path}
                            | {k: v for k, v in self.names.items() if k.parent == path})
            self.folders |= {o for o in self.made if o.parent == path}  # whose names last

    def after_power_cut(self) -> dict: # {how: {path: content}}
        "Nothing that was not synced is there; or the names are there and their data is not, or half of it."
        def reached(path): return all(o in self.folders for o in path.parents if o != self.start and o.is_relative_to(self.start))
        whole = {n: self.synced.get(n) for n in self.data}
        return dict(dropped={k: whole[n] or b'' for k, n in self.lasting.items() if reached(k)},
                    emptied={k: b'' if whole[n] is None else whole[n] for k, n in self.names.items()},
                    halved={k: bytes(self.data[n][:len(self.data[n])//2]) if whole[n] is None else whole[n] for k, n in self.names.items()})

def torn(changes:list, start:Path) -> tuple[int, list]:
    """How many prefixes of `changes` were looked at, and which of them are wrong.
    In these a file is neither of its versions, a row stands before its files, or what was written is gone."""
    versions, pending, faults, disk = {}, {}, [], Disk(start)
    for what, path, *more in changes:  # what each file was meant to hold, at one time or another
        if what == 'write': pending.setdefault(str(path), bytearray()).extend(more[0])
        if what == 'replace': versions.setdefault(Path(more[0]), set()).add(bytes(pending.pop(str(path), b'')))
    rows = {o.parent: [p for p in versions if p.parent == o.parent and p.name not in ('row.json', 'checkpoint.safetensors')]
            for o in versions if o.name == 'row.json'}
    for n, change in enumerate(changes):
        disk.apply(*change)
        for how, found in disk.after_power_cut().items():
            bad = [str(p) for p, content in found.items() if p.suffix != '.tmp' and content not in versions.get(p, ())]
            # the writer before has returned
            lost = [str(p) for p in disk.names if how == 'dropped' and change[0] == 'open' and p.suffix != '.tmp' and p not in found]
            early = [str(folder) for folder, parts in rows.items() if folder/'row.json' in found and not all(p in found for p in parts)]
            if bad or early or lost: faults.append([n, how, bad, early, lost])
    return len(changes), faults

def opened(run, states:list, folder:Path, wanted:dict) -> list:
    "What is wrong where `run` finds what a power cut has left: it is to end as if there had been none."
    def fault(i):
        n, how, found = states[i]
        out = folder/f'{n}-{how}'
        for path, content in found.items():
            (to := out/path).parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(content)
        wrong = gone_on(run, out, wanted)
        return [n, how, *wrong] if wrong else None
    return at_each(range(len(states)), fault, folder)

def states_after(changes:list, start:Path, out:Path, step:int) -> list[tuple]: # Number, how, {path below `out`: content}
    "What every `step`th power cut would leave, where that is another thing than the one before."
    disk, found, before = Disk(start), [], {}
    for n, change in enumerate(changes):
        disk.apply(*change)
        if n % step < step - 1: continue
        def name(path): return re.sub(r'(\.aebench-\w+-)\d+-', rf'\g<1>{10**9}-', str(path.relative_to(out)))  # no process has that number
        for how, state in disk.after_power_cut().items():
            left = {name(path): content for path, content in state.items() if path.is_relative_to(out)}
            if left != before.get(how): found.append((n, how, left))
            before[how] = left
    return found

def power(run, folder:Path, step:int) -> dict:
    "Log the changes of `run` on the disk, look at what a power cut after each would leave, and begin again from every `step`th."
    changes, out = [], folder/'out'
    files.on_disk_change = lambda what, path, *more: changes.append(
        (what, Path(path), *(bytes(o) if isinstance(o, (bytes, memoryview)) else o for o in more)))
    def logged():
        assert run(out) == 0
        (folder/'changes').write_bytes(pickle.dumps(changes))
    assert forked(logged) == 0
    changes = pickle.loads((folder/'changes').read_bytes())
    changes = [o for o in changes if o[1].is_relative_to(out) or o[1] == folder]
    prefixes, faults = torn(changes, folder)
    unsynced = {kind: len(torn([o for o in changes
                                if not (o[0] == 'sync' and (Path(o[1]).suffix == '.tmp') == (kind == 'files'))], folder)[1])
                for kind in ('files', 'folders')}
    states = states_after(changes, folder, out, step)
    return dict(prefixes=prefixes, opened=len(states), faults=faults + opened(run, states, folder, contents(out)),
                faults_without_sync=unsynced)

def stop(data, folder:Path, whole:Path, number:int, moment:str, times:int, epochs) -> dict:
    """Send a signal in mid-epoch, in mid-save, in validation or while the trained network is measured.
    Say how long the process still computed, and how it ended."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background may have them ignored
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    def run():
        sys.stderr = open(folder/'err', 'w')
        def tell(*_):
            (folder/'told').write_text(str(time.process_time()))
            for _ in range(times): os.kill(os.getpid(), number)
        if moment == 'save':
            opened = []
            def watch(what, path, *more):
                if what == 'open': opened.append(Path(path).name)  # what is written has another name until it is whole
                if what == 'write' and 'checkpoint' in opened[-1]:
                    files.on_disk_change = lambda *_: None
                    tell()
            files.on_disk_change = watch
        elif moment == 'measure':
            plain = aebench.bench.run.evaluate
            def measured(*args, **kwargs):
                tell()
                return plain(*args, **kwargs)
            aebench.bench.run.evaluate = measured
        else:
            from aebench.training import History
            left = iter(range(6 if moment == 'train' else 1))
            def after_batch(self):
                if self.training == (moment == 'train') and next(left, None) is None and not (folder/'told').exists(): tell()
            History.after_batch = after_batch
        return command(words(data, folder/'out', 'pixel_shuffle', epochs), every=1 if moment == 'save' else 10**9)
    def computed(): return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])  # not the time that other work makes the process wait
    before, code = computed(), forked(run)
    found = dict(code=code, cpu_seconds=computed() - before - float((folder/'told').read_text()),
                 state=any((folder/'out').glob('*/checkpoint.safetensors')),
                 left=[o.name for o in (folder/'out').rglob('*.tmp')], said=(folder/'err').read_text())
    def to_the_end(out): return forked(lambda: command(words(data, out, 'pixel_shuffle', epochs), every=10**9))
    return found | dict(again=[to_the_end(folder/'out'), to_the_end(whole)], equal=contents(folder/'out') == contents(whole))

def disk_fails(run, folder:Path, step:int, number:int, lasting:bool) -> dict:
    """Fail every `step`th change on the disk, once or from there on.
    What stood before stands, the command says why, and run again it comes to the same."""
    changes, wanted = undisturbed(run, folder/'whole', folder/'count')
    every, cut = set(finished(folder/'whole')), folder/'cut'
    def interrupted():
        files.on_disk_change = at_change(changes*2//3, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        return run(cut)
    assert forked(interrupted) == -signal.SIGKILL
    def fault(n):
        out, err, reached = folder/f'{n}', folder/f'{n}.err', folder/f'{n}.reached'
        if n//step % 2: shutil.copytree(cut, out)  # half of them where an earlier command was killed
        def failing():
            def fail(what, path, *more):
                if not reached.exists(): reached.write_text(str(path))
                if lasting: files.on_disk_change = fail
                raise OSError(number, os.strerror(number), str(path))
            sys.stderr = open(err, 'w')
            files.on_disk_change = at_change(n, fail)
            return run(out, said=sys.stderr)
        code = forked(failing)
        if not reached.exists(): return shutil.rmtree(out)  # it had fewer changes to make
        said, done, left = err.read_text(), set(finished(out)) if out.exists() else set(), contents(out) if out.exists() else {}
        path = Path(reached.read_text())
        hit = path.relative_to(out).parts[0] if path.is_relative_to(out) and path != out else ''
        wrong = dict(code=code not in (0, 1), silent=code == 0 and done != every,
                     traceback='Traceback' in said or 'fault of aebench' in said, unnamed=code and str(out) not in said,
                     # a state that could not be removed is removed by the next command
                     torn=any(left[k] != wanted.get(k) for k in left
                              if k.partition('/')[0] in done and not k.endswith(aebench.run_folder.STATE)),
                     given_up=not lasting and '-seed' in hit and not every - {hit} <= done)  # one run fails, the others go on
        wrong = [k for k, v in wrong.items() if v] + gone_on(run, out, wanted)
        return [n, code, *wrong, said[-300:]] if wrong else None
    faults = at_each(range(1, changes + 1, step), fault, folder)
    return dict(points=len(list(folder.glob('*.reached'))), faults=faults)

def work(what:str, data:str, folder:Path, step:int=1, number:int=signal.SIGTERM, lasting:bool=False, moment:str='train', times:int=1,
         epochs=(1, 1), whole:str=''):
    "Do one kind of harm to runs on `data` in `folder`; what is found is a file there."
    harms = dict(**{name: partial(sweep, partial(run, data), folder, step)
                    for name, run in dict(sweep=training, report=reporting, cache=caching).items()},
                 fail=lambda: disk_fails(partial(running, data), folder, step, number, lasting),
                 signal=lambda: stop(data, folder, Path(whole), number, moment, times, epochs),
                 power=lambda: power(partial(running, data), folder, step), power_cache=lambda: power(partial(caching, data), folder, step))
    (folder/'found').write_text(json.dumps(harms[what]()))

if __name__ == '__main__':
    torch.set_num_threads(1)
    data = sys.argv[1]
    with tempfile.TemporaryDirectory() as d: command(words(data, Path(d)/'warm'))  # so that the forks import nothing
    for line in sys.stdin:
        job = json.loads(line)
        folder = Path(job.pop('folder'))
        code = forked(lambda: work(data=data, folder=folder, **job))
        print(json.dumps([code, json.loads((folder/'found').read_text()) if code == 0 else None]), flush=True)
