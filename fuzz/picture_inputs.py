"""Pictures in every format that OpenCV decodes, honest and hostile.

data = picture(random.Random(0))
"""

import functools
import struct
import zlib
from random import Random

import numpy as np
from mutate import Files, mutate

from fer_jax import faces

PNG = b"\x89PNG\r\n\x1a\n"

_SIZES = (0, 1, 2, 47, 48, 49, 4096, 8000, 8192, 16_383, 20_000, 30_000, 32_767, 65_500, 65_535)
_SIZES += (100_000, 2**31 - 1, 2**32 - 1)
_FORMATS = (".png", ".jpg", ".webp", ".tiff", ".bmp", ".jp2", ".avif", ".pgm", ".pbm", ".pfm")
_FORMATS += (".hdr", ".sr")


def picture_files(random: Random) -> Files:
    return {"picture": picture(random)}


def folder_files(random: Random) -> Files:
    """Return train/EMOTION/* and test/EMOTION/* with one odd picture or one odd name."""
    good = encoded(".png", 0)
    names = ("train/happy/Training_1.png", "test/happy/PublicTest_2.png")
    files = dict.fromkeys((*names, "test/happy/PrivateTest_3.png"), good)
    if random.random() < 0.3:
        return files | {_odd_path(random): good}
    small = random.choice((_png, _odd_png, _odd_jpeg, picture))(random)
    part = random.choice(("train", "test"))
    return files | {f"{part}/sad/PublicTest_9{random.choice(('.png', '.jpg', '.JPEG'))}": small}


def _odd_path(random: Random) -> str:
    folders = ("train/happy", "train/Happy ", "test/happy", "train/contempt", "train/a\nb")
    names = ("x.png", "PublicTest_1.png", "PublicTest.png", "9" * 200 + ".png", ".png", "x.gif")
    odd = ("x.png/y.png", "\n.png", "\udcff.png", "٣.png", "²³.png")
    folder = random.choice((*folders, "train/\x1b[2J", "train"))
    return f"{folder}/{random.choice((*names, *odd))}"


def picture(random: Random) -> bytes:
    """Return one: half of them well formed but rare or too large, half damaged."""
    odd = (_png, *[_odd_png] * 2, *[_odd_jpeg] * 2, _gif, _claiming)
    return random.choice((*odd, *[_damaged] * 3))(random)


def _damaged(random: Random) -> bytes:
    data = encoded(random.choice(_FORMATS), random.randrange(3))
    return mutate(random, random.choice((data, data, _png(random), _gif(random))))


@functools.cache
def encoded(end: str, kind: int) -> bytes:
    """Return a 48x48 picture in the format of that file ending.

    `kind` 0 is grey, 1 colour, 2 deep or transparent.
    """
    cv2 = faces.opencv()
    noise = np.arange(48 * 48 * 4, dtype=np.uint32).reshape(48, 48, 4) * 2_654_435_761 >> 26
    image, settings = noise[..., : (1, 3, 4)[kind]].astype(np.uint8), []
    if end in (".pfm", ".hdr"):
        image = noise[..., :3].astype(np.float32)
    elif end in (".pgm", ".pbm"):
        image = image[..., 0]
    elif end in (".jpg", ".sr"):
        image = image[..., :3]
    elif end in (".png", ".tiff", ".jp2") and kind == 2:
        image = image.astype(np.uint16)
    if end == ".jpg":
        settings = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(kind == 2)]
    return cv2.imencode(end, image, settings)[1].tobytes()


# PNG: signature, then chunks of length, name, content, checksum

Chunks = list[tuple[bytes, bytes]]


def png_bytes(chunks: Chunks) -> bytes:
    """Return a PNG file of chunks (name, content), with right lengths and checksums."""
    data = PNG
    for name, content in chunks:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        data += struct.pack(">I", len(content)) + name + content + checksum
    return data


def _png_chunks(random: Random) -> Chunks:
    """The chunks of a good file of any colour type and depth, often with one that is rare."""
    # By colour type: the depths, and the channels.
    kinds = {0: ((1, 2, 4, 8, 16), 1), 2: ((8, 16), 3), 3: ((1, 2, 4, 8), 1)}
    kinds |= {4: ((8, 16), 2), 6: ((8, 16), 4)}
    colour, (depths, channels) = random.choice(list(kinds.items()))
    depth, interlaced = random.choice(depths), random.choice((0, 0, 1))
    row = b"\0" + bytes(-(-48 * depth * channels // 8))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 48, 48, depth, colour, 0, 0, interlaced))]
    if colour == 3 or random.random() < 0.1:
        chunks.append((b"PLTE", bytes(range(48)) * random.choice((1, 5, 16))))
    if random.random() < 0.3:
        chunks.append(random.choice(_ANCILLARY))
    return [*chunks, (b"IDAT", zlib.compress(row * (60 if interlaced else 48))), (b"IEND", b"")]


def _png(random: Random) -> bytes:
    return png_bytes(_png_chunks(random))


_ANCILLARY = (
    (b"tRNS", b"\0\1"),
    (b"gAMA", b"\0\0\0\0"),
    (b"acTL", struct.pack(">II", 2**31 - 1, 0)),
    (b"acTL", struct.pack(">II", 3, 0)),
    (b"eXIf", b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x112, 3, 1, 6, 0)),
    (b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24), 9)),
    (b"iCCP", b"a\0\0" + zlib.compress(bytes(2**24), 9)),
    (b"tEXt", b"a\0" + b"x" * 2**16),
)


def _odd_png(random: Random) -> bytes:
    """Chunks with right checksums but wrong content, or in a wrong order."""
    chunks = _png_chunks(random)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(chunks))
        name, content = chunks[at]
        sizes = struct.pack(">II", random.choice(_SIZES), random.choice(_SIZES))
        change = random.choice(("size", "size", "content", "drop", "repeat", "bomb", "frame"))
        if change == "size":
            chunks[0] = (b"IHDR", sizes + chunks[0][1][8:])
        elif change == "content":
            chunks[at] = (name, mutate(random, content))
        elif change == "drop" and len(chunks) > 1:
            chunks.pop(at)
        elif change == "repeat":
            chunks[at:at] = [chunks[at]] * random.choice((1, 2, 500))
        elif change == "bomb":
            chunks[at:at] = [(b"IDAT", _zeros(random.choice((2**20, 2**26))))]
        elif change == "frame":  # of an animation
            frame = sizes + struct.pack(">IIHHBB", 0, 0, 1, 1, 0, 0)
            count = struct.pack(">II", random.choice((1, 2, 10**6)), 0)
            chunks[1:1] = [(b"acTL", count), (b"fcTL", bytes(4) + frame)]
            pixels = b"\0\0\0\2" + zlib.compress(bytes(2**16))
            chunks[-1:-1] = [(b"fcTL", b"\0\0\0\1" + frame), (b"fdAT", pixels)]
    return png_bytes(chunks)


@functools.cache
def _zeros(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


# JPEG: segments of marker, length and content, each scan's coded data behind its header


def _odd_jpeg(random: Random) -> bytes:
    """Segments of a good file with other sizes, other orders, many scans, or metadata that lie."""
    segments = list(jpeg_segments(random.choice((0, 1, 2))))
    for _ in range(random.randint(1, 3)):
        at = random.randrange(1, len(segments))
        kinds = ("size", "size", "content", "drop", "repeat", "scans", "exif", "stray")
        change = random.choice(kinds)
        if change == "size":
            sizes = [random.choice(_SIZES) % 2**16 for _ in range(2)]
            segments = [resized(segment, *sizes) for segment in segments]
        elif change == "content":
            segments[at] = segments[at][:2] + mutate(random, segments[at][2:])
        elif change == "drop" and len(segments) > 2:
            segments.pop(at)
        elif change == "repeat":
            segments[at:at] = [segments[at]] * random.choice((1, 2, 50))
        elif change == "scans":
            scans = [segment for segment in segments if segment[1:2] == b"\xda"]
            segments[-1:-1] = scans * random.choice((1, 5, 400))
        elif change == "exif":
            segments[1:1] = [_exif(random)]
        else:
            stray = (b"\xff", b"\xff\xd0", b"\xff\xd8", b"\xff\xd9", b"\0\0", b"\xff\x01")
            segments[at:at] = [random.choice(stray)]
    return b"".join(segments)


def _exif(random: Random) -> bytes:
    """An orientation, or what lies about its type, its count and where it is."""
    entry = (random.choice((3, 4, 255)), random.choice((0, 1, 2**32 - 1)), random.randrange(10), 0)
    start, count = random.choice((8, 0, 2**32 - 1)), random.choice((1, 9999))
    content = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHH", start, count, 0x112, *entry)
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def resized(segment: bytes, height: int, width: int) -> bytes:
    """Return a JPEG's segment with another size, if it is the start of a frame."""
    if segment[1:2] not in (b"\xc0", b"\xc2"):
        return segment
    return segment[:5] + struct.pack(">HH", height, width) + segment[9:]


@functools.cache
def jpeg_segments(kind: int) -> tuple[bytes, ...]:
    """Return the segments of a good JPEG; `kind` as in `encoded`, of which 2 is progressive."""
    data, segments, at = encoded(".jpg", kind), [b"\xff\xd8"], 2
    while at < len(data):
        length = int.from_bytes(data[at + 2 : at + 4], "big") if data[at + 1] != 0xD9 else 0
        end = at + 2 + length
        if data[at + 1] == 0xDA:  # its coded data end at the next marker
            while data[end] != 0xFF or data[end + 1] == 0:
                end += 1
        segments.append(data[at:end])
        at = end
    return tuple(segments)


# The others


def _gif(random: Random) -> bytes:
    """A screen and a frame of any size, a few pixels of data."""
    screen, frame = ([random.choice(_SIZES) % 2**16 for _ in range(2)] for _ in range(2))
    flags = random.choice((0x80, 0xF0, 0))
    palette = bytes(3 * 2 ** ((flags & 7) + 1) if flags else 0)
    header = b"GIF89a" + struct.pack("<HHBBB", *screen, flags, 0, 0) + palette
    image = b"," + struct.pack("<HHHHB", 0, 0, *frame, random.choice((0, 0x40))) + b"\2\2\x4c\1\0"
    return header + image * random.choice((1, 1, 2, 2000)) + b";"


def _claiming(random: Random) -> bytes:
    """A few bytes that claim to be a picture of any size."""
    width, height = random.choice(_SIZES), random.choice(_SIZES)
    kind = random.choice(("webp", "bmp", "sun", "text"))
    if kind == "webp":
        bits = 0x2F | (min(width, 16_383) << 8) | (min(height, 16_383) << 22)
        lossless = struct.pack("<Q", bits)[:5] + bytes(8)
        riff = b"WEBPVP8L" + struct.pack("<I", len(lossless)) + lossless + b"\0"
        data = b"RIFF" + struct.pack("<I", len(riff)) + riff
    elif kind == "bmp":
        size = (min(width, 2**31 - 1), min(height, 2**31 - 1))
        form = (1, random.choice((1, 4, 8, 24, 32)), random.choice((0, 1, 2, 3)), 0, 0, 0)
        colours = random.choice((0, 2**31 - 1))
        data = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
        data += struct.pack("<IiiHHIIiiII", 40, *size, *form, colours, 0)
    elif kind == "sun":
        depth, packing = random.choice((1, 8, 24)), random.choice((0, 1, 2))
        data = struct.pack(">8I", 0x59A66A95, width, height, depth, 0, packing, 0, 0)
    else:  # PBM, PGM, PPM, PAM, PFM and Radiance HDR
        size, depth = f"WIDTH {width}\nHEIGHT {height}", random.choice((1, 4, 99999))
        heads = (
            f"P{random.randint(1, 6)}\n{width} {height}\n{random.choice((1, 255, 65535))}",
            f"P7\n{size}\nDEPTH {depth}\nMAXVAL 255\nENDHDR",
            f"P{random.choice('fF')}\n{width} {height}\n-1.0",
            f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}",
        )
        data = random.choice(heads).encode() + b"\n"
    return data + bytes(64)
