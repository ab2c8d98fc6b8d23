"How much memory a run takes: for a process of its own, which imports this module first."
import torch

def _megabytes(key:str) -> float: return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(key))/1024

TORCH = _megabytes('VmRSS') # What a Python with torch imported takes

def peak(run, n:int=50_000, steps:int=10) -> float: # MB above `TORCH`; on a GPU, of its memory
    "The peak of some training steps with as many images as CIFAR-10 has, validation, and evaluation with a judge."
    from aebench.data import ImageSet
    from aebench.bench.memory import PeakMemory
    from aebench.metrics import evaluate
    from aebench.speed import keep_freed_memory
    from aebench.weights import Classifier, classifier_network
    from contestants import Task, Stop, aebench_learner
    keep_freed_memory()
    images = torch.zeros(n, 3, run.size, run.size, dtype=torch.uint8)
    labels = torch.zeros(n, dtype=torch.int16)
    data = ImageSet('noise', 'Noise', images, labels, images[:2000], labels[:2000], tuple('ab'), 'noise')
    net = classifier_network('resnet34', 2).to(run.device, memory_format=torch.channels_last).eval()
    memory, learn = PeakMemory(run.device), aebench_learner(Task(run, data, None))
    learn.set_image_size(run.size)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3, cbs=Stop(steps))
    evaluate(learn.model, data, [Classifier(lambda: net, 'resnet34', 0., '')], run.device)
    return memory.megabytes - (TORCH if run.device == 'cpu' else 0)
