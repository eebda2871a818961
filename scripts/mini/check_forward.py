"""Compare the training forward with transformers' Sam3Model.forward on random pictures and prompts."""
import torch

from model import build_model
from network import TrainingForward, corners


def main(resolution=192):
    """Print the largest differences; fails above 1e-4."""
    torch.manual_seed(1)
    model = build_model(resolution, seed=3).eval()
    net = TrainingForward(model)
    pixels = torch.rand(2, 3, resolution, resolution) * 2 - 1
    ids = torch.tensor([[584, 571, 580, 585], [584, 550, 585, 585]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()
    boxes = torch.rand(2, 2, 4) * 0.25 + torch.tensor([0.35, 0.35, 0.05, 0.05])
    labels = torch.tensor([[1, 0], [1, -10]])
    for with_boxes in (False, True):
        extra = {"input_boxes": boxes, "input_boxes_labels": labels} if with_boxes else {}
        with torch.no_grad():
            want = model(pixel_values=pixels, input_ids=ids, attention_mask=mask.long(), **extra)
            fine, middle, coarse = net.neck(net.backbone(pixels))
            prompt, pmask = net.text(ids, mask), mask
            if with_boxes:
                geo, gmask = net.geometry(boxes, labels != -10, labels.clamp(min=0), coarse)
                prompt, pmask = torch.cat([prompt, geo], 1), torch.cat([mask, gmask], 1)
            pmask = pmask[:, None, None]
            memory = net.encode(coarse.flatten(2).transpose(1, 2), prompt, pmask)
            hidden, got_boxes, logits, presence = net.decode(memory, prompt, pmask)
            pixel, semantic = net.pixels_of(memory, prompt, pmask, fine, middle)
            masks = net.masks_of(hidden[-1], pixel)
        pairs = {
            "logits": (logits[-1], want.pred_logits), "boxes": (corners(got_boxes[-1]), want.pred_boxes),
            "presence": (presence[-1], want.presence_logits.squeeze(-1)), "masks": (masks, want.pred_masks),
            "semantic": (semantic, want.semantic_seg.squeeze(1)),
        }
        for name, (a, b) in pairs.items():
            difference = (a - b).abs().max().item()
            print(f"boxes {with_boxes}  {name}: {difference:.2e} (values up to {b.abs().max():.2f})")
            assert difference < 1e-4


if __name__ == "__main__":
    main()
