"""How the weights move: Muon for the matrices inside the layers, AdamW for all else, one schedule for both."""
import torch

MUON_RATE = 3.3  # times AdamW's rate; on the picture side it learned faster than AdamW at this ratio, not at 1


def build_optimizers(named, rate, decay=0.02):
    """Muon (matrices of transformer layers) and AdamW (the rest; weight decay on matrices only) for named parameters.

    Each group's `peak` is the rate that `set_rate` scales.
    """
    inside, matrices, others = [], [], []
    for name, parameter in named:
        if ".layers." in name and parameter.ndim == 2:
            inside.append(parameter)
        else:
            (matrices if parameter.ndim >= 2 else others).append(parameter)
    muon = torch.optim.Muon(inside, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}],
        lr=rate, betas=(0.9, 0.98), fused=True,
    )
    for group in muon.param_groups:
        group["peak"] = rate * MUON_RATE
    for group in adam.param_groups:
        group["peak"] = rate
    return [muon, adam]


def set_rate(optimizers, share):
    """Set every group's rate to `share` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share


def rate_share(progress, steps, hold=0.4, low=0.02, warm=60):
    """Warm-up by steps, level until `hold` of the time is spent, then a straight line down."""
    done = max(0.0, min(1.0, (progress - hold) / (1 - hold)))
    return min(1.0, (steps + 1) / warm) * (1 - (1 - low) * done)
