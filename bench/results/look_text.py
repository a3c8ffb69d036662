"""What a look at a data set says, in words: facts for the terminal and for the page. No torch."""

from collections.abc import Mapping, Sequence

from bench.results.look import DataLook, FileLook, PartLook

UPRIGHT = "1"  # EXIF's number
MOST_KINDS = 4  # formats or modes that are named; the rest is counted
PARTS = {"train": "training", "test": "test"}
WITHIN = {"train": "within training", "test": "within the test set"}


def describe_look(look: DataLook) -> list[tuple[str, str]]:
    """Return what is in a data set, a fact with its name a row."""
    parts = {"train": look.train, "test": look.test}
    images = [f"{part.num_images:,} {PARTS[name]}" for name, part in parts.items()]
    facts = [("Images", ", ".join(images)), ("Classes", _describe_classes(look))]
    facts += _describe_files(look.files) if look.files else [("Sizes", _describe_arrays(look))]
    facts += [("Exact doubles", _describe_doubles(look, exact=True))]
    facts += [("Near doubles", _describe_near(look))]
    facts += [("Two labels", _describe_labels(look))]
    if look.num_dropped:
        facts.append(
            ("Left out", f"{_images(look.num_dropped)} that show the same as a test image")
        )
    num_plain = sum(part.num_plain for part in parts.values())
    if num_plain:
        facts += [("Of one colour", f"{_images(num_plain)}; only equal ones count as doubles")]
    return facts


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _describe_classes(look: DataLook) -> str:
    counts = look.train.class_counts
    text = f"{len(counts):,}"
    if not counts:
        return text
    spreads = []
    for name, part in (("train", look.train), ("test", look.test)):
        spreads.append(f"{_spread(part, look.class_names)} {PARTS[name]} images of each")
    return f"{text}; {', '.join(spreads)}"


def _spread(part: PartLook, names: Sequence[str]) -> str:
    """Say how many images the classes have: `500`, or `570 (daisy) to 719 (tulips)`."""
    counts = part.class_counts
    low, high = min(counts), max(counts)
    if low == high:
        return f"{low:,}"
    least, most = names[counts.index(low)], names[counts.index(high)]
    return f"{low:,} ({least}) to {high:,} ({most})"


def _describe_arrays(look: DataLook) -> str:
    colours = {1: "grey", 3: "RGB"}[look.channels]
    return f"all {look.size} x {look.size} px, {colours}"


def _describe_files(files: FileLook) -> list[tuple[str, str]]:
    low, middle, high = (
        f"{width} x {height}" for width, height in (files.smallest, files.median, files.largest)
    )
    sizes = f"{low} to {high} px, half of them up to {middle}"
    if low == high:
        sizes = f"all {low} px"
    if files.num_strips:
        sizes += f"; {files.num_strips:,} far longer than wide, of which only the middle is seen"
    num_turned = sum(count for number, count in files.orientations.items() if number != UPRIGHT)
    turned = f"{_images(num_turned)} not upright by EXIF; turned when read"
    facts = [
        ("Sizes", sizes),
        ("Modes", f"{_count_kinds(files.modes)}; {_count_kinds(files.formats)}"),
        ("Orientation", turned if num_turned else "all upright"),
    ]
    if files.unreadable:
        name, reason = files.unreadable[0]
        more = f" and {len(files.unreadable) - 1:,} more" if len(files.unreadable) > 1 else ""
        facts.append(("Unreadable", f"{name} ({reason}){more}"))
    return facts


def _count_kinds(counts: Mapping[str, int]) -> str:
    named = [f"{kind} {count:,}" for kind, count in list(counts.items())[:MOST_KINDS]]
    if len(counts) > MOST_KINDS:
        named.append(f"{len(counts) - MOST_KINDS} more kinds")
    return ", ".join(named) or "none"


def _describe_near(look: DataLook) -> str:
    if not look.near:
        return "not looked for among so many images"
    if look.is_of_one_kind:
        return (
            f"not told: {look.num_alike:,} training images look nearly the same as another one, as "
            "digits, clothes or frames of a film do"
        )
    return _describe_doubles(look, exact=False)


def _describe_doubles(look: DataLook, *, exact: bool) -> str:
    """Say how many images have a double, across the parts first: that is what leaks."""
    leaked = look.across.count_images(exact=exact, ends="first")
    texts = []
    if leaked and look.test.num_images:
        share = 100 * leaked / look.test.num_images
        texts.append(f"{leaked:,} test images have one in training ({share:.1f} %)")
    for name, part in (("train", look.train), ("test", look.test)):
        inside = part.pairs.count_images(exact=exact)
        if inside:
            texts.append(f"{inside:,} {PARTS[name]} images have one {WITHIN[name]}")
    return "; ".join(texts) or "none"


def _describe_labels(look: DataLook) -> str:
    kinds = (True, "the same picture"), (False, "nearly the same")
    texts = []
    for exact, words in kinds[: 1 if look.is_of_one_kind else 2]:
        num_pairs = sum(
            pairs.count(exact=exact, other_class=True)
            for pairs in (look.across, look.train.pairs, look.test.pairs)
        )
        if num_pairs:
            texts.append(f"{num_pairs:,} pair{'' if num_pairs == 1 else 's'} of {words}")
    return ", ".join(texts) or "none"
