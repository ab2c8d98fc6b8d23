"Every registered method trains, at several sizes and with several channels, and the fast ways to compute change no number."
import copy

import pytest
import torch
from fastai.learner import load_learner
from fastai.torch_core import set_seed
from torch import nn

from aebench.data import ImageSet
from aebench.registry import METHODS
from aebench.settings import Run
from aebench.bench.run import make_loss, make_model
from aebench.speed import make_usual
from aebench.training import autoencoder_learner

def noise(size:int, n:int=8, channels:int=3) -> ImageSet:
    "A data set of random images."
    gen = torch.Generator().manual_seed(0)
    images = lambda: torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=gen)
    labels = torch.arange(n, dtype=torch.int16) % 2
    return ImageSet('noise', 'Noise', images(), labels, images(), labels, ('a', 'b'), f'noise-{size}-{n}-{channels}')

@pytest.mark.parametrize('size, channels', [*((size, 3) for size in (16, 32, 64, 96, 128)), (16, 1), (16, 5)])
@pytest.mark.parametrize('method', METHODS)
def test_two_batches(method, size, channels):
    run, data = (Run(method, 'noise', size=size, epochs=(1, 1), batch_size=4, weights='random', protocol='report'),
                 noise(size, channels=channels))
    set_seed(run.seed)
    model, loss_func = make_model(run, data), make_loss(run, data)
    learn = autoencoder_learner(data.dls(run.batch_size, 'cpu'), model, loss_func)
    assert len(learn.dls.train) == 2
    before, (epochs, sizes) = {k: v.clone() for k, v in model.named_parameters()}, zip(*run.schedule)
    with learn.no_bar(), learn.no_logging():
        learn.fit_phases(epochs, sizes, METHODS[method].pretrained, next_lr=METHODS[method].paper_rate('mnist'))
    assert len(learn.recorder.losses) == 2*epochs[-1] and all(torch.isfinite(o) for o in learn.recorder.losses)
    changed = [k for k, v in model.named_parameters() if not torch.equal(v, before[k])]
    assert METHODS[method].rounded or any(k.startswith('encoder') for k in changed)
    assert any(k.startswith('decoder') for k in changed)
    with torch.no_grad(): y = model.eval()(data.test_x[:3].float()/255)
    assert y.shape == (3, channels, size, size) and 0 <= y.min() and y.max() <= 1
    z = model.encode(data.test_x[:3].float()/255)
    assert z.shape == (3, model.latent)
    assert model.latent == METHODS[method].numbers(METHODS[method].latent, size)
    if METHODS[method].is_map: assert abs(model.latent - 1000) <= (size//4)**2/2  # whole numbers at each place of the map

@pytest.mark.parametrize('method, precision', [*((m, 'fp32') for m in METHODS), ('feature_loss', 'bf16')])
def test_learners_can_be_exported(method, precision, tmp_path):
    "fastai's way to give a trained learner away: no images in it, and the same outputs."
    run, data = Run(method, 'noise', size=16, weights='random', latent=8, precision=precision), noise(16, n=64)
    learn = autoencoder_learner(data.dls(32, 'cpu'), make_model(run, data), make_loss(run, data), path=tmp_path)
    with learn.no_bar(), learn.no_logging(): learn.fit_phases((1, 1), (8, 16), METHODS[method].pretrained, next_lr=1e-3)
    learn.set_image_size(8).set_image_size(16)
    learn.export()
    again = load_learner(tmp_path/'export.pkl')
    assert (all(len(dl.dataset) == 0 for dl in again.dls.loaders)
            and type(again.model) is type(learn.model) and type(again.loss_func) is type(learn.loss_func))
    with again.no_bar(): found, _ = again.get_preds(dl=again.dls.test_dl(data.test_x), inner=True)
    with learn.no_bar(): wanted, _ = learn.get_preds(dl=learn.dls.test_dl(data.test_x), inner=True)
    assert torch.equal(found, wanted) and len(found) == 64
    assert learn.dls.train.dataset.shape == (64, 3, 16, 16)  # its own are still there

def usual(module):
    "A copy that computes as PyTorch does, and how many of its layers that concerns."
    copied = make_usual(copy.deepcopy(module).to(memory_format=torch.contiguous_format))
    return copied, sum(type(a) is not type(b) for a, b in zip(module.modules(), copied.modules()))

# progressive_resizing and pretraining train networks of the others
@pytest.mark.parametrize('method, channels', [*((m, 3) for m in METHODS if m not in ('progressive_resizing', 'pretraining')),
                                              ('pixel_shuffle', 1), ('resnet', 1)])
def test_fast_is_the_same(method, channels):
    "The loss before and after one step from the same weights, to 1e-4 relative, beside plain layers and the default memory format."
    # one of SGD: Adam's first step is the gradient's sign, and where that is zero but for rounding,
    # plain layers in two layouts differ by 2e-4 as well
    data = noise(32, n=64, channels=channels)
    run = Run(method, 'noise', size=32, batch_size=64, weights='random')
    set_seed(run.seed)
    model, loss_func = make_model(run, data), make_loss(run, data)
    plain_model, n = usual(model)
    plain_loss, n_loss = usual(loss_func) if isinstance(loss_func, nn.Module) else (loss_func, 0)
    assert n > 4 and n_loss == (7 if isinstance(loss_func, nn.Module) else 0)
    x, found = data.train_x.float()/255, []
    for network, loss, layout in (model, loss_func, torch.channels_last), (plain_model, plain_loss, torch.contiguous_format):
        batch, step = x.contiguous(memory_format=layout), torch.optim.SGD(network.to(memory_format=layout).train().parameters(), lr=1e-2)
        losses, _ = [], torch.manual_seed(0)  # of a bottleneck's draws
        for _ in range(2):
            losses.append(loss(network(batch), batch))
            losses[-1].backward()
            step.step()
            step.zero_grad()
        found.append(torch.stack(losses).detach())
    assert ((found[0] - found[1]).abs() < 1e-4*found[1]).all(), found
    assert found[0][1] != found[0][0]
