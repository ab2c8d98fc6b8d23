"What a process that another one starts does: its own module, so that nothing else is imported there."
import torch

from aebench.codec.coding import encode_images
from aebench.data import load_images
from aebench.data.pixels import resize_images
from aebench.models import autoencoder

def load_and_encode(answers):
    "Read the digits, encode some of them, multiply matrices: all of it work that torch divides among threads."
    data = load_images('digits', 16)
    latents = encode_images(autoencoder(size=32, latent=16, channels=1).eval(), resize_images(data.test_x[:200], 32))
    answers.put((latents.shape, float((torch.rand(500, 500) @ torch.rand(500, 500)).mean())))
