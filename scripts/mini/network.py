"""A training forward of Sam3Model: its own weights, used layer by layer, with what inference does not need left out.

Pictures are encoded once and shared by all their prompts, attention masks are built once, the FPN level the
model drops is not computed, and the mask decoder runs on chosen pairs and matched queries only. The numbers are
those of Sam3Model.forward (`check_forward.py` compares them).
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

from roi_align import roi_align


def pixel_tensor(pixels):
    """uint8 array of pixels as the float tensor the network wants, -1 to 1: mean and deviation of 0.5 (tokenizer_config.json)."""
    return torch.from_numpy(pixels).float().div_(127.5).sub_(1)


def coverage_tensor(masks):
    """uint8 array of coverage as a float tensor, 0 to 1."""
    return torch.from_numpy(masks).float().div_(255)


def inverse_sigmoid(x, eps=1e-3):
    """As transformers does it."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def corners(boxes):
    """Centre boxes to corner boxes."""
    c, s = boxes[..., :2], boxes[..., 2:]
    return torch.cat([c - s / 2, c + s / 2], -1)


def split_heads(x, heads):
    """[B, L, C] to [B, heads, L, C / heads]."""
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def attend(layer, query, key, value, mask=None):
    """Sam3Attention without its interface layers."""
    heads = layer.num_attention_heads
    out = F.scaled_dot_product_attention(
        split_heads(layer.q_proj(query), heads), split_heads(layer.k_proj(key), heads),
        split_heads(layer.v_proj(value), heads), attn_mask=mask,
    )
    return layer.o_proj(out.transpose(1, 2).flatten(2))


def mlp(layer, x):
    """Sam3MLP."""
    return layer.fc2(layer.activation_fn(layer.fc1(x)))


class TrainingForward(nn.Module):
    """The model's parts as functions on tensors; fixed shapes, so that they can be compiled."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        backbone = model.vision_encoder.backbone
        self.patch = backbone.config.patch_size
        self.grid = backbone.config.image_size // self.patch
        self.window = backbone.config.window_size
        rope = []
        for layer in backbone.layers:
            cos, sin = layer.rotary_emb(torch.zeros(1), layer.position_ids)
            rope.append((cos, sin))
        self.rope = rope
        neck = model.vision_encoder.neck
        c = neck.config.fpn_hidden_size
        self.pos = neck.position_encoding(torch.Size([1, c, self.grid, self.grid]), "cpu", torch.float32)
        self.pos = self.pos.flatten(2).transpose(1, 2).contiguous().clone()
        self.coords = torch.arange(self.grid, dtype=torch.float32) / self.grid

    # ------------------------------------------------------------ picture

    def rope_attention(self, layer, x, cos, sin):
        """Windowed or global attention with rotary positions on [B, L, C]."""
        a = layer.attention
        b, length, c = x.shape
        weight = torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight])
        bias = torch.cat([a.q_proj.bias, a.k_proj.bias, a.v_proj.bias])
        qkv = F.linear(x, weight, bias).view(b, length, 3, a.num_attention_heads, -1).permute(2, 0, 3, 1, 4)
        qk, v = qkv[:2], qkv[2]
        pairs = qk.unflatten(-1, (-1, 2))
        turned = torch.stack((-pairs[..., 1], pairs[..., 0]), -1).flatten(-2)
        qk = qk * cos + turned * sin
        out = F.scaled_dot_product_attention(qk[0], qk[1], v)
        return a.o_proj(out.transpose(1, 2).flatten(2))

    def backbone(self, pixels):
        """Normalised pixels to ViT tokens [B, grid*grid, C]."""
        vit = self.model.vision_encoder.backbone
        b, g, p, w = pixels.shape[0], self.grid, self.patch, self.window
        n, t = g // w, int(vit.embeddings.position_embeddings.shape[1] ** 0.5)
        patches = pixels.view(b, 3, g, p, g, p).permute(0, 2, 4, 1, 3, 5).reshape(b, g * g, 3 * p * p)
        x = F.linear(patches, vit.embeddings.patch_embeddings.projection.weight.flatten(1))
        tile = vit.embeddings.position_embeddings.view(1, 1, t, 1, t, -1).expand(1, g // t, t, g // t, t, -1)
        x = vit.layer_norm(x + tile.reshape(1, g * g, -1))
        for layer, (cos, sin) in zip(vit.layers, self.rope):
            h = layer.layer_norm1(x)
            if layer.window_size > 0 and n > 1:
                h = h.view(b, n, w, n, w, -1).transpose(2, 3).reshape(b * n * n, w * w, -1)
                h = self.rope_attention(layer, h, cos, sin)
                h = h.view(b, n, n, w, w, -1).transpose(2, 3).reshape(b, g * g, -1)
            else:
                h = self.rope_attention(layer, h, cos, sin)
            x = x + h
            x = x + mlp(layer.mlp, layer.layer_norm2(x))
        return x

    def neck(self, tokens, levels=(0, 1, 2)):
        """ViT tokens to the three FPN maps the detector uses (4x, 2x, 1x); those not asked for are None."""
        x = tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        layers = self.model.vision_encoder.neck.fpn_layers[:3]
        return [layer(x) if i in levels else None for i, layer in enumerate(layers)]

    # ------------------------------------------------------------ prompts

    def text(self, ids, mask):
        """Token ids to prompt features."""
        out = self.model.text_encoder(input_ids=ids, attention_mask=mask.long())
        return self.model.text_projection(out.last_hidden_state)

    def geometry(self, boxes, box_mask, labels, features):
        """Boxes [R, N, 4] on maps [R, C, g, g] to tokens [R, N + 1, C], the CLS token last, and their mask."""
        enc = self.model.geometry_encoder
        rows, n = boxes.shape[:2]
        flat = features.flatten(2).transpose(1, 2)
        x = enc.cls_embed.weight[None].expand(rows, 1, -1)
        if n:
            normal = enc.vision_layer_norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            pooled = enc.boxes_pool_project(roi_align(normal, (corners(boxes) * self.grid).unbind(0), enc.roi_size))
            cx, cy, bw, bh = boxes.flatten(0, 1).unbind(-1)
            where = enc.boxes_pos_enc_project(enc._encode_box_coordinates(cx, cy, bw, bh))
            made = enc.boxes_direct_project(boxes) + (pooled.flatten(1) + where).view(rows, n, -1)
            x = torch.cat([made + enc.label_embed(labels), x], 1)
        mask = torch.cat([box_mask, box_mask.new_ones(rows, 1)], 1)
        x = enc.prompt_layer_norm(enc.final_proj(x))
        key = flat + self.pos
        for layer in enc.layers:
            h = layer.layer_norm1(x)
            x = x + attend(layer.self_attn, h, h, h, mask[:, None, None, :])
            x = x + attend(layer.cross_attn, layer.layer_norm2(x), key, flat)
            x = x + mlp(layer.mlp, layer.layer_norm3(x))
        return enc.output_layer_norm(x), mask

    # ------------------------------------------------------------ detection

    def encode(self, tokens, prompt, mask, keep=None):
        """DETR encoder: tokens [P, g*g, C], prompt [P, T, C], mask bool [P, 1, 1, T].

        With keep [P, K], tokens are [P, K, C], those of these places only.
        """
        x, pos = tokens, self.positions(keep)
        for layer in self.model.detr_encoder.layers:
            h = layer.layer_norm1(x)
            at = h + pos
            x = x + attend(layer.self_attn, at, at, h)
            x = x + attend(layer.cross_attn, layer.layer_norm2(x), prompt, prompt, mask)
            x = x + mlp(layer.mlp, layer.layer_norm3(x))
        return x

    def positions(self, keep):
        """Position encodings of all places [1, g*g, C], or of the kept ones [P, K, C]."""
        return self.pos if keep is None else self.pos[0][keep]

    def box_bias(self, boxes, keep=None):
        """Relative position bias [P, heads, Q + 1, g*g or K]; zero for the presence token."""
        d = self.model.detr_decoder
        xyxy = corners(boxes)

        def side(a, b, embed):
            delta = (self.coords[None, None, :, None] - torch.stack([a, b], -1)[:, :, None, :]) * 8
            delta = torch.sign(delta) * torch.log2(delta.abs() + 1) / 3
            return embed(delta)

        x = side(xyxy[..., 0], xyxy[..., 2], d.box_rpb_embed_x)
        y = side(xyxy[..., 1], xyxy[..., 3], d.box_rpb_embed_y)
        x, y = x.permute(0, 3, 1, 2), y.permute(0, 3, 1, 2)
        if keep is None:
            bias = (y[..., :, None] + x[..., None, :]).flatten(3)
        else:
            at = keep[:, None, None].expand(-1, *x.shape[1:3], -1)
            bias = y.gather(3, at // self.grid) + x.gather(3, at % self.grid)
        return F.pad(bias, (0, 0, 1, 0))

    def decode(self, memory, prompt, mask, keep=None):
        """DETR decoder and scoring: hidden, boxes, logits, presence, each stacked over the layers."""
        d = self.model.detr_decoder
        n = memory.shape[0]
        reference = d.reference_points.weight[None].expand(n, -1, -1).sigmoid()
        x = torch.cat([d.presence_token.weight, d.query_embed.weight])[None].expand(n, -1, -1)
        key = memory + self.positions(keep)
        hidden, boxes, presence = [], [], []
        for layer in d.layers:
            where = F.pad(d.ref_point_head(d.position_encoding.encode_boxes(reference)), (0, 0, 1, 0))
            bias = self.box_bias(reference, keep)
            at = x + where
            x = layer.self_attn_layer_norm(x + attend(layer.self_attn, at, at, x))
            x = layer.text_cross_attn_layer_norm(x + attend(layer.text_cross_attn, x + where, prompt, prompt, mask))
            x = layer.vision_cross_attn_layer_norm(x + attend(layer.vision_cross_attn, x + where, key, memory, bias))
            x = layer.mlp_layer_norm(x + mlp(layer.mlp, x))
            out = d.output_layer_norm(x[:, 1:])
            box = (d.box_head(out) + inverse_sigmoid(reference)).sigmoid()
            reference = box.detach()
            hidden.append(out)
            boxes.append(box)
            presence.append(d.presence_head(d.presence_layer_norm(x[:, 0])).squeeze(-1).clamp(-10, 10))
        hidden = torch.stack(hidden)
        s = self.model.dot_product_scoring
        t = s.text_mlp_out_norm(s.text_mlp(prompt) + prompt)
        valid = mask[:, 0, 0, :, None].to(t.dtype)
        pooled = s.text_proj((t * valid).sum(1) / valid.sum(1).clamp(min=1))
        logits = (torch.einsum("lpqc,pc->lpq", s.query_proj(hidden), pooled) * s.scale).clamp(-12, 12)
        return hidden, torch.stack(boxes), logits, torch.stack(presence)

    # ------------------------------------------------------------ masks

    def pixels_of(self, memory, prompt, mask, fine, middle):
        """Pixel features [K, C, 4g, 4g] and the semantic logits [K, 4g, 4g] of chosen pairs."""
        m = self.model.mask_decoder
        x = memory + attend(m.prompt_cross_attn, m.prompt_cross_attn_norm(memory), prompt, prompt, mask)
        x = x.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        for feature, conv, norm in zip([middle, fine], m.pixel_decoder.conv_layers, m.pixel_decoder.norms):
            x = F.relu(norm(conv(F.interpolate(x, scale_factor=2, mode="nearest") + feature)))
        return x, m.semantic_projection(x).squeeze(1)

    def masks_of(self, queries, pixel):
        """Mask logits [K, G, 4g, 4g] of queries [K, G, C]; the 1x1 instance projection is folded into the queries."""
        m = self.model.mask_decoder
        e = m.mask_embedder(queries)
        weight, bias = m.instance_projection.weight.flatten(1), m.instance_projection.bias
        out = torch.bmm(e @ weight, pixel.flatten(2)) + (e @ bias)[..., None]
        return out.unflatten(2, pixel.shape[-2:])


class Helpers(nn.Module):
    """Heads used in training only: what each place shows, for direct supervision."""

    def __init__(self, vit=128, width=64, kinds=14):
        super().__init__()
        self.vit_kinds = nn.Linear(vit, kinds)
        self.fpn_kinds = nn.Linear(width, kinds)
        self.fpn_boxes = nn.Linear(width, 4)
        self.fine = nn.Conv2d(width, 2, 1)
        self.prompt_cover = nn.Linear(width, 1)
        self.vit_norm = nn.LayerNorm(vit)
        self.fpn_norm = nn.LayerNorm(width)
        self.memory_norm = nn.LayerNorm(width)
        self.vit_names = nn.Linear(vit, kinds)
        self.fpn_names = nn.Linear(width, kinds)
        self.vit_local = nn.Linear(vit, 64)
        self.box_names = nn.Linear(width, kinds)
        self.fpn_place = nn.Linear(width, 16)
        self.memory_place = nn.Linear(width, 16)
        self.object_cover = nn.Linear(width, 1)
        self.pixel_place = nn.Linear(width, 16)
        self.box_label = nn.Linear(width, 1)
        self.looks = nn.Linear(width, 40)
        self.looks_bias = nn.Parameter(torch.tensor(1.0))
        self.word_scale = nn.Parameter(torch.tensor(0.125))
        self.word_bias = nn.Parameter(torch.tensor(-3.0))
        for layer in (self.vit_kinds, self.fpn_kinds, self.prompt_cover, self.object_cover):
            nn.init.normal_(layer.weight, std=0.05)
            nn.init.constant_(layer.bias, -math.log(19))
