"Every registered method trains, at several sizes."
import pytest
import torch

from aebench.bench import make_loss, make_model, seed_everything
from aebench.data import ImageSet
from aebench.registry import METHODS, Run
from aebench.training import autoencoder_learner

def noise(size:int, n:int=8) -> ImageSet:
    "A data set of random images."
    gen = torch.Generator().manual_seed(0)
    images = lambda: torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=gen)
    labels = torch.arange(n, dtype=torch.int16) % 2
    return ImageSet('noise', 'Noise', images(), labels, images(), labels, ('a', 'b'), 'noise')

@pytest.mark.parametrize('size', [16, 32, 64])
@pytest.mark.parametrize('method', METHODS)
def test_two_batches(method, size):
    run, data = Run(method, 'noise', size=size, epochs=(1, 1), batch_size=4, weights='random', protocol='report'), noise(size)
    seed_everything(run.seed)
    model, loss_func = make_model(run, data), make_loss(run, data)
    learn = autoencoder_learner(data.dls(run.batch_size, 'cpu'), model, loss_func)
    assert len(learn.dls.train) == 2
    before = {k: v.clone() for k, v in model.named_parameters()}
    with learn.no_bar(), learn.no_logging(): learn.fit_phases((1, 1), (run.first_size, size), METHODS[method].pretrained, next_lr=METHODS[method].report_rate('mnist'))
    assert len(learn.recorder.losses) == 2 and all(torch.isfinite(o) for o in learn.recorder.losses)
    changed = [k for k, v in model.named_parameters() if not torch.equal(v, before[k])]
    assert any(k.startswith('encoder') for k in changed) and any(k.startswith('decoder') for k in changed)
    with torch.no_grad(): y = model.eval()(data.test_x[:3].float()/255)
    assert y.shape == (3, 3, size, size) and 0 <= y.min() and y.max() <= 1
    z = model.encode(data.test_x[:3].float()/255)
    assert z.shape == (3, model.latent) and model.latent == (1024 if METHODS[method].encoder != 'conv' else 1000)
