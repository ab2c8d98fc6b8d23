"""One training step in several ways, on the same images: plain fastai, the paper's way, bare loops, and aebench.

A contestant is a function of a `Task` that gives `train`: called with a number of batches, it trains on so many and
returns how many seconds one took.
"""
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from fastai.callback.core import Callback, CancelTrainException
from fastai.callback import schedule  # adds `fit_one_cycle` to Learner
from fastai.data.block import DataBlock
from fastai.data.transforms import IndexSplitter, get_image_files
from fastai.layers import AdaptiveConcatPool2d, PixelShuffle_ICNR
from fastai.learner import Learner
from fastai.vision.augment import aug_transforms
from fastai.vision.data import ImageBlock
from fastai.vision.learner import create_body
from torch import Tensor, nn
from torchvision.models import resnet34, vgg16_bn

from aebench.data.batches import Augment
from aebench.callback.progress import Progress, TellProgress
from aebench.data import ImageSet
from aebench.data.pixels import resize_images
from aebench.models import Normalize
from aebench.registry import METHODS, OPTIMIZERS, Method
from aebench.settings import Run
from aebench.bench.run import make_augment, make_loss, make_model
from aebench.speed import make_usual
from aebench.training import History, autoencoder_learner

@dataclass(frozen=True)
class Task:
    "What is trained: a method's first phase, on these images."
    run:Run
    images:ImageSet
    folder:Path # The training images as files, for plain fastai

    @property
    def method(self) -> Method: return METHODS[self.run.method]
    @property
    def batch_size(self) -> int: return min(self.run.batch_size, len(self.images.train_x))

def now(device:torch.device|str) -> float:
    "The time once the device has done all that it was given."
    if torch.device(device).type == 'cuda': torch.cuda.synchronize()
    return perf_counter()

SKIPPED = 2 # Batches of a turn that don't count: plain fastai's workers start in them

class Lap:
    "Time from the end of the first `SKIPPED` of `n` batches to that of all. A GPU is waited for only then, lest it run dry at each batch."
    def __init__(self, n:int, device:torch.device|str): self.n, self.device, self.done, self.times = n, device, 0, []
    def batch_done(self):
        self.done += 1
        if self.done in (SKIPPED, self.n): self.times.append(now(self.device))
    @property
    def seconds(self) -> float: # A batch
        start, end = self.times
        return (end - start)/(self.n - SKIPPED)

class Stop(Callback):
    "End the training after `n` batches, timed by `lap`."
    order = 1000
    def __init__(self, n:int): self.n = n
    def before_fit(self): self.lap = Lap(self.n, self.dls.device)
    def after_batch(self):
        if not self.training: return
        self.lap.batch_done()
        if self.lap.done == self.n: raise CancelTrainException()

def timed(learn:Learner) -> Callable:
    "`train` for a `Learner`: one epoch, cut short."
    def train(n:int) -> float:
        stop = Stop(n)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3, cbs=stop)
        return stop.lap.seconds
    return train

# --- plain fastai: what a user would write --------------------------------------------------------------------------

def upsampling(method:Method, ni:int, nf:int) -> nn.Sequential:
    up = PixelShuffle_ICNR(ni, ni, blur=True) if method.upsample == 'pixel_shuffle' else nn.Upsample(scale_factor=2)
    return nn.Sequential(up, nn.BatchNorm2d(ni), nn.Conv2d(ni, nf, 3, padding=1), nn.BatchNorm2d(nf), nn.ReLU())

def plain_network(method:Method, size:int) -> nn.Module:
    "The paper's network in PyTorch's and fastai's own layers."
    def halving(ni, nf, pixels):
        return [nn.Conv2d(ni, nf, 3, padding=1, bias=False), nn.BatchNorm2d(nf), nn.ReLU(),
                nn.AdaptiveMaxPool2d(pixels), nn.BatchNorm2d(nf), nn.ReLU()]
    core = size//4
    if not method.encoder_entry.arch:
        encoder, latent = nn.Sequential(*halving(3, 12, size//2), *halving(12, 24, core), nn.Flatten(), nn.Linear(24*core**2, 1000)), 1000
    else: encoder, latent = nn.Sequential(create_body(resnet34(), pretrained=False), AdaptiveConcatPool2d(), nn.Flatten()), 1024
    decoder = nn.Sequential(nn.Linear(latent, 24*core**2), nn.Unflatten(1, (24, core, core)),
                            upsampling(method, 24, 12), upsampling(method, 12, 3))
    return nn.Sequential(Normalize(), encoder, decoder, nn.Hardtanh(0, 1))

class PlainFeatureLoss(nn.Module):
    "The paper's feature loss: all of VGG16-BN, hooks, gradients by autograd."
    def __init__(self):
        super().__init__()
        self.vgg, self.kept = vgg16_bn().features.eval().requires_grad_(False), []
        pools = [i for i, m in enumerate(self.vgg) if isinstance(m, nn.MaxPool2d)][:3]
        for i in pools: self.vgg[i-1].register_forward_hook(lambda m, args, out: self.kept.append(out))
    def features(self, x:Tensor) -> list[Tensor]:
        self.kept = []
        self.vgg(x)
        return self.kept
    def forward(self, pred:Tensor, target:Tensor) -> Tensor:
        def gram(x):
            rows = x.flatten(2)
            return rows @ rows.transpose(1, 2)/x[0].numel()
        wanted, got = [o.clone() for o in self.features(target)], self.features(pred)
        loss = F.mse_loss(pred, target)
        for w, a, b in zip((30, 20, 10), got, wanted): loss = loss + w*F.mse_loss(a, b) + w**2*5000*F.mse_loss(gram(a), gram(b))
        return loss

def plain_loss(method:Method) -> Callable: return PlainFeatureLoss() if method.uses_features else F.mse_loss

def plain_fastai(task:Task) -> Callable:
    "DataBlock, batch transforms, Learner, two loader workers."
    size, device = task.run.schedule[0][1], torch.device(task.run.device)
    dls = DataBlock(blocks=(ImageBlock, ImageBlock), get_items=get_image_files, splitter=IndexSplitter([0]),
                    batch_tfms=aug_transforms(flip_vert=True, max_rotate=0., max_zoom=1., max_warp=0., max_lighting=.2, size=size)
                    ).dataloaders(task.folder, bs=task.batch_size, num_workers=2, device=device)
    loss_func = plain_loss(task.method)
    if isinstance(loss_func, nn.Module): loss_func.to(device)  # a `Learner` moves its network alone
    learn = Learner(dls, plain_network(task.method, size), loss_func)
    if task.method.pretrained:
        learn.splitter = lambda model: [list(model[1].parameters()), list(model[2].parameters())]
        learn.freeze()
    return timed(learn)

# --- loops over images that are in memory ----------------------------------------------------------------------------

def stepping(optimiser, *schedules) -> Callable:
    "One step of an optimiser, torch's or fastai's, and of what sets its rate; then the gradients are cleared."
    def step():
        for o in (optimiser, *schedules): o.step()
        optimiser.zero_grad()
    return step

def adam(params:list[Tensor]) -> Callable: # As `stepping` gives it
    optimiser = torch.optim.AdamW(params, lr=1e-3, fused=True)
    return stepping(optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=1_000_000))

def own_optimiser(method:Method) -> Callable: # As `adam`
    "aebench's, where the method has another than Adam."
    if method.optimizer == 'adam': return adam
    return lambda params: stepping(OPTIMIZERS.builders[method.optimizer](params, lr=1e-3))

def loop(model:nn.Module, loss_func:Callable, images:Tensor, bs:int, layout:torch.memory_format,
         augment:Callable, stepper:Callable=adam) -> Callable:
    "Augment, forward, loss, backward, step: nothing else. Network and loss go to where the images are, once."
    model.to(images.device, memory_format=layout)
    if isinstance(loss_func, nn.Module): loss_func.to(images.device)
    step, gen = stepper([p for p in model.parameters() if p.requires_grad]), torch.Generator(images.device).manual_seed(0)
    def train(n:int) -> float:
        model.train()
        lap = Lap(n, images.device)
        for i in torch.randperm(len(images), device=images.device)[:n*bs].split(bs):
            x = augment(images[i], gen).contiguous(memory_format=layout)
            loss_func(model(x), x).backward()
            step()
            lap.batch_done()
        return lap.seconds
    return train

def papers_way(task:Task) -> Callable:
    "The paper's network and loss in PyTorch's default memory format."
    return loop(plain_network(task.method, task.run.schedule[0][1]), plain_loss(task.method), small(task), task.batch_size,
                torch.contiguous_format, Augment())

def bare_loop(task:Task, fast:bool=True, compiled:bool=False) -> Callable:
    "aebench's network and loss, with none of fastai around them: the practical limit."
    model, loss_func = make_model(task.run, task.images).set_size(task.run.schedule[0][1]), make_loss(task.run, task.images)
    if task.method.pretrained:  # as fastai freezes: all but the batch norms
        for m in model.encoder.modules():
            if not isinstance(m, nn.BatchNorm2d):
                for p in m.parameters(recurse=False): p.requires_grad_(False)
    if not fast:
        make_usual(model)
        if isinstance(loss_func, nn.Module): make_usual(loss_func)
    if compiled:
        for part in (model.encoder, model.decoder): part.compile()
    augment, step = make_augment(task.run, task.images, model), own_optimiser(task.method)
    return loop(model, loss_func, small(task), task.batch_size, torch.channels_last, augment, step)

def usual_layers(task:Task) -> Callable:
    "The bare loop with PyTorch's layers in place of those of `aebench.speed`: what they gain."
    return bare_loop(task, fast=False)

def compiled_loop(task:Task) -> Callable:
    "The bare loop with encoder and decoder compiled by torch.compile, which needs a C++ compiler: is there anything to gain?"
    return bare_loop(task, compiled=True)

def small(task:Task) -> Tensor:
    "The training images at the size of the first phase, on the device."
    return resize_images(task.images.train_x, task.run.schedule[0][1]).to(task.run.device)

# --- aebench -------------------------------------------------------------------------------------------------------

def aebench_learner(task:Task) -> Learner:
    "As a run has it, in its first phase."
    model, loss_func = make_model(task.run, task.images), make_loss(task.run, task.images)
    dls = task.images.dls(task.batch_size, task.run.device, make_augment(task.run, task.images, model), valid_limit=task.batch_size)
    learn = autoencoder_learner(dls, model, loss_func, cbs=[History(), TellProgress(Progress(), 'benchmark', 1)],
                                opt_func=OPTIMIZERS.builders[task.method.optimizer])
    if task.method.pretrained: learn.freeze()
    return learn.set_image_size(task.run.schedule[0][1])

def aebench(task:Task) -> Callable: return timed(aebench_learner(task))

CONTESTANTS = {'plain fastai': plain_fastai, "the paper's way": papers_way, 'usual layers': usual_layers,
               'compiled loop': compiled_loop, 'bare loop': bare_loop, 'aebench': aebench}
WITHOUT_AEBENCH = ('plain fastai', "the paper's way") # As users have them: their memory is not kept either
