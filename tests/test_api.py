"What one types in Python: names that are there at once, one call for a comparison, a learner by a method's name."
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import aebench
from aebench import autoencoder_learner, compare, load_images
from aebench.bench import loop
from aebench.callback.progress import Progress
from aebench.core.errors import AebenchError, UsageError
from aebench.modern.averaging import AverageWeights
from aebench.registry import OPTIMIZERS, get_method
from aebench.training import find_lr

from made_up import make_images

pytestmark = pytest.mark.usefixtures('at_home')
NAMES = ['autoencoder', 'autoencoder_learner', 'compare', 'load', 'load_images']

def quietly(*args, **kwargs): return compare(*args, device='cpu', progress=Progress(), **kwargs)

@pytest.fixture(scope='module')
def digits(at_home): return load_images('digits')

def test_names_come_when_they_are_asked_for():
    "`import aebench` brings none of the packages that take time, and knows its names all the same."
    code = f"""if True:
        import sys, aebench
        slow = {{'torch', 'fastai', 'numpy', 'pandas', 'matplotlib', 'rich', 'importlib.metadata'}}
        assert not slow & set(sys.modules), slow & set(sys.modules)
        assert set({NAMES}) <= set(dir(aebench))
        assert all(callable(getattr(aebench, o)) for o in {NAMES}) and 'torch' in sys.modules
        import aebench.comparison, aebench.all
        assert callable(aebench.compare) and aebench.compare is aebench.all.compare
        aebench.comparee"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert "has no attribute 'comparee'" in done.stderr and 'AssertionError' not in done.stderr, done.stderr

@pytest.fixture
def pictures(tmp_path, monkeypatch):
    "Twenty images of noise in a folder, one of them unreadable, and nothing else where the test runs."
    make_images(tmp_path/'pictures', [f'{i}.png' for i in range(20)])
    (tmp_path/'pictures'/'broken.png').write_bytes(b'none')
    monkeypatch.chdir(tmp_path)
    return tmp_path/'pictures'

def test_a_folder_and_its_images_are_the_same_comparison(pictures):
    with pytest.raises(UsageError, match='unreadable|cannot be read'): quietly('pictures', 'pca-4')
    by_name = quietly('pictures', ['pca-4', 'mean_image'], size=8, skip_unreadable=True)
    assert by_name.folder == Path('runs/pictures').absolute() and by_name.table.mse['pca-4'] < by_name.table.mse['mean_image']
    images = load_images('pictures', 8, skip_unreadable=True)
    made = {o: o.stat().st_mtime_ns for o in by_name.folder.glob('*/row.json')}
    again = quietly(images, 'pca-4')
    assert {o: o.stat().st_mtime_ns for o in again.folder.glob('*/row.json')} == made
    assert set(again.rows.method) == {'original', 'pca-4'} and len(by_name.rows) == 3
    assert again.best().row['method'] == 'pca-4'  # no network was trained
    halves = load_images('pictures', 8, skip_unreadable=True, split=.5)
    with pytest.raises(UsageError, match='split='): quietly(halves, 'pca-4')
    assert quietly(halves, 'pca-4', split=.5).rows.n_train.tolist() == [len(halves.train_x)]*2

def test_a_run_that_fails_is_named(pictures, monkeypatch):
    "The others stand, and the same call tries it again."
    images, do_run = load_images('digits', 8), loop.do_run
    def fail(run, *args, **kwargs):
        if run.method == 'baseline': raise AebenchError('No luck today.')
        return do_run(run, *args, **kwargs)
    with monkeypatch.context() as patch:
        patch.setattr(loop, 'do_run', fail)
        r = quietly(images, 'baseline,pca-4', epochs=1, judges=())
    for text in (r.verdict, repr(r), r._repr_html_()): assert 'No luck today.' in text
    assert r.failed.method.tolist() == ['baseline'] and r.table.failed['baseline'] == 1 and r.best().row['method'] == 'pca-4'
    assert r.report().is_file()
    again = quietly(images, 'baseline,pca-4', epochs=1, judges=())
    assert again.failed.empty and again.best().row['method'] == 'baseline'
    assert 'Baseline' in again.report().read_text(encoding='utf-8')

@pytest.mark.parametrize('name', ['baseline', 'pretraining', 'feature_loss', 'muon', 'modern+nested'])
def test_a_name_stands_for_all_its_parts(name, digits):
    method, learn = get_method(name), autoencoder_learner(digits, name, latent=8, weights='random', device='cpu', precision='fp32')
    assert learn.model.latent == 8 and learn.model.nested == method.nested and learn.dls.train.bs == 32
    assert learn.opt_func is OPTIMIZERS.builders[method.optimizer] and (type(learn.loss_func).__name__ == 'FeatureLoss') == (method.loss == 'feature')
    assert any(isinstance(o, AverageWeights) for o in learn.cbs) == method.averaged
    assert len(learn.dls.train_ds) < len(digits.train_x) if method.linear_path else len(learn.dls.train_ds) == len(digits.train_x)

def test_a_search_leaves_a_gate_as_it_is(digits):
    learn = autoencoder_learner(digits, 'modern', latent=8, device='cpu')
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    learn.model.gates.fill_(.25)
    assert find_lr(learn, 20).lr > 0 and (learn.model.gates == .25).all()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert not (learn.model.gates == .25).any() or learn.choose_gates.held is not None and set(learn.model.gates.tolist()) <= {0., .25, .5, .75, 1.}

def test_importing_warns_of_nothing():
    "Not of what other packages do as they are imported."
    code = 'import aebench.all, aebench.bench.train, aebench.apply.anomaly, aebench.apply.export'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stderr == ''
