"""What ports of Keras networks get wrong, in words: title and advice of each cause, for reports without PyTorch.

How each is planted in a port and recognised in one is `resnet_torch.comparison.mistakes`, by the same keys; of training
runs it is `resnet_torch.comparison.training_mistakes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """One thing to get wrong.

    Attributes:
        title: In a few words.
        advice: What to do about it.
    """

    title: str
    advice: str


CAUSES: Mapping[str, Cause] = {
    "epsilon": Cause(
        "epsilon of a normalization",
        "Weights files do not show it: 1e-3 is Keras's default and Keras <= 2.2's ResNets', 1.001e-5 "
        "keras.applications', 1e-5 PyTorch's. Convert with --epsilon.",
    ),
    "stride": Cause(
        "stride on another layer", "Keras's bottlenecks stride in the first 1x1. Convert with --stride-in."
    ),
    "padding": Cause(
        "padding",
        "'same' with stride 2 pads the bottom and the right only; a ZeroPadding2D in front pads each side. "
        "Convert with --stem-padding or --pool-padding.",
    ),
    "dilation": Cause("dilation", "Compare the layer's dilation_rate with the module's dilation."),
    "kernel transposed": Cause(
        "kernel with height and width swapped",
        "Keras's (kh, kw, c_in, c_out) becomes (c_out, c_in, kh, kw): axes 3, 2, 0, 1.",
    ),
    "kernel flipped": Cause(
        "kernel turned by 180 degrees, or mirrored",
        "Theano convolved with flipped kernels; TensorFlow and PyTorch correlate.",
    ),
    "kernel channels": Cause(
        "kernel with inputs and outputs swapped", "Transpose axes 3, 2, 0, 1 for a convolution, 1, 0 for a Dense."
    ),
    "kernel reshaped": Cause(
        "kernel reshaped instead of transposed", "Transpose axes 3, 2, 0, 1; a reshape keeps Keras's order."
    ),
    "gamma and beta": Cause("gamma and beta swapped", "PyTorch's weight is Keras's gamma, bias is beta."),
    "mean and variance": Cause(
        "mean and variance swapped", "running_mean is moving_mean, running_var is moving_variance."
    ),
    "deviation": Cause(
        "variance and standard deviation confused", "Keras 1's running_std holds the variance: take it as it is."
    ),
    "bias": Cause(
        "bias missing, another one, or added along another axis",
        "The convolutions of Keras's v1 ResNets have a bias; give the module one. Keras 3 on TensorFlow adds the bias "
        "of a channels_first layer along its width where that equals the number of channels; tf_keras, and Keras 3 on "
        "PyTorch, add it to the channels, as a port does.",
    ),
    "partner": Cause(
        "weights of another layer of the same shape", "Match arrays by the layer's name, never by order or shape."
    ),
    "weights": Cause("other numbers than the file's", "Convert the checkpoint again."),
    "input channels": Cause("channel order of the input", "caffe preprocessing feeds BGR, the others RGB."),
    "preprocessing": Cause("preprocessing of the input", "Convert with --preprocessing."),
    "input scale": Cause("scale of the input", "caffe preprocessing takes 0..255, not 0..1."),
    "activation": Cause(
        "another activation, or none, or one too many", "Compare the layer's activation with the module's."
    ),
    "last activation": Cause(
        "softmax or sigmoid applied twice, or not at all",
        "`model(x)` gives logits; `model.predict(x)` applies it once.",
    ),
    "flatten order": Cause(
        "order of a flatten",
        "Keras flattens (H, W, C): permute (0, 2, 3, 1) before flattening, or reorder the Dense's kernel.",
    ),
    "pooling": Cause("kind of pooling", "Compare max with average, and whether an average counts the padding."),
    "merge": Cause(
        "how several inputs become one",
        "Compare the merging layer's class, and the order in which it takes its inputs.",
    ),
    "shortcut": Cause("shortcut of a block", "A block adds its input, or the projection of it, before its last ReLU."),
    "training mode": Cause(
        "batch norm in the other mode", "Call model.eval() before inference; freeze with model.freeze()."
    ),
    "momentum": Cause("momentum of a batch norm", "Keras's 0.99 is PyTorch's 0.01: the share of the new statistic."),
    "moving variance": Cause(
        "rule of the moving variance",
        "Keras 3 keeps the batch's biased variance, PyTorch and tf_keras's fused kernel the unbiased: "
        "resnet_torch.BatchNorm2d has both rules.",
    ),
    "frozen": Cause(
        "a parameter or statistic that does not learn", "Unfreeze it: requires_grad, and train() of its batch norm."
    ),
    "call order": Cause(
        "order of a shared layer's calls",
        "A batch norm that is called twice moves its statistics twice: call it in the order in which Keras does.",
    ),
    "call mode": Cause(
        "mode of one call", "Keras 2 keeps to a call's own `training=False`, whatever the model's mode: so must a port."
    ),
    "dropout": Cause("rate of a dropout", "PyTorch's p is Keras's rate: what is dropped, not what is kept."),
    "noise": Cause("deviation of a noise", "resnet_torch.layers has Keras's GaussianNoise; PyTorch has none."),
    "regularizer": Cause(
        "penalty of a layer",
        "A penalty is part of Keras's loss. Convert the whole model, not its weights alone, and add its "
        "resnet_torch.regularizers to the loss.",
    ),
    "constraint": Cause("constraint of a weight", "Keras applies it after each step: convert the whole model."),
    "trainable": Cause(
        "layer that is frozen on one side alone", "Keras's `trainable=False` freezes weights and statistics."
    ),
    "precision": Cause(
        "dtype in which a layer computes", "A mixed_float16 model computes in float16 where it says so."
    ),
    "optimizer epsilon": Cause(
        "epsilon of the optimizer", "Keras's is 1e-7, most of torch.optim's 1e-8: pass eps=1e-7."
    ),
    "place of epsilon": Cause(
        "place of epsilon",
        "Keras's Adam adds it to sqrt(v), PyTorch's to sqrt(v / (1 - beta_2^t)). Keras 3's RMSprop and Adagrad add "
        "it to v, PyTorch's to sqrt(v).",
    ),
    "powers": Cause("powers of the betas", "Keras casts a beta through float32 first, for float64 weights too."),
    "weight decay": Cause(
        "weight decay",
        "Keras's is decoupled in every optimizer, w -= w * weight_decay * lr. That of torch.optim's SGD and Adam is "
        "part of the gradient, as an L2 regularizer.",
    ),
    "learning rate": Cause(
        "learning rate", "Give the port Keras's own. A schedule of Keras counts steps from 0, and computes in float32."
    ),
    "rescaled momentum": Cause(
        "momentum when the learning rate changes",
        "Keras's momentum holds the learning rate of its steps: multiply PyTorch's by the old rate over the new.",
    ),
    "clipping": Cause(
        "clipping of gradients",
        "Keras's clipnorm is of each variable by itself, global_clipnorm and clip_grad_norm_ of all together.",
    ),
    "optimizer": Cause("PyTorch's own optimizer", "Its rule is another than Keras's."),
}
