import torch

from verification.adapter import DenseAdapter, Precision, promising


def attention(q, k, v, causal, scale):
    scores = q.float() @ k.float().transpose(-1, -2) * scale
    if causal:
        scores += torch.full_like(scores, -10_000.0).triu(1)
    return (scores.softmax(dim=-1) @ v.float()).to(q.dtype)


class MyKernel(DenseAdapter):
    name = "my/kernel"
    contract = promising("float16", "float32")
    precision = Precision()  # scores, probabilities and sums in float32, one rounding at the end
    dense = staticmethod(attention)
