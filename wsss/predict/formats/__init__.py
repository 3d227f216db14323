"""Masks in the formats of other programs: COCO's JSON, LabelMe, CVAT."""

from wsss.predict.formats.coco import write_coco
from wsss.predict.formats.cvat import write_cvat
from wsss.predict.formats.item import Item
from wsss.predict.formats.labelme import write_labelme

__all__ = ["Item", "write_coco", "write_cvat", "write_labelme"]
