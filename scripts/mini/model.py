"""mini's configuration, its starting weights, and saving in the transformers layout."""
import json
import math
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from roi_align import ensure_torchvision
from tokenizer import CONTEXT_LENGTH, special_ids, write_tokenizer

ensure_torchvision()
from transformers import Sam3Config, Sam3Model  # noqa: E402

from object_network import ObjectForward, tracker_config  # noqa: E402

PATCH = 12
LICENCE = "Apache-2.0: trained from nothing by the sam3-node project, on scenes drawn by its own scripts."
GRID_QUERIES = 6
PLACE_FREQUENCIES = (0.5, 1.0, 2.0, 4.0)  # cycles over the picture


def mini_config(resolution=288):
    """Sam3Config of mini; resolution must be a multiple of PATCH.

    The window is the whole picture: at this size global attention is cheap, and rotary positions stay one per place.
    So does the learned position table cover it: with a small one, repeated, no feature told where in the picture it
    is, boxes stayed loose, and masks of like objects ran together.
    """
    grid = resolution // PATCH
    assert grid * PATCH == resolution
    ids = special_ids()
    width = 64
    block = {"hidden_size": width, "num_attention_heads": 4, "intermediate_size": 256, "dropout": 0.0}
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 6, "num_attention_heads": 4,
                "image_size": resolution, "patch_size": PATCH, "window_size": grid,
                "pretrain_image_size": resolution, "global_attn_indexes": [1, 3, 5],
            },
            "fpn_hidden_size": width,
            "backbone_feature_sizes": [[4 * grid, 4 * grid], [2 * grid, 2 * grid], [grid, grid]],
            "scale_factors": [4.0, 2.0, 1.0, 0.5],
        },
        text_config={
            "model_type": "clip_text_model", "vocab_size": ids["size"], "hidden_size": 64, "intermediate_size": 128,
            "projection_dim": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
            "max_position_embeddings": CONTEXT_LENGTH, "hidden_act": "gelu", "bos_token_id": ids["start"],
            "eos_token_id": ids["end"], "pad_token_id": ids["pad"],
        },
        geometry_encoder_config={**block, "num_layers": 1, "roi_size": 5},
        detr_encoder_config={**block, "num_layers": 3},
        detr_decoder_config={**block, "num_layers": 3, "num_queries": GRID_QUERIES**2},
        mask_decoder_config={"hidden_size": width, "num_attention_heads": 4, "num_upsampling_stages": 3},
    )


@torch.no_grad()
def look_near_the_box(embed):
    """Start a relative-position MLP so that attention falls off outside the query's box, differently per head."""
    embed.layer1.weight[:2] = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    embed.layer1.bias[:2] = 0
    embed.layer2.weight *= 0.3
    embed.layer2.weight[:, :2] = -torch.tensor([2.0, 5.0, 8.0, 12.0])[:, None]


# where each head of the first ViT layers looks at first, in places (x, y), and how sharply
HEAD_OFFSETS = {
    0: ([(-1, 0), (1, 0), (0, -1), (0, 1)], 5.0),
    1: ([(-1, -1), (1, -1), (-1, 1), (1, 1)], 5.0),
    2: ([(-2, 0), (2, 0), (0, -2), (0, 2)], 3.8),
    3: ([(-2, -2), (2, -2), (-2, 2), (2, 2)], 3.8),
    4: ([(0, 0), (0, 0), (0, 0), (0, 0)], 2.2),
}


@torch.no_grad()
def look_at_neighbours(backbone):
    """Start the ViT's attention like convolutions: each head of the first layers attends at a fixed offset.

    With rotary positions a constant query and a constant key (their biases) meet in sum_f cos(f * (distance -
    offset)): content-free, but learnable. Recognising shapes starts from it many times faster than from nothing.
    """
    frequencies = backbone.layers[0].rotary_emb.inv_freq
    for index, (offsets, sharpness) in HEAD_OFFSETS.items():
        attention = backbone.layers[index].attention
        attention.q_proj.weight *= 0.25
        attention.k_proj.weight *= 0.25
        query = attention.q_proj.bias.view(attention.num_attention_heads, 2, -1, 2)  # head, axis (x, y), frequency, pair
        key = attention.k_proj.bias.view(attention.num_attention_heads, 2, -1, 2)
        key.zero_()
        key[..., 0] = sharpness
        for head, offset in enumerate(offsets):
            for axis in (0, 1):
                angle = frequencies * offset[axis]
                query[head, axis, :, 0] = sharpness * angle.cos()
                query[head, axis, :, 1] = sharpness * angle.sin()


def place_code(points):
    """Sines and cosines of points (0 to 1) [..., 2] at PLACE_FREQUENCIES: [..., 16]."""
    angles = 2 * math.pi * points[..., None] * torch.tensor(PLACE_FREQUENCIES)
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)


@torch.no_grad()
def know_the_place(table, strength=1.2):
    """Add a code of each place's coordinates to the ViT's position table [1, g*g, C], in directions of its own."""
    grid = int(table.shape[1] ** 0.5)
    at = (torch.arange(grid) + 0.5) / grid
    y, x = torch.meshgrid(at, at, indexing="ij")
    code = place_code(torch.stack([x, y], -1).view(-1, 2))
    directions = torch.linalg.qr(torch.randn(table.shape[2], code.shape[1])).Q
    table += strength * code @ directions.T


def build_model(resolution=288, seed=0):
    """A Sam3Model with our starting weights: queries on a grid, small heads."""
    torch.manual_seed(seed)
    model = Sam3Model._from_config(mini_config(resolution), attn_implementation="sdpa")
    depth = {"vision_encoder": 6, "detr_encoder": 3, "detr_decoder": 3, "geometry_encoder": 1, "text_encoder": 2}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith(("o_proj", "out_proj", "fc2")):
                module.weight.data.mul_(1 / math.sqrt(2 * depth.get(name.split(".")[0], 2)))
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(3))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    look_at_neighbours(model.vision_encoder.backbone)
    know_the_place(model.vision_encoder.backbone.embeddings.position_embeddings)
    # Far enough apart to be seen beside what the box holds, or negative boxes are taken for positive ones.
    nn.init.normal_(model.geometry_encoder.label_embed.weight, std=0.7)
    decoder = model.detr_decoder
    nn.init.normal_(decoder.query_embed.weight, std=0.2)
    nn.init.normal_(decoder.presence_token.weight, std=0.2)
    decoder.box_head.layer3.weight.data.mul_(0.05)
    nn.init.zeros_(decoder.box_head.layer3.bias)
    look_near_the_box(decoder.box_rpb_embed_x)
    look_near_the_box(decoder.box_rpb_embed_y)
    for layer in model.detr_encoder.layers:  # a place attends to words it resembles, from the start
        layer.cross_attn.q_proj.weight.data.mul_(1.5)
        layer.cross_attn.k_proj.weight.data.copy_(layer.cross_attn.q_proj.weight)
    step = (torch.arange(GRID_QUERIES) + 0.5) / GRID_QUERIES
    y, x = torch.meshgrid(step, step, indexing="ij")
    size = torch.full_like(x, 0.15)
    decoder.reference_points.weight.data.copy_(torch.stack([x, y, size, size], -1).view(-1, 4).logit())
    embed = model.text_encoder.get_input_embeddings()
    nn.init.normal_(embed.weight, std=0.1)
    return model


def save_transformers(model, weights, folder, memory_trained=False):
    """Write config.json, model.safetensors and the tokenizer as `folder`, replacing it in one rename.

    The detector's weights have the names of Sam3Model, the tracker's stand beside them as `tracker_neck.` and
    `tracker_model.`, its configuration as `tracker_config`. memory_trained says whether objects can be followed
    through a video.
    """
    folder = Path(folder)
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file({k: v.detach().contiguous().clone() for k, v in weights.items()}, fresh / "model.safetensors", {"format": "pt"})
    config = {
        **model.config.to_dict(), "architectures": ["Sam3Model"], "tracker_config": tracker_config(model.config).to_dict(),
        "memory_trained": memory_trained, "licence": LICENCE,
    }
    (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_tokenizer(fresh, model.config.vision_config.backbone_config.image_size)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def load_transformers(folder):
    """What `save_transformers` wrote: (Sam3Model, ObjectForward), ready to be asked."""
    folder = Path(folder)
    model = Sam3Model._from_config(Sam3Config(**json.loads((folder / "config.json").read_text())), attn_implementation="sdpa")
    objects = ObjectForward(model.config)
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({k: v for k, v in weights.items() if not k.startswith("tracker_")})
    objects.load_state_dict({k: v for k, v in weights.items() if k.startswith("tracker_")})
    return model.eval(), objects.eval()


if __name__ == "__main__":
    import sys

    mini = build_model(int(sys.argv[2]) if len(sys.argv) > 2 else 288)
    objects = ObjectForward(mini.config)
    save_transformers(mini, {**mini.state_dict(), **objects.state_dict()}, sys.argv[1])
    for child, module in [*mini.named_children(), *objects.named_children()]:
        print(f"  {child} {sum(p.numel() for p in module.parameters())}")
