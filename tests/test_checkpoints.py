"A training that is interrupted goes on bit for bit; every item of the saved state is needed for that."
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastai.callback.core import Callback, CancelTrainException
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import SGD
from torch import nn

from aebench.callback import checkpoint as checkpoints
from aebench.callback.checkpoint import Checkpoint, pack, read_state, write_state
from aebench.data import ImageSet, load_images
from aebench.core.errors import AebenchError, Interrupted, UsageError
from aebench.core.tensors import write_tensors
from aebench.models import autoencoder
from aebench.modern.averaging import AverageWeights
from aebench.registry import OPTIMIZERS
from aebench.settings import Run, plan_runs
from aebench.bench.run import make_model, training_state
from aebench.training import History, autoencoder_learner, find_lr, random_states
from aebench.weights import classifier_network, finetune_classifier

class Noise(Callback):
    "An augmentation that draws from all of Python's, NumPy's and torch's random states."
    run_valid = False
    def before_batch(self): self.learn.xb = (self.xb[0] + .01*torch.randn_like(self.xb[0]) + .01*random.random() + .01*np.random.rand(),)

class Worst(Callback):
    "Remembers over all batches, as callbacks may."
    def __init__(self): self.highest, self.seen = 0., []
    def after_batch(self):
        self.highest = max(self.highest, float(self.loss.detach()))
        self.seen.append(self.highest)
    def after_train(self): self.seen.append(float(self.loss))

class StopAt(Callback):
    "A signal at the `n`th batch of training; or in the validation after it; or of a search."
    order = 98
    def __init__(self, n, validation=False, search=False): self.left, self.validation, self.search = iter(range(n - 1)), validation, search
    def after_batch(self):
        if hasattr(self, 'lr_finder') != self.search: return
        if self.training and not self.validation or not self.training and self.validation:
            if next(self.left, None) is None: signal.raise_signal(signal.SIGTERM)

class StopBefore(Callback):
    "A signal when the `n`th fit begins, the phase before it being over."
    def __init__(self, n): self.left = iter(range(n - 1))
    def before_fit(self):
        if not hasattr(self, 'lr_finder') and next(self.left, None) is None: signal.raise_signal(signal.SIGTERM)

class Short(Callback):
    "Ends each epoch after its third batch, before the others are asked."
    order, run_valid = -5, False
    def after_batch(self):
        if self.iter == 2: raise CancelTrainException()

class Dropping(nn.Module):
    "A small autoencoder with dropout and batch norm, of the kind that needs every random state."
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(.2), nn.Conv2d(8, 1, 1))
    def forward(self, x): return self.net(x)

class Pairs(torch.utils.data.Dataset):
    "Images that a worker process augments."
    def __init__(self, x, augment): self.x, self.augment = x, augment
    def __len__(self): return len(self.x)
    def __getitem__(self, i):
        x = self.x[i]
        return (x + .01*random.random() + .01*np.random.rand() + .01*torch.rand(()) if self.augment else x).float(), x

class Turned(DataLoader):
    "An order that is drawn from every random state when the epoch begins."
    def get_idxs(self):
        idxs = super().get_idxs()
        by = random.randrange(len(idxs)) + np.random.randint(len(idxs)) + int(torch.randint(len(idxs), ()))
        return [idxs[(i + by) % len(idxs)] for i in range(len(idxs))]

@pytest.fixture(scope='module')
def images(at_home): return load_images('digits')

def ours(images, augment, tmp, cbs):
    "The package's loaders and autoencoder, two sizes, a rate looked for in between."
    dls = images.dls(bs=128, device='cpu', valid_limit=64, **({} if augment else dict(augment=None)))
    learn = autoencoder_learner(dls, autoencoder(size=16, latent=16, channels=1), cbs=[History(), *cbs], path=tmp)
    return learn, dict(epochs=(2, 2), sizes=(8, 16), num_it=20)

def frozen(images, augment, tmp, cbs):
    "A body that is frozen first."
    dls = images.dls(bs=256, device='cpu', valid_limit=64, **({} if augment else dict(augment=None)))
    return frozen_by(dls, tmp, cbs)

def frozen_by(dls, tmp, cbs):
    return (autoencoder_learner(dls, autoencoder('resnet18', size=16, channels=1), cbs=[History(), *cbs], path=tmp),
            dict(epochs=(1, 2), freeze_first=True, next_lr=(1e-6, 1e-2)))

def modern(method):
    "Networks that start from principal components, with Muon, averaged weights or lengths that are drawn anew in each step."
    def make(images, augment, tmp, cbs):
        run, data = (Run(method, 'digits', size=16, latent=8, epochs=(1, 1)),
                     replace(images, train_x=images.train_x[:320], train_y=images.train_y[:320], fingerprint='320 digits'))
        dls = data.dls(bs=64, device='cpu', valid_limit=64, **({} if augment else dict(augment=None)))
        own = [AverageWeights(decay=.8)] if run.recipe.averaged else []
        return (autoencoder_learner(dls, make_model(run, data), cbs=[History(), *own, *cbs],
                                    opt_func=OPTIMIZERS.builders[run.recipe.optimizer], path=tmp),
                dict(epochs=(2, 2), next_lr=1.5e-3))
    return make

def their_dls(images, augment, workers):
    "fastai's own loaders, with or without worker processes."
    x = images.train_x[:160].float()/255
    return DataLoaders(Turned(Pairs(x, augment), bs=32, shuffle=True, num_workers=workers),
                       DataLoader(Pairs(x[:64], False), bs=64, num_workers=workers), device='cpu')

def theirs(workers):
    def make(images, augment, tmp, cbs):
        return (Learner(their_dls(images, augment, workers), Dropping(), F.mse_loss, cbs=[History(), Noise(), Worst(), *cbs], path=tmp),
                dict(epochs=(2, 2), num_it=30))
    return make

def their_frozen(workers):
    def make(images, augment, tmp, cbs): return frozen_by(their_dls(images, augment, workers), tmp, cbs)
    return make

def trained(make, images, augment, tmp, best=False, cbs=(), file=None):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    learn, recipe = make(images, augment, tmp, [*cbs, *[SaveModelCallback(fname='best')]*best])
    # these epochs are shorter than any
    with learn.no_bar(), learn.no_logging(): learn.fit_phases(**recipe, checkpoint=Checkpoint(file, share=1.) if file else None)
    return learn

def outcome(learn) -> dict:
    "Weights, optimiser, history and what callbacks remember, times left out."
    found = {f'model.{k}': v for k, v in learn.model.state_dict().items()}
    for i, state in enumerate(learn.opt.state_dict()['state']): found |= {f'optimiser.{i}.{k}': v for k, v in state.items()}
    found['loop'] = [learn.train_iter, learn.iter, float(learn.smooth_loss)]
    found['hypers'] = [dict(o) for o in learn.opt.hypers]
    found['history'] = [{k: v for k, v in row.items() if 'seconds' not in k} for row in learn.history.rows]
    found['rates'] = {k: [float(x) for x in o] for k, o in getattr(learn.recorder, 'hps', {}).items()}
    found['recorder'] = [[float(x) for x in o] for o in (learn.recorder.losses, learn.recorder.lrs, *learn.recorder.values)]
    for name, attr in (('worst', 'seen'), ('save_model', 'best')):
        if hasattr(learn, name): found[name] = getattr(getattr(learn, name), attr)
    return found

def unequal(a:dict, b:dict) -> list:
    assert a.keys() == b.keys()
    return [k for k in a if not (torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k])]

# Maker, and batches of the training; images in memory, of which sizes are made, have no workers
WAYS = {'two phases, 0 workers': (theirs(0), 20), 'two phases, 2 workers': (theirs(2), 20),
        'frozen first, 0 workers': (their_frozen(0), 15), 'frozen first, 2 workers': (their_frozen(2), 15),
        'sizes': (ours, 48), 'frozen first': (frozen, 18),
        **{o: (modern(o), 20) for o in ('modern', 'averaged', 'nested', 'modern+nested+averaged')}}
# Batches until each stop
CASES = {(way, augment, best): stops
         for way, (_, n) in WAYS.items() for augment in (True, False) for best in (False, True) for stops in [(n//5, n//3, n//4)]}
QUICKLY = [('sizes', True, False), ('sizes', False, False), ('sizes', True, True), ('frozen first', True, False),
           ('two phases, 0 workers', True, False), ('two phases, 2 workers', True, False), ('two phases, 2 workers', False, True),
           ('modern', True, False), ('averaged', True, False), ('nested', True, False), ('modern+nested+averaged', True, True)]

@pytest.mark.parametrize('way,augment,best', [pytest.param(*o, marks=[] if o in QUICKLY else pytest.mark.slow) for o in CASES])
def test_goes_on_as_if_nothing_had_happened(way, augment, best, images, tmp_path):
    (make, _), stops = WAYS[way], CASES[way, augment, best]
    wanted, file = outcome(trained(make, images, augment, tmp_path/'whole', best)), tmp_path/'state.safetensors'
    for n in stops:
        with pytest.raises(Interrupted): trained(make, images, augment, tmp_path/'again', best, [StopAt(n)], file)
        assert file.exists()
    learn = trained(make, images, augment, tmp_path/'again', best, file=file)
    assert unequal(outcome(learn), wanted) == []
    if best:
        assert all(torch.equal(a, b) for a, b in zip(
            *(torch.load(tmp_path/o/'models'/'best.pth', weights_only=True).values() for o in ('whole', 'again'))))

class Steps(Callback):
    "Counts the steps of a training, not those of a search for its rate."
    taken = 0  # of the class: what a callback holds itself goes on with its training
    def after_step(self): Steps.taken += not hasattr(self, 'lr_finder')

@pytest.mark.parametrize('way', ['sizes', 'modern+nested+averaged', 'by the clock'])
def test_the_end_is_kept(way, images, tmp_path):
    "Whatever stops the process after the last epoch: the next one trains nothing, and has the same network."
    def make(*args):
        learn, recipe = WAYS['sizes' if way == 'by the clock' else way][0](*args)
        return learn, recipe | (dict(seconds=1.) if way == 'by the clock' else {})
    file, taken = tmp_path/'state.safetensors', Steps.taken
    first = outcome(trained(make, images, True, tmp_path, cbs=[Steps()], file=file))
    assert Steps.taken > taken
    taken = Steps.taken
    again = outcome(trained(make, images, True, tmp_path, cbs=[Steps()], file=file))
    assert Steps.taken == taken
    if way == 'by the clock': first, again = ({k: v for k, v in o.items() if 'model.' in k} for o in (first, again))
    assert unequal(first, again) == []

def test_a_signal_in_validation(images, tmp_path):
    wanted, file = outcome(trained(ours, images, True, tmp_path)), tmp_path/'state.safetensors'
    with pytest.raises(Interrupted): trained(ours, images, True, tmp_path, cbs=[StopAt(2, validation=True)], file=file)
    assert read_state(file)['position']['batch'] == read_state(file)['position']['batches'] - 1
    assert unequal(outcome(trained(ours, images, True, tmp_path, file=file)), wanted) == []

@pytest.mark.parametrize('epochs', [(2, 2), (1, 2)])
def test_a_signal_between_two_phases(epochs, images, tmp_path):
    "The state is the first phase's, and so are the notes in it."
    def make(*args):
        learn, recipe = theirs(0)(*args)
        return learn, recipe | dict(epochs=epochs)
    wanted, file = outcome(trained(make, images, True, tmp_path)), tmp_path/'state.safetensors'
    with pytest.raises(Interrupted): trained(make, images, True, tmp_path, cbs=[StopBefore(2)], file=file)
    assert len(read_state(file)['notes']['phases']) == 1
    assert unequal(outcome(trained(make, images, True, tmp_path, file=file)), wanted) == []

@pytest.mark.parametrize('n', [1, 7])
def test_a_signal_in_a_search(n, images, tmp_path):
    "What is kept is the end of the phase before, not the weights of the search; after a stop and a resume at that end too."
    wanted, file = outcome(trained(theirs(0), images, True, tmp_path)), tmp_path/'state.safetensors'
    for _ in range(2):
        with pytest.raises(Interrupted): trained(theirs(0), images, True, tmp_path, cbs=[StopAt(n, search=True)], file=file)
        assert (read_state(file)['position']['epoch'], len(read_state(file)['notes']['phases'])) == (1, 1)
    assert unequal(outcome(trained(theirs(0), images, True, tmp_path, file=file)), wanted) == []

def test_an_epoch_that_a_callback_ends(images, tmp_path):
    "Stopped in its validation; it goes on from its last batch, which no other callback was told of."
    wanted, file = outcome(trained(theirs(0), images, True, tmp_path, cbs=[Short()])), tmp_path/'state.safetensors'
    for validation in (2, 1):
        with pytest.raises(Interrupted):
            trained(theirs(0), images, True, tmp_path, cbs=[Short(), StopAt(validation, validation=True)], file=file)
        assert (read_state(file)['position']['batch'], read_state(file)['position']['over']) == (2, True)
    learn = trained(theirs(0), images, True, tmp_path, cbs=[Short()], file=file)
    assert (unequal(outcome(learn), wanted) == []
            and all('train_loss' not in o and isinstance(o['valid_loss'], float) for o in learn.history.rows))

def test_dear_places_are_taken_down_seldom(images, tmp_path, monkeypatch):
    "Where noting it costs much, an epoch's end is not noted; a signal in its validation stops the training after the next batch."
    wanted, mark, file = outcome(trained(theirs(0), images, True, tmp_path)), Checkpoint._mark, tmp_path/'state.safetensors'
    def dear(self, over=False):
        mark(self, over)
        self.marking.cost = 1e6
    monkeypatch.setattr(Checkpoint, '_mark', dear)
    with pytest.raises(Interrupted): trained(theirs(0), images, True, tmp_path, cbs=[StopAt(3, validation=True)], file=file)
    assert (read_state(file)['position']['epoch'], read_state(file)['position']['batch']) == (1, 0)
    assert unequal(outcome(trained(theirs(0), images, True, tmp_path, file=file)), wanted) == []

class Held(Callback):
    "Holds what can't be kept."
    def __init__(self): self.seen = []
    def state_dict(self): return dict(it=object())
    def load_state_dict(self, state): raise NotImplementedError

def test_what_can_not_be_kept_is_told(images, tmp_path):
    "A callback whose state is no data does not end the training."
    told, (learn, recipe) = [], ours(images, True, tmp_path, [Held()])
    with learn.no_bar(), learn.no_logging():
        learn.fit_phases(**recipe, checkpoint=Checkpoint(tmp_path/'state.safetensors', log=told.append, after=0., share=1.))
    assert set(told) == {'The state of the training could not be kept: object cannot be kept.'}

def test_a_state_that_can_not_be_removed_is_told(tmp_path):
    told = []
    (tmp_path/'state.safetensors').mkdir()  # unlinking a folder fails, for root too
    Checkpoint(tmp_path/'other.safetensors', log=told.append).remove()
    checkpoint = Checkpoint(tmp_path/'other.safetensors', log=told.append)
    checkpoint.file = tmp_path/'state.safetensors'
    checkpoint.remove()
    assert len(told) == 1 and told[0].endswith('It is not needed any more.')

# Any batch sets them again; after the last one they are needed
AT_THE_END = [*(('learner', o) for o in ('iter', 'loss', 'smooth_loss')), ('callbacks', 'step_count')]
NOT_NEEDED = {('about',): 'the training begins anew then', ('facts',): 'so it does',
              **dict.fromkeys([('scaler',), ('start', 'cuda'), ('now', 'cuda')], 'a GPU has them'),
              ('now', 'loaders'): 'they draw when an epoch begins',
              **{('callbacks', o): 'it remembers nothing' for o in ('train_eval', 'cast_to_tensor', 'progress', 'noise', 'stop_at')}}

def items_of(state:dict) -> list[tuple]:
    "Every item of a state, by its keys."
    parted = 'position', 'start', 'now', 'learner', 'callbacks', 'notes'
    return [*((o,) for o in state if o not in parted), *((o, k) for o in parted for k in state[o])]

@pytest.fixture(scope='module')
def interrupted(images, tmp_path_factory):
    "States in the second epoch of the second phase and after its last batch, and what the training should come to."
    tmp, make = tmp_path_factory.mktemp('interrupted'), theirs(0)
    for name, n in (('within', 18), ('end', 20)):
        with pytest.raises(Interrupted):
            trained(make, images, True, tmp/name, cbs=[the_first(), StopAt(n)], file=tmp/name/'state.safetensors')
    return make, tmp, outcome(trained(make, images, True, tmp/'whole', cbs=[the_first()]))

# For this callback a training that goes well was best at its beginning, which it has to remember
def the_first(): return SaveModelCallback(fname='best', comp=np.greater)

def without(state:dict, item:tuple, fresh) -> dict:
    "`state` as if `item` had not been kept."
    first, *rest = item
    if first in ('about', 'facts'): state[first] = dict(lost='yes')
    elif item == ('start', 'loaders'):
        state['start']['loaders'] = [(epoch, random.Random(7).getstate()) for epoch, *_ in state['start']['loaders']]
    elif item == ('model',): state['model'] = dict(fresh.model.state_dict())
    elif item == ('optimiser',): state['optimiser'] = fresh.opt.state_dict()
    elif first == 'scaler': state['scaler'] = None
    elif first in ('callbacks', 'notes'): del state[first][rest[0]]
    elif first == 'learner': state['learner'][rest[0]] = 0
    elif first == 'position': state['position'][rest[0]] -= 1
    elif first in ('start', 'now'):
        state[first][rest[0]] = dict(python=random.getstate(), numpy=np.random.get_state(), torch=torch.get_rng_state(),
                                     loaders=[]).get(rest[0])
    return state

def test_every_item_of_the_state_is_needed(interrupted, images, tmp_path):
    "Without any one of them the training comes to something else, or does not go on; what is not needed is known, and why."
    make, tmp, wanted = interrupted
    items, needless = items_of(read_state(tmp/'within'/'state.safetensors')), []
    for item in items:
        # with the best model so far
        place = shutil.copytree(tmp/('end' if item in AT_THE_END else 'within'), tmp_path/'.'.join(map(str, item)))
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        fresh, _ = make(images, True, place, [])
        fresh.create_opt()
        file = write_state(place/'without.safetensors', without(read_state(place/'state.safetensors'), item, fresh))
        try:
            if not unequal(outcome(trained(make, images, True, place, cbs=[the_first()], file=file)), wanted): needless.append(item)
        except (AebenchError, LookupError, TypeError, AttributeError, RuntimeError, ValueError): pass  # it can't go on
    assert set(needless) == set(NOT_NEEDED) & set(items), ' '.join(map(str, set(needless) ^ (set(NOT_NEEDED) & set(items))))
    assert {o[0] for o in items} == set(Checkpoint.items)

def test_a_fine_tuned_classifier(images, tmp_path, monkeypatch):
    "The judge by foreign weights: head, head at the rate found, everything; stopped in each of the three."
    few = replace(images, train_x=images.train_x[:192], train_y=images.train_y[:192], test_x=images.test_x[:32], test_y=images.test_y[:32])
    torch.manual_seed(0)
    write_tensors(tmp_path/'resnet34.safetensors', classifier_network('resnet34', 1000).state_dict())
    def tuned(cbs=(), file=None):
        return finetune_classifier(few, str(tmp_path), device='cpu', epochs=(1, 1, 1), callbacks_for=lambda *_: list(cbs),
                                   checkpoint=Checkpoint(file) if file else None).state_dict()
    wanted, file = tuned(), tmp_path/'state.safetensors'
    for n in (2, 3, 3):
        with pytest.raises(Interrupted): tuned([StopAt(n)], file)
    assert len(read_state(file)['notes']['phases']) == 3
    assert unequal(tuned(file=file), wanted) == []

def test_another_schedule_is_refused(images, tmp_path):
    "Of a fit of one's own, whose recipe nobody has told."
    def fit(epochs, cbs=()):
        learn, _ = ours(images, True, tmp_path, list(cbs))
        with learn.no_bar(), learn.no_logging(), Checkpoint(tmp_path/'state.safetensors').on(learn): learn.fit(epochs, 1e-3)
    with pytest.raises(Interrupted): fit(2, [StopAt(3)])
    with pytest.raises(UsageError, match='made in a fit of 2 epochs, and this one has 3'): fit(3)

CHANGES = dict(network=lambda learn, recipe: setattr(learn, 'model', autoencoder(size=16, latent=8, channels=1)),
               loss=lambda learn, recipe: setattr(learn, 'loss_func', F.l1_loss),
               optimiser=lambda learn, recipe: setattr(learn, 'opt_func', SGD),
               recipe=lambda learn, recipe: recipe.update(lr=3e-3))
CHANGES['batch size'] = lambda learn, recipe: setattr(learn.dls.train, 'bs', 16)
CHANGES['number of items'] = lambda learn, recipe: setattr(learn, 'dls', ImageSet(
    '', '', *(o[:48] for o in (learn.images.train_x, learn.images.train_y, learn.images.test_x, learn.images.test_y)),
    (), '').dls(bs=learn.dls.train.bs, device='cpu'))

@pytest.mark.parametrize('what', CHANGES)
def test_another_training_begins_anew(what, images, tmp_path):
    "And says which thing is another; the state of the former is no part of it."
    file, told = tmp_path/'state.safetensors', []
    with pytest.raises(Interrupted): trained(ours, images, True, tmp_path, cbs=[StopAt(3)], file=file)
    def other(checkpoint):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        learn, recipe = ours(images, True, tmp_path, [])
        learn.images = images
        CHANGES[what](learn, recipe)
        with learn.no_bar(), learn.no_logging(): learn.fit_phases(**recipe, checkpoint=checkpoint)
        return learn
    wanted, found = other(None), other(Checkpoint(file, log=told.append))
    assert told and re.fullmatch(rf'{file} was made with another .*{what}.*; the training begins anew\.', told[0]), told
    assert (all(torch.equal(v, found.model.state_dict()[k]) for k, v in wanted.model.state_dict().items())
            and found.recorder.losses == wanted.recorder.losses)

def test_an_interrupted_learner_serves_on(images, tmp_path):
    "As in a notebook: stop, look, train again."
    learn, recipe = ours(images, True, tmp_path, [])
    learn.add_cb(stop := StopAt(3))
    usual = [signal.getsignal(o) for o in (signal.SIGINT, signal.SIGTERM)]
    with learn.no_bar(), learn.no_logging():
        with pytest.raises(KeyboardInterrupt): learn.fit_phases(**recipe, checkpoint=Checkpoint(tmp_path/'state.safetensors'))
        learn.remove_cb(stop)
        assert [signal.getsignal(o) for o in (signal.SIGINT, signal.SIGTERM)] == usual
        learn.fit_one_cycle(1, 1e-3)
        assert len(learn.get_preds()[0]) == 64

class Tick(Callback):
    "Each batch of training takes so many seconds of a made-up clock."
    order = 98
    def __init__(self, now, seconds): self.now, self.seconds = now, seconds
    def after_batch(self): self.now[0] += self.seconds*self.training

# When it ends, and when each state was written
def written_by_the_clock(images, tmp_path, monkeypatch, batch, write, epochs) -> tuple[float, list[float]]:
    "A training as the runner makes it, whose batches and writes take so many seconds of a made-up clock."
    now, kept, plain = [0.], [], checkpoints.write_state
    def costly(*args):
        now[0] += write
        kept.append(now[0])
        return plain(*args)
    monkeypatch.setattr(checkpoints, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(checkpoints, 'write_state', costly)
    learn, recipe = ours(images, True, tmp_path, [Tick(now, batch)])
    run, = plan_runs('baseline', 'digits')
    with learn.no_bar(), learn.no_logging(): learn.fit_phases(**recipe | dict(epochs=epochs), checkpoint=training_state(run, tmp_path))
    return now[0], kept

def test_kept_by_default_and_cheaply(images, tmp_path, monkeypatch):
    "Not in the first minute, in the second, and then in no more than 2 % of the time."
    now, kept = written_by_the_clock(images, tmp_path, monkeypatch, 10, 5, (10, 10))
    assert 60 < kept[0] <= 120 and len(kept) >= 3 and 5*len(kept) <= .02*now

def test_the_shortest_that_is_kept(images, tmp_path, monkeypatch):
    "Two minutes of training, and a state that takes 1.2 s to write, ten times a resnet34's: 2 % are not passed."
    now, kept = written_by_the_clock(images, tmp_path, monkeypatch, 11.5, 1.2, (1, 0))
    assert 120 < now <= 150 and kept and 1.2*len(kept) <= .02*now, (now, kept)

def test_notes_take_little_time(images, tmp_path, monkeypatch):
    "By the real clock: after 20,000 batches a note of the place takes long, and epochs of a few batches are short."
    spent, mark = [], Checkpoint._mark
    def timed(self, *args):
        began = time.perf_counter()
        mark(self, *args)
        spent.append(time.perf_counter() - began)
    monkeypatch.setattr(Checkpoint, '_mark', timed)
    learn, _ = ours(images, True, tmp_path, [])
    class Long(Callback):
        "As if so many batches had been."
        order = 61
        def before_fit(self): self.learn.recorder.losses += [torch.tensor(1.)]*20_000; self.learn.recorder.lrs += [.1]*20_000
    learn.add_cb(Long())
    with learn.no_bar(), learn.no_logging(), Checkpoint(tmp_path/'state.safetensors').on(learn):
        began = time.perf_counter()
        learn.fit(30, 1e-3)
        took = time.perf_counter() - began
    assert len(spent) > 1 and sum(spent[1:]) <= .02*took + max(spent), (len(spent), sum(spent), took)  # the first and one more are free

@pytest.mark.parametrize('patience,kept', [(5, True), (-1, False)])
def test_a_second_signal(patience, kept, images, tmp_path, monkeypatch):
    "Soon after the first it is the same wish; after a while it stops the training at once."
    class Twice(Callback):
        order = 98
        def after_batch(self):
            if self.training and self.iter == 2: signal.raise_signal(signal.SIGTERM), signal.raise_signal(signal.SIGTERM)
    monkeypatch.setattr(checkpoints, 'PATIENCE', patience)
    with pytest.raises(Interrupted): trained(theirs(0), images, True, tmp_path, cbs=[Twice()], file=tmp_path/'state.safetensors')
    assert (tmp_path/'state.safetensors').exists() == kept

def test_handlers_go_back(images, tmp_path):
    "Whoever answered signals before a training does so after it."
    def mine(*_): raise AssertionError
    wanted = {signal.SIGINT: mine, signal.SIGTERM: mine, signal.SIGHUP: signal.SIG_IGN}
    usual = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        with pytest.raises(Interrupted): trained(theirs(0), images, True, tmp_path, cbs=[StopAt(3)], file=tmp_path/'state.safetensors')
        assert {number: signal.getsignal(number) for number in wanted} == wanted
    finally:
        for number, handler in usual.items(): signal.signal(number, handler)

@pytest.mark.parametrize('stop', [None, 5])
def test_lr_find_changes_nothing(stop, images, tmp_path):
    "Completed, or interrupted at a batch: weights and statistics, optimiser, random states, the loaders' too, and history."
    learn, _ = theirs(0)(images, True, tmp_path, [])
    def packed():
        tensors = []
        return pack([dict(learn.model.state_dict()), learn.opt.state_dict(), random_states(learn.dls), list(learn.recorder.losses),
                     list(map(list, learn.recorder.values)), learn.history.rows], tensors), [o.tolist() for o in tensors]
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 1e-2)
        before, left = packed(), iter(range((stop or 10**6) - 1))
        def loss(pred, y):
            if next(left, None) is None: raise KeyboardInterrupt
            return F.mse_loss(pred, y)
        learn.loss_func = loss
        with pytest.raises(KeyboardInterrupt) if stop else nullcontext(): find_lr(learn, 20)
    assert packed() == before

@pytest.mark.slow
def test_killed_with_workers(tmp_path, tally, kills=30):
    "kill -9 of a training with worker processes, three times in each; it ends with the undisturbed weights."
    script, gen = Path(__file__).with_name('killed_training.py'), random.Random(0)
    def start(name):
        return subprocess.Popen([sys.executable, script, tmp_path/name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                start_new_session=True)
    whole, err = start('whole').communicate(timeout=300)
    assert whole, err
    for n in range(kills//3):
        for _ in range(3):
            p = start(f'killed{n}')
            for _ in range(gen.randint(1, 4)): p.stdout.readline()
            time.sleep(gen.uniform(0, .02))  # in a batch, in a write, or while workers begin
            os.killpg(p.pid, signal.SIGKILL)
            p.communicate()
        again, err = start(f'killed{n}').communicate(timeout=300)
        assert again.splitlines()[-1] == whole.splitlines()[-1], err
        assert int(again.splitlines()[0].split()[-1]) > 0  # it went on, and did not begin anew
    tally('kills of a training with workers survived', kills)

class Scales(Callback):
    "The GradScaler's state after each epoch; fastai forgets it after the fit."
    def __init__(self): self.scales = []
    def after_epoch(self): self.scales.append(self.learn.scaler.state_dict())

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('half', [False, True])
def test_on_a_gpu(half, images, tmp_path):
    "What callbacks keep there comes back there, and fastai's GradScaler goes on with its scale."
    def make(images, augment, tmp, cbs):
        learn, recipe = ours(images, augment, tmp, [Scales(), *cbs] if half else cbs)
        learn.dls.to('cuda'), learn.model.cuda()
        return learn.to_fp16() if half else learn, recipe
    wanted, file = trained(make, images, True, tmp_path), tmp_path/'state.safetensors'
    for n in (5, 9):
        with pytest.raises(Interrupted): trained(make, images, True, tmp_path, cbs=[StopAt(n)], file=file)
    again = trained(make, images, True, tmp_path, file=file)
    assert len(again.recorder.losses) == len(wanted.recorder.losses) and {o.device.type for o in again.recorder.losses} == {'cuda'}
    if half: assert len(wanted.scales.scales) == 4 and again.scales.scales == wanted.scales.scales
