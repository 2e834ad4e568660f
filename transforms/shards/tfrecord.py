"""Images in a TFRecord file, each in a ``tf.train.Example``. TensorFlow itself is not imported."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

from transforms.errors import Corrupt, TooManyBytes
from transforms.member_uris import Kind
from transforms.shards.container import Member, ShardOptions
from transforms.shards.source import Source

_HEADER = 12  # bytes: the length and its checksum
_FOOTER = 4  # bytes: the checksum of the data
_OTHER_FEATURES = 1 << 20  # bytes of a record beside its image


class TfrecordShard:
    """``Container`` for a TFRecord file."""

    kind: Kind = "tfrecord"

    def __init__(self, source: Source, options: ShardOptions) -> None:
        self.others = 0
        self._source = source
        self._options = options

    def members(self) -> Iterator[Member]:
        """See ``Container.members``. Each record is read, because its features decide whether it is an image."""
        place = number = 0
        source = self._source
        while header := source.read_at(place, _HEADER):
            length = length_of(header)
            if length is None:
                short = "the file ends within the length of" if len(header) < _HEADER else "there is a wrong length for"
                raise source.broken(f"{short} record {number:,}", place)
            end = place + _HEADER + length + _FOOTER
            if end > source.size:
                raise source.broken(
                    f"the file ends within record {number:,}, which starts at byte {place:,}", source.size
                )
            yield self._member(number, _Place(place + _HEADER, length))
            place, number = end, number + 1
        source.check_end()

    def read(self, member: Member) -> bytes:
        """See ``Container.read``."""
        image = self._image(self._data(member.name, member.place))
        if isinstance(image, str):
            raise Corrupt(f"record {member.name} {image}")
        if len(image) > self._options.max_bytes:
            raise self._too_many(member.name, len(image))
        return image

    def close(self) -> None:
        """See ``Container.close``."""
        self._source.close()

    def _member(self, number: int, place: _Place) -> Member:
        name = str(number)
        try:
            image = self._image(self._data(name, place))
        except (Corrupt, TooManyBytes):  # ``read`` raises it again
            return Member(name, None, place)
        return Member(name, None, place, image) if isinstance(image, str) else Member(name, len(image), place)

    def _data(self, name: str, place: _Place) -> bytes:
        if place.length > self._options.max_bytes + _OTHER_FEATURES:
            raise self._too_many(name, place.length)
        data = self._source.read_at(place.start, place.length + _FOOTER)
        data, footer = data[: place.length], data[place.length :]
        if footer != _masked_crc(data):
            raise Corrupt(f"record {name} does not match its checksum; create the file again")
        return data

    def _image(self, data: bytes) -> bytes | str:
        """Return the bytes of the image, or why there are none."""
        wanted = self._options.image_feature
        try:
            features = _Example.FromString(data).features.feature
        except DecodeError:
            return "is not a tf.train.Example; write the images as Examples"
        if wanted not in features:
            names = ", ".join(map(ascii, sorted(features)[:20]))[:1000] or "none"
            return f"has no feature {wanted!r}; its features are {names}; pass one with --image-feature"
        kind = features[wanted].WhichOneof("kind")
        values = features[wanted].bytes_list.value
        if kind != "bytes_list" or len(values) != 1:
            content = f"{len(values):,} values" if kind == "bytes_list" else f"{kind or 'nothing'}"
            return f"has {content} in the feature {wanted!r}, not one image; pass another with --image-feature"
        image: bytes = values[0]
        return image

    def _too_many(self, name: str, size: int) -> TooManyBytes:
        return TooManyBytes(f"record {name} has {size:,} bytes, more than --max-bytes {self._options.max_bytes:,}")


class _Place(NamedTuple):
    start: int
    length: int


def length_of(header: bytes) -> int | None:
    """Return the length of a record from its first 12 bytes. None if the checksum is wrong."""
    if len(header) < _HEADER or _masked_crc(header[:8]) != header[8:]:
        return None
    length: int = struct.unpack("<Q", header[:8])[0]
    return length


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


# As TensorFlow defines tf.train.Example. It registers its own in the default pool.
_PROTO = """
    name: "shards/example.proto" package: "shards" syntax: "proto3"
    message_type { name: "BytesList"
        field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
    message_type { name: "FloatList"
        field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
    message_type { name: "Int64List"
        field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
    message_type { name: "Feature"
        oneof_decl { name: "kind" }
        field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".shards.BytesList" oneof_index: 0 }
        field { name: "float_list" number: 2 type: TYPE_MESSAGE type_name: ".shards.FloatList" oneof_index: 0 }
        field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".shards.Int64List" oneof_index: 0 } }
    message_type { name: "Features"
        field { name: "feature" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE
                type_name: ".shards.Features.FeatureEntry" }
        nested_type { name: "FeatureEntry" options { map_entry: true }
            field { name: "key" number: 1 type: TYPE_STRING }
            field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".shards.Feature" } } }
    message_type { name: "Example"
        field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".shards.Features" } }
"""


def _example_class() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_PROTO, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shards.Example"))


_Example = _example_class()
