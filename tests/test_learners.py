"Any fastai learner: a search for a rate changes nothing and sees what training sees; fastai's own tools work on this package's learners."
import random
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.mixup import CutMix, MixUp
from fastai.callback.progress import CSVLogger, ProgressCallback
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from fastai.callback.training import GradientAccumulation, GradientClip, ShortEpochCallback
from fastai.data.core import DataLoaders
from fastai.interpret import Interpretation
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy, mae
from fastai.optimizer import OptimWrapper, SGD, ranger
from fastcore.basics import noop
from fastcore.foundation import L
from fastai.losses import MSELossFlat
from torch import nn
from torchvision.models import vgg11

from aebench.callback.checkpoint import Checkpoint
from aebench.callback.progress import Progress, TellProgress
from aebench.callback.trackers import EpochFigures
from aebench.core.errors import AebenchError, UsageError
from aebench.data.batches import ImageDL, ImageLoaders
from aebench.losses import FeatureLoss
from aebench.models import autoencoder
from aebench.training import FEWEST_BATCHES, History, autoencoder_learner, find_lr, random_states

N, BS = 96, 16
X = torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))
IMAGES = torch.rand(N, 3, 16, 16, generator=torch.Generator().manual_seed(0))

def loaders(x, y, bs=BS, **kwargs):
    pairs = list(zip(x, y))
    return DataLoaders.from_dsets(pairs[BS:], pairs[:BS], bs=bs, num_workers=0, device='cpu', **kwargs)

def net(out=64): return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(.1), nn.Linear(16, out))
def labels(n=4): return torch.arange(N) % n
def flat(): return X.flatten(1)

class MakeTarget(Callback):
    "Noise the input; the input as it was is the target."
    def before_batch(self): self.learn.xb, self.learn.yb = (self.x + .1*torch.randn_like(self.x),), (self.x.flatten(1),)

class MakePrediction(Callback):
    def after_pred(self): self.learn.pred = self.pred.sigmoid()

class Teacher(Callback):
    "A slow copy of the weights, and what it has noted of them."
    order = 30
    def __init__(self, model): self.average, self.seen = type(model)(*model), []
    def before_fit(self):
        if not self.seen: self.average = nn.Linear(64, 64)
    def after_step(self):
        with torch.no_grad(): self.average.weight.lerp_(self.average.weight.detach() + self.loss.detach(), .1)
        self.seen.append(float(self.loss.detach()))

class Counting(nn.Module):
    "A layer that counts in Python, in a buffer that it makes anew, and in one that is not saved."
    def __init__(self):
        super().__init__()
        self.calls, self.log = 0, []
        self.register_buffer('total', torch.zeros(()))
        self.register_buffer('last', torch.zeros(64), persistent=False)
    def forward(self, x):
        self.calls += self.training
        self.log.append(self.calls)
        self.total = self.total + x.detach().mean()
        self.last.copy_(x.detach()[0])
        return x*(1 + .001*self.calls) + 1e-3*self.last + 1e-6*self.total

class Weighted(nn.Module):
    "A loss that learns, and counts."
    def __init__(self):
        super().__init__()
        self.scale, self.calls = nn.Parameter(torch.zeros(())), 0
    def forward(self, pred, y):
        self.calls += 1
        return F.mse_loss(pred, y)*(-self.scale).exp() + self.scale + 1e-4*self.calls

class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(2, 64)
    def forward(self, x, z): return self.a(x.flatten(1)) + self.b(z)

class OfDicts(Learner):
    "A learner whose batches are dictionaries."
    def _split(self, b): self.xb, self.yb = (b['image'],), (b['target'],)

class DrawnNoise(torch.utils.data.Dataset):
    "Images with noise from generators of its own."
    def __init__(self): self.np, self.torch, self.python = np.random.default_rng(1), torch.Generator().manual_seed(1), random.Random(1)
    def __len__(self): return N
    def __getitem__(self, i):
        noise = self.np.random() + self.python.random() + torch.rand((), generator=self.torch)
        return X[i] + .01*float(noise), X[i].flatten()

def torch_loaders():
    train = torch.utils.data.DataLoader(DrawnNoise(), BS, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(2))
    return DataLoaders(train, torch.utils.data.DataLoader(DrawnNoise(), BS))

def of_dicts():
    dicts = [dict(image=x, target=x.flatten()) for x in X]
    return OfDicts(DataLoaders.from_dsets(dicts[BS:], dicts[:BS], bs=BS, num_workers=0, device='cpu', n_inp=1), net(), F.mse_loss)

def two_groups(model): return [list(model[:3].parameters()), list(model[3:].parameters())]

def bound(dls):
    "The splitter takes its groups from one model, not from the model it is given."
    model = net()
    return Learner(dls, model, F.mse_loss, splitter=lambda _: [list(model[:3].parameters()), list(model[3:].parameters())])

def learned_loss():
    loss = Weighted()
    return Learner(loaders(X, flat()), net(), loss, splitter=lambda m: [list(m.parameters()), list(loss.parameters())])

def wrapped_once():
    model = net()
    return Learner(loaders(X, flat()), model, F.mse_loss, opt_func=OptimWrapper(list(model.parameters()), torch.optim.AdamW, lr=1e-3))

def copying(cbs=(), **kwargs): return Learner(loaders(X, flat()), net(), F.mse_loss, cbs=cbs, **kwargs)

def classifying(cbs=(), loss=None): return Learner(loaders(X, labels()), net(4), loss or CrossEntropyLossFlat(), cbs=cbs, metrics=accuracy)

LEARNERS = dict(
    target=lambda: Learner(loaders(X, labels()), net(), F.mse_loss, cbs=MakeTarget()),
    prediction=lambda: copying(MakePrediction()),
    teacher=lambda: copying(Teacher(net())),
    mixup=lambda: classifying(MixUp()), cutmix=lambda: Learner(loaders(X, labels()), net(4), CrossEntropyLossFlat(), cbs=CutMix()),
    bf16=lambda: copying().to_bf16(), fp16=lambda: copying().to_fp16(),
    accumulation=lambda: copying([GradientAccumulation(40), GradientClip(.1)]),
    groups=lambda: copying(splitter=two_groups), bound=lambda: bound(loaders(X, flat())),
    counting=lambda: Learner(loaders(X, flat()), nn.Sequential(net(), Counting()), F.mse_loss),
    loss_module=lambda: copying(metrics=[mae]), learned_loss=learned_loss,
    sgd=lambda: copying(opt_func=partial(SGD, mom=.9)), ranger=lambda: copying(opt_func=ranger),
    torch_adam=lambda: copying(opt_func=partial(OptimWrapper, opt=torch.optim.Adam)), wrapped_once=wrapped_once,
    two_inputs=lambda: Learner(DataLoaders.from_dsets(*[list(zip(X[s], X[s].flatten(1)[:, :2], X[s].flatten(1)))
                                                        for s in (slice(BS, N), slice(BS))], bs=BS, num_workers=0, device='cpu', n_inp=2),
                               TwoInputs(), F.mse_loss),
    dicts=of_dicts, torch_loaders=lambda: Learner(torch_loaders(), net(), nn.MSELoss()),
    early=lambda: copying([EarlyStoppingCallback(patience=1)]))

def known(v):
    "`v` as something to compare; objects by their type."
    if isinstance(v, torch.Tensor): return str(v.dtype), tuple(v.shape), v.detach().contiguous().view(-1).numpy().tobytes()
    if isinstance(v, np.ndarray): return v.tobytes()
    if isinstance(v, dict): return [(str(k), known(o)) for k, o in v.items()]
    if isinstance(v, (list, tuple, L)): return [known(o) for o in v]
    return v if isinstance(v, (bool, int, float, str, type(None))) else type(v).__name__

def facts(learn):
    "Whatever a learner knows: attributes of its own and of callbacks, metrics and layers, weights and gradients, optimiser, random states."
    objects = [learn, *learn.cbs, *learn.metrics, *learn.model.modules(),
               *([learn.loss_func] if isinstance(learn.loss_func, nn.Module) else [])]
    opt = learn.opt and [learn.opt.state_dict(), list(learn.opt.hypers), learn.opt.frozen_idx]
    weights = [(p.requires_grad, p.grad) for p in learn.model.parameters()]
    return known([[vars(o) for o in objects], opt, weights, random_states(learn.dls)])

def begun(make):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    learn = make()
    learn.remove_cb(ProgressCallback)
    learn.logger = noop
    return learn

@pytest.mark.parametrize('name', LEARNERS)
def test_a_search_changes_nothing_and_sees_what_training_sees(name):
    """Before any training, and after one, with layers frozen.
    What follows is bit for bit the training without a search, which begins with the same loss."""
    plain, searched = (begun(LEARNERS[name]) for _ in range(2))
    for learn in (plain, searched):
        random.seed(2), np.random.seed(2), torch.manual_seed(2)
        for _ in range(2):
            if learn is searched:
                before = facts(learn)
                found = find_lr(learn, 24)
                assert facts(learn) == before and 1e-6 <= found.lr <= 1e-2
            learn.fit_one_cycle(1, 1e-3)
            if learn is searched: assert float(learn.recorder.losses[0]) == found.losses[0]
            learn.freeze()
    assert known(plain.model.state_dict()) == known(searched.model.state_dict())
    assert [float(o) for o in plain.recorder.losses] == [float(o) for o in searched.recorder.losses]

class Spy(Callback):
    "Notes the precision of each search, where no copy of it is made."
    order, seen = MixedPrecision.order + 1, []
    def before_batch(self):
        if hasattr(self, 'lr_finder'): Spy.seen.append(self.mixed_precision.autocast.fast_dtype)

def test_a_search_is_in_the_precision_of_the_training():
    for to, dtype in (('to_bf16', torch.bfloat16), ('to_fp16', torch.float16)):
        Spy.seen.clear()
        find_lr(begun(lambda: getattr(copying(Spy()), to)()), FEWEST_BATCHES)
        assert set(Spy.seen) == {dtype}

class Failing(Callback):
    def after_batch(self):
        if hasattr(self, 'lr_finder') and self.train_iter == 5: raise KeyboardInterrupt

def test_an_interrupted_search_changes_nothing():
    learn = begun(lambda: copying([Failing(), History()], metrics=mae))
    learn.fit_one_cycle(1, 1e-3)
    before = facts(learn)
    with pytest.raises(KeyboardInterrupt): find_lr(learn)
    assert facts(learn) == before

def test_what_only_notes_sits_a_search_out(tmp_path, capsys):
    "Of this package also in fastai's own search: no line, file, row or wish to stop, and no bar."
    told = []
    cbs = [History(), EpochFigures(lambda figures, i: told.append(i)), TellProgress(Told(told), 'x', 9), CSVLogger(), SaveModelCallback(),
           EarlyStoppingCallback(), ProgressCallback()]
    learn = autoencoder_learner(DataLoaders.from_dsets(*[list(zip(IMAGES[s], IMAGES[s])) for s in (slice(BS, N), slice(BS))],
                                                       bs=BS, device='cpu'),
                                autoencoder(size=16, latent=8), cbs=cbs, path=tmp_path)
    with Checkpoint(tmp_path/'state', after=0., share=1.).on(learn):
        find_lr(learn)
        assert not told and not learn.history.rows and not [*tmp_path.iterdir()] and not ''.join(capsys.readouterr())
        learn.remove_cbs([CSVLogger, ProgressCallback])
        learn.lr_find(num_it=20, show_plot=False)
    assert not told and not learn.history.rows and learn.history.phase == 0 and not [*tmp_path.rglob('*.*')]

class Told(Progress):
    def __init__(self, told): self.told = told
    def within(self, *args): self.told.append(args)
    epoch = within

@pytest.mark.parametrize('n', [3, 6, 19])
def test_few_batches_are_told(n):
    with pytest.raises(UsageError, match=f'{n} batches are too few .* num_it=20'): find_lr(copying(), n)
    with pytest.raises(UsageError, match=f'{n} batches are too few'): copying().fit_phases((0, 1), num_it=n)

def small(n, **kwargs): return Learner(loaders(X[:BS + n], flat(), **kwargs), net(), F.mse_loss)

def no_length():
    dls = loaders(X, flat())
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self): yield from zip(X, flat())
    return Learner(DataLoaders(torch.utils.data.DataLoader(Endless(), BS), dls.valid), net(), F.mse_loss)

@pytest.mark.parametrize('make,message', [
    (lambda: small(10), '10 training items are fewer than a batch of 16.* smaller bs'),
    (lambda: small(50, bs=64), '50 training items are fewer than a batch of 64'),
    (lambda: small(0), 'training set is empty'), (no_length, 'has no length'),
    (lambda: Learner(DataLoaders(torch.utils.data.DataLoader(X[:5], 16, drop_last=True), loaders(X, flat()).valid), net(), F.mse_loss),
     '5 training items are fewer than a batch of 16')])
def test_no_batch_is_told(make, message):
    for f in (find_lr, lambda o: o.fit_phases((1, 1), next_lr=1e-3)):
        with pytest.raises(UsageError, match=message) as e: f(begun(make))
        assert '--' not in str(e.value)

@pytest.mark.parametrize('make,message', [
    (lambda: copying(GradientAccumulation(10**6)), 'took no step'),
    (lambda: Learner(loaders(X, flat()), net(), lambda pred, y: (pred*0).mean()), 'stayed at 0 at every rate'),
    (lambda: Learner(DataLoaders.from_dsets([(o,) for o in X], [(o,) for o in X], bs=BS, n_inp=1, device='cpu'), net(), F.mse_loss),
     'took no step.*no target')])
def test_no_rate_is_found_where_nothing_moves(make, message):
    with pytest.raises(AebenchError, match=message): find_lr(begun(make))

def test_a_search_goes_on_where_epochs_are_cut_short():
    assert find_lr(copying(ShortEpochCallback(.3)), FEWEST_BATCHES, end_lr=1e-3).lrs[-1] > 3e-4

def test_a_phase_without_a_step_is_no_training():
    with pytest.raises(AebenchError, match='Phase 1 has trained nothing'):
        begun(lambda: copying(GradientAccumulation(1000))).fit_phases((1, 1))

@pytest.mark.parametrize('loss', [lambda pred, y: F.mse_loss(pred, y)*float('nan'),
                                  lambda pred, y: F.mse_loss(pred, y)*10**random.randrange(-9, 9)], ids=['nan', 'jumps'])
def test_a_loss_that_tells_no_rate(loss):
    random.seed(0)
    with pytest.raises(AebenchError, match='none is found: .* larger batches'):
        find_lr(begun(lambda: Learner(loaders(X, flat()), net(), loss)))

@pytest.fixture(scope='module')
def copier():
    "A learner of this package's over its own loaders; tests exchange the loss."
    torch.manual_seed(0)
    x = (IMAGES*255).to(torch.uint8)
    learn = autoencoder_learner(ImageLoaders(ImageDL(x, BS, shuffle=True), ImageDL(x[:20], BS), device=torch.device('cpu')),
                                autoencoder(size=16, latent=8))
    learn.remove_cb(ProgressCallback)
    return learn

LOSSES = dict(mse=lambda: F.mse_loss, l1=lambda: F.l1_loss, module=nn.SmoothL1Loss, flat=MSELossFlat,
              own=lambda: lambda pred, y: (pred - y).abs().mean(), feature=lambda: FeatureLoss(vgg11()))

@pytest.mark.parametrize('name', LOSSES)
def test_which_images_are_copied_worst(name, copier):
    "By fastai's own means, whatever the loss; the mean over the images is the loss of all."
    copier.loss_func = loss = LOSSES[name]()
    preds, targets, each = copier.get_preds(with_loss=True)
    with torch.no_grad(): wanted = torch.stack([loss(preds[i:i+1], targets[i:i+1]) for i in range(20)])
    torch.testing.assert_close(each, wanted)
    assert copier.loss_func is loss and abs(float(each.mean()) - copier.validate()[0]) < 1e-4*float(each.mean())
    worst = Interpretation.from_learner(copier)
    losses, places = worst.top_losses(3)
    assert torch.equal(losses, each.topk(3)[0]) and torch.equal(worst[places][0], targets[places])
    worst.plot_top_losses(3)
    import matplotlib.pyplot as plt
    assert [o.get_title() for o in plt.gcf().axes] == [t for o in losses for t in ('input', f'loss {float(o):.3g}')]
    plt.close('all')

def test_summary_and_predict(copier):
    assert 'Total params' in copier.summary() and copier.predict((IMAGES[0]*255).to(torch.uint8))[0].shape == (3, 16, 16)

def test_a_feature_loss_reduces_as_asked():
    loss, (a, b) = FeatureLoss(vgg11()), IMAGES[:8].split(4)
    a.requires_grad_()
    whole, parts = loss(a, b), dict(loss.parts)
    loss.reduction = 'none'
    each = loss(a, b)
    assert each.shape == (4,) and all(torch.allclose(loss.parts[k], v, rtol=1e-4) for k, v in parts.items())
    torch.testing.assert_close(*(torch.autograd.grad(o, a)[0] for o in (whole, each.mean())), rtol=1e-3, atol=1e-6)
    loss.reduction = 'sum'
    torch.testing.assert_close(loss(a, b), each.sum())
