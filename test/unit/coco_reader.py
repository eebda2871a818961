"""Reads COCO data sets with pycocotools and says what it understood:

    python coco_reader.py < data sets as JSON lines > one JSON line for each
"""
import contextlib
import io
import json
import sys

from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

for line in sys.stdin:
    coco = COCO()
    coco.dataset = json.loads(line)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        annotations = coco.loadAnns(coco.getAnnIds(iscrowd=False))
        detections = coco.loadRes([dict(annotation) for annotation in coco.dataset["annotations"]])
    print(
        json.dumps(
            {
                "images": [coco.imgs[i]["file_name"] for i in sorted(coco.getImgIds())],
                "categories": [category["name"] for category in coco.loadCats(coco.getCatIds())],
                "annotations": [
                    {
                        "bitmap": "".join(str(v) for v in coco.annToMask(annotation).flatten(order="C")),
                        "area": int(coco_mask.area(coco.annToRLE(annotation))),
                        "bbox": [float(v) for v in coco_mask.toBbox(coco.annToRLE(annotation))],
                        "image": coco.loadImgs(annotation["image_id"])[0]["file_name"],
                        "category": coco.loadCats(annotation["category_id"])[0]["name"],
                    }
                    for annotation in annotations
                ],
                "detections": len(detections.getAnnIds()),
            }
        )
    )
