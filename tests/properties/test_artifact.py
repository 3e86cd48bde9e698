"""The model file: the same content is read back or a clear error is raised, whatever happens to the bytes."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from cofactor.data.artifact import FORMAT_VERSION, Artifact, read_artifact, write_artifact
from cofactor.errors import ArtifactError
from cofactor.files import write_atomically

ARRAYS: dict[str, Any] = {
    "factors": np.arange(12, dtype=np.float32).reshape(4, 3),
    "more factors": np.arange(12, dtype=np.float32).reshape(3, 4),
    "start": np.array([0, 2, 5], np.int64),
    "columns": np.array([7, 1, 3], np.int32),
    "text": np.frombuffer("Amélie".encode(), np.uint8),
    "mask": np.array([True, False]),
    "wide": np.array([0.1, 1e300]),
    "nothing": np.zeros((5, 0), np.float32),
}
MANIFEST = {"kind": "ratings", "model": {"mean": 3.5, "title": "Amélie \N{CLAPPER BOARD}"}, "list": [1, None, True]}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "model.cofactor"
    write_artifact(path, ARRAYS, MANIFEST)
    return path


def same(a: Artifact, arrays: dict[str, Any], manifest: dict[str, Any]) -> bool:
    return (
        a.manifest == manifest
        and a.arrays.keys() == arrays.keys()
        and all(
            a.arrays[name].dtype == array.dtype and a.arrays[name].shape == array.shape
            and a.arrays[name].tobytes() == array.tobytes()
            for name, array in arrays.items()
        )
    )  # fmt: skip


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:end]), raw[end:]


def write_raw(path: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


# round trips


def test_content_round_trips(written: Path) -> None:
    assert same(read_artifact(written), ARRAYS, MANIFEST)
    assert same(read_artifact(written, verify=False), ARRAYS, MANIFEST)


@settings(max_examples=40, deadline=None)
@given(
    arrays=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name.isprintable() and name != "__metadata__"),
        hnp.arrays(
            st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        ),
        max_size=4,
    ),
    manifest=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=3),
)
def test_any_content_round_trips(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Any], manifest: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.cofactor"
    write_artifact(path, arrays, manifest)
    assert same(read_artifact(path), arrays, manifest)


def test_the_safetensors_library_reads_the_file(written: Path) -> None:
    theirs = load_file(written)
    assert theirs.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert theirs[name].dtype == array.dtype
        np.testing.assert_array_equal(theirs[name], array)


def test_slices_and_transposed_arrays_round_trip(tmp_path: Path) -> None:
    arrays = {"slice": np.arange(10)[::3], "transposed": np.arange(6.0).reshape(2, 3).T}
    write_artifact(tmp_path / "m", arrays, {})
    assert same(read_artifact(tmp_path / "m"), arrays, {})


def test_the_same_content_gives_the_same_bytes_in_any_process_and_order(written: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    turned = dict(reversed(ARRAYS.items())), dict(reversed(MANIFEST.items()))
    for _ in range(5):
        write_artifact(again, *turned)
        assert again.read_bytes() == written.read_bytes()
    code = (
        "import sys, numpy as np; from cofactor.data.artifact import *; a = read_artifact(sys.argv[1]); "
        "write_artifact(sys.argv[2], a.arrays, a.manifest)"
    )
    subprocess.run([sys.executable, "-c", code, written, tmp_path / "other"], check=True)
    assert (tmp_path / "other").read_bytes() == written.read_bytes()


def test_arrays_are_mapped_aligned_and_cannot_be_written(written: Path) -> None:
    for name, array in read_artifact(written).arrays.items():
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap), name
        assert array.flags.aligned
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_a_loaded_file_uses_no_private_memory(tmp_path: Path) -> None:
    path = tmp_path / "large"
    write_artifact(path, {"a": np.ones(4_000_000, np.float32)}, {})
    loads = [read_artifact(path) for _ in range(3)]  # verified, so every page was touched
    maps = [part for part in Path("/proc/self/smaps").read_text().split("VmFlags") if str(path) in part]
    sizes = [
        {
            key: int(value.split()[0])
            for key, value in (line.split(":", 1) for line in part.splitlines() if " kB" in line)
        }
        for part in maps
    ]
    assert len(maps) == len(loads)
    for size in sizes:
        assert size["Rss"] >= 15_000
        assert size["Private_Dirty"] == size["Anonymous"] == 0


# writing


def test_an_array_of_an_unsupported_type_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"'names'.*<U"):
        write_artifact(tmp_path / "m", {"names": np.array(["a", "b"])}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["no folder/m", "a file/m", ".", "x" * 300])
def test_an_unwritable_path_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_artifact(tmp_path / place, ARRAYS, {})
    assert [child.name for child in tmp_path.iterdir()] == ["a file"]


def test_special_files_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="not a regular file"):
        write_artifact(tmp_path / "pipe", ARRAYS, {})
    assert (tmp_path / "pipe").is_fifo()
    assert [child.name for child in tmp_path.iterdir()] == ["pipe"]


def test_a_full_disk_leaves_only_the_old_file(written: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(written.read_bytes())
    code = """
import resource, signal, sys
import numpy as np
from cofactor.data.artifact import ArtifactError, write_artifact
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_artifact(sys.argv[1], {"a": np.zeros(1_000_000)}, {})
except ArtifactError as problem:
    print(problem)
"""
    done = subprocess.run([sys.executable, "-c", code, model], capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in done.stdout
    assert [child.name for child in tmp_path.iterdir()] == ["model"]
    assert model.read_bytes() == written.read_bytes()


def test_overwriting_a_file_does_not_affect_its_readers(tmp_path: Path) -> None:
    path = tmp_path / "m"
    write_artifact(path, {"a": np.ones(5000)}, {})
    old = read_artifact(path)
    write_artifact(path, {"a": np.zeros(3)}, {})
    assert old.arrays["a"].sum() == 5000
    assert len(read_artifact(path).arrays["a"]) == 3
    assert [child.name for child in tmp_path.iterdir()] == ["m"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_artifact(tmp_path / "m", ARRAYS, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o640


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    target = tmp_path / "m"
    target.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_atomically(target, fail)
    assert target.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["m"]


# existing files


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o664])
def test_an_existing_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "m"
    write_artifact(path, {"a": np.ones(3)}, {})
    path.chmod(mode)
    seen: list[int] = []

    def write(temporary: Path) -> None:
        seen.append(mode_of(temporary))
        temporary.write_text("new")

    write_atomically(path, write)
    assert seen == [0o600]  # no other user can read it while it is written
    assert mode_of(path) == mode
    assert path.read_text() == "new"


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_kept_and_its_target_is_written(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, middle, link = tmp_path / "elsewhere" / "m", tmp_path / "elsewhere" / "now", tmp_path / "link"
    middle.symlink_to("m")
    link.symlink_to(middle)
    if exists:
        write_artifact(target, {"a": np.ones(3)}, {})
        target.chmod(0o600)
    write_artifact(link, {"a": np.zeros(5)}, {})
    assert link.is_symlink()
    assert middle.is_symlink()
    assert not target.is_symlink()
    assert len(read_artifact(target).arrays["a"]) == 5
    assert not exists or mode_of(target) == 0o600
    assert sorted(child.name for child in tmp_path.rglob("*")) == ["elsewhere", "link", "m", "now"]


def test_a_link_to_itself_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "m").symlink_to("m")
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_artifact(tmp_path / "m", {}, {})
    assert (tmp_path / "m").is_symlink()


FOREIGN: dict[str, bytes] = {
    "text": b"to do: call ana, and do not lose this list\n" * 9,
    "one byte": b"x",
    "zeros": bytes(100),
    "JSON with a length": (20).to_bytes(8, "little") + b'{"cofactor": "no"}  ',
    "a length of more than there is": (2**40).to_bytes(8, "little") + b"{}",
    "no object": (2).to_bytes(8, "little") + b"[]",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_not_overwritten(tmp_path: Path, name: str) -> None:
    path = tmp_path / "notes"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(ArtifactError, match="notes is not a cofactor file and will not be overwritten; delete it"):
        write_artifact(path, ARRAYS, {})
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ArtifactError, match="link is not a cofactor file and will not be overwritten"):
        write_artifact(tmp_path / "link", ARRAYS, {})
    assert path.read_bytes() == FOREIGN[name]
    assert sorted(child.name for child in tmp_path.iterdir()) == ["link", "notes"]


def test_a_foreign_safetensors_file_is_not_overwritten(tmp_path: Path) -> None:
    save_file({"weight": np.ones(3, np.float32)}, tmp_path / "m", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="is not a cofactor file and will not be overwritten"):
        write_artifact(tmp_path / "m", ARRAYS, {})
    assert load_file(tmp_path / "m")["weight"].sum() == 3


@pytest.mark.parametrize("what", ["empty", "cut short", "damaged data", "another format"])
def test_a_model_of_any_state_and_an_empty_file_are_overwritten(written: Path, tmp_path: Path, what: str) -> None:
    path, raw = tmp_path / "m", written.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    newer = {"__metadata__": {"cofactor": json.dumps({"format_version": FORMAT_VERSION + 1})}}
    if what == "another format":
        write_raw(path, newer, b"")
    else:
        path.write_bytes({"empty": b"", "cut short": raw[: end + 5], "damaged data": raw[:-1] + b"?"}[what])
    write_artifact(path, ARRAYS, MANIFEST)
    assert same(read_artifact(path), ARRAYS, MANIFEST)


# damage


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_damaged_byte_is_detected_or_has_no_effect(written: Path, data: st.DataObject) -> None:
    raw = bytearray(written.read_bytes())
    header_end = 8 + int.from_bytes(raw[:8], "little")
    place = data.draw(st.integers(0, header_end + 40) | st.integers(0, len(raw) - 1))
    raw[min(place, len(raw) - 1)] ^= data.draw(st.integers(1, 255))
    damaged = written.with_name("damaged")
    damaged.write_bytes(raw)
    try:
        read = read_artifact(damaged)
    except ArtifactError:
        return
    assert same(read, ARRAYS, MANIFEST)


@pytest.mark.parametrize(
    ("old", "new"), [(b"F32", b"I32"), (b"I64", b"F64"), (b"[4,3]", b"[3,4]"), (b"[3,4]", b"[2,6]")]
)
def test_a_changed_type_or_shape_is_damage_even_with_equal_bytes(
    written: Path, tmp_path: Path, old: bytes, new: bytes
) -> None:
    raw = written.read_bytes()
    assert raw.count(old) >= 1
    (tmp_path / "m").write_bytes(raw.replace(old, new, 1))
    with pytest.raises(ArtifactError, match="damaged: the checksum of"):
        read_artifact(tmp_path / "m")


def test_arrays_with_exchanged_offsets_or_names_are_damage(written: Path, tmp_path: Path) -> None:
    header, data = header_of(written)
    header["start"], header["wide"] = header["wide"], header["start"]
    with pytest.raises(ArtifactError, match="damaged: the checksum of"):
        read_artifact(write_raw(tmp_path / "m", header, data))
    header, data = header_of(written)
    header["startle"] = header.pop("start")
    for verify in (True, False):
        with pytest.raises(ArtifactError, match="damaged: its arrays do not match those"):
            read_artifact(write_raw(tmp_path / "m", header, data), verify=verify)


def test_verify_detects_a_damaged_array(written: Path, tmp_path: Path) -> None:
    header, data = header_of(written)
    begin = header["wide"]["data_offsets"][0]
    damaged = data[:begin] + bytes([data[begin] ^ 1]) + data[begin + 1 :]
    path = write_raw(tmp_path / "m", header, damaged)
    with pytest.raises(ArtifactError, match="the checksum of 'wide' does not match"):
        read_artifact(path)
    assert read_artifact(path, verify=False).arrays["wide"][0] != 0.1


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_rejected(written: Path, data: st.DataObject) -> None:
    raw = written.read_bytes()
    header_end = 8 + int.from_bytes(raw[:8], "little")
    length = data.draw(st.integers(0, len(raw) - 1) | st.sampled_from([0, 7, 8, header_end - 1, header_end]))
    cut = written.with_name("cut")
    cut.write_bytes(raw[:length])
    with pytest.raises(ArtifactError, match="is truncated"):
        read_artifact(cut)


def test_extra_bytes_are_rejected(written: Path, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(written.read_bytes() + b"\n")
    with pytest.raises(ArtifactError, match="extra bytes"):
        read_artifact(tmp_path / "m")


# foreign files


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=200), header=st.booleans())
def test_foreign_bytes_are_rejected(tmp_path_factory: pytest.TempPathFactory, content: bytes, header: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "foreign"
    path.write_bytes(len(content).to_bytes(8, "little") * header + content)
    with pytest.raises(ArtifactError, match=r"foreign (is not a cofactor file|is a safetensors file, but not one)"):
        read_artifact(path)


@pytest.mark.parametrize(
    "header",
    [
        b"null", b"[]", b"3", b'"text"', b"{", b"\xff\xfe", b"[" * 50_000,
        b'{"a":' * 50_000, b'{"a":null}', b'{"a":{}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}',
        b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}',
        b'{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}',
        b'{"a":{"dtype":"F32","shape":[1' + b"0" * 30 + b'],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[' + b",".join([b"1"] * 80) + b'],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e300]}}',
    ],
    ids=lambda header: header[:70].decode(errors="replace"),
)  # fmt: skip
def test_malformed_headers_are_rejected(tmp_path: Path, header: bytes) -> None:
    for verify in (True, False):
        with pytest.raises(ArtifactError, match="not a cofactor file, or its header is damaged"):
            read_artifact(write_raw(tmp_path / "m", header, bytes(4)), verify=verify)


@pytest.mark.parametrize(
    "places",
    [
        {"a": [0, 8], "b": [0, 8]},
        {"a": [0, 8], "b": [4, 12]},
        {"a": [0, 8], "b": [16, 24]},
        {"a": [4, 12], "b": [12, 20]},
    ],
    ids=["the same place", "overlapping", "a gap", "a gap before"],
)
def test_arrays_must_be_contiguous(tmp_path: Path, places: dict[str, list[int]]) -> None:
    write_artifact(tmp_path / "m", {"a": np.arange(2, dtype=np.int32), "b": np.arange(2, dtype=np.int32)}, {})
    header, data = header_of(tmp_path / "m")
    for name, place in places.items():
        header[name]["data_offsets"] = place
    with pytest.raises(ArtifactError, match="header is damaged"):
        read_artifact(write_raw(tmp_path / "m", header, data + bytes(8)))


@pytest.mark.parametrize("size", [2**64 - 1, 2**63, 100_000_001, 10**6])
def test_an_invalid_header_length_is_rejected(written: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "m").write_bytes(size.to_bytes(8, "little") + written.read_bytes()[8:])
    with pytest.raises(ArtifactError, match="not a cofactor file, or it is truncated"):
        read_artifact(tmp_path / "m")


def test_a_foreign_safetensors_file_is_rejected(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}, {"cofactor_sha256": "0"}):
        save_file({"weight": np.ones(3, np.float32)}, tmp_path / "m", metadata=metadata)
        with pytest.raises(ArtifactError, match="a safetensors file, but it was not written by cofactor"):
            read_artifact(tmp_path / "m")


@pytest.mark.parametrize("metadata", [[], "text", {"cofactor": None}, {"cofactor": {"format_version": 1}}])
def test_metadata_of_another_type_is_rejected(tmp_path: Path, metadata: Any) -> None:
    with pytest.raises(ArtifactError, match="it was not written by cofactor"):
        read_artifact(write_raw(tmp_path / "m", {"__metadata__": metadata}, b""))


def with_content(written: Path, path: Path, text: str, checksum: str | None = None) -> Path:
    header, data = header_of(written)
    right = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    header["__metadata__"] = {"cofactor": text, "cofactor_sha256": checksum or right}
    return write_raw(path, header, data)


def test_a_newer_format_advises_to_upgrade(written: Path, tmp_path: Path) -> None:
    newer = json.dumps({"format_version": FORMAT_VERSION + 1, "things": "not known yet"})
    with pytest.raises(
        ArtifactError, match=f"newer version of cofactor .format {FORMAT_VERSION + 1}; .* pip install --upgrade"
    ):
        read_artifact(with_content(written, tmp_path / "m", newer))


def test_a_changed_manifest_is_damage(written: Path, tmp_path: Path) -> None:
    header, _ = header_of(written)
    metadata = header["__metadata__"]
    changed = metadata["cofactor"].replace("3.5", "2.5")
    assert changed != metadata["cofactor"]
    with pytest.raises(ArtifactError, match="the checksum of its manifest does not match"):
        read_artifact(with_content(written, tmp_path / "m", changed, metadata["cofactor_sha256"]))
    with pytest.raises(ArtifactError, match="the checksum of its manifest does not match"):
        read_artifact(with_content(written, tmp_path / "m", "\ud800", metadata["cofactor_sha256"]))


@pytest.mark.parametrize("text", ['{"format_version": 1}', '{"format_version": 1, "manifest": [], "sha256": {}}'])
def test_content_without_a_manifest_is_rejected(written: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(ArtifactError, match="has no manifest or no checksums"):
        read_artifact(with_content(written, tmp_path / "m", text))


@pytest.mark.parametrize("text", ["{", "x", "[" * 100_000])
def test_content_that_is_not_json_is_rejected(written: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        read_artifact(with_content(written, tmp_path / "m", text))


@pytest.mark.parametrize(
    "text", ["[]", "{}", "3", *(f'{{"format_version": {v}}}' for v in ("0", '"1"', "null", "1.0"))]
)
def test_a_manifest_without_a_version_is_rejected(written: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(ArtifactError, match="has no valid format version"):
        read_artifact(with_content(written, tmp_path / "m", text))


@pytest.mark.parametrize(
    ("place", "message"), [("missing", "No such file"), (".", "Is a directory"), ("a/b", "Not a dir")]
)
def test_paths_that_are_not_files_are_rejected(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(ArtifactError, match=f"cannot be read: {message}"):
        read_artifact(tmp_path / place)


def test_an_empty_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "m").touch()
    with pytest.raises(ArtifactError, match=r"not a cofactor file, or it is truncated \(0 bytes\)"):
        read_artifact(tmp_path / "m")
