"""Compare the training forwards with transformers' own on random pictures and prompts."""
import torch

from model import build_model
from network import TrainingForward, corners
from object_network import ObjectForward


def compare(pairs, label):
    """Print the largest difference of each pair of tensors; fails above 1e-4."""
    for name, (a, b) in pairs.items():
        difference = (a - b).abs().max().item()
        print(f"{label}  {name}: {difference:.2e} (values up to {b.abs().max():.2f})")
        assert difference < 1e-4


@torch.no_grad()
def check_objects(model):
    """Clicks, boxes and earlier masks, against Sam3TrackerVideoModel's prompt encoder and mask decoder."""
    net = ObjectForward(model.config, seed=5).eval()
    tracker = net.tracker_model
    fine, middle, coarse = net.features(torch.randn(3, net.grid**2, 128))
    points = torch.rand(3, 2, 2) * net.resolution
    mask = torch.randn(3, 1, 4 * net.grid, 4 * net.grid) * 5
    for labels, boxes, earlier in (([[1, 0]] * 3, None, None), ([[2, 3]] * 3, points.view(3, 1, 4), None), ([[1, 1]] * 3, None, mask)):
        labels = torch.tensor(labels)
        clicks = (points[:, None], labels[:, None]) if boxes is None else (None, None)
        sparse, dense = tracker.prompt_encoder(*clicks, boxes, earlier)
        want = tracker.mask_decoder(
            coarse, tracker.get_image_wide_positional_embeddings().repeat(3, 1, 1, 1), sparse, dense,
            multimask_output=True, high_resolution_features=[fine, middle],
        )
        masks, quality, score, _ = net((fine, middle, coarse), points, labels, earlier, None if earlier is None else torch.ones(3).bool())
        compare({
            "masks": (masks[:, 1:], want[0][:, 0]), "quality": (quality[:, 1:], want[1][:, 0]), "object score": (score, want[3][:, 0]),
        }, f"object prompt {labels[0].tolist()}{' after a mask' if earlier is not None else ''}")


def main(resolution=192):
    """Check both."""
    torch.manual_seed(1)
    model = build_model(resolution, seed=3).eval()
    check_objects(model)
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
        compare(pairs, f"boxes {with_boxes}")


if __name__ == "__main__":
    main()
