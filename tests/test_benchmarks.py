"The benchmark runs, in its smallest form."
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent

def measured(out, *parts):
    "Rows of the baseline, by what was measured and of whom."
    command = [sys.executable, ROOT/'benchmarks'/'speed.py', '--methods', 'baseline', '--parts', *parts, '--turns', '2', '--out', out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(out).set_index(['what', 'contestant'])

def faster(rows):
    "Is aebench faster than plain fastai, by each one's best turn, in which other work took least?"
    return rows.high['speed', 'aebench'] > 1.1*rows.high['speed', 'plain fastai']

def test_speed(tmp_path):
    rows = measured(tmp_path/'speed.csv', 'speed', 'share', 'floor')
    assert set(rows.loc['speed'].index) == {'plain fastai', 'usual layers', 'bare loop', 'aebench'} and (rows.loc['speed'].low > 0).all()
    assert rows['median']['floor', 'counted floor'] > rows['median']['speed', 'aebench']
    shares = rows.loc['share'].set_index('detail')['median']
    assert (shares.drop('framework') > 0).all() and 0 <= shares['framework'] < 40 and abs(shares.sum() - 100) < 1e-6
    assert rows.device_name.nunique() == 1 and rows.threads.min() > 0
    # it is, by far, unless other tests come between
    assert faster(rows) or faster(measured(tmp_path/'again.csv', 'speed')) or faster(measured(tmp_path/'at_last.csv', 'speed'))

def test_operations_of_own_convolutions_are_counted(monkeypatch):
    "A resnet34's, whose last layers are matrix products written in place: forward and backward."
    monkeypatch.syspath_prepend(ROOT/'benchmarks')
    from speed import Run, Task, aebench_learner, noise, operations
    count, n = operations(aebench_learner(
        Task(Run('resnet', 'noise', weights='random', device='cpu', precision='fp32'), noise(16, 32), None)))
    assert n == 16 and 290e6 < count/n < 320e6

def costs(part, home, tmp_path, *words) -> pd.DataFrame:
    "What benchmarks/cluster.py measures."
    done = subprocess.run([sys.executable, ROOT/'benchmarks'/'cluster.py', '--parts', part, *words, '--out', tmp_path/'cluster.csv'],
                          env={**os.environ, 'AEBENCH_HOME': str(home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path/'cluster.csv').set_index('detail')
    assert (rows['median'] > 0).all() and (rows.load >= 0).all()
    return rows

@pytest.mark.slow
def test_cost_of_gathering(home, tmp_path):
    rows = costs('gather', home, tmp_path, '--turns', '1', '--rows', '20')
    assert list(rows.index) == ['gather', 'report'] and (rows['count'] == 20).all()

@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason='needs two processors')
def test_two_runs_beside_each_other_take_no_longer(home, tmp_path):
    "By Ray, its start included, as one after the other; the quickest of three turns, for other tests may come between."
    pytest.importorskip('ray', reason='needs aebench[ray]')
    lowest = costs('runs', home, tmp_path, '--turns', '3').low
    assert lowest['beside each other'] <= lowest['one after the other'], lowest

@pytest.mark.slow
def test_large_images(tmp_path):
    done = subprocess.run([sys.executable, ROOT/'benchmarks'/'large.py', '--sizes', '16', '32', '--methods', 'baseline', '--steps', '3',
                           '--out', tmp_path/'large.csv'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path/'large.csv')
    assert (list(rows['size']) == [16, 32] and (rows.peak_memory_mb > 100).all()
            and rows.images_per_second[0] > rows.images_per_second[1] > 0)

@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(ROOT/'benchmarks')
    import peers
    return peers

def test_peers_clock(peers):
    "What is spent on measuring is no training, and is never more than it."
    now = [0.]
    def copy(x):
        now[0] += 40
        return x/2
    watch = peers.Watch(lambda: now[0])
    course = peers.Course(torch.full((4, 1, 8, 8), 255, dtype=torch.uint8), 100., watch)
    for _ in range(100):
        now[0] += 1
        course.step(2, torch.nn.Identity(), copy)
    assert [(o['seconds'], o['images'], o['mse']) for o in course.points] == [(1, 2, .25), (40, 80, .25), (80, 160, .25)]
    assert watch.seconds == 100 and course.left == 0 and peers.marks(300.)[0] == pytest.approx(1) and peers.marks(300.)[-1] == 300

def test_peers_time_to_components(peers):
    points = [dict(seconds=i, mse=o) for i, o in enumerate((.5, .2, .4, .1, .1))]
    assert peers.seconds_to(points, .3) == dict(seconds_to_pca=1, seconds_below_pca=3)
    assert peers.seconds_to(points, .6) == dict(seconds_to_pca=0, seconds_below_pca=0)
    assert all(o != o for o in peers.seconds_to(points, .01).values())

def test_peers_go_on_where_they_were(peers, tmp_path):
    "A finished part stays, one that was not available is tried again, and the picture has a row for each data set."
    key = dict(peer='modern', data='2024', images_key='0123456789012345', precision='fp32', device_name='any',
               latent=8, budget=5., threads=1)
    found = dict(mse=.01, pca_mse=.02, seconds=5.1, seconds_to_pca=1.)
    results = peers.Results(tmp_path)
    results.add(key, [dict(seconds=1., images=8, mse=.01)], found)
    results.add(key | dict(peer='pythae_conv'), [], dict(note='not available'))
    again = peers.Results(tmp_path)
    assert [again.has(key | o) for o in ({}, dict(peer='pythae_conv'), dict(budget=6.))] == [True, False, False]
    again.add(key | dict(peer='pythae_conv'), [dict(seconds=1., images=8, mse=.03)], found | dict(mse=.03, seconds_to_pca=None))
    again.add(key | dict(data='other'), [], found)
    assert len(again.summary) == 3 and again.summary.note.isna().all() and len(again.points) == 2
    axs = peers.draw(peers.Results(tmp_path).summary).axes
    assert (len(axs) == 4 and [o.get_width() for o in axs[1].patches] == [-.5, .5]
            and [o.get_text() for o in axs[0].texts] == ['', 'not reached'])

def test_own_images_are_never_above_their_components():
    "As the guide says of the folders that nobody tuned for."
    ratios = pd.read_csv(ROOT/'results'/'own-images.csv').ratio
    assert len(ratios) == 24 and ratios.max() < 1
    assert (f'{ratios.min():.0%}'.rstrip('%') + f' to {ratios.max():.0%}'.replace('%', ' %')
            in (ROOT/'docs'/'guide'/'own_images.md').read_text(encoding='utf-8'))

@pytest.mark.slow
def test_precision(monkeypatch, tmp_path, home):
    "A pair of runs, and a line that says what bfloat16 changed."
    monkeypatch.syspath_prepend(str(ROOT/'benchmarks'))
    monkeypatch.setenv('AEBENCH_HOME', str(home))
    import precision
    out = tmp_path/'new'/'found.csv'
    monkeypatch.setattr(sys, 'argv', ['precision.py', '--methods', 'baseline', '--seeds', '1', '--epochs', '0', '1', '--out', str(out)])
    precision.main()
    row, = pd.read_csv(out).itertuples()
    assert row.method == 'baseline' and abs(row.mse_percent) < 5 and row.epochs == '0 1'

def test_gaps_of_a_nested_run(monkeypatch, tmp_path, home, capsys):
    "What one model for all lengths costs, and what its encoder: four lines each for a length, of which the first is what the run measured."
    monkeypatch.syspath_prepend(str(ROOT/'benchmarks'))
    monkeypatch.setenv('AEBENCH_HOME', str(home))
    import nested_gap
    import refined
    from aebench import compare
    row, = compare('digits', 'modern+nested', latent=16, epochs=1, out=tmp_path/'runs').rows.query('method == "nested+modern"').itertuples()
    lengths = pd.read_csv(tmp_path/'runs'/row.run/'lengths.csv').set_index('numbers')
    words = ['nested_gap.py', tmp_path/'runs'/row.run, '--numbers', 8, '--epochs', 1, '--out', tmp_path/'gap.csv']
    monkeypatch.setattr(sys, 'argv', [str(o) for o in words])
    nested_gap.main()
    found = pd.read_csv(tmp_path/'gap.csv')
    assert list(found.way) == ['nested', 'its decoder trained further', 'all of it trained further', 'trained from the start']
    assert abs(found.mse[0]/lengths.mse[8] - 1) < .01 and (found.mse < 1.05*found.pca_mse).all()
    for run, code in ((tmp_path, 1), (tmp_path/'runs'/row.run, 0), (tmp_path/'runs'/row.run, 0)):  # the last measures nothing again
        words = ['refined.py', run, '--numbers', 8, '--steps', 0, 3, '--out', tmp_path/'refined.csv']
        monkeypatch.setattr(sys, 'argv', [str(o) for o in words])
        with pytest.raises(SystemExit) as e: refined.main()
        assert e.value.code == code
    assert 'holds no trained model' in capsys.readouterr().err
    found = pd.read_csv(tmp_path/'refined.csv')
    assert list(zip(found.method, found.steps)) == [('nested+modern', 0), ('nested+modern', 3), ('pca-8', 0), ('pca-8', 3)]
    assert abs(found.mse[0]/lengths.mse[8] - 1) < .01 and found.mse[1] < found.mse[0] and found.mse[3] < found.mse[2]
    assert abs(found.ratio[2] - 1) < 1e-3
