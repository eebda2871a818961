"""The words mini knows, and words it does not know (used as absent concepts)."""

SHAPES = ["circle", "square", "triangle", "star", "cross", "ring"]
COLOURS = ["red", "green", "blue", "yellow", "purple", "orange", "white", "cyan"]
BOX_ONLY_TEXT = "visual"


def plural(noun):
    """Plural of one of our nouns."""
    return noun + ("es" if noun == "cross" else "s")


KNOWN_WORDS = SHAPES + [plural(s) for s in SHAPES] + COLOURS + ["shape", "shapes", BOX_ONLY_TEXT]

UNKNOWN_WORDS = """
dog cat car bus truck person people man woman child tree house bird fish horse cow sheep bear zebra bicycle
motorcycle airplane train boat bench umbrella bag tie ball kite bat glove bottle glass cup fork knife spoon bowl
banana apple sandwich carrot pizza cake chair couch plant bed table toilet tv laptop mouse keyboard phone oven
sink fridge book clock vase scissors bear brush flower leaf cloud sun moon mountain river road street sign light
window door wall roof floor box hat shoe shirt hand face eye nose mouth hair elephant giraffe lion tiger monkey
snake frog duck chicken pig rabbit wheel tyre engine ship rocket robot toy doll guitar piano drum violin camera
lamp mirror pillow blanket towel soap bucket ladder hammer nail screw wrench saw drill rope chain key lock coin
stone rock sand grass snow ice fire water smoke butterfly bee ant spider worm snail lemon grape cherry peach pear
melon tomato potato onion corn bread cheese egg meat soup coffee tea milk juice wine beer text letter number word
player goal net racket ski board helmet vest uniform coat dress skirt sock jeans belt ring-tailed start string
sting stair cart circuit circus trial tangle rectangle-shaped squirrel squad crossing spring king wing sing
""".split()
