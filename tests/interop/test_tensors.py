from __future__ import annotations

import io
import json
import pickle
import struct
import sys

import numpy as np
import pytest

import rducodec
from rducodec.errors import RddInputError, RddIOError, RddVersionError
from rducodec.interop import read_source
from rducodec.interop.tensors import write_tensors

PIXELS = rducodec.ValueSpace()
SAMPLES = np.random.default_rng(2).random((3, 1, 2, 5)).astype(np.float32)
LABELS = np.array([0, 2, 1])


def save_npz(path, **arrays) -> None:
    np.savez(path, **arrays)


def save_pt(path, **arrays) -> None:
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)


def save_safetensors(path, **arrays) -> None:
    pytest.importorskip("safetensors.numpy").save_file(arrays, path)


SAVE = {".npz": save_npz, ".pt": save_pt, ".safetensors": save_safetensors}


@pytest.mark.parametrize("suffix", SAVE)
@pytest.mark.parametrize(("samples", "labels"), [("samples", "labels"), ("images", "y"), ("x", "labels"), ("x", "y")])
def test_names_of_tensors(tmp_path, suffix, samples, labels):
    path = tmp_path / f"a{suffix}"
    SAVE[suffix](path, **{samples: SAMPLES, labels: LABELS, "more": np.zeros(3)})
    source = read_source(path, space=PIXELS)
    assert np.array_equal(source.samples, SAMPLES)
    assert source.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("suffix", SAVE)
def test_missing_and_ambiguous_names(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    SAVE[suffix](path, data=SAMPLES, labels=LABELS)
    with pytest.raises(RddInputError, match="found none; the file has 'data', 'labels'"):
        read_source(path, space=PIXELS)
    SAVE[suffix](path, images=SAMPLES, x=SAMPLES, labels=LABELS)
    with pytest.raises(RddInputError, match="found images and x"):
        read_source(path, space=PIXELS)


@pytest.mark.parametrize("suffix", SAVE)
def test_space_must_be_stated(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    SAVE[suffix](path, samples=SAMPLES, labels=LABELS)
    with pytest.raises(RddInputError, match="--space"):
        read_source(path)


@pytest.mark.parametrize("suffix", SAVE)
def test_what_we_write_we_read_with_its_space(tmp_path, suffix):
    if suffix != ".npz":
        pytest.importorskip({".pt": "torch", ".safetensors": "safetensors"}[suffix])
    for space in (
        PIXELS,
        rducodec.ValueSpace("standardised", (0.5,), (0.1,)),
        rducodec.ValueSpace("zca", text="eps 0.1"),
    ):
        path = tmp_path / f"a{suffix}"
        with path.open("wb") as stream:
            write_tensors(stream, suffix, SAMPLES, LABELS, space)
        source = read_source(path)
        assert source.space == space
        assert np.array_equal(source.samples, SAMPLES)
        other = rducodec.ValueSpace("other", text="what the caller says")
        assert read_source(path, space=other).space == other


@pytest.mark.parametrize("suffix", SAVE)
def test_space_that_is_not_stated_stays_so(tmp_path, suffix):
    if suffix != ".npz":
        pytest.importorskip({".pt": "torch", ".safetensors": "safetensors"}[suffix])
    path = tmp_path / f"a{suffix}"
    with path.open("wb") as stream:
        write_tensors(stream, suffix, SAMPLES, LABELS, None)
    with pytest.raises(RddInputError, match="--space"):
        read_source(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"kind": "blue"}', '{"kind": "zca", "text": 3}', '{"mean": ["a"]}']
)
def test_space_in_a_file_that_is_none(tmp_path, text):
    np.savez(tmp_path / "a.npz", samples=SAMPLES, labels=LABELS, space=np.array(text))
    with pytest.raises(RddInputError, match="space"):
        read_source(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", SAVE)
def test_damaged_files(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    SAVE[suffix](path, samples=SAMPLES, labels=LABELS)
    good = path.read_bytes()
    for bad in (b"", b"hello", good[:20], good[: len(good) // 2], good[:-3], b"\0" * 100, b"\xff" * 100):
        path.write_bytes(bad)
        with pytest.raises(RddInputError, match=f"a{suffix}: "):
            read_source(path, space=PIXELS)


@pytest.mark.parametrize("suffix", SAVE)
def test_missing_file(tmp_path, suffix):
    with pytest.raises(RddIOError, match="No such file"):
        read_source(tmp_path / f"a{suffix}")


def test_unknown_kind_of_source(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(RddInputError, match="not a source"):
        read_source(tmp_path / "a.csv")


def test_missing_optional_package(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_safetensors(path, samples=SAMPLES, labels=LABELS)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(RddVersionError, match="pip install safetensors"):
        read_source(path, space=PIXELS)


def test_torch_file_without_torch(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    save_pt(path, samples=SAMPLES, labels=LABELS)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert np.array_equal(read_source(path, space=PIXELS).samples, SAMPLES)


def test_torch_file_with_labels_in_a_list(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"x": torch.from_numpy(SAMPLES), "y": LABELS.tolist()}, tmp_path / "a.pt")
    assert read_source(tmp_path / "a.pt", space=PIXELS).labels.tolist() == LABELS.tolist()


class Trap:
    """A pickle that would run something."""

    fired = False

    def __reduce__(self):
        return (Trap.fire, ())

    @staticmethod
    def fire() -> None:
        Trap.fired = True


def test_pickles_run_nothing(tmp_path):
    np.savez(tmp_path / "a.npz", samples=np.array([Trap()], object), labels=LABELS[:1])
    with pytest.raises(RddInputError, match="holds Python objects"):
        read_source(tmp_path / "a.npz", space=PIXELS)
    (tmp_path / "b.npz").write_bytes(pickle.dumps({"samples": Trap()}))
    with pytest.raises(RddInputError):
        read_source(tmp_path / "b.npz", space=PIXELS)
    torch = pytest.importorskip("torch")
    torch.save({"samples": Trap(), "labels": torch.tensor([0])}, tmp_path / "a.pt")
    with pytest.raises(RddInputError, match="which is not allowed; nothing was run"):
        read_source(tmp_path / "a.pt", space=PIXELS)
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"samples": Trap()}))
    with pytest.raises(RddInputError):
        read_source(tmp_path / "b.pt", space=PIXELS)
    assert not Trap.fired


def test_single_array_is_no_archive(tmp_path):
    np.save(tmp_path / "a.npy", SAMPLES)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(RddInputError, match="not an archive"):
        read_source(tmp_path / "a.npz", space=PIXELS)


def test_torch_file_that_is_no_dict(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.zeros(3), tmp_path / "a.pt")
    with pytest.raises(RddInputError, match="holds a tensor, a dict"):
        read_source(tmp_path / "a.pt", space=PIXELS)


def test_torch_file_with_gradients_and_halves(tmp_path):
    torch = pytest.importorskip("torch")
    values = torch.from_numpy(SAMPLES).bfloat16().requires_grad_()
    torch.save({"samples": values, "labels": torch.from_numpy(LABELS)}, tmp_path / "a.pt")
    source = read_source(tmp_path / "a.pt", space=PIXELS)
    assert np.array_equal(source.samples, values.detach().float().numpy())


def test_safetensors_with_bfloat16(tmp_path):
    pytest.importorskip("safetensors")
    patterns = (SAMPLES.view(np.uint32) >> 16).astype("<u2")
    labels = LABELS.astype("<i8")
    header = json.dumps(
        {
            "x": {"dtype": "BF16", "shape": SAMPLES.shape, "data_offsets": [0, patterns.nbytes]},
            "y": {"dtype": "I64", "shape": [3], "data_offsets": [patterns.nbytes, patterns.nbytes + labels.nbytes]},
        }
    ).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + patterns.tobytes() + labels.tobytes())
    source = read_source(path, space=PIXELS)
    assert np.array_equal(source.samples, (patterns.astype(np.uint32) << 16).view(np.float32).reshape(SAMPLES.shape))


def test_errors_of_the_arrays_name_the_file(tmp_path):
    np.savez(tmp_path / "a.npz", samples=SAMPLES, labels=LABELS - 1)
    with pytest.raises(RddInputError, match=r"a\.npz: labels: label 0 is -1"):
        read_source(tmp_path / "a.npz", space=PIXELS)


def test_npz_holds_no_pickle():
    stream = io.BytesIO()
    write_tensors(stream, ".npz", SAMPLES, LABELS, PIXELS)
    with np.load(io.BytesIO(stream.getvalue()), allow_pickle=False) as arrays:
        assert sorted(arrays) == ["labels", "samples", "space"]


def test_torch_file_with_a_list_that_holds_itself(tmp_path):
    torch = pytest.importorskip("torch")
    endless: list[object] = []
    endless.append(endless)
    torch.save({"x": torch.from_numpy(SAMPLES), "y": endless}, tmp_path / "a.pt")
    with pytest.raises(RddInputError, match=r"a\.pt: labels: "):
        read_source(tmp_path / "a.pt", space=PIXELS)


def test_an_archive_that_is_none_gets_no_advice_to_unpickle(tmp_path) -> None:
    text, objects = tmp_path / "text.npz", tmp_path / "objects.npz"
    text.write_text("samples, labels\n")
    np.savez(objects, samples=np.array([np.zeros(1), np.zeros(2)], dtype=object), labels=np.zeros(2, np.int64))
    for path, message in ((text, "not an .npz file, or damaged"), (objects, "holds Python objects, not numbers")):
        with pytest.raises(RddInputError, match=message) as caught:
            read_source(path, space=PIXELS)
        assert "pickle" not in str(caught.value)
