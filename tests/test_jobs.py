"Many runs by Ray, one run over several processes, trackers: killed, lost and started again."
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from aebench.bench.loop import Job, attempt
from aebench.data import load_images
from aebench.core.errors import UsageError
from aebench.core.files import read_json
from aebench.settings import plan_runs
from aebench.bench.run import run_name
from aebench.bench.store import Remote
from aebench.callback.trackers import check_tracker
from test_cli import QUICK, aebench, make_folder, quickly, start, steady

pytestmark = pytest.mark.skipif(not Path('/proc').exists(), reason='looks for processes in /proc')

# What starts two processes that train together: the launcher's words
JOINED = runpy.run_path(str(Path(__file__).parent.parent/'benchmarks'/'cluster.py'))['JOINED']

@pytest.fixture(autouse=True)
def one_thread(monkeypatch): monkeypatch.setenv('OMP_NUM_THREADS', '1')

@pytest.fixture(scope='module')
def stores(tmp_path_factory):
    "URLs of places for results by kind: a folder, and a bucket as Amazon's, with its server on this machine."
    found = dict(file=f'file://{tmp_path_factory.mktemp("stores")}')
    with pytest.MonkeyPatch.context() as m:
        try:
            import s3fs
            from moto.server import ThreadedMotoServer
        except ImportError: yield found
        else:
            server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)
            server.start()
            host, port = server.get_host_and_port()
            for k, v in dict(AWS_ENDPOINT_URL=f'http://{host}:{port}', AWS_ACCESS_KEY_ID='testing', AWS_SECRET_ACCESS_KEY='testing',
                             AWS_DEFAULT_REGION='us-east-1').items(): m.setenv(k, v)
            s3fs.S3FileSystem(endpoint_url=f'http://{host}:{port}').mkdir('results')
            yield found | dict(s3='s3://results/runs')
            server.stop()

@pytest.fixture(scope='module')
def cluster(home, stores, tmp_path_factory): # After the stores, whose keys its nodes have to know
    "The address of a cluster of two nodes, each with a processor and a cache of its own."
    pytest.importorskip('ray', reason='needs aebench[ray]')
    from aebench.bench.cluster import import_ray
    import_ray()
    from ray.cluster_utils import Cluster
    nodes, usual = Cluster(), os.environ.copy()
    try:
        for cache in (home, tmp_path_factory.mktemp('other_home')):
            os.environ['AEBENCH_HOME'] = str(cache)
            nodes.add_node(num_cpus=1, include_dashboard=False, object_store_memory=2**28)
            os.environ.clear(), os.environ.update(usual)
        yield nodes.address, cache
    finally: nodes.shutdown()

@pytest.fixture(scope='module')
def photos(tmp_path_factory): return make_folder(tmp_path_factory.mktemp('photos'), n=64, classes='')

def long_runs(photos, out, *words, methods='baseline,pixel_shuffle'): # Some seconds each, without a classifier
    return ['run', '--data', photos, '--methods', methods, '--epochs', 30, 30, '--size', 16, '--latent', 8, '--protocol', 'report',
            '--out', out, *words]

def ancestors(pid:int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])
        found.append(pid)
    return found

def process_of(method:str, among=os.getpid(), seconds:float=300) -> int:
    "Wait for the process that Ray has given a run of `method`, among the descendants of a process."
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for path in Path('/proc').glob('[0-9]*/cmdline'):
            try:
                if path.read_bytes().startswith(f'ray::{method}-'.encode()) and among in ancestors(int(path.parent.name)):
                    return int(path.parent.name)
            except OSError: pass  # it has just ended
        time.sleep(.2)
    raise AssertionError(f'no process of {method} came')

def trained(out:Path) -> dict:
    return {o.parent.name: o.stat().st_mtime_ns for o in out.glob('*/model.safetensors') if o.with_name('row.json').exists()}

@pytest.mark.slow
def test_ray_gives_the_sequential_table(cluster, home, tmp_path):
    "Bit for bit, on nodes of which one had nothing in its cache."
    address, other_home = cluster
    words = [*QUICK, '--methods', 'baseline,pca-16']
    for out, more in ((tmp_path/'a', ()), (tmp_path/'b', ('--ray', address))):
        code, _, err = quickly(*words, '--out', out, *more, home=home)
        assert code == 0, err
    pd.testing.assert_frame_equal(steady(tmp_path/'a'), steady(tmp_path/'b'), check_exact=True)
    for file in (tmp_path/'a').glob('*/*.safetensors'):
        assert file.read_bytes() == (tmp_path/'b'/file.relative_to(tmp_path/'a')).read_bytes()
    shipped = [o.relative_to(other_home) for o in other_home.glob('c*/*.safetensors')]
    assert ({o.parent.name for o in shipped} == {'classifiers', 'components'}
            and all((home/o).read_bytes() == (other_home/o).read_bytes() for o in shipped))
    assert '✓ Baseline' in err and not [o for o in ('ray::', 'raylet', 'WARNING', 'Warning', 'dashboard') if o in err], err

@pytest.mark.slow
def test_killed_workers(cluster, photos, home, tmp_path, tally):
    "One lost process is made good; what is lost again and again is kept as failed, once, and made by the next command."
    words = long_runs(photos, tmp_path, '--ray', cluster[0])
    p = start(*words, home=home)
    for method, times in dict(baseline=1, pixel_shuffle=3).items():
        for _ in range(times):
            os.kill(pid := process_of(method), signal.SIGKILL)
            while Path(f'/proc/{pid}').exists() and 'Z' not in Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2][:3]: time.sleep(.05)
    err = p.communicate(timeout=600)[1]
    tally('deaths of Ray processes recovered from', 4)
    rows = pd.read_csv(tmp_path/'results.csv').set_index('method')
    assert p.returncode == 1 and 'tried again (2 of 2)' in err and 'Traceback' not in err, err
    assert list(rows.index) == ['original', 'baseline', 'pixel_shuffle'] and list(rows.status) == ['done', 'done', 'failed']
    assert rows.reason['pixel_shuffle'].startswith('Given up after 3 attempts: its process was killed')
    before = trained(tmp_path)
    code, _, err = quickly(*words, home=home)
    assert code == 0 and (pd.read_csv(tmp_path/'results.csv').status == 'done').all(), err
    assert before.items() <= trained(tmp_path).items() and len(trained(tmp_path)) == len(before) + 1

@pytest.mark.slow
def test_killed_driver(cluster, photos, home, tmp_path):
    "kill -9 of the command itself: the same command goes on, and ends with what one after the other gives, tracked or not."
    pytest.importorskip('tensorboard', reason='needs aebench[tensorboard]')
    methods = 'baseline,pixel_shuffle,progressive_resizing'  # the third begins as the first of two ends
    words = long_runs(photos, tmp_path/'ray', methods=methods)
    p = start(*words, '--ray', cluster[0], '--track', 'tensorboard', home=home)
    for line in p.stderr:
        if '✓' in line: break
    p.kill()
    p.wait()
    before = trained(tmp_path/'ray')
    assert 0 < len(before) < 3
    code, _, err = quickly(*words, '--ray', cluster[0], home=home)
    assert code == 0 and 'runs are there already' in err, err
    assert before.items() <= trained(tmp_path/'ray').items()
    code, _, err = quickly(*long_runs(photos, tmp_path/'usual', methods=methods), home=home)
    assert code == 0, err
    pd.testing.assert_frame_equal(steady(tmp_path/'ray'), steady(tmp_path/'usual'), check_exact=True)

def test_a_dry_run_at_a_url(home, tmp_path):
    "It says that it plans from the copy on this machine."
    words = ['run', 'digits', '--methods', 'pca-8', '--ray', 'local', '--out', f'file://{tmp_path}/store', '--dry-run']
    code, plan, err = quickly(*words, home=home)
    assert code == 0 and 'Nothing to train' in plan and f'file://{tmp_path}/store itself is not looked at' in err, err
    assert not (tmp_path/'store').exists()

@pytest.mark.parametrize('kind', ['s3', pytest.param('file', marks=pytest.mark.slow)])
def test_results_at_a_url(kind, cluster, stores, photos, home, tmp_path):
    "Runs and report are at the URL; another machine, which has no copy, goes on from there."
    if kind not in stores: pytest.skip('needs s3fs and moto')
    import fsspec
    fs, root = fsspec.core.url_to_fs(stores[kind])
    def there():
        fs.invalidate_cache()
        return {o: (fs.modified(o), fs.cat_file(o)) for o in fs.glob(f'{root}/*/model.safetensors')}
    words = [*long_runs(photos, stores[kind], '--ray', cluster[0], methods='baseline')]
    code, table, err = quickly(*words, home=home)
    assert code == 0 and err.startswith(f'Results go to {stores[kind]}'), err
    run, = fs.glob(f'{root}/baseline-*')
    assert ({'row.json', 'model.safetensors', 'history.csv'} <= {o.rpartition('/')[2] for o in fs.ls(run, detail=False)}
            and fs.exists(f'{root}/report.html'))
    before = there()
    code, again, err = quickly(*words, home=tmp_path/'home2')
    assert code == 0 and again == table and there() == before, err
    assert quickly('run', '--data', photos, '--out', stores[kind], home=home)[0] == 2

@pytest.mark.slow
def test_a_store_that_fails(cluster, home, tmp_path, monkeypatch):
    "In mid-job: every run is made, said and kept; the same command trains nothing and copies all."
    monkeypatch.setenv('AEBENCH_HOME', str(home))
    store = tmp_path/'store'
    words, remote = [*QUICK, '--methods', 'baseline,pca-16', '--ray', cluster[0], '--out', f'file://{store}'], Remote(f'file://{store}')
    p = start(*words, home=home)
    for line in p.stderr:
        if line.startswith('Digits: '): break  # the store has been tried, nothing is made
    store.rmdir()
    store.write_text('no folder')
    out, err = p.communicate(timeout=300)
    assert (p.returncode == 1 and err.count('are kept in') == 2 and 'cannot be written to' in err.splitlines()[-1]
            and 'tried again' not in err and 'Traceback' not in err), err
    assert len(remote.pending) == 2 and 'PCA-16' in out
    rows = {o.parent.name: o.read_bytes() for o in remote.copy.glob('*/row.json')}
    store.unlink()
    code, again, err = quickly(*words, home=home)
    assert code == 0 and again == out and '✓' not in err, err
    assert (not remote.pending and {o.parent.name: o.read_bytes() for o in store.glob('*/row.json')} == rows
            and set(trained(store)) == {o for o in rows if not o.startswith('original')})
    assert not list(remote.copy.rglob('model.safetensors'))

@pytest.mark.slow
def test_out_of_memory(photos, home, tmp_path, monkeypatch):
    "Ray's guard over memory ends what is running: tried again, then kept as failed."
    pytest.importorskip('ray', reason='needs aebench[ray]')
    monkeypatch.setenv('RAY_memory_usage_threshold', '0.01')
    monkeypatch.setenv('RAY_memory_monitor_refresh_ms', '50')
    code, _, err = quickly(*long_runs(photos, tmp_path, '--ray', 'local', methods='pca-16'), home=home)
    row = pd.read_csv(tmp_path/'results.csv').set_index('method').loc['pca-16']
    assert code == 1 and row.status == 'failed' and 'memory of its node ran out' in row.reason and 'tried again (2 of 2)' in err, err

def test_two_processes_train_as_one(home, tmp_path):
    "Digits by two gloo processes: one process's loss curve at the same batches in single precision, one row, and the others write nothing."
    pytest.importorskip('accelerate', reason='needs aebench[distributed]')
    words = [*QUICK, '--methods', 'baseline,progressive_resizing', '--batch-size', 64, '--precision', 'fp32', '--out']
    code, _, err = quickly(*words, tmp_path/'one', home=home)
    assert code == 0, err
    code, out, err = aebench(*words, tmp_path/'two', home=home, before=JOINED)
    assert code == 0, err
    for file in (tmp_path/'one').glob('*/history.csv'):
        one, two = pd.read_csv(file), pd.read_csv(tmp_path/'two'/file.relative_to(tmp_path/'one'))
        assert list(one['size']) == list(two['size']) and list(one.batches) == list(two.batches)
        for column in ('train_loss', 'valid_loss'): np.testing.assert_allclose(two[column], one[column], atol=1e-4, rtol=0)
    rows = pd.read_csv(tmp_path/'two'/'results.csv').set_index('method')
    assert list(rows.processes.dropna()) == [2, 2, 2] and err.count('Results go to') == 1 and out.count('Original Image') == 1

@pytest.mark.slow
def test_two_processes_are_stopped_and_go_on(home, tmp_path):
    "TERM in mid-training: the leader keeps the state, both begin again from it, and it ends as if nothing had happened, bit for bit."
    pytest.importorskip('accelerate', reason='needs aebench[distributed]')
    words = [*QUICK, '--epochs', 1, 3, '--methods', 'pixel_shuffle', '--batch-size', 64, '--out']
    code, _, err = aebench(*words, tmp_path/'whole', home=home, before=JOINED)
    assert code == 0, err
    p = start(*words, tmp_path/'stopped', home=home, before=JOINED)
    for line in p.stderr:
        if 'epoch 2/4' in line: break
    p.terminate()
    err = p.communicate(timeout=600)[1]
    assert p.returncode and list((tmp_path/'stopped').glob('*/checkpoint.safetensors')) and 'fault of aebench' not in err, err
    code, _, err = aebench(*words, tmp_path/'stopped', home=home, before=JOINED)
    assert code == 0 and 'Pixel Shuffle, seed 3333, goes on from epoch ' in err and 'epoch 1/4' not in err, err
    pd.testing.assert_frame_equal(steady(tmp_path/'stopped'), steady(tmp_path/'whole'))
    models = [load_file(next((tmp_path/o).glob('*/model.safetensors'))) for o in ('stopped', 'whole')]
    assert all(np.array_equal(models[0][k], v) for k, v in models[1].items()) and not list((tmp_path/'stopped').glob('*/checkpoint*'))

@pytest.mark.slow
@pytest.mark.parametrize('where', ['leader', 'follower', 'middle'])
def test_a_team_meets_trouble(where, home, tmp_path):
    """Before a run begins, in either process: it is marked failed and the next is made.
    In mid-training, in one of them: the job ends, and the same command goes on."""
    pytest.importorskip('accelerate', reason='needs aebench[distributed]')
    words = [*QUICK, '--methods', 'baseline,pixel_shuffle', '--batch-size', 64, '--out', tmp_path]
    env = {**os.environ, 'AEBENCH_HOME': str(home)}
    done = subprocess.run([sys.executable, *JOINED, str(Path(__file__).with_name('harmed_team.py')), where, *map(str, words)],
                          env=env, capture_output=True, text=True, timeout=300)  # none waits for ever
    rows = pd.read_csv(tmp_path/'results.csv').set_index('method') if where != 'middle' else None
    assert done.returncode and 'fault of aebench' not in done.stderr, done.stderr
    if where == 'middle': assert 'no longer in step: the same command goes on from there' in done.stderr
    else:
        assert (rows.status['baseline'] == 'failed' and rows.status['pixel_shuffle'] == 'done'
                and dict(leader='No room left', follower='could not begin')[where] in rows.reason['baseline']), done.stderr
    if where == 'follower': assert 'Baseline, seed 3333 cannot begin in process 1: Weights could not be downloaded.' in done.stderr
    code, _, err = aebench(*words, home=home, before=JOINED)
    assert code == 0 and (pd.read_csv(tmp_path/'results.csv').status == 'done').all(), err

def test_what_processes_can_not_divide(home, tmp_path):
    pytest.importorskip('accelerate', reason='needs aebench[distributed]')
    code, _, err = aebench('run', '--seconds', '1', '--methods', 'baseline', '--out', tmp_path, home=home, before=JOINED)
    assert (code and 'aebench: Training for a number of seconds cannot be divided' in err
            and 'fault of aebench' not in err), err  # of no process

def track_run(track:str|None, out:Path) -> Path: # The run's folder
    "Train a few epochs of two phases in this process."
    data = load_images('digits')
    run, = plan_runs('progressive_resizing', 'digits', epochs=(1, 2), batch_size=256)
    if track: check_tracker(track, out)
    folder = out/run_name(run, data)
    assert attempt(run, Job({run: folder}, data, [], out, track=track)), (folder/'row.json').read_text()
    return folder

@pytest.fixture(scope='module')
def untracked(tmp_path_factory): return load_file(track_run(None, tmp_path_factory.mktemp('untracked'))/'model.safetensors')

@pytest.mark.parametrize('track', ['tensorboard', *(pytest.param(o, marks=pytest.mark.slow) for o in ('wandb', 'mlflow'))])
def test_trackers_change_nothing(track, untracked, tmp_path, monkeypatch):
    "Each knows every epoch and the result; the weights are those without it, bit for bit; nothing is pickled."
    pytest.importorskip(track, reason=f'needs aebench[{track}]')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    folder = track_run(track, tmp_path)
    weights = load_file(folder/'model.safetensors')
    assert weights.keys() == untracked.keys() and all(np.array_equal(weights[k], untracked[k]) for k in weights)
    losses, mse = pd.read_csv(folder/'history.csv').valid_loss, read_json(folder/'row.json')['mse']
    assert not [o for o in tmp_path.rglob('*') if o.suffix in ('.pkl', '.pth', '.pt')]
    if track == 'tensorboard':
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        def values(name, tag): return [o.value for o in EventAccumulator(str(folder/'tensorboard'/name)).Reload().Scalars(tag)]
        np.testing.assert_allclose(values('phase1', 'valid_loss') + values('phase2', 'valid_loss'), losses, rtol=1e-5)
        np.testing.assert_allclose(values('measures', 'mse'), [mse], rtol=1e-5)
    if track == 'wandb':
        kept = next(folder.glob('wandb/offline-run-*/run-*.wandb')).read_bytes()
        assert kept.count(b'valid_loss') >= len(losses) and f'{mse}'[:9].encode() in kept
    if track == 'mlflow':
        from mlflow import MlflowClient
        client = MlflowClient(f'sqlite:///{tmp_path}/mlflow.db')
        run, = client.search_runs([client.get_experiment_by_name('aebench').experiment_id])
        assert run.info.status == 'FINISHED' and run.info.run_name == folder.name and run.data.params['method'] == 'progressive_resizing'
        np.testing.assert_allclose([o.value for o in client.get_metric_history(run.info.run_id, 'valid_loss')], losses, rtol=1e-9)
        assert run.data.metrics['mse'] == pytest.approx(mse)

@pytest.mark.parametrize('name', ['ray', 'accelerate', 'tensorboard', 'wandb', 'mlflow'])
def test_missing_package_is_named(name, monkeypatch, tmp_path):
    from aebench.bench import cluster
    from aebench.bench import team
    monkeypatch.setitem(sys.modules, name, None)
    use = dict(ray=cluster.import_ray, accelerate=lambda: team.Team([])).get(name, lambda: check_tracker(name, tmp_path))
    with pytest.raises(UsageError, match=r'pip install "aebench\[' + ('distributed' if name == 'accelerate' else name)): use()

def test_nothing_needs_the_extras():
    "The modules, and the usual runner, are there without any of them."
    code = ('import sys\nfor o in ("ray", "accelerate", "tensorboard", "wandb", "mlflow"): sys.modules[o] = None\n'
            'import aebench.bench.cluster, aebench.bench.store, aebench.bench.team, aebench.cli')
    subprocess.run([sys.executable, '-c', code], check=True)

def test_wandb_without_login(monkeypatch, tmp_path, said):
    "It is said before anything is trained, by a dry run too."
    pytest.importorskip('wandb', reason='needs aebench[wandb]')
    for name in ('WANDB_MODE', 'WANDB_API_KEY'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path)), monkeypatch.setenv('NETRC', str(tmp_path/'none'))
    with pytest.raises(UsageError, match='WANDB_MODE=offline'): check_tracker('wandb', tmp_path)
    code, _, err = said('run', 'digits', '--methods', 'pca-8', '--track', 'wandb', '--out', tmp_path/'runs', '--dry-run')
    assert code == 2 and 'WANDB_MODE=offline' in err and not (tmp_path/'runs').exists()

@pytest.mark.parametrize('words, sentence', [
    (['--ray', '127.0.0.1:9'], 'No cluster of Ray'),
    (['--ray', 'local', '--per-run-gpus', '1', '--device', 'cpu'], 'there is no GPU'),
    (['--out', 's3://nowhere/runs'], 'add --ray local'),
    (['--ray', 'local', '--out', 'file:///dev/null/runs'], 'cannot be written to'),
    (['--ray', 'local', '--out', 's3://'], 'names no folder'),
    (['--ray', 'local', '--per-run-cpus', str(10**30)], 'give --per-run-cpus at most that'),
])
def test_bad_input(words, sentence, home, tmp_path):
    pytest.importorskip('ray', reason='needs aebench[ray]')
    code, _, err = quickly('run', *([] if '--out' in words else ['--out', tmp_path]), *words, home=home)
    assert code == 2 and sentence in err and 'Traceback' not in err

def test_ray_or_a_launcher(home, tmp_path, monkeypatch):
    for name in ('WORLD_SIZE', 'RANK', 'LOCAL_RANK', 'MASTER_ADDR'): monkeypatch.setenv(name, '2')
    code, _, err = quickly('run', '--ray', 'local', '--out', tmp_path, home=home)
    assert code == 2 and 'leave out --ray' in err
