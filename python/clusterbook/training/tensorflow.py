"""A small network learns handwritten digits, with TensorFlow. Prints lines `name=value`; ends with 1 if it learned too little."""

import argparse
import os
import sys
import time

started = time.time()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy  # noqa: E402
import tensorflow  # noqa: E402

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--data", choices=["mnist", "digits"], default="mnist", help="mnist is downloaded")
arguments.add_argument("--epochs", type=int, default=20)
arguments.add_argument("--accuracy", type=float, default=0.95, help="less than this is a failure")
arguments.add_argument("--need-gpu", action="store_true", help="fail where there is none")
options = arguments.parse_args()
keras = tensorflow.keras


def digits():
    """scikit-learn's 1797 digits of 8 × 8 points, which it brings along."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images.astype("float32") / 16, labels


def mnist():
    """70,000 digits of 28 × 28 points, downloaded."""
    (images, labels), (more_images, more_labels) = keras.datasets.mnist.load_data()
    images = numpy.concatenate([images, more_images]).reshape(-1, 28 * 28).astype("float32") / 255
    return images, numpy.concatenate([labels, more_labels])


keras.utils.set_random_seed(1)
gpus = tensorflow.config.list_physical_devices("GPU")
print(f"framework=TensorFlow {tensorflow.__version__}")
print(f"device={gpus[0].name if gpus else 'CPU'}")
if options.need_gpu and not gpus:
    sys.exit("a GPU was asked for, and TensorFlow sees none")

images, labels = digits() if options.data == "digits" else mnist()
order = numpy.random.permutation(len(images))
images, labels = images[order], labels[order]
held = len(images) // 5
side = round(images.shape[1] ** 0.5)
network = keras.Sequential(
    [
        keras.layers.Input(images.shape[1:]),
        keras.layers.Reshape((side, side, 1)),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ]
)
network.compile(
    optimizer=keras.optimizers.Adam(0.002),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)

begun = time.time()
network.fit(images[held:], labels[held:], batch_size=64, epochs=options.epochs, verbose=2)
_, accuracy = network.evaluate(images[:held], labels[:held], verbose=0)
ended = time.time()

print(f"samples={len(images) - held}")
print(f"accuracy={accuracy:.4f}")
print(f"started={started:.3f}")
print(f"preparing={begun - started:.3f}")
print(f"processing={ended - begun:.3f}")
if accuracy < options.accuracy:
    sys.exit(f"an accuracy of {accuracy:.4f} is less than {options.accuracy}")
