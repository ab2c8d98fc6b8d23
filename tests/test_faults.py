"What is promised when things go wrong, each tested by really doing the harm (harm.py)."
import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from test_cli import make_folder, quickly, start, steady

HARM = Path(__file__).with_name('harm.py')

@pytest.fixture(scope='module')
def pictures(tmp_path_factory): return make_folder(tmp_path_factory.mktemp('pictures'), 80)

@pytest.fixture(scope='module')
def harm(pictures, home, tmp_path_factory):
    "What harm.py finds: one process for all kinds of harm, which imports everything once."
    errors = tmp_path_factory.mktemp('harm')/'errors'
    with open(errors, 'w') as f:
        server = subprocess.Popen([sys.executable, HARM, pictures], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=f, text=True,
                                  env={**os.environ, 'AEBENCH_HOME': str(home)})
    def found(what, folder, **options) -> dict:
        print(json.dumps(dict(what=what, folder=str(folder), **options)), file=server.stdin, flush=True)
        code, answer = json.loads(server.stdout.readline() or '[1, null]')
        assert code == 0, errors.read_text()[-2000:]
        return answer
    with server: yield found

@pytest.mark.parametrize('what,step', [('sweep', 613), ('report', 101), ('cache', 481),
                                       *(pytest.param(o, 1, marks=pytest.mark.slow) for o in ('sweep', 'report', 'cache'))])
def test_killed_before_each_change_on_the_disk(what, step, harm, tmp_path, tally):
    """kill -9 before the n-th open, write, sync, replace or removal, in the results or in a cache that is empty at first.
    The same command then ends with the undisturbed artefacts, trains nothing twice and leaves no temporary file."""
    found = harm(what, tmp_path, step=step)
    tally('crash points swept', found['points'])
    assert found['faults'] == [] and found['changes'] > 40

@pytest.mark.parametrize('what,step', [('power', 400),
                                       *(pytest.param(*o, marks=pytest.mark.slow) for o in (('power', 5), ('power_cache', 30)))])
def test_power_cut_after_each_change(what, step, harm, tmp_path, tally):
    """What was not synced is dropped, emptied or halved: each file is one of its versions, a row never stands before its files.
    From every `step`th of these states the same command comes to the same end. Without the syncs it would not be so."""
    found = harm(what, tmp_path, step=step)
    tally('prefixes looked at', found['prefixes'])
    tally('prefixes reopened', found['opened'])
    assert found['faults'] == [] and found['prefixes'] > 200 and found['opened'] > 2
    assert found['faults_without_sync']['files'] > 10 and found['faults_without_sync']['folders'] > 10

KEEPING = '''import sys, aebench.cli, aebench.bench.run
class Eager(aebench.bench.run.Checkpoint):
    def __init__(self, *args, **kwargs): super().__init__(*args, **{**kwargs, 'after': 0., 'share': .5})
aebench.bench.run.Checkpoint = Eager
sys.exit(aebench.cli.main(sys.argv[1:]))'''

SIGNALS = [(signal.SIGTERM, 'train', 1), (signal.SIGINT, 'save', 2), (signal.SIGHUP, 'valid', 1), (signal.SIGTERM, 'measure', 1)]
ALL_SIGNALS = [(number, moment, times) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
               for moment in ('train', 'save', 'valid', 'measure') for times in (1, 2)]

@pytest.fixture(scope='module')
def calm(tmp_path_factory): return tmp_path_factory.mktemp('calm')/'whole' # Where the undisturbed run is, from the first that needs it

@pytest.mark.parametrize('number,moment,times', [
    *SIGNALS, *(pytest.param(*o, marks=pytest.mark.slow) for o in ALL_SIGNALS if o not in SIGNALS)])
def test_a_signal_keeps_the_state(number, moment, times, harm, calm, tmp_path, tally):
    "It ends within 5 s and says how to go on; the same command does, to the undisturbed artefacts."
    found = harm('signal', tmp_path, whole=str(calm), number=int(number), moment=moment, times=times, epochs=(3, 3))
    tally('longest stop after a signal, s of computing', round(found['cpu_seconds'], 2))
    assert found['code'] == 128 + number and found['state'] and found['left'] == [] and found['cpu_seconds'] < 5
    assert 'the same command goes on from there' in found['said'] and found['again'] == [0, 0] and found['equal'], found

def test_stopped_and_gone_on(pictures, home, tmp_path):
    "TERM in mid-training, to the whole process group; the same command says where it goes on, and ends with the undisturbed results."
    words = ['run', '--data', pictures, '--size', 16, '--weights', 'in-domain', '--epochs', 15, 30, '--methods', 'baseline',
             '--batch-size', 16, '--out']
    code, _, err = quickly(*words, tmp_path/'whole', home=home)
    assert code == 0, err
    p = start(*words, tmp_path/'stopped', home=home, start_new_session=True)
    for line in p.stderr:
        if 'epoch 17/45' in line: break
    os.killpg(p.pid, signal.SIGTERM)
    _, err = p.communicate(timeout=300)
    assert p.returncode == 143 and 'the same command goes on from there' in err
    code, _, err = quickly(*words, tmp_path/'stopped', home=home)
    assert code == 0 and 'Baseline, seed 3333, goes on from epoch ' in err and 'epoch 2/45' not in err
    pd.testing.assert_frame_equal(steady(tmp_path/'stopped'), steady(tmp_path/'whole'), check_exact=True)
    assert not list(tmp_path.rglob('*.tmp')) and not list(tmp_path.rglob('checkpoint*'))

def test_stopped_while_the_judge_is_trained(pictures, home, tmp_path):
    "TERM in mid-training of the classifier: the same command goes on with it, to the undisturbed weights."
    words = ['run', '--data', pictures, '--size', 16, '--weights', 'in-domain', '--methods', 'mean_image', '--out']
    code, _, err = quickly(*words, tmp_path/'whole', home=home)
    assert code == 0, err
    p = start(*words, tmp_path/'stopped', home=tmp_path/'home')
    for line in p.stderr:
        if 'classifier: epoch 2/' in line: break
    p.terminate()
    _, err = p.communicate(timeout=300)
    assert (p.returncode == 143 and list((tmp_path/'home'/'classifiers').glob('*.checkpoint'))
            and not list((tmp_path/'home'/'classifiers').glob('*.safetensors'))), err
    code, _, err = quickly(*words, tmp_path/'stopped', home=tmp_path/'home')
    assert code == 0 and 'classifier: epoch 1/' not in err, err
    judge, = (tmp_path/'home'/'classifiers').glob('*.safetensors')
    assert judge.read_bytes() == (home/'classifiers'/judge.name).read_bytes() and not list(judge.parent.glob('*.checkpoint'))
    pd.testing.assert_frame_equal(steady(tmp_path/'stopped'), steady(tmp_path/'whole'), check_exact=True)

@pytest.mark.parametrize('kills', [
    pytest.param(30, marks=pytest.mark.slow),
    pytest.param(200, marks=[pytest.mark.slow, pytest.mark.skipif('AEBENCH_LONG' not in os.environ, reason='hours: set AEBENCH_LONG')])])
def test_killed_at_random(kills, pictures, home, tmp_path, tally):
    "kill -9 of the whole process group after any epoch or at any time, up to three in one run, whose state is kept all the time."
    def words(out):
        return ['run', '--data', pictures, '--methods', 'baseline,pixel_shuffle', '--weights', 'random', '--size', 16,
                '--epochs', 10, 10, '--latent', 8, '--out', out]
    def begun(out):
        return subprocess.Popen([sys.executable, '-c', KEEPING, *map(str, words(out))], env={**os.environ, 'AEBENCH_HOME': str(home)},
                                text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    started = time.monotonic()
    assert begun(tmp_path/'whole').communicate() and (lasts := time.monotonic() - started)
    gen, done, kept, n = random.Random(0), 0, 0, 0
    while done < kills:
        out, n = tmp_path/f'{n}', n + 1
        for _ in range(min(gen.randint(1, 3), kills - done)):
            p, left = begun(out), iter(range(gen.randint(0, 25)))
            if done % 2: time.sleep(gen.uniform(0, lasts))  # while it starts, reads, trains, measures or writes its report
            elif any('epoch ' in line and next(left, None) is None for line in p.stderr): time.sleep(gen.uniform(0, .3))
            if p.poll() is None:
                os.killpg(p.pid, signal.SIGKILL)
                done, kept = done + 1, kept + any(out.glob('*/checkpoint.safetensors'))
            p.communicate()
        code, _, err = quickly(*words(out), home=home)
        assert code == 0, err
        pd.testing.assert_frame_equal(steady(out), steady(tmp_path/'whole').assign(command=steady(out).command), check_exact=True)
        for o in (tmp_path/'whole').glob('*/*.safetensors'): assert o.read_bytes() == (out/o.relative_to(tmp_path/'whole')).read_bytes(), o
        assert not list(out.rglob('*.tmp'))
    tally('kills at random survived', done)
    assert kept

@pytest.mark.parametrize('number,lasting,step', [
    (errno.ENOSPC, 0, 247), *(pytest.param(*o, 4, marks=pytest.mark.slow)
                              for o in ((errno.ENOSPC, 0), (errno.ENOSPC, 1), (errno.EIO, 0), (errno.EACCES, 0)))])
def test_the_disk_fails_at_any_call(number, lasting, step, harm, tmp_path, tally):
    """Once, or from there on: a sentence with the folder, and exit code 1 or what was asked for all the same; the other runs go on.
    And the same command mends it, to the undisturbed results."""
    found = harm('fail', tmp_path, number=number, lasting=lasting, step=step)
    tally('failures of the disk survived', found['points'])
    assert found['faults'] == [] and found['points'] > 150//step

def test_a_limit_on_the_size_of_files(pictures, home, tmp_path):
    "What is larger cannot be written: the run fails with a sentence, what was there before stays."
    words = ['run', '-q', '--data', pictures, '--methods', 'baseline', '--weights', 'random', '--size', 16, '--epochs', 1, 1,
             '--out', tmp_path]
    assert quickly(*words, '--latent', 8, home=home)[0] == 0
    before = (tmp_path/'results.csv').read_text()
    p = start(*words, '--latent', 1000, home=home, preexec_fn=lambda: (
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))))
    out, err = p.communicate(timeout=300)
    assert (p.returncode == 1 and 'Traceback' not in err
            and re.search(rf'{tmp_path}.* could not be written \([\d,]+ bytes\): File too large', out + err)), out + err
    assert set(before.splitlines()) <= set((tmp_path/'results.csv').read_text().splitlines())

@pytest.mark.parametrize('method,moment', [
    ('baseline', 'train'), *(pytest.param(*o, marks=pytest.mark.slow) for o in (
        ('resnet', 'train'), ('resnet', 'save'), ('feature_loss', 'train'), ('feature_loss', 'save')))])
def test_a_large_training_stops_at_once(method, moment, pictures, home, tmp_path, tally):
    "By the clock, in mid-batch and while the state is written: the networks with the longest steps and the largest states."
    p = start('run', '--data', pictures, '--methods', method, '--weights', 'random', '--batch-size', 64, '--epochs', 500, 500,
              '--out', tmp_path, home=home)
    for line in p.stderr:
        if 'epoch 3/1000' in line: break
    if moment == 'save':
        p.terminate()
        while not list(tmp_path.rglob('.aebench-*.tmp')): assert p.poll() is None
    began = time.monotonic()
    p.terminate()
    _, err = p.communicate(timeout=300)
    took = time.monotonic() - began
    tally('longest stop after a signal, s by the clock', round(took, 2))
    assert p.returncode == 143 and any(tmp_path.glob('*/checkpoint.safetensors')) and took < 5, (took, err)

HOLDER = ("import sys, time; from aebench.core.locks import one_writer\n"
          "with one_writer(sys.argv[1]):\n    print('holds', flush=True)\n    time.sleep(600)")
WRITER = '''import fcntl, os, signal, sys, time
from pathlib import Path
from aebench.core.locks import one_writer
folder, dies = Path(sys.argv[1]), int(sys.argv[2])
print('ready', flush=True)
sys.stdin.readline()  # all begin at once
for i in range(5):
    with one_writer(folder, print), open(folder/'inside', 'w') as f:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where another writer is within
        time.sleep(.02)
        if i == dies: os.kill(os.getpid(), signal.SIGKILL)
print('done')'''

def test_never_two_writers(tmp_path):
    "Eight processes fight for one folder; half of them are killed while they hold it. Whoever waits says for whom."
    fighters = [subprocess.Popen([sys.executable, '-uc', WRITER, tmp_path, str(2 if i % 2 else 9)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in range(8)]
    assert [p.stdout.readline() for p in fighters] == ['ready\n']*8
    for p in fighters: print(file=p.stdin, flush=True)
    said = []
    for i, p in enumerate(fighters):
        out, err = p.communicate(timeout=300)
        *waits, last = [*out.splitlines(), ''][:None if i % 2 else -1]
        assert (p.returncode, last) == ((-signal.SIGKILL, '') if i % 2 else (0, 'done')), err
        said += waits
    others = {f'Process {p.pid}' for p in fighters} | {'Another process'}
    assert len(said) >= 7 and all(re.match(r'(Process \d+|Another process) is writing to .*; waiting for it$', o)
                                  and re.match(r'Process \d+|Another process', o)[0] in others for o in said), said

@pytest.mark.parametrize('seconds', [3, pytest.param(61, marks=pytest.mark.slow)])
def test_a_stopped_holder_keeps_and_a_dead_one_loses_the_folder(seconds, home, tmp_path):
    p = subprocess.Popen([sys.executable, '-c', HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == 'holds\n'
    p.send_signal(signal.SIGSTOP)
    words = ['run', '--methods', 'mean_image', '--out', tmp_path]
    code, _, err = quickly(*words, home=home)
    assert code == 2 and f'Process {p.pid} is already writing to {tmp_path}' in err
    waiting = start(*words, '--wait', home=home)
    for line in waiting.stderr:
        if 'waiting for it' in line: break
    assert f'Process {p.pid} is writing to {tmp_path}' in line
    time.sleep(seconds)
    assert waiting.poll() is None
    p.kill()
    _, err = waiting.communicate(timeout=600)
    assert waiting.returncode == 0, err

FAILING = '''import sys
import aebench.bench.loop, aebench.bench.run, aebench.cli
from fastai.callback.core import Callback
import torch
class Bug(Callback):
    def __init__(self, error): self.error = error
    def after_epoch(self):
        raise self.error
plain, errors = aebench.bench.run.train_run, dict(baseline=KeyError('mine'), pixel_shuffle=torch.OutOfMemoryError('CUDA out of memory'))
def train_run(run, data, cbs=(), *more, **kwargs): return plain(run, data, [*cbs, *[Bug(o) for k, o in errors.items() \
if k == run.method]], *more, **kwargs)
aebench.bench.run.train_run = train_run
sys.exit(aebench.cli.main(sys.argv[1:]))'''

def test_failing_runs_are_marked_and_the_others_go_on(home, tmp_path):
    "A bug in a user's callback, and no memory left."
    words = ['run', '--data', 'digits', '--epochs', '1', '1', '--batch-size', '128',
             '--methods', 'baseline,pixel_shuffle,progressive_resizing', '--protocol', 'report', '--out', str(tmp_path)]
    done = subprocess.run([sys.executable, '-c', FAILING, *words], capture_output=True, text=True,
                          env={**os.environ, 'AEBENCH_HOME': str(home)})
    rows = pd.read_csv(tmp_path/'results.csv').set_index('method')
    assert done.returncode == 1 and 'Traceback' not in done.stderr and '2 of 3 runs failed' in done.stderr
    assert rows.status['progressive_resizing'] == 'done'
    for method, said in dict(baseline='KeyError: mine (error.txt', pixel_shuffle='--batch-size 64 fits').items():
        assert rows.status[method] == 'failed' and said in rows.reason[method] and said in done.stdout + done.stderr
