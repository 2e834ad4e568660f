import apache_beam as beam, pytest
from apache_beam.testing.util import assert_that, equal_to
from google.api_core.exceptions import PreconditionFailed
from transforms.storage.gcs import client
def test_pre(bucket):
    g=bucket.put("x y/a","abc".encode())
    b=client().bucket(bucket.name).blob("x y/a")
    with pytest.raises(PreconditionFailed): b.upload_from_string(b"1", if_generation_match=0)
    with pytest.raises(PreconditionFailed): b.upload_from_string(b"1", if_generation_match=5)
    b.upload_from_string(b"1\n2", if_generation_match=int(g))
    client().bucket(bucket.name).blob("new").upload_from_string(b"1", if_generation_match=0)
    assert bucket.get("x y/a")==b"1\n2"
def test_beam(bucket):
    bucket.put("in/a.txt", b"1\n2\n")
    with beam.Pipeline(runner="FnApiRunner") as p:
        r = p | beam.io.ReadFromText(bucket.uri("in/*.txt"))
        r | beam.io.WriteToText(bucket.uri("out/x"))
        assert_that(r, equal_to(["1","2"]))
    print(bucket.names())
    assert any(n.startswith("out/x-0") for n in bucket.names())
