"""A small network learns handwritten digits, with PyTorch. Prints lines `name=value`; ends with 1 if it learned too little."""

import argparse
import sys
import time

started = time.time()

import torch  # noqa: E402
from torch import nn  # noqa: E402

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--data", choices=["mnist", "digits"], default="mnist", help="mnist is downloaded")
arguments.add_argument("--epochs", type=int, default=20)
arguments.add_argument("--accuracy", type=float, default=0.95, help="less than this is a failure")
arguments.add_argument("--need-gpu", action="store_true", help="fail where there is none")
options = arguments.parse_args()


def digits():
    """scikit-learn's 1797 digits of 8 × 8 points, which it brings along."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels, dtype=torch.long)


def mnist():
    """70,000 digits of 28 × 28 points, downloaded."""
    from torchvision.datasets import MNIST

    parts = [MNIST(".", train=train, download=True) for train in (True, False)]
    images = torch.cat([part.data for part in parts]).flatten(1).float() / 255
    return images, torch.cat([part.targets for part in parts])


torch.manual_seed(1)
gpu = torch.cuda.is_available()
device = torch.device("cuda" if gpu else "cpu")
print(f"framework=PyTorch {torch.__version__}")
print(f"device={torch.cuda.get_device_name() if gpu else 'CPU'}")
if options.need_gpu and not gpu:
    sys.exit("a GPU was asked for, and PyTorch sees none")

images, labels = digits() if options.data == "digits" else mnist()
order = torch.randperm(len(images))
images, labels = images[order].to(device), labels[order].to(device)
held = len(images) // 5
side = round(images.shape[1] ** 0.5)
network = nn.Sequential(
    nn.Unflatten(1, (1, side, side)),
    nn.Conv2d(1, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(64 * (side // 4) ** 2, 10),
).to(device)
optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
loss_of = nn.CrossEntropyLoss()
batch = 64

begun = time.time()
for epoch in range(options.epochs):
    network.train()
    for first in range(held, len(images), batch):
        part = slice(first, first + batch)
        optimizer.zero_grad()
        loss = loss_of(network(images[part]), labels[part])
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.4f}", flush=True)
network.eval()
right = 0
with torch.no_grad():
    # In batches as well: what a layer makes of all images at once would take gigabytes.
    for first in range(0, held, batch):
        part = slice(first, min(first + batch, held))
        right += (network(images[part]).argmax(1) == labels[part]).sum().item()
accuracy = right / held
ended = time.time()

print(f"samples={len(images) - held}")
print(f"accuracy={accuracy:.4f}")
print(f"started={started:.3f}")
print(f"preparing={begun - started:.3f}")
print(f"processing={ended - begun:.3f}")
if accuracy < options.accuracy:
    sys.exit(f"an accuracy of {accuracy:.4f} is less than {options.accuracy}")
